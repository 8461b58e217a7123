"""The live window: a model trains while you watch its trajectory grow on the maps of a loss surface, above its true loss.

This file has the actions and the texts; tracks.py draws the maps, panel.py the widgets, and screen.py makes it fast.
"""

import subprocess
import sys
import textwrap
import time
from collections import deque

import matplotlib as mpl

from .maps import landscape
from .panel import Panel
from .screen import DPI, PANEL, SIZE, Screen
from .styles import colors, display, style
from .tracks import draw_tracks

TEXT_WIDTH, TEXT_LINES = 102, 3                 # characters; lines
SPEED_OVER = 10                                 # steps over which updates per second are averaged
SILENT = {"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"}       # backends that open no window


class Window:
    """The live window, on any figure with a canvas. It must be created and used inside `style`.

    live        a run that can be stepped and reset (minillm/live.py)
    playing     does it advance by itself?

    Space plays or pauses, the right arrow makes one step, R resets.
    """

    def __init__(self, live, fig):
        self.live, self.fig, self.playing = live, fig, False
        self.screen = Screen(fig)
        self.surface = landscape(live.surface)
        self.swapped = self.surface is not live.surface
        self.color = colors(dict.fromkeys([*self.surface.points, *live.methods]))
        self.times = deque(maxlen=SPEED_OVER + 1)
        self._place_words()
        self.tracks = draw_tracks(self.screen, self.surface, live, self.color)
        self.panel = Panel(fig, live, self.color, self.choose_method, self.choose_factor,
                           {"Play": self.play_or_pause, "Step": self.step, "Reset": self.reset})
        self.timer = fig.canvas.new_timer(interval=5)
        self.timer.add_callback(self.tick)
        fig.canvas.mpl_connect("close_event", self._closed)
        fig.canvas.mpl_connect("key_press_event", self._key)
        self._begin()

    # Actions.

    def update(self):
        """Make one optimisation step, and show it."""
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
        """Start again, with the chosen method and learning rate."""
        self.live.reset()
        self._begin()

    def choose_method(self, name):
        self.live.reset(method=name)
        self._begin()
        self.play()

    def choose_factor(self, factor):
        self.live.reset(factor=factor)
        self._begin()
        self.play()

    # The run, and its picture.

    def _begin(self):
        """Show a run at its start."""
        self.times.clear()
        for track in self.tracks:
            track.begin(self.color[self.live.method])
        self._follow(self.live.moments[0])
        self.fig.canvas.draw_idle()

    def _follow(self, moment):
        """Add a new moment to the picture. Without one, only the texts change."""
        if moment:
            ab = moment.ab[::-1] if self.swapped else moment.ab
            for track in self.tracks:
                track.follow(moment, ab)
            if moment.text is not None:
                self._quote(moment)
        self._report()

    def _show(self):
        outgrown = any(track.outgrown for track in self.tracks)
        for track in self.tracks:
            track.grow()
        self.screen.show(everything=outgrown)

    # Texts.

    def _place_words(self):
        words = self.fig.add_axes([PANEL, 0, 1 - PANEL, 1])
        words.set_axis_off()

        def line(y, size, **how):
            return self.screen.seldom_changing(words.text(0.03, y, "", va="top", size=size, **how))

        self.head_line, self.news_line = line(0.98, 18, weight="bold"), line(0.93, 13.5)
        self.text_line = line(0.112, 13, linespacing=1.25)
        self.step_line = self.screen.moving(words.text(0.985, 0.98, "", va="top", ha="right", size=18, weight="bold"))

    def _say_what_goes_on(self):
        self.panel.say_playing(self.playing)
        self._report()
        self.fig.canvas.draw_idle()

    def _report(self):
        """Write the lines at the top. While it plays, numbers stay for a few steps, so that they can be read."""
        live, last = self.live, self.live.moments[-1]
        self.step_line.set_text(f"step {last.step} of {live.steps}")
        if self.playing and last.losses is None:
            return
        self.screen.words_changed()
        self.head_line.set(text=f"{display(live.method)}, learning rate {live.lr:.2g}", color=self.color[live.method])
        alarm = self._alarm()
        state = "finished" if live.state == "finished" else "training" if self.playing else "paused"
        batch_loss = [f"batch loss {last.loss:.2f}"] if last.loss is not None else []
        news = [alarm or state, *batch_loss, f"off this plane {100 * last.residual:.0f} %", *self._speed()]
        self.news_line.set(text="  ·  ".join(news), weight="bold" if alarm else "normal")

    def _alarm(self):
        """A warning if something has gone wrong, or an empty text."""
        if self.live.state == "diverged":
            return "DIVERGED: the loss is not a number"
        if self.live.worse_than_chance:
            return "WORSE THAN A UNIFORM GUESS"
        return "" if all(track.on_map for track in self.tracks) else "OFF THE MAP"

    def _speed(self):
        if len(self.times) < 2:
            return []
        return [f"{(len(self.times) - 1) / (self.times[-1] - self.times[0]):.0f} steps/s"]

    def _quote(self, moment):
        lines = textwrap.wrap(f"After {moment.step} steps it writes:  {moment.text or '(nothing)'}", TEXT_WIDTH)
        if len(lines) > TEXT_LINES:
            lines = [*lines[:TEXT_LINES - 1], lines[TEXT_LINES - 1] + " ..."]
        self.text_line.set_text("\n".join(lines))

    # Events.

    def _closed(self, event):
        self.playing = False
        self.timer.stop()

    def _key(self, event):
        action = {" ": self.play_or_pause, "right": self.step, "r": self.reset}.get((event.key or "").lower())
        if action:
            action()


def has_display():
    """Can a window be opened here? Tried in another process, because a toolkit without a screen may end its process."""
    trial = "from matplotlib import pyplot as plt; plt.figure().canvas; print(plt.get_backend())"
    try:
        done = subprocess.run([sys.executable, "-c", trial], capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return False
    backend = done.stdout.strip().lower()
    return done.returncode == 0 and backend not in SILENT and "inline" not in backend


def run(live, dark=False):
    """Open the window and play. Returns when it is closed."""
    from matplotlib import pyplot as plt

    with style(dark), mpl.rc_context({"toolbar": "None", "figure.dpi": DPI}):      # its toolbar would react to our keys
        fig = plt.figure("minillm, live", figsize=SIZE)
        window = Window(live, fig)          # in a variable, because matplotlib refers to its listeners only weakly
        window.play()
        plt.show(block=True)
