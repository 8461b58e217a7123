"""Checkpoints: models and runs in progress, saved as .npz files (ground/arrays.py) and restored from them."""

import numpy as np

from ..ground.arrays import Arrays, write_arrays
from ..ground.files import CheckpointError, checked
from ..ground.schema import anything, many, maybe, number, record, table, text, whole
from ..nn import GPT, Config
from ..nn.config import FORMS, LARGEST
from ..text.tokenizers import tokenizer_form, tokenizer_from_json
from .blueprint import NoNumbers, blueprint, n_parameters
from .costs import must_fit
from .parts import block_of

CONFIG = record({name if name in LARGEST else f"{name}?": form for name, form in FORMS.items()}, exact=True)
HISTORY = record({"steps?": whole(), "loss": many(number(finite=False)), "validation?": many(record({
    "step": whole(), "loss": number(finite=False), "floor?": number(), "mean_excess?": number(finite=False),
    "excess?": table(number(finite=False))}))})
# The metadata that any file of a model may have.
METADATA = {"task?": table(anything), "seed?": whole(), "seconds?": number(0), "trainable_parameters?": whole(),
            "total_parameters?": whole(), "recipe?": table(anything), "history?": maybe(HISTORY),
            "base?": record({"path": text(4096), "fingerprint": text(100)}), "imported?": text(200)}
MODEL = record({"config": CONFIG, "tokenizer": tokenizer_form} | METADATA)
TRAINING = record({"steps_done": whole(), "history?": HISTORY, "inputs?": table(anything), "options?": table(anything)})


DIGESTED = {"task": "the text that it learns", "task tokenizer": "the vocabulary that its text gets"}      # in first_difference


def fingerprint(model):
    """An identifier of exactly this model: 16 hex digits of a SHA-256 over its weights, with their names, and its Config.

    The same numbers mean something else in another model, as with twice as many heads.
    """
    return fingerprints(model)[0]


def fingerprints(model):
    """The fingerprint of a model, and the one that it has in older files, which was that of its weights alone."""
    from hashlib import sha256

    weights = sha256()
    for name, array in sorted(model.state_dict().items()):
        weights.update(f"{name}{array.shape}{array.dtype}".encode())
        weights.update(np.ascontiguousarray(array).tobytes())
    whole_model = sha256(f"{weights.hexdigest()}{model.config.to_json()}".encode())
    return whole_model.hexdigest()[:16], weights.hexdigest()[:16]


def describe(model, tokenizer):
    """The metadata from which a model is built before its weights are read."""
    return {"config": model.config.to_json(), "tokenizer": tokenizer.to_json()}


def save_model(path, model, tokenizer, **metadata):
    """Save a whole model. `metadata` goes into meta.json, beside the model's shape and vocabulary."""
    write_arrays(path, model.state_dict(), {"kind": "model"} | describe(model, tokenizer) | metadata)


def read_model(file):
    """The model and the tokenizer in an open file (`Arrays`). CheckpointError if the file is incomplete or contradicts itself.

    Nothing is built until the sizes in meta.json are known to be those of the weights.
    """
    meta = checked(file.meta, MODEL, file.path, "model")
    try:
        config = Config(**meta["config"])
    except ValueError as error:
        file.refuse(f"does not describe a model of minillm ({error})")
    like = blueprint(config).state_dict()                        # of block 0 and all that is in no block
    blocks = {block_of(name) for name in file.headers} - {None}
    dtypes = {file.headers[name].dtype for name in like if name in file.headers}
    if (any(name not in file.headers or file.headers[name].shape != array.shape for name, array in like.items())
            or {dtype.kind for dtype in dtypes} != {"f"} or len(dtypes) > 1 or len(blocks) != config.n_layer):
        file.refuse("does not describe the model that it holds: the sizes in its meta.json are not those of the weights")
    [dtype] = dtypes
    try:
        tokenizer = tokenizer_from_json(meta["tokenizer"])
    except ValueError as error:
        file.refuse(f"does not describe the model that it holds: {error}")
    n_tokens, V = len(tokenizer), config.vocab_size          # an imported table may have more rows than there are tokens
    if n_tokens > V or (different := len(set(tokenizer.tokens))) < n_tokens:
        file.refuse(f"does not describe the model that it holds: its vocabulary has {n_tokens} tokens, and the model {V}"
                    if n_tokens > V else f"holds a vocabulary of {n_tokens} tokens, of which only {different} are different")
    n = n_parameters(config)
    try:
        must_fit(dtype.itemsize * n, f"a model of {n:,d} parameters", "it cannot be loaded here")
    except ValueError as error:
        file.refuse(f"does not describe a model of minillm ({error})")
    model = GPT(config, NoNumbers(), dtype)
    file.expect(model.state_dict())
    for name, p in model.parameters().items():
        p.data = file.read(name)
    return model, tokenizer


def save_training(path, trainer, recorder=None, **metadata):
    """Save everything that a run needs to go on bit for bit: weights, optimizer, the number of steps done, recorded weights.

    There is no state of random generators, since batches are a pure function of seed and step (text/batches.py).
    """
    parts = {"model": trainer.model.state_dict(), "optimizer": trainer.optimizer.state_dict()}
    if recorder:
        parts["recorder"] = recorder.state_dict()
    arrays = {f"{part}/{name}": array for part, state in parts.items() for name, array in state.items()}
    write_arrays(path, arrays, {"kind": "training", "steps_done": trainer.steps_done} | metadata)


def load_training(path, trainer, recorder=None, steps=None, inputs=None):
    """Restore the state that `save_training` saved, into a trainer made like the one back then. Returns the saved metadata.

    steps       of the whole run
    inputs      everything that the run is made from; CheckpointError names the first thing that was different when it began
    Nothing is changed unless everything in the file fits.
    """
    with Arrays(path) as file:
        if file.meta["kind"] != "training":
            file.refuse(f"holds a {file.meta['kind'][:40]}, not the state of a run that was interrupted")
        meta = checked(file.meta, TRAINING, path, "run in progress")
        difference = first_difference(meta.get("inputs") or {}, inputs) if inputs is not None else None
        if difference:
            file.refuse(f"belongs to another run: {difference}; begin anew in another folder, or remove that file")
        done, history = meta["steps_done"], meta.get("history")
        if steps is not None and (done > steps or not history or len(history["loss"]) != done or "validation" not in history):
            file.refuse(f"belongs to another run: {done} steps are done in it, which does not fit the rest")
        wanted = {f"model/{name}": array for name, array in trainer.model.state_dict().items()}
        wanted |= {f"optimizer/{name}": array for name, array in trainer.optimizer.state_dict().items()}
        recorded = file.headers.get("recorder/steps")
        if recorder and recorded and len(recorded.shape) == 1:
            wanted |= {f"recorder/{name}": like for name, like in recorder.expected_state(recorded.shape[0], trainer).items()}
        try:
            file.expect(wanted)
        except CheckpointError as error:
            raise CheckpointError(f"{path} belongs to another run: it {str(error).removeprefix(f'{path} ')}") from None
        arrays = file.read_all()
        if any(array.dtype.kind == "i" and array.size and array.min() < 0 for array in arrays.values()):
            file.refuse("holds counts below zero, so it was not written by minillm")
    owners = {"model": trainer.model, "optimizer": trainer.optimizer} | ({"recorder": recorder} if recorder else {})
    for part, owner in owners.items():
        owner.load_state_dict({name.split("/", 1)[1]: array for name, array in arrays.items() if name.startswith(f"{part}/")})
    trainer.steps_done = done
    return meta


def first_difference(then, now, where=""):
    """A clause about the first difference between the inputs of a run then and now (dictionaries); None if there is none."""
    for name in dict.fromkeys([*now, *then]):
        old, new = then.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            if difference := first_difference(old, new, f"{where}{name} "):
                return difference
        elif name == "digest" and old != new:
            return f"{DIGESTED.get(where.strip(), where.strip())} has changed since it was begun"
        elif as_lists(old) != as_lists(new):
            return f"it was begun with {where}{name} {str(old)[:60]}, and this is {str(new)[:60]}"
    return None


def as_lists(value):
    """A value as JSON returns it: tuples become lists."""
    return [as_lists(part) for part in value] if isinstance(value, (list, tuple)) else value
