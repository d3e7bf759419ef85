"""The record of what is to be learnt."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline

from sk_tune.automl._problem import sampling_order


def test_a_problem_counts_the_rows_and_values_of_a_fold(mixed, make_problem):
    """Of 120 rows in three folds 80 are trained on, in five columns."""
    problem = make_problem(*mixed)

    assert problem.n_train == 80
    assert problem.n_values == 400


def test_weights_go_to_the_last_step(mixed, make_problem):
    """A search over a pipeline gives the weights to the model, and nothing without any."""
    pipeline = Pipeline([("prepare", "passthrough"), ("ridge", Ridge())])
    weights = np.ones(120)

    weighted = make_problem(*mixed, sample_weight=weights)

    assert weighted.fit_params(pipeline) == {"ridge__sample_weight": weights}
    assert make_problem(*mixed).fit_params(pipeline) == {}


def test_a_sample_has_fewer_rows_to_train_on_and_the_same_to_judge_by(mixed, make_problem):
    """Scores of a sample are of the same rows; a smaller sample is part of a larger one."""
    problem = make_problem(*mixed)

    small, large = problem.sampled(20), problem.sampled(50)

    assert (small.n_train, large.n_train) == (20, 50)
    for (few, held), (more, same), (train, _) in zip(
        small.folds, large.folds, problem.folds, strict=True
    ):
        np.testing.assert_array_equal(held, same)
        assert set(few) < set(more) < set(train)
    assert problem.sampled(80) is problem


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=200).map(np.array),
    st.integers(0, 9),
)
def test_first_rows_have_each_class_and_then_its_share(y, seed):
    """Two rows of each class come first; any later prefix is as stratified as can be."""
    order = sampling_order(y, True, seed)

    np.testing.assert_array_equal(np.sort(order), np.arange(len(y)))
    classes, counts = np.unique(y, return_counts=True)
    n_first = np.minimum(counts, 2).sum()
    assert set(y[order[:n_first]]) == set(classes)
    for n in range(n_first, len(y) + 1):
        of_class = (y[order[:n], None] == classes).sum(axis=0)
        # No class lags behind the share that another one has reached by more than a row,
        # but for the two rows that each has in advance.
        reached = (of_class - 0.5) / counts
        lagging = (of_class + 0.5) / counts
        later = of_class > 2
        if later.any() and (of_class < counts).any():
            assert reached[later].max() <= lagging[of_class < counts].min() + 1e-9


def test_rows_with_numbers_come_in_any_order():
    """A sample for a regression is drawn at random, by the seed."""
    y = np.arange(50.0)

    order = sampling_order(y, False, 0)

    np.testing.assert_array_equal(np.sort(order), np.arange(50))
    np.testing.assert_array_equal(order, sampling_order(y, False, 0))
    assert (order != np.arange(50)).any()


def test_a_miniature_has_the_same_part_of_both_sides(make_problem):
    """So that what it takes tells what all rows take, and each class is in both."""
    y = np.repeat(np.arange(4), [500, 300, 150, 50])
    problem = make_problem(np.zeros((1000, 2)), y, n_folds=5)

    small = problem.miniature(80)

    assert [(len(train), len(held)) for train, held in small.folds] == [(80, 20)] * 5
    for (train, held), (all_train, all_held) in zip(
        small.folds, problem.folds, strict=True
    ):
        assert set(train) <= set(all_train)
        assert set(held) <= set(all_held)
        assert set(y[held]) == set(range(4))
    assert problem.miniature(10_000) is problem
