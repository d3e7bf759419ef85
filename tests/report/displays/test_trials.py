"""What a search evaluated, as one table."""

import numpy as np
import pytest

from sk_tune.report.displays._search_trials import curve_table, metric_name, trials_of


def test_columns_are_those_of_cv_results(iris_hyperband):
    """Scores, rungs and brackets are the search's; params lack what rungs grant."""
    results = iris_hyperband.cv_results_

    trials = trials_of(iris_hyperband)

    np.testing.assert_array_equal(trials.scores, results["mean_test_score"])
    np.testing.assert_array_equal(trials.spreads, results["std_test_score"])
    np.testing.assert_array_equal(trials.rungs, results["iter"])
    np.testing.assert_array_equal(trials.brackets, results["bracket"])
    np.testing.assert_array_equal(trials.n_resources, results["n_resources"])
    assert trials.resource == "net__max_epochs"
    assert trials.best == iris_hyperband.best_index_
    for own, params in zip(trials.params, results["params"], strict=True):
        assert {**own, "net__max_epochs": params["net__max_epochs"]} == params


def test_epochs_are_those_that_the_ledger_counts(iris_hyperband, iris_grid):
    """Warm rungs are charged with the epochs that they add."""
    for search in (iris_hyperband, iris_grid):
        assert trials_of(search).epochs.sum() == search.ledger_.epochs_trained


def test_seconds_are_of_all_folds(made):
    """A fit of 2 s and a score of 0.5 s on two folds take 5 s."""
    assert trials_of(made([{"a": 1}], [0.5])).seconds.tolist() == [5.0]


def test_each_configuration_has_one_last_row(iris_hyperband):
    """Of a bracket's candidates each is counted once, by its highest rung."""
    trials = trials_of(iris_hyperband)
    n_candidates = sum(b.rungs[0].n_candidates for b in iris_hyperband.brackets_)

    assert trials.is_last.sum() == n_candidates
    assert trials.is_last[trials.best]
    n_end = sum(b.rungs[-1].n_candidates for b in iris_hyperband.brackets_)
    assert (trials.is_last & (trials.n_resources == 9)).sum() == n_end


def test_without_rungs_equal_configurations_stay_apart(made):
    """A random search may draw a configuration twice; both rows count."""
    trials = trials_of(made([{"a": 1}, {"a": 1}], [0.5, 0.5]))

    assert trials.is_last.tolist() == [True, True]


def test_running_best_passes_over_failures_and_begins_anew_with_more_resources(made):
    """The best after few epochs is no best after many."""
    search = made(
        [{"a": i} for i in range(7)],
        [np.nan, 0.7, 0.9, np.nan, 0.8, np.nan, 0.95],
        n_resources=[1, 1, 1, 3, 3, 3, 1],
        iter=[0, 0, 0, 1, 1, 1, 0],
    )
    search.resource = "max_epochs"

    trials = trials_of(search)

    expected = [np.nan, 0.7, 0.9, 0.9, 0.8, 0.8, 0.8]
    np.testing.assert_array_equal(trials.running_best, expected)
    assert trials.running_level.tolist() == [0, 1, 1, 1, 3, 3, 3]


def test_the_deciding_metric_is_taken_unless_another_is_named(iris_grid):
    """refit names the metric; metric= chooses another one."""
    results = iris_grid.cv_results_

    own, other = trials_of(iris_grid), trials_of(iris_grid, "accuracy")

    np.testing.assert_array_equal(own.scores, results["mean_test_neg_log_loss"])
    np.testing.assert_array_equal(other.scores, results["mean_test_accuracy"])
    assert own.score_name == "negative log loss"
    assert other.score_label == "Accuracy (mean over folds)"
    with pytest.raises(ValueError, match="must be one of .* Got 'f1' instead"):
        metric_name(iris_grid, "f1")


def test_the_best_is_that_of_the_metric_that_is_shown(iris_grid):
    """Its title would else name another score than its line."""
    scores = iris_grid.cv_results_["mean_test_accuracy"]

    assert trials_of(iris_grid).best == iris_grid.best_index_
    assert scores[trials_of(iris_grid, "accuracy").best] == scores.max()


def test_other_packages_searches_have_trials_without_curves(ridge_grid):
    """scikit-learn's own search has scores, and no epochs."""
    trials = trials_of(ridge_grid)

    np.testing.assert_array_equal(trials.scores, ridge_grid.cv_results_["mean_test_score"])
    assert trials.score_name == "R\N{SUPERSCRIPT TWO}"
    assert not trials.epochs.any()
    assert trials.resource is None
    assert curve_table(ridge_grid).empty


def test_a_search_without_a_best_candidate_has_none(made):
    """Without refit, or when all failed, nothing is the best."""
    assert trials_of(made([{"a": 1}], [np.nan])).best is None


def test_resources_are_said_in_words(iris_hyperband):
    """One epoch is no epochs."""
    trials = trials_of(iris_hyperband)

    assert [trials.resource_text(n) for n in (1, 9)] == ["1 epoch", "9 epochs"]
