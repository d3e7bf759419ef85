# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Scores of an epoch, computed where the predictions are; greater is better.

Each comes for many networks at once, with a leading row axis, and for one.
"""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["accuracy", "r2", "row_accuracy", "row_r2"]


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
    return _weighted_mean(right.to(y_pred.dtype), sample_weight)


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
    mean = _weighted_mean(y_true, sample_weight).unsqueeze(1)
    residual = _weighted_mean(torch.square(y_true - y_pred), sample_weight)
    total = _weighted_mean(torch.square(y_true - mean), sample_weight)
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


def _weighted_mean(values: Tensor, sample_weight: Tensor | None) -> Tensor:
    if sample_weight is None:
        return values.mean(dim=1)
    weight = sample_weight.reshape(*sample_weight.shape, *(1,) * (values.ndim - 2))
    return (values * weight).sum(dim=1) / weight.sum(dim=1)
