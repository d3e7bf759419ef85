# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""From a fitted search to the record that page, text and JSON are made of."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sk_tune._search_record import search_record
from sk_tune.diagnosis import Curves, curves_of, diagnose
from sk_tune.report._baselines import search_baselines
from sk_tune.report._candidates import best_row, candidate_rows
from sk_tune.report._guards import leak_checks
from sk_tune.report._quality import Quality, quality_of
from sk_tune.report._records import Baseline, CandidateRow, Report, SearchPart
from sk_tune.report._reproduction import reproduction
from sk_tune.report._verdict import answer
from sk_tune.report.displays import (
    Importance,
    importance_of,
    parameters_of,
    trials_of,
)
from sk_tune.search import CorrectedScore

__all__ = ["gather", "importance_in", "search_part"]


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
    part = search_part(search)
    corrected, notes = _corrected(search)
    if baselines is None:
        baselines, more = search_baselines(search, X, y)
        notes += more
    record = search_record(search)
    own = {f.name: getattr(part, f.name) for f in fields(SearchPart)}
    return Report(
        **{**own, "importance": importance_in(part)},
        verdict=answer(part.best, corrected, baselines, n_candidates=part.n_configurations),
        corrected=corrected,
        notes=notes,
        baselines=baselines,
        quality=_quality(search, part.best),
        usage=_usage(search),
        checks=leak_checks(
            search,
            n_rows=None if record is None else record.n_rows,
            has_curves=part.curves is not None,
            has_corrected=corrected is not None,
        ),
        reproduction=reproduction(search, part.best, X, y),
    )


def search_part(search: Any) -> SearchPart:
    """Return what a search tried, without what takes long: which parameters matter.

    Parameters
    ----------
    search : estimator
        A fitted search.

    Returns
    -------
    SearchPart
        Of which nothing holds a model or data.

    Raises
    ------
    NotFittedError
        If the search is not fitted.
    """
    check_is_fitted(search, "cv_results_")
    trials = trials_of(search)
    rows = candidate_rows(search, trials)
    best = best_row(trials, rows)
    curves = _curves(search, best)
    is_network = best is not None and curves is not None
    return SearchPart(
        title=_title(search),
        metric=trials.score_name,
        candidates=rows,
        parameters=[p for p in parameters_of(trials.params) if p.varies],
        best=best,
        findings=diagnose(search, candidate=best.row) if best and is_network else (),
        curves=curves,
        best_epoch=_best_epoch(search, best, curves),
        resource=trials.resource,
        ledger=getattr(search, "ledger_", None),
    )


def importance_in(part: SearchPart) -> Importance | None:
    """Return which parameters of a search matter; None if none varies."""
    if not part.parameters:
        return None
    granted = [row.n_resources for row in part.candidates]
    return importance_of(
        part.parameters,
        np.array([row.score for row in part.candidates]),
        configurations=np.array([row.configuration for row in part.candidates]),
        n_resources=None if None in granted else np.array(granted),
    )


def _quality(search: Any, best: CandidateRow | None) -> Quality | None:
    """Return how good the predictions of the best candidate are, if they were kept."""
    record = search_record(search)
    if best is None or record is None or record.y is None:
        return None
    classes = np.unique(record.y) if is_classifier(search) else None
    return quality_of(record.y, search.oof_predictions_[best.row], classes)


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


def _usage(search: Any) -> str:
    if not hasattr(search, "best_estimator_"):
        return ""
    lines = ["predictions = search.predict(X_new)"]
    if hasattr(search, "predict_proba"):
        lines.append("probabilities = search.predict_proba(X_new)")
    return "\n".join([
        *lines,
        "",
        "# To keep the model; a pickle is to be loaded by whom you trust only:",
        'joblib.dump(search.best_estimator_, "model.joblib")',
    ])


def _title(search: Any) -> str:
    estimator = search.estimator
    name = type(estimator).__name__
    if isinstance(estimator, Pipeline):
        parts = [type(part).__name__ for _, part in estimator.steps if part is not None]
        name = " → ".join(part for part in parts if part != "str")
    return f"{type(search).__name__} over {name}"
