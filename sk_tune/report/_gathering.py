# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""From a fitted search to the record that page, text and JSON are made of."""

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sk_tune._search_record import search_record
from sk_tune._text import interval_text
from sk_tune.diagnosis import Curves, Finding, curves_of, diagnose
from sk_tune.report._page_records import (
    Baseline,
    CandidateRow,
    Report,
    ScoreLine,
    SearchPart,
)
from sk_tune.report._quality import Quality, quality_of
from sk_tune.report._reproduction import reproduction
from sk_tune.report._search_checks import leak_checks, search_baselines
from sk_tune.report._value_texts import number_text
from sk_tune.report.displays import (
    Importance,
    Trials,
    importance_of,
    metric_name,
    parameters_of,
    trials_of,
)
from sk_tune.search import CorrectedScore

__all__ = ["gather", "importance_in", "score_lines", "search_part"]

_MEAN = "mean_test_"


def candidate_rows(search: Any, trials: Trials) -> list[CandidateRow]:
    """Return a record for each row of ``cv_results_``, in their order."""
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

    It is the best by the first metric if the search chose none, None if none has a score.
    """
    index = trials.preferred
    return None if index is None or math.isnan(rows[index].score) else rows[index]


def _at(results: Any, name: str, index: int) -> int | None:
    return int(results[name][index]) if name in results else None


_WHAT = {"dummy": "the dummy, which looks at no column", "linear": "the linear baseline"}


def answer(
    best: CandidateRow | None,
    corrected: CorrectedScore | None,
    baselines: Sequence[Baseline],
    *,
    n_candidates: int,
) -> str:
    """Return in plain words what was found and whether it is worth having.

    A sentence tells the score, another compares it with the better baseline. A baseline is
    beaten if its mean score is below the interval of the corrected score, or, without that,
    below the mean of the best candidate less its standard deviation over the folds.
    """
    if best is None:
        tried = (
            "The candidate" if n_candidates == 1 else f"None of {n_candidates} candidates"
        )
        verb = "has no score" if n_candidates == 1 else "has a score"
        return f"{tried} {verb}: there is nothing to choose."
    low, high = best.score - best.std, best.score + best.std
    if corrected is not None:
        low, high = corrected.low, corrected.high
    known = [b for b in baselines if b.mean == b.mean]
    # The better one, and what beats it beats the other.
    rival = max(known, key=lambda baseline: baseline.mean, default=None)
    score = best.score if corrected is None else corrected.score
    others = [] if rival is None else [rival.mean]
    expected, least, most, *other = interval_text(score, low, high, *others)
    start = f"The best of {n_candidates} candidates is row {best.row} of cv_results_"
    if n_candidates == 1:
        start = "There is one candidate"
    if corrected is None:
        found = f"{start}, with {expected} ± {number_text(best.std, 2)} over the folds."
    else:
        found = (
            f"{start}. On new data, expect {expected}, between {least} and {most} with "
            f"{corrected.confidence:.0%} confidence."
        )
    if rival is None:
        return found
    # Without a correction the spread over folds says nothing of the choice of the best.
    better = "clearly better" if corrected is not None else "better, beyond that spread,"
    return f"{found} {_against(rival, other[0], low, high, better)}"


def _against(baseline: Baseline, score: str, low: float, high: float, better: str) -> str:
    what = _WHAT[baseline.name]
    if low > baseline.mean:
        return f"That is {better} than {what}, which scores {score}."
    if high < baseline.mean:
        return f"That is worse than {what}, which scores {score}: prefer that."
    advice = "prefer the simpler one" if baseline.name == "linear" else "nothing was learnt"
    return f"That cannot be told from {what}, which scores {score}: {advice}."


def gather(
    search: Any, X: Any = None, y: Any = None, baselines: Sequence[Baseline] | None = None
) -> Report:
    """Return all that is known of a fitted search, for a page, a text or JSON.

    `X` and `y` are the data that it was fitted with; without `baselines`, these are scored
    as far as the data are known. Raises NotFittedError.
    """
    part = search_part(search)
    corrected, notes = _corrected(search)
    if baselines is None:
        baselines, more = search_baselines(search, X, y)
        notes += more
    record = search_record(search)
    known = {f.name: getattr(part, f.name) for f in fields(SearchPart)}
    return Report(
        **{**known, "importance": importance_in(part)},
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
    """Return what a fitted search tried, without what takes long: which parameters matter.

    The record holds no model and no data. Raises NotFittedError.
    """
    check_is_fitted(search, "cv_results_")
    trials = trials_of(search)
    rows = candidate_rows(search, trials)
    best = best_row(trials, rows)
    curves = _curves(search, best)
    findings: Sequence[Finding] = ()
    best_epoch = None
    if best is not None and curves is not None:
        findings = diagnose(search, candidate=best.row)
        chosen = getattr(search, "best_epochs_", {})
        best_epoch = int(chosen.get(best.row, curves.n_epochs))
    return SearchPart(
        title=_title(search),
        metric=trials.score_name,
        candidates=rows,
        parameters=[p for p in parameters_of(trials.params) if p.varies],
        best=best,
        findings=findings,
        curves=curves,
        best_epoch=best_epoch,
        resource=trials.resource,
        ledger=getattr(search, "ledger_", None),
    )


def score_lines(report: Report) -> list[ScoreLine]:
    """Return the scores that the answer rests on; the last is the one to expect."""
    what = "± standard deviation over folds"
    lines = [
        ScoreLine(b.name, b.mean, b.mean - b.std, b.mean + b.std, what)
        for b in report.baselines
        if b.mean == b.mean
    ]
    best = report.best
    if best is not None:
        low, high = best.score - best.std, best.score + best.std
        if report.n_configurations > 1:
            what += "; too good, as the best of many"
        lines.append(ScoreLine("best, as found", best.score, low, high, what))
    if report.corrected is not None:
        corrected = report.corrected
        what = f"{corrected.confidence:.0%} interval"
        lines.append(
            ScoreLine(
                "best, corrected", corrected.score, corrected.low, corrected.high, what
            )
        )
    return lines


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
