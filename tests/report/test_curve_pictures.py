"""Pictures of curves by epochs."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from sk_tune.diagnosis import Curves
from sk_tune.report._pictures import curve_pictures
from sk_tune.report.displays import fold_summary


def test_a_band_runs_from_the_lowest_to_the_highest_fold():
    """There is no mean after one of the folds is over."""
    nan = np.nan
    band = fold_summary(np.array([[1.0, 2.0, nan], [3.0, nan, nan]]))

    np.testing.assert_array_equal(band.epochs, [1, 2, 3])
    np.testing.assert_array_equal(band.mean, [2, nan, nan])
    np.testing.assert_array_equal(band.low[:2], [1, 2])
    np.testing.assert_array_equal(band.high[:2], [3, 2])
    assert fold_summary(np.full((2, 3), nan)).is_empty


def test_the_ends_of_a_long_curve_are_drawn():
    """Of very many epochs some are left out, the first and the last never."""
    band = fold_summary(np.arange(5000.0)[None], n_most=150)

    assert len(band.epochs) <= 150
    assert (band.epochs[0], band.epochs[-1]) == (1, 5000)
    np.testing.assert_array_equal(band.mean, band.epochs - 1)


def test_points_tell_the_values_of_their_epoch(make_report, make_row, make_curves):
    """Mean, lowest and highest fold, on training and held-out rows."""
    report = make_report([make_row(0, 0.9)], curves=make_curves(), best_epoch=4)

    losses, scores = curve_pictures(report)

    own = ET.fromstring(losses["svg"])
    titles = [title.text for title in own.iterfind(".//g[@class='points']/circle/title")]
    # Losses of the second epoch: 1/2 + 0, 0.1 and 0.2; 0.5 more on held-out rows.
    assert len(titles) == 9
    assert titles[1] == (
        "epoch 2, loss: training rows 0.6 (0.5 to 0.7); held-out rows 1.1 (1 to 1.2)"
    )
    assert "epoch 4 counts" in own[0].text
    assert "score: held-out rows 0.4 (0.3 to 0.5)" in scores["svg"]


def test_the_chosen_epoch_is_marked_at_its_place(make_report, make_row, make_curves):
    """On the axis of the points."""
    report = make_report([make_row(0, 0.9)], curves=make_curves(), best_epoch=4)

    own = ET.fromstring(curve_pictures(report)[0]["svg"])

    chosen = own.find("line[@class='chosen']").attrib["x1"]
    circles = own.findall(".//g[@class='points']/circle")
    assert chosen == circles[3].attrib["cx"]


@pytest.mark.parametrize("missing", ["valid_loss", "valid_score", "both"])
def test_curves_that_are_missing_are_left_out(make_report, make_row, make_curves, missing):
    """Held-out rows that a network cannot take have none."""
    full = make_curves()
    nothing = np.full_like(full.train_loss, np.nan)
    curves = Curves(
        train_loss=full.train_loss,
        valid_loss=full.valid_loss if missing == "valid_score" else nothing,
        valid_score=full.valid_score if missing == "valid_loss" else nothing,
    )
    report = make_report([make_row(0, 0.9)], curves=curves, best_epoch=9)

    figures = curve_pictures(report)

    assert len(figures) == (2 if missing == "valid_loss" else 1)
    assert not re.search("nan|inf", "".join(f["svg"] for f in figures))


def test_what_is_no_network_has_no_curves(make_report, make_row):
    """And neither has a search that chose nothing."""
    assert curve_pictures(make_report([make_row(0, 0.9)])) == []
    assert curve_pictures(make_report([make_row(0, float("nan"))])) == []
