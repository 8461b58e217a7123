"""Pictures. Each function draws measurements (a Surface, a Profile, a Comparison, or dicts of numbers) into one file.

Only this package imports matplotlib, and nothing that it draws depends on it. A function is named in the singular and its module
in the plural, so that neither hides the other: `draw.profile` is the function, draw/profiles.py its file.
"""

from .animation import animate
from .comparisons import comparison
from .curves import learning_and_forgetting, pretraining
from .fans import fan
from .maps import surface
from .movements import movement, spectrum
from .player_page import POLICY, player, player_html
from .profiles import profile
from .reliefs import relief
from .styles import save, style

__all__ = ["POLICY", "animate", "comparison", "fan", "learning_and_forgetting", "movement", "player", "player_html",
           "pretraining", "profile", "relief", "save", "spectrum", "style", "surface"]
