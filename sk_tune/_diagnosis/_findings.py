# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Learning curves; findings, their order of importance, and their form for skore."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partialmethod
from typing import Any, Final, Literal

from sk_tune._text import html_table, page
from sk_tune._types import Floats

Outcome = Literal["issue", "tip", "passed", "by design", "not applicable"]
Severity = Literal["low", "medium", "high"]
# Codes of the leak guard begin with this.
_LEAKS = "SKT2"
# Columns of findings in a notebook.
_HEADER = ("check", "outcome", "finding")
# The action that inserts a step of a pipeline before the network.
PUT_IN_FRONT: Final = "put in front"
# How a change modifies a parameter's value or range.
Action = Literal[
    "set",
    "at least",
    "at most",
    "multiply",
    "extend down to",
    "extend up to",
    "put in front",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curves:
    """Learning curves by epochs of one configuration, one row per fold.

    Parameters
    ----------
    train_loss : ndarray of shape (F, T)
        Loss on training rows, for F folds after each of T epochs; NaN after a fold's last
        epoch.
    valid_loss : ndarray of shape (F, T)
        Loss on held-out rows; all NaN without held-out rows.
    valid_score : ndarray of shape (F, T)
        Score on held-out rows, greater is better; all NaN without a score.
    params : mapping of str to object, default=empty
        Parameters of the configuration, by their names in the network (without the steps
        of a pipeline before them).
    baseline_loss : float or None, default=None
        Loss of the best constant prediction, on the scale of the losses.
    n_samples : int or None, default=None
        Number of rows in all folds together.
    n_repeats : float, default=1.0
        Number of folds that hold out each row.  Repeated folds are not independent: F folds
        count as ``F / n_repeats`` in standard errors.
    n_held_out : float or None, default=None
        Mean number of held-out rows of a fold.  None computes it from `n_samples` and
        `n_repeats`, for folds that hold out each row equally often.
    is_weighted : bool, default=False
        Whether weights of samples or classes apply to the training loss, and not to the
        held-out loss.  Then the two losses are not compared.
    """

    train_loss: Floats
    valid_loss: Floats
    valid_score: Floats
    params: Mapping[str, Any] = field(default_factory=dict)
    baseline_loss: float | None = None
    n_samples: int | None = None
    n_repeats: float = 1.0
    n_held_out: float | None = None
    is_weighted: bool = False

    @property
    def n_folds(self) -> int:
        """Number of folds, F."""
        return len(self.train_loss)

    @property
    def n_epochs(self) -> int:
        """Number of epochs of the longest fold, T."""
        return int(self.train_loss.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of a parameter's value or range.

    Parameters
    ----------
    parameter : str
        Name in the network, without the steps of a pipeline before it.
    action : {"set", "at least", "at most", "multiply", "extend down to", "extend up to", \
            "put in front"}
        Operation on the value or on the ends of the range; "put in front" inserts a
        pipeline step before the network.
    value : object
        The value, the bound, the factor, or the step.
    reason : str
        Reason in a few words.
    """

    parameter: str
    action: Action
    value: Any
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check.

    Parameters
    ----------
    code : str
        Stable code such as "SKT101"; empty for the checks of a search's report.  Your own
        checks have your own codes, or none.
    name : str
        Name of the check, such as "overfitting".
    outcome : {"issue", "tip", "passed", "by design", "not applicable"}
        In this order: a fault, a possible improvement, no fault found, a fault that the
        design of searches excludes, a check that was not possible.
    severity : {"low", "medium", "high"} or None
        Severity of an issue or a tip.
    message : str
        Result of the check in one sentence.
    evidence : mapping of str to float, default=empty
        Measured numbers behind the message, with their uncertainty over folds.
    remedy : str, default=""
        Recommended action in one sentence.
    changes : tuple of Change, default=()
        The remedy as changes of parameters or of a space, for ``apply_remedies``.
    alternatives : tuple of tuple of Change, default=()
        Further remedies, which ``apply_remedies`` tries in this order if earlier remedies
        lower the score or have no effect.
    other_issues : tuple of str, default=()
        For a verdict, the names of the remaining issues.
    result_row : int or None, default=None
        Row of ``cv_results_`` that the finding concerns; None if it concerns all.
    subject : str, default=""
        Kind of network that the finding concerns, in AutoML with several kinds.
    """

    code: str
    name: str
    outcome: Outcome
    severity: Severity | None
    message: str
    evidence: Mapping[str, float] = field(default_factory=dict)
    remedy: str = ""
    changes: tuple[Change, ...] = ()
    alternatives: tuple[tuple[Change, ...], ...] = ()
    other_issues: tuple[str, ...] = ()
    result_row: int | None = None
    subject: str = ""

    def __str__(self) -> str:
        name, kind, text = self.cells
        return f"{name} ({kind}): {text}"

    def _repr_html_(self) -> str:
        return html_table(_HEADER, [self.cells])

    @property
    def cells(self) -> list[str]:
        """Name, outcome and message with the remedy: a row of a table for notebooks."""
        kind = self.outcome if self.severity is None else f"{self.outcome}, {self.severity}"
        name = f"{self.subject}, {self.name}" if self.subject else self.name
        texts = [self.message, self.remedy]
        if self.other_issues:
            texts.append(f"Other issues: {', '.join(self.other_issues)}.")
        return [name, kind, " ".join(filter(None, texts))]

    @property
    def is_of_leaks(self) -> bool:
        """Whether the finding comes from the leak guard."""
        return self.code.startswith(_LEAKS)

    @property
    def page(self) -> str:
        """Address of its documentation; empty for other codes than sk_tune's."""
        if not self.code.startswith("SKT"):
            return ""
        place = "leaks" if self.is_of_leaks else f"diagnosis#{self.code.lower()}"
        return page(f"how-to/{place}")


@dataclass(frozen=True, slots=True)
class Rule:
    """Code and name of a kind of finding; codes are never reused."""

    code: str
    name: str

    def found(
        self,
        outcome: Outcome,
        severity: Severity | None,
        message: str,
        evidence: Mapping[str, float] | None = None,
        remedy: str = "",
        changes: tuple[Change, ...] = (),
        alternatives: tuple[tuple[Change, ...], ...] = (),
    ) -> Finding:
        """Return a finding, with evidence as plain numbers."""
        return Finding(
            code=self.code,
            name=self.name,
            outcome=outcome,
            severity=severity,
            message=message,
            evidence={name: float(value) for name, value in (evidence or {}).items()},
            remedy=remedy,
            changes=changes,
            alternatives=alternatives,
        )

    issue = partialmethod(found, "issue")
    tip = partialmethod(found, "tip")
    passed = partialmethod(found, "passed", None)
    not_applicable = partialmethod(found, "not applicable", None)


# A code is the number of the list plus the position of the name: append names, never insert
# them.  Rules from 201 on belong to the leak guard, rules from 301 on to the target.
_NAMES = {
    101: (
        "overfitting",
        "underfitting",
        "good fit",
        "still improving",
        "converged long ago",
        "diverged",
        "learning rate too high",
        "learning rate too low",
        "optimum at the edge",
        "folds disagree",
        "noise ceiling",
        "too few rows",
        "more data",
        "no better than the baseline",
        "optimistic best score",
        "fold that does harm",
        "failed candidates",
        "features not scaled",
        "search cut short",
    ),
    201: (
        "duplicates across folds",
        "near duplicates across folds",
        "groups across folds",
        "future in the training rows",
        "target among the features",
        "feature that gives the target away",
        "scaled over all rows",
        "outliers",
    ),
    301: ("class imbalance",),
}
RULES = {
    name: Rule(f"SKT{code}", name)
    for first, names in _NAMES.items()
    for code, name in enumerate(names, first)
}


def share(value: float) -> str:
    """Return a share as text.

    >>> share(0.123), share(0.004), share(12)
    ('12 %', '0.4 %', '1200 %')
    """
    percent = 100 * value
    return f"{percent:.0f} %" if abs(percent) >= 1 else f"{percent:.1g} %"


_TO_ACT_ON = ("issue", "tip")
_SEVERITIES = ("high", "medium", "low", None)
_IN_ONE_LINE = {"passed": "Passed", "not applicable": "Not applicable"}


class Findings(tuple[Finding, ...]):
    """A tuple of findings that prints as a report."""

    __slots__ = ()

    def __repr__(self) -> str:
        open_ = [f for f in self if f.name == "good fit" and f.outcome == "not applicable"]
        nothing = open_[0].message if open_ else "No check found an issue."
        lines = [str(finding) for finding in to_act_on(self)] or [nothing]
        return "\n".join([*lines, *(f"{k}: {names}." for k, names in self._others())])

    def _repr_html_(self) -> str:
        rows = [f.cells for f in to_act_on(self)]
        rows += [["", kind.lower(), names] for kind, names in self._others()]
        return html_table(_HEADER, rows)

    def _others(self) -> list[tuple[str, str]]:
        names = {
            text: ", ".join(f.name for f in self if f.outcome == outcome)
            for outcome, text in _IN_ONE_LINE.items()
        }
        return [(text, listed) for text, listed in names.items() if listed]


def to_act_on(findings: Iterable[Finding]) -> list[Finding]:
    """Return issues, then tips; in each, causes come first, then severe findings."""
    ordered = ranked(f for f in findings if f.outcome in _TO_ACT_ON)
    return sorted(ordered, key=lambda f: _TO_ACT_ON.index(f.outcome))


# Causes precede consequences: unscaled features make losses high and unsteady, a high
# learning rate makes folds disagree and losses rise, and few samples make all else
# uncertain. Losses that still fall come last.
_CAUSES_FIRST = (
    "features not scaled",
    "failed candidates",
    "search cut short",
    "diverged",
    "too few rows",
    "learning rate too high",
    "learning rate too low",
    "folds disagree",
    "underfitting",
    "no better than the baseline",
    "overfitting",
    "still improving",
)


# A tip with one of these names, unless of low severity, prevents "good fit".
_OF_FIT = (
    "features not scaled",
    "underfitting",
    "no better than the baseline",
    "overfitting",
    "still improving",
)


def good_fit(findings: Iterable[Finding]) -> Finding:
    """Return the finding "good fit": passed, or not applicable with the reason."""
    rule, findings = RULES["good fit"], list(findings)
    if issues := [f.name for f in findings if f.outcome == "issue"]:
        return rule.not_applicable(f"Issues were found: {', '.join(issues)}.")
    tips = [f for f in findings if f.outcome == "tip" and f.name in _OF_FIT]
    names = ", ".join(f.name for f in tips)
    if any(f.severity != "low" for f in tips):
        return rule.not_applicable(f"No clear verdict. Tips: {names}.")
    checked = {f.name for f in tips} | {f.name for f in findings if f.outcome == "passed"}
    if "overfitting" not in checked:
        return rule.not_applicable(
            "Without a held-out loss, overfitting cannot be checked. Diagnose a search, "
            "such as GridSearchCV(net, {}, cv=5), or fit the network with "
            "early_stopping=True."
        )
    if tips:
        return rule.passed(f"No serious fault found, only slight signs of: {names}.", {})
    return rule.passed(
        "No check found a fault, and the held-out loss does not rise beyond its noise.", {}
    )


def with_good_fit(
    findings: Iterable[Finding], result_row: int | None = None
) -> list[Finding]:
    """Return findings, with "good fit" in front."""
    findings = list(findings)
    return [replace(good_fit(findings), result_row=result_row), *findings]


def without_doubled_epochs(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings; the issue "overfitting" rules out a tip "converged long ago".

    Both concern the epochs after the minimum, and their remedies name different numbers of
    epochs.
    """
    findings = list(findings)
    if not any(f.name == "overfitting" and f.outcome == "issue" for f in findings):
        return findings
    message = "Epochs after the lowest held-out loss are treated as overfitting."
    return without(("converged long ago",), findings, message)


def without(
    names: Iterable[str], findings: Iterable[Finding], message: str
) -> list[Finding]:
    """Return findings; those with a name of a rule in `names` become not applicable."""
    rules = {RULES[name].code: RULES[name] for name in names}
    return [
        replace(rules[f.code].not_applicable(message), result_row=f.result_row)
        if f.code in rules
        else f
        for f in findings
    ]


def verdict(findings: Iterable[Finding]) -> Finding:
    """Return the finding to act on first, or "good fit".

    Parameters
    ----------
    findings : iterable of Finding
        As from ``diagnose``.

    Returns
    -------
    Finding
        The issue to solve first, with the names of the remaining issues: a leak that
        inflates scores, or otherwise a cause before its consequences.  If there are no
        issues, "good fit", or otherwise a tip that prevents "good fit", or otherwise the
        first finding.

    Raises
    ------
    ValueError
        If `findings` is empty.

    Examples
    --------
    >>> from sk_tune import Finding
    >>> issue = Finding(code="SKT101", name="overfitting", outcome="issue",
    ...     severity="high", message="The held-out loss rises.")
    >>> verdict([issue]).name
    'overfitting'
    """
    findings = list(findings)
    if not findings:
        raise ValueError("A verdict needs at least one finding. Got none.")
    good = [f for f in findings if f.outcome == "passed" and f.name == "good fit"]
    issues = ranked(f for f in findings if f.outcome == "issue")
    doubts = ranked(
        f
        for f in findings
        if f.outcome == "tip" and f.name in _OF_FIT and f.severity != "low"
    )
    first, *later = issues or (good or doubts or findings)[:1]
    return replace(first, other_issues=tuple(f.name for f in later)) if later else first


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings with causes before consequences, then by severity.

    Severe leaks come first, because they invalidate every score. A finding of a user's
    check precedes the first finding of less severity.
    """
    rank = {name: i for i, name in enumerate(_CAUSES_FIRST)}
    findings = list(findings)

    def place(finding: Finding) -> tuple[int, int]:
        is_severe = finding.outcome == "issue" and finding.severity == "high"
        position = rank.get(finding.name, len(rank))
        position = -1 if is_severe and finding.is_of_leaks else position
        return position, _SEVERITIES.index(finding.severity)

    ordered = sorted((f for f in findings if f.name in RULES), key=place)
    severity = [_SEVERITIES.index(f.severity) for f in ordered]
    for extra in (f for f in findings if f.name not in RULES):
        rank_of_extra = _SEVERITIES.index(extra.severity)
        less_severe = (i for i, other in enumerate(severity) if other > rank_of_extra)
        at = next(less_severe, len(ordered))
        ordered.insert(at, extra)
        severity.insert(at, rank_of_extra)
    return ordered


class _SkoreCheck:
    """The findings of one code, with the attributes of skore's protocol ``Check``."""

    slow = False

    def __init__(self, findings: list[Finding]) -> None:
        first = findings[0]
        self.code = first.code or first.name.upper()
        self.title = first.name.capitalize()
        self.docs_url = first.page or None
        self.report_types = ["estimator", "cross-validation"]
        self._to_act_on = to_act_on(findings)
        is_tip = bool(self._to_act_on) and self._to_act_on[0].outcome == "tip"
        self.severity: Literal["issue", "tip"] = "tip" if is_tip else "issue"
        self._reasons = [f.message for f in findings if f.outcome == "not applicable"]

    def check_function(self, report: Any) -> str | None:
        """Return the findings as text, None if the check passed."""
        if self._to_act_on:
            return " ".join(finding.cells[2] for finding in self._to_act_on)
        if self._reasons:
            from skore import CheckNotApplicable

            raise CheckNotApplicable(self._reasons[0])
        return None


def skore_checks(findings: Iterable[Finding]) -> list[_SkoreCheck]:
    """Return findings as checks for a report of skore.

    Parameters
    ----------
    findings : iterable of Finding
        As from ``diagnose`` or ``find_leaks``.

    Returns
    -------
    list
        One check for each code, for ``checks.add`` of an ``EstimatorReport`` or
        ``CrossValidationReport`` of skore [1]_.  The summary of the report then includes
        the codes, messages, remedies and documentation links of these checks.

    References
    ----------
    .. [1] https://docs.skore.probabl.ai, "Automated checks"; used with version 0.28.

    Examples
    --------
    >>> from sk_tune import Finding, skore_checks
    >>> issue = Finding(code="SKT101", name="overfitting", outcome="issue",
    ...     severity="high", message="The held-out loss rises.", remedy="Raise dropout.")
    >>> (check,) = skore_checks([issue])
    >>> check.code, check.severity, check.check_function(None)
    ('SKT101', 'issue', 'The held-out loss rises. Raise dropout.')
    """
    by_code: dict[str, list[Finding]] = {}
    for finding in findings:
        by_code.setdefault(finding.code or finding.name, []).append(finding)
    return [_SkoreCheck(several) for several in by_code.values()]
