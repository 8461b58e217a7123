"""The weights on their way, as a moving picture."""

import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter

from ..train.checkpoint import written_whole
from .style import colors, figure, look, style
from .surface import contours, dot_every, dotted, hollow, landscape, map_size, mark, trail

HOLD = 1.0                     # seconds that the last frame stays before the loop starts again
SIDE, TOP, FOOT = 0.8, 1.35, 0.75                                 # inches around a map
COLUMN = 5.4


def animate(surface, path, frames=40, fps=10, dark=False):
    """A GIF of the twin maps on which the paths grow, equal times for equal steps, with the true losses above.

    Between two recorded points the path is straight. The heads are projections, the numbers are not: where a number does not suit
    the ground under its head, the weights are off the plane (`surface` draws by how much). ValueError without paths.
    """
    if not surface.paths:
        raise ValueError("this surface has no recorded paths: nothing moves")
    surface = landscape(surface)
    color = colors([*surface.points, *surface.paths])
    last = max(int(way.steps[-1]) for way in surface.paths.values())
    steps = np.r_[np.linspace(0, last, frames), np.full(round(HOLD * fps), last)]
    with style(dark):
        fig, maps = _stage(surface, color)
        clock = fig.text(SIDE / fig.get_figwidth(), 0.975, "", va="top", size=16, weight="bold")
        walkers = [Walker(ax, k, name, way, way.loss[task], color[name], dot_every(surface)) for task, ax in maps.items()
                   for k, (name, way) in enumerate(surface.paths.items())]

        def show(step):
            clock.set_text(f"step {step:.0f} of {last}")
            for walker in walkers:
                walker.go(step)

        with written_whole(path) as part:
            FuncAnimation(fig, show, steps, init_func=lambda: None).save(part, PillowWriter(fps))


def _stage(surface, color):
    """A figure with the maps as one still image, and over each an empty see-through axes: all that a frame has to draw is what
    moves. Returns the figure and {task: axes}."""
    across, up = map_size(surface, COLUMN - SIDE - 0.85, 3.6)
    width, height = COLUMN * len(surface.loss), FOOT + up + TOP
    fig = figure(width, height, dpi=84)
    places = {task: [(COLUMN * k + SIDE) / width, FOOT / height, across / width, up / height]
              for k, task in enumerate(surface.loss)}
    for k, (task, place) in enumerate(places.items()):
        ax = fig.add_axes(place)
        contours(ax, surface, task, k, title_pad=42)
        mark(ax, surface, color)
    fig.canvas.draw()
    still = np.array(fig.canvas.buffer_rgba())
    fig.clear()
    fig.figimage(still)
    maps = {task: fig.add_axes(place, xlim=surface.a[[0, -1]], ylim=surface.b[[0, -1]], zorder=1)
            for task, place in places.items()}
    for ax in maps.values():
        ax.set_axis_off()
    return fig, maps


class Walker:
    """One model on one map: its path so far, its head, and its true loss above the map, in the k-th place."""

    def __init__(self, ax, k, name, way, loss, color, every):
        self.name, self.way, self.loss, self.color = name, way, loss, color
        self.line, self.dots = trail(ax, way, color, every)
        self.places, self.dot_steps = self.dots.get_offsets(), way.steps[dotted(way, every)]
        self.head, = ax.plot([], [], "o", ms=13, mec=color, mew=2, path_effects=look().halo, zorder=8)
        self.text = ax.annotate("", (0, 1), (108 * k, 21), "axes fraction", "offset points", color=color, size=13, weight="bold")

    def go(self, step):
        way = self.way
        head = [np.interp(step, way.steps, way.ab[:, axis]) for axis in (0, 1)]
        self.line.set_data(*np.vstack([way.ab[way.steps < step], head]).T)
        self.head.set_data(*np.array([head]).T)
        self.head.set_markerfacecolor(hollow(self.color, np.interp(step, way.steps, way.residual)))
        self.dots.set_offsets(self.places[self.dot_steps <= step])
        self.text.set_text(f"{self.name} {np.interp(step, way.steps, self.loss):.2f}")
