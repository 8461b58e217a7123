"""minillm sharpness: the largest and smallest eigenvalues of the Hessian at a model."""

import numpy as np

from ..finetune.methods import from_json
from ..ground.progress import progress
from ..runs.saved import load
from ..surface.sharpness import Curvature, extremes
from ..surface.space import Probe
from ..surface.views import training_texts
from .options import add_model, add_seed, add_workers, number
from .output import print_json

SUMMARY = "Measure how steep the loss is around a model: the largest and smallest eigenvalues of its Hessian."
EXAMPLES = ("runs/demo/full.npz", "runs/demo/adapter.npz --trainable")


def add_options(parser):
    add_seed(parser)
    add_workers(parser)
    add_model(parser)
    parser.add_argument("--trainable", action="store_true", help="only for the parameters that its method trains")
    parser.add_argument("--top", type=number(int, 1, 20), default=2, help="number of largest eigenvalues")


def run(args):
    loaded = load(args.checkpoint, args.base)
    task = loaded.task()
    probe = Probe({task.name: training_texts(task, loaded.model.config.context)})
    if args.trainable and "recipe" in loaded.meta and from_json(loaded.meta["recipe"]).stands_alone:
        loaded.model.trainable = True
    curvature = Curvature(loaded.model, probe.batches_of(task.name), args.trainable, args.workers)
    with progress(desc="curvature", unit="product") as bar:
        top, bottom = extremes(curvature.product, curvature.n, np.random.default_rng(args.seed), args.top,
                               progress=lambda m, value: bar.update())
    print(f"the Hessian ({curvature.n:,d} x {curvature.n:,d}) of the loss on {probe.count[task.name]} tokens of {task.name} "
          "that it was trained on")
    for title, eigenvalues in (("largest", top), ("smallest", bottom)):
        for eigen in eigenvalues:
            print(f"  {title:9s}{eigen.value:12.5g}   ± {eigen.error:.1g}")
    print(f"plain gradient descent is stable here up to a learning rate of 2 / {top[0].value:.4g} = {2 / top[0].value:.3g}\n"
          "sharpness says little about how well a transformer does on new texts")
    print_json(args, {"top": [eigen.value for eigen in top], "bottom": [eigen.value for eigen in bottom],
                      "parameters": curvature.n, "errors": [eigen.error for eigen in (*top, *bottom)]})
