# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The one finding that matters most."""

from collections.abc import Iterable

from sk_tune.diagnosis._check import CHECKS
from sk_tune.diagnosis._records import Finding

__all__ = ["good_fit", "ranked", "verdict"]

# Causes before their consequences: a rate that is too high makes folds disagree and losses
# rise; few rows make everything else uncertain; what still improves is not judged yet.
_ORDER = (
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


# What a tip of these says, nobody can say of a good fit.
_OF_FIT = ("underfitting", "no better than the baseline", "overfitting", "still improving")


def good_fit(findings: Iterable[Finding]) -> Finding:
    """Return whether a configuration has none of the faults that the other checks look for.

    Passed if no check found an issue, or what may well be one.
    """
    check = CHECKS["good fit"]
    findings = list(findings)
    issues = [f.name for f in findings if f.outcome == "issue"]
    if issues:
        return check.not_applicable(f"There are issues: {', '.join(issues)}.")
    tips = [f for f in findings if f.outcome == "tip" and f.name in _OF_FIT]
    is_held_out = any(f.name == "overfitting" and f.outcome == "passed" for f in findings)
    if not is_held_out and "overfitting" not in {f.name for f in tips}:
        return check.not_applicable("There is no held-out loss to judge by.")
    names = ", ".join(f.name for f in tips)
    if any(f.severity != "low" for f in tips):
        return check.not_applicable(f"It is open whether the fit is good: {names}.")
    if tips:
        return check.passed(f"There is no fault, but it could be better: {names}.", {})
    return check.passed("The network learns what it can, and no more.", {})


def verdict(findings: Iterable[Finding]) -> Finding:
    """Return the one finding to act on, or that all is well.

    Parameters
    ----------
    findings : iterable of Finding
        As from ``diagnose``.

    Returns
    -------
    Finding
        The issue that explains the others; else "good fit"; else the tip that keeps the
        fit from being called good; else the first finding.

    Raises
    ------
    ValueError
        If there are no findings.

    Examples
    --------
    >>> from sk_tune.diagnosis import Finding
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
    return (issues or good or doubts or findings)[0]


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings with causes before their consequences.

    Those without a rank come last.
    """
    rank = {name: i for i, name in enumerate(_ORDER)}
    return sorted(findings, key=lambda f: rank.get(f.name, len(rank)))
