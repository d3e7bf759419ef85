"""Scores against hyperparameters: each alone, and all at once."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sk_tune._report import ParallelCoordinatesDisplay, SliceDisplay


def test_points_are_parameters_and_scores_of_cv_results(iris_grid):
    """Numbers are at their values, categories around their positions."""
    results = iris_grid.cv_results_
    names = ["net__learning_rate", "net__activation"]

    display = SliceDisplay.from_search(iris_grid, parameters=names)

    rates, activations = (scatters[0].get_offsets() for scatters in display.scatters_)
    np.testing.assert_array_equal(rates[:, 0], results["param_net__learning_rate"])
    np.testing.assert_array_equal(rates[:, 1], results["mean_test_neg_log_loss"])
    drawn = np.array(["relu", "tanh"])[np.round(activations[:, 0]).astype(int)]
    assert drawn.tolist() == list(results["param_net__activation"])
    assert [ax.get_xscale() for ax in display.axes_] == ["log", "linear"]
    assert [ax.get_xlabel() for ax in display.axes_] == ["learning_rate", "activation"]


def test_each_configuration_is_drawn_once_where_it_has_the_parameter(hyperband):
    """With its last score; the axis says that only sgd has momentum."""
    names = ["momentum", "dropout"]
    display = SliceDisplay.from_search(hyperband, parameters=names)

    drawn = [sum(len(s.get_offsets()) for s in own) for own in display.scatters_]
    params = {
        frozenset((k, v) for k, v in row.items() if "max_epochs" not in k)
        for row in hyperband.cv_results_["params"]
    }
    n_sgd = sum(("net__optimizer", "sgd") in row for row in params)
    assert drawn == [n_sgd, sum(b.rungs[0].n_candidates for b in hyperband.brackets_)]
    assert "have it" in display.axes_[0].get_xlabel()
    assert "have it" not in display.axes_[1].get_xlabel()


def test_categories_are_spread_around_their_position(made):
    """Points of a category lie apart, but nearest to its position."""
    search = made([{"a": "xy"[i % 2]} for i in range(40)], np.arange(40))

    places = SliceDisplay.from_search(search).scatters_[0][0].get_offsets()[:, 0]

    assert len(set(places)) == 40
    assert np.all(np.abs(places - np.arange(40) % 2) < 0.3)


def test_failed_candidates_are_marked_in_every_axes(made):
    """So that a region of diverging networks is visible."""
    search = made([{"a": i, "b": -i} for i in range(4)], [0.1, 0.2, np.nan, np.nan])

    for ax, sign in zip(SliceDisplay.from_search(search).axes_, (1, -1), strict=True):
        marks = next(c for c in ax.collections if c.get_label() == "Failed")
        assert marks.get_offsets()[:, 0].tolist() == [2.0 * sign, 3.0 * sign]


def test_one_candidate_of_a_long_name_fits_into_a_small_picture(made):
    """The name is broken into lines."""
    name = "net__a_parameter_with_a_very_long_name_that_nobody_should_have_given"
    ax = plt.subplots(figsize=(4, 3), layout="constrained")[1]

    display = SliceDisplay.from_search(made([{name: 1.0}], [-3.0]), ax=ax)
    display.figure_.canvas.draw()

    extent = display.axes_[0].xaxis.label.get_window_extent()
    assert extent.width <= display.figure_.bbox.width


def test_unknown_parameters_are_refused(iris_grid):
    """The message names the parameters."""
    with pytest.raises(ValueError, match="'net__learning_rate'"):
        SliceDisplay.from_search(iris_grid, parameters=["depth"])


def _crossings(display):
    return np.array([segment[:, 1] for segment in display.lines_.get_segments()])


def test_lines_cross_axes_at_the_values_of_cv_results(iris_grid):
    """From the least value at 0 to the greatest at 1, logarithms as such, the best last."""
    results = iris_grid.cv_results_
    scores = results["mean_test_neg_log_loss"]
    order = np.argsort(scores, kind="stable")
    names = ["learning_rate", "activation"]

    display = ParallelCoordinatesDisplay.from_search(iris_grid, parameters=names)

    rates = np.log10(results["param_net__learning_rate"].astype(float))
    kinds = results["param_net__activation"] == "tanh"
    expected = np.column_stack([
        (rates + 3) / 2,
        kinds.astype(float),
        (scores - scores.min()) / np.ptp(scores),
    ])
    np.testing.assert_allclose(_crossings(display), expected[order], atol=1e-12)
    best = display.best_line_.get_ydata()
    np.testing.assert_allclose(best, expected[iris_grid.best_index_], atol=1e-12)


def test_colours_are_by_rank(iris_grid):
    """Candidates with close scores differ in colour."""
    ranks = ParallelCoordinatesDisplay.from_search(iris_grid).lines_.get_array()

    np.testing.assert_allclose(ranks, np.linspace(0, 1, 4))


def test_lines_dip_where_a_parameter_is_absent(hyperband):
    """The line passes below the end of the axis."""
    display = ParallelCoordinatesDisplay.from_search(
        hyperband, parameters=["momentum", "optimizer"]
    )

    crossings = _crossings(display)
    is_adamw = crossings[:, 1] == 0.0
    assert np.all(crossings[is_adamw, 0] < 0)
    assert np.all(crossings[~is_adamw, 0] >= 0)
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == ["none"]


def test_failed_candidates_are_lines_of_their_own(made):
    """They end below the axis of scores."""
    search = made([{"a": i} for i in range(3)], [0.1, np.nan, 0.4])

    display = ParallelCoordinatesDisplay.from_search(search)

    assert len(display.lines_.get_segments()) == 2
    (segment,) = display.failed_lines_.get_segments()
    assert segment[-1, 1] < 0
    assert "1 failed" in display.ax_.get_title(loc="left")


@pytest.mark.parametrize("score", [0.5, np.nan])
def test_one_candidate_is_a_line(made, score):
    """Values are in the middle of the axes."""
    display = ParallelCoordinatesDisplay.from_search(made([{"a": 3, "b": "x"}], [score]))

    assert (display.best_line_ is None) == np.isnan(score)
    lines = display.failed_lines_ if np.isnan(score) else display.lines_
    assert lines.get_segments()[0][0, 1] == 0.5


def test_ticks_are_few_round_and_inside(made):
    """Powers of ten on a logarithmic axis, all values if there are few."""
    rows = [
        {"rate": 1.5 * 10.0 ** (-i / 4), "width": 3 + 7 * i, "few": i % 3}
        for i in range(20)
    ]
    # Scores far below end at the lower end.
    display = ParallelCoordinatesDisplay.from_search(made(rows, [-1e9, *range(19)]))

    texts = {place: [] for place in range(4)}
    for text in display.ax_.texts:
        texts[text.xy[0]].append(text.get_text())
    assert texts[0] == ["0.0001", "0.001", "0.01", "0.1", "1"]
    assert all(3 <= float(width) <= 136 for width in texts[1])
    assert 2 <= len(texts[1]) <= 6
    assert texts[2] == ["0", "1", "2"]
    assert texts[3] == ["\N{LESS-THAN OR EQUAL TO} 0", "9", "18"]
    assert _crossings(display)[0, -1] == 0.0
