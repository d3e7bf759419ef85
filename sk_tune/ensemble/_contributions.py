# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What each member brings to an ensemble."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sk_tune.ensemble._library import Library
from sk_tune.ensemble._objective import Objective

__all__ = ["contribution_table"]

Array = npt.NDArray[Any]


def contribution_table(
    library: Library, weights: Array, objective: Objective
) -> pd.DataFrame:
    """Return a row for each member, the weightiest first, by its row of ``cv_results_``.

    Columns: weight; score of the member alone; error_correlation, the mean correlation of
    its errors with those of the other members by their weights (NaN for a lone one); gain,
    by how much the ensemble scores better with it than without, and gain_error, its
    standard error. `weights`, (M,), are 0 for candidates that are no members.
    """
    members = np.flatnonzero(weights)
    members = members[np.argsort(-weights[members], kind="stable")]
    own, predictions, y = weights[members], library.predictions[members], library.y
    statistics = objective.statistics(predictions, y)
    whole = np.tensordot(own, statistics, axes=1)
    gains = []
    for i, weight in enumerate(own):
        if len(own) == 1:
            gains.append((np.nan, np.nan))
            continue
        without = (whole - weight * statistics[i]) / (1 - weight)
        gains.append(objective.difference(without, whole, y))
    return pd.DataFrame(
        {
            "weight": own,
            "score": -objective.losses(statistics, y),
            "error_correlation": _error_correlations(predictions, y, own, library.classes),
            "gain": [gain for gain, _ in gains],
            "gain_error": [error for _, error in gains],
        },
        index=pd.Index(library.candidates[members], name="candidate"),
    )


def _error_correlations(
    predictions: Array, y: Array, weights: Array, classes: Array | None
) -> Array:
    """Return for each member the weighted mean correlation with the others."""
    target = y if classes is None or len(classes) == 0 else np.eye(len(classes))[y]
    errors = (predictions - target).reshape(len(predictions), -1)
    if len(errors) == 1:
        return np.array([np.nan])
    errors = errors - errors.mean(axis=1, keepdims=True)
    norms = np.sqrt((errors**2).sum(axis=1))
    norms[norms == 0] = np.nan
    correlations = errors @ errors.T / np.outer(norms, norms)
    np.fill_diagonal(correlations, 0)
    return np.asarray(correlations @ weights / (1 - weights))
