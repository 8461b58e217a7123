"""Processes share the work of a batch: the sum of their parts is the whole, and the same on every run."""

import tracemalloc

import numpy as np
import pytest

from minillm.gradcheck import perturb
from minillm.ground import processes
from minillm.nn import GPT, IGNORE, Config, CrossEntropy
from minillm.train.flat import FlatParameters
from minillm.train.optimizers import OPTIMIZERS, SGD, AdamW
from minillm.train.trainer import Trainer
from minillm.train.workers import Workers, split_rows

T, TOTAL = 9, 31.5


def small_gpt(dtype=np.float64):
    """The same model on every call."""
    rng = np.random.default_rng(5)
    model = GPT(Config(11, T, 2, 3, 12), rng, dtype)
    perturb(model, rng)
    return model


def batch_of(lengths, rng):
    """Rows of random tokens whose targets count up to these lengths."""
    tokens, targets = rng.integers(0, 11, (2, len(lengths), T))
    targets[np.arange(T) >= np.array(lengths)[:, None]] = IGNORE
    return tokens, targets


BATCHES = {
    "equal": [9] * 6,
    "equal, not divisible": [9] * 7,
    "ragged": [3, 9, 1, 5, 5, 8, 2],
    "ragged and all shorter than the array": [3, 4, 2, 4, 1],
    "a row that does not count": [4, 0, 9, 2, 6, 3],
    "smaller than the workers": [9, 9],
    "smaller than the workers, ragged": [4, 7],
    "a single row": [6],
}
every_batch = pytest.mark.parametrize("lengths", [pytest.param(lengths, id=name) for name, lengths in BATCHES.items()])


def loss_and_gradient(n, tokens, targets, dtype=np.float64):
    model = small_gpt(dtype)
    flat = FlatParameters(model.trainable_parameters())
    loss, norm = Workers(model, flat, SGD(), n).forward_backward(tokens, targets, TOTAL)
    assert norm == pytest.approx(np.linalg.norm(flat.grad), rel=1e-6 if dtype == np.float32 else 1e-12)
    assert all(np.shares_memory(p.grad, flat.grad) for p in model.parameters().values())
    return loss, flat.grad


def plain_loss_and_gradient(tokens, targets):
    """Without workers: one forward and one backward pass over the whole, padding included."""
    model = small_gpt()
    flat = FlatParameters(model.trainable_parameters())
    logits, cache = model.forward(tokens)
    loss, loss_cache = CrossEntropy().forward(logits, targets, TOTAL)
    model.backward(CrossEntropy().backward(1.0, loss_cache), cache)
    return loss, flat.grad


@every_batch
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_workers_agree_with_a_plain_pass(n, lengths, rng):
    tokens, targets = batch_of(lengths, rng)
    plain_loss, plain_gradient = plain_loss_and_gradient(tokens, targets)
    loss, gradient = loss_and_gradient(n, tokens, targets)
    assert loss == pytest.approx(plain_loss, rel=1e-12)
    assert np.abs(gradient - plain_gradient).max() < 1e-12 * np.abs(plain_gradient).max()


@every_batch
@pytest.mark.parametrize("n, accumulate", [(1, 1), (2, 1), (3, 1), (1, 3), (2, 4)])
def test_with_no_total_the_whole_batch_counts_and_not_each_part(n, accumulate, lengths, rng):
    tokens, targets = batch_of(lengths, rng)
    model, plain = small_gpt(), small_gpt()
    logits, cache = plain.forward(tokens)
    loss, loss_cache = CrossEntropy().forward(logits, targets)
    plain_flat = FlatParameters(plain.trainable_parameters())
    plain.backward(CrossEntropy().backward(1.0, loss_cache), cache)
    flat = FlatParameters(model.trainable_parameters())
    actual, _ = Workers(model, flat, SGD(), n, accumulate).forward_backward(tokens, targets)
    assert actual == pytest.approx(loss, rel=1e-12)
    assert np.abs(flat.grad - plain_flat.grad).max() < 1e-12 * np.abs(plain_flat.grad).max()


@pytest.mark.parametrize("n", [2, 3])
def test_workers_agree_on_prompts_that_do_not_count(n, rng):
    tokens, targets = batch_of([3, 9, 5, 7, 8], rng)
    targets[:, :2] = IGNORE
    _, plain_gradient = plain_loss_and_gradient(tokens, targets)
    _, gradient = loss_and_gradient(n, tokens, targets)
    assert np.abs(gradient - plain_gradient).max() < 1e-12 * np.abs(plain_gradient).max()


@every_batch
@pytest.mark.parametrize("n", [1, 2, 3])
def test_same_workers_same_bits(n, lengths, rng):
    tokens, targets = batch_of(lengths, rng)
    (loss, gradient), (again, gradient_again) = (loss_and_gradient(n, tokens, targets, np.float32) for _ in range(2))
    assert loss == again and np.array_equal(gradient, gradient_again)


def test_a_second_call_starts_from_zero(rng):
    model = small_gpt()
    flat = FlatParameters(model.trainable_parameters())
    workers = Workers(model, flat, SGD(), 2)
    first, second = batch_of(BATCHES["ragged"], rng), batch_of(BATCHES["equal"], rng)
    workers.forward_backward(*first, TOTAL)
    workers.forward_backward(*second, TOTAL)
    _, gradient = loss_and_gradient(2, *second)
    assert np.array_equal(flat.grad, gradient)


def test_all_workers_see_a_changed_weight(rng):
    model = small_gpt()
    flat = FlatParameters(model.trainable_parameters())
    workers = Workers(model, flat, SGD(), 3)
    tokens, targets = batch_of(BATCHES["equal"], rng)
    before, _ = workers.forward_backward(tokens, targets, TOTAL)
    flat.data *= 0
    after, _ = workers.forward_backward(tokens, targets, TOTAL)
    assert after != before
    assert after == pytest.approx(np.count_nonzero(targets != IGNORE) * np.log(11) / TOTAL, rel=1e-12)


@pytest.mark.parametrize("n", [1, 3])
def test_frozen_parameters_have_no_gradient_in_any_worker(n, rng):
    tokens, targets = batch_of(BATCHES["ragged"], rng)
    model, full = small_gpt(), small_gpt()
    model.trainable = False
    model.blocks[1].mlp.trainable = True
    flat, full_flat = FlatParameters(model.trainable_parameters()), FlatParameters(full.trainable_parameters())
    workers = Workers(model, flat, SGD(), n)
    workers.forward_backward(tokens, targets, TOTAL)
    Workers(full, full_flat, SGD(), n).forward_backward(tokens, targets, TOTAL)
    assert {name for name, p in model.parameters().items() if p.grad is not None} == set(flat.parameters)
    for name, p in flat.parameters.items():
        np.testing.assert_allclose(p.grad, full.parameters()[name].grad, rtol=1e-10, atol=1e-13, err_msg=name)


@every_batch
@pytest.mark.parametrize("accumulate", [2, 4, 7])
def test_accumulated_gradients_are_those_of_the_whole(lengths, accumulate, rng):
    tokens, targets = batch_of(lengths, rng)
    plain_loss, plain_gradient = plain_loss_and_gradient(tokens, targets)
    model = small_gpt()
    flat = FlatParameters(model.trainable_parameters())
    loss, _ = Workers(model, flat, SGD(), 2, accumulate).forward_backward(tokens, targets, TOTAL)
    assert loss == pytest.approx(plain_loss, rel=1e-12)
    assert np.abs(flat.grad - plain_gradient).max() < 1e-12 * np.abs(plain_gradient).max()


def test_an_accumulated_batch_needs_the_memory_of_a_piece(rng):
    """The peak of NumPy's allocations in a step, in one process."""
    def peak(accumulate):
        trainer = Trainer(GPT(Config(11, 32, 2, 2, 16), rng), AdamW(), workers=1, accumulate=accumulate)
        trainer.step(tokens, tokens)
        tracemalloc.start()
        trainer.step(tokens, tokens)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    tokens = rng.integers(0, 11, (64, 32))
    assert peak(8) < 0.2 * peak(1)


def test_without_forks_the_bits_are_the_same(rng, monkeypatch):
    """Where processes cannot be forked, one process does the shares of all, one after the other."""
    def run():
        trainer = Trainer(small_gpt(np.float32), AdamW(1e-2), workers=3)
        return [trainer.step(*batch) for batch in batches], trainer.flat.data.copy()

    batches = [batch_of(BATCHES[name], rng) for name in ("ragged", "equal", "a single row")]
    losses, theta = run()
    monkeypatch.setattr(processes, "CAN_FORK", False)
    alone_losses, alone_theta = run()
    assert losses == alone_losses and np.array_equal(theta, alone_theta)


class OwnState(SGD):
    """An optimizer whose state is not made with flat.zeros(), so that each worker has a copy of its own."""

    def start(self, flat):
        super().start(flat)
        self.v = np.zeros_like(flat.data)


def test_a_state_of_which_most_would_never_be_saved_is_refused(rng):
    message = "the array 'v' in the state of the optimizer is not shared by the workers.*make it with flat.zeros"
    with pytest.raises(ValueError, match=message):
        Trainer(small_gpt(), OwnState(), workers=2)
    trainer, usual = Trainer(small_gpt(), OwnState(), workers=1), Trainer(small_gpt(), SGD(), workers=1)
    batch = batch_of([9] * 4, rng)
    assert trainer.step(*batch) == usual.step(*batch)
    assert np.array_equal(trainer.optimizer.v, usual.optimizer.v)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values())
def test_every_optimizer_shares_its_state(optimizer):
    Trainer(small_gpt(), optimizer(), workers=2)


# ---- the deal

@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("accumulate", [1, 2, 3, 6])
@pytest.mark.parametrize("seed", range(10))
def test_split_covers_each_row_once_and_cuts_no_target(n, seed, accumulate):
    rng = np.random.default_rng(seed)
    B = int(rng.integers(1, 14))
    _, targets = batch_of(rng.integers(0, T + 1, B) if seed % 3 else [T] * B, rng)
    targets[rng.random(targets.shape) < 0.2] = IGNORE
    parts = split_rows(targets, n, accumulate)
    assert len(parts) == n
    dealt = [(rows, length) for part in parts for rows, length in part]
    assert sorted(int(row) for rows, _ in dealt for row in rows) == list(range(B))
    for rows, length in dealt:
        assert 1 <= length <= T and (targets[rows, length:] == IGNORE).all()


def test_split_saves_the_padding_of_the_short():
    """32 rows of lengths 2..9, four of each, fill 176 places; an array that pads them to the longest has 288."""
    _, targets = batch_of([2, 3, 4, 5, 6, 7, 8, 9] * 4, np.random.default_rng(0))
    work = [sum(len(rows) * length for rows, length in part) for part in split_rows(targets, 2)]
    assert sum(work) < 205 and max(work) - min(work) <= 8


@pytest.mark.parametrize("limit, runs", [(9, [(0, 1), (1, 3), (3, 5), (5, 6)]), (36, [(0, 4), (4, 6)]), (100, [(0, 6)])])
def test_runs_hold_no_more_than_the_limit(limit, runs):
    from minillm.train.workers import cut
    assert cut([9, 4, 4, 4, 3, 3], limit) == runs
