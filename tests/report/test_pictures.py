"""The pictures of a page, and their elements, scales and paths."""

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_tune._diagnosis import Curves, Finding
from sk_tune._report._drawing import fitted
from sk_tune._report._parameter_importance import Importance
from sk_tune._report._pictures import (
    curve_pictures,
    history_picture,
    importance_picture,
    rung_picture,
    score_picture,
    slice_pictures,
)
from sk_tune._report._svg import AxisScale, scale_of

_values = st.lists(
    st.floats(-1e12, 1e12, allow_nan=False, allow_infinity=False), min_size=1, max_size=20
)


@given(_values)
def test_a_scale_shows_all_values_in_order(values):
    """Within its ends, in ascending order."""
    scale = scale_of(values, (10, 110))

    at = [scale(value) for value in sorted(values)]

    assert at == sorted(at)
    assert 10 <= at[0] <= at[-1] <= 110


@given(_values, st.booleans())
def test_ticks_are_on_the_axis_and_round(values, is_count):
    """At least one tick, ascending, all within the axis."""
    scale = scale_of(values, (0, 100), is_count=is_count)

    ticks = scale.ticks()

    assert ticks
    assert ticks == sorted(ticks)
    assert all(scale.low <= tick <= scale.high for tick in ticks)


def test_ticks_of_usual_axes():
    """As a person would write them."""
    unit = AxisScale(low=0, high=1, first=0, last=1)
    learning_rates = AxisScale(low=1e-4, high=1e-1, first=0, last=1, is_log=True)
    epochs = AxisScale(low=0.5, high=4.5, first=0, last=1, is_count=True)

    assert unit.ticks(5) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert learning_rates.ticks() == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    assert epochs.ticks() == [1, 2, 3, 4]
    losses = AxisScale(low=0.004, high=0.4, first=0, last=1, is_log=True)
    assert losses.ticks() == pytest.approx([0.01, 0.03, 0.1, 0.3])
    assert scale_of([7], (0, 1), is_count=True).ticks() == [7]


def _points(figure):
    return ET.fromstring(figure["svg"]).findall(".//g[@class='points']/circle")


def test_each_score_is_a_point_of_the_history(make_report, make_row):
    """Failures are only counted in the caption."""
    rows = [make_row(0, 0.5), make_row(1, 0.9), make_row(2, math.nan), make_row(3, 0.7)]

    figure = history_picture(make_report(rows))

    texts = [circle[0].text for circle in _points(figure)]
    assert sorted(texts) == [
        "row 0: 0.5; width 1",
        "row 1: 0.9; width 2",
        "row 3: 0.7; width 8",
    ]
    assert "1 without a score are left out" in figure["caption"]
    assert [c.attrib["class"] for c in _points(figure)][-1] == "best"


def test_scores_far_below_stay_visible(make_report, make_row):
    """At the lower edge, and counted."""
    rows = [make_row(k, 0.8 + 0.01 * k) for k in range(8)] + [make_row(8, -1e9)]

    figure = history_picture(make_report(rows))

    down = [float(circle.attrib["cy"]) for circle in _points(figure)]
    assert len(set(down)) == 9
    assert max(down) < 270
    assert "1 with far lower scores are drawn at the lower edge" in figure["caption"]


def test_one_candidate_has_a_picture_and_no_score_has_none(make_report, make_row):
    """One candidate is a point in the middle."""
    one, none = (make_report([make_row(0, score)]) for score in (0.5, math.nan))

    (point,) = _points(history_picture(one))

    assert all(math.isfinite(float(point.attrib[name])) for name in ("cx", "cy"))
    assert slice_pictures(one) == slice_pictures(none) == []
    assert history_picture(none) is rung_picture(none) is None
    assert score_picture([], none.metric) is None
    assert curve_pictures(one) == curve_pictures(none) == []


def test_lines_join_the_rungs_of_a_candidate(make_report, make_row):
    """The best is bold; candidates that were not promoted have no line."""
    granted = [(0, 1), (1, 1), (2, 1), (0, 3), (1, 3), (0, 9)]
    rows = [
        make_row(
            k,
            0.5 + 0.05 * k,
            params={"width": width, "net__max_epochs": n},
            rung={1: 0, 3: 1, 9: 2}[n],
            candidate=width,
            n_resources=n,
        )
        for k, (width, n) in enumerate(granted)
    ]

    figure = rung_picture(make_report(rows, resource="net__max_epochs"))

    own = ET.fromstring(figure["svg"])
    lines = [path.attrib for path in own.findall("path")]
    assert [line["class"] for line in lines] == ["line thin", "line b strong"]
    assert [line["d"].count("L") for line in lines] == [1, 2]
    assert len(_points(figure)) == 6
    # Each rung is at the same distance from the next: equal factors on a log axis.
    at = sorted({float(circle.attrib["cx"]) for circle in _points(figure)})
    assert at[1] - at[0] == pytest.approx(at[2] - at[1], abs=0.2)


def test_each_parameter_that_varies_has_a_picture(make_report, make_row):
    """Numbers on a scale, names side by side; not constants and many names."""
    rows = [
        make_row(
            k,
            0.5 + 0.01 * k,
            params={
                "rate": 10.0**-k,
                "kind": "ab"[k % 2],
                "constant": 1,
                "object": object(),
                **({"momentum": k % 4} if k % 2 else {}),
            },
        )
        for k in range(12)
    ]

    figures = {f["caption"]: f for f in slice_pictures(make_report(rows))}

    assert sorted(figures) == ["kind", "momentum", "rate"]
    assert len(_points(figures["momentum"])) == 6
    assert re.findall(r">(\d+)</text>", figures["momentum"]["svg"]) == ["1", "3"]
    assert "rate (log)" in figures["rate"]["svg"]
    across = [(float(c.attrib["cx"]), c[0].text) for c in _points(figures["kind"])]
    rows = [int(re.search(r"\d+", text)[0]) for _, text in sorted(across)]
    assert [row % 2 for row in rows] == [0] * 6 + [1] * 6


def test_points_show_the_values_of_their_epoch(make_report, make_row, make_curves):
    """Mean, lowest and highest fold, on training and held-out rows."""
    report = make_report([make_row(0, 0.9)], curves=make_curves(), best_epoch=4)

    losses, scores = curve_pictures(report)

    points = _points(losses)
    # Losses of the second epoch: 1/2 + 0, 0.1 and 0.2; 0.5 more on held-out rows.
    assert len(points) == 9
    assert points[1][0].text == (
        "epoch 2, loss: training rows 0.6 (0.5 to 0.7); held-out rows 1.1 (1 to 1.2)"
    )
    own = ET.fromstring(losses["svg"])
    assert "epoch 4 is used" in own[0].text
    assert own.find("line[@class='chosen']").attrib["x1"] == points[3].attrib["cx"]
    assert "R²: held-out rows 0.4 (0.3 to 0.5)" in scores["svg"]


@pytest.mark.parametrize("metric", ["accuracy", "ROC AUC"])
def test_the_score_by_epoch_names_its_metric(make_report, make_row, make_curves, metric):
    """It differs from the metric of the search where that is not computed by epoch."""
    report = make_report(
        [make_row(0, 0.9)],
        curves=make_curves(),
        best_epoch=4,
        metric=metric,
        curve_metric="accuracy",
    )

    _, scores = curve_pictures(report)

    assert scores["caption"].startswith("Accuracy of the best candidate (row 0) on the ")
    assert ">accuracy</text>" in scores["svg"]
    assert ("search itself is scored by ROC AUC" in scores["caption"]) == (
        metric == "ROC AUC"
    )


def test_early_stopping_marks_no_common_epoch(make_report, make_row, make_curves):
    """Each fold has its own best epoch, and none uses the last."""
    report = make_report([make_row(0, 0.9)], curves=make_curves(), best_epoch=None)

    losses, _ = curve_pictures(report)

    assert "used" not in losses["svg"]
    assert ET.fromstring(losses["svg"]).find("line[@class='chosen']") is None
    assert "own best epoch" in losses["caption"]


@pytest.mark.parametrize("outcome", ["issue", "tip"])
def test_the_caption_says_if_the_time_budget_ended_the_training(
    make_report, make_row, make_curves, outcome
):
    """Only of the best candidate, which is an issue; other omitted parts are a tip."""
    cut = Finding(
        code="", name="search cut short", outcome=outcome, severity="low", message=""
    )
    report = make_report([make_row(0, 0.9)], curves=make_curves(), findings=(cut,))

    losses, _ = curve_pictures(report)

    assert ("The time budget ended" in losses["caption"]) == (outcome == "issue")


def test_the_mean_continues_after_the_first_fold_has_ended(
    make_report, make_row, make_curves
):
    """A fold of one epoch keeps its value, and the caption says so."""
    curves = make_curves()
    curves.train_loss[0, 1:] = curves.valid_loss[0, 1:] = curves.valid_score[0, 1:] = np.nan
    report = make_report([make_row(0, 0.9)], curves=curves, best_epoch=None)

    losses, _ = curve_pictures(report)

    # Losses of the second epoch: 1/2 + 0.1 and 0.2; those of the ended fold are 1 and 1.5.
    assert _points(losses)[1][0].text == (
        "epoch 2, loss: training rows 0.7667 (0.6 to 1); held-out rows 1.267 (1.1 to 1.5)"
    )
    assert "A fold that ends earlier keeps its last value." in losses["caption"]


@pytest.mark.parametrize("params", [{}, {"members": 1}, {"members": 4}], ids=str)
def test_the_loss_of_members_is_explained(make_report, make_row, make_curves, params):
    """On training rows it may lie above the loss on held-out rows."""
    curves = replace(make_curves(), params=params)
    report = make_report([make_row(0, 0.9)], curves=curves, best_epoch=4)

    losses, _ = curve_pictures(report)

    assert ("mean over the members" in losses["caption"]) == (params.get("members") == 4)


def test_many_epochs_are_thinned_out(make_report, make_row, make_curves):
    """The first and the last epoch stay."""
    curves = make_curves(2, 5000)
    report = make_report([make_row(0, 0.9)], curves=curves, best_epoch=5000)

    points = _points(curve_pictures(report)[0])

    assert len(points) <= 150
    assert points[0][0].text.startswith("epoch 1,")
    assert points[-1][0].text.startswith("epoch 5000,")


@pytest.mark.parametrize("missing", ["valid_loss", "valid_score", "both"])
def test_missing_curves_are_left_out(make_report, make_row, make_curves, missing):
    """Held-out rows that a network cannot process have no curve."""
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
    """The most important first, with its numbers."""
    report = make_report([make_row(0, 0.5)], importance=_importance())

    figure = importance_picture(report)

    bars = ET.fromstring(figure["svg"]).findall("rect")
    widths = [float(bar.attrib["width"]) for bar in bars]
    # Total and alone: 80 and 50 %, then 20 and 10 %.
    assert np.array(widths) / widths[0] == pytest.approx([1, 5 / 8, 2 / 8, 1 / 8], abs=0.01)
    titles = [point[0].text for point in _points(figure)]
    assert titles[0] == (
        "<major>: 80 % of the variance, 50 % alone; 60 % to 90 % in 80 % of trees"
    )
    assert titles[1].startswith("minor: 20 %")


@pytest.mark.parametrize("importance", [None, _importance(p_value=0.5)])
def test_chance_is_not_drawn(make_report, make_row, importance):
    """If no parameter varies, or a forest has no predictive value."""
    report = make_report([make_row(0, 0.5)], importance=importance)

    assert importance_picture(report) is None


def test_names_in_capitals_are_shortened_more():
    """Capitals are wider, so that names next to each other would overlap."""
    assert fitted("restaurant", 52) == "rest…ant"
    assert fitted("RESTAURANT", 52) == "RES…NT"
    assert fitted("RESTAURANT", 90) == "RESTAURANT"
