"""The run in the live window: its trajectory on the maps, over the finished models, and below each map its true loss."""

import numpy as np

from .maps import contours, dot_every, extreme, hollow, map_size, mark, trail
from .screen import PANEL, SIZE
from .styles import look

FAINT = 0.38                                    # how far the colours of finished models are mixed with that of the paper
RIM = 0.03                                      # share of a map's width by which points off the map are moved inside
HIGHEST = 3                                     # times the loss of a uniform guess: the limit up to which axes of losses grow


def draw_tracks(screen, surface, live, color):
    """Draw maps and axes with the finished models, faint, and return a Track for each task."""
    fig, (width, height) = screen.fig, SIZE
    faint = {name: hollow(shade, FAINT) for name, shade in color.items()}
    column = (0.995 - PANEL) * width / len(surface.loss)
    room = column - 1.62
    across, up = (room, 2.75) if extreme(surface) else map_size(surface, room, 2.75)
    tracks = []
    for k, task in enumerate(surface.loss):
        left = PANEL * width + 0.75 + column * k
        ax = fig.add_axes([(left + (room - across) / 2) / width, 0.46, across / width, up / height])
        _draw_map(ax, surface, task, k, faint)
        below = fig.add_axes([left / width, 0.2, room / width, 0.145])
        _draw_losses(below, surface, task, live, faint)
        tracks.append(Track(screen, surface, task, ax, below, HIGHEST * live.chance))
    return tracks


def _draw_map(ax, surface, task, k, color):
    contours(ax, surface, task, k, title_pad=7)
    for name, trajectory in surface.trajectories.items():
        for artist in trail(ax, trajectory, color[name], dot_every(surface)):
            artist.set_path_effects([])
    mark(ax, surface, color, size=11.5)


def _draw_losses(ax, surface, task, live, color):
    for name, trajectory in surface.trajectories.items():
        ax.plot(trajectory.steps, trajectory.loss[task], color=color[name], lw=1.6)
    ax.axhline(live.chance, color=look().faint, ls="--", lw=1.6)
    ax.annotate("chance", (1, live.chance), (-2, -3), xycoords=ax.get_yaxis_transform(), textcoords="offset points",
                ha="right", va="top", size=11, color=look().faint, annotation_clip=True)
    ax.set(xlim=(0, live.steps), xlabel="step", ylabel="nats/token")
    ax.set_title("true loss; faint: of the finished models", size=12, weight="normal", pad=5)
    ax.locator_params(axis="y", nbins=4)
    ax.grid(axis="y")


class Track:
    """The run on one map, and its true loss on that task below.

    on_map      is the last point on the map?
    outgrown    is the last loss above the axis? Then `grow` must be called, and everything redrawn
    """

    def __init__(self, screen, surface, task, ax, below, ceiling):
        self.ax, self.below, self.task, self.ceiling = ax, below, task, ceiling
        self.every = dot_every(surface)
        self.corners = np.transpose([axis[[0, -1]] for axis in (surface.a, surface.b)])
        self.trajectory, = ax.plot([], [], lw=3.2, path_effects=look().halo, zorder=8)
        self.dots = ax.scatter([], [], s=48, linewidths=1.5, zorder=9)
        self.head, = ax.plot([], [], "o", ms=15, mew=2.4, path_effects=look().halo, zorder=10, clip_on=False)
        self.curve, = below.plot([], [], "o-", ms=5, lw=2.6, path_effects=look().halo, zorder=8)
        for artist in (self.trajectory, self.dots, self.head, self.curve):
            screen.moving(artist)
        losses = np.concatenate([trajectory.loss[task] for trajectory in surface.trajectories.values()])
        self.low, self.top = 0.7 * losses.min(), 1.15 * losses.max()

    def begin(self, color):
        self.color, self.ab, self.colors, self.dotted, self.losses, self.on_map = color, [], [], [], [], True
        self.outgrown = False
        self.below.set_ylim(self.low, self.top)
        self.trajectory.set_color(color)
        self.curve.set_color(color)
        self.head.set_markeredgecolor(color)
        self.dots.set_edgecolor(color)

    def follow(self, moment, ab):
        """Add a moment, whose weights project to the point `ab`."""
        tint = hollow(self.color, moment.residual)
        self.ab.append(ab)
        self.trajectory.set_data(*np.transpose(self.ab))
        self._move_head(ab, tint)
        if moment.step and moment.step % self.every == 0:
            self.dotted.append(ab)
            self.colors.append(tint)
        self.dots.set_offsets(np.reshape(self.dotted, (-1, 2)))
        self.dots.set_facecolor(self.colors)
        if moment.losses:
            loss = moment.losses[self.task]
            self.losses.append((moment.step, loss))
            self.outgrown = min(loss, self.ceiling) > self.below.get_ylim()[1]
        self.curve.set_data(*np.transpose(self.losses))

    def _move_head(self, ab, tint):
        """Move the head to a point, or if that is off the map, to the nearest position at its rim."""
        low, high = self.corners
        self.on_map = bool(np.all((low <= ab) & (ab <= high)))
        edge = RIM * (high - low)
        self.head.set_data(*np.transpose([ab if self.on_map else np.clip(ab, low + edge, high - edge)]))
        self.head.set_markerfacecolor(tint)

    def grow(self):
        """Raise the axis if the last loss is above it, up to the ceiling."""
        if self.outgrown:
            self.below.set_ylim(self.low, min(1.25 * self.losses[-1][1], self.ceiling))
            self.outgrown = False
