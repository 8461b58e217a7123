"""Training: the loss over the steps, and what each method of fine-tuning learned and forgot."""

import numpy as np
from matplotlib.ticker import LogLocator, NullLocator

from .labels import line_ends, place
from .styles import colors, display, figure, look, save, style

RESOLVED = 1e-3                # nats per token: a smaller excess is noise of the test texts, and a log axis has to end somewhere
TRAINED, VALIDATED = "frozen", "full"      # models whose colours the two lines borrow


def pretraining(history, path, dark=False):
    """Learning curves, and the best that any model could do.

    Left: the loss in training, raw and smoothed, in validation, and the floor, which is the entropy of the text. A loss by itself
    says little; what matters is its distance from the floor. Right, on a log axis: this distance for each domain, which shows the
    order in which skills are learned. If the entropy of the text is unknown, there is no floor and no right half.

    history     {"loss": [one for each step], "steps": total,
                 "validation": [{"step", "loss", and where it is known "floor", "excess": {domain: float}}, ...]}
    """
    checks = history["validation"]
    floor = checks[-1].get("floor") if checks else None
    with style(dark):
        fig = figure(12.8 if floor is not None else 8, 5.2)
        axes = fig.subplots(1, 2 if floor is not None else 1, squeeze=False)[0]
        if floor is not None:
            fig.subplots_adjust(left=0.065, right=0.89, bottom=0.13, top=0.9, wspace=0.19)
            _excess(axes[1], checks, history["steps"])
        else:
            fig.subplots_adjust(left=0.1, right=0.97, bottom=0.13, top=0.9)
        _losses(axes[0], history["loss"], checks, floor, history["steps"])
        save(fig, path)


def _losses(ax, loss, checks, floor, steps):
    loss = np.asarray(loss, float)
    window = max(1, len(loss) // 50)
    smooth = np.convolve(loss, np.full(window, 1 / window), "valid") if len(loss) else loss
    ax.plot(np.arange(1, len(loss) + 1), loss, color=look().models[TRAINED], lw=0.7, alpha=0.35)
    ax.plot(np.arange(len(smooth)) + (window + 1) / 2, smooth, color=look().models[TRAINED],
            label="training (each step, and smoothed)")
    if checks:
        ax.plot([check["step"] for check in checks], [check["loss"] for check in checks], "o-", ms=5,
                color=look().models[VALIDATED], mec=look().paper, mew=0.8, clip_on=False, zorder=3, label="validation")
    ax.set(title="Loss", xlabel="step", ylabel="nats per token", xlim=(0, 1.02 * steps))
    if floor is not None:
        ax.set_ylim(bottom=min(0.8 * floor, floor - 0.09 * (ax.get_ylim()[1] - floor)))
        ax.axhline(floor, color=look().ink, ls="--", lw=1.8)
        ax.annotate("floor: the best possible loss", (0.985, floor), (0, -6), xycoords=ax.get_yaxis_transform(),
                    textcoords="offset points", ha="right", va="top")
    ax.grid(axis="y")
    ax.legend(loc="upper right")


def _excess(ax, checks, steps):
    x = [check["step"] for check in checks]
    curves = {domain: [max(check["excess"][domain], RESOLVED) for check in checks] for domain in checks[-1]["excess"]}
    color = colors(curves)
    for domain, excess in curves.items():
        ax.semilogy(x, excess, "o-", color=color[domain], ms=4, mec=look().paper, mew=0.6, clip_on=False)
    ax.margins(y=0.08)
    ax.set(title="Loss above the floor, by domain", xlabel="step", xlim=(0, 1.02 * steps))
    plain_ticks(ax.yaxis)
    ax.grid(axis="y")
    line_ends(ax, {domain: (x[-1], excess[-1], color[domain]) for domain, excess in curves.items()})


def learning_and_forgetting(models, general, special, path, dark=False):
    """Every model as one point: how good it is at the new task, and how good it still is at the old ones.

    Left: excess over the floor on the new task against its mean over the old domains, both on log axes. Arrows lead from the
    generalist to its specialists; the lower left corner is best. Right: the old domains one by one, because a mean hides which
    skill was lost. The vertical bar is the generalist, and the distance from it to a dot is what was forgotten.

    models      {name: {"excess": {domain: float}, "trainable_parameters": int, "total_parameters": int}}
    general     names of the old domains; special: of the new one
    """
    with style(dark):
        fig = figure(13.6, 6)
        left, right = fig.subplots(1, 2, width_ratios=(1.45, 1))
        fig.subplots_adjust(left=0.065, right=0.985, bottom=0.125, top=0.915, wspace=0.27)
        _trade_off(left, models, general, special)
        _by_domain(right, models, general)
        save(fig, path)


def _trade_off(ax, models, general, special):
    color = colors(models)
    at = {name: (max(model["excess"][special], RESOLVED),
                 max(np.mean([model["excess"][domain] for domain in general]), RESOLVED)) for name, model in models.items()}
    ax.set(xscale="log", yscale="log")
    x, y = zip(*at.values())
    ax.set(xlim=log_limits(x, 0.36), ylim=log_limits(y, 0.2))
    plain_ticks(ax.xaxis)
    plain_ticks(ax.yaxis)
    for name, xy in at.items():
        ax.plot(*xy, "o", ms=14, color=color[name], mec=look().paper, mew=1.5, zorder=5)
    arrows = [name for name in at if "pretrained" in at and name not in ("pretrained", "scratch")]
    for name in arrows:
        ax.annotate("", at[name], at["pretrained"], zorder=3,
                    arrowprops=dict(arrowstyle="-|>", color=color[name], lw=2, alpha=0.55, shrinkA=9, shrinkB=9,
                                    mutation_scale=18))
    ax.annotate("better", (0.015, 0.02), (0.13, 0.125), xycoords="axes fraction", ha="center", va="center",
                color=look().faint, size=14, arrowprops=dict(arrowstyle="-|>", color=look().faint, lw=2.5, mutation_scale=22))
    ax.set(xlabel=f"new task ({special}): nats per token above the floor", ylabel="old domains (mean): nats above the floor",
           title="Learned, and forgotten")
    ax.grid()
    place(ax, [(xy, _name_and_share(name, models[name]), color[name]) for name, xy in at.items()],
          [[at["pretrained"], at[name]] for name in arrows], distance=11)


def _name_and_share(name, model):
    if name == "pretrained":
        return display(name)
    share = 100 * model["trainable_parameters"] / model["total_parameters"]
    return f"{display(name)}\n{share:.0f} % trained" if share >= 10 else f"{display(name)}\n{share:.2g} % trained"


def _by_domain(ax, models, general):
    color = colors(models)
    dodge = np.linspace(-0.26, 0.26, len(models)) if len(models) > 1 else [0]
    rows = np.arange(len(general))
    ax.hlines(rows[1:] - 0.5, 0, 1, color=look().rule, lw=1, transform=ax.get_yaxis_transform())
    for (name, model), shift in zip(models.items(), dodge):
        excess = np.maximum([model["excess"][domain] for domain in general], RESOLVED)
        if name == "pretrained":
            ax.vlines(excess, rows - 0.38, rows + 0.38, color=color[name], lw=3)
            continue
        if "pretrained" in models and name != "scratch":
            before = np.maximum([models["pretrained"]["excess"][domain] for domain in general], RESOLVED)
            ax.hlines(rows + shift, before, excess, color=color[name], lw=2, alpha=0.45)
        ax.plot(excess, rows + shift, "o", ms=9, color=color[name], mec=look().paper, mew=0.8)
    ax.set(xscale="log", ylim=(len(general) - 0.5, -0.5), title="Old domains, one by one",
           xlabel="nats per token above the floor")
    ax.set_yticks(rows, general)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    plain_ticks(ax.xaxis)


def log_limits(values, room):
    """Limits on a log axis that leave this share of the values' range free on either side."""
    low, high = np.log(min(values)), np.log(max(values))
    margin = room * max(high - low, 1)
    return np.exp(low - margin), np.exp(high + margin)


def plain_ticks(axis):
    """0.02 0.05 0.1 0.2 ... rather than powers of ten."""
    low, high = axis.get_view_interval()
    decades = np.log10(high / low)
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2 else (1, 3) if decades < 3.5 else (1,)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")
