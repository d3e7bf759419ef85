"""Decisions of a row: torch's schedulers and the stored streams are the reference."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR, OneCycleLR

from sk_tune.engine.fleet._recipe import SeededCourse
from sk_tune.training import (
    LR_SCHEDULES,
    StoppingState,
    Stream,
    TensorBatches,
    TensorSet,
    derive_seed,
    forked_rng,
)

SEEDS = st.integers(0, 2**32 - 1)
NOTHING = torch.empty(0)


def _course(seed=0, **options):
    defaults = {
        "learning_rate": 0.1,
        "lr_schedule": "constant",
        "schedule_epochs": 4,
        "patience": None,
        "tol": 0.0,
        "stopping": StoppingState(),
        "first_epoch": 0,
    }
    return SeededCourse(seed, **{**defaults, **options})


@given(seed=SEEDS, epoch=st.integers(0, 50), n=st.integers(1, 100))
def test_order_is_that_of_a_lone_networks_batches(seed, epoch, n):
    """The samples come as TensorBatches gives them in the same epoch."""
    batches = TensorBatches(TensorSet(torch.arange(n)), n, seed=seed)
    batches.epoch = epoch

    order = _course(seed).order(epoch, n)

    assert torch.equal(order, torch.cat([X for X, _ in batches]))


@given(seed=SEEDS, epoch=st.integers(0, 50))
def test_generator_is_in_the_global_ones_state(seed, epoch):
    """What it draws is what torch draws inside the epoch's fork."""
    with forked_rng(derive_seed(seed, Stream.MODULE, epoch)):
        expected = torch.rand(5)

    assert torch.equal(torch.rand(5, generator=_course(seed).generator(epoch)), expected)


def _torch_rates(schedule, n_epochs, n_batches):
    """Return the rate of each step by torch's scheduler, stepped after each batch."""
    n = n_epochs * n_batches
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = {
        "constant": lambda: MultiStepLR(optimizer, [10**6]),
        "cosine": lambda: CosineAnnealingLR(optimizer, n),
        "one_cycle": lambda: OneCycleLR(optimizer, 0.1, total_steps=n + 1),
        "step": lambda: MultiStepLR(optimizer, [n // 2, 3 * n // 4]),
    }[schedule]()
    rates = []
    for _ in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step"])
@pytest.mark.parametrize(("n_epochs", "n_batches"), [(4, 1), (4, 5), (8, 3)])
def test_rates_are_those_of_torchs_schedulers(schedule, n_epochs, n_batches):
    """The schedule is stepped after each batch, over all planned epochs."""
    course = _course(lr_schedule=schedule, schedule_epochs=n_epochs)

    rates = [r for e in range(n_epochs) for r in course.rates(e, n_batches)]

    assert rates == pytest.approx(_torch_rates(schedule, n_epochs, n_batches))


def test_one_cycle_rises_to_the_peak_and_falls():
    """It begins at a 25th, has its peak at 30 % of the steps, and ends low."""
    course = _course(lr_schedule="one_cycle", schedule_epochs=10)

    rates = [r for e in range(10) for r in course.rates(e, 10)]

    assert rates[0] == pytest.approx(0.1 / 25)
    assert rates.index(max(rates)) == 30
    assert max(rates) == pytest.approx(0.1)
    assert rates[:31] == sorted(rates[:31])
    assert rates[30:] == sorted(rates[30:], reverse=True)
    assert rates[-1] < 0.1 / 1000


@pytest.mark.parametrize("schedule", LR_SCHEDULES)
def test_schedule_begins_with_the_first_epoch(schedule):
    """After a warm start it runs as from epoch 0."""
    late = _course(lr_schedule=schedule, first_epoch=7)
    early = _course(lr_schedule=schedule)

    assert [late.rates(e + 7, 3) for e in range(6)] == [early.rates(e, 3) for e in range(6)]


def _epochs(course, losses):
    """Return which epochs were the best so far, and after which the row had stopped."""
    improved, stopped = [], []
    for epoch, loss in enumerate(losses, start=1):
        record = {"epoch": epoch, "valid_loss": loss}
        if course.improved(record, NOTHING, None):
            improved.append(epoch)
        if course.stopped:
            stopped.append(epoch)
    return improved, stopped


def test_best_epochs_and_the_end_come_from_the_validation_loss():
    """A fall of at most tol is no progress, but the weights are the best so far."""
    losses = [1.0, 0.5, 0.45, 0.47, 0.44]

    improved, stopped = _epochs(_course(patience=3, tol=0.1), losses)

    assert improved == [1, 2, 3, 5]
    assert stopped == [5]


def test_memory_of_early_stopping_goes_on():
    """A course that starts from the state of another decides as that one."""
    first = _course(patience=3)
    _epochs(first, [1.0, 2.0])
    second = _course(patience=3, stopping=first.stopping)

    assert not second.improved({"epoch": 3, "valid_loss": 1.5}, NOTHING, None)
    assert not second.stopped
    assert not second.improved({"epoch": 4, "valid_loss": 1.5}, NOTHING, None)
    assert second.stopped


@given(losses=st.lists(st.floats(0, 10), max_size=10))
def test_without_patience_nothing_is_best_and_nothing_ends(losses):
    """A row without early stopping trains all of its epochs."""
    course = _course()

    assert _epochs(course, losses) == ([], [])
    assert not course.uses_best


def test_early_stopping_uses_the_best_weights():
    """A row with a patience has its best weights as the result."""
    assert _course(patience=5).uses_best


@given(
    losses=st.lists(st.floats(0, 10), min_size=1, max_size=30), patience=st.integers(1, 5)
)
def test_best_epoch_has_the_least_loss(losses, patience):
    """Up to its end, the last improvement is the first minimum of the losses."""
    improved, stopped = _epochs(_course(patience=patience), losses)

    seen = losses[: stopped[0]] if stopped else losses
    until_end = [e for e in improved if e <= len(seen)]
    assert until_end[-1] == seen.index(min(seen)) + 1
    if stopped:
        assert len(seen) - until_end[-1] >= patience
    assert math.isfinite(min(seen))
