"""Results of a search as columns of numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_tune.report._search_trials import metric_name, parameters_of, short_names, trials_of


def _column(values):
    return parameters_of([{"a": value} for value in values])[0]


@pytest.mark.parametrize(
    ("values", "is_log"),
    [
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
def test_the_scale_is_the_one_on_which_values_are_even(values, is_log):
    """Evenly drawn values are linear, those drawn evenly in the logarithm are not."""
    assert _column(values).is_log is is_log


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
def test_values_that_are_no_numbers_are_categories(values, categories):
    """Each value is the position of its text, which an axis shows."""
    column = _column(values)

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
    assert [_column([0.1, 1 / 3]).text(v) for v in (1 / 3, 12345.0)] == ["0.333", "1.2e+04"]


@given(
    st.lists(st.text("ab_", min_size=1, max_size=8), min_size=1, max_size=6, unique=True)
)
def test_short_names_are_distinct_ends_of_the_names(names):
    """The step's name stays where two steps have such a parameter; none collide."""
    short = short_names(names)

    assert len(set(short.values())) == len(names)
    assert all(name.endswith(label) for name, label in short.items())
    given_names = ["pca__n", "net__n", "net__optimizer__lr", "net__width"]
    ends = ["pca__n", "net__n", "lr", "width"]
    assert list(short_names(given_names).values()) == ends


@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=20))
def test_codes_keep_the_order_of_values_within_0_and_1(values):
    """A scale never turns two values round; 0.01 is in the middle of 0.0001 and 1."""
    column = _column(values)

    codes = column.codes[np.argsort(column.values, kind="stable")]

    assert np.all(np.diff(codes) >= 0)
    assert codes.min() >= 0
    assert codes.max() <= 1
    np.testing.assert_allclose(_column([1e-4, 1e-2, 1.0]).codes, [0.0, 0.5, 1.0])


def test_columns_are_those_of_cv_results(iris_hyperband):
    """Scores, rungs and brackets are the search's; params lack what rungs grant."""
    results = iris_hyperband.cv_results_

    trials = trials_of(iris_hyperband)

    np.testing.assert_array_equal(trials.scores, results["mean_test_score"])
    np.testing.assert_array_equal(trials.spreads, results["std_test_score"])
    np.testing.assert_array_equal(trials.brackets, results["bracket"])
    np.testing.assert_array_equal(trials.n_resources, results["n_resources"])
    assert trials.resource == "net__max_epochs"
    assert trials.best == iris_hyperband.best_index_
    assert [trials.resource_text(n) for n in (1, 9)] == ["1 epoch", "9 epochs"]
    for own, params in zip(trials.params, results["params"], strict=True):
        assert {**own, "net__max_epochs": params["net__max_epochs"]} == params


def test_what_was_spent_is_of_all_folds(iris_hyperband, iris_grid, made):
    """Warm rungs are charged with the epochs that they add, as the ledger counts them.

    A fit of 2 s and a score of 0.5 s on two folds take 5 s.
    """
    for search in (iris_hyperband, iris_grid):
        assert trials_of(search).epochs.sum() == search.ledger_.epochs_trained
    assert trials_of(made([{"a": 1}], [0.5])).seconds.tolist() == [5.0]


def test_each_configuration_has_one_last_row(iris_hyperband, made):
    """Its highest rung; a random search that draws one twice has both rows."""
    trials = trials_of(iris_hyperband)
    brackets = iris_hyperband.brackets_

    assert trials.is_last.sum() == sum(b.rungs[0].n_candidates for b in brackets)
    assert trials.is_last[trials.best]
    n_end = sum(b.rungs[-1].n_candidates for b in brackets)
    assert (trials.is_last & (trials.n_resources == 9)).sum() == n_end
    twice = trials_of(made([{"a": 1}, {"a": 1}], [0.5, 0.5]))
    assert twice.is_last.tolist() == [True, True]


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


def test_the_deciding_metric_is_taken_unless_another_is_named(iris_grid, made):
    """The best is that of the metric that is shown; without a score nothing is the best."""
    results = iris_grid.cv_results_

    own, other = trials_of(iris_grid), trials_of(iris_grid, "accuracy")

    np.testing.assert_array_equal(own.scores, results["mean_test_neg_log_loss"])
    np.testing.assert_array_equal(other.scores, results["mean_test_accuracy"])
    assert own.score_name == "negative log loss"
    assert other.score_label == "Accuracy (mean over folds)"
    assert own.best == iris_grid.best_index_
    assert other.scores[other.best] == other.scores.max()
    assert trials_of(made([{"a": 1}], [np.nan])).best is None
    with pytest.raises(ValueError, match="must be one of .* Got 'f1' instead"):
        metric_name(iris_grid, "f1")


def test_other_packages_searches_have_trials_without_curves(ridge_grid):
    """scikit-learn's own search has scores, and no epochs."""
    trials = trials_of(ridge_grid)

    np.testing.assert_array_equal(trials.scores, ridge_grid.cv_results_["mean_test_score"])
    assert trials.score_name == "R\N{SUPERSCRIPT TWO}"
    assert not trials.epochs.any()
    assert trials.resource is None
