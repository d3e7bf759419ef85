"""Findings, their codes, and which of them matters most."""

import copy
import dataclasses
import pickle

import pytest

from sk_tune.diagnosis import Finding, diagnose, verdict
from sk_tune.diagnosis._findings import CHECKS, good_fit, ranked


@pytest.fixture
def findings(shapes):
    """Findings of a network that overfits."""
    return diagnose(shapes.overfitting())


def test_they_print_as_a_report(findings):
    """What is wrong comes first with its remedy, what is well shares a line."""
    lines = str(findings).splitlines()

    found = verdict(findings)
    text = f"{found.name} (issue, {found.severity}): {found.message} {found.remedy}"
    assert lines[0] == text == str(found)
    (passed,) = [line for line in lines if line.startswith("Passed: ")]
    assert all(f.name in passed for f in findings if f.outcome == "passed")
    assert lines[-1].startswith(("Passed", "Not applicable"))
    assert len(lines) < len(findings)
    assert repr(findings) == str(findings)
    html = findings._repr_html_()
    assert f"<td>{found.name}</td><td>issue, " in html
    assert "<td>Passed</td>" in html


def test_they_are_a_tuple_still(findings):
    """For those who look at one after another, and for pickle and copy; all are frozen."""
    assert isinstance(findings, tuple)
    assert all(isinstance(finding, Finding) for finding in findings)
    assert pickle.loads(pickle.dumps(findings)) == copy.deepcopy(findings) == findings
    with pytest.raises(dataclasses.FrozenInstanceError):
        findings[0].outcome = "issue"


def test_curves_count_folds_and_epochs(shapes):
    """Rows are folds, columns are epochs."""
    curves = shapes.healthy(n_epochs=7, n_folds=3)

    assert (curves.n_folds, curves.n_epochs) == (3, 7)


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


def test_codes_of_checks_are_stable():
    """Each check keeps the code that it was published with."""
    codes = {check.code: check.name for check in CHECKS.values()}

    assert codes == PUBLISHED


def test_evidence_is_of_plain_numbers():
    """What a finding rests on can be written to JSON."""
    finding = CHECKS["overfitting"].passed("No.", {"n_epochs": 3})

    assert type(finding.evidence["n_epochs"]) is float
    assert (finding.outcome, finding.severity, finding.changes) == ("passed", None, ())


def named(name, outcome, severity=None):
    return Finding(code="", name=name, outcome=outcome, severity=severity, message="")


def test_causes_go_before_consequences():
    """A learning rate that is too high explains losses that rise."""
    findings = [
        named("overfitting", "issue"),
        named("learning rate too high", "issue"),
        named("diverged", "passed"),
    ]

    assert verdict(findings).name == "learning rate too high"


def test_without_issues_the_fit_is_good():
    """A tip that is not about the fit does not keep it from being good."""
    findings = [named("overfitting", "passed"), named("converged long ago", "tip")]

    good = good_fit(findings)

    assert good.outcome == "passed"
    assert verdict([*findings, good]).name == "good fit"


def test_an_issue_keeps_a_fit_from_being_good():
    """What has a fault is not called good, and the fault is named."""
    good = good_fit([named("overfitting", "issue")])

    assert good.outcome == "not applicable"
    assert "overfitting" in good.message


@pytest.mark.parametrize("name", ["underfitting", "no better than the baseline"])
def test_a_tip_that_denies_a_good_fit_is_the_verdict(name):
    """What may well underfit is not called good in the same breath."""
    findings = [named("overfitting", "passed"), named(name, "tip", "medium")]

    good = good_fit(findings)

    assert good.outcome == "not applicable"
    assert name in good.message
    assert verdict([good, *findings]).name == name


def test_small_doubts_are_said_with_the_good_fit():
    """What could be a little better is named where the fit is called good."""
    findings = [named("overfitting", "passed"), named("still improving", "tip", "low")]

    good = good_fit(findings)

    assert verdict([good, *findings]) is good
    assert good.message.endswith("could be better: still improving.")


def test_nothing_held_out_is_no_good_fit():
    """Without a held-out loss nobody can say that a fit is good."""
    assert good_fit([named("overfitting", "not applicable")]).outcome == "not applicable"


def test_no_findings_are_no_verdict():
    """An empty list is a mistake of the caller."""
    with pytest.raises(ValueError, match="at least one finding"):
        verdict([])


def test_what_has_no_rank_keeps_its_order():
    """Findings about a search come after those that have an order."""
    findings = [named(name, "tip") for name in ("b", "a", "diverged")]

    assert [f.name for f in ranked(findings)] == ["diverged", "b", "a"]
