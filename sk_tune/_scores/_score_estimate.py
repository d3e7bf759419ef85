# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The score that a model can be expected to have on new data."""

import math
from dataclasses import dataclass

from sk_tune._text import interval_text


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreEstimate:
    """Expected score on new data, with an interval; greater is better.

    Searches, ensembles and AutoML have one as ``expected_score_``.

    Parameters
    ----------
    score : float
        Score without selection bias; NaN if it is undefined.
    low, high : float
        Ends of the interval; NaN if it was not computed.
    confidence : float
        Nominal share of such intervals that contain the score on new data.
    method : {"bootstrap", "cross-fitting"}
        "bootstrap", of searches: the candidate that is best on a resample of the samples is
        scored on the other samples, see `expected_score`.  "cross-fitting", of ensembles
        and AutoML: members and weights that predict a fold are chosen on the other folds.
    naive_score : float, default=nan
        Score on the samples of the choice, which is optimistic.
    n_bootstraps : int, default=0
        Number of resamples behind the interval; 0 for an interval from a standard error.

    See Also
    --------
    expected_score : The estimate for candidates with out-of-fold predictions.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from sk_tune import GridSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> grid = {"max_depth": [1, 2, 3, 4]}
    >>> search = GridSearchCV(DecisionTreeClassifier(random_state=0), grid).fit(X, y)
    >>> expected = search.expected_score_
    >>> expected.low < expected.score < expected.high
    True
    >>> expected.score < expected.naive_score
    True
    """

    score: float
    low: float
    high: float
    confidence: float
    method: str
    naive_score: float = math.nan
    n_bootstraps: int = 0

    def __str__(self) -> str:
        score, low, high = interval_text(self.score, self.low, self.high)
        return f"{score} [{low}, {high}]"

    def _repr_html_(self) -> str:
        *_, naive = interval_text(self.score, self.low, self.high, self.naive_score)
        naive = f"; {naive} without the correction for selection bias"
        return (
            f"<p>Expected on new data: <b>{self}</b> ({100 * self.confidence:.0f} % "
            f"interval by {self.method}{'' if math.isnan(self.naive_score) else naive})</p>"
        )
