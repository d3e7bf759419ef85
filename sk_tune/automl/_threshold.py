# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The probability from which on the positive of two classes is predicted.

A tuned threshold is the best one for out-of-fold predictions.  The score of each part is
taken with the threshold that is best on the other parts.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sk_tune._metric import Metric
from sk_tune.search import FoldScores

Array = npt.NDArray[Any]

# Thresholds to choose from: fewer for a metric that is called for each of them, or if
# thresholds times samples are more than the third number.
_N_THRESHOLDS, _N_CALLED, _MOST_DECISIONS = 200, 25, 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A rule for two classes: predict the class of `column` from probability `value` on.

    With the value 0.5 the more probable class is predicted, of any number of classes.
    """

    value: float = 0.5
    column: int = 1

    def decided(self, probabilities: Array) -> Array:
        """Return probabilities of 0 and 1 for the predicted class, (..., 2)."""
        if self.value == 0.5:
            return probabilities
        is_positive = probabilities[..., self.column] >= self.value
        return np.stack([is_positive != self.column, is_positive == self.column], axis=-1)

    def labels(self, probabilities: Array, classes: Array) -> Array:
        """Return the predicted labels."""
        return np.asarray(classes[self.decided(probabilities).argmax(axis=-1)])


MOST_PROBABLE = Threshold()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ThresholdChoice:
    """How the threshold is set: the number `value`, or the best one by `metric`."""

    value: float = 0.5
    metric: Metric | None = None
    column: int = 1

    def best(self, probabilities: Array, y: Array, classes: Array | None) -> Threshold:
        """Return the threshold for some predictions, (n, 2); of equals the nearest to 0.5.

        Candidates are midpoints between quantiles of the predictions.
        """
        if self.metric is None or classes is None:
            return Threshold(value=self.value, column=self.column)
        own = np.unique(probabilities[:, self.column])
        ends = np.concatenate([[0.0], (own[1:] + own[:-1]) / 2, [np.nextafter(own[-1], 2)]])
        many = int(np.clip(_MOST_DECISIONS // len(y), _N_CALLED, _N_THRESHOLDS))
        for n in (many, _N_CALLED):
            values = np.unique(np.quantile(ends, np.linspace(0, 1, n), method="nearest"))
            values = np.minimum(np.append(values, 0.5), 1.0)
            decided = [
                Threshold(value=value, column=self.column).decided(probabilities)
                for value in values
            ]
            scores = FoldScores(
                self.metric,
                np.stack(decided).astype(np.float64),
                y,
                classes=classes,
                folds=np.ones((1, len(y)), dtype=bool),
            )
            if not scores.needs_calls:
                break
        found = np.nan_to_num(scores.on_all()[0], nan=-np.inf)
        ties = np.flatnonzero(found >= found.max() - 1e-12)
        value = values[ties[np.abs(values[ties] - 0.5).argmin()]]
        return Threshold(value=float(value), column=self.column)

    def crossed(
        self, probabilities: Array, y: Array, classes: Array | None, parts: Array
    ) -> Array:
        """Return decided predictions, each part with the threshold of the other parts.

        `parts`, (P, n), marks the samples of each part.
        """
        decided = np.empty_like(probabilities)
        for part in parts:
            others = ~part if self.metric is not None and not part.all() else part
            threshold = self.best(probabilities[others], y[others], classes)
            decided[part] = threshold.decided(probabilities[part])
        return decided
