"""The progress of a search."""

import numpy as np
import pytest
from sklearn.datasets import load_iris

from sk_tune import HalvingGridSearchCV, MLPClassifier
from sk_tune._report import RungDisplay, SearchHistoryDisplay


def test_points_are_the_scores_of_cv_results(hyperband):
    """One collection per number of epochs; together they are all rows."""
    results = hyperband.cv_results_

    display = SearchHistoryDisplay.from_search(hyperband)

    drawn = np.concatenate([s.get_offsets() for s in display.scatters_])
    drawn = drawn[np.argsort(drawn[:, 0])]
    np.testing.assert_array_equal(drawn[:, 0], np.arange(len(results["params"])))
    np.testing.assert_array_equal(drawn[:, 1], results["mean_test_score"])
    labels = [s.get_label() for s in display.scatters_]
    assert labels == ["1 epoch", "3 epochs", "9 epochs"]
    markers = {s.get_paths()[0].vertices.tobytes() for s in display.scatters_}
    assert len(markers) == 3


def test_the_line_is_the_best_so_far(made):
    """It never falls, and ignores failures."""
    search = made(
        [{"a": i} for i in range(7)],
        [np.nan, 0.7, 0.9, np.nan, 0.8, np.nan, 0.95],
        n_resources=[1, 1, 1, 3, 3, 3, 1],
        iter=[0, 0, 0, 1, 1, 1, 0],
    )
    search.resource = "max_epochs"

    display = SearchHistoryDisplay.from_search(search)

    # The best after few epochs is no best after many: a fall is not drawn as one.
    expected = [np.nan, np.nan, 0.7, 0.9, 0.9, np.nan, 0.8, 0.8, 0.8]
    np.testing.assert_array_equal(display.best_line_.get_ydata(), expected)
    title = display.ax_.get_title(loc="left")
    assert title == "Best R\N{SUPERSCRIPT TWO}: 0.95, row 6 of cv_results_"


@pytest.mark.parametrize(("x", "label"), [("time", "(s)"), ("epochs", "Epochs trained")])
def test_the_x_axis_may_be_time_or_epochs(hyperband, iris_grid, made, x, label):
    """The last row is at the total over all folds; no epoch counts twice."""
    for search in (hyperband, iris_grid):
        display = SearchHistoryDisplay.from_search(search, x=x)

        places = display.best_line_.get_xdata()
        assert np.all(np.diff(places) >= 0)
        assert label in display.ax_.get_xlabel()
        if x == "epochs":
            assert places[-1] == search.ledger_.epochs_trained
    # A fit of 2 s and a score of 0.5 s on two folds take 5 s.
    display = SearchHistoryDisplay.from_search(made([{"a": 1}], [0.5]), x="time")
    assert display.best_line_.get_xdata().tolist() == [5.0]


def test_failed_candidates_are_marked_at_the_edge(made):
    """They are countable; a search with only failures has a picture, too."""
    search = made([{"a": i} for i in range(3)], [0.5, np.nan, np.nan])

    ax = SearchHistoryDisplay.from_search(search).ax_
    none = SearchHistoryDisplay.from_search(made([{"a": 1}], [np.nan]))

    marks = next(c for c in ax.collections if c.get_label() == "Failed")
    assert marks.get_offsets()[:, 0].tolist() == [1.0, 2.0]
    assert none.ax_.get_title(loc="left") == "1 evaluation"


@pytest.mark.parametrize(
    ("display", "options", "words"),
    [
        (SearchHistoryDisplay, {"x": "epochs"}, "The search trained none"),
        (SearchHistoryDisplay, {"x": "hours"}, "'x' parameter must be one of"),
        (RungDisplay, {}, "needs rungs, or networks"),
        (RungDisplay, {"quantity": "error"}, "'quantity' parameter must be one of"),
    ],
)
def test_missing_quantities_are_refused(ridge_grid, display, options, words):
    """A ridge regression has neither epochs nor rungs, and names are checked."""
    with pytest.raises(ValueError, match=words):
        display.from_search(ridge_grid, **options)


def test_one_of_several_metrics_is_drawn(iris_grid):
    """The deciding metric, or a named metric."""
    display = SearchHistoryDisplay.from_search(iris_grid, metric="accuracy")

    drawn = display.scatters_[0].get_offsets()[:, 1]
    np.testing.assert_array_equal(drawn, iris_grid.cv_results_["mean_test_accuracy"])
    assert display.scatters_[0].get_label() == "Candidate"
    assert display.ax_.get_ylabel().startswith("Accuracy")
    assert display.trials.best == np.argmax(drawn)
    own = SearchHistoryDisplay.from_search(iris_grid)
    assert own.trials.best == iris_grid.best_index_
    assert own.ax_.get_ylabel().replace("\n", " ").startswith("Negative log loss")
    with pytest.raises(ValueError, match="must be one of .* Got 'f1' instead"):
        SearchHistoryDisplay.from_search(iris_grid, metric="f1")


def test_lines_are_the_searchs_curves(hyperband):
    """Each is the mean over folds of a configuration's last row of cv_results_."""
    table = hyperband.learning_curves_
    means = table.groupby(["result_row", "epoch"])["valid_score"].mean()

    display = RungDisplay.from_search(hyperband)

    trials = display.trials
    assert set(display.lines_) == set(np.flatnonzero(trials.is_last))
    assert len(display.lines_) == sum(b.rungs[0].n_candidates for b in hyperband.brackets_)
    for row, line in display.lines_.items():
        np.testing.assert_array_equal(line.get_xdata(), means[row].index)
        np.testing.assert_allclose(line.get_ydata(), means[row])
        assert len(line.get_xdata()) == trials.n_resources[row]


def test_candidates_of_the_last_rung_look_different(hyperband):
    """As many as the last rungs of the brackets have candidates."""
    display = RungDisplay.from_search(hyperband)

    curves = display.curves
    survivors = {curve.row for curve in curves if curve.survives}
    assert len(survivors) == sum(b.rungs[-1].n_candidates for b in hyperband.brackets_)
    assert hyperband.best_index_ in survivors
    for row, line in display.lines_.items():
        assert (line.get_linestyle() == "--") == (row not in survivors)
    assert display.ax_.get_title(loc="left").startswith(f"{len(curves)} candidates")


def test_rungs_are_marked_on_the_axis_of_one_bracket_or_all(hyperband):
    """Ticks are at the rungs that drop candidates; bracket 0 drops none."""
    ax = RungDisplay.from_search(hyperband).ax_
    one = RungDisplay.from_search(hyperband, bracket=0)

    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "3", "9"]
    assert ax.get_xscale() == "log"
    assert len(one.lines_) == hyperband.brackets_[-1].rungs[0].n_candidates
    with pytest.raises(ValueError, match=r"must be one of \[0, 1, 2\]. Got 7"):
        RungDisplay.from_search(hyperband, bracket=7)


def test_losses_may_be_drawn_instead(iris_grid):
    """Without rungs, all candidates look alike except the best."""
    table = iris_grid.learning_curves_
    means = table.groupby(["result_row", "epoch"])["valid_loss"].mean()

    display = RungDisplay.from_search(iris_grid, quantity="loss", line_kw={"label": "mine"})

    np.testing.assert_allclose(display.lines_[3].get_ydata(), means[3])
    labels = [t.get_text() for t in display.ax_.get_legend().get_texts()]
    assert labels == ["Best", "Candidate"]


def test_rungs_of_samples_are_drawn_by_their_scores():
    """Points are mean_test_score of a rung against its number of rows."""
    X, y = load_iris(return_X_y=True)
    net = MLPClassifier(width=4, max_epochs=2, batch_size=16, random_state=0)
    grid = {"learning_rate": [1e-3, 1e-2, 1e-1]}
    search = HalvingGridSearchCV(net, grid, cv=3, min_resources=40, random_state=0).fit(
        X, y
    )

    display = RungDisplay.from_search(search)

    results = search.cv_results_
    drawn = sorted(
        (n, score)
        for line in display.lines_.values()
        for n, score in zip(line.get_xdata(), line.get_ydata(), strict=True)
    )
    rows = zip(results["n_resources"], results["mean_test_score"], strict=True)
    assert drawn == sorted(rows)
    assert display.ax_.get_xlabel() == "Samples"


def test_one_candidate_on_one_fold_is_drawn(diabetes_one):
    """A score below the mean's score is inside the axes."""
    display = RungDisplay.from_search(diabetes_one)

    low, high = display.ax_.get_ylim()
    values = display.lines_[0].get_ydata()
    assert low < values.min() < values.max() < high
    assert display.ax_.get_title(loc="left") == "1 candidate"
