"""Scores in the order of evaluation."""

import numpy as np
import pytest

from sk_tune.report import SearchHistoryDisplay
from sk_tune.report.displays._progress_displays import progress_of
from sk_tune.report.displays._search_trials import trials_of


def test_points_are_the_scores_of_cv_results(iris_hyperband):
    """Each number of epochs has its own points, which together are all rows."""
    results = iris_hyperband.cv_results_

    display = SearchHistoryDisplay.from_search(iris_hyperband)

    drawn = np.concatenate([s.get_offsets() for s in display.scatters_])
    drawn = drawn[np.argsort(drawn[:, 0])]
    np.testing.assert_array_equal(drawn[:, 0], np.arange(len(results["params"])))
    np.testing.assert_array_equal(drawn[:, 1], results["mean_test_score"])
    labels = [s.get_label() for s in display.scatters_]
    assert labels == ["1 epoch", "3 epochs", "9 epochs"]
    markers = {s.get_paths()[0].vertices.tobytes() for s in display.scatters_}
    assert len(markers) == 3


def test_the_line_is_the_best_so_far(made):
    """It never falls, and passes over failures."""
    search = made([{"a": i} for i in range(4)], [0.2, np.nan, 0.1, 0.6])

    display = SearchHistoryDisplay.from_search(search)

    np.testing.assert_array_equal(display.best_line_.get_ydata(), [0.2, 0.2, 0.2, 0.6])
    assert (
        display.ax_.get_title(loc="left") == "Best R\N{SUPERSCRIPT TWO}: 0.6, candidate 3"
    )


def test_the_line_is_broken_where_candidates_get_more(iris_hyperband):
    """A fall of the best is not drawn as one."""
    best = SearchHistoryDisplay.from_search(iris_hyperband).best_line_.get_ydata()

    assert np.isnan(best).sum() == 2


@pytest.mark.parametrize(("x", "label"), [("time", "(s)"), ("epochs", "Epochs trained")])
def test_the_x_axis_may_be_what_was_spent(iris_hyperband, x, label):
    """The last row is at all that the search spent."""
    trials = trials_of(iris_hyperband)

    display = SearchHistoryDisplay.from_search(iris_hyperband, x=x)

    places = progress_of(trials, x)
    assert np.all(np.diff(places) >= 0)
    assert display.best_line_.get_xdata()[-1] == places[-1]
    assert label in display.ax_.get_xlabel()
    if x == "epochs":
        assert places[-1] == iris_hyperband.ledger_.epochs_trained


def test_failed_candidates_are_marked_at_the_edge(made):
    """Their number can be seen, and no score is made up."""
    search = made([{"a": i} for i in range(3)], [0.5, np.nan, np.nan])

    ax = SearchHistoryDisplay.from_search(search).ax_

    marks = next(c for c in ax.collections if c.get_label() == "Failed")
    assert marks.get_offsets()[:, 0].tolist() == [1.0, 2.0]


def test_all_failed_is_a_picture_too(made):
    """There is no best candidate to name."""
    display = SearchHistoryDisplay.from_search(made([{"a": 1}], [np.nan]))

    assert display.ax_.get_title(loc="left") == "1 evaluation"


def test_epochs_need_networks(ridge_grid):
    """A ridge regression has none."""
    with pytest.raises(ValueError, match="The search trained none"):
        SearchHistoryDisplay.from_search(ridge_grid, x="epochs")
    with pytest.raises(ValueError, match="'x' parameter must be one of"):
        SearchHistoryDisplay.from_search(ridge_grid, x="hours")


def test_one_of_several_metrics_is_drawn(iris_grid):
    """The one that decides, or the one that is named."""
    display = SearchHistoryDisplay.from_search(iris_grid, metric="accuracy")

    drawn = display.scatters_[0].get_offsets()[:, 1]
    np.testing.assert_array_equal(drawn, iris_grid.cv_results_["mean_test_accuracy"])
    assert display.ax_.get_ylabel().startswith("Accuracy")
