"""Scores against each hyperparameter."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sk_tune._report import SliceDisplay


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
