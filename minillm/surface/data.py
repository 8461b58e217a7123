"""A loss surface as data: everything a picture of it needs, and nothing about how it is drawn."""

import json
from dataclasses import asdict, dataclass, field

import numpy as np

from ..ground.schema import flag, many, number, record, table, text, whole

IN_PLANE = 1e-6      # a point lies in the plane if its projection error is below this; more than rounding causes


# What a file says about a surface, and about a profile (ground/schema.py). A ruined model may have a loss that is not a number.
ANY, POINT = number(finite=False), many(number(finite=False), 2, 2)
SURFACE = record({
    "points": table(POINT), "residuals": table(ANY), "point_loss": table(table(ANY)), "distances": table(ANY),
    "cosines": table(ANY), "texts": table(many(text())), "info": record({
        "view?": text(), "directions": text(), "labels": many(text(), 2, 2), "notes": many(text()), "origin": text(),
        "norm": number(), "unit": flag, "tokens": table(whole()), "seed": whole(), "chance": number(), "in_plane": many(text()),
        "gap": number(),
        "not_numbers": whole(), "away": many(text()), "eigenvalues?": many(number(), 3), "curve?": many(POINT, 2),
        "t?": many(number(), 2)})})
PROFILE = record({"ends": many(text(), 2, 2), "barrier": table(table(ANY)), "info": record({
    "tokens": table(whole()), "notes": many(text()), "seed": whole()})})


def ended_worse(loss):
    """Is the last of these losses 10 % or more above the first, or not a number? Then the run has failed."""
    return len(loss) > 0 and not loss[-1] < 1.1 * loss[0]      # written with `not`, so that nan counts as worse


@dataclass
class ProjectedTrajectory:
    """The trajectory of one model's weights during training, projected onto the plane.

    steps       (T,) the optimisation steps after which the weights were recorded
    ab          (T, 2) coordinates of the projections
    residual    (T,) projection error, relative to the distance from the origin: |delta - projection| / |delta|, 0 to 1
    loss        {task: (T,)} the true loss of the recorded weights, on the tokens of the surface
    shown       {task: (T,)} the loss at their projections, measured there rather than read off the grid
    texts       [T texts] written by the recorded weights, or an empty list
    """

    steps: np.ndarray
    ab: np.ndarray
    residual: np.ndarray
    loss: dict
    shown: dict
    texts: list = field(default_factory=list)


@dataclass
class Surface:
    """S_task(a, b) = loss of the model with weights  origin + a u + b v,  on fixed tokens.

    a, b            coordinates of the grid (n_a,), (n_b,), in units of u and v
    loss            {task: (n_b, n_a)} in nats per token; the first task is the new one, the second the old
    points          {model: (a, b)} of the models' projections
    residuals       {model: projection error, relative to its distance from the origin, 0 to 1}
    point_loss      {model: {task: loss}}, the true ones
    trajectories    {model: ProjectedTrajectory}
    distances       {model: |theta - origin|}
    cosines         {"model,model": cosine of the angle between them, seen from the origin}
    info            what a caption needs:
        view, seed      as they were asked for
        directions      how u and v were chosen
        labels          [what moving along a means, along b]
        notes           further remarks, in sentences
        origin, norm    the name of the model at the origin, and |origin|
        unit            do u and v have length 1?
        tokens          {task: how many tokens the loss is a mean over}
        chance          ln V, the loss of a uniform guess
        in_plane        names of the models that lie in the plane, up to rounding (IN_PLANE)
        gap             the largest |true loss - loss of the surface| of anything that lies in the plane, in nats
        not_numbers     how many losses of the grid are nan or infinite
        away            names of the runs that ended worse than they began (`ended_worse`): the map is not stretched to show them
    """

    a: np.ndarray
    b: np.ndarray
    loss: dict
    points: dict
    residuals: dict
    point_loss: dict
    trajectories: dict
    distances: dict
    cosines: dict
    info: dict = field(default_factory=dict)

    @property
    def max_residual(self):
        """The largest projection error of all recorded points."""
        return max((float(trajectory.residual.max()) for trajectory in self.trajectories.values()), default=0.0)

    def checks(self):
        """Sentences that say how far the picture can be trusted."""
        info, origin = self.info, self.info["origin"]
        bad, n = info["not_numbers"], sum(S.size for S in self.loss.values())
        return [*info["notes"],
                f"models in the plane ({', '.join(info['in_plane'])}): their true loss, measured separately, differs from that "
                f"of the surface by at most {info['gap']:.1e} nats",
                *(f"|{name} - {origin}| = {distance:.2f}, {100 * distance / info['norm']:.1f} % of |{origin}|"
                  for name, distance in self.distances.items()),
                *(f"cosine of the angle between {pair.replace(',', ' and ')}: {value:.3f}"
                  for pair, value in self.cosines.items()),
                *(f"projection error along the trajectory of {name}: at most {np.nanmax(trajectory.residual):.2f}, at its end "
                  f"{trajectory.residual[-1]:.2f}" for name, trajectory in self.trajectories.items()),
                *(f"the trajectory of {name} leaves the map" for name in info["away"]),
                f"losses that are not numbers: {bad} of {n}{', left blank in the picture' if bad else ''}"]

    # In a file: all arrays by dotted name, and everything else as JSON.

    META = ("points", "residuals", "point_loss", "distances", "cosines", "info")

    def arrays(self):
        arrays = {"a": self.a, "b": self.b} | {f"loss.{task}": S for task, S in self.loss.items()}
        for model, trajectory in self.trajectories.items():
            parts = {"steps": trajectory.steps, "ab": trajectory.ab, "residual": trajectory.residual}
            arrays |= {f"trajectories.{model}.{part}": array for part, array in parts.items()}
            arrays |= {f"trajectories.{model}.{kind}.{task}": loss for kind in ("loss", "shown")
                       for task, loss in getattr(trajectory, kind).items()}
        return arrays

    def meta(self):
        return {part: getattr(self, part) for part in self.META} | {
            "texts": {name: trajectory.texts for name, trajectory in self.trajectories.items()}}

    @classmethod
    def of(cls, arrays, meta):
        """The inverse of `arrays` and `meta`. ValueError if they do not belong to a surface."""
        SURFACE(meta, "it")
        def below(prefix):
            return {name[len(prefix):]: array for name, array in arrays.items() if name.startswith(prefix)}

        shape = tuple(len(arrays.get(axis, ())) for axis in "ba")
        tasks = list(meta["info"]["tokens"])
        if not all(shape) or any(np.shape(arrays.get(f"loss.{task}")) != shape for task in tasks):
            raise ValueError("its grid does not have a loss for each point")
        for model in meta["texts"]:
            parts = [arrays.get(f"trajectories.{model}.{part}") for part in ("steps", "residual", *(
                f"{kind}.{task}" for kind in ("loss", "shown") for task in tasks))]
            ab = arrays.get(f"trajectories.{model}.ab")
            if any(part is None or part.shape != parts[0].shape for part in parts) or np.shape(ab) != (*parts[0].shape, 2) or (
                    parts[0].ndim != 1 or not parts[0].size):
                raise ValueError(f"the trajectory of {model[:60]} is incomplete")
        for part in ("points", "residuals", "point_loss"):
            if meta[part].keys() != meta["points"].keys() or part == "point_loss" and any(
                    losses.keys() != set(tasks) for losses in meta[part].values()):
                raise ValueError(f"{part} does not match its models")

        def trajectory(model):
            steps, ab, residual = (arrays[f"trajectories.{model}.{part}"] for part in ("steps", "ab", "residual"))
            loss, shown = (below(f"trajectories.{model}.{kind}.") for kind in ("loss", "shown"))
            return ProjectedTrajectory(steps, ab, residual, loss, shown, meta["texts"][model])

        trajectories = {model: trajectory(model) for model in meta["texts"]}
        return cls(arrays["a"], arrays["b"], below("loss."), trajectories=trajectories,
                   **json.loads(json.dumps({part: meta[part] for part in cls.META})))


@dataclass
class Profile:
    """The loss along curves between two models, t from 0 (the first) to 1 (the second), and perhaps a little beyond.

    ends        the names of the two models
    t           (n,) with 0 and 1 among them
    loss        {curve: {task: (n,)}}; "straight line" is one of the curves
    barrier     {curve: {task: nats}}, see `barrier` in line.py
    info        tokens {task: n}, seed, notes [sentences]
    """

    ends: tuple
    t: np.ndarray
    loss: dict
    barrier: dict
    info: dict = field(default_factory=dict)

    def checks(self):
        return [*self.info["notes"],
                *(f"barrier on {task} from {self.ends[0]} to {self.ends[1]} along the {curve}: {height:.4f} nats"
                  for curve, tasks in self.barrier.items() for task, height in tasks.items())]

    def arrays(self):
        return {"t": self.t} | {f"loss.{curve}.{task}": loss for curve, tasks in self.loss.items()
                                for task, loss in tasks.items()}

    def meta(self):
        parts = asdict(self)
        return {part: parts[part] for part in ("ends", "barrier", "info")}

    @classmethod
    def of(cls, arrays, meta):
        """The inverse of `arrays` and `meta`. ValueError if they do not belong to a profile."""
        PROFILE(meta, "it")
        t, names = arrays.get("t"), [f"loss.{curve}.{task}" for curve, tasks in meta["barrier"].items() for task in tasks]
        if "straight line" not in meta["barrier"]:
            raise ValueError("the straight line is missing")
        if np.ndim(t) != 1 or not {0, 1} <= set(t.tolist()) or any(np.shape(arrays.get(name)) != t.shape for name in names):
            raise ValueError("its curves do not have a loss for each t")
        loss = {curve: {task: arrays[f"loss.{curve}.{task}"] for task in tasks} for curve, tasks in meta["barrier"].items()}
        return cls(tuple(meta["ends"]), arrays["t"], loss, meta["barrier"], meta["info"])
