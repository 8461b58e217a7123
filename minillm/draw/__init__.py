"""Pictures. The only package that imports matplotlib; everything below it hands over plain numbers."""

from .animation import animate
from .comparison import comparison
from .curves import learning_and_forgetting, pretraining
from .style import save, style
from .surface import surface

__all__ = ["animate", "comparison", "learning_and_forgetting", "pretraining", "save", "style", "surface"]
