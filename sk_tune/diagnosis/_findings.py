# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Findings as people read them: what is wrong first, what is well in a line."""

from sk_tune._text import html_table
from sk_tune.diagnosis._records import Finding

__all__ = ["Findings"]

_IN_ORDER = ("issue", "tip")
_SEVERITIES = ("high", "medium", "low", None)
_AT_ONCE = {"passed": "Passed", "not applicable": "Not applicable"}


class Findings(tuple[Finding, ...]):
    """A tuple of findings that prints as a report."""

    __slots__ = ()

    def __repr__(self) -> str:
        lines = [str(finding) for finding in self._told()] or ["Nothing is wrong."]
        return "\n".join([*lines, *(f"{k}: {names}." for k, names in self._others())])

    def _repr_html_(self) -> str:
        rows = [
            [f.name, _kind(f), " ".join([f.message, f.remedy]).strip()]
            for f in self._told()
        ]
        rows += [[kind, "", names] for kind, names in self._others()]
        return html_table(["check", "outcome", "what was found"], rows)

    def _told(self) -> list[Finding]:
        """Return issues and then tips, the most severe first."""
        return sorted(
            (f for f in self if f.outcome in _IN_ORDER),
            key=lambda f: (_IN_ORDER.index(f.outcome), _SEVERITIES.index(f.severity)),
        )

    def _others(self) -> list[tuple[str, str]]:
        """Return names of the other checks by what became of them."""
        names = {
            text: ", ".join(f.name for f in self if f.outcome == outcome)
            for outcome, text in _AT_ONCE.items()
        }
        return [(text, own) for text, own in names.items() if own]


def _kind(finding: Finding) -> str:
    return f"{finding.outcome}, {finding.severity}"
