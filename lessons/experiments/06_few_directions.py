# %% [markdown]
# # Experiment 6: are a few directions enough?
#
# **Claim** (Aghajanyan et al. 2020): fine-tuning needs few directions. In a random subspace with a few hundred of them a
# language model learns 90 % of what it learns with all of its weights; and the larger the model, the fewer it needs.
#
# **Test.** theta = theta_0 + P z, where only the d numbers in z train. Each weight i belongs to one random direction h(i),
# with a random sign s_i. Directions share no weights, so the columns of P are at right angles; scaled to length 1 they are
# orthonormal, and P is cheap to store and to apply (a "count sketch"). By the chain rule the gradient of z is P' g: a signed
# sum of g over the weights of each direction. At which d does the model close 90 % of the gap that full fine-tuning closes?
# We test bases of three widths.

# %%
import numpy as np
from common import (
    PLOTS,
    NewOnly,
    at_best_rate,
    base_path,
    computed_once,
    laboratory,
    mean,
    options,
    print_table,
    shown,
    trained,
    validation_excess,
)

from minillm.draw.styles import LIGHT, figure, save, style
from minillm.finetune.compare import Cell, usual_rate
from minillm.finetune.summary import parameter_counts
from minillm.train.optimizers import Optimizer
from minillm.train.trainer import Diverged

args = options("Experiment 6: are a few directions enough?", seeds=2)
WIDTHS = [64, 96] if args.quick else [64, 96, 128]
DIRECTIONS = [100, 3000] if args.quick else [100, 300, 1000, 3000]
RATES = 1 if args.quick else 3
BRIGHT = 0.9


class InSubspace(Optimizer):
    """Adam on z, with theta = theta_0 + P z. The first worker does all of it: it is little work beside the gradient."""

    def __init__(self, lr, directions, seed):
        super().__init__(lr)
        self.d, self.rng = directions, np.random.default_rng([seed, 6])

    def start(self, flat):
        super().start(flat)
        D = flat.data.size
        self.direction = self.rng.permutation(np.arange(D) % self.d)                 # h: all directions get equally many weights
        counts = np.bincount(self.direction, minlength=self.d)
        self.sign = (self.rng.choice([-1.0, 1.0], D) / np.sqrt(counts[self.direction])).astype(np.float32)
        self.origin = flat.data.copy()
        self.z, self.m, self.v, self.t = np.zeros(self.d), np.zeros(self.d), np.zeros(self.d), 0

    def plan(self, factor=1.0):
        self.t += 1
        return self.lr * factor, 1 - 0.9 ** self.t, 1 - 0.99 ** self.t

    def update(self, plan, clip=1.0, rank=0, n=1):
        if rank:
            return
        rate, correct_m, correct_v = plan
        g = np.bincount(self.direction, weights=clip * self.sign * self.flat.grad, minlength=self.d)       # P' g
        self.m += 0.1 * (g - self.m)
        self.v += 0.01 * (g * g - self.v)
        self.z -= rate * (self.m / correct_m) / (np.sqrt(self.v / correct_v) + 1e-8)
        self.flat.data[...] = self.origin + self.sign * self.z.astype(np.float32)[self.direction]


def run(lab, directions, lr, seed):
    """Train in a subspace of so many directions, or with all weights if `directions` is None."""
    cell = Cell("full", lr, seed)

    def compute():
        try:
            model, _ = trained(lab, cell, optimizer=InSubspace(lr, directions, seed) if directions else None)
        except Diverged:
            return {"status": "diverged"}
        test = lab.judge(model, lab.task(seed))[lab.new]["excess"]
        return {"status": "done", "validation": validation_excess(lab, model), "test": test}
    return computed_once(lab, lab.inputs_of(cell) | {"directions": directions}, compute)


def d_90(shares):
    """The d at which the line through (log d, share) first reaches 90 %; nan if it does not."""
    for (d, share), (next_d, next_share) in zip(shares, shares[1:]):
        if share < BRIGHT <= next_share:
            return float(np.exp(np.interp(BRIGHT, [share, next_share], np.log([d, next_d]))))
    return float("nan")


# %%
curves, sizes, needed = {}, {}, {}
for width in WIDTHS:
    lab = laboratory("06_few_directions", args, path=base_path(args, width=width), kind=NewOnly)
    untouched = lab.untouched()["test"][lab.new]["excess"]
    D = sizes[width] = parameter_counts(lab.base.model)["total_parameters"]
    seeds = range(1, args.seeds + 1)
    lr, _ = at_best_rate(lambda lr: run(lab, None, lr, 1), usual_rate("full"), RATES)
    full = [untouched - run(lab, None, lr, seed)["test"] for seed in seeds]
    rows, curves[width] = [["all", f"{lr:.2g}", shown(full), "100"]], {}
    for d in DIRECTIONS:
        # A step of Adam has a length of about lr sqrt(d). In random directions, few of which lead towards the goal, it turned out
        # that it must be about 25 times as long as with all weights; the search starts there.
        lr, _ = at_best_rate(lambda lr: run(lab, d, lr, 1), 25 * usual_rate("full") * (D / d) ** 0.5, RATES)
        closed = [untouched - run(lab, d, lr, seed)["test"] for seed in seeds]
        curves[width][d] = [share / most for share, most in zip(closed, full)]
        rows.append([d, f"{lr:.2g}", shown(closed), shown((100 * share for share in curves[width][d]), 1)])
    needed[width] = [d_90([(d, curves[width][d][i]) for d in DIRECTIONS] + [(D, 1.0)]) for i in range(args.seeds)]
    print(f"\nwidth {width}: {D:,d} weights, untouched {untouched:.3f} above the floor")
    print_table(["directions", "best lr", "closed, nats", "of what full closes, %"], rows)
    print(f"d_90: {shown(needed[width], 0)}, which is {shown((100 * d / D for d in needed[width]), 2)} % of the weights")

# %%
picture = PLOTS / "experiment06_few_directions.png"
with style():
    fig = figure(9, 5.6)
    ax = fig.subplots()
    fig.subplots_adjust(left=0.1, right=0.97, bottom=0.13, top=0.9)
    for (width, curve), color, mark in zip(curves.items(), ("#2A9D8F", "#4477AA", "#332288"), "osD"):
        ax.plot(list(curve), [100 * mean(shares) for shares in curve.values()], marker=mark, ms=8, mec="white", color=color,
                label=f"width {width}, {sizes[width] / 1e6:.2g} million weights")
        for d, shares in curve.items():
            ax.plot([d] * len(shares), [100 * share for share in shares], mark, ms=4, alpha=0.5, color=color)
        ax.plot([mean(needed[width])] * 2, [0, 100 * BRIGHT], ":", lw=1.6, color=color)
    ax.axhline(100 * BRIGHT, color=LIGHT.faint, lw=1)
    ax.set(xscale="log", ylim=(0, 104), xlabel="directions that train, d (dotted: where 90 % are reached)",
           ylabel="of what full fine-tuning closes, %", title=f"How many directions are enough? ({args.seeds} seeds)")
    ax.set_xticks(DIRECTIONS, [f"{d:,d}" for d in DIRECTIONS])
    ax.minorticks_off()
    ax.grid()
    ax.legend(loc="lower left")
    save(fig, picture)
print(f"picture: {picture}")

# %% [markdown]
# ## Results
#
# Two seeds. Training in a random subspace of d directions closes the following share of what full fine-tuning closes.
#
# **A few hundred: nearly.** 300 directions give 66 to 70 % at each of the three widths, 1,000 give 91 to 95 %, and 3,000 all
# but one or two per cent. 90 % is reached at d = 948 (919-978) with width 64, 779 (766-792) with 96, 858 (857-859) with 128.
#
# **Fewer for larger models: as a share, yes.** These are .43 %, .16 % and .10 % of the weights. The number itself hardly
# falls: 0.22 million weights need about as many directions as 0.83 million.
#
# **What limits this.** Only four values of d, with straight lines between them. The larger bases also know more at the start
# (1.72, 1.20 and 1.15 above the floor), so they do not have to learn the same amount. The best rate differs a lot from one d
# to the next.
