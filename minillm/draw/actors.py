"""What moves in the moving picture: each actor has a method `go(step)`, which brings it to where it is at that step."""

import textwrap

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import RendererAgg

from .labels import spread
from .maps import dotted, hollow, trail
from .room import CURVE, LINES, NAME, SIDE, TEXT, short
from .styles import look

CHARACTER = 0.602                            # width of a letter of DejaVu Sans Mono, in its size
FOOT, HEAD, GAP = 0.06, 0.97, 0.2 / CURVE    # of names beside curves: lowest, highest place; to the next


class Walker:
    """One model on one map: its path so far, and its head."""

    def __init__(self, ax, way, color, every):
        self.way, self.color = way, color
        self.line, self.dots = trail(ax, way, color, every)
        self.places, self.dot_steps = self.dots.get_offsets(), way.steps[dotted(way, every)]
        self.head, = ax.plot([], [], "o", ms=13, mec=color, mew=2, path_effects=look().halo, zorder=8)

    def go(self, step):
        way = self.way
        head = [np.interp(step, way.steps, way.ab[:, axis]) for axis in (0, 1)]
        self.line.set_data(*np.vstack([way.ab[way.steps < step], head]).T)
        self.head.set_data(*np.array([head]).T)
        self.head.set_markerfacecolor(hollow(self.color, np.interp(step, way.steps, way.residual)))
        self.dots.set_offsets(self.places[self.dot_steps <= step])


class Losses:
    """The losses of all runs on one task, so far, and at the right their names and values."""

    def __init__(self, ax, paths, task, color):
        self.ax, self.trajectories, self.task = ax, paths, task
        self.now = ax.axvline(0, color=look().faint, lw=1.2)
        self.lines = [self._line(color[name]) for name in paths]
        self.labels = [ax.annotate("", (1, 0), (9, 0), "axes fraction", "offset points", va="center", color=color[name], size=12,
                                   weight="bold", parse_math=False) for name in paths]

    def _line(self, color):
        """What the map shows, the truth, and its head."""
        return (*self.ax.plot([], [], color=color, ls=(0, (3, 2)), lw=1.6), *self.ax.plot([], [], color=color),
                *self.ax.plot([], [], "o", color=color, ms=8, mec=look().paper, mew=1.2, clip_on=False))

    def go(self, step):
        self.now.set_xdata([step, step])
        now = [self._grow(way, lines, step) for way, lines in zip(self.trajectories.values(), self.lines)]
        low, high = self.ax.get_ylim()
        heights = stacked((self._within(now) - low) / (high - low))
        for name, loss, height, label in zip(self.trajectories, now, heights, self.labels):
            label.xy = 1, height
            label.set_text(f"{short(name)} {loss:.2f}" if abs(loss) < 100 else f"{short(name)} {loss:.0e}")

    def _grow(self, way, lines, step):
        """Draw a run up to a step, or to its end; its loss there."""
        shown, true, head = lines
        at = np.clip(step, *way.steps[[0, -1]])
        until = way.steps < at
        for line, losses in ((shown, way.shown[self.task]), (true, way.loss[self.task])):
            now = np.interp(at, way.steps, losses)
            line.set_data([*way.steps[until], at], [*losses[until], now])
        head.set_data([at], self._within([now]))
        return now

    def _within(self, losses):
        """Losses that leave the axes at their top; so does what is no number."""
        low, high = self.ax.get_ylim()
        return np.clip(np.nan_to_num(losses, nan=high, posinf=high), low, high)


def stacked(heights):
    """Where names stand beside curves that end at these heights, in parts of the axes: near, GAP apart, from FOOT to HEAD."""
    places, k = spread(heights, GAP), np.arange(len(heights))
    order = np.argsort(places)
    places[order] = np.clip(places[order], FOOT + k * GAP, HEAD - k[::-1] * GAP)       # bounds that are GAP apart, too
    return places


class Writings:
    """What the weights of all runs wrote when they were last recorded. So many letters, so seldom others: they are painted only
    when they change, and lie in the figure as pixels."""

    def __init__(self, fig, room, paths):
        left = SIDE + 0.2 + NAME * max(room.letters, len("adapter"))
        columns = int((room.width - left - 0.3) * 72 / (CHARACTER * TEXT))
        self.sheet = int(fig.bbox.width), int(room.texts * fig.dpi), fig.dpi
        self.still = fig.add_artist(Still(np.zeros((1, 1, 4), np.uint8)))
        self.rows = []
        for k, way in enumerate(paths.values()):
            text = room.write(fig, left, room.row(k), "", va="top", size=TEXT, family="DejaVu Sans Mono", linespacing=1.15,
                              animated=True)                     # left out when the figure is drawn
            self.rows.append((text, way.steps, [lines(written, columns) for written in way.texts] or [""] * len(way.steps)))

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
    """A text as it is shown: in few lines of equal width."""
    return "\n".join(textwrap.wrap(" ".join(text.split()) or "(nothing)", columns, max_lines=LINES, placeholder=" …"))


class Still(Artist):
    """Pixels at the foot of a figure and under all else, as they are: `figimage` would resample them for every frame."""

    def __init__(self, pixels, zorder=-1):
        super().__init__()
        self.pixels = np.flipud(pixels)
        self.set_zorder(zorder)

    def draw(self, renderer):
        renderer.draw_image(renderer.new_gc(), 0, 0, self.pixels)
