"""Losses, scores, and messages of a divergence."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import huber
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
)
from torch.nn import functional as F

from sk_tune.training import (
    REGRESSION_LOSSES,
    AbsoluteError,
    BinaryCrossEntropy,
    CrossEntropy,
    HuberLoss,
    SquaredError,
    accuracy,
    accuracy_by_network,
    loss_message,
    r2,
    r2_by_network,
    weights_message,
)

N_ROWS, N_OUTPUTS = 20, 4


@pytest.fixture
def batch():
    """Outputs, class indices, 0-1 labels and weights of 20 rows."""
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(N_ROWS, N_OUTPUTS, generator=generator, dtype=torch.float64)
    classes = torch.arange(N_ROWS) % N_OUTPUTS
    labels = (torch.randn(N_ROWS, N_OUTPUTS, generator=generator) > 0).double()
    weight = torch.rand(N_ROWS, generator=generator, dtype=torch.float64)
    return outputs, classes, labels, weight


def test_cross_entropy_is_scikit_learns_log_loss(batch):
    """With and without weights, in evaluation mode, in nats per row."""
    outputs, classes, _, weight = batch
    loss = CrossEntropy(label_smoothing=0.3).eval()
    proba = outputs.softmax(dim=1).numpy()

    assert loss(outputs, classes).item() == pytest.approx(log_loss(classes, proba))
    expected = log_loss(classes, proba, sample_weight=weight.numpy())
    assert loss(outputs, classes, weight).item() == pytest.approx(expected)


def test_cross_entropy_smooths_while_training_only(batch):
    """In training mode the loss is torch's with label smoothing."""
    outputs, classes, _, _ = batch
    loss = CrossEntropy(label_smoothing=0.3).train()

    expected = F.cross_entropy(outputs, classes, label_smoothing=0.3)

    assert loss(outputs, classes).item() == pytest.approx(expected.item())


def test_binary_cross_entropy_is_torchs_with_targets_moved_to_the_middle(batch):
    """Smoothing by s makes 0 and 1 to s/2 and 1 - s/2 while training."""
    outputs, _, labels, _ = batch
    loss = BinaryCrossEntropy(label_smoothing=0.2)
    expected_eval = F.binary_cross_entropy_with_logits(outputs, labels)
    expected_train = F.binary_cross_entropy_with_logits(outputs, labels * 0.8 + 0.1)

    assert loss.train()(outputs, labels).item() == pytest.approx(expected_train.item())
    assert loss.eval()(outputs, labels).item() == pytest.approx(expected_eval.item())


def test_squared_error_is_scikit_learns(batch):
    """With and without weights, averaged over outputs."""
    outputs, _, labels, weight = batch
    y_pred, y_true, w = outputs.numpy(), labels.numpy(), weight.numpy()

    assert SquaredError()(outputs, labels).item() == pytest.approx(
        mean_squared_error(y_true, y_pred)
    )
    assert SquaredError()(outputs, labels, weight).item() == pytest.approx(
        mean_squared_error(y_true, y_pred, sample_weight=w)
    )


def test_absolute_error_is_scikit_learns(batch):
    """With and without weights, averaged over outputs."""
    outputs, _, labels, weight = batch
    y_pred, y_true, w = outputs.numpy(), labels.numpy(), weight.numpy()

    assert AbsoluteError()(outputs, labels).item() == pytest.approx(
        mean_absolute_error(y_true, y_pred)
    )
    assert AbsoluteError()(outputs, labels, weight).item() == pytest.approx(
        mean_absolute_error(y_true, y_pred, sample_weight=w)
    )


def test_huber_is_scipys_with_a_delta_of_1(batch):
    """Errors on both sides of 1 count, averaged over outputs."""
    outputs, _, labels, weight = batch
    expected = torch.from_numpy(huber(1.0, (outputs - labels).numpy())).mean(dim=1)

    assert HuberLoss()(outputs, labels).item() == pytest.approx(expected.mean().item())
    assert HuberLoss()(outputs, labels, weight).item() == pytest.approx(
        ((expected * weight).sum() / weight.sum()).item()
    )


@pytest.mark.parametrize(
    "loss",
    [
        CrossEntropy(0.1),
        BinaryCrossEntropy(0.1),
        *(make() for make in REGRESSION_LOSSES.values()),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_weight_2_counts_as_the_row_twice(loss, batch):
    """The mean over repeated rows equals the weighted mean."""
    outputs, classes, labels, _ = batch
    targets = classes if isinstance(loss, CrossEntropy) else labels
    repeats = torch.arange(N_ROWS) % 3
    rows = torch.repeat_interleave(torch.arange(N_ROWS), repeats)

    repeated = loss(outputs[rows], targets[rows])
    weighted = loss(outputs, targets, repeats.double())

    assert weighted.item() == pytest.approx(repeated.item())


@given(seed=st.integers(0, 10**6), weighted=st.booleans())
def test_accuracy_is_scikit_learns(seed, weighted):
    """For classes and for multilabel rows, with and without weights."""
    rng = np.random.default_rng(seed)
    outputs = rng.normal(size=(30, 3))
    classes, labels = rng.integers(3, size=30), rng.integers(2, size=(30, 3))
    weight = rng.uniform(0.1, 2, size=30) if weighted else None
    w = None if weight is None else torch.from_numpy(weight)

    got = accuracy(torch.from_numpy(outputs), torch.from_numpy(classes), w)
    got_multi = accuracy(torch.from_numpy(outputs), torch.from_numpy(labels), w)

    expected = accuracy_score(classes, outputs.argmax(axis=1), sample_weight=weight)
    expected_multi = accuracy_score(labels, outputs > 0, sample_weight=weight)
    assert got == pytest.approx(expected)
    assert got_multi == pytest.approx(expected_multi)


@given(seed=st.integers(0, 10**6), weighted=st.booleans())
def test_r2_is_scikit_learns(seed, weighted):
    """Averaged over outputs, with and without weights."""
    rng = np.random.default_rng(seed)
    y_true, y_pred = rng.normal(size=(2, 25, 2))
    weight = rng.uniform(0.1, 2, size=25) if weighted else None
    w = None if weight is None else torch.from_numpy(weight)

    got = r2(torch.from_numpy(y_pred), torch.from_numpy(y_true), w)

    assert got == pytest.approx(r2_score(y_true, y_pred, sample_weight=weight))


@pytest.mark.parametrize("y_pred", [3.0, 2.5])
def test_r2_of_a_constant_target_is_scikit_learns(y_pred):
    """A constant target counts 1 if met exactly and 0 otherwise."""
    y_true, y_pred = np.full((5, 1), 3.0), np.full((5, 1), y_pred)

    got = r2(torch.from_numpy(y_pred), torch.from_numpy(y_true))

    assert got == r2_score(y_true, y_pred)


@pytest.mark.parametrize(
    "score", [accuracy_by_network, r2_by_network], ids=["accuracy", "r2"]
)
def test_network_of_infinite_numbers_touches_no_other(score):
    """NaN in the outputs of one network leaves the scores of the others as they are."""
    rng = np.random.default_rng(0)
    y_pred = torch.from_numpy(rng.normal(size=(3, 10, 2)))
    y_true = torch.from_numpy(rng.normal(size=(3, 10, 2)))
    y_true = (y_true > 0).double() if score is accuracy_by_network else y_true
    broken = y_pred.clone()
    broken[1] = torch.nan

    got, expected = score(broken, y_true), score(y_pred, y_true)

    assert torch.equal(got[[0, 2]], expected[[0, 2]])


@pytest.mark.parametrize(
    ("prefix", "loss", "epoch", "rate", "expected"),
    [
        (
            "train",
            math.nan,
            1,
            0.1,
            "The train loss became nan at epoch 1 with learning_rate=0.1. Lower "
            "learning_rate, set gradient_clip, or scale the features.",
        ),
        (
            "valid",
            math.inf,
            12,
            1e-7,
            "The valid loss became inf at epoch 12 with learning_rate=1e-07. Lower "
            "learning_rate, set gradient_clip, or scale the features.",
        ),
    ],
    ids=["nan", "inf"],
)
def test_message_of_a_loss_names_it_and_what_to_do(prefix, loss, epoch, rate, expected):
    """Which loss, its value, the epoch and the rate, then the remedies."""
    assert loss_message(prefix, loss, epoch, rate) == expected


@pytest.mark.parametrize(
    ("rate", "text"), [(0.001, "0.001"), (1 / 3, "0.333333"), (100.0, "100"), (1, "1")]
)
def test_rates_are_written_shortly(rate, text):
    """Six digits are enough to recognise a rate."""
    assert f"learning_rate={text}. " in loss_message("train", math.nan, 1, rate)
    assert f"learning_rate={text}. " in weights_message("output.bias", 1, rate)


def test_message_of_weights_names_them_and_what_to_do():
    """The parameter, the epoch and the rate, then the remedies."""
    assert weights_message("output.weight", 3, 2.5) == (
        "The weights 'output.weight' are not finite after epoch 3 with "
        "learning_rate=2.5. Lower learning_rate, or set gradient_clip."
    )
