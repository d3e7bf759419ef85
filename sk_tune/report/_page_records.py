# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The content of a report, before it is a page, a text or JSON."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sk_tune._text import number_texts
from sk_tune.diagnosis import Curves, Finding, to_act_on
from sk_tune.prepare import ColumnKinds
from sk_tune.report._quality import Quality
from sk_tune.report.displays import Importance, Parameter
from sk_tune.search import CorrectedScore, Ledger

__all__ = [
    "Baseline",
    "CandidateRow",
    "Cell",
    "Page",
    "PageColumn",
    "PageTable",
    "Report",
    "Reproduction",
    "ScoreLine",
    "SearchPart",
    "number_cells",
    "outcome_text",
]


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
class Baseline:
    """How a simple model ("dummy" or "linear") did on the folds of a search.

    Mean and standard deviation of the score, of which greater is better; NaN without one.
    """

    name: str
    mean: float
    std: float


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """All that is needed to get the same search again.

    Versions of packages and the system, ``random_state`` of each part that has one, the
    folds, shape, type and hash of X and y as far as they are known, and the search and its
    best candidate as Python.
    """

    versions: Mapping[str, str]
    seeds: Mapping[str, Any]
    cv: str
    data: Mapping[str, str]
    code: str


def outcome_text(finding: Finding) -> str:
    """Return the outcome of a check as a page names it."""
    unknown = finding.outcome == "not applicable"
    return "not checked" if unknown else finding.outcome


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
class Report(SearchPart):
    """All that is known of a search: the answer, what it rests on, what is missing.

    `usage` is code that predicts, empty without a refit; `quality` is that of the best
    candidate's predictions of samples that its models lacked; `checks` are those of leaks.
    """

    verdict: str
    corrected: CorrectedScore | None
    notes: Sequence[str]
    baselines: Sequence[Baseline]
    quality: Quality | None = None
    usage: str = ""
    checks: Sequence[Finding]
    reproduction: Reproduction


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Page:
    """The content of a page, of a search or of all searches of one call.

    `headline` names the best model, and is empty if the verdict does; the last of `scores`
    is the one to expect; `best` are the parameters of the best candidate. `usage` is code
    that predicts, `columns` are those of a table, `changes` were made because of findings,
    `models` are all models, if they are of several kinds; `checks` are those of leaks.
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
