# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""scikit-learn's boosting with a time limit."""

import math
import time
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline

from sk_tune._automl._resources import end_of_fit, fits_within
from sk_tune._types import Array

# Iterations of the first part, and growth of the iterations with each further part.
_FIRST, _ITERATIONS_GROWTH = 10, 1.6


class _Timed:
    """Fits in parts if there is a time limit, else like scikit-learn."""

    early_stopping: bool
    max_iter: int
    warm_start: bool
    n_iter_: int

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit, with fewer iterations than `max_iter` if the time limit requires it."""
        start, end = time.monotonic(), end_of_fit()
        if math.isinf(end):
            return super().fit(X, y, sample_weight)  # type: ignore[misc,no-any-return]
        params = self.max_iter, self.warm_start
        try:
            self.max_iter = min(_FIRST, params[0])
            while True:
                super().fit(X, y, sample_weight)  # type: ignore[misc]
                done, now = self.max_iter, time.monotonic()
                more = min(int(_ITERATIONS_GROWTH * done), params[0])
                # Iterations of the next part take about as long as earlier iterations.
                expected = (now - start) * (more - done) / done
                if self.n_iter_ < done or more == done or now + expected > end:
                    return self
                self.warm_start, self.max_iter = True, more
        finally:
            self.max_iter, self.warm_start = params


def unfitted(models: Sequence[Any]) -> Any:
    """Return an unfitted copy of models of folds, with no more iterations than theirs.

    A time limit may have ended them early.  More iterations, which no fold has scored, may
    overfit; early stopping prevents that.
    """
    model = clone(models[0])
    steps = [m[-1] for m in models if isinstance(m, Pipeline)]
    if steps and all(isinstance(s, _Timed) and not s.early_stopping for s in steps):
        fitted = [one for step in steps for one in getattr(step, "targets_", [step])]
        n_iterations = int(np.median([one.n_iter_ for one in fitted]))
        model.set_params(boosting__max_iter=n_iterations)
    return model


class TimedBoostingClassifier(_Timed, HistGradientBoostingClassifier):  # type: ignore[misc]
    """scikit-learn's classifier, with a time limit inside ``fits_within``."""


class TimedBoostingRegressor(_Timed, HistGradientBoostingRegressor):  # type: ignore[misc]
    """scikit-learn's regressor, timed by ``fits_within``, one model for each target."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit; several targets share the time equally."""
        if np.ndim(y) == 1:
            return super().fit(X, y, sample_weight)
        columns, end = np.asarray(y).T, end_of_fit()
        with fits_within((end - time.monotonic()) / len(columns), end):
            self.targets_ = [clone(self).fit(X, one, sample_weight) for one in columns]
        self.n_features_in_ = self.targets_[0].n_features_in_
        return self

    def predict(self, X: Any) -> Array:
        """Return numbers, (n_samples,) or (n_samples, n_targets)."""
        if not hasattr(self, "targets_"):
            predicted: Array = super().predict(X)
            return predicted
        return np.stack([model.predict(X) for model in self.targets_], axis=1)
