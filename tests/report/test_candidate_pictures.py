"""Pictures with a point for each candidate."""

import math
import xml.etree.ElementTree as ET

import pytest

from sk_tune.report._pictures import (
    history_picture,
    rung_picture,
    slice_pictures,
)


def _points(figure):
    own = ET.fromstring(figure["svg"])
    return own.findall(".//g[@class='points']/circle")


def test_each_score_is_a_point_of_the_history(make_report, make_row):
    """Failures are counted in the caption instead."""
    rows = [make_row(0, 0.5), make_row(1, 0.9), make_row(2, math.nan), make_row(3, 0.7)]

    figure = history_picture(make_report(rows))

    texts = [circle[0].text for circle in _points(figure)]
    assert sorted(texts) == [
        "row 0: 0.5; width 1",
        "row 1: 0.9; width 2",
        "row 3: 0.7; width 8",
    ]
    assert "1 without a score of their own are left out" in figure["caption"]
    assert [c.attrib["class"] for c in _points(figure)][-1] == "best"


def test_scores_far_below_stay_visible(make_report, make_row):
    """At the lower edge, and counted."""
    rows = [make_row(k, 0.8 + 0.01 * k) for k in range(8)] + [make_row(8, -1e9)]

    figure = history_picture(make_report(rows))

    down = [float(circle.attrib["cy"]) for circle in _points(figure)]
    assert len(set(down)) == 9
    assert max(down) < 270
    assert "1 far below are drawn at the lower edge" in figure["caption"]


def test_nothing_is_drawn_without_a_score(make_report, make_row):
    """No picture, no error."""
    report = make_report([make_row(0, math.nan)])

    assert history_picture(report) is None
    assert rung_picture(report) is None
    assert slice_pictures(report) == []


def test_one_candidate_is_a_picture(make_report, make_row):
    """A point in the middle; no parameter varies."""
    report = make_report([make_row(0, 0.5)])

    (point,) = _points(history_picture(report))

    assert all(math.isfinite(float(point.attrib[name])) for name in ("cx", "cy"))
    assert slice_pictures(report) == []


def test_lines_join_the_rungs_of_a_candidate(make_report, make_row):
    """The one of the best is bold; who was not promoted has none."""
    granted = [(0, 1), (1, 1), (2, 1), (0, 3), (1, 3), (0, 9)]
    rows = [
        make_row(
            k,
            0.5 + 0.05 * k,
            params={"width": width, "net__max_epochs": n},
            rung={1: 0, 3: 1, 9: 2}[n],
            configuration=width,
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
    """Numbers on a scale, names side by side; constants and too many names have none."""
    rows = [
        make_row(
            k,
            0.5 + 0.01 * k,
            params={
                "rate": 10.0**-k,
                "kind": "ab"[k % 2],
                "constant": 1,
                "object": object(),
                **({"momentum": k / 20} if k % 2 else {}),
            },
        )
        for k in range(12)
    ]

    figures = {f["caption"]: f for f in slice_pictures(make_report(rows))}

    assert sorted(figures) == ["kind", "momentum", "rate"]
    assert len(_points(figures["momentum"])) == 6
    assert "rate (log)" in figures["rate"]["svg"]
    across = {c[0].text[:12]: float(c.attrib["cx"]) for c in _points(figures["kind"])}
    left = [x for name, x in across.items() if int(name.split()[1].strip(":")) % 2 == 0]
    right = [x for name, x in across.items() if int(name.split()[1].strip(":")) % 2]
    assert max(left) < min(right)
