# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""From a fitted search to the record that page, text and JSON are made of."""

from collections.abc import Sequence
from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sk_tune._search_record import search_record
from sk_tune.diagnosis import Curves, curves_of, diagnose
from sk_tune.report._baselines import search_baselines
from sk_tune.report._candidates import best_row, candidate_rows
from sk_tune.report._guards import leak_checks
from sk_tune.report._records import Baseline, CandidateRow, Report
from sk_tune.report._reproduction import reproduction
from sk_tune.report._verdict import answer
from sk_tune.report.displays import (
    Importance,
    Parameter,
    Trials,
    importance_of,
    parameters_of,
    trials_of,
)
from sk_tune.search import CorrectedScore

__all__ = ["gather"]


def gather(
    search: Any, X: Any = None, y: Any = None, baselines: Sequence[Baseline] | None = None
) -> Report:
    """Return all that is known of a search.

    Parameters
    ----------
    search : estimator
        A fitted search.
    X, y : array-like, default=None
        The data that it was fitted with.
    baselines : sequence of Baseline or None, default=None
        Scored already; None scores them, as far as the data are known.

    Returns
    -------
    Report
        For a page, a text or JSON.

    Raises
    ------
    NotFittedError
        If the search is not fitted.
    """
    check_is_fitted(search, "cv_results_")
    trials = trials_of(search)
    rows = candidate_rows(search, trials)
    best = best_row(trials, rows)
    parameters = [p for p in parameters_of(trials.params) if p.varies]
    corrected, notes = _corrected(search)
    if baselines is None:
        baselines, more = search_baselines(search, X, y)
        notes += more
    curves = _curves(search, best)
    record = search_record(search)
    return Report(
        title=_title(search),
        metric=trials.score_name,
        verdict=answer(
            best, corrected, baselines, n_candidates=len(set(trials.configurations))
        ),
        candidates=rows,
        parameters=parameters,
        importance=_importance(parameters, trials),
        best=best,
        corrected=corrected,
        notes=notes,
        baselines=baselines,
        findings=(
            () if best is None or curves is None else diagnose(search, candidate=best.row)
        ),
        curves=curves,
        best_epoch=_best_epoch(search, best, curves),
        resource=trials.resource,
        ledger=getattr(search, "ledger_", None),
        checks=leak_checks(
            search,
            n_rows=None if record is None else record.n_rows,
            has_curves=curves is not None,
            has_corrected=corrected is not None,
        ),
        reproduction=reproduction(search, best, X, y),
    )


def _corrected(search: Any) -> tuple[CorrectedScore | None, list[str]]:
    corrected = getattr(search, "corrected_score_", None)
    if corrected is None:
        return None, [
            "The best score could not be corrected for being the best of many: its metric "
            "is no function of targets and of labels, probabilities or numbers that all "
            "candidates predict, or there are no targets or no scores."
        ]
    if corrected.score != corrected.score:
        return None, [
            "The best score could not be corrected for being the best of many: no "
            "candidate has predictions for every row."
        ]
    return corrected, []


def _curves(search: Any, best: CandidateRow | None) -> Curves | None:
    if best is None or not hasattr(search, "learning_curves_"):
        return None
    try:
        return curves_of(search, best.row)
    except ValueError:
        # It is no network, or one of which no epoch is known.
        return None


def _best_epoch(
    search: Any, best: CandidateRow | None, curves: Curves | None
) -> int | None:
    if best is None or curves is None:
        return None
    return int(getattr(search, "best_epochs_", {}).get(best.row, curves.n_epochs))


def _importance(parameters: Sequence[Parameter], trials: Trials) -> Importance | None:
    if not parameters:
        return None
    return importance_of(
        parameters,
        trials.scores,
        configurations=trials.configurations,
        n_resources=trials.n_resources,
    )


def _title(search: Any) -> str:
    estimator = search.estimator
    name = type(estimator).__name__
    if isinstance(estimator, Pipeline):
        parts = [type(part).__name__ for _, part in estimator.steps if part is not None]
        name = " → ".join(part for part in parts if part != "str")
    return f"{type(search).__name__} over {name}"
