# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The finding that matters most."""

import pytest

from sk_tune.diagnosis import Finding, verdict
from sk_tune.diagnosis._findings import good_fit, ranked


def finding(name, outcome, severity=None):
    return Finding(code="", name=name, outcome=outcome, severity=severity, message="")


def test_causes_go_before_consequences():
    """A learning rate that is too high explains losses that rise."""
    findings = [
        finding("overfitting", "issue"),
        finding("learning rate too high", "issue"),
        finding("diverged", "passed"),
    ]

    assert verdict(findings).name == "learning rate too high"


def test_without_issues_the_fit_is_good():
    """A tip that is not about the fit does not keep it from being good."""
    findings = [finding("overfitting", "passed"), finding("converged long ago", "tip")]

    good = good_fit(findings)

    assert good.outcome == "passed"
    assert verdict([*findings, good]).name == "good fit"


def test_an_issue_keeps_a_fit_from_being_good():
    """What has a fault is not called good, and the fault is named."""
    good = good_fit([finding("overfitting", "issue")])

    assert good.outcome == "not applicable"
    assert "overfitting" in good.message


@pytest.mark.parametrize("name", ["underfitting", "no better than the baseline"])
def test_a_tip_that_denies_a_good_fit_is_the_verdict(name):
    """What may well underfit is not called good in the same breath."""
    findings = [finding("overfitting", "passed"), finding(name, "tip", "medium")]

    good = good_fit(findings)

    assert good.outcome == "not applicable"
    assert name in good.message
    assert verdict([good, *findings]).name == name


def test_small_doubts_are_said_with_the_good_fit():
    """What could be a little better is named where the fit is called good."""
    findings = [finding("overfitting", "passed"), finding("still improving", "tip", "low")]

    good = good_fit(findings)

    assert verdict([good, *findings]) is good
    assert good.message.endswith("could be better: still improving.")


def test_nothing_held_out_is_no_good_fit():
    """Without a held-out loss nobody can say that a fit is good."""
    assert good_fit([finding("overfitting", "not applicable")]).outcome == "not applicable"


def test_no_findings_are_no_verdict():
    """An empty list is a mistake of the caller."""
    with pytest.raises(ValueError, match="at least one finding"):
        verdict([])


def test_what_has_no_rank_keeps_its_order():
    """Findings about a search come after those that have an order."""
    findings = [finding(name, "tip") for name in ("b", "a", "diverged")]

    assert [f.name for f in ranked(findings)] == ["diverged", "b", "a"]
