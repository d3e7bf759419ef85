# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What is to be learnt: rows, targets, folds and a score."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Kind", "Problem"]

Array = npt.NDArray[Any]
Kind = Literal["table", "image", "sequence"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """Rows to learn from and how models are judged on them.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_features) or ndarray of shape (n_samples, ...)
        Features: a table, or images or sequences.
    y : ndarray of shape (n_samples,)
        Labels or numbers.
    kind : {"table", "image", "sequence"}
        What a row is.
    is_classification : bool
        Else regression.
    folds : sequence of (ndarray, ndarray)
        Positions of training and of held-out rows: the same for all models.
    scoring : str, callable or None
        As in scikit-learn; accuracy or R^2 if None.
    sample_weight : ndarray of shape (n_samples,) or None
        Weights for training.
    seed : int
        Source of all that is drawn.
    n_jobs : int or None
        Workers for networks.
    """

    X: Any
    y: Array
    kind: Kind
    is_classification: bool
    folds: Sequence[tuple[Array, Array]]
    scoring: Any
    sample_weight: Array | None
    seed: int
    n_jobs: int | None

    @property
    def n_train(self) -> int:
        """Rows that a model of a fold is trained on."""
        return max(len(train) for train, _ in self.folds)

    @property
    def n_values(self) -> int:
        """Values of X that a model of a fold is trained on."""
        return int(self.n_train * np.prod(self.X.shape[1:]))

    @property
    def first_fold(self) -> tuple[Any, Array]:
        """Training rows of the first fold."""
        rows = self.folds[0][0]
        X = self.X.iloc[rows] if hasattr(self.X, "iloc") else self.X[rows]
        return X, self.y[rows]

    def fit_params(self, estimator: Any) -> dict[str, Any]:
        """Return what ``fit`` of a search over a pipeline is given besides X and y.

        Parameters
        ----------
        estimator : Pipeline
            Whose last step takes weights.

        Returns
        -------
        dict
            Empty without weights.
        """
        if self.sample_weight is None:
            return {}
        return {f"{estimator.steps[-1][0]}__sample_weight": self.sample_weight}
