"""A window in which weights train before one's eyes: a path grows on the maps of a loss surface, and its true loss below them.

What stands still is drawn once and kept as an image. A step puts that image back and draws over it what moves (blitting), which
takes a tenth of the time of drawing everything.
"""

import subprocess
import sys
import textwrap
import time
from collections import deque

import matplotlib as mpl
import numpy as np
from matplotlib.transforms import Bbox
from matplotlib.widgets import Button, RadioButtons

from .maps import contours, dot_every, extreme, hollow, landscape, map_size, mark, trail
from .styles import colors, display, look, style

SIZE, DPI = (12.8, 7.2), 100                    # inches: 1280 x 720 pixels, what the oldest projector shows
PANEL = 0.165                                   # the part of the width that belongs to what one can choose
FAINT = 0.38                                    # how far finished models are mixed with the paper
TEXT_WIDTH, TEXT_LINES = 102, 3                 # characters; lines
SPEED_OVER = 10                                 # steps, over which updates per second are counted
RIM = 0.03                                      # of a map's width, as far inside stands what is off the map
HIGHEST = 3                                     # times the loss of a blind guess, as high do the axes of losses grow
KEYS = {"Play": "space", "Step": "→", "Reset": "R"}
SILENT = {"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"}       # backends that open no window


class Window:
    """The live window, on any figure with a canvas; made and used inside `style`.

    live        a run that can be stepped and reset, as minillm/live.py makes it
    playing     does it go on by itself?

    Space plays or pauses, the right arrow makes one step, R begins anew.
    """

    def __init__(self, live, fig):
        self.live, self.fig, self.playing = live, fig, False
        self.blits, self.background, self.written = fig.canvas.supports_blit, None, False
        self.surface = landscape(live.surface)
        self.swapped = self.surface is not live.surface
        self.color = colors(dict.fromkeys([*self.surface.points, *live.methods]))
        self.times = deque(maxlen=SPEED_OVER + 1)
        self.moving = []
        self._draw_stage()
        self._draw_panel()
        self.timer = fig.canvas.new_timer(interval=5)
        self.timer.add_callback(self.tick)
        for event, answer in {"draw_event": self._drawn, "resize_event": self._resized, "close_event": self._closed,
                              "key_press_event": self._key}.items():
            fig.canvas.mpl_connect(event, answer)
        self._begin()

    # What can be done.

    def update(self):
        """One optimisation step, and the picture of it."""
        moment = self.live.step()
        self.times.append(time.perf_counter())
        if self.live.state != "training":
            self.pause()
        self._follow(moment)
        self._show()

    def tick(self):
        if self.playing:
            self.update()

    def play(self, *event):
        if self.live.state == "training" and not self.playing:
            self.playing = True
            self.times.clear()
            self._say_what_goes_on()
            self.timer.start()

    def pause(self, *event):
        if self.playing:
            self.playing = False
            self._say_what_goes_on()
            self.timer.stop()

    def play_or_pause(self, *event):
        (self.pause if self.playing else self.play)()

    def step(self, *event):
        self.pause()
        self.times.clear()
        self.update()

    def reset(self, *event):
        """Begin anew, with the method and the learning rate that are chosen."""
        self.live.reset()
        self._begin()

    def choose_method(self, name):
        self.live.reset(method=name)
        self._begin()
        self.play()

    def choose_factor(self, label):
        self.live.reset(factor=next(factor for factor in self.live.factors if spelt(factor) == label))
        self._begin()
        self.play()

    # What stands still, or almost.

    def _draw_stage(self):
        """The maps with the finished models, faint, and below them the axes of the losses."""
        surface, fig, (width, height) = self.surface, self.fig, SIZE
        faint = {name: hollow(color, FAINT) for name, color in self.color.items()}
        self.words = fig.add_axes([PANEL, 0, 1 - PANEL, 1])
        self.words.set_axis_off()
        self.head_line, self.news_line = self._line(0.98, 18, weight="bold"), self._line(0.93, 13.5)
        self.text_line = self._line(0.112, 13, linespacing=1.25)
        self.seldom = [self.head_line, self.news_line, self.text_line]
        for line in self.seldom:
            line.set_animated(self.blits)
        self.step_line = self.move(self.words.text(0.985, 0.98, "", va="top", ha="right", size=18, weight="bold"))
        self.tracks = []
        column = (0.995 - PANEL) * width / len(surface.loss)
        room = column - 1.62
        across, up = (room, 2.75) if extreme(surface) else map_size(surface, room, 2.75)
        for k, task in enumerate(surface.loss):
            left = PANEL * width + 0.75 + column * k
            ax = fig.add_axes([(left + (room - across) / 2) / width, 0.46, across / width, up / height])
            contours(ax, surface, task, k, title_pad=7)
            for name, way in surface.paths.items():
                for artist in trail(ax, way, faint[name], dot_every(surface)):
                    artist.set_path_effects([])
            mark(ax, surface, faint, size=11.5)
            below = fig.add_axes([left / width, 0.2, room / width, 0.145])
            self._draw_losses(below, task, faint)
            self.tracks.append(Track(self, ax, below, task))

    def _draw_losses(self, ax, task, faint):
        for name, way in self.surface.paths.items():
            ax.plot(way.steps, way.loss[task], color=faint[name], lw=1.6)
        ax.axhline(self.live.chance, color=look().faint, ls="--", lw=1.6)
        ax.annotate("chance", (1, self.live.chance), (-2, -3), xycoords=ax.get_yaxis_transform(), textcoords="offset points",
                    ha="right", va="top", size=11, color=look().faint, annotation_clip=True)
        ax.set(xlim=(0, self.live.steps), xlabel="step", ylabel="nats/token")
        ax.set_title("true loss; faint: of the finished models", size=12, weight="normal", pad=5)
        ax.locator_params(axis="y", nbins=4)
        ax.grid(axis="y")

    def _draw_panel(self):
        """Method, learning rate and buttons, at the left."""
        fig, live = self.fig, self.live
        self.method_radio = self._radio("Method", 0.975, list(live.methods), live.method, self.choose_method)
        for label in self.method_radio.labels:
            label.set(color=self.color[label.get_text()], weight="bold")
        self.factor_radio = self._radio("Learning rate", 0.675, [*map(spelt, live.factors)], spelt(live.factor),
                                        self.choose_factor)
        self.buttons = {}
        for k, (label, answer) in enumerate(zip(KEYS, (self.play_or_pause, self.step, self.reset))):
            ax = fig.add_axes([0.016, 0.215 - 0.078 * k, PANEL - 0.036, 0.064])
            button = self.buttons[label] = Button(ax, labelled(label), color=look().rule, hovercolor=hollow(look().faint, 0.4))
            button.label.set(size=13, color=look().ink)
            button.on_clicked(answer)
            ax.spines[:].set_visible(False)

    def _radio(self, title, top, labels, chosen, answer):
        self.fig.text(0.016, top, title, va="top", weight="bold", size=15)
        height = 0.051 * (len(labels) + 1)
        ax = self.fig.add_axes([0.006, top - 0.025 - height, PANEL - 0.01, height])
        ax.set_axis_off()
        radio = RadioButtons(ax, labels, labels.index(chosen), activecolor=look().ink)
        radio.set_label_props({"fontsize": [15], "color": [look().ink]})
        radio.set_radio_props({"s": 100, "edgecolor": look().faint, "facecolor": look().ink})
        radio.on_clicked(answer)
        return radio

    # What moves.

    def move(self, artist):
        """An artist that is drawn anew in each step."""
        artist.set_animated(self.blits)
        self.moving.append(artist)
        return artist

    def _line(self, y, size, **how):
        return self.words.text(0.03, y, "", va="top", size=size, **how)

    def _begin(self):
        """Show a run at its start."""
        self.times.clear()
        for track in self.tracks:
            track.begin(self.color[self.live.method])
        self._follow(self.live.moments[0])
        self.fig.canvas.draw_idle()

    def _follow(self, moment):
        """Take a new moment into the picture, or say why there is none."""
        if moment:
            for track in self.tracks:
                track.follow(moment)
            if moment.text is not None:
                self._tell(moment)
        self._report()

    def _say_what_goes_on(self):
        self.buttons["Play"].label.set_text(labelled("Play", "Pause" if self.playing else "Play"))
        self._report()
        self.fig.canvas.draw_idle()

    def _report(self):
        """The lines at the top. While it plays, numbers stand for a few steps, or nobody could read them."""
        live, last = self.live, self.live.moments[-1]
        self.step_line.set_text(f"step {last.step} of {live.steps}")
        if self.playing and last.losses is None:
            return
        self.written = False
        self.head_line.set(text=f"{display(live.method)}, learning rate {live.lr:.2g}", color=self.color[live.method])
        facts = ([f"batch loss {last.loss:.2f}"] if last.loss is not None else []) + [
            f"off this plane {100 * last.residual:.0f} %"] + self._speed()
        alarm = self._alarm()
        calm = "finished" if live.state == "finished" else "training" if self.playing else "paused"
        self.news_line.set(text="  ·  ".join([alarm or calm, *facts]), weight="bold" if alarm else "normal")

    def _alarm(self):
        """What has gone wrong, if anything."""
        if self.live.state == "diverged":
            return "DIVERGED: the loss is no number"
        if self.live.worse_than_chance:
            return "WORSE THAN A BLIND GUESS"
        return "" if all(track.on_map for track in self.tracks) else "OFF THE MAP"

    def _speed(self):
        if len(self.times) < 2:
            return []
        return [f"{(len(self.times) - 1) / (self.times[-1] - self.times[0]):.0f} steps/s"]

    def _tell(self, moment):
        lines = textwrap.wrap(f"After {moment.step} steps it writes:  {moment.text or '(nothing)'}", TEXT_WIDTH)
        if len(lines) > TEXT_LINES:
            lines = [*lines[:TEXT_LINES - 1], lines[TEXT_LINES - 1] + " ..."]
        self.text_line.set_text("\n".join(lines))

    def place(self, ab):
        """(a, b) as the axes of the maps have it."""
        return ab[::-1] if self.swapped else ab

    # How it comes onto the screen.

    def _show(self):
        canvas = self.fig.canvas
        if self.background is None or any(track.outgrown for track in self.tracks):
            for track in self.tracks:
                track.grow()
            canvas.draw_idle()
            return
        if not self.written:
            self._write_down()
        canvas.restore_region(self.background)
        self._draw_moving()
        canvas.blit(self.stage)

    def _draw_moving(self):
        for artist in self.moving:
            self.fig.draw_artist(artist)

    def _write_down(self):
        """Put into the background what changes seldom: to draw words takes longer than all the rest of a frame."""
        self.fig.canvas.restore_region(self.bare)
        for line in self.seldom:
            self.fig.draw_artist(line)
        self.background, self.written = self.fig.canvas.copy_from_bbox(self.stage), True

    def _drawn(self, event):
        if self.blits and not event.canvas.is_saving():
            width, height = self.fig.bbox.size
            self.stage = Bbox([[PANEL * width, 0], [width, height]])        # all but the panel, whose widgets draw themselves
            self.bare = event.canvas.copy_from_bbox(self.stage)
            self._write_down()
            self._draw_moving()

    def _resized(self, event):
        self.background = None

    def _closed(self, event):
        self.playing = False
        self.timer.stop()

    def _key(self, event):
        answer = {" ": self.play_or_pause, "right": self.step, "r": self.reset}.get((event.key or "").lower())
        if answer:
            answer()


class Track:
    """The run on one map, and its true loss on that task below."""

    def __init__(self, window, ax, below, task):
        self.window, self.ax, self.below, self.task = window, ax, below, task
        self.every = dot_every(window.surface)
        self.way, = ax.plot([], [], lw=3.2, path_effects=look().halo, zorder=8)
        self.dots = ax.scatter([], [], s=48, linewidths=1.5, zorder=9)
        self.head, = ax.plot([], [], "o", ms=15, mew=2.4, path_effects=look().halo, zorder=10, clip_on=False)
        self.curve, = below.plot([], [], "o-", ms=5, lw=2.6, path_effects=look().halo, zorder=8)
        for artist in (self.way, self.dots, self.head, self.curve):
            window.move(artist)
        seen = np.concatenate([path.loss[task] for path in window.surface.paths.values()])
        self.low, self.top, self.ceiling = 0.7 * seen.min(), 1.15 * seen.max(), HIGHEST * window.live.chance

    def begin(self, color):
        self.color, self.ab, self.colors, self.dotted, self.losses, self.on_map = color, [], [], [], [], True
        self.outgrown = False
        self.below.set_ylim(self.low, self.top)
        self.way.set_color(color)
        self.curve.set_color(color)
        self.head.set_markeredgecolor(color)
        self.dots.set_edgecolor(color)

    def follow(self, moment):
        ab, tint = self.window.place(moment.ab), hollow(self.color, moment.residual)
        self.ab.append(ab)
        self.way.set_data(*np.transpose(self.ab))
        low, high = np.transpose([axis[[0, -1]] for axis in (self.window.surface.a, self.window.surface.b)])
        self.on_map = bool(np.all((low <= ab) & (ab <= high)))
        edge = RIM * (high - low)
        self.head.set_data(*np.transpose([ab if self.on_map else np.clip(ab, low + edge, high - edge)]))
        self.head.set_markerfacecolor(tint)
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

    def grow(self):
        """Make room for a loss that is higher than the axis; what rises without end leaves it."""
        if self.outgrown:
            self.below.set_ylim(self.low, min(1.25 * self.losses[-1][1], self.ceiling))
            self.outgrown = False


def spelt(factor):
    """0.25 -> 1/4 ×"""
    return "1 ×  (usual)" if factor == 1 else f"{factor:g} ×" if factor > 1 else f"1/{1 / factor:g} ×"


def labelled(name, shown=None):
    """What stands on a button, and the key that does the same."""
    return f"{shown or name}  ({KEYS[name]})"


def has_display():
    """Can a window be opened here? Tried in another process, for a toolkit that finds no screen may end the one that it is in."""
    trial = "from matplotlib import pyplot as plt; plt.figure().canvas; print(plt.get_backend())"
    try:
        done = subprocess.run([sys.executable, "-c", trial], capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return False
    backend = done.stdout.strip().lower()
    return done.returncode == 0 and backend not in SILENT and "inline" not in backend


def run(live, dark=False):
    """Open the window, and play until it is closed."""
    from matplotlib import pyplot as plt

    with style(dark), mpl.rc_context({"toolbar": "None", "figure.dpi": DPI}):      # its toolbar would take our keys for its own
        fig = plt.figure("minillm, live", figsize=SIZE)
        window = Window(live, fig)          # named, for matplotlib itself holds its listeners only weakly
        window.play()
        plt.show(block=True)
