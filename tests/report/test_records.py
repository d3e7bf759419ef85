"""The record that a report is made of."""

import math

from sk_tune.diagnosis import Finding


def test_candidates_with_a_reason_are_not_scored(make_report, make_row):
    """A number that stands for a failure is no score."""
    rows = [
        make_row(0, 0.5),
        make_row(1, -1.0, reason="it diverged"),
        make_row(2, math.nan),
    ]

    assert make_report(rows).scored == rows[:1]


def test_issues_come_before_tips_and_severe_ones_first(make_report, make_row):
    """What passed is not among them."""
    kinds = [("tip", "high"), ("passed", None), ("issue", "low"), ("issue", "high")]
    findings = tuple(
        Finding(code="SKT100", name="x", outcome=kind, severity=level, message="")
        for kind, level in kinds
    )

    wrong = make_report([make_row(0, 0.5)], findings=findings).wrong

    assert [(f.outcome, f.severity) for f in wrong] == [kinds[3], kinds[2], kinds[0]]


def test_parameters_are_those_of_any_candidate(make_report, make_row):
    """Conditional ones included, each once."""
    rows = [make_row(0, 0.5, params={"a": 1}), make_row(1, 0.6, params={"b": 1, "a": 2})]

    assert make_report(rows).names == ["a", "b"]
