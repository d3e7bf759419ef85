"""Shared parts of displays and pages: parameters, score ranges, texts and colours."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from sk_tune._report import RungDisplay
from sk_tune._report._drawing import score_range
from sk_tune._report._search_trials import parameters_of


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
def test_the_scale_makes_values_even(values, is_log):
    """Logarithmic only if that is more even than a linear scale."""
    (parameter,) = parameters_of([{"a": value} for value in values])

    assert parameter.is_log == is_log


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
def test_values_that_are_not_numbers_are_categories(values, categories):
    """Each value is the position of its text on the axis."""
    (column,) = parameters_of([{"a": value} for value in values])

    assert column.categories == categories
    texts = [getattr(value, "__name__", str(value)) for value in values]
    assert [column.text(value) for value in column.values] == texts


def test_parameters_vary_or_are_absent():
    """Momentum exists only with sgd; a single candidate keeps all its parameters."""
    rows = [
        {"opt": "sgd", "momentum": 0.5, "width": 8},
        {"opt": "adamw", "width": 8},
        {"opt": "sgd", "momentum": 0.9, "width": 8},
    ]

    _, momentum = parameters_of(rows)

    assert momentum.name == "momentum"
    assert momentum.is_active.tolist() == [True, False, True]
    np.testing.assert_array_equal(momentum.codes, [0.0, np.nan, 1.0])
    assert [p.name for p in parameters_of(rows[:1])] == ["opt", "momentum", "width"]
    (column,) = parameters_of([{"a": 0.1}, {"a": 1 / 3}])
    assert [column.text(v) for v in (1 / 3, 12345.0)] == ["0.333", "1.2e+04"]


@settings(max_examples=20)
@given(
    st.lists(st.text("ab_", min_size=1, max_size=8), min_size=1, max_size=6, unique=True),
    st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=9),
)
def test_labels_are_ends_of_names_and_codes_keep_the_order(names, values):
    """The step's name stays if two steps have such a parameter; labels are unique."""
    found = parameters_of([dict.fromkeys(names, value) for value in values])

    assert len({p.label for p in found}) == len(names)
    for column in found:
        assert column.name.endswith(column.label)
        codes = column.codes[np.argsort(column.values, kind="stable")]
        assert np.all(np.diff(codes) >= 0)
        assert 0 <= codes.min() <= codes.max() <= 1
    given_names = ["pca__n", "net__n", "net__optimizer__lr", "net__width"]
    found = parameters_of([
        dict.fromkeys(given_names, value) for value in (1e-4, 1e-2, 1.0)
    ])
    assert [p.label for p in found] == ["pca__n", "net__n", "lr", "width"]
    np.testing.assert_allclose(found[0].codes, [0.0, 0.5, 1.0])


@pytest.mark.parametrize(
    ("scores", "shown"),
    [
        ([-0.3, 0.2, np.nan, 0.4], (-0.3, 0.4)),
        ([0.1, 0.2, 0.3, 0.4, -1e6, -np.inf], (0.1, 0.4)),
        ([np.nan], (0.0, 1.0)),
    ],
    ids=["ordinary", "disasters", "none"],
)
def test_scores_far_below_do_not_flatten_the_rest(scores, shown):
    """Ordinary scores are all shown, also negative."""
    assert score_range(scores) == shown


def _luminance(color):
    """Return the relative luminance by WCAG 2.1."""
    channels = np.array(to_rgb(color))
    is_low = channels <= 0.04045
    linear = np.where(is_low, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_colours_stand_out_from_white(hyperband):
    """Contrast of lines is at least 3 to 1 (WCAG 2.1, 1.4.11)."""
    lines = RungDisplay.from_search(hyperband).lines_.values()

    assert min(1.05 / (_luminance(line.get_color()) + 0.05) for line in lines) >= 3


@pytest.mark.parametrize("size", [(4, 3), (12, 8)])
@pytest.mark.parametrize("title", ["A sentence that is too long for one line. " * 3, ""])
def test_texts_lie_above_the_axes_and_inside_the_figure(hyperband, size, title):
    """Neither covers data, at any size and length of texts."""
    ax = plt.subplots(figsize=size, layout="constrained")[1]
    display = RungDisplay.from_search(hyperband)
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


def test_the_message_without_matplotlib_names_the_display(hyperband, monkeypatch):
    """As scikit-learn's."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"RungDisplay.plot requires matplotlib"):
        RungDisplay.from_search(hyperband)
