"""Courses, losses and records of a fleet."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR, OneCycleLR

from sk_tune.engine.fleet._recipe import (
    LOSSES,
    FleetNetwork,
    NetworkOutcome,
    Recipe,
    SeededCourse,
    loss_by_autograd,
)
from sk_tune.engine.fleet._stacked_optimizers import Settings
from sk_tune.training import (
    LR_SCHEDULES,
    StoppingState,
    Stream,
    TensorBatches,
    TensorSet,
    TrainingState,
    accuracy_by_network,
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


K, B, C = 3, 7, 4
SMOOTHING = torch.tensor([0.0, 0.1, 0.6], dtype=torch.float64)

names = pytest.mark.parametrize("name", LOSSES)
weights = pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
smoothings = pytest.mark.parametrize("smoothed", [False, True], ids=["plain", "smoothed"])

_REGRESSION = {
    "squared_error": F.mse_loss,
    "absolute_error": F.l1_loss,
    "huber": F.huber_loss,
}


def _normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _targets(name, n_outputs=C):
    generator = torch.Generator().manual_seed(1)
    if name == "cross_entropy":
        return torch.randint(n_outputs, (K, B), generator=generator)
    if name == "binary_cross_entropy":
        return torch.randint(2, (K, B, n_outputs), generator=generator).double()
    return _normal(K, B, n_outputs, seed=2)


def _torch_losses(name, outputs, targets, smoothing):
    """Return the losses of one row's samples."""
    if name == "cross_entropy":
        return F.cross_entropy(
            outputs, targets, label_smoothing=smoothing, reduction="none"
        )
    if name == "binary_cross_entropy":
        moved = targets * (1 - smoothing) + smoothing / 2
        losses = F.binary_cross_entropy_with_logits(outputs, moved, reduction="none")
    else:
        losses = _REGRESSION[name](outputs, targets, reduction="none")
    return losses.mean(dim=1)


def _shares(weighted):
    if not weighted:
        return None
    weight = _normal(K, B, seed=3).abs()
    weight[:, 2] = 0
    return weight / weight.sum(dim=1, keepdim=True)


@names
@weights
@smoothings
@pytest.mark.parametrize("scale", [1.0, 30.0], ids=["small", "large"])
def test_losses_and_gradients_are_torchs(name, weighted, smoothed, scale):
    """Each row has the loss and the derivatives that autograd finds for it alone."""
    outputs, targets = scale * _normal(K, B, C), _targets(name)
    share, smoothing = _shares(weighted), SMOOTHING if smoothed else None

    losses, gradients = LOSSES[name].with_gradient(
        outputs.clone(), targets.clone(), share, smoothing
    )

    for row in range(K):
        s = float(SMOOTHING[row]) if smoothed else 0.0
        leaf = outputs[row].clone().requires_grad_()
        samples = _torch_losses(name, leaf, targets[row], s)
        loss = samples.mean() if share is None else samples @ share[row]
        (expected,) = torch.autograd.grad(loss, leaf)
        torch.testing.assert_close(losses[row], loss.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gradients[row], expected, rtol=1e-12, atol=1e-12)


@names
@weights
@smoothings
def test_outputs_and_targets_are_left_alone(name, weighted, smoothed):
    """The epoch's record reads outputs and targets after the gradient is there."""
    outputs, targets = _normal(K, B, C), _targets(name)
    before = outputs.clone(), targets.clone()

    LOSSES[name].with_gradient(
        outputs, targets, _shares(weighted), SMOOTHING if smoothed else None
    )

    assert torch.equal(outputs, before[0])
    assert torch.equal(targets, before[1])


@names
@weights
def test_means_without_gradient_are_torchs(name, weighted):
    """Validation takes the plain loss, without smoothing; weights need not sum to 1."""
    outputs, targets = _normal(K, B, C), _targets(name)
    weight = 5 * _shares(weighted) if weighted else None

    got = LOSSES[name].mean(outputs, targets, weight)

    samples = torch.stack([
        _torch_losses(name, outputs[r], targets[r], 0.0) for r in range(K)
    ])
    share = _shares(weighted)
    expected = samples.mean(dim=1) if share is None else (samples * share).sum(dim=1)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@names
def test_one_output_is_enough(name):
    """With a single output the losses are torch's too."""
    outputs, targets = _normal(K, B, 1), _targets(name, 1)

    losses, _ = LOSSES[name].with_gradient(outputs.clone(), targets, None, None)

    expected = [_torch_losses(name, outputs[r], targets[r], 0.0).mean() for r in range(K)]
    torch.testing.assert_close(losses, torch.stack(expected), rtol=1e-12, atol=1e-12)


@names
def test_infinite_outputs_of_a_row_touch_no_other(name):
    """NaN in one row leaves the other rows' numbers bit by bit as they are without it."""
    outputs, targets = _normal(K, B, C), _targets(name)
    broken = outputs.clone()
    broken[1] = torch.nan

    got = LOSSES[name].with_gradient(broken, targets, None, SMOOTHING)
    expected = LOSSES[name].with_gradient(outputs.clone(), targets, None, SMOOTHING)

    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a[[0, 2]], b[[0, 2]])
    assert torch.isnan(got[0][1])


_CRITERIA = {
    "cross_entropy": nn.CrossEntropyLoss(),
    "smoothed": nn.CrossEntropyLoss(label_smoothing=0.2),
    "binary_cross_entropy": nn.BCEWithLogitsLoss(),
    "huber": nn.HuberLoss(delta=0.7),
    "l1_sum": nn.L1Loss(reduction="sum"),
}


@pytest.mark.parametrize("name", _CRITERIA)
def test_any_loss_of_one_network_becomes_one_of_many(name):
    """Losses and derivatives of a user's criterion are those of each row alone."""
    criterion = _CRITERIA[name]
    outputs = _normal(K, B, C)
    targets = _targets("cross_entropy" if name == "smoothed" else name)
    loss = loss_by_autograd(criterion)

    losses, gradients = loss.with_gradient(outputs, targets, None, None)

    for row in range(K):
        leaf = outputs[row].clone().requires_grad_()
        alone = criterion(leaf, targets[row])
        (expected,) = torch.autograd.grad(alone, leaf)
        torch.testing.assert_close(losses[row], alone.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gradients[row], expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(loss.mean(outputs, targets, None), losses)


@pytest.mark.parametrize("no_grad", [False, True], ids=["grad", "no_grad"])
def test_losses_by_autograd_keep_no_graph(no_grad):
    """They work where gradients are switched off, and need none of their own."""
    loss = loss_by_autograd(nn.MSELoss())

    with torch.set_grad_enabled(not no_grad):
        found = loss.with_gradient(_normal(K, B, C), _targets("squared_error"), None, None)

    assert not any(t.requires_grad for t in found)


STATE = TrainingState(seed=0, weights={}, moments={})


def _recipe(**options):
    defaults = {
        "optimizer": "adam",
        "nesterov": False,
        "batch_size": 8,
        "loss": LOSSES["squared_error"],
        "score": accuracy_by_network,
        "draws_globally": False,
    }
    return Recipe(**{**defaults, **options})


def _row(**options):
    defaults = {
        "module": nn.Linear(1, 1),
        "course": None,
        "settings": Settings(momentum=0.9),
        "state": STATE,
        "n_epochs": 1,
        "train": TensorSet(None),
        "valid": None,
        "monitor": None,
        "learning_rate": 0.1,
    }
    return FleetNetwork(**{**defaults, **options})


def _outcome():
    return NetworkOutcome(state=STATE, outputs=None, message="", seconds=0.0)


def test_recipes_of_equal_content_are_equal_and_hash_alike():
    """So that rows of one recipe can be found by it."""
    assert _recipe() == _recipe()
    assert hash(_recipe()) == hash(_recipe())


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "sgd"},
        {"nesterov": True},
        {"batch_size": -1},
        {"loss": LOSSES["cross_entropy"]},
        {"score": max},
        {"draws_globally": True},
        {"joins_last_sample": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_recipes_of_other_content_differ(change):
    """Every part counts."""
    assert _recipe(**change) != _recipe()


def test_row_regularises_nothing_unless_told():
    """A row without penalties has none, and no limit of its gradient."""
    row = _row()

    assert (row.l1, row.label_smoothing, row.gradient_clip) == (0.0, 0.0, None)


@pytest.mark.parametrize(
    "record", [_recipe(), _row(), _outcome()], ids=lambda r: str(type(r).__name__)
)
def test_records_cannot_be_changed(record):
    """They are passed on, not written to."""
    name = dataclasses.fields(record)[0].name

    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, name, None)


def test_rows_are_compared_as_objects():
    """Two rows with the same content are two rows."""
    assert _row() != _row()
    assert _outcome() != _outcome()
