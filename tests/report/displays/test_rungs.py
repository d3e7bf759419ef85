"""Curves of all candidates."""

import numpy as np
import pytest
from sklearn.datasets import load_iris

from sk_tune import HalvingGridSearchCV, MLPClassifier
from sk_tune.report import RungDisplay
from sk_tune.report.displays._progress_displays import candidate_curves
from sk_tune.report.displays._search_trials import trials_of


def test_lines_are_the_searchs_curves(iris_hyperband):
    """Each is the mean over folds of a configuration's last row of cv_results_."""
    table = iris_hyperband.learning_curves_
    means = table.groupby(["candidate", "epoch"])["valid_score"].mean()

    display = RungDisplay.from_search(iris_hyperband)

    trials = trials_of(iris_hyperband)
    assert set(display.lines_) == set(np.flatnonzero(trials.is_last))
    for row, line in display.lines_.items():
        np.testing.assert_array_equal(line.get_xdata(), means[row].index)
        np.testing.assert_allclose(line.get_ydata(), means[row])
        assert len(line.get_xdata()) == trials.n_resources[row]


def test_survivors_are_those_that_reached_the_last_rung(iris_hyperband):
    """As many as the brackets' last rungs have candidates; they look different."""
    trials = trials_of(iris_hyperband)
    curves = candidate_curves(iris_hyperband, trials)

    display = RungDisplay.from_search(iris_hyperband)

    survivors = {curve.row for curve in curves if curve.survives}
    assert len(survivors) == sum(b.rungs[-1].n_candidates for b in iris_hyperband.brackets_)
    assert iris_hyperband.best_index_ in survivors
    for row, line in display.lines_.items():
        assert (line.get_linestyle() == "--") == (row not in survivors)
    assert display.ax_.get_title(loc="left").startswith(f"{len(curves)} candidates")


def test_rungs_are_marked_on_the_axis(iris_hyperband):
    """Ticks are where candidates were dropped, on a logarithmic axis."""
    ax = RungDisplay.from_search(iris_hyperband).ax_

    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "3", "9"]
    assert ax.get_xscale() == "log"


def test_one_bracket_may_be_drawn(iris_hyperband):
    """Bracket 0 drops nobody."""
    display = RungDisplay.from_search(iris_hyperband, bracket=0)

    n_candidates = iris_hyperband.brackets_[-1].rungs[0].n_candidates
    assert len(display.lines_) == n_candidates
    with pytest.raises(ValueError, match=r"must be one of \[0, 1, 2\]. Got 7"):
        RungDisplay.from_search(iris_hyperband, bracket=7)


def test_losses_may_be_drawn_instead(iris_grid):
    """Without rungs all candidates are drawn alike, but for the best."""
    table = iris_grid.learning_curves_
    means = table.groupby(["candidate", "epoch"])["valid_loss"].mean()

    display = RungDisplay.from_search(iris_grid, quantity="loss")

    np.testing.assert_allclose(display.lines_[3].get_ydata(), means[3])
    labels = [t.get_text() for t in display.ax_.get_legend().get_texts()]
    assert labels == ["Best", "Candidate"]
    with pytest.raises(ValueError, match="'quantity' parameter must be one of"):
        RungDisplay.from_search(iris_grid, quantity="error")


def test_rungs_of_samples_are_drawn_by_their_scores():
    """Each point is mean_test_score of a rung, against the rows it was given."""
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


def test_without_rungs_and_networks_there_is_nothing_to_draw(ridge_grid):
    """A plain search has scores only, which other displays draw."""
    with pytest.raises(ValueError, match="needs rungs, or networks"):
        RungDisplay.from_search(ridge_grid)


def test_one_candidate_on_one_fold_is_drawn(diabetes_one):
    """A score below that of the mean is inside the axes."""
    display = RungDisplay.from_search(diabetes_one)

    low, high = display.ax_.get_ylim()
    values = display.lines_[0].get_ydata()
    assert low < values.min() < values.max() < high
    assert display.ax_.get_title(loc="left") == "1 candidate"
