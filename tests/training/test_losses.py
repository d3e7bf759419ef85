"""Losses, scores, and messages of a divergence."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import huber, softmax
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    mean_absolute_error,
    mean_pinball_loss,
    mean_squared_error,
    mean_tweedie_deviance,
    r2_score,
)
from torch.nn import functional as F

from sk_tune._training import (
    REGRESSION_LOSSES,
    BinaryCrossEntropy,
    CrossEntropy,
    accuracy_by_network,
    loss_message,
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


def _huber(y, outputs, sample_weight):
    errors = huber(1.0, outputs - y).mean(axis=1)
    return np.average(errors, weights=sample_weight)


LEVELS = (0.1, 0.3, 0.5, 0.95)


def _pinball(y, outputs, sample_weight):
    columns = zip(y.T, outputs.T, LEVELS, strict=True)
    options = {"sample_weight": sample_weight}
    return np.mean([mean_pinball_loss(t, q, alpha=a, **options) for t, q, a in columns])


def _deviance(power):
    def mean(y, outputs, sample_weight):
        columns = zip(y.T, np.exp(outputs).T, strict=True)
        options = {"power": power, "sample_weight": sample_weight}
        return np.mean([mean_tweedie_deviance(t, mu, **options) for t, mu in columns])

    return mean


LOSSES = {
    "classes": (
        CrossEntropy(0.3),
        lambda y, outputs, **w: log_loss(y, softmax(outputs, axis=1), **w),
    ),
    "squared": (REGRESSION_LOSSES["squared_error"](), mean_squared_error),
    "absolute": (REGRESSION_LOSSES["absolute_error"](), mean_absolute_error),
    "huber": (REGRESSION_LOSSES["huber"](), _huber),
    "pinball": (REGRESSION_LOSSES["quantile"](*LEVELS), _pinball),
    "poisson": (REGRESSION_LOSSES["poisson"](), _deviance(1)),
    "tweedie": (REGRESSION_LOSSES["tweedie"](1.2), _deviance(1.2)),
    "gamma": (REGRESSION_LOSSES["gamma"](), _deviance(2)),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_equal_scikit_learns_and_scipys(name, weighted, batch):
    """In evaluation mode: nats per row for classes, averaged over outputs for numbers."""
    outputs, classes, labels, weight = batch
    loss, expected = LOSSES[name]
    targets, weight = classes if name == "classes" else labels, weight if weighted else None
    targets = labels + 1 if name == "gamma" else targets

    result = loss.eval()(outputs, targets, weight).item()

    arrays = (None if part is None else part.numpy() for part in (targets, outputs, weight))
    y, y_pred, w = arrays
    assert result == pytest.approx(expected(y, y_pred, sample_weight=w))


def test_targets_are_smoothed_in_training_only(batch):
    """Classes as in torch; smoothing by s changes 0 and 1 to s/2 and 1 - s/2."""
    outputs, classes, labels, _ = batch
    of_classes, of_labels = CrossEntropy(0.3).train(), BinaryCrossEntropy(0.2)
    by_torch = F.binary_cross_entropy_with_logits

    expected = F.cross_entropy(outputs, classes, label_smoothing=0.3)
    assert of_classes(outputs, classes).item() == pytest.approx(expected.item())
    for result, targets in (
        (of_labels.train()(outputs, labels), labels * 0.8 + 0.1),
        (of_labels.eval()(outputs, labels), labels),
    ):
        assert result.item() == pytest.approx(by_torch(outputs, targets).item())


@pytest.mark.parametrize(
    "loss",
    [CrossEntropy(0.1), BinaryCrossEntropy(0.1), *(loss for loss, _ in LOSSES.values())],
    ids=lambda loss: type(loss).__name__,
)
def test_weight_2_counts_as_the_row_twice(loss, batch):
    """The mean over repeated rows equals the weighted mean."""
    outputs, classes, labels, _ = batch
    targets = classes if isinstance(loss, CrossEntropy) else labels + 1
    repeats = torch.arange(N_ROWS) % 3
    rows = torch.repeat_interleave(torch.arange(N_ROWS), repeats)

    repeated = loss(outputs[rows], targets[rows])
    weighted = loss(outputs, targets, repeats.double())

    assert weighted.item() == pytest.approx(repeated.item())


def _of_one(score, *parts):
    """Return the score of one network."""
    return float(score(*(None if p is None else torch.from_numpy(p)[None] for p in parts)))


@given(seed=st.integers(0, 10**6), weighted=st.booleans())
def test_accuracy_is_scikit_learns(seed, weighted):
    """For classes and for multilabel rows, with and without weights."""
    rng = np.random.default_rng(seed)
    outputs = rng.normal(size=(30, 3))
    classes, labels = rng.integers(3, size=30), rng.integers(2, size=(30, 3))
    weight = rng.uniform(0.1, 2, size=30) if weighted else None

    got = _of_one(accuracy_by_network, outputs, classes, weight)
    got_multi = _of_one(accuracy_by_network, outputs, labels, weight)

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

    got = _of_one(r2_by_network, y_pred, y_true, weight)

    assert got == pytest.approx(r2_score(y_true, y_pred, sample_weight=weight))


@pytest.mark.parametrize("y_pred", [3.0, 2.5])
def test_r2_of_a_constant_target_is_scikit_learns(y_pred):
    """A constant target scores 1 if predicted exactly, else 0."""
    y_true, y_pred = np.full((5, 1), 3.0), np.full((5, 1), y_pred)

    assert _of_one(r2_by_network, y_pred, y_true, None) == r2_score(y_true, y_pred)


@pytest.mark.parametrize(
    "score", [accuracy_by_network, r2_by_network], ids=["accuracy", "r2"]
)
def test_a_diverged_network_does_not_affect_others(score):
    """NaN in the outputs of one network does not affect the scores of the others."""
    rng = np.random.default_rng(0)
    y_pred = torch.from_numpy(rng.normal(size=(3, 10, 2)))
    y_true = torch.from_numpy(rng.normal(size=(3, 10, 2)))
    y_true = (y_true > 0).double() if score is accuracy_by_network else y_true
    broken = y_pred.clone()
    broken[1] = torch.nan

    got, expected = score(broken, y_true), score(y_pred, y_true)

    assert torch.equal(got[[0, 2]], expected[[0, 2]])


def test_messages_name_what_diverged_and_what_to_do():
    """The loss or weights, the epoch and the learning rate in six digits, then remedies."""
    assert loss_message("valid", math.inf, 12, 1e-7) == (
        "The valid loss became inf at epoch 12 with learning_rate=1e-07. Lower "
        "learning_rate, set gradient_clip, or scale the features."
    )
    assert weights_message("output.weight", 3, 1 / 3) == (
        "The weights 'output.weight' are not finite after epoch 3 with "
        "learning_rate=0.333333. Lower learning_rate, or set gradient_clip."
    )
