"""Findings, their codes, and which of them matters most."""

import copy
import dataclasses
import pickle

import pytest

from sk_tune.diagnosis import Finding, diagnose, verdict
from sk_tune.diagnosis._findings import RULES, good_fit


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
    "SKT201": "duplicates across folds",
    "SKT202": "near duplicates across folds",
    "SKT203": "groups across folds",
    "SKT204": "future in the training rows",
    "SKT205": "target among the features",
    "SKT206": "feature that gives the target away",
    "SKT207": "scaled over all rows",
    "SKT208": "outliers",
}


def test_codes_of_checks_are_stable():
    """Each check keeps the code that it was published with."""
    codes = {check.code: check.name for check in RULES.values()}

    assert codes == PUBLISHED


def test_evidence_is_of_plain_numbers():
    """What a finding rests on can be written to JSON."""
    finding = RULES["overfitting"].passed("No.", {"n_epochs": 3})

    assert type(finding.evidence["n_epochs"]) is float
    assert (finding.outcome, finding.severity, finding.changes) == ("passed", None, ())


def named(name, outcome, severity=None):
    return Finding(code="", name=name, outcome=outcome, severity=severity, message="")


HELD_OUT = named("overfitting", "passed")


@pytest.mark.parametrize(
    ("findings", "outcome", "words", "matters"),
    [
        # A cause explains its consequences, and a fault is named instead of a good fit.
        (
            [named("overfitting", "issue"), named("learning rate too high", "issue")],
            "not applicable",
            "There are issues: overfitting, learning rate too high",
            "learning rate too high",
        ),
        # A tip that is not about the fit does not keep it from being good.
        ([HELD_OUT, named("converged long ago", "tip")], "passed", "no more", "good fit"),
        # What may well underfit is not called good in the same breath.
        *(
            ([HELD_OUT, named(name, "tip", "medium")], "not applicable", name, name)
            for name in ("underfitting", "no better than the baseline")
        ),
        # Small doubts are said with the good fit.
        (
            [HELD_OUT, named("still improving", "tip", "low")],
            "passed",
            "could be better: still improving.",
            "good fit",
        ),
        # Without a held-out loss nobody can say that a fit is good.
        (
            [named("overfitting", "not applicable")],
            "not applicable",
            "no held-out loss",
            "good fit",
        ),
    ],
)
def test_the_finding_that_matters_most_is_the_verdict(findings, outcome, words, matters):
    """A fit is called good only if no issue and no grave doubt speaks against it."""
    good = good_fit(findings)

    assert good.outcome == outcome
    assert words in good.message
    assert verdict([good, *findings]).name == matters


def test_no_findings_are_no_verdict():
    """An empty list is a mistake of the caller."""
    with pytest.raises(ValueError, match="at least one finding"):
        verdict([])
