# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a search's candidates say together.

References
----------
.. [1] C. Nadeau, Y. Bengio. Inference for the generalization error. Machine Learning
   52:239-281, 2003. Section 4, the corrected resampled t-test.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from sk_tune._search_record import UNSCORED, fold_layout, was_stopped
from sk_tune.diagnosis._check import CHECKS, share
from sk_tune.diagnosis._records import Finding

__all__ = ["check_failures", "check_noise_ceiling", "check_optimism", "last_rows"]

Floats = npt.NDArray[np.float64]

# Fewer candidates show no ceiling.
FEWEST_CANDIDATES = 5
# A share of the candidates that cannot be told from the best one.
MOSTLY_ALIKE = 0.8
LEVEL = 0.05
# Optimism of the best score as a share of the half-width of the corrected one's interval.
OPTIMISTIC = 0.25


def last_rows(search: Any) -> list[int]:
    """Return the result rows with the most resources; all of them if there are no rungs."""
    results = search.cv_results_
    n = len(results["params"])
    resources = results.get("n_resources")
    if resources is None:
        return list(range(n))
    resources = np.asarray(resources)
    return [row for row in range(n) if resources[row] == resources.max()]


def check_noise_ceiling(search: Any) -> Finding:
    """Look for candidates that the folds cannot tell from the best one.

    A tip if most are.
    """
    check = CHECKS["noise ceiling"]
    rows = last_rows(search)
    scores = fold_scores(search)[rows]
    complete = np.isfinite(scores).all(axis=1)
    scores = scores[complete]
    n_candidates, n_folds = scores.shape
    if n_candidates < FEWEST_CANDIDATES or n_folds < 2:
        return check.not_applicable(
            f"It takes {FEWEST_CANDIDATES} candidates on two folds to compare."
        )
    best = int(scores.mean(axis=1).argmax())
    layout = fold_layout(search, int(np.array(rows)[complete][best]))
    behind = scores[best] - np.delete(scores, best, axis=0)
    mean, spread = behind.mean(axis=1), behind.std(axis=1, ddof=1)
    # Training sets of folds overlap, those of repetitions the more: with their number only
    # the first part goes to 0.
    factor = math.sqrt(1 / n_folds + layout.test_by_train)
    error = spread * factor
    limit = float(student.ppf(1 - LEVEL, n_folds - 1))
    alike = float((mean <= limit * error).mean())
    evidence = {
        "n_candidates": n_candidates,
        "alike": alike,
        "score_spread": float(scores.mean(axis=1).std(ddof=1)),
        "n_repeats": layout.n_repeats,
        "fold_error": float(scores[best].std(ddof=1)) * factor,
    }
    if alike < MOSTLY_ALIKE:
        return check.passed(
            f"The folds tell the best candidate from {share(1 - alike)} of the others.",
            evidence,
        )
    return check.tip(
        "medium",
        f"The folds cannot tell {share(alike)} of the candidates from the best one.",
        evidence,
        "Stop tuning these parameters; get more rows, or repeat the folds.",
    )


def check_optimism(search: Any) -> Finding:
    """Look for a best score that owes much to being the best of many.

    A tip if the corrected score is clearly lower.
    """
    check = CHECKS["optimistic best score"]
    corrected = getattr(search, "corrected_score_", None)
    if corrected is None or not math.isfinite(corrected.score):
        return check.not_applicable("There is no corrected score for this metric.")
    optimism = corrected.naive_score - corrected.score
    half_width = (corrected.high - corrected.low) / 2
    evidence = {
        "naive_score": corrected.naive_score,
        "corrected_score": corrected.score,
        "low": corrected.low,
        "high": corrected.high,
        "optimism": optimism,
    }
    if optimism <= OPTIMISTIC * half_width:
        return check.passed("The best score is hardly optimistic.", evidence)
    return check.tip(
        "medium" if optimism > half_width else "low",
        f"The best score is about {optimism:.2g} too good for being the best of many.",
        evidence,
        f"Report {corrected.score:.4g} [{corrected.low:.4g}, {corrected.high:.4g}].",
    )


def check_failures(search: Any) -> Finding | None:
    """Look for candidates that failed: a tip, or None if there is none."""
    given = map(str, search.cv_results_.get("failure_reason", ()))
    # Of a metric that is not defined, a warning has told.
    reasons = [r for r in given if r and r != UNSCORED and not was_stopped(r)]
    if not reasons:
        return None
    n = len(search.cv_results_["params"])
    return CHECKS["diverged"].tip(
        "medium" if 2 * len(reasons) > n else "low",
        f"{len(reasons)} of {n} candidates have no score. The first: {reasons[0]}",
        {"n_failed": len(reasons), "n_candidates": n},
        "Keep the search away from their parameters, mostly from high learning rates.",
    )


def fold_scores(search: Any) -> Floats:
    """Return the deciding score of each candidate on each fold, (n_candidates, F)."""
    results = search.cv_results_
    refit = getattr(search, "refit", True)
    name = refit if isinstance(refit, str) else "score"
    if f"split0_test_{name}" not in results:
        name = next(
            k.removeprefix("split0_test_") for k in results if k.startswith("split0_test_")
        )
    columns = [results[f"split{k}_test_{name}"] for k in range(search.n_splits_)]
    return np.array(columns, dtype=np.float64).T
