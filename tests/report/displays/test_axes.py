"""Shared parts of displays: parameters, score ranges, texts, axes and colours."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from sk_tune._report import SearchHistoryDisplay, SliceDisplay


@pytest.fixture(scope="session")
def columns(made):
    """Return a function that gives parameters as displays take them from configurations."""

    def columns(rows):
        search = made(rows, np.arange(len(rows)))
        display = SliceDisplay.from_search(search)
        plt.close(display.figure_)
        return display.parameters

    return columns


@pytest.mark.parametrize(
    ("values", "is_log"),
    [
        # Evenly drawn values are linear, those drawn evenly in the logarithm are not.
        ([1e-4, 1e-3, 1e-2], True),
        ([1e-3, 1e-1], True),
        ([8, 16, 32, 64], True),
        ([1, 2, 3], False),
        ([0.0, 0.25, 0.5], False),
        ([-10.0, 1.0, 100.0], False),
        (np.linspace(0.01, 0.5, 30), False),
        (np.geomspace(1e-5, 1.0, 30), True),
    ],
)
def test_the_scale_makes_values_even(made, values, is_log):
    """The axis uses it; a few numbers get a tick each."""
    search = made([{"a": value} for value in values], np.arange(len(values)))

    (axis,) = SliceDisplay.from_search(search).axes_

    assert axis.get_xscale() == ("log" if is_log else "linear")
    if len(values) < 7:
        assert axis.get_xticks().tolist() == list(values)


@pytest.mark.parametrize(
    ("values", "categories"),
    [
        # Numbers come first by size, then names; True is no number.
        ([None, 10, "auto", 2, None], ("2", "10", "None", "auto")),
        ([True, False], ("False", "True")),
        # What cannot be hashed or has a long text is told apart by its text.
        ([[1, 2], (3,), np.tanh], ("(3,)", "[1, 2]", "tanh")),
    ],
)
def test_values_that_are_not_numbers_are_categories(columns, values, categories):
    """Each value is the position of its text on the axis."""
    (column,) = columns([{"a": value} for value in values])

    assert column.categories == categories
    texts = [getattr(value, "__name__", str(value)) for value in values]
    assert [column.text(value) for value in column.values] == texts


def test_parameters_vary_or_are_absent(columns):
    """Momentum exists only with sgd; a single candidate keeps all its parameters."""
    rows = [
        {"opt": "sgd", "momentum": 0.5, "width": 8},
        {"opt": "adamw", "width": 8},
        {"opt": "sgd", "momentum": 0.9, "width": 8},
    ]

    _, momentum = columns(rows)

    assert momentum.name == "momentum"
    assert momentum.is_active.tolist() == [True, False, True]
    np.testing.assert_array_equal(momentum.codes, [0.0, np.nan, 1.0])
    assert [p.name for p in columns(rows[:1])] == ["opt", "momentum", "width"]
    (column,) = columns([{"a": 0.1}, {"a": 1 / 3}])
    assert [column.text(v) for v in (1 / 3, 12345.0)] == ["0.333", "1.2e+04"]


@settings(max_examples=20)
@given(
    st.lists(st.text("ab_", min_size=1, max_size=8), min_size=1, max_size=6, unique=True),
    st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=9),
)
def test_labels_are_ends_of_names_and_codes_keep_the_order(columns, names, values):
    """The step's name stays if two steps have such a parameter; labels are unique."""
    found = columns([dict.fromkeys(names, value) for value in values])

    assert len({p.label for p in found}) == len(names)
    for column in found:
        assert column.name.endswith(column.label)
        codes = column.codes[np.argsort(column.values, kind="stable")]
        assert np.all(np.diff(codes) >= 0)
        assert 0 <= codes.min() <= codes.max() <= 1
    given_names = ["pca__n", "net__n", "net__optimizer__lr", "net__width"]
    found = columns([dict.fromkeys(given_names, value) for value in (1e-4, 1e-2, 1.0)])
    assert [p.label for p in found] == ["pca__n", "net__n", "lr", "width"]
    np.testing.assert_allclose(found[0].codes, [0.0, 0.5, 1.0])


@pytest.mark.parametrize(
    ("scores", "shown", "n_below"),
    [
        ([-0.3, 0.2, np.nan, 0.4], (-0.3, 0.4), 0),
        ([0.1, 0.2, 0.3, 0.4, -1e6, -np.inf], (0.1, 0.4), 1),
        ([np.nan], (0.0, 1.0), 0),
    ],
    ids=["ordinary", "disasters", "none"],
)
def test_scores_far_below_do_not_flatten_the_rest(made, scores, shown, n_below):
    """They are marked at the edge; ordinary scores are all shown, also negative."""
    search = made([{"a": k} for k in range(len(scores))], scores)

    ax = SearchHistoryDisplay.from_search(search).ax_

    low, high = ax.get_ylim()
    room = 0.15 * (shown[1] - shown[0])
    assert shown[0] - room < low < shown[0] < shown[1] < high < shown[1] + room
    marks = [c for c in ax.collections if c.get_label() == "Below the axis"]
    assert sum(len(mark.get_offsets()) for mark in marks) == n_below


def _luminance(color):
    """Return the relative luminance by WCAG 2.1."""
    channels = np.array(to_rgb(color))
    is_low = channels <= 0.04045
    linear = np.where(is_low, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_colours_stand_out_from_white_and_levels_from_each_other(hyperband):
    """Contrast of lines is at least 3 to 1 (WCAG 2.1, 1.4.11); levels differ in grey."""
    display = SearchHistoryDisplay.from_search(hyperband)

    assert 1.05 / (_luminance(display.best_line_.get_color()) + 0.05) >= 3
    levels = [_luminance(s.get_facecolor()[0][:3]) for s in display.scatters_]
    assert np.all(np.diff(levels) < -0.05)


@pytest.mark.parametrize("size", [(4, 3), (12, 8)])
@pytest.mark.parametrize("title", ["A sentence that is too long for one line. " * 3, ""])
def test_texts_lie_above_the_axes_and_inside_the_figure(hyperband, size, title):
    """Neither covers data, at any size and length of texts."""
    ax = plt.subplots(figsize=size, layout="constrained")[1]
    display = SearchHistoryDisplay.from_search(hyperband)
    figure = display.plot(ax, title=title).figure_
    figure.canvas.draw()

    top = ax.get_window_extent().y1
    legend = ax.get_legend().get_window_extent()
    texts = [t for t in ax.get_children() if getattr(t, "get_text", str)()[:1] == "A"]
    assert legend.y0 >= top - 1
    for extent in (
        legend,
        ax.yaxis.label.get_window_extent(),
        *(t.get_window_extent() for t in texts),
    ):
        assert extent.y1 <= figure.bbox.height + 1
        assert extent.x1 <= figure.bbox.width + 1
    assert all(t.get_window_extent().y0 >= legend.y1 - 1 for t in texts)
    assert len(texts) == bool(title)


def test_axes_may_be_given_divided_or_new(made, monkeypatch):
    """A single axes is divided; an array must have the right length."""
    search = made([{"a": k, "b": -k, "c": k % 2} for k in range(4)], np.arange(4))
    figure, ax = plt.subplots()
    given_axes = plt.subplots(1, 3)[1]

    divided = SliceDisplay.from_search(search, ax=ax, n_columns=2)

    assert all(own.figure is figure for own in divided.axes_)
    assert not ax.axison
    assert list(SliceDisplay.from_search(search, ax=given_axes).axes_) == list(given_axes)
    assert len(SliceDisplay.from_search(search).axes_) == 3
    with pytest.raises(ValueError, match="must hold 3 axes. Got 2"):
        SliceDisplay.from_search(search, ax=given_axes[:2])
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"SliceDisplay.plot requires matplotlib"):
        SliceDisplay.from_search(search)
