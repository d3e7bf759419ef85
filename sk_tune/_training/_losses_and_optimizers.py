# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Losses, optimizers, scores by network, and messages about diverged trainings."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from sk_tune._optimizers import OPTIMIZERS
from sk_tune._processes import import_for_optimizers


class _Loss(nn.Module):
    """The mean of an elementwise function over samples and outputs."""

    name: str  # of the function in fleets, with `options`
    link = "identity"
    options: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()  # of quantiles; otherwise predictions are means

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(
        self, y_pred: Tensor, y_true: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        """Return the mean loss of outputs (B, C) for targets (B, C), weighted by (B,)."""
        if self.training and self.label_smoothing:
            y_true = y_true * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = ELEMENTWISE[self.name](y_pred, y_true, *self.options).mean(dim=1)
        return losses.mean() if sample_weight is None else _weighted(losses, sample_weight)


class CrossEntropy(_Loss):
    """Cross-entropy in nats per sample, with label smoothing in training."""

    name, link = "cross_entropy", "softmax"

    def forward(
        self, y_pred: Tensor, y_true: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        """Return the mean loss of log-probabilities (B, C) for targets (B,) or (B, C)."""
        smoothing = self.label_smoothing if self.training else 0.0
        loss = partial(F.cross_entropy, y_pred, y_true, label_smoothing=smoothing)
        if sample_weight is None:
            return loss()
        return _weighted(loss(reduction="none"), sample_weight)


class SoftCrossEntropy(CrossEntropy):
    """Cross-entropy in nats per sample for class probabilities (B, C) as targets."""

    name = "soft_cross_entropy"


class BinaryCrossEntropy(_Loss):
    """Cross-entropy in nats per label; smoothing moves targets towards 1/2 in training."""

    name, link = "binary_cross_entropy", "sigmoid"


class SquaredError(_Loss):
    """Mean squared error."""

    name = "squared_error"


class AbsoluteError(_Loss):
    """Mean absolute error."""

    name = "absolute_error"


class HuberLoss(_Loss):
    """Half the squared error up to 1, the absolute error less 1/2 beyond (Huber 1964)."""

    name = "huber"


class PinballLoss(_Loss):
    """Mean of the pinball losses of quantiles, one output for each level."""

    name = "pinball"

    def __init__(self, *levels: float) -> None:
        super().__init__()
        self.options = self.levels = levels


class TweedieDeviance(_Loss):
    """Tweedie deviance (Jorgensen 1987) of a power from 1 to 2; outputs are log means."""

    name, link = "deviance", "exp"

    def __init__(self, power: float) -> None:
        super().__init__()
        self.options = (power,)


@lru_cache(maxsize=64)
def levels_above_half(
    levels: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return levels less 1/2, copied to a device once, not in each step."""
    return torch.tensor(levels, dtype=dtype, device=device) - 0.5


def _pinball(outputs: Tensor, targets: Tensor, *levels: float) -> Tensor:
    errors = outputs - targets
    leans = levels_above_half(levels, outputs.dtype, outputs.device)
    return errors.abs() / 2 - errors * leans


def _deviance(outputs: Tensor, targets: Tensor, power: float) -> Tensor:
    # Half the deviance without the terms of the targets alone, which follow.
    if power == 1:
        fit = outputs.exp() - targets * outputs
        constant = torch.xlogy(targets, targets) - targets
    elif power == 2:
        fit, constant = outputs + targets * (-outputs).exp(), -targets.log() - 1
    else:
        p, q = 1 - power, 2 - power
        fit = (q * outputs).exp() / q - targets * (p * outputs).exp() / p
        constant = targets**q / (p * q)
    return 2 * (fit + constant)


# Losses of outputs for targets, both (..., C), and the options of a loss.
ELEMENTWISE: dict[str, Callable[..., Tensor]] = {
    "binary_cross_entropy": partial(F.binary_cross_entropy_with_logits, reduction="none"),
    "squared_error": partial(F.mse_loss, reduction="none"),
    "absolute_error": partial(F.l1_loss, reduction="none"),
    "huber": partial(F.huber_loss, reduction="none"),
    "pinball": _pinball,
    "deviance": _deviance,
}

# "tweedie" takes its power, "quantile" its levels.
REGRESSION_LOSSES: dict[str, Callable[..., _Loss]] = {
    "squared_error": SquaredError,
    "absolute_error": AbsoluteError,
    "huber": HuberLoss,
    "poisson": partial(TweedieDeviance, 1.0),
    "gamma": partial(TweedieDeviance, 2.0),
    "tweedie": TweedieDeviance,
    "quantile": PinballLoss,
}


def _weighted(losses: Tensor, sample_weight: Tensor) -> Tensor:
    return (losses * sample_weight).sum() / sample_weight.sum()


def accuracy_by_network(
    y_pred: Tensor, y_true: Tensor, sample_weight: Tensor | None = None
) -> Tensor:
    """Return the weighted accuracy of each network, (K,).

    `y_pred` (K, N, C) are class scores for class indices (K, N), or log-odds of labels (K,
    N, C); a sample counts as correct if all its labels are.
    """
    if y_true.ndim == 2:
        right = y_pred.argmax(dim=2) == y_true
    else:
        right = ((y_pred > 0) == (y_true > 0.5)).all(dim=2)
    return _mean_over_samples(right.to(y_pred.dtype), sample_weight)


def accuracy_of_probabilities(
    y_pred: Tensor, y_true: Tensor, sample_weight: Tensor | None = None
) -> Tensor:
    """Return the share of samples, (K,), with the target's most probable class."""
    return accuracy_by_network(y_pred, y_true.argmax(dim=2), sample_weight)


def r2_by_network(
    y_pred: Tensor, y_true: Tensor, sample_weight: Tensor | None = None
) -> Tensor:
    """Return the mean coefficient of determination over outputs of each network, (K,).

    A constant target scores 1 if it is predicted exactly, else 0, as in
    ``sklearn.metrics.r2_score``.
    """
    mean = _mean_over_samples(y_true, sample_weight).unsqueeze(1)
    residual = _mean_over_samples(torch.square(y_true - y_pred), sample_weight)
    total = _mean_over_samples(torch.square(y_true - mean), sample_weight)
    exact = (residual == 0).to(y_pred.dtype)
    ratio = residual / torch.where(total > 0, total, torch.ones_like(total))
    return torch.where(total > 0, 1 - ratio, exact).mean(dim=1)


def r2_of_exponentials(
    y_pred: Tensor, y_true: Tensor, sample_weight: Tensor | None = None
) -> Tensor:
    """Return the coefficient of determination of networks that predict log means."""
    return r2_by_network(y_pred.exp(), y_true, sample_weight)


@dataclass(frozen=True)
class R2OfOutput:
    """The coefficient of determination of one of the outputs, for equal targets."""

    output: int

    def __call__(
        self, y_pred: Tensor, y_true: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        """Return the score of each network, (K,)."""
        one = slice(self.output, self.output + 1)
        return r2_by_network(y_pred[..., one], y_true[..., one], sample_weight)


def middle_of(levels: Any) -> int:
    """Return the position of the level nearest to 0.5, the lower of two; 0 without levels.

    >>> middle_of([0.5, 0.9, 0.99]), middle_of([])
    (0, 0)
    """
    return min(range(len(levels)), key=lambda i: abs(levels[i] - 0.5), default=0)


def usual_score(y_pred: Tensor, y_true: Tensor, sample_weight: Tensor | None) -> Tensor:
    """Return accuracy for class indices, R^2 for targets shaped as outputs, else NaN."""
    if not y_true.is_floating_point() and y_true.ndim == 2 and y_pred.ndim == 3:
        return accuracy_by_network(y_pred, y_true, sample_weight)
    if y_true.shape == y_pred.shape and y_true.ndim == 3:
        return r2_by_network(y_pred, y_true, sample_weight)
    return y_pred.new_full((len(y_pred),), float("nan"))


def _mean_over_samples(values: Tensor, sample_weight: Tensor | None) -> Tensor:
    if sample_weight is None:
        return values.mean(dim=1)
    weight = sample_weight.reshape(*sample_weight.shape, *(1,) * (values.ndim - 2))
    return (values * weight).sum(dim=1) / weight.sum(dim=1)


def loss_message(prefix: str, loss: float, epoch: int, learning_rate: float) -> str:
    """Return the message for a "train" or "valid" loss that is not finite."""
    return (
        f"The {prefix} loss became {loss} at epoch {epoch} with learning_rate="
        f"{learning_rate:g}. Lower learning_rate, set gradient_clip, or scale the features."
    )


def weights_message(name: str, epoch: int, learning_rate: float) -> str:
    """Return the message for a parameter that is not finite."""
    return (
        f"The weights {name!r} are not finite after epoch {epoch} with learning_rate="
        f"{learning_rate:g}. Lower learning_rate, or set gradient_clip."
    )


def build_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
) -> Optimizer:
    """Return a torch optimizer with one parameter group, fused if torch supports it."""
    rule = OPTIMIZERS.get(name)
    if rule is None:
        raise ValueError(f"optimizer must be one of {[*OPTIMIZERS]}. Got {name!r} instead.")
    import_for_optimizers()
    # A list, because the parameters are read twice, to check for the fused form.
    params = list(parameters)
    fused = bool(params) and all(map(_suits_fused, params))
    options = rule.options(momentum, rule.second_moment_decay, fused)
    optimizer: Optimizer = getattr(torch.optim, rule.torch_name)(
        params, lr=learning_rate, weight_decay=weight_decay, **options
    )
    return optimizer


def _suits_fused(parameter: nn.Parameter) -> bool:
    """Return whether torch's fused step, which ignores strides, is correct for it."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    order = formats.get(parameter.ndim, torch.contiguous_format)
    is_dense = parameter.is_contiguous() or parameter.is_contiguous(memory_format=order)
    return parameter.device.type in {"cpu", "cuda"} and is_dense


@torch.no_grad()
def add_l1_gradient(parameters: Iterable[nn.Parameter], l1: float) -> None:
    """Add the gradient of ``l1 * sum(|w|)`` over all weight matrices, in place."""
    for parameter in parameters:
        if parameter.ndim > 1 and parameter.grad is not None:
            parameter.grad.add_(parameter.sign(), alpha=l1)
