"""Losses as weighted means, against torch and closed forms."""

import pytest
import torch
from scipy.special import huber
from sklearn.metrics import log_loss, mean_absolute_error, mean_squared_error
from torch.nn import functional as F

from sk_tune.training import (
    REGRESSION_LOSSES,
    AbsoluteError,
    BinaryCrossEntropy,
    CrossEntropy,
    HuberLoss,
    SquaredError,
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
