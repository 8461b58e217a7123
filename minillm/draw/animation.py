"""The weights on their way, as a moving picture: where they are, what they lose there, and what they write."""

from matplotlib.animation import PillowWriter

from ..ground.files import written_whole
from .actors import Still
from .film import Film
from .styles import style

HOLD = 1.5                     # seconds that the last frame stays before a loop starts again


def animate(surface, path, frames=40, fps=10, dark=False):
    """A GIF: the weights move over the twin maps, equal times for equal steps, and below them grow their true losses.

    Between two recorded points the path is straight. The heads are projections, the losses are not: where the dashed loss, of the
    map under the head, parts from the solid one, the weights are off the plane. What they write is drawn with the same random
    numbers at every step, so that only the weights change it. ValueError without paths.
    """
    with style(dark), written_whole(path) as part:
        film = Film(surface, frames)
        film.fig.add_artist(Still(film.still, zorder=-2))
        film.record(Gif(fps), part)


class Gif(PillowWriter):
    """All frames in the colours of the last, which has whole paths: so nothing that stands still flickers. The last one stays."""

    def finish(self):
        self._frames = [frame.convert("RGB") for frame in self._frames]          # older matplotlibs hand them over as RGBA
        palette = self._frames[-1].quantize(256)
        tones = palette.getpalette()
        palette.putpalette([tone & ~3 for tone in tones])              # Pillow looks colours up in steps of 4
        first, *others = frames = [frame.quantize(palette=palette, dither=0) for frame in self._frames]
        for frame in frames:
            frame.putpalette(tones)
        each = 1000 / self.fps
        first.save(self.outfile, save_all=True, append_images=others, loop=0,
                   duration=[each] * len(others) + [each + 1000 * HOLD])
