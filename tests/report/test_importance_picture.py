"""Which hyperparameters matter, as bars."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from sk_tune.report._pictures import importance_picture
from sk_tune.report.displays import Importance


def _importance(**fields):
    return Importance(**{
        "labels": ("minor", "<major>"),
        "main": np.array([0.1, 0.5]),
        "total": np.array([0.2, 0.8]),
        "low": np.array([0.1, 0.6]),
        "high": np.array([0.3, 0.9]),
        "noise": 0.05,
        "r2": 0.7,
        "p_value": 0.05,
        "n_trials": 20,
        **fields,
    })


def test_bars_are_as_long_as_the_shares(make_report, make_row):
    """The most important one first, each with its numbers."""
    report = make_report([make_row(0, 0.5)], importance=_importance())

    figure = importance_picture(report)

    own = ET.fromstring(figure["svg"])
    widths = [float(rect.attrib["width"]) for rect in own.findall("rect")]
    # Total and alone: 80 and 50 %, then 20 and 10 %.
    assert np.array(widths) / widths[0] == pytest.approx([1, 5 / 8, 2 / 8, 1 / 8], abs=0.01)
    titles = [t.text for t in own.iterfind(".//g[@class='points']/circle/title")]
    assert titles[0] == (
        "<major>: 80% of the variance, 50% alone; 60% to 90% in 8 of 10 trees"
    )
    assert titles[1].startswith("minor: 20%")


@pytest.mark.parametrize("importance", [None, _importance(p_value=0.5)])
def test_chance_is_not_drawn(make_report, make_row, importance):
    """Where nothing varies, or a forest predicts nothing."""
    report = make_report([make_row(0, 0.5)], importance=importance)

    assert importance_picture(report) is None
