# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Codes of the checks."""

from sk_tune.diagnosis._findings import CHECKS

# Written out, because a code that once was published is never given to another check.
PUBLISHED = {
    "SKT101": "overfitting",
    "SKT102": "underfitting",
    "SKT103": "good fit",
    "SKT104": "still improving",
    "SKT105": "converged long ago",
    "SKT106": "diverged",
    "SKT107": "learning rate too high",
    "SKT108": "learning rate too low",
    "SKT109": "optimum at the edge",
    "SKT110": "folds disagree",
    "SKT111": "noise ceiling",
    "SKT112": "too few rows",
    "SKT113": "more data",
    "SKT114": "no better than the baseline",
    "SKT115": "optimistic best score",
    "SKT116": "fold that does harm",
}


def test_codes_are_stable():
    """Each check keeps the code that it was published with."""
    codes = {check.code: check.name for check in CHECKS.values()}

    assert codes == PUBLISHED


def test_evidence_is_of_plain_numbers():
    """What a finding rests on can be written to JSON."""
    finding = CHECKS["overfitting"].passed("No.", {"n_epochs": 3})

    assert type(finding.evidence["n_epochs"]) is float
    assert (finding.outcome, finding.severity, finding.changes) == ("passed", None, ())
