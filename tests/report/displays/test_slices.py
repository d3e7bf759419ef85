"""Scores against each hyperparameter."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sk_tune.report import SliceDisplay
from sk_tune.report.displays._parameter_displays import spread_places
from sk_tune.report.displays._search_trials import parameters_of


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


def test_a_conditional_parameter_is_drawn_where_it_exists(iris_hyperband):
    """Momentum is of candidates with sgd only, and the axis says how many have it."""
    display = SliceDisplay.from_search(iris_hyperband, parameters=["momentum"])

    n_drawn = sum(len(s.get_offsets()) for s in display.scatters_[0])
    params = {
        frozenset((k, v) for k, v in row.items() if "max_epochs" not in k)
        for row in iris_hyperband.cv_results_["params"]
    }
    n_sgd = sum(("net__optimizer", "sgd") in row for row in params)
    assert n_drawn == n_sgd
    assert "have it" in display.axes_[0].get_xlabel()


def test_each_configuration_is_drawn_once_with_its_last_score(iris_hyperband):
    """Not once for each of its rungs."""
    display = SliceDisplay.from_search(iris_hyperband, parameters=["dropout"])

    n_candidates = sum(b.rungs[0].n_candidates for b in iris_hyperband.brackets_)
    assert sum(len(s.get_offsets()) for s in display.scatters_[0]) == n_candidates


def test_categories_are_spread_around_their_position():
    """Points of one category lie apart, and stay nearer to it than to another."""
    (parameter,) = parameters_of([{"a": "xy"[i % 2]} for i in range(40)])

    places = spread_places(parameter)

    assert len(set(places)) == 40
    assert np.all(np.abs(places - parameter.values) < 0.3)


def test_failed_candidates_are_marked_in_every_axes(made):
    """A region where nets diverge can be seen."""
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
    """The message names those that there are."""
    with pytest.raises(ValueError, match="'net__learning_rate'"):
        SliceDisplay.from_search(iris_grid, parameters=["depth"])
