"""Axes, scales, titles and legends."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_tune.report._drawing import (
    COLORS,
    finish,
    new_axes,
    new_axes_grid,
    parameter_axis,
    score_range,
    set_y_label,
    shades,
    shortened,
)
from sk_tune.report._search_trials import parameters_of


def _luminance(color):
    """Relative luminance by WCAG 2.1."""
    channels = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(
        channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
    )
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("name", ["blue", "vermilion", "green", "black", "grey"])
def test_colours_of_lines_stand_out_from_white(name):
    """Contrast of graphics against the ground is at least 3 to 1 (WCAG 2.1, 1.4.11)."""
    assert 1.05 / (_luminance(COLORS[name]) + 0.05) >= 3


def test_levels_differ_in_lightness():
    """A print without colours tells them apart."""
    lightness = [np.dot(color[:3], [0.2126, 0.7152, 0.0722]) for color in shades(5)]

    assert np.all(np.diff(lightness) < -0.05)
    assert shades(1) == [COLORS["blue"]]


@pytest.mark.parametrize(
    ("scores", "shown"),
    [
        ([-0.3, 0.2, np.nan, 0.4], (-0.3, 0.4, 0)),
        ([0.1, 0.2, 0.3, 0.4, -1e6, -np.inf], (0.1, 0.4, 1)),
        ([np.nan], (0.0, 1.0, 0)),
    ],
    ids=["ordinary", "disasters", "none"],
)
def test_scores_far_below_do_not_flatten_the_others(scores, shown):
    """They are left out and counted; ordinary ones are all shown, negative ones too."""
    found = score_range(scores)

    assert (found.low, found.high, found.n_below) == shown


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=30))
def test_the_range_holds_the_better_half(scores):
    """Whatever the scores, the best and the middle are within the ends."""
    shown = score_range(scores)

    assert shown.low <= np.median(scores) <= shown.high
    assert shown.high == max(scores)
    assert shown.n_below == sum(score < shown.low for score in scores)


def test_legend_and_title_lie_above_the_axes_and_inside_the_figure():
    """Neither covers data, at any size, however long the texts."""
    for size in ((4, 3), (12, 8)):
        figure, ax = plt.subplots(figsize=size, layout="constrained")
        for number in range(5):
            ax.plot([0, 1], [0, number], label=f"a long name of a line {number}")
        finish(ax, "A sentence that is too long for one line of a small picture. " * 2)
        figure.canvas.draw()

        top = ax.get_window_extent().y1
        legend = ax.get_legend().get_window_extent()
        # The title of the left.
        title = next(
            t for t in ax.get_children() if getattr(t, "get_text", str)()[:1] == "A"
        )
        extent = title.get_window_extent()
        assert legend.y0 >= top - 1
        assert extent.y0 >= legend.y1 - 1
        assert extent.y1 <= figure.bbox.height + 1
        assert extent.x1 <= figure.bbox.width + 1
        assert legend.x1 <= figure.bbox.width + 1


def test_texts_of_a_picture_have_room():
    """A legend without a title, and a label of the y axis, which is broken into lines."""
    figure, ax = plt.subplots(figsize=(4, 3), layout="constrained")
    ax.plot([0, 1], label="line")

    set_y_label(ax, "Negative mean absolute percentage error (mean over folds)")
    finish(ax, "")
    figure.canvas.draw()

    assert ax.get_legend().get_window_extent().y1 <= figure.bbox.height + 1
    assert "\n" in ax.get_ylabel()
    assert ax.yaxis.label.get_window_extent().height <= figure.bbox.height


def test_axes_of_a_parameter_have_its_scale_and_name():
    """Few numbers get a tick each; a logarithm is drawn as one; who lacks it is counted."""
    rows = [{"net__rate": 10.0**-i, "net__kind": "ab"[i % 2]} for i in range(3)]
    rate, kind = parameters_of([*rows, {"net__kind": "a"}])
    figure, (left, right) = plt.subplots(1, 2)

    parameter_axis(left, rate)
    parameter_axis(right, kind)
    figure.canvas.draw()

    assert left.get_xscale() == "log"
    assert [t.get_text() for t in left.get_xticklabels()] == ["0.01", "0.1", "1"]
    assert left.get_xlabel().replace("\n", " ") == "rate (3 of 4 have it)"
    assert [t.get_text() for t in right.get_xticklabels()] == ["a", "b"]
    assert right.get_xlabel() == "kind"


def test_axes_may_be_given_divided_or_new():
    """One axes is divided; an array must have as many as are needed."""
    figure, ax = plt.subplots()
    given = plt.subplots(1, 3)[1]

    divided = new_axes_grid(object(), ax, 3, 2)

    assert all(own.figure is figure for own in divided)
    assert not ax.axison
    assert list(new_axes_grid(object(), given, 3, 2)) == list(given)
    assert len(new_axes_grid(object(), None, 4, 3)) == 4
    with pytest.raises(ValueError, match="must hold 2 axes. Got 3"):
        new_axes_grid(object(), given, 2, 2)


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    """In scikit-learn's words, with the display's name."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(ImportError, match="object.plot requires matplotlib"):
        new_axes(object())


def test_texts():
    """Names without their middle."""
    assert shortened("abcdefghij", 7) == "abc\N{HORIZONTAL ELLIPSIS}hij"
    assert shortened("abc", 3) == "abc"
