# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The rows of ``cv_results_`` as records, by the metric that decides."""

import math
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor

from sk_tune.report._records import CandidateRow

__all__ = [
    "best_row",
    "candidate_rows",
    "metric_label",
    "metric_suffix",
    "n_configurations",
]


def metric_suffix(search: Any) -> str:
    """Return the end of the columns of the metric that decides.

    Parameters
    ----------
    search : estimator
        A fitted search.

    Returns
    -------
    str
        "score", or the name of one of several metrics: that of the refit, else the first.
    """
    results = search.cv_results_
    if "mean_test_score" in results:
        return "score"
    prefix = "mean_test_"
    names = [key.removeprefix(prefix) for key in results if key.startswith(prefix)]
    return str(search.refit) if search.refit in names else names[0]


def metric_label(search: Any) -> str:
    """Return what scores are, for people.

    Parameters
    ----------
    search : estimator
        A fitted search.

    Returns
    -------
    str
        As "accuracy".
    """
    suffix = metric_suffix(search)
    if suffix != "score" or isinstance(search.scoring, dict | list | tuple | set):
        return suffix
    if isinstance(search.scoring, str):
        return search.scoring
    if search.scoring is not None:
        return str(getattr(search.scoring, "__name__", "score"))
    if is_classifier(search):
        return "accuracy"
    return "R²" if is_regressor(search) else "score"


def candidate_rows(search: Any) -> list[CandidateRow]:
    """Return a record for each row of ``cv_results_``.

    Parameters
    ----------
    search : estimator
        A fitted search.

    Returns
    -------
    list of CandidateRow
        In their order.
    """
    results, suffix = search.cv_results_, metric_suffix(search)
    mean, std = results[f"mean_test_{suffix}"], results[f"std_test_{suffix}"]
    folds = [results[f"split{k}_test_{suffix}"] for k in range(search.n_splits_)]
    ranks = results[f"rank_test_{suffix}"]
    prefix = "mean_test_"
    others = [k for k in results if k.startswith(prefix) and k != f"{prefix}{suffix}"]
    reasons = results.get("failure_reason", [""] * len(mean))
    return [
        CandidateRow(
            row=i,
            rank=None if math.isnan(mean[i]) else int(ranks[i]),
            score=float(mean[i]),
            std=float(std[i]),
            fold_scores=tuple(float(fold[i]) for fold in folds),
            others={key.removeprefix(prefix): float(results[key][i]) for key in others},
            params=params,
            seconds=float(results["mean_fit_time"][i]),
            reason=str(reasons[i]).strip(),
            rung=_at(results, "iter", i),
            bracket=_at(results, "bracket", i),
            n_resources=_at(results, "n_resources", i),
        )
        for i, params in enumerate(results["params"])
    ]


def best_row(search: Any, rows: list[CandidateRow]) -> CandidateRow | None:
    """Return the candidate that the search chose.

    Parameters
    ----------
    search : estimator
        A fitted search.
    rows : list of CandidateRow
        Its candidates.

    Returns
    -------
    CandidateRow or None
        The best by the first metric if it chose none; None if none has a score.
    """
    index = getattr(search, "best_index_", None)
    if index is None:
        scores = np.array([row.score for row in rows])
        if np.isnan(scores).all():
            return None
        index = np.nanargmax(scores)
    best = rows[int(index)]
    return None if math.isnan(best.score) else best


def n_configurations(rows: list[CandidateRow]) -> int:
    """Return how many candidates were tried, those of several rungs counted once.

    Parameters
    ----------
    rows : list of CandidateRow
        Its candidates.

    Returns
    -------
    int
        At most the number of rows.
    """
    return len(rows) if not rows or rows[0].rung is None else _n_first(rows)


def _n_first(rows: list[CandidateRow]) -> int:
    # Each bracket begins with candidates of its own, in its first rung.
    first: dict[int | None, int] = {}
    for row in rows:
        if row.rung is not None:
            first[row.bracket] = min(first.get(row.bracket, row.rung), row.rung)
    return sum(row.rung == first[row.bracket] for row in rows)


def _at(results: Any, name: str, index: int) -> int | None:
    return int(results[name][index]) if name in results else None
