"""The moving picture, whatever format it is written in: actors move, step by step, over an image of all that stands still."""

import numpy as np

from .actors import LossCurves, MapTrajectory, WrittenTexts
from .film_layout import SIDE, FilmLayout, short
from .maps import contours, dot_every, landscape, mark
from .styles import colors, figure, look

NOTE = "the hollower a dot, the farther from this plane the weights are"


class Film:
    """What moves, as artists of a transparent figure, and what stands still, as one image. A frame draws only what moves.

    steps       (frames,) the training step that each frame shows
    still       (height, width, 4) pixels that lie under every frame
    fig         the figure; `show(step)` draws a step in it
    """

    def __init__(self, surface, frames, dpi=84):
        if not surface.trajectories:
            raise ValueError("this surface has no trajectories, so nothing can move; choose a view that shows some")
        surface = landscape(surface)
        color = colors([*surface.points, *surface.trajectories])
        self.last = max(int(trajectory.steps[-1]) for trajectory in surface.trajectories.values())
        self.steps = np.linspace(0, self.last, frames)
        layout = FilmLayout.of(surface)
        self.fig = figure(layout.width, layout.height, dpi)
        _draw_still(self.fig, layout, surface, color, self.last)
        self.fig.canvas.draw()
        self.still = np.array(self.fig.canvas.buffer_rgba())
        self.fig.clear()
        self.fig.patch.set_visible(False)
        self.clock = layout.write(self.fig, SIDE, layout.height - 0.12, "", va="top", size=17, weight="bold")
        self.actors = []
        for k, task in enumerate(surface.loss):
            above, below = layout.axes(self.fig, k, surface)
            below.set(xlim=(0, self.last), ylim=reach(surface, task))
            for ax in (above, below):
                ax.set_axis_off()
            self.actors += [MapTrajectory(above, trajectory, color[name], dot_every(surface))
                            for name, trajectory in surface.trajectories.items()]
            self.actors.append(LossCurves(below, surface.trajectories, task, color))
        if layout.rows:
            self.actors.append(WrittenTexts(self.fig, layout, surface.trajectories))

    def show(self, step):
        self.clock.set_text(f"step {step:.0f} of {self.last}")
        for actor in self.actors:
            actor.go(step)

    def record(self, writer, path):
        with writer.saving(self.fig, path, self.fig.dpi):
            for step in self.steps:
                self.show(step)
                writer.grab_frame()


def _draw_still(fig, layout, surface, color, last):
    """Draw all that does not move."""
    layout.write(fig, layout.width - 0.15, layout.height - 0.17, NOTE, va="top", ha="right", size=11.5, color=look().faint)
    for k, task in enumerate(surface.loss):
        above, below = layout.axes(fig, k, surface)
        contours(above, surface, task, k)
        mark(above, surface, color)
        below.set(xlim=(0, last), ylim=reach(surface, task), xlabel="step", ylabel="nats per token")
        below.set_title("true loss (solid), and as the map shows it (dashed)", size=12, weight="normal")
        below.grid(axis="y")
    if layout.rows:
        layout.write(fig, SIDE, layout.texts - 0.12, "What the models write, with the same random numbers at every step",
                     va="top", size=12, color=look().faint)
        for k, name in enumerate(surface.trajectories):
            layout.write(fig, SIDE, layout.row(k), short(name), va="top", size=12, weight="bold", color=color[name])


def reach(surface, task):
    """The lower and upper end of an axis for the losses of a task: what is far above chance is cut off."""
    values = np.concatenate([losses[task] for trajectory in surface.trajectories.values()
                             for losses in (trajectory.loss, trajectory.shown)])
    values = values[values < 1.3 * surface.info["chance"]]
    low, high = (values.min(), values.max()) if values.size else (0, surface.info["chance"])
    margin = 0.1 * (high - low) or 0.1
    return low - margin, high + margin
