"""The moving picture as a GIF: where the weights are at each step, their loss, and what they write."""

from matplotlib.animation import PillowWriter

from ..ground.files import written_whole
from .actors import Still
from .film import Film
from .styles import style

HOLD = 1.5                     # seconds that the last frame stays before a loop starts again


def animate(surface, path, frames=40, fps=10, dark=False):
    """Write a GIF: the weights move over the two maps at a constant number of steps per second, above their true losses.

    Between two recorded points the weights move along a straight line. The heads are projections, but the solid losses are true:
    where the dashed loss, that of the map under the head, differs from it, the weights are off the plane. Their texts are drawn
    with the same random numbers at every step, so only the weights change them. ValueError without trajectories.
    """
    with style(dark), written_whole(path) as part:
        film = Film(surface, frames)
        film.fig.add_artist(Still(film.still, zorder=-2))
        film.record(Gif(fps), part)


class Gif(PillowWriter):
    """Gives all frames the palette of the last, which shows everything: so nothing flickers. The last frame is held."""

    def finish(self):
        self._frames = [frame.convert("RGB") for frame in self._frames]          # older matplotlibs pass RGBA
        palette = self._frames[-1].quantize(256)
        tones = palette.getpalette()
        palette.putpalette([tone & ~3 for tone in tones])              # Pillow looks colours up in steps of 4
        first, *others = frames = [frame.quantize(palette=palette, dither=0) for frame in self._frames]
        for frame in frames:
            frame.putpalette(tones)
        each = 1000 / self.fps
        first.save(self.outfile, save_all=True, append_images=others, loop=0,
                   duration=[each] * len(others) + [each + 1000 * HOLD])
