"""The record of what is to be learnt."""

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline


def test_a_problem_counts_the_rows_and_values_of_a_fold(mixed, make_problem):
    """Of 120 rows in three folds 80 are trained on, in five columns."""
    problem = make_problem(*mixed)

    X, y = problem.first_fold
    assert problem.n_train == len(X) == len(y) == 80
    assert problem.n_values == 400


def test_weights_go_to_the_last_step(mixed, make_problem):
    """A search over a pipeline gives the weights to the model, and nothing without any."""
    pipeline = Pipeline([("prepare", "passthrough"), ("ridge", Ridge())])
    weights = np.ones(120)

    weighted = make_problem(*mixed, sample_weight=weights)

    assert weighted.fit_params(pipeline) == {"ridge__sample_weight": weights}
    assert make_problem(*mixed).fit_params(pipeline) == {}
