"""Several specialists on one base: put one on, change it for another, or take it off."""

from contextlib import contextmanager
from dataclasses import dataclass, field

from ..ground.arrays import read_arrays
from ..ground.files import CheckpointError
from ..train.checkpoint import fingerprint
from .adapter_file import base_of, unpack
from .methods import from_json
from .recipe import Recipe
from .wrapper import inserted, slots


@dataclass
class Adapter:
    """What a recipe adds to a base: structure, and other values for some weights of the body."""

    recipe: Recipe
    places: list = field(default_factory=list)      # (slot, the Inserted that belongs there)
    values: dict = field(default_factory=dict)      # {name of a parameter of the body: array}; while it is on, those of the base


class Adapters:
    """A base model and the adapters that have been made for it.

        adapters = Adapters(base)
        adapters.load("poet", "poet/lora.npz")
        adapters.load("clerk", "clerk/adapter.npz")
        adapters.use("clerk")               # base, the model, is now the clerk
        with adapters.disabled():
            ...                             # and here it is the base again, bit for bit

    To change takes no longer than to exchange the few weights of the body that an adapter has trained. A `Trainer` trains the
    adapter it was made for, and refuses while another is on.
    """

    def __init__(self, base):
        """ValueError if the base has something inserted itself."""
        if inserted(base):
            raise ValueError("this model is a base with an adapter on; take the base itself, or merge the adapter into it first")
        self.model = base
        self.body = base.parameters()
        self.fingerprint = fingerprint(base)
        self.known = {}
        self.active = None

    def add(self, name, recipe, rng=None):
        """Apply a recipe to the base; `rng` as of `Recipe.apply`. The new adapter is in use then, to be trained.

        ValueError for a name that is taken, or if it cannot be. Here and in all that follows, an error leaves all as it was.
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
        """Read an adapter from its file and put it on. CheckpointError if that is broken, or was made for another base."""
        if name in self.known:
            raise ValueError(f"there is an adapter {name!r} already")
        arrays, meta = read_arrays(path, "adapter")
        if base_of(meta, path)["fingerprint"] != self.fingerprint:
            raise CheckpointError(f"{path} was trained on another base: the fingerprints differ; name the right base")
        try:
            recipe = from_json(meta["recipe"])
        except ValueError as error:
            raise CheckpointError(f"{path} has a recipe unknown to this version of minillm: {str(meta['recipe'])[:200]} "
                                  f"({error})") from None
        theta, inserts = arrays.get("theta"), recipe.adds(self.model.config)
        odd = ""                                            # said before anything of that size is built
        if theta is None or "shapes" not in meta:
            odd = f"there are no {'shapes' if theta is not None else 'numbers theta'}"
        elif inserts > theta.size:
            odd = f"there are {theta.size} numbers, but {inserts} parameters"
        if odd:
            raise CheckpointError(f"{path} does not hold the weights that its recipe {meta['recipe']} asks for ({odd})")
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
        """Put on another adapter, or none. ValueError lists those there are."""
        if name is not None:
            self.must_be_known(name)
        with self.all_or_nothing():
            self.take_off()
            if name is not None:
                for slot, module in self.known[name].places:
                    slot.put(module)
                self.exchange(self.known[name], trains=True)
                self.active = name

    def take_off(self):
        """The base again, bit for bit, and frozen; what the adapter in use has learned is kept. ValueError if it was merged."""
        if self.active is None:
            return
        adapter = self.known[self.active]
        if any(slot.module is not module for slot, module in adapter.places):
            raise ValueError(f"the adapter {self.active!r} is merged into the weights; undo that first, or the base is lost")
        with self.all_or_nothing():
            self.exchange(adapter, trains=False)
            for slot, module in adapter.places:
                slot.put(module.inner)
            self.active = None

    def exchange(self, adapter, trains):
        """The arrays of an adapter against those of the base, which it keeps meanwhile, or back again."""
        for parameter, array in adapter.values.items():
            p = self.body[parameter]
            adapter.values[parameter], p.data, p.trainable = p.data, array, trains

    def remove(self, name):
        """Forget an adapter, and take it off before if it is on. ValueError lists those there are."""
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
        """If what is done inside ends in an error, or in Ctrl-C, it is undone: model, weights, and what is known of adapters."""
        active, known = self.active, dict(self.known)
        values = [(adapter, dict(adapter.values)) for adapter in known.values()]
        structure = [(slot, slot.module) for slot in slots(self.model)]
        weights = [(p, p.data, p.trainable, p.grad) for p in self.model.parameters().values()]
        try:
            yield
        except BaseException:
            self.active, self.known = active, known
            for adapter, kept in values:
                adapter.values = kept
            for slot, module in structure:
                slot.put(module)
            for p, data, trains, gradient in weights:
                p.data, p.trainable = data, trains
                p.grad = gradient
            raise

    @contextmanager
    def disabled(self):
        """Inside, the model is its base; afterwards it is again what it was before."""
        active = self.active
        self.take_off()
        try:
            yield self.model
        finally:
            self.use(active)
