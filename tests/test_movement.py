"""Where the weights moved: parts of a model that add up to the whole, and directions of a matrix beside those of chance."""

import numpy as np
import pytest
from surfaces import small_gpt

from minillm.finetune.methods import BottleneckAdapter
from minillm.surface.movement import INSERTED, movement, part_of, spectrum, spectrum_of_chance
from minillm.surface.space import Space
from minillm.train.parts import parameter_kinds


@pytest.fixture
def adapted(rng):
    """A space of adapted models, and the names of the body's parameters."""
    model = small_gpt()
    body = set(model.parameters())
    BottleneckAdapter(3).apply(model, rng)
    return Space(model), body


@pytest.mark.parametrize("name, part", [
    ("wte.weight", ("start", "words, positions")), ("wpe.weight", ("start", "words, positions")),
    ("blocks.1.attn.qkv.weight", ("1", "attention")), ("blocks.0.mlp.fc.bias", ("0", "MLP")),
    ("blocks.12.ln_2.bias", ("12", "norms")), ("ln_f.weight", ("end", "norms")),
    ("blocks.0.mlp.adapter.up.weight", ("0", INSERTED)), ("wte.head.weight", ("end", INSERTED))])
def test_the_part_of_a_parameter(name, part):
    model = small_gpt(layers=13)
    kinds = parameter_kinds(model)
    assert part_of(name, kinds.get(name), name not in kinds) == part


def test_every_parameter_belongs_to_a_part_and_parts_add_up(adapted, rng):
    space, body = adapted
    end = space.start + rng.normal(size=space.size)
    parts = movement(space, space.start, end, body)
    moved, size = (np.sqrt(sum(part[i] ** 2 for part in parts.values())) for i in range(2))
    assert moved == pytest.approx(np.linalg.norm(end - space.start)) and size == pytest.approx(np.linalg.norm(space.start))
    blocks = [(layer, kind) for layer in "01" for kind in ("attention", "MLP", "norms", INSERTED)]
    assert list(parts) == [("start", "words, positions"), *blocks, ("end", "norms")]


def test_only_what_moved_has_moved(adapted):
    space, body = adapted
    bias = space.arrays(space.start)["ln_f.bias"]
    end = space.vector({"blocks.1.mlp.adapter.up.bias": np.full(12, 2.0), "ln_f.bias": bias + 1})
    parts = movement(space, space.start, end, body)
    assert {part: moved for part, (moved, _) in parts.items() if moved} == pytest.approx(
        {("1", INSERTED): 2 * np.sqrt(12), ("end", "norms"): np.sqrt(12)})


def test_the_order_is_that_of_the_text_also_with_many_blocks():
    space = Space(small_gpt(layers=11, width=4))
    parts = movement(space, space.start, space.start, set(space.model.parameters()))
    assert [layer for layer, kind in parts if kind == "attention"] == [str(i) for i in range(11)]


def test_the_spectrum_of_a_movement_of_low_rank(rng):
    space, name = Space(small_gpt()), "blocks.0.mlp.fc.weight"
    weight = space.arrays(space.start)[name]
    step = np.outer(rng.normal(size=12), rng.normal(size=48))
    values = spectrum(space, space.start, space.vector({name: weight + step}), name)
    assert values.shape == (12,) and values[0] == pytest.approx(np.linalg.norm(step)) and values[1:].max() < 1e-9
    assert spectrum(space, space.start, space.start, name).max() == 0


def test_chance_is_as_long_and_has_no_direction(rng):
    values = spectrum_of_chance((60, 80), 3.0, rng)
    assert np.linalg.norm(values) == pytest.approx(3) and (np.diff(values) <= 0).all()
    assert values[0] < 3 * np.median(values)
