"""The actors of the moving picture. Each has a method `go(step)`, which moves it to where it is at that step."""

import textwrap

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import RendererAgg

from .film_layout import CURVE, LINES, NAME, SIDE, TEXT, short
from .labels import spread
from .maps import dotted, hollow, trail
from .styles import look

CHARACTER = 0.602                                 # width of a letter of DejaVu Sans Mono, relative to its size
LOWEST, HIGHEST, GAP = 0.06, 0.97, 0.2 / CURVE    # names beside curves, in heights of the axes: bounds, and distance


class MapTrajectory:
    """One trajectory on one map: its line up to the current step, and its head."""

    def __init__(self, ax, trajectory, color, every):
        self.trajectory, self.color = trajectory, color
        self.line, self.dots = trail(ax, trajectory, color, every)
        self.positions, self.dot_steps = self.dots.get_offsets(), trajectory.steps[dotted(trajectory, every)]
        self.head, = ax.plot([], [], "o", ms=13, mec=color, mew=2, path_effects=look().halo, zorder=8)

    def go(self, step):
        trajectory = self.trajectory
        head = [np.interp(step, trajectory.steps, trajectory.ab[:, axis]) for axis in (0, 1)]
        self.line.set_data(*np.vstack([trajectory.ab[trajectory.steps < step], head]).T)
        self.head.set_data(*np.array([head]).T)
        self.head.set_markerfacecolor(hollow(self.color, np.interp(step, trajectory.steps, trajectory.residual)))
        self.dots.set_offsets(self.positions[self.dot_steps <= step])


class LossCurves:
    """The losses of all runs on one task up to the current step, and at the right their names and values."""

    def __init__(self, ax, trajectories, task, color):
        self.ax, self.trajectories, self.task = ax, trajectories, task
        self.step_line = ax.axvline(0, color=look().faint, lw=1.2)
        self.lines = [self._line(color[name]) for name in trajectories]
        self.labels = [ax.annotate("", (1, 0), (9, 0), "axes fraction", "offset points", va="center", color=color[name], size=12,
                                   weight="bold", parse_math=False) for name in trajectories]

    def _line(self, color):
        """The artists of one run: the loss that the map shows, the true loss, and the head of the true loss."""
        return (*self.ax.plot([], [], color=color, ls=(0, (3, 2)), lw=1.6), *self.ax.plot([], [], color=color),
                *self.ax.plot([], [], "o", color=color, ms=8, mec=look().paper, mew=1.2, clip_on=False))

    def go(self, step):
        self.step_line.set_xdata([step, step])
        current = [self._grow(trajectory, lines, step) for trajectory, lines in zip(self.trajectories.values(), self.lines)]
        low, high = self.ax.get_ylim()
        heights = stacked((self._within(current) - low) / (high - low))
        for name, loss, height, label in zip(self.trajectories, current, heights, self.labels):
            label.xy = 1, height
            label.set_text(f"{short(name)} {loss:.2f}" if abs(loss) < 100 else f"{short(name)} {loss:.0e}")

    def _grow(self, trajectory, lines, step):
        """Draw a run up to a step, or to its end. Returns its true loss there."""
        shown, true, head = lines
        at = np.clip(step, *trajectory.steps[[0, -1]])
        until = trajectory.steps < at
        for line, losses in ((shown, trajectory.shown[self.task]), (true, trajectory.loss[self.task])):
            current = np.interp(at, trajectory.steps, losses)
            line.set_data([*trajectory.steps[until], at], [*losses[until], current])
        head.set_data([at], self._within([current]))
        return current

    def _within(self, losses):
        """Losses clipped to the axes; one that is not a number is put at the top."""
        low, high = self.ax.get_ylim()
        return np.clip(np.nan_to_num(losses, nan=high, posinf=high), low, high)


def stacked(heights):
    """Heights of the names of curves that end at these heights: close to them, GAP apart, between LOWEST and HIGHEST."""
    positions, k = spread(heights, GAP), np.arange(len(heights))
    order = np.argsort(positions)
    positions[order] = np.clip(positions[order], LOWEST + k * GAP, HIGHEST - k[::-1] * GAP)
    return positions


class WrittenTexts:
    """What the weights of each run wrote when they were last recorded.

    So many letters are slow to draw, and they seldom change. So they are drawn only when they change, and kept as pixels.
    """

    def __init__(self, fig, layout, trajectories):
        left = SIDE + 0.2 + NAME * max(layout.letters, len("adapter"))
        columns = int((layout.width - left - 0.3) * 72 / (CHARACTER * TEXT))
        self.sheet = int(fig.bbox.width), int(layout.texts * fig.dpi), fig.dpi
        self.still = fig.add_artist(Still(np.zeros((1, 1, 4), np.uint8)))
        self.rows = []
        for k, trajectory in enumerate(trajectories.values()):
            text = layout.write(fig, left, layout.row(k), "", va="top", size=TEXT, family="DejaVu Sans Mono", linespacing=1.15,
                                animated=True)                     # left out when the figure is drawn
            texts = [lines(written, columns) for written in trajectory.texts] or [""] * len(trajectory.steps)
            self.rows.append((text, trajectory.steps, texts))

    def go(self, step):
        before = [text.get_text() for text, *_ in self.rows]
        for text, steps, texts in self.rows:
            text.set_text(texts[np.searchsorted(steps, step + 1e-9, "right") - 1])
        if before != [text.get_text() for text, *_ in self.rows]:
            sheet = RendererAgg(*self.sheet)
            for text, *_ in self.rows:
                text.draw(sheet)
            self.still.pixels = np.flipud(sheet.buffer_rgba())


def lines(text, columns):
    """A text as it is shown: wrapped, and cut off after LINES lines."""
    return "\n".join(textwrap.wrap(" ".join(text.split()) or "(nothing)", columns, max_lines=LINES, placeholder=" …"))


class Still(Artist):
    """Pixels at the bottom of a figure, under everything else. (`figimage` would resample them for every frame.)"""

    def __init__(self, pixels, zorder=-1):
        super().__init__()
        self.pixels = np.flipud(pixels)
        self.set_zorder(zorder)

    def draw(self, renderer):
        renderer.draw_image(renderer.new_gc(), 0, 0, self.pixels)
