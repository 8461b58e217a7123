# %% [markdown]
# # Experiment 10: which part of today's block pays?
#
# **Claims.** RMSNorm is as good as LayerNorm and takes less time (Zhang and Sennrich 2019). Rotary positions learn faster than a
# table of positions (Su et al. 2021). SwiGLU is better than GELU at equal parameters (Shazeer 2020). Several heads of queries can
# share one of keys and values at little loss (Ainslie et al. 2023, who convert trained models). Without biases, large models
# train more stably (Chowdhery et al. 2022; here the norms keep theirs). The largest models of Llama 2 have all of these at once.
#
# **Test.** A model of the demo's size with GPT-2's block, with each part alone in place of GPT-2's, and with all of them. All
# have equally many parameters: what a part saves goes into a wider MLP. All read the same texts in the same order, each at its
# own best learning rate, chosen on another world. (SwiGLU is a product of three factors that all grow while the model learns,
# and seems to want a lower rate than the rest of the model. So there are also runs in which the MLP learns at a quarter of the
# rate.) When is *recall* learned: the place that a report names again at its end, the list that a recipe repeats? Then the
# excess at the end on the six kinds of text; and the time that a step takes, all taking turns on one core.

# %%
from dataclasses import replace
from statistics import median

import numpy as np
from common import PLOTS, QUICK, RUNS, Plan, at_best_rate, kept, mean, options, print_table, shown

from minillm import GPT, Config, Muon, Trainer, World, WorldBatches, warmup_linear
from minillm.bench import interleave, plan_turns
from minillm.draw.styles import LIGHT, figure, save, style
from minillm.ground.processes import parallel_map
from minillm.ground.progress import progress
from minillm.tasks.evaluate import evaluate_world, token_log_p
from minillm.tasks.world import CONTEXT
from minillm.text.domains import PLACES, THINGS
from minillm.train.blueprint import n_parameters
from minillm.train.trainer import Diverged

args = options("Experiment 10: which part of today's block pays?", seeds=10)
plan = QUICK if args.quick else Plan()
STEPS, LOOK, DOCUMENTS = (20, 10, 4) if args.quick else (480, 10, 48)
RECALLED = 0.1                                    # nats for a word that must be repeated: the model is 90 % sure of it
PARTS = {
    "GPT-2": {},
    "RMSNorm": {"norm": "rmsnorm"},
    "rotary": {"positions": "rotary", "rope_base": 100.0},
    "SwiGLU": {"mlp": "swiglu"},
    "grouped": {"n_kv_head": plan.heads // 2},
    "no biases": {"biases": "none"},
}
PARTS["all"] = {name: value for parts in PARTS.values() for name, value in parts.items()}
SLOWER = {f"{name}, slower MLP": name for name in ("SwiGLU", "all")}      # the same, but the MLP's weights learn at a lower rate
PARTS |= {slower: PARTS[name] for slower, name in SLOWER.items()}
MLP_RATE = {name: 1 / 4 if name in SLOWER else 1.0 for name in PARTS}     # the rate of everything else being 1
SEEDS = range(args.seed, args.seed + args.seeds)
TUNING_SEED = args.seed + args.seeds
RECALL = {"report": ("says", PLACES), "recipe": ("use", THINGS)}         # {kind: (the word before the recall, what is recalled)}


# %% [markdown]
# ## Equal parameters
# The width of the MLP is the size that can be chosen freely. For each mixture we take the one whose count is closest to
# GPT-2's.

# %%
def sized(parts):
    """The Config of a mixture with as many parameters as the demo's sizes have with GPT-2's block, or as close as it gets."""
    sizes = {"context": CONTEXT, "n_layer": plan.layers, "n_head": plan.heads, "n_embd": plan.width}
    config = Config(len(World().tokenizer), **sizes | parts)
    wanted = n_parameters(Config(len(World().tokenizer), **sizes))
    one, two = (n_parameters(replace(config, n_hidden=n)) for n in (1, 2))
    return replace(config, n_hidden=1 + round((wanted - one) / (two - one)))


configs = {name: sized(parts) for name, parts in PARTS.items()}


# %% [markdown]
# ## Training
# Every run looks, every few steps, at the words that only recall can know: how many nats does the model lose on each?

# %%
def recall_targets(world, kind):
    """[(ids, where the recalled words are among ids[1:])] of some validation documents."""
    before, kinds = RECALL[kind]
    texts = []
    for document in world.documents(kind, DOCUMENTS, "validation"):
        words = [world.tokenizer.tokens[i] for i in document.ids[1:]]
        after = len(words) - words[::-1].index(before)
        texts.append((document.ids, [i for i in range(after, len(words)) if words[i] in kinds]))
    return texts


def nats_on(model, texts):
    """Mean -log p of the recalled words."""
    rows = token_log_p(model, [ids for ids, _ in texts], workers=1)
    return -float(np.mean(np.concatenate([log_p[places] for (log_p, _), (_, places) in zip(rows, texts)])))


def trainer_of(name, seed, lr, batch_total):
    """lr is Muon's; that of its AdamW, for everything but the matrices of the blocks, keeps the proportion of the demo."""
    model = GPT(configs[name], np.random.default_rng([seed, 0]))
    optimizer = Muon(lr, adamw_lr=lr * plan.adamw_lr / plan.lr)
    factors = {path: MLP_RATE[name] if ".mlp." in path else 1.0 for path in model.parameters()}
    return Trainer(model, optimizer, warmup_linear(STEPS), total=batch_total, workers=1,
                   lr_multipliers=(lambda step: factors) if name in SLOWER else None)


def train(name, seed, lr):
    """One run: its curves of recall, and its excess on each kind of text at the end."""
    world = World(seed)
    batches, texts = WorldBatches(world, plan.batch), {kind: recall_targets(world, kind) for kind in RECALL}
    trainer = trainer_of(name, seed, lr, batches.total)
    curves = {kind: [] for kind in RECALL}
    try:
        for step in range(STEPS):
            trainer.step(*batches.at(step))
            if (step + 1) % LOOK == 0:
                for kind in RECALL:
                    curves[kind].append(nats_on(trainer.model, texts[kind]))
    except Diverged:
        return {"status": "diverged"}
    scores = evaluate_world(trainer.model, world, "test", 2 * DOCUMENTS, 1, world.general)
    excess = {kind: score.excess for kind, score in scores.items()}
    return {"status": "done", "recall": curves, "excess": excess, "validation": mean(excess.values())}


def result(name, seed, lr):
    """What `train` gives; computed only once."""
    inputs = {"config": configs[name].to_json(), "seed": seed, "steps": STEPS, "batch": plan.batch, "lr": lr,
              "adamw_lr / lr": plan.adamw_lr / plan.lr, "mlp_lr / lr": MLP_RATE[name], "look": LOOK, "documents": DOCUMENTS,
              "world": World(seed).fingerprint()}
    return kept(RUNS / "10_todays_block" / "measured", inputs, lambda: train(name, seed, lr))


def best_rate(name):
    """Of a few learning rates, each twice the one before."""
    return at_best_rate(lambda lr: result(name, TUNING_SEED, lr), plan.lr / 2, 1 if args.quick else 3)[0]


with progress(total=len(PARTS), desc="learning rates") as bar:
    rates = dict(zip(PARTS, parallel_map(best_rate, list(PARTS), each=lambda _: bar.update())))
jobs = [(name, seed, rates[name]) for seed in SEEDS for name in PARTS]
with progress(total=len(jobs), desc="trainings") as bar:
    trained = parallel_map(lambda job: result(*job), jobs, each=lambda _: bar.update())
    results = {(name, seed): run for (name, seed, _), run in zip(jobs, trained)}


# %% [markdown]
# ## When is recall learned?
# Recall is learned at the first look from which on the loss on its words stays below 0.1 nats. A run that never gets there
# counts with all of its steps, and a + stands beside it.

# %%
def steps_until(curve):
    """From which step on the recall is learned; None if it is not."""
    late = [i for i, nats in enumerate(curve) if nats > RECALLED]
    first = late[-1] + 1 if late else 0
    return LOOK * (first + 1) if first < len(curve) else None


def time_a_step():
    """{name: median ms}, all on the same texts, with one process each."""
    world = World(args.seed)
    batches = WorldBatches(world, plan.batch)
    trainers = {name: trainer_of(name, args.seed, rates[name], batches.total) for name in PARTS}
    tokens, targets = batches.at(0)
    contenders = {name: lambda trainer=trainer: trainer.step(tokens, targets) for name, trainer in trainers.items()}
    times = interleave(contenders, *plan_turns(contenders, 2 if args.quick else 20))
    return {name: 1e3 * median(times[name]) for name in PARTS}


def runs(name):
    """The runs of a block, without those that diverged, which the table counts."""
    return [run for run in (results[name, seed] for seed in SEEDS) if run["status"] == "done"]


def block_shown(name):
    diverged = args.seeds - len(runs(name))
    return name + (f" ({diverged} diverged)" if diverged else "")


def worst(run):
    return max(run["excess"].values())


def steps_shown(name, kind):
    reached = [steps_until(run["recall"][kind]) for run in runs(name)]
    never = reached.count(None)
    return shown([steps or STEPS for steps in reached], 0) + (f" +{never}" if never else "")


ms = time_a_step()
print_table(["block", "parameters", "MLP", "rate", "recall in report", "in recipe", "mean excess", "worst excess", "ms a step"],
            [[block_shown(name), f"{n_parameters(config):,d}", config.hidden, f"{rates[name]:.2g}",
              steps_shown(name, "report"), steps_shown(name, "recipe"),
              shown([mean(run["excess"].values()) for run in runs(name)], 4), shown(map(worst, runs(name)), 3), f"{ms[name]:.0f}"]
             for name, config in configs.items()])

# %%
picture = PLOTS / "experiment10_todays_block.png"
with style():
    fig = figure(10, 5.4)
    axes = fig.subplots(1, 3)
    fig.subplots_adjust(left=0.18, right=0.98, bottom=0.08, top=0.8, wspace=0.12)
    fig.suptitle(f"Which part of today's block pays? ({args.seeds} seeds, equal parameters, equal texts)", x=0.02, ha="left",
                 weight="bold", size=15)
    columns = [(f"steps until recall\nin {kind}", lambda run, kind=kind: steps_until(run["recall"][kind])) for kind in RECALL]
    columns.append(("excess at the end,\nnats per token", lambda run: mean(run["excess"].values())))
    for ax, (label, value) in zip(axes, columns):
        for y, name in enumerate(PARTS):
            values = list(map(value, runs(name)))
            color = LIGHT.others[0] if PARTS[name] in (PARTS["GPT-2"], PARTS["all"]) else LIGHT.others[1]
            for x in values:                              # hollow, at the right edge: recall that was not learned
                ax.plot(STEPS if x is None else x, y, "o", color=color, ms=6, alpha=0.35, mfc="none" if x is None else color)
            ax.plot(mean(STEPS if x is None else x for x in values), y, "o", color=color, ms=10, mec="white")
        ax.set(title=label, ylim=(len(PARTS) - 0.5, -0.5))
        ax.set_xlim(0, 1.05 * ax.get_xlim()[1])
        ax.set_yticks(range(len(PARTS)), PARTS if ax is axes[0] else [""] * len(PARTS))
        ax.grid(axis="x")
    save(fig, picture)
print(f"picture: {picture}")

# %% [markdown]
# ## Results
#
# Ten seeds: the mean and the range.
#
# **Rotary positions learn faster: yes.** Recall in a report is learned at step 196 (170-270) instead of 218 (170-300), in a
# recipe at 354 (320-410) instead of 384 (340-480). At the end the excess is half of GPT-2's: .012 (.010-.017) against .023
# (.018-.033), lower on every seed. That is why the demo's generalist has GPT-2's block with rotary positions.
#
# **Nothing lost, nothing gained with RMSNorm, grouped queries, and without biases:** .029 (.018-.055), .023 (.017-.032) and .028
# (.014-.060). Grouped queries learn the recall of a recipe later, at step 441.
#
# **SwiGLU better at equal parameters: no, the contrary.** At one rate for the whole model it does not learn the recall of
# a recipe within 480 steps, at any rate: .212 (.204-.230). It seems that what suits attention is too much for the MLP, whose
# three factors grow together, and what suits the MLP too little for attention: with a quarter of the rate in the MLP it is .108
# (.063-.143), and with all parts together .019 instead of .082 (.036-.153).
#
# **With a slower MLP, today's block is ahead of GPT-2's:** .019 (.012-.031), with the earliest recall of all, at step 158
# (120-220) in a report and 328 (260-380) in a recipe. So on this task rotary positions alone bring all of the gain.
#
# **Less time with RMSNorm: not here.** One step takes 121 to 132 ms with every block. In a small model on NumPy a norm is a
# small part of the time.
#
# **What limits this.** One width, 480 steps, recall above all, and Muon, which gives every matrix steps of one length; SwiGLU
# was proposed with an optimizer that scales the steps of each matrix to its weights. The rates are a factor of two apart and
# were chosen on one seed; that of a slower MLP, a quarter, was not tuned.
