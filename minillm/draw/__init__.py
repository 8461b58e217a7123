"""Pictures. The only package that imports matplotlib; what it draws (a Surface, a Profile, dicts) knows nothing of that."""

from .animation import animate
from .comparison import comparison
from .curves import learning_and_forgetting, pretraining
from .fan import fan
from .movement import movement, spectrum
from .player import POLICY, player, player_html
from .profile import profile
from .relief import relief
from .style import save, style
from .surface import surface

__all__ = ["POLICY", "animate", "comparison", "fan", "learning_and_forgetting", "movement", "player", "player_html",
           "pretraining", "profile", "relief", "save", "spectrum", "style", "surface"]
