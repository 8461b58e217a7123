"""The moving picture as a page with a slider: one file, which loads nothing from the network."""

import base64
import re
from hashlib import sha256
from html import escape
from io import BytesIO
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

from matplotlib.animation import HTMLWriter, PillowWriter
from matplotlib.image import imsave

from ..ground.files import write_text
from ..ground.ownership import not_others
from .film import Film
from .styles import look, style

DPI = 150                      # sharp on a projector
NO_LIMIT = float("inf")        # bytes; above a limit matplotlib would leave out frames
TITLE = "The weights on their way"
CAPTION = ("The weights move over the loss on the new task and on the old domains, at a constant number of steps per second. "
           "Space plays and pauses, the arrow keys go frame by frame.")
BUTTONS = {"minus": "slower", "fast-backward": "first", "step-backward": "◂ step", "play fa-flip-horizontal": "◂ play",
           "pause": "pause", "play": "play ▸", "step-forward": "step ▸", "fast-forward": "last", "plus": "faster"}


def player(surface, path, frames=51, fps=10, dark=False):
    """Write a page with the picture that `animate` makes, with a slider and buttons to play it and step through it.

    ValueError without trajectories, or if a file of this name exists that is not such a page.
    """
    not_others(path, TITLE.encode())
    with style(dark):
        page = PAGE.substitute(policy=POLICY, title=title(surface), scheme="dark" if dark else "light", ink=look().ink,
                               paper=look().paper, player=player_html(surface, frames, fps, dark))
    write_text(path, page)


def player_html(surface, frames=51, fps=10, dark=False):
    """The player alone, as HTML for a page, which may hold several. The same surface gives the same bytes."""
    with style(dark):
        film = Film(surface, frames, DPI)
        shots = offline(film_html(film, fps))
        still = BytesIO()
        imsave(still, film.still, format="png", metadata={"Software": None})
    height, width = film.still.shape[:2]
    return PLAYER.substitute(
        id=re.search(r"_anim_img(\w+)", shots)[1], title=title(surface), last=film.last, caption=CAPTION,
        film=shots.replace("<img ", f'<img width="{width}" height="{height}" alt="{title(surface)}" ').replace(
            'class="anim-slider"', 'class="anim-slider" aria-label="step"'),
        still="data:image/png;base64," + base64.b64encode(still.getvalue()).decode(),
        checks="\n".join(f"<li>{escape(check)}</li>" for check in surface.checks()))


def title(surface):
    return escape(f"{TITLE}: {', '.join(surface.trajectories)}")


def film_html(film, fps):
    """The page that matplotlib writes for a film: a picture, a slider, buttons, and the frames in a script."""
    with TemporaryDirectory() as folder:
        page = Path(folder) / "film.html"
        film.record(Slides(fps), page)
        return page.read_text()


class Slides(HTMLWriter):
    """Writes transparent frames, which hold only what moves, in 256 colours: a tenth of the bytes."""

    def __init__(self, fps):
        super().__init__(fps, embed_frames=True, default_mode="once", embed_limit=NO_LIMIT)
        self.frame_format = "png"
        self.camera = PillowWriter(fps)

    def setup(self, fig, outfile, dpi=None):
        super().setup(fig, outfile, dpi)
        self.camera.setup(fig, outfile, dpi)

    def grab_frame(self, **settings):
        self.camera.grab_frame(facecolor="none", **settings)
        png = BytesIO()
        self.camera._frames.pop().quantize(256).save(png, "png")
        self._saved_frames.append(base64.b64encode(png.getvalue()).decode())


def offline(html):
    """matplotlib's page without its font of icons, which it loads from the network, and with the same names in every run."""
    html = re.sub(r"<link\b[^>]*>\s*", "", html)
    html = re.sub(r'<i class="fa fa-([^"]+)"></i>', lambda icon: BUTTONS[icon[1]], html)
    uuid = re.search(r"_anim_img(\w+)", html)[1]                     # random, so we replace it by a hash
    return html.replace(uuid, sha256(html.replace(uuid, "").encode()).hexdigest()[:12])


# A page with a player may use its own scripts and pictures, and nothing from elsewhere.
POLICY = """<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">"""

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
$policy
<title>$title</title>
<style>
:root { color-scheme: $scheme }
body { font: 17px/1.5 "DejaVu Sans", Verdana, sans-serif; color: $ink; background: $paper; margin: .5rem 1rem }
.alone .animation img { max-height: max(20rem, 100vh - 7.5rem) }
</style>
</head>
<body>
<main class="alone">
$player
</main>
</body>
</html>
""")

PLAYER = Template("""<figure class="player" id="player$id" tabindex="0" aria-label="$title">
$film
<figcaption>
<p>$caption</p>
<p>Is the picture right?</p>
<ul>
$checks
</ul>
</figcaption>
</figure>
<style>
.player { margin: 0 }
.player .animation { display: block }
.player .animation img { max-width: 100%; width: auto; height: auto; background-size: 100% 100%;
                         -webkit-print-color-adjust: exact; print-color-adjust: exact }
#_anim_img$id { background-image: url($still) }
.player input[type=range].anim-slider { width: min(100%, 60rem) }
.player .anim-buttons button { width: auto; padding: .2rem .6rem; margin: .1rem; font: inherit; cursor: pointer }
.player figcaption { max-width: 60rem; margin: 1rem auto; font-size: .95rem }
</style>
<script>
setTimeout(function () {                        // after matplotlib's own script, which waits as well
  const film = anim$id, player = document.getElementById("player$id"), slider = player.querySelector(".anim-slider");
  const end = film.frames.length - 1, play = film.play_animation, show = film.set_frame;
  film.play_animation = function () {           // at the end: from the beginning
    if (film.current_frame >= end) film.first_frame();
    play.call(film);
  };
  film.set_frame = function (frame) {
    show.call(film, frame);
    slider.setAttribute("aria-valuetext", "step " + Math.round($last * frame / end) + " of $last");
  };
  film.set_frame(0);
  const keys = {
    " ": function () { if (film.timer) film.pause_animation(); else film.play_animation(); },
    ArrowRight: function () { film.pause_animation(); film.next_frame(); },
    ArrowLeft: function () { film.pause_animation(); film.previous_frame(); }
  };
  (player.closest(".alone") ? document : player).addEventListener("keydown", function (event) {
    const theirs = event.target.matches("[type=radio]") || event.key === " " && event.target.matches("button");
    if (theirs || !(event.key in keys) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  player.addEventListener("click", function (event) {         // after a click of the mouse, keys go to the player again
    if (event.detail && event.target.matches("button, [type=radio]")) player.focus({preventScroll: true});
  });
  player.querySelector("form").onsubmit = function () { return false; };
}, 0);
</script>
""")
