# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A regularised linear stacker whose weights are an average.

Minimises the mean loss of the weighted average plus ``strength`` times the squared distance
of the weights from equal ones, over weights that are not negative and sum to 1 [1]_.  For
log loss and squared error the problem is convex.

References
----------
.. [1] L. Breiman. Stacked regressions. Machine Learning 24:49-64, 1996.  Non-negative
   weights are what makes stacking of alike predictors work.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from sk_tune.ensemble._objective import Objective, RowObjective

__all__ = ["STRENGTHS", "stacked_weights", "tuned_stacked_weights"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

# In units of the loss of equal weights.
STRENGTHS = (0.0, 0.001, 0.01, 0.1, 1.0)
_SMALLEST = 1e-12
# Less weight than this is numerical.
_NEGLIGIBLE = 1e-4


def stacked_weights(
    predictions: Array, y: Array, loss: RowObjective, strength: float
) -> Floats:
    """Return the weights, (M,), at least 0 with sum 1, that minimise the regularised loss.

    `strength` is that of the pull towards equal weights, in units of their loss.
    """
    columns, target = _columns(predictions, y, loss)
    n = len(predictions)
    equal = np.full(n, 1 / n)
    unit = max(_value(columns, target, equal, loss)[0], _SMALLEST)

    def penalised(weights: Floats) -> tuple[float, Floats]:
        value, slope = _value(columns, target, weights, loss)
        gap = weights - equal
        value = value / unit + strength * float(gap @ gap)
        return value, slope / unit + 2 * strength * gap

    found = minimize(
        penalised,
        equal,
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * n,
        constraints={
            "type": "eq",
            "fun": lambda weights: weights.sum() - 1,
            "jac": lambda weights: np.ones(n),
        },
        options={"maxiter": 200, "ftol": 1e-10},
    )
    weights = np.where(found.x > _NEGLIGIBLE, found.x, 0.0)
    return np.asarray(weights / weights.sum())


def tuned_stacked_weights(
    predictions: Array, y: Array, part: Array, loss: RowObjective, objective: Objective
) -> Floats:
    """Return stacked weights with the strength that is best on held-out samples.

    `part`, (N,), says which part each sample belongs to; parts are held out in turn.
    Weights minimise `loss`, the strength minimises `objective`.
    """
    if len(predictions) == 1:
        return np.ones(1)
    parts = np.unique(part)
    if len(parts) == 1:
        part = np.arange(len(y)) % 2
        parts = np.arange(2)
    losses = []
    for strength in STRENGTHS:
        held = np.empty(predictions.shape[1:])
        for own in parts:
            inside, outside = part != own, part == own
            weights = stacked_weights(predictions[:, inside], y[inside], loss, strength)
            held[outside] = np.tensordot(weights, predictions[:, outside], axes=1)
        losses.append(objective.losses(objective.statistics(held[None], y), y)[0])
    # Of equals the stronger pull, which depends less on the rows.
    best = len(losses) - 1 - int(np.argmin(losses[::-1]))
    return stacked_weights(predictions, y, loss, STRENGTHS[best])


def _columns(predictions: Array, y: Array, loss: RowObjective) -> tuple[Floats, Floats]:
    """Return a column for each candidate, and targets: the loss is one of products."""
    if loss.kind == "label_log_loss":
        predictions = np.where(y > 0.5, predictions, 1 - predictions)
    statistics = loss.statistics(predictions, y)
    columns = statistics.reshape(len(predictions), -1).T
    return np.asarray(columns, dtype=np.float64), np.asarray(y, dtype=np.float64).ravel()


def _value(
    columns: Floats, target: Floats, weights: Floats, loss: RowObjective
) -> tuple[float, Floats]:
    average = columns @ weights
    if loss.kind == "squared":
        error = average - target
        return float(np.mean(error**2)), 2 * columns.T @ error / len(error)
    average = np.maximum(average, _SMALLEST)
    return float(-np.log(average).mean()), -columns.T @ (1 / average) / len(average)
