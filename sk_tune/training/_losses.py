# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Losses of one network, scores of one or many, and what is told of a divergence."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "REGRESSION_LOSSES",
    "AbsoluteError",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "HuberLoss",
    "SquaredError",
    "accuracy",
    "loss_message",
    "r2",
    "row_accuracy",
    "row_r2",
    "weights_message",
]


class CrossEntropy(nn.Module):
    """Cross-entropy of class scores, in nats per row.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        Share of the target spread evenly over all classes while training, in [0, 1).
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(
        self, y_pred: Tensor, y_true: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        """Return the mean loss.

        Parameters
        ----------
        y_pred : Tensor of shape (B, C)
            Unnormalised log-probabilities.
        y_true : Tensor of shape (B,)
            Class indices.
        sample_weight : Tensor of shape (B,), default=None
            Weights of the mean; all equal if not given.

        Returns
        -------
        Tensor of shape ()
            Loss in nats per row.
        """
        smoothing = self.label_smoothing if self.training else 0.0
        if sample_weight is None:
            return F.cross_entropy(y_pred, y_true, label_smoothing=smoothing)
        losses = F.cross_entropy(
            y_pred, y_true, label_smoothing=smoothing, reduction="none"
        )
        return _weighted_mean(losses, sample_weight)


class BinaryCrossEntropy(nn.Module):
    """Cross-entropy of independent labels, in nats per label.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        Targets are moved from 0 and 1 towards 1/2 by this share while training.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(
        self, y_pred: Tensor, y_true: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        """Return the mean loss.

        Parameters
        ----------
        y_pred : Tensor of shape (B, C)
            Log-odds of each label.
        y_true : Tensor of shape (B, C)
            0 or 1.
        sample_weight : Tensor of shape (B,), default=None
            Weights of the mean; all equal if not given.

        Returns
        -------
        Tensor of shape ()
            Loss in nats per label.
        """
        if self.training and self.label_smoothing:
            y_true = y_true * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(y_pred, y_true, reduction="none")
        return _weighted_mean(losses.mean(dim=1), sample_weight)


class _RegressionLoss(nn.Module):
    """A function of predictions and targets of torch's, as a weighted mean."""

    function: Callable[..., Tensor]

    def forward(
        self, y_pred: Tensor, y_true: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        """Return the mean loss over samples and outputs.

        Shapes: `y_pred` and `y_true` (B, C), `sample_weight` (B,), the result ().
        """
        if sample_weight is None:
            return self.function(y_pred, y_true)
        losses = self.function(y_pred, y_true, reduction="none")
        return _weighted_mean(losses.mean(dim=1), sample_weight)


class SquaredError(_RegressionLoss):
    """Mean squared error over rows and outputs."""

    function = staticmethod(F.mse_loss)


class AbsoluteError(_RegressionLoss):
    """Mean absolute error over rows and outputs."""

    function = staticmethod(F.l1_loss)


class HuberLoss(_RegressionLoss):
    """Half the squared error up to 1, the absolute error less 1/2 beyond (Huber 1964)."""

    function = staticmethod(F.huber_loss)


REGRESSION_LOSSES: dict[str, type[nn.Module]] = {
    "squared_error": SquaredError,
    "absolute_error": AbsoluteError,
    "huber": HuberLoss,
}


def _weighted_mean(losses: Tensor, sample_weight: Tensor | None) -> Tensor:
    if sample_weight is None:
        return losses.mean()
    return (losses * sample_weight).sum() / sample_weight.sum()


def row_accuracy(
    y_pred: Tensor, y_true: Tensor, sample_weight: Tensor | None = None
) -> Tensor:
    """Return for each network the weighted share of rows that it predicts right.

    Parameters
    ----------
    y_pred : Tensor of shape (K, N, C)
        Class scores, or log-odds of each label if `y_true` has three dimensions.
    y_true : Tensor of shape (K, N) or (K, N, C)
        Class indices, or 0 and 1 per label; a row counts when all its labels are right.
    sample_weight : Tensor of shape (K, N), default=None
        All equal if not given.

    Returns
    -------
    Tensor of shape (K,)
        Between 0 and 1.
    """
    if y_true.ndim == 2:
        right = y_pred.argmax(dim=2) == y_true
    else:
        right = ((y_pred > 0) == (y_true > 0.5)).all(dim=2)
    return _mean_over_samples(right.to(y_pred.dtype), sample_weight)


def row_r2(y_pred: Tensor, y_true: Tensor, sample_weight: Tensor | None = None) -> Tensor:
    """Return for each network the coefficient of determination, averaged over outputs.

    Parameters
    ----------
    y_pred, y_true : Tensor of shape (K, N, C)
        Predictions and targets.
    sample_weight : Tensor of shape (K, N), default=None
        All equal if not given.

    Returns
    -------
    Tensor of shape (K,)
        At most 1; a constant output counts 1 if it is predicted exactly, else 0, as in
        ``sklearn.metrics.r2_score``.
    """
    mean = _mean_over_samples(y_true, sample_weight).unsqueeze(1)
    residual = _mean_over_samples(torch.square(y_true - y_pred), sample_weight)
    total = _mean_over_samples(torch.square(y_true - mean), sample_weight)
    exact = (residual == 0).to(y_pred.dtype)
    ratio = residual / torch.where(total > 0, total, torch.ones_like(total))
    return torch.where(total > 0, 1 - ratio, exact).mean(dim=1)


def accuracy(y_pred: Tensor, y_true: Tensor, sample_weight: Tensor | None = None) -> float:
    """Return the weighted share of rows that are predicted right.

    Parameters
    ----------
    y_pred : Tensor of shape (N, C)
        Class scores, or log-odds of each label if `y_true` has two dimensions.
    y_true : Tensor of shape (N,) or (N, C)
        Class indices, or 0 and 1 per label; a row counts when all its labels are right.
    sample_weight : Tensor of shape (N,), default=None
        All equal if not given.

    Returns
    -------
    float
        Between 0 and 1.
    """
    return _of_one(row_accuracy, y_pred, y_true, sample_weight)


def r2(y_pred: Tensor, y_true: Tensor, sample_weight: Tensor | None = None) -> float:
    """Return the coefficient of determination, averaged over outputs.

    Parameters
    ----------
    y_pred, y_true : Tensor of shape (N, C)
        Predictions and targets.
    sample_weight : Tensor of shape (N,), default=None
        All equal if not given.

    Returns
    -------
    float
        At most 1; a constant output counts 1 if it is predicted exactly, else 0, as in
        ``sklearn.metrics.r2_score``.
    """
    return _of_one(row_r2, y_pred, y_true, sample_weight)


def _of_one(
    score: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    y_pred: Tensor,
    y_true: Tensor,
    sample_weight: Tensor | None,
) -> float:
    weight = None if sample_weight is None else sample_weight.unsqueeze(0)
    return float(score(y_pred.unsqueeze(0), y_true.unsqueeze(0), weight))


def _mean_over_samples(values: Tensor, sample_weight: Tensor | None) -> Tensor:
    if sample_weight is None:
        return values.mean(dim=1)
    weight = sample_weight.reshape(*sample_weight.shape, *(1,) * (values.ndim - 2))
    return (values * weight).sum(dim=1) / weight.sum(dim=1)


def loss_message(prefix: str, loss: float, epoch: int, learning_rate: float) -> str:
    """Return what went wrong and what to do, for a loss that is not finite.

    Parameters
    ----------
    prefix : str
        Which loss: "train" or "valid".
    loss : float
        Its value.
    epoch : int
        Number of the epoch, from 1.
    learning_rate : float
        Of the fit.

    Returns
    -------
    str
        Three sentences at most.
    """
    return (
        f"The {prefix} loss became {loss} at epoch {epoch} with learning_rate="
        f"{learning_rate:g}. Lower learning_rate, set gradient_clip, or scale the features."
    )


def weights_message(name: str, epoch: int, learning_rate: float) -> str:
    """Return what went wrong and what to do, for weights that are not finite.

    Parameters
    ----------
    name : str
        Of the parameter in the module.
    epoch : int
        Number of the epoch, from 1.
    learning_rate : float
        Of the fit.

    Returns
    -------
    str
        Two sentences.
    """
    return (
        f"The weights {name!r} are not finite after epoch {epoch} with learning_rate="
        f"{learning_rate:g}. Lower learning_rate, or set gradient_clip."
    )
