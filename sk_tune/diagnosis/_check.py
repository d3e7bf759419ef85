# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The codes of the checks, and findings made under them."""

from collections.abc import Mapping
from dataclasses import dataclass

from sk_tune.diagnosis._records import Change, Finding, Outcome, Severity

__all__ = ["CHECKS", "Check", "share"]


@dataclass(frozen=True, slots=True)
class Check:
    """The code and name that findings of one kind share.

    The code is stable: it is never given to another check.
    """

    code: str
    name: str

    def issue(
        self,
        severity: Severity,
        message: str,
        evidence: Mapping[str, float],
        remedy: str = "",
        changes: tuple[Change, ...] = (),
    ) -> Finding:
        """Return the finding that something is wrong, with the remedy."""
        return self._made("issue", severity, message, evidence, remedy, changes)

    def tip(
        self,
        severity: Severity,
        message: str,
        evidence: Mapping[str, float],
        remedy: str = "",
        changes: tuple[Change, ...] = (),
    ) -> Finding:
        """Return the finding that something could be better, with the remedy."""
        return self._made("tip", severity, message, evidence, remedy, changes)

    def passed(self, message: str, evidence: Mapping[str, float]) -> Finding:
        """Return the finding that nothing is wrong."""
        return self._made("passed", None, message, evidence, "", ())

    def not_applicable(self, message: str) -> Finding:
        """Return the finding that the check could not be made; the message says why."""
        return self._made("not applicable", None, message, {}, "", ())

    def _made(
        self,
        outcome: Outcome,
        severity: Severity | None,
        message: str,
        evidence: Mapping[str, float],
        remedy: str,
        changes: tuple[Change, ...],
    ) -> Finding:
        return Finding(
            code=self.code,
            name=self.name,
            outcome=outcome,
            severity=severity,
            message=message,
            evidence={name: float(value) for name, value in evidence.items()},
            remedy=remedy,
            changes=changes,
        )


CHECKS = {
    name: Check(f"SKT{101 + i}", name)
    for i, name in enumerate((
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
    ))
}


def share(value: float) -> str:
    """Return a share as text.

    >>> share(0.123), share(0.004), share(12)
    ('12 %', '0.4 %', '1200 %')
    """
    percent = 100 * value
    return f"{percent:.0f} %" if abs(percent) >= 1 else f"{percent:.1g} %"
