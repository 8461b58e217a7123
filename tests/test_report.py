"""The report: one page that holds all it shows, says what is true, and asks nothing of the network."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from commands import answer, refused, run

from minillm.finetune.methods import Full, recipe_of
from minillm.report import report, table
from minillm.runs.finetuning import finetune
from minillm.runs.pretraining import pretrain
from minillm.runs.saved import Loaded, load
from minillm.tasks.evaluate import Score
from minillm.tasks.samples import flawless, write_and_judge
from minillm.tasks.special import SpecialTask
from minillm.tasks.text import TextTask
from minillm.text.world import World
from minillm.train.optimizers import AdamW
from minillm.train.optimizers.muon import Muon

VOID = {"meta", "img", "br", "input", "link", "hr"}


class Page(HTMLParser):
    """What is in a page: its links to elsewhere, its words, and whether its tags are in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.words, self.images = [], [], [], 0
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self.images += tag == "img"
        self.links += [value for name, value in attributes if name in ("src", "href") and value and not value.startswith("data:")]

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)


@pytest.fixture(scope="module")
def page(story):
    path = report(story, documents=2, grid=4, announce=lambda line: None, samples=2)
    return path, path.read_text(encoding="utf-8")


def test_it_lies_in_the_folder_and_is_whole(page, story):
    path, text = page
    assert path == story / "report.html"
    assert text.startswith("<!doctype html>") and text.rstrip().endswith("</html>")
    parsed = Page(text)
    assert parsed.links == [] and parsed.images >= 5


def test_nothing_in_it_points_to_a_network(page):
    assert not re.search(r"(https?:)?//[a-z0-9.-]+\.[a-z]{2,}", re.sub(r"data:[^\"')]*", "", page[1]))


def test_it_tells_what_was_measured(page, story):
    text = Page(page[1]).text
    for name in ("pretrained", "full", "adapter", "frozen"):
        assert name in text
    adapter = load(story / "adapter.npz").meta
    assert f"{adapter['trainable_parameters']:,d}" in text
    assert "cosine of the angle between full and adapter" in text and "losses that are not numbers: 0" in text
    assert '"numpy"' in text and np.__version__ in text


def test_its_table_holds_the_scores_of_the_models(page, story):
    from minillm.tasks import task_from_json

    loaded = load(story / "full.npz")
    score = task_from_json(loaded.meta["task"]).score(loaded.model, n=2)["novel"]
    row = re.search(r"<tr><td>full</td>.*?</tr>", page[1]).group()
    assert f"<td>{score.excess:.3f}</td>" in row


def test_it_tells_how_many_texts_are_without_a_mistake_and_what_is_wrong_with_the_others(page, story):
    world, model = World(2), load(story / "full.npz").model
    assert "novel, flawless at 0.7" in page[1] and "old kinds, flawless at 1" in page[1]
    row = re.search(r"<tr><td>full</td>.*?</tr>", page[1]).group()
    assert f"<td>{flawless(model, world, 'novel', 2, 0.7)}</td>" in row
    [(text, mistake)] = write_and_judge(model, world, ["novel"], [np.random.default_rng([1, 3])])
    assert f"full (breaks a rule: {mistake}) {text}" in " ".join(Page(page[1]).text.split()).replace("full  (", "full (")


def test_the_same_models_give_the_same_page(page, story, tmp_path):
    again = report(story, tmp_path / "again.html", documents=2, grid=4, announce=lambda line: None, samples=2)
    assert again.read_text(encoding="utf-8") == page[1]


def test_a_page_about_some_of_the_models_in_the_dark(story, tmp_path):
    out = tmp_path / "some.html"
    code, printed, err = run("report", story, "--models", "full", "frozen", "--out", out, "--documents", 2, "--samples", 0,
                             "--grid", 4, "--dark")
    assert code == 0, err
    text = out.read_text(encoding="utf-8")
    assert str(out) in printed and 'class="dark"' in text and "<td>adapter</td>" not in text


def test_models_of_a_persons_own_text(tmp_path):
    """Without a floor, with a single fine-tuning, and under a name that HTML would mistake for a tag."""
    book = tmp_path / "book.txt"
    book.write_text("the quick brown fox jumps over the lazy dog. " * 40)
    task = TextTask(book)
    config = {"context": 16, "n_layer": 1, "n_head": 2, "n_embd": 12}
    base = pretrain(task, config, tmp_path / "pretrained.npz", optimizer=Muon(), steps=6, batch=4)
    finetune(base, tmp_path / "pretrained.npz", TextTask(book, base.tokenizer), Full(), tmp_path / "a<b.npz",
             optimizer=AdamW(1e-3), steps=6, batch=4)
    text = report(tmp_path, documents=2, grid=3, announce=lambda line: None).read_text(encoding="utf-8")
    parsed = Page(text)
    assert "a<b" in parsed.text and "Loss in nats per token." in parsed.text and "a<b" not in text


def test_without_fine_tunings_it_is_refused(tmp_path, story):
    refused(tmp_path, "report", tmp_path, words=["no fine-tunings"])
    refused(tmp_path, "report", tmp_path / "nowhere", words=["nowhere"])
    refused(story, "report", story, "--models", "full", "nobody", words=["nobody", "full"])


# ---- the commands beside it

@pytest.mark.parametrize("view, models", [("three", []), ("pca", ["full"]), ("random", ["adapter"]), ("random", ["pretrained"]),
                                          ("hessian", ["frozen"]), ("curve", ["full", "frozen"])])
def test_every_view_is_measured_and_drawn(view, models, story, tmp_path):
    options = ["--view", view, *(["--models", *models] if models else []), "--grid", 4, "--plots", tmp_path]
    result = answer("surface", story, *options)
    assert result["gap"] < 1e-6 and result["not_numbers"] == 0
    named = "" if view == "three" else f"-{view}"
    assert (tmp_path / f"surface{named}.png").stat().st_size > 10_000 and (tmp_path / f"relief{named}.png").exists()
    moving = view in ("three", "pca", "hessian")
    assert (tmp_path / f"weights_moving{named}.gif").exists() == moving
    assert (tmp_path / f"weights_moving{named}.html").exists() == moving


def test_the_line_between_two_models(story, tmp_path):
    result = answer("surface", story, "--view", "line", "--models", "pretrained", "full", "--plots", tmp_path)
    assert result["barrier"]["straight line"].keys() == {"novel", "general"} and (tmp_path / "line.png").exists()


def test_what_a_view_cannot_show_is_refused(story, tmp_path):
    plots = "--plots", tmp_path
    refused(story, "surface", story, "--view", "three", "--models", "full", *plots, words=["takes 2", "finetune"])
    refused(story, "surface", story, "--models", "full", "full", *plots, words=["once"])
    refused(story, "surface", story, "--models", "full", "lora", *plots, words=["lora", "full"])
    refused(story, "surface", story, "--models", "pretrained", "full", *plots, words=["always shows pretrained"])
    refused(tmp_path, "surface", tmp_path / "nowhere", *plots, words=["nowhere"])
    refused(tmp_path, "surface", story, "--view", "above", *plots, words=["above"])


def test_sharpness(story):
    result = answer("sharpness", story / "full.npz", "--top", 2)
    assert result["top"][0] >= result["top"][1] > result["bottom"][0]
    assert max(result["errors"]) <= 0.01 * max(map(abs, result["top"] + result["bottom"]))
    everything = result["parameters"]
    assert everything == sum(p.size for p in load(story / "full.npz").model.parameters().values())
    inserted = answer("sharpness", story / "adapter.npz", "--trainable")
    assert inserted["parameters"] == load(story / "adapter.npz").meta["trainable_parameters"]
    assert recipe_of("adapter").method == load(story / "adapter.npz").meta["recipe"]["method"]


@pytest.mark.parametrize("name, words", [
    ("novel", "On texts that no model has seen.<"), ("questions", "On texts that no model has seen.<"),
    ("facts", "On texts that no model has seen; for facts, which can only be learned by heart, on those that were learned.<")])
def test_it_says_by_which_texts_models_were_judged(name, words):
    """Held against the texts themselves: of what was taught, are any among those to judge by?"""
    task = SpecialTask(name, 2, n_documents=20)
    taught = {tuple(document.ids) for document in task.documents("train", 20)}
    assert bool(taught & {tuple(document.ids) for document in task.documents("test", 20)}) != task.unseen
    models = {"pretrained": Loaded(None, None, {}), "full": Loaded(None, None, {})}
    score = Score(1.0, 9, 0.5, 0.5, 0.1)
    assert words in table(models, dict.fromkeys(models, {name: score, "story": score}), dict.fromkeys(models, {}), task)
