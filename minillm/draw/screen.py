"""Drawing the live window many times a second.

What stands still is drawn once and kept as an image. A frame restores that image and draws what moves over it (blitting), which
takes a tenth of the time of drawing everything.
"""

from matplotlib.transforms import Bbox

SIZE, DPI = (12.8, 7.2), 100                    # inches: 1280 x 720 pixels, which every projector can show
PANEL = 0.165                                   # share of the width that the panel takes


class Screen:
    """A figure without its panel at the left, whose widgets draw themselves.

    blits   can this canvas keep an image? If not, each frame draws everything

    Artists that change are registered with `moving` or `seldom_changing`; all others stand still.
    """

    def __init__(self, fig):
        self.fig, self.blits = fig, fig.canvas.supports_blit
        self._moving, self._words = [], []
        self._still = self._background = None       # what stands still; the same with the words
        self._words_are_drawn = False
        fig.canvas.mpl_connect("draw_event", self._drawn)
        fig.canvas.mpl_connect("resize_event", self._resized)

    def moving(self, artist):
        """Register an artist that is redrawn in each frame. Returns it."""
        artist.set_animated(self.blits)
        self._moving.append(artist)
        return artist

    def seldom_changing(self, words):
        """Register a text that is redrawn only after `words_changed`, because texts are slow to draw. Returns it."""
        words.set_animated(self.blits)
        self._words.append(words)
        return words

    def words_changed(self):
        self._words_are_drawn = False

    def show(self, everything=False):
        """Draw the next frame. `everything`: what stands still has changed, too."""
        if everything or self._background is None:
            self.fig.canvas.draw_idle()
            return
        if not self._words_are_drawn:
            self._draw_words()
        self.fig.canvas.restore_region(self._background)
        self._draw_moving()
        self.fig.canvas.blit(self._area)

    def _draw_moving(self):
        for artist in self._moving:
            self.fig.draw_artist(artist)

    def _draw_words(self):
        self.fig.canvas.restore_region(self._still)
        for words in self._words:
            self.fig.draw_artist(words)
        self._background, self._words_are_drawn = self.fig.canvas.copy_from_bbox(self._area), True

    def _drawn(self, event):
        """Everything that stands still has just been drawn."""
        if self.blits and not event.canvas.is_saving():
            width, height = self.fig.bbox.size
            self._area = Bbox([[PANEL * width, 0], [width, height]])
            self._still = event.canvas.copy_from_bbox(self._area)
            self._draw_words()
            self._draw_moving()

    def _resized(self, event):
        self._background = None
