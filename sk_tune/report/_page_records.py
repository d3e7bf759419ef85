# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a report says, before it is a page, a text or JSON; and tables that a page sorts."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from sk_tune._text import number_texts
from sk_tune.diagnosis import Curves, Finding
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

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageColumn:
    """A column of a table.

    Parameters
    ----------
    name : str
        Heading.
    is_number : bool
        Whether it is sorted and aligned as numbers.
    hint : str, default=""
        What it holds, if the heading is short for it.
    """

    name: str
    is_number: bool
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of a table.

    Parameters
    ----------
    text : str
        What is shown.
    key : str or None, default=None
        The number it stands for, in full; None if it is no number.
    details : str, default=""
        More, shown on demand.
    is_long : bool, default=False
        Whether its text is broken into lines.
    """

    text: str
    key: str | None = None
    details: str = ""
    is_long: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTable:
    """Rows of cells, the first the best.

    Parameters
    ----------
    columns : list of PageColumn
        From left to right.
    rows : list of (str, list of Cell)
        From above; each with what it is: "best", "failed" or nothing special.
    """

    columns: list[PageColumn]
    rows: list[tuple[str, list[Cell]]]


def number_cells(
    rows: Sequence[Row], value_of: Callable[[Row], float], digits: int = 4
) -> Callable[[Any], Cell]:
    """Return what makes the cells of a column of numbers, with equally many decimals.

    Parameters
    ----------
    rows : sequence
        All that the table shows.
    value_of : callable
        Returns the number of one of them; NaN is "n/a".
    digits : int, default=4
        Significant ones.

    Returns
    -------
    callable
        Returns the cell of one of the rows.
    """
    values = [value_of(row) for row in rows]
    texts = dict(zip(values, number_texts(values, digits), strict=True))
    # NaN is no key that can be found again.
    return lambda row: (
        Cell(text=texts[value], key=repr(float(value)))
        if not math.isnan(value := value_of(row))
        else Cell(text="n/a")
    )


_TO_ACT_ON = ("issue", "tip")
_SEVERITIES = ("high", "medium", "low", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """How a simple model did on the folds of a search; greater is better.

    Parameters
    ----------
    name : str
        "dummy", which looks at no column, or "linear".
    mean, std : float
        Mean and standard deviation of the score over the folds; NaN if it cannot be taken.
    """

    name: str
    mean: float
    std: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRow:
    """A row of ``cv_results_``.

    Parameters
    ----------
    row : int
        Its position there, from 0.
    rank : int or None
        By the mean score, from 1; None without a score.
    score, std : float
        Mean and standard deviation over the folds of the metric that decides.
    fold_scores : tuple of float
        Of each fold.
    others : mapping of str to float
        Mean scores by the metrics that do not decide.
    params : mapping of str to object
        What was tried.
    seconds : float
        Mean time of a fit.
    reason : str
        Why it has no score, or has the score of failures; empty if it has one.
    configuration : int
        Equal for the rows of one configuration in several rungs.
    best_so_far : float
        Up to this row, among those that were granted as much.
    rung, bracket, n_resources : int or None
        Of a search with rungs.
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
    """What it takes to get the same search again.

    Parameters
    ----------
    versions : mapping of str to str
        Of the packages and the system.
    seeds : mapping of str to object
        ``random_state`` of each part that has one.
    cv : str
        The folds.
    data : mapping of str to str
        Shape, type and hash of X and y, as far as they are known.
    code : str
        The search and the best candidate as Python.
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
    """A score with its uncertainty.

    Parameters
    ----------
    name : str
        Of the model.
    score : float
        Greater is better.
    low, high : float
        Ends of its uncertainty; NaN if that is not known.
    what : str
        What the model or the uncertainty is.
    set_aside : float, default=nan
        The score on rows that were set aside; NaN without any.
    """

    name: str
    score: float
    low: float
    high: float
    what: str
    set_aside: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchPart:
    """What a search tried: candidates, curves and what they cost.

    Parameters
    ----------
    title : str
        What was searched, and how.
    metric : str
        What scores are.
    candidates : sequence of CandidateRow
        In the order of ``cv_results_``.
    parameters : sequence of Parameter
        Those that vary.
    importance : Importance or None
        Which of them matter; None if none varies, or nobody asked yet.
    best : CandidateRow or None
        The one to take; None if none has a score.
    findings : sequence of Finding
        Of the diagnosis.
    curves : Curves or None
        By epochs, of the best candidate; None for what is no network.
    best_epoch : int or None
        The epoch that counts for the best candidate; None without a curve.
    resource : str or None
        What rungs grant more of.
    ledger : Ledger or None
        What was spent and saved; None for a search of scikit-learn.
    key : str, default=""
        What the names of its pictures begin with, where a page has several searches.
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
        """Candidates that have a score of their own."""
        return [c for c in self.candidates if c.score == c.score and not c.reason]

    @property
    def wrong(self) -> list[Finding]:
        """Findings to act on: issues before tips, the severe ones first."""
        return sorted(
            (f for f in self.findings if f.outcome in _TO_ACT_ON),
            key=lambda f: (_TO_ACT_ON.index(f.outcome), _SEVERITIES.index(f.severity)),
        )

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
    """All that is known of a search.

    Parameters
    ----------
    verdict : str
        The answer in one or two sentences.
    corrected : CorrectedScore or None
        What the best is expected to score on new data.
    notes : sequence of str
        What is missing of the answer, and why.
    baselines : sequence of Baseline
        Empty if they were not scored.
    quality : Quality or None
        Of the best candidate's predictions of rows that its models lacked.
    usage : str
        How to predict, as code; empty without a refit.
    checks : sequence of Finding
        Of leaks.
    reproduction : Reproduction
        How to get there again.
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
    """What is on a page, of a search or of all searches of one call.

    Parameters
    ----------
    title, subtitle : str
        Its heading, and what it is about.
    metric : str
        What scores are.
    headline, verdict : str
        The best model, empty if the verdict names it; and the answer.
    notes : sequence of str
        What is missing of the answer, and why.
    scores : sequence of ScoreLine
        Those that the answer rests on; the last one is the one to expect.
    best : mapping of str to object or None
        Parameters of the best candidate.
    quality : Quality or None
        How good predictions are by other metrics.
    usage : str
        How to predict, as code.
    columns : ColumnKinds or None
        Of a table.
    searches : sequence of SearchPart
        With candidates, pictures, findings and ledger.
    changes : sequence of str
        What was changed because of them.
    models : PageTable or None
        All models, if they are of several kinds.
    checks : sequence of Finding
        Of leaks.
    reproduction : Reproduction
        How to get there again.
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
