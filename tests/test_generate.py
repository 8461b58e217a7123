"""Writing: draws follow the distribution that was asked for, and a text ends where it should."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from minillm.finetune.methods import BottleneckAdapter
from minillm.gradcheck import perturb
from minillm.inference.generate import generate, generate_batch, sample
from minillm.nn import GPT, Config

LOGITS = np.array([0.5, 2.0, -1.0, 1.9, 0.0, -30.0], np.float32)
GREEDY = 1
N = 4000


def small_gpt(dtype=np.float32, adapted=False):
    rng = np.random.default_rng(5)
    model = GPT(Config(11, 7, 2, 2, 12), rng, dtype)
    if adapted:
        BottleneckAdapter(5).apply(model, rng)
    perturb(model, rng)
    return model


def softmax(logits):
    p = np.exp(np.float64(logits) - max(logits))
    return p / p.sum()


def drawn(rng, n=N, logits=LOGITS, **how):
    return np.bincount([sample(logits, rng, **how) for _ in range(n)], minlength=len(logits))


def assert_follows(counts, p):
    """Every frequency within 4.5 standard deviations, and nothing at all where p is 0."""
    n = counts.sum()
    assert (counts[p == 0] == 0).all()
    assert (np.abs(counts - n * p) <= 4.5 * np.sqrt(n * p * (1 - p)) + 1e-9).all(), (counts, n * p)


# ---- one draw

@pytest.mark.parametrize("temperature", [0.3, 0.7, 1.0, 2.0, 100.0])
def test_draws_follow_softmax(temperature, rng):
    assert_follows(drawn(rng, temperature=temperature), softmax(LOGITS / temperature))


def test_temperature_zero_takes_the_likeliest(rng):
    assert drawn(rng, 50, temperature=0)[GREEDY] == 50


def test_a_low_temperature_overflows_nothing(rng):
    with np.errstate(all="raise", under="ignore"):
        assert drawn(rng, 50, temperature=1e-6)[GREEDY] == 50
        assert drawn(rng, 50, 1e4 * LOGITS)[GREEDY] == 50


def test_top_k_one_is_greedy(rng):
    assert drawn(rng, 200, top_k=1)[GREEDY] == 200


@pytest.mark.parametrize("k", [2, 3, 6, 100])
def test_top_k_draws_from_the_k_likeliest_alone(k, rng):
    p = softmax(LOGITS)
    p[np.argsort(-p)[k:]] = 0
    assert_follows(drawn(rng, top_k=k), p / p.sum())


def test_a_tiny_top_p_is_greedy(rng):
    assert drawn(rng, 200, top_p=1e-9)[GREEDY] == 200
    assert drawn(rng, 200, top_p=softmax(LOGITS)[GREEDY] - 1e-6)[GREEDY] == 200


@pytest.mark.parametrize("top_p, kept", [(0.45, 2), (0.8, 2), (0.83, 3), (0.91, 3), (0.93, 4), (0.97, 4), (0.99, 5)])
def test_top_p_draws_from_the_least_number_that_holds_it(top_p, kept, rng):
    p = softmax(LOGITS)
    order = np.argsort(-p)
    assert p[order[:kept]].sum() >= top_p > p[order[:kept - 1]].sum()
    p[order[kept:]] = 0
    assert_follows(drawn(rng, top_p=top_p), p / p.sum())


def test_top_p_of_one_keeps_all(rng):
    flat = np.zeros(5, np.float32)
    assert_follows(drawn(rng, logits=flat, top_p=1.0), softmax(flat))


def test_both_together_are_the_stricter(rng):
    p = softmax(LOGITS)
    p[np.argsort(-p)[2:]] = 0
    assert_follows(drawn(rng, top_k=2, top_p=0.999), p / p.sum())
    assert drawn(rng, 200, top_k=5, top_p=0.01)[GREEDY] == 200


def test_among_equals_all_are_drawn(rng):
    assert_follows(drawn(rng, logits=np.zeros(6)), np.full(6, 1 / 6))


@pytest.mark.parametrize("u", [0.0, np.nextafter(1.0, 0.0)])
def test_the_ends_of_the_random_numbers_stay_inside(u):
    rng = SimpleNamespace(random=lambda: u)
    for how in ({}, {"top_k": 2}, {"top_p": 0.5}, {"temperature": 0.01}):
        assert sample(LOGITS, rng, **how) in (range(6) if not how else (1, 3))


HOW = {"likeliest": {"temperature": 0}, "drawn": {}, "cold": {"temperature": 0.1}, "top k": {"top_k": 2}, "top p": {"top_p": 0.5},
       "likeliest of k": {"temperature": 0, "top_k": 1}, "almost 0": {"temperature": 5e-324}}
every_how = pytest.mark.parametrize("how", HOW.values(), ids=HOW)


@every_how
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("place", [0, 3, 5])
@pytest.mark.parametrize("bad", [[np.nan], [np.inf], [np.inf, -np.inf], [-np.nan, np.inf]], ids=str)
def test_logits_of_a_ruined_model_are_refused_wherever_they_stand(bad, place, dtype, how, rng):
    logits = LOGITS.astype(dtype)
    for i, value in enumerate(bad):
        logits[(place + i) % 6] = value
    with pytest.raises(ValueError, match="the logits are not numbers"), np.errstate(invalid="ignore"):
        sample(logits, rng, **how)


@every_how
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_where_no_logit_is_a_number_nothing_is_drawn(value, how, rng):
    with pytest.raises(ValueError, match="the logits are not numbers"), np.errstate(invalid="ignore"):
        sample(np.full(6, value, np.float32), rng, **how)


@every_how
def test_what_is_excluded_is_never_drawn(how, rng):
    logits = np.where(np.arange(6) == 2, np.float32(0.5), np.float32(-np.inf))
    assert drawn(rng, 50, logits, **how).tolist() == [0, 0, 50, 0, 0, 0]
    logits[4] = 0.5
    assert drawn(rng, 50, logits, **how)[[2, 4]].sum() == 50


def test_colder_and_colder_it_is_the_likeliest(rng):
    for temperature in (1e-3, 1e-30, 1e-300, 5e-324):
        for scale in (1, 1e6, 1e38):
            assert drawn(rng, 20, LOGITS * np.float64(scale), temperature=temperature)[GREEDY] == 20


@pytest.mark.parametrize("temperature", [-1.0, -1e-9, np.nan, np.inf])
def test_a_temperature_that_is_none_is_refused(temperature, rng):
    with pytest.raises(ValueError, match="the temperature is"):
        sample(LOGITS, rng, temperature)


def test_sampling_leaves_the_logits_alone(rng):
    logits = LOGITS.copy()
    sample(logits, rng, 0.5, 2, 0.9)
    assert np.array_equal(logits, LOGITS)


# ---- a text

def test_greedy_writing_is_deterministic_and_greedy():
    model = small_gpt()
    texts = [generate(model, [3, 1], 12, np.random.default_rng(seed), temperature=0) for seed in (0, 1)]
    assert texts[0] == texts[1] and len(texts[0]) == 14
    for n in range(2, 14):
        seen = np.array([texts[0][max(0, n - 7):n]])
        assert texts[0][n] == model.logits(seen)[0, -1].argmax()


@pytest.mark.parametrize("how", [{"top_k": 1}, {"top_p": 1e-9}])
def test_only_the_likeliest_is_greedy(how, rng):
    model = small_gpt()
    assert generate(model, [3], 12, rng, **how) == generate(model, [3], 12, rng, temperature=0)


def test_the_same_seed_writes_the_same_text_and_another_seed_another():
    model = small_gpt()
    one, again, other = (generate(model, [3], 30, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == again != other


def test_the_prompt_is_kept_and_not_changed(rng):
    prompt = [3, 1, 4]
    text = generate(small_gpt(), prompt, 5, rng)
    assert text[:3] == [3, 1, 4] and len(text) == 8 and prompt == [3, 1, 4]
    assert all(type(i) is int and 0 <= i < 11 for i in text)
    assert generate(small_gpt(), prompt, 0, rng) == prompt


class Counting(GPT):
    """After i it writes i + 1, and notes what it was shown."""

    def __init__(self):
        super().__init__(Config(20, 4, 1, 1, 1), np.random.default_rng(0))
        self.shown = []

    def logits(self, tokens):
        self.shown.append(tokens[0].tolist())
        return np.eye(20)[(tokens + 1) % 20] * 50.0

    def forward_cached(self, tokens, kv_cache):
        kv_cache.length += tokens.shape[1]
        return self.logits(tokens)


def test_writing_stops_after_the_stop(rng):
    assert generate(Counting(), [3], 10, rng, stop=7) == [3, 4, 5, 6, 7]
    assert generate(Counting(), [3], 3, rng, stop=7) == [3, 4, 5, 6]
    assert generate(Counting(), [7], 2, rng, stop=7) == [7, 8, 9]      # of a prompt nothing is the end
    assert generate(Counting(), [3], 5, rng, stop=None) == [3, 4, 5, 6, 7, 8]


def test_of_a_text_longer_than_the_context_the_model_sees_the_end(rng):
    model = Counting()
    generate(model, [0, 1, 2, 3, 4, 5], 2, rng, temperature=0)
    assert model.shown == [[2, 3, 4, 5], [3, 4, 5, 6]]


def test_within_the_context_each_token_is_read_once(rng):
    model = Counting()
    assert generate(model, [0, 1], 5, rng, temperature=0) == [0, 1, 2, 3, 4, 5, 6]
    assert model.shown == [[0, 1], [2], [3], [1, 2, 3, 4], [2, 3, 4, 5]]


def test_what_lies_before_the_context_changes_nothing():
    model = small_gpt()
    long, short = [9, 8, 7, 6, 1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 7]
    written = [generate(model, prompt, 6, np.random.default_rng(0))[len(prompt):] for prompt in (long, short)]
    assert written[0] == written[1]


def written_the_long_way(model, ids, n, rng, **how):
    """Everything is read anew for every token: what `generate` does, without what makes it quick."""
    ids = list(ids)
    for _ in range(n):
        ids.append(sample(model.logits(np.array([ids[-7:]]))[0, -1], rng, **how))
    return ids


@pytest.mark.parametrize("adapted", [False, True], ids=["plain", "adapted"])
@pytest.mark.parametrize("prompt", [[3], [3, 1, 4], [3, 1, 4, 1, 5, 9, 2], [3, 1, 4, 1, 5, 9, 2, 6, 5]], ids=len)
@pytest.mark.parametrize("how", [{}, {"temperature": 0}, {"temperature": 0.7, "top_k": 4}, {"top_p": 0.8}], ids=str)
def test_what_is_remembered_changes_no_text(how, prompt, adapted):
    """Within the context, across its end, and beyond."""
    model = small_gpt(np.float64, adapted)
    for seed in range(3):
        text = generate(model, prompt, 15, np.random.default_rng(seed), **how)
        assert text == written_the_long_way(model, prompt, 15, np.random.default_rng(seed), **how)


def test_a_model_may_learn_between_two_texts(rng):
    model = small_gpt()
    before = generate(model, [3], 6, rng, temperature=0)
    model.wte.weight.data[:] = rng.normal(size=(11, 12))
    assert generate(model, [3], 6, rng, temperature=0) == written_the_long_way(model, [3], 6, rng, temperature=0) != before


def test_what_cannot_be_continued_is_refused(rng):
    with pytest.raises(ValueError, match="nothing to continue"):
        generate(small_gpt(), [], 3, rng)


@pytest.mark.parametrize("how", [{"temperature": 0}, {}, {"top_k": 3}, {"top_p": 0.9}], ids=str)
@pytest.mark.parametrize("adapted", [False, True], ids=["decoder", "model"])
@pytest.mark.parametrize("name, value", [("wte.weight", np.nan), *product(["wpe.weight", "blocks.0.attn.qkv.weight", "ln_f.bias",
                                                                           "blocks.1.mlp.proj.bias"], [np.nan, np.inf, -np.inf])])
def test_a_ruined_model_writes_nothing_and_says_so(name, value, adapted, how, recwarn):
    """Alone, in a batch, from a prompt, one token at a time and beyond its context: one sentence, and no warning before it."""
    broken = small_gpt(adapted=adapted)
    broken.state_dict()[name].flat[0] = value                    # of the table of words, that of a word which is never read
    for ids in ([3], [3, 1, 4], list(range(1, 10))):
        for write in (lambda rng: generate(broken, ids, 1, rng, **how), lambda rng: generate(broken, ids, 3, rng, **how),
                      lambda rng: generate_batch(broken, [ids, ids[::-1]], 3, rng, **how)):
            with pytest.raises(ValueError, match="the logits are not numbers"):
                write(np.random.default_rng(0))
    assert not recwarn.list


def test_a_model_that_is_ruined_while_it_writes_says_so():
    """The words after the first are read by the decoder, which has folded its weights by then."""
    for value in (np.nan, np.inf):
        broken = small_gpt()
        broken.wpe.weight.data[2] = value
        assert len(generate(broken, [3], 2, np.random.default_rng(0), temperature=0)) == 3
        with pytest.raises(ValueError, match="the logits are not numbers"):
            generate(broken, [3], 3, np.random.default_rng(0), temperature=0)


# ---- several texts

PROMPTS = [[3], [1, 2], [3], [4, 5, 6], [7, 8], list(range(9)), [3]]


@pytest.mark.parametrize("adapted", [False, True], ids=["plain", "adapted"])
@pytest.mark.parametrize("n", [0, 4, 15])
def test_each_of_several_texts_is_what_would_be_written_alone(n, adapted):
    model = small_gpt(np.float64, adapted)
    texts = generate_batch(model, PROMPTS, n, np.random.default_rng(8), temperature=0.9)
    rngs = np.random.default_rng(8).spawn(len(PROMPTS))
    assert texts == [generate(model, prompt, n, rng, temperature=0.9) for prompt, rng in zip(PROMPTS, rngs)]


def test_several_samples_of_one_prompt_differ_and_are_seeded():
    model = small_gpt()
    one, again, other = (generate_batch(model, [[3, 1]] * 5, 20, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == again != other
    assert len({tuple(text) for text in one}) == 5
    rng = np.random.default_rng(1)
    assert generate_batch(model, [[3, 1]] * 5, 20, rng) != generate_batch(model, [[3, 1]] * 5, 20, rng)


def test_each_of_several_texts_stops_on_its_own(rng):
    texts = generate_batch(Counting(), [[3], [5], [12], [6]], 9, rng, stop=7)
    assert texts == [[3, 4, 5, 6, 7], [5, 6, 7], list(range(12, 20)) + [0, 1], [6, 7]]
    model, stop = small_gpt(np.float64), 4
    texts = generate_batch(model, [[3]] * 12, 15, np.random.default_rng(0), stop=stop)
    endless = generate_batch(model, [[3]] * 12, 15, np.random.default_rng(0))
    assert texts == [text[:text.index(stop) + 1] if stop in text else text for text in endless]
    assert len({len(text) for text in texts}) > 3


def test_only_ids_that_have_a_token_are_drawn_for_several_texts_too():
    model, rngs = small_gpt(np.float64), np.random.default_rng(0).spawn(len(PROMPTS))
    texts = generate_batch(model, PROMPTS, 15, np.random.default_rng(0), vocabulary=3)
    assert {i for text, prompt in zip(texts, PROMPTS) for i in text[len(prompt):]} == {0, 1, 2}
    assert texts == [generate(model, prompt, 15, rng, vocabulary=3) for prompt, rng in zip(PROMPTS, rngs)]


def test_prompts_of_several_texts_are_kept_and_none_is_no_error(rng):
    prompts = [[3, 1], [4], [1, 5]]
    texts = generate_batch(small_gpt(), prompts, 5, rng)
    assert [text[:len(prompt)] for text, prompt in zip(texts, prompts)] == prompts == [[3, 1], [4], [1, 5]]
    assert generate_batch(small_gpt(), [], 5, rng) == []
