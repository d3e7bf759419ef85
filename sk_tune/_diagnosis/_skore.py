# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Findings as checks of skore's reports."""

from collections.abc import Iterable
from typing import Any, Literal

from sk_tune._diagnosis._findings import Finding, to_act_on


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
