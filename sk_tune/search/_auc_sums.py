# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The area under the ROC curve, for many weightings of rows at once.

Notation: B weightings of N rows, of which P are positive and M negative; C candidates.  The
area is the weight of the pairs of a positive and a negative row that are ranked right, ties
by half, among all such pairs: the weight of each positive row times that of all negative
rows below it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["AucSums"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AucSums:
    """The area under the ROC curve as a function of weights; see ``MetricSums``.

    `scores`, (C, N), are those of each candidate, greater for a more likely positive
    sample; `is_positive`, (N,), marks the positive ones; `sign` is -1 if less is better.
    """

    scores: npt.NDArray[Any]
    is_positive: npt.NDArray[np.bool_]
    sign: int = 1

    def of(self, candidates: npt.NDArray[np.bool_]) -> "AucSums":
        """Return the areas of the candidates marked in a mask, (C,)."""
        return AucSums(
            scores=self.scores[candidates], is_positive=self.is_positive, sign=self.sign
        )

    def of_all(self, weights: Floats) -> Floats:
        """Return the area of every candidate under every weighting, (B, C).

        Weights have the shape (B, N); the area is NaN where a class has no weight.
        """
        positive, negative = self._by_class(weights)
        areas = [self._area(positive, negative, scores) for scores in self.scores]
        return np.stack(areas, axis=1)

    def of_one(self, weights: Floats, candidates: npt.NDArray[np.intp]) -> Floats:
        """Return the area of one candidate, (B,), under each weighting, (B, N).

        It is NaN where a class has no weight.
        """
        positive, negative = self._by_class(weights)
        areas = np.empty(len(weights))
        for candidate in np.unique(candidates):
            asked = candidates == candidate
            areas[asked] = self._area(
                positive[:, asked], negative[:, asked], self.scores[candidate]
            )
        return areas

    def terms(self, weight: Floats) -> list[Floats]:
        """Return what each row adds to the area, linear in weights near those given.

        Of shapes (C, P) and (C, M): how much of the other class's weight a row is ranked
        right against, for negative rows less the area itself, so that the weighted means of
        both sum to the area.  The rest is a degenerate U-statistic, which is smaller than
        the area's standard error by the square root of the greater class [1]_.

        References
        ----------
        .. [1] E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson. Comparing the areas under
           two or more correlated receiver operating characteristic curves. Biometrics
           44:837-845, 1988.
        """
        positive = np.where(self.is_positive, weight, 0.0)
        negative = weight - positive
        below, above = [], []
        for scores in self.scores:
            order = np.argsort(scores)
            starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
            share_below = _weight_below(negative[order], starts)
            share_above = 1 - _weight_below(positive[order], starts)
            by_row = np.empty((2, len(order)))
            by_row[:, order] = share_below, share_above
            below.append(by_row[0, self.is_positive])
            area = below[-1] @ weight[self.is_positive] / positive.sum()
            above.append(by_row[1, ~self.is_positive] - area)
        return [self.sign * np.stack(below), self.sign * np.stack(above)]

    def _by_class(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return weights of shapes (P, B) and (M, B), whose rows are quickly reordered."""
        by_row = np.ascontiguousarray(weights.T)
        return by_row[self.is_positive], by_row[~self.is_positive]

    def _area(self, positive: Floats, negative: Floats, scores: npt.NDArray[Any]) -> Floats:
        of_positive, of_negative = scores[self.is_positive], scores[~self.is_positive]
        order = np.argsort(of_negative)
        # Weight of the 0, 1, 2, ... lowest negative rows: M + 1 of them.
        lowest = np.zeros((len(order) + 1, negative.shape[1]))
        np.cumsum(negative[order], axis=0, out=lowest[1:])
        n_below = np.searchsorted(of_negative, of_positive, side="left", sorter=order)
        n_up_to = np.searchsorted(of_negative, of_positive, side="right", sorter=order)
        right = np.einsum("pb,pb->b", positive, lowest[n_below])
        tied = np.flatnonzero(n_up_to > n_below)
        ties = lowest[n_up_to[tied]] - lowest[n_below[tied]]
        right += np.einsum("pb,pb->b", positive[tied], ties) / 2
        with np.errstate(invalid="ignore"):
            pairs = positive.sum(axis=0) * lowest[-1]
            return np.asarray(self.sign * right / pairs, dtype=np.float64)


def _weight_below(weight: Floats, starts: npt.NDArray[np.intp]) -> Floats:
    """Return the share of the weight below each of sorted rows, ties by half.

    `starts` are the first rows of each run of ties.
    """
    sums = np.concatenate([[0.0], np.cumsum(weight)])
    ends = np.append(starts[1:], len(weight))
    middle = (sums[starts] + sums[ends]) / (2 * sums[-1])
    shares: Floats = np.repeat(middle, ends - starts)
    return shares
