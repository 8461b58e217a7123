"""Several specialists on one base: put an adapter on, switch to another, or take it off."""

from contextlib import contextmanager
from dataclasses import dataclass, field

from ..ground.arrays import read_arrays
from ..ground.files import CheckpointError
from ..train.checkpoint import fingerprints
from .adapter_file import base_of, unpack
from .methods import from_json
from .recipe import Recipe
from .wrapper import inserted, must_be_bare, slots


@dataclass
class Adapter:
    """What training with a recipe adds to a base: inserted modules, and new values for some weights of the body.

    wrappers    [(slot, the Wrapper that goes there)]
    values      {name of a parameter of the body: array}: the trained values; while the adapter is on, those of the base
    """

    recipe: Recipe
    wrappers: list = field(default_factory=list)
    values: dict = field(default_factory=dict)


class Adapters:
    """A base model and adapters for it.

        adapters = Adapters(base)
        adapters.load("poet", "poet/lora.npz")
        adapters.load("clerk", "clerk/adapter.npz")
        adapters.use("clerk")               # base, the model, is now the clerk
        with adapters.disabled():
            ...                             # here it is the base again, bit for bit

    Switching copies nothing: wrappers and arrays are exchanged. A `Trainer` trains the adapter that was on when it was made, and
    refuses to while another one is on.
    """

    def __init__(self, base):
        """ValueError if something has been inserted into the base."""
        must_be_bare(base)
        self.model = base
        self.body = base.parameters()
        self.fingerprints = fingerprints(base)
        self.known = {}
        self.active = None

    def add(self, name, recipe, rng=None):
        """Apply a recipe to the base, with `rng` as in `Recipe.apply`. The new adapter is on afterwards, and can be trained.

        ValueError if the name is taken, or if the recipe does not suit the base. After an error, here and in all methods below,
        everything is as it was.
        """
        if name in self.known:
            raise ValueError(f"there is an adapter {name!r} already")
        with self.all_or_nothing():
            self.take_off()
            recipe.apply(self.model, rng)
            values = {parameter: p.data for parameter, p in self.body.items() if p.trainable}
            for parameter, value in values.items():
                self.body[parameter].data = value.copy()
            self.known[name] = Adapter(recipe, [(slot, slot.module) for slot in inserted(self.model)], values)
            self.active = name

    def load(self, name, path):
        """Read an adapter from its file and put it on. CheckpointError if the file is broken or belongs to another base."""
        if name in self.known:
            raise ValueError(f"there is an adapter {name!r} already")
        arrays, meta = read_arrays(path, "adapter")
        if base_of(meta, path)["fingerprint"] not in self.fingerprints:
            raise CheckpointError(f"{path} was trained on another base: the fingerprints differ; name the right base")
        try:
            recipe = from_json(meta["recipe"])
        except ValueError as error:
            raise CheckpointError(f"{path} has a recipe unknown to this version of minillm: {str(meta['recipe'])[:200]} "
                                  f"({error})") from None
        theta, adds, problem = arrays.get("theta"), recipe.adds(self.model.config), ""
        if theta is None or "shapes" not in meta:
            problem = f"there are no {'shapes' if theta is not None else 'numbers theta'}"
        elif adds > theta.size:                             # refused before anything that large is built
            problem = f"there are {theta.size} numbers, but {adds} parameters"
        if problem:
            raise CheckpointError(f"{path} does not hold the weights that its recipe {meta['recipe']} asks for ({problem})")
        with self.all_or_nothing():
            try:
                self.add(name, recipe)
            except ValueError as error:
                raise CheckpointError(f"{path} has a recipe that does not suit its base: {meta['recipe']} ({error})") from None
            try:
                unpack(self.model, theta, meta["shapes"])
            except ValueError as error:
                raise CheckpointError(f"{path} does not hold the weights that its recipe {meta['recipe']} asks for "
                                      f"({error})") from None

    def use(self, name):
        """Put an adapter on instead of the one that is on; None takes that off. ValueError, with a list, for an unknown name."""
        if name is not None:
            self.must_be_known(name)
        with self.all_or_nothing():
            self.take_off()
            if name is not None:
                for slot, wrapper in self.known[name].wrappers:
                    slot.put(wrapper)
                self.exchange(self.known[name], trains=True)
                self.active = name

    def take_off(self):
        """Make the model the base again, bit for bit, and frozen; the adapter keeps its values. ValueError if it is merged."""
        if self.active is None:
            return
        adapter = self.known[self.active]
        if any(slot.module is not wrapper for slot, wrapper in adapter.wrappers):
            raise ValueError(f"the adapter {self.active!r} is merged into the weights; undo that first, or the base is lost")
        with self.all_or_nothing():
            self.exchange(adapter, trains=False)
            for slot, wrapper in adapter.wrappers:
                slot.put(wrapper.inner)
            self.active = None

    def exchange(self, adapter, trains):
        """Swap the arrays in the body with those in `adapter.values`: the base's with the adapter's, or back."""
        for parameter, array in adapter.values.items():
            p = self.body[parameter]
            adapter.values[parameter], p.data, p.trainable = p.data, array, trains

    def remove(self, name):
        """Forget an adapter; if it is on, take it off first. ValueError, with a list, for an unknown name."""
        self.must_be_known(name)
        with self.all_or_nothing():
            if name == self.active:
                self.take_off()
            del self.known[name]

    def must_be_known(self, name):
        if name not in self.known:
            raise ValueError(f"there is no adapter {name!r}; there are {', '.join(self.known) or 'none yet'}")

    @contextmanager
    def all_or_nothing(self):
        """A `with` whose effects on the model, its weights and the adapters are undone if it ends in an error, or in Ctrl-C."""
        active, known = self.active, dict(self.known)
        values = [(adapter, dict(adapter.values)) for adapter in known.values()]
        structure = [(slot, slot.module) for slot in slots(self.model)]
        weights = [(p, p.data, p.trainable, p.grad) for p in self.model.parameters().values()]
        try:
            yield
        except BaseException:
            self.active, self.known = active, known
            for adapter, saved in values:
                adapter.values = saved
            for slot, module in structure:
                slot.put(module)
            for p, data, trains, gradient in weights:
                p.data, p.trainable = data, trains
                p.grad = gradient
            raise

    @contextmanager
    def disabled(self):
        """A `with` in which the model is its base; afterwards the adapter is on again."""
        active = self.active
        self.take_off()
        try:
            yield self.model
        finally:
            self.use(active)
