"""The layout of the moving picture, in inches from the lower left."""

from dataclasses import dataclass

from .maps import map_size

NAME, LETTERS = 0.11, 18                                         # width of a bold letter; letters shown of a name
LINES = 2                                                        # of each text that a model writes
COLUMN, SIDE, BAR = 5.6, 0.85, 0.95                              # a map with its margins; left margin; right margin
CURVE, TEXT, ROW = 1.45, 11.5, 0.19                              # height of loss curves; size of texts, height of a line


@dataclass
class FilmLayout:
    """Maps side by side, below each the loss curves of its task, and at the bottom a row for each text.

    across, up  width and height of a map
    rows        number of runs that write texts
    letters     of the longest name; names stand right of the curves and left of the texts
    columns     number of maps
    """

    across: float
    up: float
    rows: int
    letters: int
    columns: int

    @classmethod
    def of(cls, surface):
        across, up = map_size(surface, COLUMN - SIDE - BAR, 3.0)
        rows = len(surface.trajectories) if any(trajectory.texts for trajectory in surface.trajectories.values()) else 0
        return cls(across, up, rows, max(len(short(name)) for name in surface.trajectories), len(surface.loss))

    @property
    def width(self):
        return COLUMN * self.columns

    @property
    def texts(self):
        """Height of the texts."""
        return self.rows * (LINES * ROW + 0.13) + 0.5 if self.rows else 0.1

    @property
    def map(self):
        """Lower edge of the maps."""
        return self.texts + 0.55 + CURVE + 1.05

    @property
    def height(self):
        return self.map + self.up + 0.95

    def axes(self, fig, k, surface):
        """The k-th map and the axes of the curves below it."""
        left = SIDE + COLUMN * k
        curve = COLUMN - SIDE - 0.2 - NAME * (self.letters + len(" 0.00"))

        def add(x, y, w, h, **kwargs):
            return fig.add_axes([x / self.width, y / self.height, w / self.width, h / self.height], **kwargs)

        return (add(left, self.map, self.across, self.up, xlim=surface.a[[0, -1]], ylim=surface.b[[0, -1]]),
                add(left, self.texts + 0.55, curve, CURVE))

    def row(self, k):
        """Upper edge of the k-th text."""
        return self.texts - 0.42 - k * (LINES * ROW + 0.13)

    def write(self, fig, x, y, text, **kwargs):
        return fig.text(x / self.width, y / self.height, text, parse_math=False, **kwargs)


def short(name):
    return name if len(name) <= LETTERS else name[:LETTERS - 1] + "…"
