"""Full fine-tuning: every weight trains, at one learning rate, or lower layers more slowly or later than upper ones."""

from dataclasses import dataclass
from typing import ClassVar

from ..lr_multipliers import gradual, layerwise
from ..recipe import Recipe


@dataclass(frozen=True)
class Full(Recipe):
    """Every weight trains.

    decay       the learning rate of a layer is `decay` times that of the layer below it; 2.6 is usual (Howard & Ruder 2018,
                section 3.2)
    gradual     blocks begin to train one after the other, from the top (gradual unfreezing, Howard & Ruder 2018, section 3.3)
    """

    decay: float = 1.0
    gradual: bool = False

    method: ClassVar[str] = "full"
    lr: ClassVar[float] = 3e-3
    stands_alone: ClassVar[bool] = True

    def apply(self, model, rng=None):
        if not self.decay >= 1:
            raise ValueError(f"the decay is {self.decay}, but must be at least 1: lower layers learn more slowly, not faster")
        model.trainable = True
        return model

    def lr_multipliers(self, model, steps):
        if self.decay == 1 and not self.gradual:
            return None
        slower = layerwise(model, self.decay)
        thaw = gradual(model, steps) if self.gradual else lambda step: dict.fromkeys(slower, 1.0)
        return lambda step: {name: slower[name] * factor for name, factor in thaw(step).items()}
