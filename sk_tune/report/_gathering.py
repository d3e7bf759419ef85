# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""From a fitted search to the record that page, text and JSON are made of."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sk_tune._search_record import search_record
from sk_tune._text import counted, interval_text, number_texts
from sk_tune.diagnosis import Curves, Finding, curves_of, diagnose, to_act_on
from sk_tune.prepare import ColumnKinds
from sk_tune.report._importance import Importance, importance_of
from sk_tune.report._quality import (
    Baseline,
    Quality,
    leak_checks,
    quality_of,
    search_baselines,
)
from sk_tune.report._reproduction import Reproduction, reproduction
from sk_tune.report._search_trials import (
    Parameter,
    Trials,
    curve_table,
    metric_name,
    number_text,
    parameters_of,
    trials_of,
)
from sk_tune.saving import is_savable
from sk_tune.search import CorrectedScore, Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class PageColumn:
    """A column of a table; `hint` tells what it holds where the heading is short for it."""

    name: str
    is_number: bool
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of a table.

    `key` is the number that the text stands for, in full, None if it is no number;
    `details` are shown on demand, and the text of an `is_long` cell is broken into lines.
    """

    text: str
    key: str | None = None
    details: str = ""
    is_long: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTable:
    """Rows of cells, the first the best; each is "best", "failed" or nothing special."""

    columns: list[PageColumn]
    rows: list[tuple[str, list[Cell]]]


def number_cells(values: Iterable[float], digits: int = 4) -> list[Cell]:
    """Return the cells of a column of numbers, with equally many decimals; NaN is "n/a"."""
    numbers = [float(value) for value in values]
    return [
        Cell(text="n/a") if math.isnan(value) else Cell(text=text, key=repr(value))
        for value, text in zip(numbers, number_texts(numbers, digits), strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRow:
    """A row of ``cv_results_``, by the metric that decides; `others` are other means.

    `rank` is None without a score; `reason` says why there is none, or only that of
    failures. `configuration` is equal for the rows of one configuration in several rungs.
    `best_so_far` is the best score up to this row among those that were granted as much;
    `seconds` is the mean time of a fit.
    """

    row: int
    rank: int | None
    score: float
    std: float
    fold_scores: tuple[float, ...]
    others: Mapping[str, float]
    params: Mapping[str, Any]
    seconds: float
    reason: str
    configuration: int
    best_so_far: float
    rung: int | None = None
    bracket: int | None = None
    n_resources: int | None = None


def outcome_text(finding: Finding) -> str:
    """Return the outcome of a check as a page names it."""
    return "not checked" if finding.outcome == "not applicable" else finding.outcome


class ScoreLine(NamedTuple):
    """A score, of which greater is better, with its uncertainty from `low` to `high`.

    `what` explains the model or the uncertainty; `set_aside` is the score on samples that
    were set aside. Unknown numbers are NaN.
    """

    name: str
    score: float
    low: float
    high: float
    what: str
    set_aside: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchPart:
    """The candidates of a search, curves of the best one, and what all of them cost.

    `candidates` are in the order of ``cv_results_``, `parameters` those that vary;
    `importance` is None if none varies, or nobody asked yet. `best` is None if no candidate
    has a score, `curves` and `best_epoch` if it is no network. `resource` is what rungs
    grant more of. `ledger` is None for a search of scikit-learn. `key` is what the names of
    its pictures begin with, where a page has several searches.
    """

    title: str
    metric: str
    candidates: Sequence[CandidateRow]
    parameters: Sequence[Parameter]
    importance: Importance | None = None
    best: CandidateRow | None
    findings: Sequence[Finding]
    curves: Curves | None
    best_epoch: int | None
    resource: str | None
    ledger: Ledger | None
    key: str = ""

    @property
    def scored(self) -> list[CandidateRow]:
        """Candidates with a score that is not only that of failures."""
        return [c for c in self.candidates if c.score == c.score and not c.reason]

    @property
    def wrong(self) -> list[Finding]:
        """Findings to act on: issues before tips, the severe ones first."""
        return to_act_on(self.findings)

    @property
    def names(self) -> list[str]:
        """Names of the parameters of any candidate, in the order of their first use."""
        return list(dict.fromkeys(name for c in self.candidates for name in c.params))

    @property
    def n_configurations(self) -> int:
        """Candidates, those of several rungs counted once."""
        return len({c.configuration for c in self.candidates})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Page:
    """The content of a page, of a search or of all searches of one call.

    `headline` names the best model, and is empty if the verdict does; the last of `scores`
    is the one to expect; `best` are the parameters of the best candidate. `quality` is that
    of predictions for samples that the models lacked, `usage` code that predicts, empty
    without a model. `columns` are those of a table, `changes` were made because of
    findings, `models` are all models, if they are of several kinds; `checks` are those of
    leaks. `corrected` and `baselines` are what `scores` are made of, for a single search.
    """

    title: str
    subtitle: str
    metric: str
    headline: str = ""
    verdict: str
    notes: Sequence[str] = ()
    scores: Sequence[ScoreLine]
    best: Mapping[str, Any] | None = None
    quality: Quality | None = None
    usage: str = ""
    columns: ColumnKinds | None = None
    searches: Sequence[SearchPart] = ()
    changes: Sequence[str] = ()
    models: PageTable | None = None
    checks: Sequence[Finding] = ()
    reproduction: Reproduction
    corrected: CorrectedScore | None = None
    baselines: Sequence[Baseline] = ()


_MEAN = "mean_test_"
# Fields of a row by their names in the results of a search with rungs.
_OF_RUNGS = {"rung": "iter", "bracket": "bracket", "n_resources": "n_resources"}


def candidate_rows(search: Any, trials: Trials) -> list[CandidateRow]:
    """Return a record for each row of ``cv_results_``, in their order."""
    results, metric = search.cv_results_, metric_name(search)
    folds = [results[f"split{k}_test_{metric}"] for k in range(search.n_splits_)]
    running_best, _ = trials.running_best()
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
            **{
                field: int(results[name][i])
                for field, name in _OF_RUNGS.items()
                if name in results
            },
        )
        for i, params in enumerate(results["params"])
    ]


_WHAT = {
    "dummy": "the dummy, which looks at no column and",
    "linear": "the linear baseline, which",
}


def answer(
    best: CandidateRow | None,
    corrected: CorrectedScore | None,
    baselines: Sequence[Baseline],
    *,
    n_candidates: int,
) -> str:
    """Return in plain words what was found and whether it is worth having.

    A baseline is beaten if its mean is below the interval of the corrected score, or,
    without that or where it is not comparable, below the best mean less its standard
    deviation over the folds.
    """
    if best is None and n_candidates == 1:
        return "The candidate has no score: there is nothing to choose."
    if best is None:
        return f"None of {n_candidates} candidates has a score: there is nothing to choose."
    spread = low, high = best.score - best.std, best.score + best.std
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
            f"{100 * corrected.confidence:.0f} % confidence."
        )
    if rival is None:
        return found
    if _are_two_kinds(best, corrected):
        # Rows together and means over folds cannot be compared; baselines are such means.
        mean, std = number_text(best.score, 3), number_text(best.std, 2)
        found = f"{found} The mean over the folds is {mean} ± {std}."
        better = "better, beyond that spread,"
        return f"{found} {_against(rival, number_text(rival.mean, 3), *spread, better)}"
    # Without a correction the spread over folds says nothing of the choice of the best.
    better = "clearly better" if corrected is not None else "better, beyond that spread,"
    return f"{found} {_against(rival, other[0], low, high, better)}"


def _against(baseline: Baseline, score: str, low: float, high: float, better: str) -> str:
    what = _WHAT[baseline.name]
    if low > baseline.mean:
        return f"That is {better} than {what} scores {score}."
    is_worse = high < baseline.mean
    is_so = "is worse than" if is_worse else "cannot be told from"
    advice = "prefer that" if is_worse else "prefer the simpler one"
    if baseline.name == "dummy":
        advice = "nothing was learnt"
    return f"That {is_so} {what} scores {score}: {advice}."


def _are_two_kinds(best: CandidateRow, corrected: CorrectedScore | None) -> bool:
    """Return whether a mean over folds and the score of all rows together differ much."""
    if corrected is None:
        return False
    return abs(corrected.naive_score - best.score) > (corrected.high - corrected.low) / 2


def gather(
    search: Any, X: Any = None, y: Any = None, baselines: Sequence[Baseline] | None = None
) -> Page:
    """Return all that is known of a fitted search, for a page, a text or JSON.

    `X` and `y` are the data that it was fitted with; without `baselines`, these are scored
    as far as the data are known. Raises NotFittedError.
    """
    part = search_part(search)
    corrected = getattr(search, "corrected_score_", None)
    notes: list[str] = []
    if corrected is None or corrected.score != corrected.score:
        why = "no candidate has predictions for every row."
        if corrected is None:
            why = (
                "its metric is no function of targets and of labels, probabilities or "
                "numbers that all candidates predict, or there are no targets or no scores."
            )
        corrected = None
        start = "The best score could not be corrected for being the best of many"
        notes.append(f"{start}: {why}")
    if part.best is not None and _are_two_kinds(part.best, corrected):
        notes.append(
            "The corrected score counts all held-out rows together, all others are means "
            "over the folds. These differ much here: do not compare across the two kinds."
        )
    if baselines is None:
        baselines, more = search_baselines(search, X, y)
        notes += more
    record = search_record(search)
    n, best = part.n_configurations, part.best
    quality = None
    if best is not None and record is not None and record.y is not None:
        classes = np.unique(record.y) if is_classifier(search) else None
        quality = quality_of(record.y, search.oof_predictions_[best.row], classes)
    rows = f" in {len(part.candidates)} rows of results" if part.resource else ""
    params = None if best is None else best.params
    return Page(
        title=part.title,
        subtitle=f"{counted(n, 'candidate')}{rows}",
        metric=part.metric,
        verdict=answer(best, corrected, baselines, n_candidates=n),
        notes=notes,
        scores=score_lines(part, baselines, corrected),
        best=params,
        quality=quality,
        usage=_usage(search),
        searches=[part],
        checks=leak_checks(
            search,
            n_rows=None if record is None else record.n_rows,
            has_curves=part.curves is not None,
            has_corrected=corrected is not None,
        ),
        reproduction=reproduction(search, params, X, y),
        corrected=corrected,
        baselines=baselines,
    )


def search_part(search: Any) -> SearchPart:
    """Return what a fitted search tried, without what takes long: which parameters matter.

    The record holds no model and no data. Raises NotFittedError.
    """
    check_is_fitted(search, "cv_results_")
    trials = trials_of(search)
    rows = candidate_rows(search, trials)
    index = trials.preferred
    best = None if index is None or math.isnan(rows[index].score) else rows[index]
    curves, best_epoch = None, None
    findings: Sequence[Finding] = ()
    # The best candidate may be no network, or one of which no epoch is known.
    if best is not None and best.row in set(curve_table(search)["candidate"]):
        curves = curves_of(search, best.row)
        findings = diagnose(search, candidate=best.row)
        chosen = getattr(search, "best_epochs_", {})
        best_epoch = int(chosen.get(best.row, curves.n_epochs))
    estimator = search.estimator
    name = type(estimator).__name__
    if isinstance(estimator, Pipeline):
        steps = [type(step).__name__ for _, step in estimator.steps if step is not None]
        name = " → ".join(step for step in steps if step != "str")
    return SearchPart(
        title=f"{type(search).__name__} over {name}",
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


def score_lines(
    part: SearchPart, baselines: Sequence[Baseline], corrected: CorrectedScore | None
) -> list[ScoreLine]:
    """Return the scores that the answer rests on; the last is the one to expect."""
    what = "± standard deviation over folds"
    lines = [
        ScoreLine(b.name, b.mean, b.mean - b.std, b.mean + b.std, what)
        for b in baselines
        if b.mean == b.mean
    ]
    best = part.best
    if best is not None:
        low, high = best.score - best.std, best.score + best.std
        if part.n_configurations > 1:
            what += "; too good, as the best of many"
        lines.append(ScoreLine("best, as found", best.score, low, high, what))
    if corrected is not None:
        what = f"{100 * corrected.confidence:.0f} % interval"
        lines.append(
            ScoreLine(
                "best, corrected", corrected.score, corrected.low, corrected.high, what
            )
        )
    return lines


def with_importance(part: SearchPart) -> SearchPart:
    """Return what is known of a search, and which of its parameters matter."""
    if part.importance is not None or not part.parameters:
        return part
    granted = [row.n_resources for row in part.candidates]
    importance = importance_of(
        part.parameters,
        np.array([row.score for row in part.candidates]),
        configurations=np.array([row.configuration for row in part.candidates]),
        n_resources=None if None in granted else np.array(granted),
    )
    return replace(part, importance=importance)


def _usage(search: Any) -> str:
    if not hasattr(search, "best_estimator_"):
        return ""
    lines = ["predictions = search.predict(X_new)"]
    if hasattr(search, "predict_proba"):
        lines.append("probabilities = search.predict_proba(X_new)")
    keeping = [
        "# To keep the model; load a pickle only if you trust who made it:",
        'joblib.dump(search.best_estimator_, "model.joblib")',
    ]
    if is_savable(search.best_estimator_):
        keeping = [
            "# To keep the model, in a file that holds no code:",
            'sk_tune.save(search.best_estimator_, "model.safetensors")',
        ]
    return "\n".join([*lines, "", *keeping])
