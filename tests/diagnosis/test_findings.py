"""Findings as people read them."""

import copy
import pickle

import pytest

from sk_tune.diagnosis import Curves, Finding, diagnose, verdict


@pytest.fixture
def findings():
    """Findings of a network that overfits."""
    epochs = [i + 1 for i in range(30)]
    train = [[2.0 ** (-e / 5) for e in epochs]] * 3
    valid = [
        [0.4 + 2.0 ** (-e / 3) + 0.02 * e + 0.01 * k for e in epochs] for k in range(3)
    ]
    score = [[-v for v in fold] for fold in valid]
    return diagnose(Curves(train_loss=train, valid_loss=valid, valid_score=score))


def test_they_print_as_a_report(findings):
    """What is wrong has a line with its remedy; what is well shares one."""
    lines = str(findings).splitlines()

    found = verdict(findings)
    assert (
        f"{found.name} (issue, {found.severity}): {found.message} {found.remedy}" in lines
    )
    (passed,) = [line for line in lines if line.startswith("Passed: ")]
    assert all(f.name in passed for f in findings if f.outcome == "passed")
    assert len(lines) < len(findings)
    assert repr(findings) == str(findings)
    assert str(found) in lines


def test_a_notebook_has_a_table(findings):
    """With the same in it."""
    html = findings._repr_html_()

    assert f"<td>{verdict(findings).name}</td><td>issue, " in html
    assert "<td>Passed</td>" in html


def test_they_are_a_tuple_still(findings):
    """For those who look at one after another, and for pickle and copy."""
    assert isinstance(findings, tuple)
    assert all(isinstance(finding, Finding) for finding in findings)
    assert pickle.loads(pickle.dumps(findings)) == copy.deepcopy(findings) == findings


def test_the_most_severe_comes_first(findings):
    """An issue before a tip, what passed and what was not looked at last."""
    kinds = [(f.outcome, f.severity, f.name) for f in findings if f.outcome == "issue"]
    first = str(findings).splitlines()[0]

    assert any(first.startswith(name) for _, _, name in kinds)
    assert str(findings).splitlines()[-1].startswith(("Passed", "Not applicable"))
