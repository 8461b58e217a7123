"""Recipes as texts and as JSON: what is written is what is read, and a slip of the pen is answered with what can be written."""

import json
from dataclasses import fields

import pytest

from minillm.finetune.methods import (
    ALIASES,
    IA3,
    METHODS,
    BottleneckAdapter,
    DoRA,
    Frozen,
    Full,
    Head,
    LoRA,
    PrefixTuning,
    PromptTuning,
    from_json,
    recipe_of,
    to_json,
)
from minillm.finetune.remedies import EWC, L2SP, REMEDIES, Interpolation, Remedy, Replay, remedy_of
from minillm.finetune.spec import options_of, text_of

RECIPES = [
    Full(), Full(2.6), Full(gradual=True), Full(1.5, True), Frozen(), Frozen(("*.bias",)),
    Frozen(("first-2", "blocks.-1.mlp.*")), Head(), Head(False), BottleneckAdapter(),
    BottleneckAdapter(3, ("mlp",), "parallel", 0.1, False, blocks=(0, -1)), LoRA(), LoRA(blocks=(-2,)),
    LoRA(16, 0.123456789, ("v", "q"), True), LoRA(alpha=1e-5), LoRA(alpha=1 / 3), LoRA(alpha=1234567.0),
    LoRA(alpha=1e20), DoRA(), DoRA(rank=2, targets=("fc",)), IA3(), IA3(targets=("mlp",)), IA3(("k", "v"), blocks=(1,)),
    PrefixTuning(), PrefixTuning(5, False, blocks=(3,)), PromptTuning(), PromptTuning(3, "noise")]
every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=text_of)


@every_recipe
def test_a_recipe_is_the_text_it_is_written_as(recipe):
    text = text_of(recipe)
    assert recipe_of(text) == recipe and type(recipe_of(text)) is type(recipe)
    assert not set(text) & set(" \n\t")


@every_recipe
def test_recipes_survive_the_round_trip_through_json(recipe):
    data = json.loads(json.dumps(to_json(recipe)))
    kept = dict(data)
    again = from_json(data)
    assert again == recipe and type(again) is type(recipe) and hash(again) == hash(recipe)
    assert data == kept                                         # reading changes nothing


@pytest.mark.parametrize("recipe, text", [
    (LoRA(), "lora"), (LoRA(rank=8, alpha=8.0), "lora:rank=8"), (BottleneckAdapter(norms=False), "adapter:norms=no"),
    (LoRA(alpha=16.0, targets=("q", "v")), "lora:alpha=16,targets=q+v"), (Full(2.6, True), "full:decay=2.6,gradual=yes"),
    (IA3(blocks=(0, -1)), "ia3:blocks=0+-1"), (Frozen(("biases", "wpe.*")), "frozen:train=biases+wpe.*")])
def test_how_a_recipe_is_written(recipe, text):
    assert text_of(recipe) == text and recipe_of(text) == recipe


@pytest.mark.parametrize("text, recipe", [
    ("lora:", LoRA()), ("lora:rank=2,", LoRA(rank=2)), ("prefix:gate=NO", PrefixTuning(gate=False)),
    ("head:norm=false", Head(False)), ("full:gradual=true", Full(gradual=True)), ("lora:alpha=4", LoRA(alpha=4.0)),
    ("lora:alpha=1e1", LoRA(alpha=10.0))])
def test_other_ways_to_write_it(text, recipe):
    assert recipe_of(text) == recipe


@pytest.mark.parametrize("text, recipe", [
    ("bitfit", Frozen(("biases",))), ("norms", Frozen(("norms",))), ("houlsby", BottleneckAdapter()),
    ("pfeiffer", BottleneckAdapter(places=("mlp",), norms=False)), ("ulmfit", Full(2.6, True)),
    ("parallel", BottleneckAdapter(places=("mlp",), form="parallel", norms=False)),
    ("pfeiffer:bottleneck=7,norms=yes", BottleneckAdapter(bottleneck=7, places=("mlp",))), ("ulmfit:decay=2", Full(2.0, True)),
    ("houlsby:bottleneck=3", BottleneckAdapter(bottleneck=3))])
def test_some_settings_have_names_of_their_own(text, recipe):
    assert recipe_of(text) == recipe


def test_no_name_means_two_things():
    assert not ALIASES.keys() & METHODS.keys()
    assert all(recipe_of(name).method in METHODS for name in ALIASES)


@pytest.mark.parametrize("text, message", [
    ("lara", f"no method 'lara'; did you mean lora\\?; methods are {', '.join([*METHODS, *ALIASES])}$"),
    ("pfeifer:bottleneck=2", "did you mean pfeiffer"),
    ("qqq", "no method 'qqq'; methods are"),
    ("", "no method ''"),
    ("LoRA", "no method 'LoRA'"),
    ("lora:ranks=3", "lora has no option 'ranks'; it has the options blocks, rank, alpha, targets, rs"),
    ("lora:rank", "option rank of lora has no value; write rank=VALUE"),
    ("lora:rank=", "option rank of lora has no value"),
    ("lora:rank=four", "option rank of lora cannot be 'four': it takes a whole number"),
    ("lora:rank=4.5", "cannot be '4.5': it takes a whole number"),
    ("lora:alpha=much", "cannot be 'much': it takes a number"),
    ("lora:alpha=nan", "cannot be 'nan': it takes a number"),
    ("adapter:scale=inf", "cannot be 'inf': it takes a number"),
    ("lora:rs=maybe", "cannot be 'maybe': it takes yes or no"),
    ("lora:blocks=0+x", "cannot be '0\\+x': it takes a whole number, or several joined by \\+"),
    ("lora:blocks=1,2", "'2' is not option=value"),
    ("full:rank=4", "full has no option 'rank'; it has the options decay, gradual"),
    ("lora:method=full", "has no option 'method'"),
    ("bitfit:rank=2", "frozen has no option 'rank'; its only option is train$")])
def test_a_slip_of_the_pen_is_answered_in_a_sentence(text, message):
    with pytest.raises(ValueError, match=message):
        recipe_of(text)


@pytest.mark.parametrize("remedy", [Remedy(), Replay(), Replay(0.3), L2SP(), L2SP(1e-4), EWC(), EWC(2.5, 9), Interpolation(),
                                    Interpolation(0.123456789)], ids=text_of)
def test_a_remedy_is_the_text_it_is_written_as(remedy):
    assert remedy_of(text_of(remedy)) == remedy and type(remedy_of(text_of(remedy))) is type(remedy)


@pytest.mark.parametrize("text, message", [
    ("reply", "no remedy 'reply'; did you mean replay\\?; remedies are none, replay, l2sp, ewc, wise"),
    ("x", "no remedy 'x'; remedies are"),
    ("ewc:power=2", "ewc has no option 'power'; it has the options strength, documents"),
    ("none:share=1", "none has no option 'share'; it has no options$"),
    ("replay:part=1", "replay has no option 'part'; its only option is share$"),
    ("replay:share=", "option share of replay has no value"), ("ewc:documents=2.5", "it takes a whole number"),
    ("wise:keep=1.5", "keep is 1.5, but must be from 0 to 1"), ("wise:keep=-0.1", "keep is -0.1")])
def test_so_is_one_of_a_remedy(text, message):
    with pytest.raises(ValueError, match=message):
        remedy_of(text)


@pytest.mark.parametrize("kind", [*METHODS.values(), *REMEDIES.values()], ids=lambda kind: kind.method)
def test_the_help_on_options_names_each_with_what_it_is_at_first(kind):
    pairs = dict(pair.split("=", 1) for pair in options_of(kind).split())
    assert list(pairs) == [field.name for field in fields(kind)]
    written = ",".join(f"{name}={value}" for name, value in pairs.items() if value != "all")
    read = (recipe_of if kind in METHODS.values() else remedy_of)(f"{kind.method}:{written}")
    assert read == kind()


def test_a_scale_of_zero_is_refused_and_the_usual_one_has_a_name():
    assert recipe_of("adapter:scale=usual") == recipe_of("adapter") and "scale=usual" in options_of(METHODS["adapter"])
    for zero in ("0", "0.0", "-0"):
        with pytest.raises(ValueError, match="scale of adapter is 0.*scale=usual"):
            recipe_of(f"adapter:scale={zero}")
    with pytest.raises(ValueError, match="cannot be 'usual'"):
        recipe_of("lora:alpha=usual")
