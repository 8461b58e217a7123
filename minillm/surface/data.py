"""A loss surface as data: all that a picture of it needs, and nothing of how it is drawn."""

import json
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Path:
    """The recorded way of one model's weights, seen in the plane.

    steps       (T,) after how many optimisation steps
    ab          (T, 2) coordinates of the projection onto the plane
    residual    (T,) the part of the way from the origin that the plane does not show: |delta - projection| / |delta|, 0 to 1
    loss        {task: (T,)} the true loss of the recorded weights, on the tokens of the surface
    """

    steps: np.ndarray
    ab: np.ndarray
    residual: np.ndarray
    loss: dict


@dataclass
class Surface:
    """S_task(a, b) = loss of the model with weights  origin + a u + b v,  on fixed tokens.

    a, b        coordinates of the grid (n_a,), (n_b,), in units of weight distance (u and v have length 1)
    loss        {task: (n_b, n_a)} in nats a token; the first task is the new one, the second the old
    points      {model: (a, b)}; "pretrained" is (0, 0)
    point_loss  {model: {task: loss}}, measured apart from the grid
    paths       {model: Path}
    distances   {model: |theta - origin|}
    cosines     {"model,model": cosine between their ways from the origin}
    facts       what a caption says: norm (|origin|), tokens {task: n}, seed, chance (ln V), directions, labels [a, b], and
                gap, the largest difference between S at the three models and their losses measured apart
    """

    a: np.ndarray
    b: np.ndarray
    loss: dict
    points: dict
    point_loss: dict
    paths: dict
    distances: dict
    cosines: dict
    facts: dict = field(default_factory=dict)

    @property
    def max_residual(self):
        """The largest projection error of any recorded point."""
        return max((float(path.residual.max()) for path in self.paths.values()), default=0.0)

    def checks(self):
        """"Is my picture right?", in sentences."""
        spanned = " and ".join(self.facts["spanned_by"])
        return [f"S at pretrained, {spanned} differs from their losses, measured apart, by at most {self.facts['gap']:.1e} nats",
                *(f"|{name} - pretrained| = {distance:.2f}, {100 * distance / self.facts['norm']:.1f} % of |pretrained|"
                  for name, distance in self.distances.items()),
                *(f"cosine of the ways of {pair.replace(',', ' and ')}: {value:.3f}" for pair, value in self.cosines.items()),
                *(f"projection error along the way of {name}: up to {path.residual.max():.2f}, at its end {path.residual[-1]:.2f}"
                  for name, path in self.paths.items())]

    def arrays(self):
        """All arrays by dotted name, and everything else as JSON text: for an .npz file."""
        arrays = {"a": self.a, "b": self.b} | {f"loss.{task}": S for task, S in self.loss.items()}
        for model, path in self.paths.items():
            arrays |= {f"paths.{model}.steps": path.steps, f"paths.{model}.ab": path.ab,
                       f"paths.{model}.residual": path.residual}
            arrays |= {f"paths.{model}.loss.{task}": loss for task, loss in path.loss.items()}
        return arrays

    META = ("points", "point_loss", "distances", "cosines", "facts")

    def meta(self):
        return {part: getattr(self, part) for part in self.META}

    @classmethod
    def of(cls, arrays, meta):
        """The inverse of `arrays` and `meta`."""
        def below(prefix):
            return {name[len(prefix):]: array for name, array in arrays.items() if name.startswith(prefix)}

        models = dict.fromkeys(name.split(".")[0] for name in below("paths."))
        paths = {model: Path(*(arrays[f"paths.{model}.{part}"] for part in ("steps", "ab", "residual")),
                             loss=below(f"paths.{model}.loss.")) for model in models}
        return cls(arrays["a"], arrays["b"], below("loss."), paths=paths,
                   **json.loads(json.dumps(meta)))
