"""How all pictures look, and how they are saved.

Pictures use `matplotlib.figure.Figure` and never pyplot: no backend is chosen, no window is opened, and no figure stays in a
global list. So they can be drawn without a screen and in a thread.
"""

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from ..ground.files import written_whole

WIDTH = 1280 / 120             # inches; text of 13 points can still be read at half that width, as on a page


@dataclass(frozen=True)
class Look:
    """The colours of a picture.

    paper, ink, faint, rule     background, text, less prominent text, and thin lines
    ground                      of a map, from low to high: grey, so that only models have a colour
    models, others              {known model: colour}, and colours for all others, used in turn
    scale                       for ordered things, from the first to the last
    """

    paper: str
    ink: str
    faint: str
    rule: str
    ground: LinearSegmentedColormap
    models: dict
    others: tuple
    scale: LinearSegmentedColormap

    @property
    def halo(self):
        """Path effects that keep text and lines legible on any background."""
        return [withStroke(linewidth=3, foreground=self.paper)]


# Safe for the colour-blind, after Okabe & Ito and Paul Tol; dark enough for text on white, or bright enough on black.
LIGHT = Look(
    paper="#FFFFFF", ink="#222222", faint="#777777", rule="#E4E4E4",
    ground=LinearSegmentedColormap.from_list(
        "ground", ["#FFFFFA", "#E6EAEE", "#CAD2DA", "#A9B4C1", "#8492A3", "#5F6E81", "#3C485A"]),
    models={"pretrained": "#222222", "full": "#D55E00", "frozen": "#0072B2", "adapter": "#B0359A", "lora": "#117733",
            "scratch": "#707070"},
    others=("#332288", "#117733", "#C27A00", "#CC6677", "#2A9D8F", "#8A7A12", "#882255", "#4477AA"),
    scale=LinearSegmentedColormap.from_list("scale", ["#E69F00", "#D1495B", "#8E2C8C", "#2D1E6B"]))
DARK = Look(
    paper="#14171C", ink="#EDEDED", faint="#9AA0A8", rule="#333A44",
    ground=LinearSegmentedColormap.from_list(
        "ground", ["#0E1116", "#1B222B", "#2A3440", "#3D4A59", "#556576", "#738496", "#98A8B8"]),
    models={"pretrained": "#F2F2F2", "full": "#F28C38", "frozen": "#56B4E9", "adapter": "#E284D2", "lora": "#57C785",
            "scratch": "#A8A8A8"},
    others=("#9C8CF0", "#57C785", "#E6B450", "#F29CA3", "#5FD0C5", "#C9BC55", "#D77FB0", "#8DB4E2"),
    scale=LinearSegmentedColormap.from_list("scale", ["#6C6CE0", "#C765C4", "#FF8F6B", "#FFE37A"]))
DISPLAY = {"full": "full fine-tuning", "frozen": "partly frozen", "scratch": "from scratch"}

RC = {
    "font.family": "DejaVu Sans", "font.size": 13,
    "axes.titlesize": 14.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.labelsize": 13, "xtick.labelsize": 12, "ytick.labelsize": 12, "legend.fontsize": 12, "legend.frameon": False,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlepad": 10,
    "axes.axisbelow": True, "lines.linewidth": 2.2, "lines.solid_capstyle": "round",
    "figure.dpi": 120, "savefig.dpi": "figure", "svg.hashsalt": "minillm",
    "text.parse_math": False,                                    # a dollar sign in a name is just a dollar sign
}
UNDATED = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}    # same numbers, same file
_settings = threading.RLock()                                    # matplotlib's settings are global: one picture at a time
_look = LIGHT


@contextmanager
def style(dark=False):
    """A context in which everything is drawn in the look of this project; afterwards matplotlib is as it was."""
    global _look
    with _settings:
        before, _look = _look, DARK if dark else LIGHT
        colours = {"figure.facecolor": _look.paper, "axes.facecolor": _look.paper, "text.color": _look.ink,
                   "axes.labelcolor": _look.ink, "xtick.color": _look.ink, "ytick.color": _look.ink,
                   "axes.edgecolor": _look.faint, "grid.color": _look.rule}
        try:
            with mpl.rc_context(RC | colours):
                yield
        finally:
            _look = before


def look():
    """The Look of the picture that is being drawn."""
    return _look


def figure(width, height, dpi=120):
    """An empty figure, with sizes in inches and an Agg canvas."""
    fig = Figure(figsize=(width, height), dpi=dpi)
    FigureCanvasAgg(fig)
    return fig


def colors(names):
    """{name: colour}: known models have the same colour in all pictures; other names get those of `others`, in turn."""
    others = cycle(color for color in _look.others if color not in _look.models.values())
    return {name: _look.models.get(name) or next(others) for name in dict.fromkeys(names)}


def shades(names):
    """{name: colour} for ordered names, evenly spaced along the scale."""
    return {name: _look.scale(at) for name, at in zip(names, np.linspace(0, 1, len(names)))}


def display(name):
    """The name of a model as pictures show it."""
    return DISPLAY.get(name, name)


def save(fig, path):
    """Write the figure, completely or not at all, in the format of the suffix, and clear it."""
    with written_whole(path) as part:
        fig.savefig(part, metadata=UNDATED.get(Path(path).suffix))
    fig.clear()
