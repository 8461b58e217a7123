"""How every picture looks, and how it gets onto the disk.

Pictures are made of `matplotlib.figure.Figure` and never of pyplot: no backend is chosen, no window opened, no figure kept in
a global list. So it works without a screen and in a thread.
"""

import threading
from contextlib import contextmanager
from itertools import cycle

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from ..train.checkpoint import written_whole

INK, FAINT = "#222222", "#777777"
# Safe for the colour-blind, after Okabe & Ito and Paul Tol, and dark enough for text on white.
MODEL_COLORS = {"pretrained": INK, "full": "#D55E00", "frozen": "#0072B2", "adapter": "#B0359A", "scratch": "#707070"}
SAFE_COLORS = ["#332288", "#117733", "#C27A00", "#CC6677", "#2A9D8F", "#8A7A12", "#882255", "#4477AA"]
DISPLAY = {"full": "full fine-tuning", "frozen": "partly frozen", "scratch": "from scratch"}
HALO = [withStroke(linewidth=3, foreground="white")]             # keeps text and lines legible on any ground

RC = {
    "font.family": "DejaVu Sans", "font.size": 13,
    "axes.titlesize": 14.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.labelsize": 13, "xtick.labelsize": 12, "ytick.labelsize": 12, "legend.fontsize": 12, "legend.frameon": False,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": FAINT, "axes.titlepad": 10,
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
    "grid.color": "#E4E4E4", "axes.axisbelow": True, "lines.linewidth": 2.2, "lines.solid_capstyle": "round",
    "figure.facecolor": "white", "figure.dpi": 120, "savefig.dpi": "figure",
}
_settings = threading.RLock()                                    # matplotlib's settings are global: one picture at a time


@contextmanager
def style():
    """Inside, everything that is drawn looks like this project; afterwards matplotlib is as it was."""
    with _settings, mpl.rc_context(RC):
        yield


def figure(width, height, dpi=120):
    """An empty figure, in inches, that paints itself with Agg."""
    fig = Figure(figsize=(width, height), dpi=dpi)
    FigureCanvasAgg(fig)
    return fig


def colors(names):
    """{name: colour}: a model has the same colour in all pictures; other names get those of a safe cycle, in turn."""
    others = cycle(SAFE_COLORS)
    return {name: MODEL_COLORS.get(name) or next(others) for name in names}


def display(name):
    return DISPLAY.get(name, name)


def save(fig, path):
    """Writes the figure, whole or not at all, in the format that the suffix names, and empties it."""
    with written_whole(path) as part:
        fig.savefig(part)
    fig.clear()
