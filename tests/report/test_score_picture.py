"""The scores of the answer side by side."""

import xml.etree.ElementTree as ET

import pytest

from sk_tune.report import Baseline
from sk_tune.report._gathering import score_lines
from sk_tune.report._pictures import score_picture
from sk_tune.search import CorrectedScore


def test_baselines_best_and_corrected_score_are_on_one_axis(make_report, make_row):
    """Each with its uncertainty; a baseline without a score is left out."""
    report = make_report(
        [make_row(0, 0.9, std=0.05)],
        baselines=[
            Baseline(name="dummy", mean=0.3, std=0.1),
            Baseline(name="linear", mean=float("nan"), std=float("nan")),
        ],
        corrected=CorrectedScore(
            score=0.8,
            low=0.7,
            high=0.85,
            confidence=0.95,
            n_bootstraps=1000,
            naive_score=0.9,
        ),
    )

    lines = score_lines(report)
    assert [line[0] for line in lines] == ["dummy", "best, as found", "best, corrected"]
    assert lines[-1][1:5] == (0.8, 0.7, 0.85, "95% interval")
    own = ET.fromstring(score_picture(lines, report.metric)["svg"])
    at = [float(circle.attrib["cx"]) for circle in own.findall("circle")]
    # 0.3, 0.9 and 0.8 on a linear axis.
    assert (at[2] - at[0]) / (at[1] - at[0]) == pytest.approx(5 / 6, abs=0.01)


def test_no_score_is_no_picture(make_report, make_row):
    """The page then says so in words."""
    report = make_report([make_row(0, float("nan"))])

    assert score_picture(score_lines(report), report.metric) is None
