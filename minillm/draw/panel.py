"""What can be chosen in the live window, at its left: the method, the learning rate, and three buttons."""

from matplotlib.widgets import Button, RadioButtons

from .maps import hollow
from .screen import PANEL
from .styles import look

KEYS = {"Play": "space", "Step": "→", "Reset": "R"}


class Panel:
    """The widgets of a run.

    choose_method, choose_factor    called with what was chosen: a method's name, a factor on its learning rate
    answers                         {button: called when it is pressed}, in the order of KEYS
    """

    def __init__(self, fig, live, color, choose_method, choose_factor, answers):
        self.fig = fig
        self.method_radio = self._radio("Method", 0.975, list(live.methods), live.method, choose_method)
        for label in self.method_radio.labels:
            label.set(color=color[label.get_text()], weight="bold")
        factor_of = {spelt(factor): factor for factor in live.factors}
        self.factor_radio = self._radio("Learning rate", 0.675, list(factor_of), spelt(live.factor),
                                        lambda label: choose_factor(factor_of[label]))
        self.buttons = {name: self._button(name, 0.215 - 0.078 * k, answers[name]) for k, name in enumerate(KEYS)}

    def say_playing(self, playing):
        """What the first button would do now."""
        self.buttons["Play"].label.set_text(labelled("Play", "Pause" if playing else "Play"))

    def _button(self, name, bottom, answer):
        ax = self.fig.add_axes([0.016, bottom, PANEL - 0.036, 0.064])
        ax.spines[:].set_visible(False)
        button = Button(ax, labelled(name), color=look().rule, hovercolor=hollow(look().faint, 0.4))
        button.label.set(size=13, color=look().ink)
        button.on_clicked(answer)
        return button

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


def spelt(factor):
    """0.25 -> 1/4 ×"""
    return "1 ×  (usual)" if factor == 1 else f"{factor:g} ×" if factor > 1 else f"1/{1 / factor:g} ×"


def labelled(name, shown=None):
    """What stands on a button, and the key that does the same."""
    return f"{shown or name}  ({KEYS[name]})"
