"""Exercise 29: the learner's own layers in the real GPT."""

from contextlib import contextmanager
from unittest.mock import patch

import numpy as np

from ... import nn
from ...demo import Plan
from ...gradcheck import perturb, relative_error
from ...tasks.evaluate import evaluate_world, mean_excess, pooled
from ...tasks.world import CONTEXT
from ...text.batches import WorldBatches
from ...text.world import World
from ...train.optimizers.muon import Muon
from ...train.schedule import warmup_linear
from ...train.trainer import Trainer
from ..learners_file import Wrong

LESSON = 15

HINTS = (
    "Begin with MyLayerNorm: forward calls your `layernorm` with x and the .data of its two parameters; backward calls "
    "`layernorm_backward`, adds dg and db to the .grad of these parameters, and returns dx. The other layers are the same with "
    "other functions.",
    "MyBlock: p = {name: parameter.data for all of self.parameters()} is the dictionary that your `block` needs; after "
    "`block_backward`, add dp[name] to the grad of each. MyEmbedding: the cache of forward is the index, that of unembed is x; "
    "both backward passes add to the same self.weight.grad.",
    """MyCrossEntropy: select the rows that count, and undo the division by their number:

    counted = targets != -1                     (B, T), true or false
    loss, d = cross_entropy(logits[counted], targets[counted])        d (n, V)

If n rows count, the loss must be loss * n / total. In backward, make zeros in the shape of the logits, and write
d * n / total * dout into the rows that count.""",
)

EXPLANATION = """
A language model has just been trained with a backward pass that you have written from end to end. You have derived every gradient
in it.

The project's own layers also skip what is frozen, keep only what is needed, work piece by piece in a core's cache, and do not
compute the scores that the mask hides. None of that changes a derivation. To see each of them beside its plain form, read
tests/test_plain_forms.py.
"""

SECONDS = 600
STEPS = 60
CLOSE = 0.01      # the largest relative difference from the project's loss

PROJECT = {nn.Linear: ("forward", "backward"), nn.LayerNorm: ("forward", "backward"), nn.GELU: ("forward", "backward"),
           nn.Softmax: ("forward", "backward"), nn.CausalSelfAttention: ("forward", "backward"), nn.MLP: ("forward", "backward"),
           nn.Block: ("forward", "backward"), nn.CrossEntropy: ("forward", "backward"),
           nn.Embedding: ("forward", "backward", "unembed", "unembed_backward")}


def check(attempt):
    plug, loss = attempt.get("plug"), attempt.get("MyCrossEntropy")()
    check_loss(attempt, loss)
    check_gradients(attempt, plug)
    project_loss, learner_loss = (np.mean(train(STEPS, *layers, title=title)[0][-10:]) for layers, title in (
        ((), "with the project's layers"), ((plug, loss, attempt), "with yours")))
    attempt.insist(abs(learner_loss / project_loss - 1) < CLOSE,
                   f"All gradients are right, but after {STEPS} steps the loss is {learner_loss:.4f} with your layers, and "
                   f"{project_loss:.4f} with the project's. Does something change with float32, or when a batch is padded?")


@contextmanager
def without_the_project():
    """Inside, the project's own layers raise Wrong when they are called: only the learner's may run."""
    def refusal(layer, method):
        def refuse(*args, **options):
            raise Wrong(f"The project's own {layer.__name__}.{method} was called. Here only your layers may run: write {method} "
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
    """Check the learner's cross-entropy with padding and a given total."""
    for B, T, V in attempt.trials("B T V", 3):
        logits, targets = attempt.rng.normal(size=(B, T, V)), attempt.rng.integers(0, V, (B, T))
        targets[0, -1] = nn.IGNORE
        total, dout = B * T + 0.5, 1.5
        right, cache = nn.CrossEntropy().forward(logits, targets, total)
        d_right = nn.CrossEntropy().backward(dout, cache)
        with without_the_project(), attempt.file.explaining("in MyCrossEntropy"):
            result = loss.forward(logits.copy(), targets.copy(), total)
            attempt.insist(isinstance(result, tuple) and len(result) == 2, "MyCrossEntropy.forward must return (loss, cache).")
            d_result = loss.backward(dout, result[1])
        n = int((targets != nn.IGNORE).sum())
        attempt.compare("MyCrossEntropy.forward", (logits, targets, total), result[0], {"loss": right}, {
            "it is still divided by the number of rows that count; it must be by total": {"loss": right * total / n},
            "padding counts as well": {"loss": nn.CrossEntropy().forward(logits, targets % V, total)[0]}})
        attempt.insist(isinstance(d_result, np.ndarray), "MyCrossEntropy.backward must return dlogits, an array.")
        attempt.compare("MyCrossEntropy.backward", (dout, logits), d_result, {"dlogits": d_right}, {
            "dout is left out": {"dlogits": d_right / dout},
            "it is divided by the number of rows that count; it must be by total": {"dlogits": d_right * total / n}})


def check_gradients(attempt, plug):
    """Check the logits and all gradients of a small GPT in float64, with repeated words, against the project's own layers."""
    V, B, T, H, C = 11, 2, 5, 3, 12
    model = nn.GPT(nn.Config(V, T + 1, 2, H, C), attempt.rng, np.float64)
    perturb(model, attempt.rng)
    tokens, dlogits = attempt.rng.integers(0, V, (B, T)), attempt.rng.normal(size=(B, T, V))
    tokens[1, 2] = tokens[0, 0]
    logits, cache = model.forward(tokens)
    model.zero_grad()
    model.backward(dlogits, cache)
    right = {name: p.grad.copy() for name, p in model.parameters().items()}
    with without_the_project(), attempt.file.explaining("in a GPT with your layers"):
        plug(model)
        for k in (1, 2):                                            # the second gradient is added to the first
            if k == 1:
                model.zero_grad()
            out, cache = model.forward(tokens)
            attempt.calls += 1
            attempt.compare("GPT.forward", (tokens,), out, {"logits": logits})
            model.backward(dlogits, cache)
            for name, p in model.parameters().items():
                hold_gradient(attempt, name, right[name], k, p.grad)


def hold_gradient(attempt, name, right, k, got):
    """Check one gradient after k backward passes, each of which must add `right` to it."""
    off = relative_error(k * right, got)
    attempt.insist(k == 1 or off < CLOSE or relative_error(right, got) > CLOSE,
                   f"The gradient of {name} is overwritten by a second backward pass, which must add to it: "
                   "`p.grad += ...`, not `=`.")
    attempt.insist(off < 1e-6, f"All logits are right, but the gradient of {name} differs from the project's by a relative error "
                               f"of {off:.1g} (1 is as wrong as can be).",
                   "Do both uses add to it, the embedding and the output layer?" if name == "wte.weight" else "")


def train(steps, plug=None, loss=None, attempt=None, seed=1, title="training"):
    """Pretrain the demo's model, with the learner's layers if `plug` is given. Returns the losses and the model."""
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
    """Run the demo's whole pretraining with the project's layers and with the learner's, and print the scores of both."""
    steps, world = steps or Plan().pretraining_steps, World(seed)
    for title, layers in (("the project's layers", ()), ("your layers", (plug, loss))):
        _, model = train(steps, *layers, seed=seed, title=title)
        scores = evaluate_world(model, world, "validation", 100, domains=world.general)
        print(f"{title:22s} loss on validation texts {pooled(scores):.4f}, excess over the floor "
              f"{mean_excess(scores, world.general):.4f}", flush=True)
