"""The page with the moving picture, in a browser and without a network: it plays, scrubs, steps, and asks for nothing."""

import html
import json
import re
import shutil
import socket
import subprocess
import threading
from html.parser import HTMLParser

import matplotlib as mpl
import pytest
from matplotlib.animation import FuncAnimation
from test_animation import moving, story, way

from minillm.draw.film import Film
from minillm.draw.player_page import offline, player, player_html
from minillm.draw.styles import DARK, style

FRAMES, FPS = 6, 10
OWN = r"^\S+ (?:https?://)?[\w.-]+\.(?:google|googleapis|gstatic)\.com[:/]"          # where the browser itself turns to
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-extensions",
         "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--virtual-time-budget=20000", "--dump-dom"]

WATCH = """<script>
window.trouble = [];
addEventListener("error", event => trouble.push("error: " + (event.message || event.target.outerHTML.slice(0, 200))), true);
addEventListener("unhandledrejection", event => trouble.push("rejected: " + event.reason));
addEventListener("securitypolicyviolation", event => trouble.push("forbidden: " + event.blockedURI));
for (const kind of ["error", "warn"]) console[kind] = (...what) => trouble.push(kind + ": " + what.join(" "));
</script>"""

ACT = """<script>
(async function () {
  const wait = time => new Promise(done => setTimeout(done, time)), seen = {};
  await wait(200);
  try {
    const film = window[Object.keys(window).find(name => /^anim[0-9a-f]+$/.test(name))];
    const img = document.querySelector(".player img"), slider = document.querySelector("input[type=range]");
    const shown = () => film.frames.findIndex(frame => frame.src === img.src);
    const click = label => document.querySelector(`[aria-label="${label}"]`).click();
    const press = (key, target = document.body) => {
      const event = new KeyboardEvent("keydown", {key: key, bubbles: true, cancelable: true});
      target.dispatchEvent(event);
      return event.defaultPrevented;
    };
    seen.frames = film.frames.length;
    seen.sizes = [...new Set(film.frames.map(frame => `${frame.naturalWidth}x${frame.naturalHeight}`))];
    seen.different = new Set(film.frames.map(frame => frame.src)).size;
    seen.ground = getComputedStyle(img).backgroundImage.slice(0, 20);
    seen.start = [shown(), film.timer !== null];

    slider.value = 3;
    slider.dispatchEvent(new Event("input", {bubbles: true}));
    seen.scrubbed = [shown(), slider.getAttribute("aria-valuetext")];

    seen.clicked = ["Next frame", "Previous frame", "Last frame", "Next frame", "First frame", "Previous frame"].map(label => {
      click(label);
      return shown();
    });

    click("Play");
    await wait(250);
    seen.playing = [shown(), Number(slider.value)];
    click("Pause");
    await wait(500);
    seen.paused = shown();
    click("Play");
    await wait(2000);
    seen.end = [shown(), film.timer !== null];
    click("Play");
    await wait(150);
    seen.again = shown();
    click("Pause");

    click("First frame");
    seen.taken = press(" ");
    await wait(250);
    seen.spaced = shown();
    press(" ");
    await wait(500);
    seen.unspaced = shown();
    press("ArrowLeft");
    seen.left = shown();
    press("ArrowRight");
    seen.right = shown();
    press("ArrowRight", slider);
    seen.slid = shown();
    seen.left_alone = [press("a"), press(" ", document.querySelector("button")),
                       press("ArrowLeft", document.querySelector("[type=radio]"))];

    seen.unnamed = [...document.querySelectorAll("button")].filter(one => !one.ariaLabel || !one.textContent.trim()).length;
    seen.icons = document.querySelectorAll("i").length;
    seen.too_wide = document.documentElement.scrollWidth - innerWidth;
    seen.fetched = performance.getEntriesByType("resource").map(entry => entry.name).filter(name => !name.startsWith("data:"));
    seen.checks = [...document.querySelectorAll("figcaption li")].map(one => one.textContent);
    seen.title = document.title;
    seen.width = img.clientWidth;
  } catch (error) { trouble.push("in the test: " + error); }
  const result = document.createElement("pre");
  result.id = "result";
  result.textContent = JSON.stringify({...seen, trouble: trouble});
  document.body.append(result);
})();
</script>"""


class Proxy:
    """Where a browser must ask for anything that is not on the disk; answers nothing, and notes what it was asked for."""

    def __init__(self):
        self.asked, self.server = [], socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while True:
            try:
                caller, _ = self.server.accept()
                with caller:
                    caller.settimeout(10)
                    self.asked.append(caller.recv(2000).split(b"\r\n")[0].decode("latin-1"))
            except TimeoutError:
                continue
            except OSError:
                return

    @property
    def address(self):
        return f"127.0.0.1:{self.server.getsockname()[1]}"


def browse(page, folder, width=1280):
    """Open a page and act. Returns what was seen there, what the browser reported, and what was asked of the network."""
    if not BROWSER:
        pytest.skip("there is no Chromium here")
    opened = folder / f"opened{width}.html"
    opened.write_text(page.replace("<head>", "<head>" + WATCH, 1) + ACT, encoding="utf-8")
    proxy = Proxy()
    with proxy.server:
        run = subprocess.run([BROWSER, *QUIET, f"--proxy-server={proxy.address}", f"--user-data-dir={folder / 'profile'}",
                              f"--window-size={width},1000", "--enable-logging=stderr", opened.as_uri()],
                             capture_output=True, text=True, encoding="utf-8", timeout=300)
    result = re.search(r'<pre id="result">(.*?)</pre>', run.stdout, re.DOTALL)
    assert result, run.stderr[-2000:]
    return json.loads(html.unescape(result[1])), [line for line in run.stderr.splitlines() if "CONSOLE" in line], proxy.asked


class Addresses(HTMLParser):
    """All that the tags of a page name as to be fetched, but for what is in the page itself."""

    def __init__(self, text):
        super().__init__()
        self.addresses = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "poster", "action")
                           and not value.startswith(("data:", "#"))]


def asks_for(text):
    """What a page would ask of the network: addresses of tags, those in styles, and whatever else looks like one."""
    return Addresses(text).addresses + re.findall(r"(?:url\(|@import)\s*[\"']?(?!data:)[^)]{1,80}", text) + (
        re.findall(r"(?:https?|wss?|ftp):[^\s\"']+", text))


def short_story():
    return moving({"full": way((4, 2), range(0, 11, 5))})


def noted():
    """The story, with a remark that a page could take for markup."""
    surface = story()
    surface.info["notes"] = ["a note with <b>tags</b> & <script>trouble.push('injected')</script>"]
    return surface


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "moving.html"
    player(noted(), path, FRAMES, FPS)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def seen(page, tmp_path_factory):
    return browse(page, tmp_path_factory.mktemp("browser"))


# ---- in a browser

def test_the_browser_has_nothing_to_complain_of(seen):
    state, console, _ = seen
    assert state["trouble"] == [] and console == []


def test_nothing_is_asked_of_the_network(seen):
    state, _, asked = seen
    assert state["fetched"] == [] and [line for line in asked if not re.search(OWN, line)] == []


def test_every_frame_is_there_and_sharp(seen):
    state = seen[0]
    assert state["frames"] == state["different"] == FRAMES and len(state["sizes"]) == 1
    assert int(state["sizes"][0].split("x")[0]) >= 1280 and state["ground"].startswith('url("data:image/png')


def test_it_waits_for_the_teacher_at_the_start(seen):
    assert seen[0]["start"] == [0, False]


def test_scrubbing(seen):
    assert seen[0]["scrubbed"] == [3, "step 60 of 100"]


def test_step_first_and_last(seen):
    assert seen[0]["clicked"] == [4, 3, 5, 5, 0, 0]


def test_play_and_pause(seen):
    state = seen[0]
    assert state["playing"] == [2, 2] and state["paused"] == 2


def test_it_stops_at_the_end_and_plays_again_from_the_start(seen):
    assert seen[0]["end"] == [FRAMES - 1, False] and seen[0]["again"] == 1


def test_the_keyboard_plays_pauses_and_steps(seen):
    state = seen[0]
    assert state["taken"] and state["spaced"] == state["unspaced"] == 2
    assert [state["left"], state["right"], state["slid"]] == [1, 2, 3]
    assert not any(state["left_alone"]), "letters, a button's own space and the arrows of a choice are not the player's"


def test_buttons_have_names_and_words(seen):
    assert seen[0]["unnamed"] == seen[0]["icons"] == 0


def test_checks_and_title_are_text(seen, page):
    surface = noted()
    assert seen[0]["checks"] == surface.checks() and "<script>" in surface.checks()[0]
    assert seen[0]["title"] == "The weights on their way: full, adapter, frozen"


def test_it_fits_a_narrow_window(page, tmp_path):
    state, *_ = browse(page, tmp_path, width=640)
    assert state["trouble"] == [] and state["too_wide"] <= 0 and 500 < state["width"] <= 640


def test_the_network_would_be_noticed(tmp_path):
    """matplotlib's own page asks for a font: so these tests can fail."""
    with style():
        film = Film(story(), 2, dpi=30)
        raw = FuncAnimation(film.fig, film.show, film.steps, init_func=lambda: None).to_jshtml()
    assert "font-awesome" in asks_for(raw)[0]
    assert asks_for(offline(raw)) == []
    _, _, asked = browse(f"<html><head></head><body><figure class='player'>{raw}</figure></body></html>", tmp_path)
    assert any("bootstrapcdn" in line for line in asked)


# ---- as text

def test_the_page_is_whole_and_names_no_address(page):
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    for part in ('<html lang="en">', '<meta charset="utf-8">', '<meta name="viewport"', "<title>", "default-src 'none'"):
        assert page.count(part) == 1, part
    assert asks_for(page) == []


def test_names_are_unique_and_the_same_in_every_run(page):
    text = player_html(short_story(), 2)
    assert text == player_html(short_story(), 2)
    ids = re.findall(r"\bid=\"([^\"]+)", text)
    assert len(ids) == len(set(ids)) == 6
    assert not set(ids) & set(re.findall(r"\bid=\"([^\"]+)", page))


def test_no_frame_is_left_out_whatever_matplotlib_is_set_to():
    with mpl.rc_context({"animation.embed_limit": 1e-3, "animation.frame_format": "jpeg"}):
        text = player_html(short_story(), 3)
    assert len(re.findall(r"frames\[\d+\] = \"data:image/png;base64,", text)) == 3


def test_fifty_frames_take_no_more_than_five_megabytes(page):
    frames = sum(map(len, re.findall(r"frames\[\d+\] = \"([^\"]+)", page)))
    assert frames > 1e5 and frames / FRAMES * 51 + (len(page) - frames) < 5e6


def test_a_name_is_no_markup():
    text = player_html(moving({"<i>a</i>\" onload=\"x": way((4, 2), range(0, 11, 5))}), 2)
    assert "<i>" not in text and 'onload="' not in text


def test_a_dark_page(tmp_path):
    player(short_story(), tmp_path / "dark.html", 2, dark=True)
    text = (tmp_path / "dark.html").read_text(encoding="utf-8")
    assert "color-scheme: dark" in text and DARK.paper in text


def test_nothing_is_written_without_paths(tmp_path):
    with pytest.raises(ValueError, match="no trajectories"):
        player(moving({}), tmp_path / "x.html")
    assert not list(tmp_path.iterdir())


def test_a_page_of_somebody_else_is_not_overwritten_and_ones_own_is(page, tmp_path):
    theirs = tmp_path / "weights_moving.html"
    theirs.write_text("<title>My thesis</title>")
    with pytest.raises(ValueError, match="minillm has not written it"):
        player(noted(), theirs, FRAMES, FPS)
    assert theirs.read_text() == "<title>My thesis</title>"
    theirs.write_bytes(page.read_bytes() if hasattr(page, "read_bytes") else page.encode())
    player(noted(), theirs, FRAMES, FPS)
    assert "The weights on their way" in theirs.read_text(encoding="utf-8")
