"""The weights on their way, as a moving picture: where they are, what they lose there, and what they write."""

import textwrap
from dataclasses import dataclass

import numpy as np
from matplotlib.animation import PillowWriter
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import RendererAgg

from ..files import written_whole
from .labels import spread
from .style import colors, figure, look, style
from .surface import contours, dot_every, dotted, hollow, landscape, map_size, mark, trail

HOLD = 1.5                     # seconds that the last frame stays before a loop starts again
LINES = 2                      # of a text that is being written
NAME, LETTERS = 0.11, 18       # inches that a bold letter takes; letters of a name that are shown
CHARACTER = 0.602              # width of a letter of DejaVu Sans Mono, in its size
COLUMN, SIDE, BAR = 5.6, 0.85, 0.95                              # inches: a map with all around it; left of it; right of it
CURVE, TEXT, ROW = 1.45, 11.5, 0.19                              # height of the loss curves; size of texts; height of their lines
FOOT, HEAD, GAP = 0.06, 0.97, 0.2 / CURVE                        # of names beside curves: lowest, highest place; to the next
NOTE = "the hollower a dot, the farther the weights are off this plane"


def animate(surface, path, frames=40, fps=10, dark=False):
    """A GIF: the weights move over the twin maps, equal times for equal steps, and below them grow their true losses.

    Between two recorded points the path is straight. The heads are projections, the losses are not: where the dashed loss, of the
    map under the head, parts from the solid one, the weights are off the plane. What they write is drawn with the same random
    numbers at every step, so that only the weights change it. ValueError without paths.
    """
    with style(dark), written_whole(path) as part:
        film = Film(surface, frames)
        film.fig.add_artist(Still(film.still, zorder=-2))
        film.record(Gif(fps), part)


class Gif(PillowWriter):
    """All frames in the colours of the last, which has whole paths: so nothing that stands still flickers. The last one stays."""

    def finish(self):
        self._frames = [frame.convert("RGB") for frame in self._frames]          # older matplotlibs hand them over as RGBA
        palette = self._frames[-1].quantize(256)
        tones = palette.getpalette()
        palette.putpalette([tone & ~3 for tone in tones])              # Pillow looks colours up in steps of 4
        first, *others = frames = [frame.quantize(palette=palette, dither=0) for frame in self._frames]
        for frame in frames:
            frame.putpalette(tones)
        each = 1000 / self.fps
        first.save(self.outfile, save_all=True, append_images=others, loop=0,
                   duration=[each] * len(others) + [each + 1000 * HOLD])


class Still(Artist):
    """Pixels at the foot of a figure and under all else, as they are: `figimage` would resample them for every frame."""

    def __init__(self, pixels, zorder=-1):
        super().__init__()
        self.pixels = np.flipud(pixels)
        self.set_zorder(zorder)

    def draw(self, renderer):
        renderer.draw_image(renderer.new_gc(), 0, 0, self.pixels)


class Film:
    """What moves, as the artists of a see-through figure, and what does not, as one image: all that a frame draws is what moves.

    steps       (frames,) the step that each frame shows
    still       (height, width, 4) pixels, what lies under every frame
    fig         the figure; `show(step)` brings it to a step
    """

    def __init__(self, surface, frames, dpi=84):
        if not surface.paths:
            raise ValueError("this surface has no recorded paths: nothing moves")
        surface = landscape(surface)
        color = colors([*surface.points, *surface.paths])
        self.last = max(int(way.steps[-1]) for way in surface.paths.values())
        self.steps = np.linspace(0, self.last, frames)
        room = Room.for_(surface)
        self.fig = figure(room.width, room.height, dpi)
        _set(self.fig, room, surface, color, self.last)
        self.fig.canvas.draw()
        self.still = np.array(self.fig.canvas.buffer_rgba())
        self.fig.clear()
        self.fig.patch.set_visible(False)
        self.clock = room.write(self.fig, SIDE, room.height - 0.12, "", va="top", size=17, weight="bold")
        self.actors = []
        for k, task in enumerate(surface.loss):
            above, below = room.axes(self.fig, k, surface)
            below.set(xlim=(0, self.last), ylim=reach(surface, task))
            for ax in (above, below):
                ax.set_axis_off()
            self.actors += [Walker(above, way, color[name], dot_every(surface)) for name, way in surface.paths.items()]
            self.actors.append(Losses(below, surface.paths, task, color))
        if room.rows:
            self.actors.append(Writings(self.fig, room, surface.paths))

    def show(self, step):
        self.clock.set_text(f"step {step:.0f} of {self.last}")
        for actor in self.actors:
            actor.go(step)

    def record(self, writer, path):
        with writer.saving(self.fig, path, self.fig.dpi):
            for step in self.steps:
                self.show(step)
                writer.grab_frame()


# The stage.

@dataclass
class Room:
    """Where everything stands, in inches from the lower left.

    across, up  size of a map
    rows        runs that write texts, below the curves
    letters     of the longest name, which stands right of the curves and left of the texts
    columns     maps
    """

    across: float
    up: float
    rows: int
    letters: int
    columns: int

    @classmethod
    def for_(cls, surface):
        across, up = map_size(surface, COLUMN - SIDE - BAR, 3.0)
        rows = len(surface.paths) if any(way.texts for way in surface.paths.values()) else 0
        return cls(across, up, rows, max(len(short(name)) for name in surface.paths), len(surface.loss))

    @property
    def width(self):
        return COLUMN * self.columns

    @property
    def texts(self):
        """Height of the texts."""
        return self.rows * (LINES * ROW + 0.13) + 0.5 if self.rows else 0.1

    @property
    def map(self):
        """Lower edge of the maps."""
        return self.texts + 0.55 + CURVE + 1.05

    @property
    def height(self):
        return self.map + self.up + 0.95

    def axes(self, fig, k, surface):
        """The k-th map and the axes of the curves below it."""
        left = SIDE + COLUMN * k
        curve = COLUMN - SIDE - 0.2 - NAME * (self.letters + len(" 0.00"))

        def add(x, y, w, h, **kwargs):
            return fig.add_axes([x / self.width, y / self.height, w / self.width, h / self.height], **kwargs)

        return (add(left, self.map, self.across, self.up, xlim=surface.a[[0, -1]], ylim=surface.b[[0, -1]]),
                add(left, self.texts + 0.55, curve, CURVE))

    def row(self, k):
        """Upper edge of the k-th text."""
        return self.texts - 0.42 - k * (LINES * ROW + 0.13)

    def write(self, fig, x, y, text, **kwargs):
        return fig.text(x / self.width, y / self.height, text, parse_math=False, **kwargs)


def _set(fig, room, surface, color, last):
    """All that does not move."""
    room.write(fig, room.width - 0.15, room.height - 0.17, NOTE, va="top", ha="right", size=11.5, color=look().faint)
    for k, task in enumerate(surface.loss):
        above, below = room.axes(fig, k, surface)
        contours(above, surface, task, k)
        mark(above, surface, color)
        below.set(xlim=(0, last), ylim=reach(surface, task), xlabel="step", ylabel="nats per token")
        below.set_title("true loss (solid), and as the map shows it (dashed)", size=12, weight="normal")
        below.grid(axis="y")
    if room.rows:
        room.write(fig, SIDE, room.texts - 0.12, "What they write, with the same random numbers at every step", va="top", size=12,
                   color=look().faint)
        for k, name in enumerate(surface.paths):
            room.write(fig, SIDE, room.row(k), short(name), va="top", size=12, weight="bold", color=color[name])


def reach(surface, task):
    """Lower and upper end of an axis for the losses of a task: what is far above chance is cut off."""
    met = np.concatenate([way.loss[task] for way in surface.paths.values()] + [way.shown[task] for way in surface.paths.values()])
    met = met[met < 1.3 * surface.info["chance"]]
    low, high = (met.min(), met.max()) if met.size else (0, surface.info["chance"])
    room = 0.1 * (high - low) or 0.1
    return low - room, high + room


# The actors.

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
        self.ax, self.paths, self.task = ax, paths, task
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
        now = [self._grow(way, lines, step) for way, lines in zip(self.paths.values(), self.lines)]
        low, high = self.ax.get_ylim()
        heights = stacked((self._within(now) - low) / (high - low))
        for name, loss, height, label in zip(self.paths, now, heights, self.labels):
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


def short(name):
    return name if len(name) <= LETTERS else name[:LETTERS - 1] + "…"


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
