# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Decision threshold for two classes.

A tuned threshold is the best for out-of-fold predictions.  Each part is scored with the
threshold that is best on the other parts.
"""

from dataclasses import dataclass

import numpy as np

from sk_tune._scores import FoldScores, Metric
from sk_tune._types import Array

# Numbers of candidate thresholds, in general and for metrics that are called for each of
# them; and the largest number of thresholds times samples.
_N_THRESHOLDS, _N_CALLED, _MOST_DECISIONS = 200, 25, 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Rule for two classes: predict the class of `column` if its probability >= `value`.

    The value 0.5 predicts the most probable class, of any number of classes.
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
    """Setting of the threshold: the number `value`, or the best by `metric`."""

    value: float = 0.5
    metric: Metric | None = None
    column: int = 1

    def best(self, probabilities: Array, y: Array, classes: Array | None) -> Threshold:
        """Return the best threshold for probabilities; of ties the nearest to 0.5."""
        if self.metric is None or classes is None:
            return Threshold(value=self.value, column=self.column)
        levels = np.unique(probabilities[:, self.column])
        ends = np.concatenate([
            [0.0],
            (levels[1:] + levels[:-1]) / 2,
            [np.nextafter(levels[-1], 2)],
        ])
        n_most = int(np.clip(_MOST_DECISIONS // len(y), _N_CALLED, _N_THRESHOLDS))
        for n in (n_most, _N_CALLED):
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
        values_scores = np.nan_to_num(scores.on_all()[0], nan=-np.inf)
        ties = np.flatnonzero(values_scores >= values_scores.max() - 1e-12)
        value = values[ties[np.abs(values[ties] - 0.5).argmin()]]
        return Threshold(value=float(value), column=self.column)

    def crossed(
        self, probabilities: Array, y: Array, classes: Array | None, parts: Array
    ) -> Array:
        """Decide each of `parts`, (P, n), by the best threshold on the other parts."""
        decided = np.empty_like(probabilities)
        for part in parts:
            rows = ~part if self.metric is not None and not part.all() else part
            threshold = self.best(probabilities[rows], y[rows], classes)
            decided[part] = threshold.decided(probabilities[part])
        return decided
