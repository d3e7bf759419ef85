"""Losses by row: torch.nn.functional and autograd are the reference, row by row."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sk_tune.engine.fleet._recipe import LOSSES, loss_by_autograd

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
