# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What became of each configuration of a search, over all rungs it was on.

``cv_results_`` has a row for each rung; who studies a search wants one for each
configuration.  Pure functions of results.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from sk_tune._search_record import was_stopped
from sk_tune.search._bookkeeping import guiding_scores
from sk_tune.search._work import candidate_fingerprint

__all__ = ["TrialRecord", "scores_by_curve", "trial_records"]

Floats = npt.NDArray[np.float64]

# scorings of which the curve of an epoch's score is a curve.
_BY_CURVE = {None, "accuracy", "r2"}
_METRICS = ("mean_test_", "std_test_", "split", "mean_fit_time", "mean_score_time")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """One configuration at its last result row, without the resource.

    `state` is "complete", "failed", "running" (it may still be promoted) or "pruned":
    others were given more, it lost a race, or the search was ended before it had a score.
    `score` is NaN if there is none; `steps` are scores by epoch, or by what was granted;
    `more` has scores of the folds, times, other metrics, the bracket, why it failed.
    """

    row: int
    params: dict[str, Any]
    state: Literal["complete", "pruned", "failed", "running"]
    score: float
    steps: dict[int, float]
    more: dict[str, Any]


def scores_by_curve(scoring: Any) -> bool:
    """Return whether a network's curve is one of the score: of accuracy and R^2."""
    return isinstance(scoring, str | None) and scoring in _BY_CURVE


def trial_records(
    results: Mapping[str, Any],
    *,
    refit: Any = True,
    resource: str | None = None,
    max_resources: int | None = None,
    curves: pd.DataFrame | None = None,
    is_over: bool = True,
    is_asynchronous: bool = False,
) -> list[TrialRecord]:
    """Return what became of each configuration, in the order of their last result rows.

    `refit` names the metric that decides; `max_resources` is what the last rung grants, the
    most in `results` if None; `curves` are ``learning_curves_`` if these are of the score.
    `is_over` says that no rung is to come, `is_asynchronous` that candidates may be
    promoted from any rung until then.
    """
    scores = guiding_scores(results, refit)
    granted = results.get("n_resources")
    most = max_resources or (0 if granted is None else max(granted, default=0))
    rungs = _rungs(results, resource)
    newest = _newest_rungs(results)
    records = []
    for rows in rungs:
        row = rows[-1]
        has_all = granted is None or granted[row] >= most
        waits = (
            not is_over
            and not has_all
            and (is_asynchronous or newest[_bracket(results, row)] == _rung(results, row))
        )
        params = {k: v for k, v in results["params"][row].items() if k != resource}
        state = _state(scores[row], results, row, has_all=has_all, waits=waits)
        steps = _epochs(curves, rows)
        if not steps and granted is not None:
            steps = {int(granted[r]): float(scores[r]) for r in rows}
        records.append(
            TrialRecord(
                row=row,
                params=params,
                state=state,
                score=float(scores[row]),
                steps={step: s for step, s in steps.items() if np.isfinite(s)},
                more=dict(_more(results, row)),
            )
        )
    return sorted(records, key=lambda record: record.row)


def _rungs(results: Mapping[str, Any], resource: str | None) -> list[list[int]]:
    """Return the rows of each configuration in each bracket, the first rung first."""
    found: dict[Any, list[int]] = {}
    for row, params in enumerate(results["params"]):
        own = candidate_fingerprint(params, without=resource)
        key = (_bracket(results, row), own)
        # Without rungs a configuration that comes twice is two.
        found.setdefault(key if "iter" in results else (row, own), []).append(row)
    return list(found.values())


def _bracket(results: Mapping[str, Any], row: int) -> int:
    return int(results["bracket"][row]) if "bracket" in results else 0


def _rung(results: Mapping[str, Any], row: int) -> int:
    return int(results["iter"][row]) if "iter" in results else 0


def _newest_rungs(results: Mapping[str, Any]) -> dict[int, int]:
    newest: dict[int, int] = {}
    for row in range(len(results["params"])):
        bracket = _bracket(results, row)
        newest[bracket] = max(newest.get(bracket, 0), _rung(results, row))
    return newest


def _state(
    score: float, results: Mapping[str, Any], row: int, *, has_all: bool, waits: bool
) -> Literal["complete", "pruned", "failed", "running"]:
    if not np.isfinite(score):
        return "pruned" if was_stopped(_reason(results, row)) else "failed"
    if waits:
        return "running"
    return "complete" if has_all else "pruned"


def _reason(results: Mapping[str, Any], row: int) -> str:
    return str(results["failure_reason"][row]) if "failure_reason" in results else ""


def _epochs(curves: pd.DataFrame | None, rows: Sequence[int]) -> dict[int, float]:
    """Return the mean score of the folds after each epoch."""
    if curves is None or curves.empty:
        return {}
    # Later rungs hold the epochs of those before.
    own = curves[curves["candidate"] == rows[-1]].dropna(subset=["valid_score"])
    means = own.groupby("epoch")["valid_score"].mean()
    epochs, scores = means.index.to_numpy(dtype=int), means.to_numpy(dtype=float)
    return dict(zip(epochs.tolist(), scores.tolist(), strict=True))


def _more(results: Mapping[str, Any], row: int) -> Iterator[tuple[str, Any]]:
    for name, column in results.items():
        if name in {"bracket", "n_resources"}:
            yield name, int(column[row])
        elif name.startswith(_METRICS) and np.isfinite(column[row]):
            yield name, float(column[row])
    if _reason(results, row):
        yield "failure_reason", _reason(results, row)
