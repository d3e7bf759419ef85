# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Whether more rows would help, from a learning curve by samples."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sk_tune.diagnosis._check import CHECKS
from sk_tune.diagnosis._records import Finding
from sk_tune.diagnosis._summary import estimate

__all__ = ["SampleCurve", "check_more_data"]

Floats = npt.NDArray[np.float64]

# A doubling of the rows that closes less than this share of the gap to the training score
# is not worth collecting rows for.
WORTH_ROWS = 0.05
CONFIDENCE = 0.9
# How a gain goes on where the curve is too short to show its ratio.
_UNKNOWN_RATIO = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class SampleCurve:
    """A learning curve by samples, as ``sklearn.model_selection.learning_curve`` has it.

    Parameters
    ----------
    train_sizes : ndarray of shape (S,)
        Rows trained on, rising.
    train_scores, test_scores : ndarray of shape (S, F)
        On the rows trained on, and on held-out rows; greater is better.
    """

    train_sizes: npt.NDArray[Any]
    train_scores: Floats
    test_scores: Floats


def check_more_data(curve: SampleCurve) -> Finding:
    """Look for a held-out score that still rises with the samples.

    A tip if more would help.
    """
    check = CHECKS["more data"]
    sizes = np.asarray(curve.train_sizes, dtype=np.float64)
    test = np.asarray(curve.test_scores, dtype=np.float64)
    train = np.asarray(curve.train_scores, dtype=np.float64)
    usable = np.isfinite(test).any(axis=1)
    sizes, test, train = sizes[usable], test[usable], train[usable]
    if len(sizes) < 2 or sizes[-1] < 1.5 * sizes[0]:
        return check.not_applicable("It takes scores at two numbers of rows to compare.")
    # In logarithms of the rows, in which a power law loses a constant ratio per doubling.
    doublings = np.log2(sizes / sizes[-1])
    step = min(1.0, -float(doublings[0]) / 2)
    quarter, half, end = (
        np.array([np.interp(-k * step, doublings, fold) for fold in test.T])
        for k in (2, 1, 0)
    )
    before, now = float(np.nanmean(half - quarter)), float(np.nanmean(end - half))
    ratio = float(np.clip(now / before, 0.0, 1.0)) if before > 0 else _UNKNOWN_RATIO
    # The gain of one more step, taken to a whole doubling.
    gain = estimate((end - half) * ratio / step)
    gap = estimate(train[-1] - test[-1])
    evidence = {
        "n_rows": float(sizes[-1]),
        "test_score": float(np.nanmean(test[-1])),
        "gain": gain.mean,
        "gain_error": gain.error,
        "gap": gap.mean,
        "gap_error": gap.error,
    }
    said = f"Twice the rows would raise the score by about {gain.mean:.2g}"
    if gain.n > 1 and gain.at_least(CONFIDENCE) <= 0:
        return check.passed(
            "More rows would not help: the score no longer rises.", evidence
        )
    if gain.mean <= WORTH_ROWS * max(gap.mean, 0.0) or gain.mean <= 0:
        return check.passed(f"{said}, which is not worth them.", evidence)
    return check.tip(
        "medium" if gain.mean > 2 * WORTH_ROWS * abs(gap.mean) else "low",
        f"{said} (standard error {gain.error:.1g}).",
        evidence,
        "Get more rows before you tune further.",
    )
