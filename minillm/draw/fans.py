"""Runs from one start with several learning rates: too small a rate gets nowhere, too large a rate diverges."""

import numpy as np

from .labels import BOLD, caption, foot, name_lines, wrapped
from .maps import COLUMN, LEFT, contours, dot_every, frame_losses, landscape, map_size, mark, trail
from .styles import WIDTH, figure, look, save, shades, style

MAP, LOWEST = 3.2, 2.7         # inches: the largest size of the map, the smallest height of the losses


def fan(surface, rates, path, dark=False):
    """Left, the trajectories of runs that differ only in their learning rate, over the new task; right, their true losses.

    rates       {run: learning rate}; colours follow its order. A run that diverges leaves the map, and the axes at the top
    """
    surface = landscape(surface)
    task = next(iter(surface.loss))
    with style(dark):
        runs = [name for name in sorted(rates, key=rates.get) if name in surface.trajectories]
        color = {name: look().ink for name in [*surface.points, *surface.trajectories]} | shades(runs)
        names = {name: f"{rates[name]:g}" for name in runs}
        lines = wrapped(_caption(surface, task, runs), WIDTH - 0.7, 11)
        across, up = map_size(surface, MAP, MAP)
        high = max(up, LOWEST)
        height = foot(lines) + high + 1.3
        fig = figure(WIDTH, height)
        ax = fig.add_axes([(LEFT + (MAP - across) / 2) / WIDTH, (foot(lines) + 0.75 + high - up) / height,
                           across / WIDTH, up / height])
        contours(ax, surface, task, 0)
        for name in runs:
            trail(ax, surface.trajectories[name], color[name], dot_every(surface))
        mark(ax, surface, color, size=12, names=names)
        room = COLUMN - 1.0 - BOLD * 12 / 72 * (2 + max(map(len, names.values())))
        ax = fig.add_axes([(COLUMN + 0.9) / WIDTH, (foot(lines) + 0.75) / height, room / WIDTH, high / height])
        _losses(ax, task, {names[name]: surface.trajectories[name] for name in runs},
                {names[name]: color[name] for name in runs}, [names.get(name) for name in surface.info["away"]])
        caption(fig, lines)
        save(fig, path)


def _losses(ax, task, trajectories, color, away):
    for name, trajectory in trajectories.items():
        ax.plot(trajectory.steps, trajectory.loss[task], color=color[name])
    frame_losses(ax, {name: trajectory.loss[task] for name, trajectory in trajectories.items()}, away)
    ax.set_title("True loss, by learning rate")
    name_lines(ax, {name: (trajectory.steps, trajectory.loss[task]) for name, trajectory in trajectories.items()}, color)


def _caption(surface, task, runs):
    info = surface.info
    worst = max(float(np.nanmax(surface.trajectories[name].residual)) for name in runs)
    failed = f" Failed, and not fitted into the map: {', '.join(info['away'])}." if info["away"] else ""
    return (f"{len(runs)} runs from the same start on the same batches, named by their learning rates. "
            f"Left: {info['directions']}; a dot every {dot_every(surface)} steps; largest projection error {worst:.2f}.{failed} "
            f"Right: the losses of the recorded weights themselves. Both on the same {info['tokens'][task]} tokens of {task}, "
            f"seed {info['seed']}.")
