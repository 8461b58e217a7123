"""Exercise 29: the learner's own layers in the real GPT."""

from contextlib import contextmanager
from unittest.mock import patch

import numpy as np

from ... import nn
from ...demo import Plan
from ...nn.gradcheck import relative_error, perturb
from ...text.batches import WorldBatches
from ...text.world import World
from ...train.evaluate import evaluate_world, mean_excess, pooled
from ...train.muon import Muon
from ...train.schedule import warmup_linear
from ...train.tasks import CONTEXT
from ...train.trainer import Trainer
from ..learners_file import Wrong

HINTS = (
    "Begin with MyLayerNorm: forward calls your `layernorm` with x and the .data of its two parameters; backward calls "
    "`layernorm_backward`, adds dg and db to the .grad of these parameters, and returns dx. The others are the same with other "
    "functions.",
    "MyBlock: p = {name: parameter.data for all of self.parameters()} is the dictionary that your `block` wants; after "
    "`block_backward`, add dp[name] to the grad of each. MyEmbedding: the cache of forward is the index, that of unembed is x; "
    "both backward passes add to the same self.weight.grad.",
    """MyCrossEntropy: pick the rows that count, and undo the division by their number:

    counted = targets != -1                     (B, T), true or false
    loss, d = cross_entropy(logits[counted], targets[counted])        d (n, V)

With n rows counted, the loss wanted is loss * n / total. In backward, make zeros in the shape of the logits, and write
d * n / total * dout into the rows that count.""",
)

EXPLANATION = """
A language model has just been trained on a backward pass that you have written from end to end. There is no gradient in it that
you have not derived.

What the project's own layers do besides: they skip what is frozen, they keep only what is needed, they work piece by piece in a
core's cache, and attention leaves out what the mask forbids. None of that changes a single derivation. To see each of them beside
its plain form, read tests/test_plain_forms.py.
"""

SECONDS = 600
STEPS = 60
CLOSE = 0.01      # of the project's loss

PROJECT = {nn.Linear: ("forward", "backward"), nn.LayerNorm: ("forward", "backward"), nn.GELU: ("forward", "backward"),
           nn.Softmax: ("forward", "backward"), nn.CausalSelfAttention: ("forward", "backward"), nn.MLP: ("forward", "backward"),
           nn.Block: ("forward", "backward"), nn.CrossEntropy: ("forward", "backward"),
           nn.Embedding: ("forward", "backward", "unembed", "unembed_backward")}


def check(attempt):
    plug, loss = attempt.get("plug"), attempt.get("MyCrossEntropy")()
    check_loss(attempt, loss)
    check_gradients(attempt, plug)
    own, theirs = (np.mean(train(STEPS, *layers, title=title)[0][-10:]) for layers, title in (
        ((), "with the project's layers"), ((plug, loss, attempt), "with yours")))
    attempt.insist(abs(theirs / own - 1) < CLOSE,
                   f"All gradients are right, but after {STEPS} steps the loss is {theirs:.4f} with your layers, and {own:.4f} "
                   f"with the project's. Does something change when float32 is used, or when a batch is padded?")


@contextmanager
def without_the_project():
    """Inside, the project's own layers refuse to work: what runs is the learner's."""
    def refusal(layer, method):
        def refuse(*args, **options):
            raise Wrong(f"The project's own {layer.__name__}.{method} was called. Here only your layers may work: write {method} "
                        "in your class, with your own functions.")
        return refuse

    patches = [patch.object(layer, method, refusal(layer, method)) for layer, methods in PROJECT.items() for method in methods]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in reversed(patches):
            each.stop()


def check_loss(attempt, loss):
    """The learner's cross-entropy, with padding and a total of its own."""
    for B, T, V in attempt.trials("B T V", 3):
        logits, targets = attempt.rng.normal(size=(B, T, V)), attempt.rng.integers(0, V, (B, T))
        targets[0, -1] = nn.IGNORE
        total, dout = B * T + 0.5, 1.5
        right, cache = nn.CrossEntropy().forward(logits, targets, total)
        d_right = nn.CrossEntropy().backward(dout, cache)
        with without_the_project(), attempt.file.told("in MyCrossEntropy"):
            found = loss.forward(logits.copy(), targets.copy(), total)
            attempt.insist(isinstance(found, tuple) and len(found) == 2, "MyCrossEntropy.forward must return (loss, cache).")
            d_found = loss.backward(dout, found[1])
        n = int((targets != nn.IGNORE).sum())
        attempt.compare("MyCrossEntropy.forward", (logits, targets, total), found[0], {"loss": right}, {
            "it is still divided by the number of rows that count; it must be by total": {"loss": right * total / n},
            "padding counts as well": {"loss": nn.CrossEntropy().forward(logits, targets % V, total)[0]}})
        attempt.insist(isinstance(d_found, np.ndarray), "MyCrossEntropy.backward must return dlogits, an array.")
        attempt.compare("MyCrossEntropy.backward", (dout, logits), d_found, {"dlogits": d_right}, {
            "dout is left out": {"dlogits": d_right / dout},
            "it is divided by the number of rows that count; it must be by total": {"dlogits": d_right * total / n}})


def check_gradients(attempt, plug):
    """Logits and all gradients of a small GPT in float64, with repeated words, against those of the project's own layers."""
    V, B, T, H, C = 11, 2, 5, 3, 12
    model = nn.GPT(nn.Config(V, T + 1, 2, H, C), attempt.rng, np.float64)
    perturb(model, attempt.rng)
    tokens, dlogits = attempt.rng.integers(0, V, (B, T)), attempt.rng.normal(size=(B, T, V))
    tokens[1, 2] = tokens[0, 0]
    logits, cache = model.forward(tokens)
    model.zero_grad()
    model.backward(dlogits, cache)
    right = {name: p.grad.copy() for name, p in model.parameters().items()}
    with without_the_project(), attempt.file.told("in a GPT with your layers"):
        plug(model)
        for k in (1, 2):                                            # the second time on top of the first
            if k == 1:
                model.zero_grad()
            found, cache = model.forward(tokens)
            attempt.calls += 1
            attempt.compare("GPT.forward", (tokens,), found, {"logits": logits})
            model.backward(dlogits, cache)
            for name, p in model.parameters().items():
                hold_gradient(attempt, name, right[name], k, p.grad)


def hold_gradient(attempt, name, right, k, got):
    """One gradient after k backward passes, each of which adds `right` to it."""
    off = relative_error(k * right, got)
    attempt.insist(k == 1 or off < CLOSE or relative_error(right, got) > CLOSE,
                   f"The gradient of {name} is written over by a second backward pass, where it should be added to: "
                   "`p.grad += ...`, not `=`.")
    attempt.insist(off < 1e-6, f"All logits are right, but the gradient of {name} differs from the project's by a relative error "
                               f"of {off:.1g} (1 is as wrong as can be).",
                   "Is it added to on both ways, reading and writing?" if name == "wte.weight" else "")


def train(steps, plug=None, loss=None, attempt=None, seed=1, title="training"):
    """Pretrain the demo's model for some steps, on other layers if they are given. Returns the losses, and the model."""
    from tqdm import tqdm

    plan, world = Plan(), World(seed)
    config = nn.Config(len(world.tokenizer), CONTEXT, plan.layers, plan.heads, plan.width)
    model = nn.GPT(config, np.random.default_rng([seed, 0]))
    batches = WorldBatches(world, plan.batch)
    trainer = Trainer(model, Muon(plan.lr, adamw_lr=plan.adamw_lr), warmup_linear(steps), total=batches.total)
    bar = tqdm(range(steps), desc=title, unit="step", disable=None, file=attempt.screen if attempt else None)
    if plug is None:
        return [trainer.step(*batches.at(step)) for step in bar], model
    plug(model)
    trainer.workers.loss = loss
    with without_the_project():
        return [trainer.step(*batches.at(step)) for step in bar], model


def race(plug, loss, steps=None, seed=1):
    """The demo's whole pretraining on the project's layers and on the learner's; prints how good each becomes."""
    steps, world = steps or Plan().pretraining_steps, World(seed)
    for title, layers in (("the project's layers", ()), ("your layers", (plug, loss))):
        _, model = train(steps, *layers, seed=seed, title=title)
        scores = evaluate_world(model, world, "validation", 100, domains=world.general)
        print(f"{title:22s} loss on validation texts {pooled(scores):.4f}, excess over the floor "
              f"{mean_excess(scores, world.general):.4f}", flush=True)
