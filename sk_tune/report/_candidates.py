# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The rows of ``cv_results_`` as records, by the metric that decides."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sk_tune.report._records import CandidateRow
from sk_tune.report.displays import Trials, metric_name

__all__ = ["best_row", "candidate_rows"]

_MEAN = "mean_test_"


def candidate_rows(search: Any, trials: Trials) -> list[CandidateRow]:
    """Return a record for each row of ``cv_results_``.

    Parameters
    ----------
    search : estimator
        A fitted search.
    trials : Trials
        What it evaluated.

    Returns
    -------
    list of CandidateRow
        In their order.
    """
    results, metric = search.cv_results_, metric_name(search)
    folds = [results[f"split{k}_test_{metric}"] for k in range(search.n_splits_)]
    running_best = trials.running_best
    ranks = results[f"rank_test_{metric}"]
    others = [k for k in results if k.startswith(_MEAN) and k != f"{_MEAN}{metric}"]
    reasons = results.get("failure_reason", [""] * len(ranks))
    return [
        CandidateRow(
            row=i,
            rank=None if math.isnan(trials.scores[i]) else int(ranks[i]),
            score=float(trials.scores[i]),
            std=float(trials.spreads[i]),
            fold_scores=tuple(float(fold[i]) for fold in folds),
            others={key.removeprefix(_MEAN): float(results[key][i]) for key in others},
            params=params,
            seconds=float(results["mean_fit_time"][i]),
            reason=str(reasons[i]).strip(),
            configuration=int(trials.configurations[i]),
            best_so_far=float(running_best[i]),
            rung=_at(results, "iter", i),
            bracket=_at(results, "bracket", i),
            n_resources=_at(results, "n_resources", i),
        )
        for i, params in enumerate(results["params"])
    ]


def best_row(trials: Trials, rows: Sequence[CandidateRow]) -> CandidateRow | None:
    """Return the candidate that the search chose.

    Parameters
    ----------
    trials : Trials
        What it evaluated.
    rows : sequence of CandidateRow
        Its candidates.

    Returns
    -------
    CandidateRow or None
        The best by the first metric if it chose none; None if none has a score.
    """
    index = trials.best
    if index is None:
        if np.isnan(trials.scores).all():
            return None
        index = int(np.nanargmax(trials.scores))
    best = rows[index]
    return None if math.isnan(best.score) else best


def _at(results: Any, name: str, index: int) -> int | None:
    return int(results[name][index]) if name in results else None
