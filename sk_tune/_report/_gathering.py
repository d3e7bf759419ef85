# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The content of a report: a record that page, text and JSON render."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sk_tune._compat import num_samples
from sk_tune._diagnosis import (
    Curves,
    Finding,
    curves_of,
    extra_findings,
    findings_of,
    to_act_on,
)
from sk_tune._nesting import innermost
from sk_tune._prepare import ColumnKinds
from sk_tune._report._column_effects import ColumnEffects, search_effects
from sk_tune._report._comparison import RIVALS, are_two_kinds, comparison, step_of_search
from sk_tune._report._parameter_importance import Importance, importance_of
from sk_tune._report._quality import (
    Baseline,
    Quality,
    intervals_text,
    leak_checks,
    quality_of,
    search_baselines,
)
from sk_tune._report._reproduction import Reproduction, reproduction, usage_code
from sk_tune._report._search_trials import (
    Parameter,
    Trials,
    curve_table,
    metric_name,
    parameters_of,
    trials_of,
)
from sk_tune._scores import Ledger, ScoreEstimate
from sk_tune._search_record import fold_of_samples, search_record
from sk_tune._text import counted, interval_text, number_texts

# Further checks of a user, for `diagnose`.
Checks = Sequence[Callable[[Any], Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageColumn:
    """A column of a table; `hint` explains a short heading."""

    name: str
    is_number: bool
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of a table."""

    text: str
    key: str | None = None  # the number in full, if it is a number
    details: str = ""  # folded
    is_long: bool = False  # may wrap


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTable:
    """Rows of cells, the best first; the kind of a row is "best", "failed" or ""."""

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
    """A row of ``cv_results_``, by the metric that decides."""

    result_row: int
    rank: int | None  # None without a score
    score: float
    std: float
    fold_scores: tuple[float, ...]
    others: Mapping[str, float]  # means of other metrics
    params: Mapping[str, Any]
    seconds: float  # mean time of a fit
    reason: str  # of a missing score or ``error_score``
    candidate: int  # equal for the rows of a candidate in several rungs
    best_so_far: float  # best score up to this row with equal resources
    rung: int | None = None
    bracket: int | None = None
    n_resources: int | None = None


# Name of the line that a first-time reader looks for.
EXPECTED = "expected on new data"
SCORES_ARE_MEANS = (
    "Scores are means over the folds. Ranges are one standard deviation below and above; "
    f'the range of "{EXPECTED}" is a confidence interval.'
)


class ScoreLine(NamedTuple):
    """A score (greater is better) with its uncertainty; unknown numbers are NaN."""

    name: str
    score: float
    low: float
    high: float
    what: str  # explains the model or the uncertainty
    set_aside: float = math.nan  # score on samples set aside


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchPart:
    """The candidates of a search, learning curves of the best candidate, and the ledger."""

    title: str
    metric: str
    candidates: Sequence[CandidateRow]  # in the order of ``cv_results_``
    parameters: Sequence[Parameter]  # that vary
    importance: Importance | None = None  # set by `with_importance`
    best: CandidateRow | None  # None without a score
    findings: Sequence[Finding]
    curves: Curves | None  # None unless the best candidate is a network
    best_epoch: int | None  # None also if each fold has its own, by early stopping
    resource: str | None  # of rungs
    ledger: Ledger | None  # None for scikit-learn's searches
    key: str = ""  # prefix of pictures on a page with several searches
    best_name: str = ""  # of the best candidate in the table of all models
    curve_metric: str = "R²"  # of the scores by epoch

    @property
    def best_text(self) -> str:
        """The best candidate, with its row and name, for use in a sentence."""
        row = "" if self.best is None else f"row {self.best.result_row}"
        model = f"; {self.best_name} among all models" if self.best_name else ""
        return f"the best candidate ({row}{model})" if row else "the best candidate"

    @property
    def scored(self) -> list[CandidateRow]:
        """Candidates with a score other than ``error_score``."""
        return [c for c in self.candidates if c.score == c.score and not c.reason]

    @property
    def wrong(self) -> list[Finding]:
        """Findings to act on: issues before tips, severe findings first."""
        return to_act_on(self.findings)

    @property
    def names(self) -> list[str]:
        """Names of the parameters of any candidate, in the order of their first use."""
        return list(dict.fromkeys(name for c in self.candidates for name in c.params))

    @property
    def n_configurations(self) -> int:
        """Number of candidates; several rungs of a candidate count once."""
        return len({c.candidate for c in self.candidates})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Page:
    """The content of a page, of a search or of all searches of one call."""

    title: str
    subtitle: str
    metric: str
    metric_reason: str = ""
    model: tuple[str, str] = ("", "")  # a phrase and a sentence
    parts: tuple[str, Mapping[str, Any]] = ("", {})  # a title, and values by name
    next_step: Finding | None = None  # None if no remedy is urgent
    summary: str
    notes: Sequence[str] = ()
    scores: Sequence[ScoreLine]  # the last is the main score
    quality: Quality | None = None  # of predictions for held-out samples
    usage: str = ""  # code that predicts
    columns: ColumnKinds | None = None
    effects: ColumnEffects | None = None
    searches: Sequence[SearchPart] = ()
    changes: Sequence[str] = ()  # made because of findings
    models: PageTable | None = None  # all of them
    checks: Sequence[Finding] = ()  # for leaks
    sections: Mapping[str, Any] = field(default_factory=dict)  # of users
    reproduction: Reproduction
    expected: ScoreEstimate | None = None  # source of `scores` of a single search
    baselines: Sequence[Baseline] = ()

    @property
    def answer(self) -> tuple[str, list[str], list[tuple[str, str]]] | None:
        """Heading, score with the ends of its interval, and baselines by name, as text."""
        if not self.scores:
            return None
        line = self.scores[-1]
        rivals = [s for s in self.scores if s.name in RIVALS]
        score, low, high, *rival_scores = interval_text(
            line.score, line.low, line.high, *(s.score for s in rivals)
        )
        names = [f"{s.name} model" if s.name == "linear" else s.name for s in rivals]
        heading = f"{line.name[0].upper()}{line.name[1:]}"
        return heading, [score, low, high], list(zip(names, rival_scores, strict=True))

    @property
    def doubt(self) -> str:
        """A sentence beside the score if a leak may inflate it, else ""."""
        step = self.next_step
        has_leak = step is not None and step.is_of_leaks
        return "A leak may inflate this score; see the next step." if has_leak else ""


_MEAN = "mean_test_"
# Fields of a row by their names in the results of a search with rungs.
_OF_RUNGS = {"rung": "iter", "bracket": "bracket", "n_resources": "n_resources"}


def candidate_rows(search: Any, trials: Trials) -> list[CandidateRow]:
    """Return a record for each row of ``cv_results_``, in their order."""
    results, metric = search.cv_results_, metric_name(search)
    folds = [results[f"split{k}_test_{metric}"] for k in range(search.n_splits_)]
    running_best = trials.running_best()
    ranks = results[f"rank_test_{metric}"]
    other_means = [k for k in results if k.startswith(_MEAN) and k != f"{_MEAN}{metric}"]
    reasons = results.get("failure_reason", [""] * len(ranks))
    return [
        CandidateRow(
            result_row=i,
            rank=None if math.isnan(trials.scores[i]) else int(ranks[i]),
            score=float(trials.scores[i]),
            std=float(trials.spreads[i]),
            fold_scores=tuple(float(fold[i]) for fold in folds),
            others={key.removeprefix(_MEAN): float(results[key][i]) for key in other_means},
            params=params,
            seconds=float(results["mean_fit_time"][i]),
            reason=str(reasons[i]).strip(),
            candidate=int(trials.configurations[i]),
            best_so_far=float(running_best[i]),
            **{
                field: int(results[name][i])
                for field, name in _OF_RUNGS.items()
                if name in results
            },
        )
        for i, params in enumerate(results["params"])
    ]


def n_parameters(estimator: Any) -> int:
    """Return the number of parameters of a fitted estimator's network, 0 if it has none."""
    network = innermost(estimator)
    module = getattr(getattr(network, "net_", None), "module_", None)
    return 0 if module is None else sum(p.numel() for p in module.parameters())


def _held_out_quality(search: Any, row: int) -> Quality | None:
    """Return the quality of a candidate's held-out predictions, None if unknown."""
    record = search_record(search)
    if record is None or record.y is None:
        return None
    classes = np.unique(record.y) if is_classifier(search) else None
    every, text = search.oof_predictions_, ""
    if row == getattr(search, "best_index_", None):
        part = fold_of_samples(search.held_out_rows_[row], record.n_rows)
        crossed = every[np.array(record.rows_by_fold)[part], np.arange(record.n_rows)]
        text = intervals_text(record.y, crossed, part, classes)
    return quality_of(record.y, every[row], classes, intervals=text)


_TWO_KINDS = (
    "The expected score pools all held-out rows; all other scores are means over the "
    "folds. They differ much here, so do not compare the two kinds."
)


def _model_texts(search: Any, part: SearchPart) -> tuple[str, str]:
    """Return kind and size of the model that predicts, and which candidate it is."""
    if part.best is None:
        return "None", ""
    n = part.n_configurations
    place = f"best of {n} candidates" if n > 1 else "only candidate"
    place += f", row {part.best.result_row} of cv_results_"
    model = getattr(search, "best_estimator_", None)
    place += "; not refitted" if model is None else "; refitted on all rows"
    size = 0 if model is None else n_parameters(model)
    name = type(innermost(search.estimator if model is None else model)).__name__
    return f"{name}, {parameters_text(size)}" if size else name, f"The {place}."


def parameters_text(n: int) -> str:
    """Return a number of parameters in words, from 1,000 on rounded to two digits."""
    return f"{float(f'{n:.2g}') if n >= 1000 else n:,.0f} parameters"


_SAME_DATA = "Pass the data of the search. Without them, this report is incomplete."


def _other_data(search: Any, X: Any, y: Any) -> str:
    """Return how X and y differ from the data of a search; "" if they may be the same."""
    record = search_record(search)
    if record is None:
        return ""
    for name, values in (("X", X), ("y", y)):
        if values is not None and num_samples(values) != record.n_rows:
            n = f"{num_samples(values)} rows, but the search had {record.n_rows}"
            return f"{name} has {n}. {_SAME_DATA}"
    if y is not None and record.y is not None:
        expected, other = (np.reshape(a, (record.n_rows, -1)) for a in (record.y, y))
        if not np.array_equal(expected, other):
            return f"y differs from the targets of the search. {_SAME_DATA}"
    return ""


def _expected_score(search: Any) -> tuple[ScoreEstimate | None, str]:
    """Return the expected score of a search; if there is none, None and the reason."""
    expected = getattr(search, "expected_score_", None)
    if expected is None:
        return None, (
            "the metric needs more than targets and predictions, the candidates return "
            "different kinds of predictions, or targets or scores are missing."
        )
    if math.isnan(expected.score):
        return None, "no candidate has predictions for every row."
    return expected, ""


def gather(search: Any, X: Any = None, y: Any = None, *, extra_checks: Checks = ()) -> Page:
    """Return the content of a report of a fitted search; `X` and `y` score baselines."""
    part = search_part(search, extra_checks)
    expected, why = _expected_score(search)
    notes = [SCORES_ARE_MEANS]
    if other := _other_data(search, X, y):
        notes.append(other)
        X = y = None
    if expected is None:
        notes.append(f"The best score is not corrected for selection bias: {why}")
    elif part.best is not None and are_two_kinds(part.best, expected):
        notes.append(_TWO_KINDS)
    baselines, more = search_baselines(search, X, y)
    notes += more
    n, best = part.n_configurations, part.best
    rows = f" in {len(part.candidates)} result rows" if part.resource else ""
    params = None if best is None else best.params
    effects = None
    if X is not None and best is not None:
        effects = search_effects(search, X, y, best.result_row)
    if isinstance(effects, str):
        notes.append(effects)
    reason = "the default" if search.scoring is None else "as requested"
    against = comparison(best, expected, baselines, n_candidates=n)
    return Page(
        title=part.title,
        subtitle=f"{counted(n, 'candidate')}{rows}",
        metric=part.metric,
        metric_reason=f"Scored by {part.metric}, {reason}.",
        model=_model_texts(search, part),
        parts=("Parameters of the best candidate", params or {}),
        next_step=step_of_search(
            part.findings, against, is_network=part.curves is not None
        ),
        summary=f"{against.text} {against.advice}".rstrip(),
        notes=notes,
        scores=score_lines(part, baselines, expected),
        quality=None if best is None else _held_out_quality(search, best.result_row),
        usage=usage_code(search),
        effects=None if isinstance(effects, str) else effects,
        searches=[part],
        checks=leak_checks(
            search,
            has_curves=part.curves is not None,
            has_corrected=expected is not None,
            stops_early=part.curves is not None and part.best_epoch is None,
        ),
        reproduction=reproduction(search, params, X, y),
        expected=expected,
        baselines=baselines,
    )


def search_part(search: Any, extra_checks: Checks = ()) -> SearchPart:
    """Return the candidates of a fitted search, without the importance of parameters."""
    if not hasattr(search, "cv"):
        raise TypeError(
            "A report needs a fitted search, AutoClassifier or AutoRegressor. Got "
            f"{type(search).__name__}. Search it first, for example by "
            "GridSearchCV(estimator, {}, cv=5)."
        )
    check_is_fitted(search, "cv_results_")
    trials = trials_of(search)
    rows = candidate_rows(search, trials)
    index = trials.preferred
    best = None if index is None or math.isnan(rows[index].score) else rows[index]
    curves, best_epoch = None, None
    findings: Sequence[Finding] = extra_findings(search, extra_checks)
    # The best candidate may not be a network, or have no epochs.
    if best is not None and best.result_row in set(curve_table(search)["result_row"]):
        row = best.result_row
        curves = curves_of(search, row)
        findings = findings_of(search, result_row=row, extra_checks=extra_checks)
        chosen = getattr(search, "best_epochs_", {})
        stops_early = curves.params.get("early_stopping") is True
        best_epoch = chosen.get(row, None if stops_early else curves.n_epochs)
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
        curve_metric="accuracy" if is_classifier(search) else "R²",
    )


def score_lines(
    part: SearchPart, baselines: Sequence[Baseline], expected: ScoreEstimate | None
) -> list[ScoreLine]:
    """Return baselines, the best candidate, and last the expected score if available."""
    lines = [
        ScoreLine(b.name, b.mean, b.mean - b.std, b.mean + b.std, "on the same folds")
        for b in baselines
        if b.mean == b.mean
    ]
    best = part.best
    if best is not None:
        low, high = best.score - best.std, best.score + best.std
        n = part.n_configurations
        what = f"best of {n} candidates, so optimistic" if n > 1 else "the only candidate"
        lines.append(ScoreLine("best, uncorrected", best.score, low, high, what))
    return lines if expected is None else [*lines, expected_line(expected)]


def expected_line(expected: ScoreEstimate) -> ScoreLine:
    """Return the score that is expected on new data, with its interval."""
    what = f"{100 * expected.confidence:.0f} % interval"
    return ScoreLine(EXPECTED, expected.score, expected.low, expected.high, what)


def with_importance(part: SearchPart) -> SearchPart:
    """Return a search with the importance of its parameters."""
    if part.importance is not None or not part.parameters:
        return part
    importance = importance_of(
        part.parameters,
        np.array([row.score for row in part.candidates]),
        configurations=np.array([row.candidate for row in part.candidates]),
        n_resources=np.array([row.n_resources or 0 for row in part.candidates]),
    )
    return replace(part, importance=importance)
