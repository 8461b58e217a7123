"""The controls at the left of the live window: the method, the learning rate, and three buttons."""

from matplotlib.widgets import Button, RadioButtons

from .maps import hollow
from .screen import PANEL
from .styles import look

KEYS = {"Play": "space", "Step": "→", "Reset": "R"}


class Panel:
    """The widgets of a run.

    choose_method   called with the name of the chosen method
    choose_factor   called with the chosen factor on its learning rate
    actions         {button: called when it is pressed}
    """

    def __init__(self, fig, live, color, choose_method, choose_factor, actions):
        self.fig = fig
        self.method_radio = self._radio("Method", 0.975, list(live.methods), live.method, choose_method)
        for label in self.method_radio.labels:
            label.set(color=color[label.get_text()], weight="bold")
        factor_of = {spelt(factor): factor for factor in live.factors}
        self.factor_radio = self._radio("Learning rate", 0.675, list(factor_of), spelt(live.factor),
                                        lambda label: choose_factor(factor_of[label]))
        self.buttons = {name: self._button(name, 0.215 - 0.078 * k, actions[name]) for k, name in enumerate(KEYS)}

    def say_playing(self, playing):
        """Show on the first button what it would do now."""
        self.buttons["Play"].label.set_text(labelled("Play", "Pause" if playing else "Play"))

    def _button(self, name, bottom, action):
        ax = self.fig.add_axes([0.016, bottom, PANEL - 0.036, 0.064])
        ax.spines[:].set_visible(False)
        button = Button(ax, labelled(name), color=look().rule, hovercolor=hollow(look().faint, 0.4))
        button.label.set(size=13, color=look().ink)
        button.on_clicked(action)
        return button

    def _radio(self, title, top, labels, chosen, action):
        self.fig.text(0.016, top, title, va="top", weight="bold", size=15)
        height = 0.051 * (len(labels) + 1)
        ax = self.fig.add_axes([0.006, top - 0.025 - height, PANEL - 0.01, height])
        ax.set_axis_off()
        radio = RadioButtons(ax, labels, labels.index(chosen), activecolor=look().ink)
        radio.set_label_props({"fontsize": [15], "color": [look().ink]})
        radio.set_radio_props({"s": 100, "edgecolor": look().faint, "facecolor": look().ink})
        radio.on_clicked(action)
        return radio


def spelt(factor):
    """A factor on the learning rate as text: 0.25 -> 1/4 ×"""
    return "1 ×  (usual)" if factor == 1 else f"{factor:g} ×" if factor > 1 else f"1/{1 / factor:g} ×"


def labelled(name, shown=None):
    """The text of a button, with the key that does the same."""
    return f"{shown or name}  ({KEYS[name]})"
