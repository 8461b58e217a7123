"""The loss surface from above, with the weights moving over it, and beside it how far that picture can be believed."""

import textwrap
from dataclasses import replace

import numpy as np
from matplotlib.colors import BoundaryNorm, to_rgb

from .labels import line_ends, place
from .style import colors, figure, look, save, style

HEADINGS = ("New task", "Old domains")
LETTERS = {"pretrained": "P", "full": "F", "adapter": "A"}
MAP, COLUMN = 5.05, 6.65                       # inches: the greatest width of a map, and from one map to the next
EXTREME = 2                                    # one axis more than so many times as long: equal units would show a thin strip


def surface(surface, path, dark=False):
    """Twin maps of one plane of weight space, and under each the check of its truth.

    Above: the loss on the new task (left) and on the old domains (right) at the same weights, so that forgetting is seen:
    downhill on one map, uphill on the other. Contours stand on geometric levels above the lowest point, close where the valley
    is; the loss of a blind guess among all words is dashed. A recorded point that lies off the plane is drawn where it projects
    to, the hollower the farther off it is.

    Below: the true loss of the recorded weights (solid) against the loss of the map at their projection (dashed). Where the two
    part, the map does not show what the model went through.
    """
    surface = landscape(surface)
    color = colors([*surface.points, *surface.paths])
    with style(dark):
        across, up = map_size(surface, MAP, 4.6)
        caption = textwrap.wrap(_caption(surface), 74 * len(surface.loss))
        foot = 0.15 + 0.22 * len(caption)
        maps = foot + (3.35 if surface.paths else 0.75)
        width, height = COLUMN * len(surface.loss) + 0.15, maps + up + 0.55
        fig = figure(width, height)
        for k, task in enumerate(surface.loss):
            left = 0.85 + COLUMN * k
            ax = fig.add_axes([(left + (MAP - across) / 2) / width, maps / height, across / width, up / height])
            contours(ax, surface, task, k)
            for name, way in surface.paths.items():
                trail(ax, way, color[name], dot_every(surface))
            mark(ax, surface, color)
            if surface.paths:
                below = fig.add_axes([left / width, (foot + 0.65) / height, MAP / width, 1.7 / height])
                _true_and_shown(below, surface, task, color)
        fig.text(0.85 / width, (foot - 0.05) / height, "\n".join(caption), va="top", size=11, color=look().faint, linespacing=1.3)
        save(fig, path)


def landscape(surface):
    """The same surface with its longer axis across: the axes of a plane may be swapped, and screens are wide."""
    if np.ptp(surface.a) >= np.ptp(surface.b):
        return surface
    return replace(
        surface, a=surface.b, b=surface.a, loss={task: S.T for task, S in surface.loss.items()},
        points={name: ab[::-1] for name, ab in surface.points.items()},
        paths={name: replace(path, ab=path.ab[:, ::-1]) for name, path in surface.paths.items()},
        facts=surface.facts | {"labels": surface.facts["labels"][::-1]})


def extreme(surface):
    return np.ptp(surface.a) > EXTREME * np.ptp(surface.b)


def map_size(surface, across, up):
    """The largest width and height within these bounds at which both axes have the same unit."""
    ratio = np.ptp(surface.b) / np.ptp(surface.a) if not extreme(surface) else 0.65
    return min(across, up / ratio), min(up, across * ratio)


def levels(S, top, n=14):
    """Contour levels at geometric distances above the lowest point: from 1 % of the way to the top, n of them."""
    return S.min() + (top - S.min()) * np.r_[0, np.geomspace(0.01, 1, n)]


def contours(ax, surface, task, k, title_pad=10):
    """The k-th map: filled contours, a colour bar in nats, and the level of chance dashed."""
    S, chance = surface.loss[task], surface.facts["chance"]
    S = np.ma.masked_invalid(S)
    met = [point[task] for point in surface.point_loss.values()] + [path.loss[task].max() for path in surface.paths.values()]
    top = min(S.max(), 1.3 * max(chance, *met))                  # far above chance, all is equally lost
    heights = levels(S, top)
    clipped = S.max() > top
    filled = ax.contourf(surface.a, surface.b, S, heights, cmap=look().ground, extend="max" if clipped else "neither",
                         norm=BoundaryNorm(heights, look().ground.N, extend="max"))
    ax.contour(surface.a, surface.b, S, heights[1:], colors=[look().ink], linewidths=0.5, alpha=0.45)
    if S.min() < chance < S.max():
        line = ax.contour(surface.a, surface.b, S, [chance], colors=[look().paper], linestyles="--", linewidths=2)
        ax.clabel(line, fmt=f"chance: {chance:.1f}", fontsize=11)
    ax.set(xlim=surface.a[[0, -1]], ylim=surface.b[[0, -1]], aspect="auto" if extreme(surface) else "equal")
    ax.set_xlabel(surface.facts["labels"][0])
    ax.set_title(title(task, k), pad=title_pad)
    if k == 0:
        ax.set_ylabel(surface.facts["labels"][1])
    ax.spines[:].set_visible(False)
    if surface.facts["not_numbers"]:                             # seen through what is left blank
        ax.patch.set(facecolor=look().paper, edgecolor=look().faint, hatch="xx", lw=0)
    bar = ax.figure.colorbar(filled, cax=ax.inset_axes([1.03, 0, 0.03, 1]), ticks=heights[::2])
    bar.ax.set_yticklabels([f"{tick:.2f}" for tick in heights[:-1:2]] + [f"{'≥ ' if clipped else ''}{top:.2f}"])
    bar.ax.tick_params(labelsize=11, length=2)
    bar.ax.set_title("nats", size=11, weight="normal", loc="left", pad=8)
    bar.outline.set_visible(False)


def title(task, k):
    return HEADINGS[k] if task in HEADINGS[k].lower() else f"{HEADINGS[k]}: {task}"


def dot_every(surface, n=10):
    """Steps between two dots, the same on all paths, n of them on the longest: where dots lie close, the weights moved slowly."""
    return max(1, round(max(int(path.steps[-1]) for path in surface.paths.values()) / n))


def dotted(path, every):
    """Which of the recorded points get a dot: those nearest to the multiples of `every` steps."""
    marks = np.arange(every, path.steps[-1] + 1, every)
    return np.unique(np.abs(path.steps[:, None] - marks).argmin(0))


def trail(ax, path, color, every):
    """A path as a line with dots, equal in steps: full where the point lies in the plane, hollow where the plane shows little of
    the way to it. Returns the line and the dots."""
    at = dotted(path, every)
    line, = ax.plot(*path.ab.T, color=color, path_effects=look().halo, zorder=4)
    return line, ax.scatter(*path.ab[at].T, s=44, c=[hollow(color, r) for r in path.residual[at]], edgecolors=color,
                            linewidths=1.4, zorder=5)


def hollow(color, residual):
    """The colour, mixed with the paper's as far as the point lies off the plane."""
    return tuple((1 - residual) * np.array(to_rgb(color)) + residual * np.array(to_rgb(look().paper)))


def mark(ax, surface, color, size=12.5):
    """Every model by a disc and its name: those that span the plane, and the ends of paths that only project into it."""
    ends = {name: path.ab[-1] for name, path in surface.paths.items()} | surface.points
    for name, ab in ends.items():
        residual = surface.residuals.get(name, 0)
        ax.plot(*ab, "o", ms=11, mfc=hollow(color[name], residual), mec=color[name], mew=1.8, path_effects=look().halo, zorder=7)
    place(ax, [(ab, f"{LETTERS[name]} {name}" if name in LETTERS else name, color[name]) for name, ab in ends.items()],
          [path.ab for path in surface.paths.values()], size=size)


def _true_and_shown(ax, surface, task, color):
    for name, path in surface.paths.items():
        ax.plot(path.steps, path.loss[task], color=color[name])
        ax.plot(path.steps, path.shown[task], color=color[name], ls=(0, (3, 2)), lw=1.8)
    ax.set(xlabel="step", ylabel="nats per token", xlim=(0, None))
    ax.margins(y=0.12)
    ax.set_title("true loss (solid), and as the map shows it (dashed)", size=12, weight="normal")
    ax.grid(axis="y")
    line_ends(ax, {name: (path.steps[-1], path.loss[task][-1], color[name]) for name, path in surface.paths.items()})


def _caption(surface):
    facts = surface.facts
    ways = ", ".join(f"‖{LETTERS.get(name, name)}−P‖ = {d:.1f} ({100 * d / facts['norm']:.2g} % of ‖P‖)".replace(" ", "\u00a0")
                     for name, d in surface.distances.items() if d)
    errors = ", ".join(f"{name} {np.nanmax(path.residual):.2f}" for name, path in surface.paths.items())
    tokens = ", ".join(f"{n} of {task}" for task, n in facts["tokens"].items())
    unit = "units of weight distance" if facts["unit"] else "parts of the weights themselves, filter by filter"
    parts = [f"Axes in {unit}{', not to the same scale' if extreme(surface) else ''}; "
             f"directions: {facts['directions']}{'; ' * bool(ways)}{ways}.",
             f"Loss on fixed tokens ({tokens}), seed {facts['seed']}."]
    if surface.paths:
        parts.append(f"A dot every {dot_every(surface)} steps, hollow where the plane shows little of the way from P; "
                     f"largest projection error: {errors}.")
    return " ".join(parts)
