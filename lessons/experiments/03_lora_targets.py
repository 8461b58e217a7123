# %% [markdown]
# # Experiment 3: which matrices should LoRA adapt?
#
# **Claim** (Hu et al. 2021, section 7.1): with a fixed number of parameters, it is better to adapt many matrices with a low
# rank than few with a high one.
#
# **Test.** Six choices of matrices. The ranks are chosen so that all train about the same number of parameters, and alpha is
# twice the rank, so that the change is scaled by 2 everywhere. Each runs at its own best learning rate, on the demo's novels.

# %%
from common import PLOTS, NewOnly, count_trained, laboratory, mean, options, print_table, shown, trained_share, tuned

from minillm.draw.styles import LIGHT, figure, save, style

args = options("Experiment 3: which matrices should LoRA adapt?")
lab = laboratory("03_lora_targets", args, kind=NewOnly)
CHOICES = ["q", "v", "q+v", "q+k+v+o", "fc+proj", "q+k+v+o+fc+proj"]
RANK_OF_ALL = 4                 # if all six kinds of matrices are adapted; this sets the budget


def excess(cell):
    return cell["test"][lab.new]["excess"]


# %%
budget = count_trained(lab, f"lora:targets={CHOICES[-1]},rank={RANK_OF_ALL}")
ranks = {targets: round(budget / count_trained(lab, f"lora:targets={targets},rank=1")) for targets in CHOICES}
results = {targets: tuned(lab, f"lora:targets={targets},rank={rank},alpha={2 * rank}", args) for targets, rank in ranks.items()}

print_table(["targets", "rank", "trained", "% of all", "best lr", "excess on novels"],
            [[targets, ranks[targets], f"{cells[0]['trainable_parameters']:,d}", f"{trained_share(cells[0]):.2f}", f"{lr:.2g}",
              shown(map(excess, cells))] for targets, (lr, cells) in results.items()])

# %%
picture = PLOTS / "experiment03_lora_targets.png"
with style():
    fig = figure(9, 5)
    ax = fig.subplots()
    fig.subplots_adjust(left=0.26, right=0.97, bottom=0.14, top=0.9)
    for row, (targets, (_, cells)) in enumerate(results.items()):
        values = list(map(excess, cells))
        color = LIGHT.others[0] if "fc" not in targets else LIGHT.others[1] if "q" not in targets else LIGHT.others[2]
        ax.hlines(row, 0, mean(values), color=color, lw=3, alpha=0.35)
        ax.plot(values, [row] * len(values), "o", color=color, ms=6, alpha=0.45)
        ax.plot(mean(values), row, "o", color=color, ms=11, mec="white")
    names = {"q+k+v+o": "q, k, v, o", "fc+proj": "fc, proj (the MLP)", "q+k+v+o+fc+proj": "all six"}
    ax.set_yticks(range(len(ranks)), [f"{names.get(targets, targets.replace('+', ', '))}: rank {rank}"
                                      for targets, rank in ranks.items()])
    ax.set(ylim=(len(ranks) - 0.5, -0.5), xlabel="excess on novels, nats a token",
           title=f"Which matrices? (about {round(budget, -3):,d} parameters, {args.seeds} seeds)")
    ax.set_xlim(0, 1.05 * ax.get_xlim()[1])
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    save(fig, picture)
print(f"picture: {picture}")

# %% [markdown]
# ## Results
#
# Three seeds, all with 4.1 to 4.2 % of the parameters; excess on novels, the mean and the range.
#
# **More matrices of lower rank win: yes, all the way.** q alone, rank 36: .171 (.169-.176); v alone: .099 (.095-.105); q and v,
# rank 18: .078 (.072-.084); all of attention, rank 9: .065 (.062-.066); all six, rank 4: .055 (.051-.058). Each step is larger
# than the spread between seeds. The MLP alone, rank 7, has .082 (.081-.083).
#
# **What limits this.** One budget, one base of width 128, alpha = 2 r throughout, rates a factor of two apart. Which matrix
# matters most depends on the task: here v matters far more than q.
