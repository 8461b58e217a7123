"""A window in which weights train before one's eyes: a path grows on the maps of a loss surface, and its true loss below them.

Here is what can be done and what is said; the maps are drawn in tracks.py, the widgets in panel.py, and screen.py makes it quick.
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
SPEED_OVER = 10                                 # steps, over which updates per second are counted
SILENT = {"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"}       # backends that open no window


class Window:
    """The live window, on any figure with a canvas; made and used inside `style`.

    live        a run that can be stepped and reset, as minillm/live.py makes it
    playing     does it go on by itself?

    Space plays or pauses, the right arrow makes one step, R begins anew.
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

    def choose_factor(self, factor):
        self.live.reset(factor=factor)
        self._begin()
        self.play()

    # The run, and the picture of it.

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

    # What is said of it.

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
        """The lines at the top. While it plays, numbers stand for a few steps, or nobody could read them."""
        live, last = self.live, self.live.moments[-1]
        self.step_line.set_text(f"step {last.step} of {live.steps}")
        if self.playing and last.losses is None:
            return
        self.screen.words_changed()
        self.head_line.set(text=f"{display(live.method)}, learning rate {live.lr:.2g}", color=self.color[live.method])
        alarm = self._alarm()
        calm = "finished" if live.state == "finished" else "training" if self.playing else "paused"
        batch_loss = [f"batch loss {last.loss:.2f}"] if last.loss is not None else []
        news = [alarm or calm, *batch_loss, f"off this plane {100 * last.residual:.0f} %", *self._speed()]
        self.news_line.set(text="  ·  ".join(news), weight="bold" if alarm else "normal")

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

    def _quote(self, moment):
        lines = textwrap.wrap(f"After {moment.step} steps it writes:  {moment.text or '(nothing)'}", TEXT_WIDTH)
        if len(lines) > TEXT_LINES:
            lines = [*lines[:TEXT_LINES - 1], lines[TEXT_LINES - 1] + " ..."]
        self.text_line.set_text("\n".join(lines))

    # What comes from outside.

    def _closed(self, event):
        self.playing = False
        self.timer.stop()

    def _key(self, event):
        answer = {" ": self.play_or_pause, "right": self.step, "r": self.reset}.get((event.key or "").lower())
        if answer:
            answer()


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
