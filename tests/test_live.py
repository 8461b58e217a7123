"""Is it the truth that the live window shows? The run is the run that `finetune` makes, its path is where its weights project to,
every control does what stands on it, and a frame drawn over a kept background is the same as one drawn whole."""

import numpy as np
import pytest
from matplotlib.backend_bases import CloseEvent, KeyEvent, MouseEvent, ResizeEvent

from minillm.draw.live import DPI, SIZE, SPEED_OVER, Window, has_display
from minillm.draw.panel import labelled, spelt
from minillm.draw.styles import figure, style
from minillm.finetune.methods import BottleneckAdapter, Frozen, Full, LoRA
from minillm.live import DIVERGED, FINISHED, LOSSES_EVERY, TEXT_EVERY, TRAINING, Live
from minillm.runs.finetuning import finetune
from minillm.surface.family import read_family
from minillm.surface.views import plane_through_models, surface
from minillm.tasks.special import SpecialTask
from minillm.train.optimizers import AdamW

STEPS, BATCH, SEED = 12, 4, 2                               # of the story
NAMES = ["full", "adapter", "frozen"]
METHODS = ["full", "frozen", "adapter", "lora"]
RATES = {"full": 3e-3, "frozen": 5e-3, "adapter": 1e-2}
RUIN = 1e30                                                 # a learning rate that no weights survive


@pytest.fixture(scope="module")
def landscape(story):
    return surface(story, "three", NAMES, 5)


@pytest.fixture(scope="module")
def the_live(story, landscape):
    return Live(story, landscape, batch=BATCH, workers=1)


@pytest.fixture(scope="module")
def the_window(the_live):
    the_live.reset("full", 1)
    with style():
        window = opened(the_live)
        window.fig.canvas.draw_idle = lambda: None          # a screen draws when there is time, and these tests have none
        yield window


def opened(live):
    window = Window(live, figure(*SIZE, DPI))
    window.fig.canvas.draw()
    return window


@pytest.fixture
def live(the_live):
    the_live.reset("full", 1)
    return the_live


@pytest.fixture
def window(the_window):
    """As it opens: full fine-tuning at the usual rate, before the first step, not playing."""
    the_window.panel.method_radio.set_active(METHODS.index("full"))
    the_window.panel.factor_radio.set_active(the_window.live.factors.index(1))
    the_window.pause()
    return the_window


def finish(live):
    while live.step():
        pass
    return live


def along_the_recorded_way(method, live):
    """Reset to what the folder's own run was."""
    live.reset(method, RATES[method] / live.methods[method].lr)


# ---- the run

@pytest.mark.parametrize("recipe", [Full(), Frozen(), BottleneckAdapter(4), LoRA()], ids=lambda recipe: recipe.method)
def test_a_run_is_the_one_that_finetune_makes(recipe, live, tmp_path):
    """The same bits, at the usual rate, for the same seed and number of steps."""
    novels = SpecialTask("novel", SEED, 8, workers=1)
    made = finetune(live.family.base, tmp_path / "base.npz", novels, recipe, tmp_path / "own.npz", optimizer=AdamW(recipe.lr),
                    steps=STEPS, batch=BATCH, seed=SEED, workers=1).model.state_dict()
    live.reset(recipe.method)
    weights = finish(live).model.state_dict()
    assert live.state == FINISHED and made.keys() == weights.keys()
    assert all(np.array_equal(made[name], weights[name]) for name in made)


@pytest.mark.parametrize("method", NAMES)
def test_its_moments_are_those_of_the_recorded_way(method, landscape, live):
    """Recorded at each step, measured when the surface was, and written with the same random numbers."""
    along_the_recorded_way(method, live)
    path = landscape.trajectories[method]
    moments = finish(live).moments
    assert [moment.step for moment in moments] == path.steps.tolist() == list(range(STEPS + 1))
    np.testing.assert_allclose([moment.ab for moment in moments], path.ab, rtol=0, atol=1e-4)
    np.testing.assert_allclose([moment.residual for moment in moments], path.residual, rtol=0, atol=1e-3)
    measured = [moment for moment in moments if moment.losses]
    assert [moment.step for moment in measured] == [*range(0, STEPS, LOSSES_EVERY), STEPS]
    for moment in measured:
        assert moment.losses == pytest.approx({task: loss[moment.step] for task, loss in path.loss.items()}, rel=1e-4)
    written = {moment.step: moment.text for moment in moments if moment.text is not None}
    assert written == {step: path.texts[step] for step in [*range(0, STEPS, TEXT_EVERY), STEPS]}


def test_a_run_starts_at_the_base(landscape, live):
    for method in METHODS:
        live.reset(method)
        start, = live.moments
        assert (start.step, start.loss, start.ab, start.residual) == (0, None, (0.0, 0.0), 0.0)
        assert start.losses == pytest.approx(landscape.point_loss["pretrained"], rel=1e-5)


def test_lora_is_seen_where_its_merged_weights_are(story, live):
    live.reset("lora", 2)
    for _ in range(3):
        live.step()
    family = read_family(story, NAMES)
    plane = plane_through_models(family, NAMES, None, None, None).plane
    theta = family.space.start.copy()
    for name, view in family.space.arrays(theta).items():
        layer, kind = name.rsplit(".", 1)
        factors = {own.removeprefix(f"{layer}.lora.").removeprefix(f"{layer}.lora"): p.data
                   for own, p in live.model.parameters().items() if own.startswith(f"{layer}.lora")}
        if kind == "weight" and factors:
            thirds = np.split(view, 3, axis=1) if "q.A" in factors else [view]
            for part, columns in zip(("q.", "k.", "v.") if len(thirds) == 3 else ("",), thirds):
                columns += 2 * (factors[f"{part}A"] @ factors[f"{part}B"])              # alpha / r = 8 / 4
    delta = np.subtract(theta, plane.origin, dtype=np.float64)
    ab = np.linalg.lstsq(np.stack([plane.u, plane.v], axis=1), delta, rcond=None)[0]
    off = np.linalg.norm(delta - ab[0] * plane.u - ab[1] * plane.v) / np.linalg.norm(delta)
    assert live.moments[-1].ab == pytest.approx(tuple(ab), abs=1e-6) and np.linalg.norm(delta) > 0.01
    assert live.moments[-1].residual == pytest.approx(off, abs=1e-6)


def test_looking_changes_nothing(live):
    """LoRA is merged for the projection, and taken apart again, to the bit."""
    live.reset("lora")
    live.step()
    before = {name: array.copy() for name, array in live.model.state_dict().items()}
    live.look(0.0)
    assert all(np.array_equal(before[name], array) for name, array in live.model.state_dict().items())


def test_the_factor_is_one_on_the_learning_rate(live):
    assert live.factors[0] < 1 < live.factors[-1]
    for factor in live.factors:
        live.reset("full", factor)
        assert live.lr == live.run.trainer.optimizer.lr == pytest.approx(factor * Full().lr)
    live.reset("frozen")
    assert live.factor == live.factors[-1] and live.lr == pytest.approx(live.factors[-1] * Frozen().lr)


def test_the_folders_own_settings_are_taken(live):
    assert live.methods["adapter"] == BottleneckAdapter(4) and live.seed == SEED and live.steps == STEPS


def test_all_hangs_on_the_seed_alone(story, landscape):
    ways = [[moment.ab for moment in finish(Live(story, landscape, ["full"], seed, batch=BATCH, workers=1)).moments]
            for seed in (7, 7, 8)]
    assert ways[0] == ways[1] != ways[2]


def test_two_workers_take_the_same_way(story, landscape):
    ways = [[moment.ab for moment in finish(Live(story, landscape, ["adapter"], batch=BATCH, workers=n)).moments] for n in (1, 2)]
    np.testing.assert_allclose(*ways, rtol=1e-3, atol=1e-6)


def test_a_run_that_diverges_says_so_and_the_next_one_is_sound(live):
    live.reset("full", RUIN)
    while live.step():
        pass
    assert live.state == DIVERGED and len(live.moments) < STEPS and live.step() is None
    live.reset(factor=1)
    assert live.state == TRAINING and live.method == "full"
    assert np.isfinite([moment.ab for moment in finish(live).moments]).all()


def test_worse_than_a_blind_guess(live):
    assert not live.worse_than_chance
    live.reset("full", 1e4)
    while live.step() and not live.worse_than_chance:
        pass
    assert live.worse_than_chance and live.moments[-1].loss > np.log(len(live.family.base.tokenizer))


@pytest.mark.parametrize("method, message", [
    ("lorra", "did you mean lora"), ("prompt", "no such weights"), ("head", "no such weights")])
def test_a_method_that_has_no_place_on_this_map_is_refused_at_once(method, message, story, landscape):
    with pytest.raises(ValueError, match=message):
        Live(story, landscape, ["full", method])


# ---- the window

def click(window, artist):
    """Press and release the mouse where an artist stands."""
    box = artist.get_window_extent()
    at = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    for name in ("button_press_event", "button_release_event"):
        window.fig.canvas.callbacks.process(name, MouseEvent(name, window.fig.canvas, *at, button=1))


def press(window, key):
    window.fig.canvas.callbacks.process("key_press_event", KeyEvent("key_press_event", window.fig.canvas, key))


def choose(window, text):
    labels = [*window.panel.method_radio.labels, *window.panel.factor_radio.labels]
    click(window, next(label for label in labels if label.get_text() == text))


def button(window, name):
    click(window, window.panel.buttons[name].ax)


def pixels(window):
    return np.array(window.fig.canvas.buffer_rgba())


def test_an_update_is_one_step_and_its_place_on_both_maps(window, landscape):
    """Where the recorded way was when the surface was measured."""
    path = landscape.trajectories["full"]
    along_the_recorded_way("full", window.live)
    window._begin()
    for n in range(1, 4):
        window.update()
        assert len(window.live.moments) == n + 1
        for track in window.tracks:
            expected = path.ab[:n + 1, ::-1] if window.swapped else path.ab[:n + 1]
            np.testing.assert_allclose(np.transpose(track.trajectory.get_data()), expected, rtol=0, atol=1e-5)
            np.testing.assert_allclose(np.ravel(track.head.get_data()), expected[-1], rtol=0, atol=1e-5)
    assert f"step 3 of {STEPS}" == window.step_line.get_text()
    assert f"batch loss {window.live.moments[-1].loss:.2f}" in window.news_line.get_text()


def test_the_curves_are_the_true_losses(window, landscape):
    along_the_recorded_way("full", window.live)
    window._begin()
    for _ in range(STEPS):
        window.update()
    for task, track in zip(landscape.loss, window.tracks):
        steps, losses = track.curve.get_data()
        assert list(steps) == [*range(0, STEPS, LOSSES_EVERY), STEPS]
        np.testing.assert_allclose(losses, landscape.trajectories["full"].loss[task][steps.astype(int)], rtol=1e-4)


def test_the_head_is_as_hollow_as_the_weights_are_off_the_plane(window):
    choose(window, "lora")
    window.pause()
    window.update()
    paper, color = (np.array(c) for c in (window.fig.get_facecolor()[:3], matplotlib_rgb(window.color["lora"])))
    residual = window.live.moments[-1].residual
    np.testing.assert_allclose(window.tracks[0].head.get_markerfacecolor(), (1 - residual) * color + residual * paper, atol=1e-9)
    assert residual > 0.3


def matplotlib_rgb(color):
    return [int(color[i:i + 2], 16) / 255 for i in (1, 3, 5)]


@pytest.mark.parametrize("dark", [False, True])
def test_a_frame_over_the_kept_background_is_a_frame_drawn_whole(dark, live):
    with style(dark):
        window = opened(live)
        for n in range(STEPS):
            window.update()
            if n in (3, STEPS - 1):
                frame = pixels(window)
                window.fig.canvas.draw()
                assert window.screen.blits and np.abs(frame.astype(int) - pixels(window)).max() <= 2, n


def test_a_saved_picture_has_all_that_is_seen(window, tmp_path):
    from matplotlib.image import imread

    for _ in range(4):
        window.update()
    window.fig.canvas.draw()
    seen = pixels(window)
    window.fig.savefig(tmp_path / "seen.png")
    saved = np.round(255 * imread(tmp_path / "seen.png"))
    assert saved.shape == seen.shape and (np.abs(saved - seen).max(axis=2) > 8).mean() < 0.01


@pytest.mark.parametrize("method", METHODS)
def test_choosing_a_method_begins_anew_and_trains_it(method, window):
    window.update()
    other = "frozen" if method == "full" else "full"
    choose(window, other)
    choose(window, method)
    assert window.live.method == method and window.playing and len(window.live.moments) == 1
    window.tick()
    window.tick()
    assert len(window.live.moments) == 3 and all(len(track.ab) == 3 for track in window.tracks)
    names = window.live.run.trainer.flat.parameters
    assert any("lora" in name for name in names) == (method == "lora")
    assert window.tracks[0].trajectory.get_color() == window.color[method]


def test_choosing_a_learning_rate_begins_anew_with_it(window):
    for factor in (2, 0.25):
        window.update()
        choose(window, spelt(factor))
        assert window.live.factor == factor and window.live.method == "full"
        assert len(window.live.moments) == 1 and window.playing
        assert f"{factor * Full().lr:.2g}" in window.head_line.get_text()


def test_play_pause_step_and_reset_by_mouse(window):
    assert not window.playing
    window.tick()
    assert len(window.live.moments) == 1
    button(window, "Play")
    assert window.playing and window.panel.buttons["Play"].label.get_text() == labelled("Play", "Pause")
    window.tick()
    window.tick()
    button(window, "Play")
    window.tick()
    assert not window.playing and len(window.live.moments) == 3 and "paused" in window.news_line.get_text()
    button(window, "Step")
    assert len(window.live.moments) == 4
    button(window, "Reset")
    assert len(window.live.moments) == 1 and not window.playing and all(len(track.ab) == 1 for track in window.tracks)


def test_play_pause_step_and_reset_by_key(window):
    press(window, " ")
    assert window.playing
    window.tick()
    press(window, "right")
    assert not window.playing and len(window.live.moments) == 3
    press(window, " ")
    press(window, "r")
    assert window.playing and len(window.live.moments) == 1
    press(window, "x")
    press(window, None)
    assert window.playing and len(window.live.moments) == 1


def test_a_finished_run_stops_and_can_be_begun_again(window):
    button(window, "Play")
    for _ in range(STEPS + 3):
        window.tick()
    assert not window.playing and len(window.live.moments) == STEPS + 1 and "finished" in window.news_line.get_text()
    button(window, "Play")
    assert not window.playing
    button(window, "Step")
    assert len(window.live.moments) == STEPS + 1
    button(window, "Reset")
    button(window, "Play")
    window.tick()
    assert len(window.live.moments) == 2


@pytest.mark.filterwarnings("error")
def test_a_run_that_diverges_is_shown_as_such_and_the_window_goes_on(window):
    window.live.reset("full", RUIN)
    window._begin()
    window.play()
    for _ in range(STEPS):
        window.tick()
    window.fig.canvas.draw()
    assert not window.playing and "DIVERGED" in window.news_line.get_text()
    assert len(window.live.moments) < STEPS
    choose(window, "adapter")
    choose(window, spelt(1))
    for _ in range(3):
        window.tick()
    assert window.playing and len(window.live.moments) == 4 and "DIVERGED" not in window.news_line.get_text()


def test_a_run_that_leaves_the_map_is_seen_at_its_edge(window):
    choose(window, spelt(16))
    for _ in range(STEPS):
        window.tick()
    a, b = window.tracks[0].ab[-1]
    shown = np.ravel(window.tracks[0].head.get_data())
    wide, high = window.surface.a[[0, -1]], window.surface.b[[0, -1]]
    assert wide[0] <= shown[0] <= wide[1] and high[0] <= shown[1] <= high[1]
    assert (tuple(shown) != (a, b)) == (not window.tracks[0].on_map)
    assert window.tracks[0].on_map or any(alarm in window.news_line.get_text() for alarm in ("OFF THE MAP", "WORSE"))
    assert not window.tracks[0].on_map


def test_the_axis_of_the_losses_grows_with_them(window):
    window.live.reset("full", 200)
    window._begin()
    for _ in range(STEPS):
        window.update()
    for track in window.tracks:
        assert max(loss for _, loss in track.losses) < track.below.get_ylim()[1] <= track.ceiling
    before = track.below.get_ylim()
    window.live.reset("full", 1)
    window._begin()
    assert track.below.get_ylim()[1] < before[1]


@pytest.mark.parametrize("loss", [np.inf, np.nan, 1e30])
def test_a_loss_beyond_all_bounds_is_borne(loss, window, monkeypatch):
    monkeypatch.setattr(window.live.probe, "losses", lambda model: dict.fromkeys(window.live.surface.loss, loss))
    for _ in range(STEPS):
        window.update()
    window.fig.canvas.draw()
    track = window.tracks[0]
    assert track.below.get_ylim()[1] == (track.top if np.isnan(loss) else track.ceiling) and not track.outgrown


def test_what_it_writes_is_read_below(window, monkeypatch):
    text = window.live.moments[0].text
    assert window.text_line.get_text().replace("\n", " ").startswith("After 0 steps it writes:")
    monkeypatch.setattr(window.live, "write", lambda: "one two three")
    for _ in range(TEXT_EVERY):
        window.update()
    assert window.text_line.get_text() == f"After {TEXT_EVERY} steps it writes:  one two three" and text != "one two three"


def test_a_long_text_is_cut(window):
    window.live.moments[0].text = "word " * 200
    window._begin()
    lines = window.text_line.get_text().split("\n")
    assert len(lines) == 3 and lines[-1].endswith("...")
    box = window.text_line.get_window_extent()
    assert box.y0 >= 0 and box.x1 <= window.fig.bbox.x1


def test_updates_per_second_are_counted(window, monkeypatch):
    clock = iter(np.arange(0, 100, 0.25))
    monkeypatch.setattr("minillm.draw.live.time.perf_counter", lambda: next(clock))
    window.update()
    assert "steps/s" not in window.news_line.get_text()
    for _ in range(SPEED_OVER):
        window.update()
    assert "4 steps/s" in window.news_line.get_text()


def test_another_size_of_the_window(live):
    with style():
        window = opened(live)
        window.fig.set_size_inches(8, 6)
        window.fig.canvas.callbacks.process("resize_event", ResizeEvent("resize_event", window.fig.canvas))
        window.update()
        assert pixels(window).shape[:2] == (600, 800)
        window.update()
        frame = pixels(window)
        window.fig.canvas.draw()
        assert np.abs(frame.astype(int) - pixels(window)).max() <= 2


def test_a_closed_window_trains_no_more(window):
    window.play()
    window.fig.canvas.callbacks.process("close_event", CloseEvent("close_event", window.fig.canvas))
    window.tick()
    assert not window.playing and len(window.live.moments) == 1


def test_a_canvas_that_cannot_blit_draws_everything(live):
    with style():
        fig = figure(*SIZE, DPI)
        type(fig.canvas).supports_blit, before = False, type(fig.canvas).supports_blit
        try:
            window = Window(live, fig)
            window.update()
            fig.canvas.draw()
            assert not window.screen.blits and len(window.tracks[0].ab) == 2
            assert not np.array_equal(pixels(window), np.full_like(pixels(window), 255))
        finally:
            type(fig.canvas).supports_blit = before


# ---- words, and the screen

@pytest.mark.parametrize("factor, text", [(0.25, "1/4 ×"), (0.5, "1/2 ×"), (1, "1 ×  (usual)"), (16, "16 ×")])
def test_factors_are_spelt(factor, text):
    assert spelt(factor) == text


@pytest.mark.parametrize("state, loss", [(TRAINING, 0.5), (TRAINING, 99.99), (DIVERGED, 99.99)])
def test_no_label_stands_on_another_or_outside(state, loss, window, monkeypatch):
    window.live.moments[0].loss, window.live.moments[0].residual = loss, 1.0
    monkeypatch.setattr(window.live, "state", state)
    monkeypatch.setattr(window, "_speed", lambda: ["10 steps/s"])
    window._report()
    renderer = window.fig.canvas.get_renderer()
    box = lambda artist: artist.get_window_extent(renderer)
    panel = window.panel
    words = [*panel.method_radio.labels, *panel.factor_radio.labels, *(b.label for b in panel.buttons.values()),
             window.head_line, window.step_line, window.news_line, window.text_line]
    for track in window.tracks:
        words += [track.ax.title, track.ax._left_title, track.below._left_title, track.ax.xaxis.label, track.below.xaxis.label]
    boxes = [box(word) for word in words if word.get_text()]
    for i, first in enumerate(boxes):
        assert window.fig.bbox.x0 <= first.x0 and first.x1 <= window.fig.bbox.x1 and first.y0 >= 0, words[i]
        assert not any(first.overlaps(second) for second in boxes[i + 1:])


@pytest.mark.parametrize("variable, value", [("MPLBACKEND", "agg"), ("MPLBACKEND", "no such backend"), ("DISPLAY", "")])
def test_without_a_screen_there_is_no_window(variable, value, monkeypatch):
    for screen in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"):
        monkeypatch.delenv(screen, raising=False)
    monkeypatch.setenv(variable, value)
    assert not has_display()
