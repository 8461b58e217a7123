"""The loss between two models: along the straight line from one to the other, and along a curve around the barrier."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from .labels import caption, foot, place, wrapped
from .maps import LETTERS, title, tokens_of
from .styles import WIDTH, colors, figure, look, save, style

SEEN = 0.005                   # nats: lower barriers get no arrow
HIGH, LEFT = 3.6, 0.95         # inches


def profile(profile, path, dark=False):
    """The loss on the new task (left) and on the old domains (right) along curves from one model to another.

    A barrier is how far a curve rises above the straight line between its two end losses (dotted); an arrow marks it.
    """
    with style(dark):
        lines = wrapped(_caption(profile), WIDTH - 0.7, 11)
        tasks = list(next(iter(profile.loss.values())))
        column, height = WIDTH / 2, HIGH + 1.2 + foot(lines)
        fig = figure(column * len(tasks), height)
        for k, task in enumerate(tasks):
            ax = fig.add_axes([(column * k + LEFT) / fig.get_figwidth(), (foot(lines) + 0.7) / height,
                               (column - LEFT - 0.25) / fig.get_figwidth(), HIGH / height])
            _along(ax, profile, task)
            ax.set_title(title(task, k))
        caption(fig, lines)
        save(fig, path)


def _along(ax, profile, task):
    t, ends, color = profile.t, profile.ends, colors(profile.ends)
    curves = {name: losses[task] for name, losses in profile.loss.items()}
    finite = np.concatenate(list(curves.values()))
    finite = finite[np.isfinite(finite)]
    room = 0.14 * max(np.ptp(finite), 1e-3)
    ax.set(xlim=(t[0] - 0.06, t[-1] + 0.06), ylim=(finite.min() - room, finite.max() + room), ylabel="nats per token",
           xlabel=f"t, from 0 ({ends[0]}) to 1 ({ends[1]})")
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.grid(axis="y")
    labels, lines = [], [np.column_stack([t, loss]) for loss in curves.values()]
    for at, name in zip((0, 1), ends):
        loss = next(iter(curves.values()))[t == at][0]
        ax.axvline(at, color=look().rule, lw=1.2, zorder=1)
        ax.plot(at, loss, "o", ms=11, color=color[name], mec=look().paper, mew=1.5, zorder=6)
        labels.append(((at, loss), f"{LETTERS[name]} {name}" if name in LETTERS else name, color[name]))
    chord = np.interp(t, (0, 1), [labels[0][0][1], labels[1][0][1]])
    for k, (name, loss) in enumerate(curves.items()):
        tint = look().ink if k == 0 else look().others[1]
        ax.plot(t, loss, color=tint, ls=(0, (3.5, 1.8)) if k == 0 and len(curves) > 1 else "-", zorder=4)
        if profile.barrier[name][task] > SEEN:
            at = np.nanargmax(np.where((t >= 0) & (t <= 1), loss - chord, np.nan))
            ax.annotate("", (t[at], loss[at]), (t[at], chord[at]), zorder=5,
                        arrowprops=dict(arrowstyle="<|-|>", color=tint, lw=1.8, mutation_scale=14, shrinkA=0, shrinkB=0))
            lines.append(np.array([(t[at], loss[at]), (t[at], chord[at])]))
            labels.append(((t[at], (loss[at] + chord[at]) / 2), f"barrier {profile.barrier[name][task]:.2f}", tint))
        if len(curves) > 1:
            others = [np.abs(loss - other) for other in curves.values() if other is not loss]
            named = np.argmax(np.nan_to_num(np.min(others, axis=0)))         # where it is farthest from the others
            labels.append(((t[named], loss[named]), name, tint))
    if any(profile.barrier[name][task] > SEEN for name in curves):
        lines.append(np.array([xy for xy, *_ in labels[:2]]))
        ax.plot(*lines[-1].T, ":", color=look().faint, lw=1.8, zorder=2)
    place(ax, labels, lines, size=12)


def _caption(profile):
    info = profile.info
    heights = [f"{height:.3f} nats on {task} along the {curve}" for curve, tasks in profile.barrier.items()
               for task, height in tasks.items()]
    missing = sum(int((~np.isfinite(loss)).sum()) for tasks in profile.loss.values() for loss in tasks.values())
    parts = [f"Barriers, how far the loss rises above the straight line between the two end losses: {', '.join(heights)}.",
             f"{len(profile.t)} models on each curve, all on the same tokens ({tokens_of(info)}), seed {info['seed']}."]
    parts += [f"{note[0].upper()}{note[1:]}." for note in info["notes"]]
    if missing:
        parts.append(f"Gaps: {missing} losses are not numbers.")
    return " ".join(parts)
