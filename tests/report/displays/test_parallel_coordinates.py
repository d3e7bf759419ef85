"""A line for each candidate across all hyperparameters."""

import numpy as np
import pytest

from sk_tune.report import ParallelCoordinatesDisplay
from sk_tune.report.displays._parameter_displays import axis_ticks, line_heights
from sk_tune.report.displays._search_trials import parameters_of


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
    """Candidates that are close together in score differ in colour all the same."""
    ranks = ParallelCoordinatesDisplay.from_search(iris_grid).lines_.get_array()

    np.testing.assert_allclose(ranks, np.linspace(0, 1, 4))


def test_lines_dip_where_a_parameter_is_absent(iris_hyperband):
    """An axis that a candidate lacks is passed below its end."""
    display = ParallelCoordinatesDisplay.from_search(
        iris_hyperband, parameters=["momentum", "optimizer"]
    )

    crossings = _crossings(display)
    is_adamw = crossings[:, 1] == 0.0
    assert np.all(crossings[is_adamw, 0] < 0)
    assert np.all(crossings[~is_adamw, 0] >= 0)
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == ["none"]


def test_failed_candidates_are_lines_of_their_own(made):
    """They end below the axis of scores, and are no better than any."""
    search = made([{"a": i} for i in range(3)], [0.1, np.nan, 0.4])

    display = ParallelCoordinatesDisplay.from_search(search)

    assert len(display.lines_.get_segments()) == 2
    (segment,) = display.failed_lines_.get_segments()
    assert segment[-1, 1] < 0
    assert "1 failed" in display.ax_.get_title(loc="left")


@pytest.mark.parametrize("score", [0.5, np.nan])
def test_one_candidate_is_a_line(made, score):
    """Without a second one, values are in the middle of the axes."""
    display = ParallelCoordinatesDisplay.from_search(made([{"a": 3, "b": "x"}], [score]))

    assert (display.best_line_ is None) == np.isnan(score)
    heights = line_heights(display.parameters, np.array([score]))
    assert heights[0, 0] == 0.5


def test_scores_far_below_end_at_the_lower_end():
    """The axis says that it holds lower ones."""
    (parameter,) = parameters_of([{"a": i} for i in range(4)])

    heights = line_heights([parameter], np.array([0.1, 0.2, 0.3, -1e9]))

    np.testing.assert_allclose(heights[:, 1], [0.0, 0.5, 1.0, 0.0])


def test_ticks_are_few_round_and_inside():
    """Powers of ten on a logarithmic axis, all values if there are few."""
    rates, width, few = parameters_of([
        {"rate": 1.5 * 10.0 ** (-i / 4), "width": 3 + 7 * i, "few": i % 3}
        for i in range(20)
    ])

    np.testing.assert_allclose(axis_ticks(rates), 10.0 ** np.arange(-4, 1))
    ticks = axis_ticks(width)
    assert np.all((ticks >= 3) & (ticks <= 136))
    assert 2 <= len(ticks) <= 6
    assert axis_ticks(few).tolist() == [0, 1, 2]
