# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Which candidates have lost to the incumbent before all of their folds are trained.

Notation, as in Nadeau and Bengio [1]_: J folds, d_j the difference of two candidates'
scores on fold j, n1 rows to train on and n2 to test on.

References
----------
.. [1] C. Nadeau, Y. Bengio. Inference for the generalization error. Machine Learning
   52:239-281, 2003.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

__all__ = ["MIN_FOLDS", "clearly_worse"]

# Two folds leave one degree of freedom, and among scores of few rows it is common that both
# differences are equal, so that their variance says nothing.
MIN_FOLDS = 3

# Differences of scores smaller than this share of them are rounding.
_ROUNDING = 1e-12

Floats = npt.NDArray[np.float64]


def clearly_worse(
    scores: Any,
    incumbent_scores: Any,
    *,
    test_train_ratio: float,
    level: float = 0.05,
    min_folds: int = MIN_FOLDS,
) -> npt.NDArray[np.bool_]:
    """Return which candidates, (C,), are worse than the incumbent beyond chance.

    `scores`, (C, F), are NaN on folds to come; `incumbent_scores`, (F,), are those of the
    best candidate so far, which itself is never among the results. `test_train_ratio` is n2
    / n1, the samples tested on for each one trained on: ``1 / (F - 1)`` of one K-fold.
    `level` is the probability that a candidate as good as the incumbent is dropped, in one
    test; with fewer than `min_folds` (at least 2) in common, nothing is dropped.

    It is the corrected resampled t-test of [1]_, one-sided and paired over the folds that
    both have, with the variance corrected for training sets that overlap: with ``t =
    mean(d) / sqrt((1 / J + n2 / n1) * var(d))``, a candidate is dropped if t is below the
    quantile at `level` of Student's distribution with J - 1 degrees of freedom. Differences
    that are equal on all folds are the limit of that: worse if they are negative, and no
    reason if they are zero.

    The level holds for one comparison with an incumbent named before. An incumbent that is
    the best of many was lucky too, and each further fold is another look: of 20 equal
    candidates on 5 folds, looked at after 3 and 4 against the best so far at a level of
    0.05, 35 % are dropped (simulated). Equals cost nothing; to keep more of those that are
    better than they looked, divide the level by the number of looks and candidates.

    >>> incumbent = [0.95, 0.97, 0.96]
    >>> clearly_worse(
    ...     [[0.10, 0.12, 0.09], [0.95, 0.98, 0.95]], incumbent, test_train_ratio=0.25
    ... )
    array([ True, False])
    """
    if min_folds < 2:
        raise ValueError(
            "The 'min_folds' parameter of clearly_worse must be an int >= 2. "
            f"Got {min_folds!r} instead."
        )
    differences = _differences(
        np.asarray(scores, dtype=np.float64),
        np.asarray(incumbent_scores, dtype=np.float64),
    )
    shared = np.isfinite(differences)
    n_shared = shared.sum(axis=1)
    enough = n_shared >= min_folds
    n = np.where(enough, n_shared, 2)

    kept = np.where(shared, differences, 0.0)
    mean = kept.sum(axis=1) / n
    deviations = np.where(shared, differences - mean[:, np.newaxis], 0.0)
    variance = np.square(deviations).sum(axis=1) / (n - 1)
    scale = np.sqrt((1 / n + test_train_ratio) * variance)
    # Not divided by the scale, which may be zero.
    lost = mean < stats.t.ppf(level, n - 1) * scale
    return np.asarray(enough & lost)


def _differences(scores: Floats, incumbent_scores: Floats) -> Floats:
    """Return scores less the incumbent's, with rounding taken for equality."""
    largest = np.maximum(np.abs(scores), np.abs(incumbent_scores))
    with np.errstate(invalid="ignore"):
        differences = scores - incumbent_scores
        return np.where(np.abs(differences) <= _ROUNDING * largest, 0.0, differences)
