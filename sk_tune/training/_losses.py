# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Losses as weighted means over the rows of a batch.

Label smoothing belongs to training: in evaluation mode every loss is the plain one, so that
validation losses of differently smoothed networks can be compared.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "REGRESSION_LOSSES",
    "AbsoluteError",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "HuberLoss",
    "SquaredError",
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
