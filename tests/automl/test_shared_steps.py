"""Fitted transformers of several searches."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from sk_tune import GridSearchCV, TablePreparer
from sk_tune.automl._models import boosting_model, linear_model
from sk_tune.automl._resources import Clock, Workers
from sk_tune.automl._runner import Runner, SharedSteps


def _fitted(X, y, **params):
    steps = [("prepare", TablePreparer(**params)), ("linear", LogisticRegression())]
    return Pipeline(steps).fit(X, y)


def test_transformers_that_learnt_the_same_become_one(mixed):
    """The predictor stays each pipeline's own, and so do its predictions."""
    steps = SharedSteps()
    models = [_fitted(*mixed), _fitted(*mixed)]

    first, second = (steps.shared(model) for model in models)

    assert first["prepare"] is second["prepare"] is models[0]["prepare"]
    assert [first["linear"], second["linear"]] == [m["linear"] for m in models]
    np.testing.assert_array_equal(
        second.predict_proba(mixed[0]), models[1].predict_proba(mixed[0])
    )


def test_transformers_of_other_rows_or_parameters_stay_apart(mixed):
    """Whether they learnt the same counts, not whether they are of one type."""
    X, y = mixed
    steps = SharedSteps()
    models = [_fitted(X, y), _fitted(X[:90], y[:90]), _fitted(X, y, numeric="standard")]

    shared = [steps.shared(model)["prepare"] for model in models]

    assert [own is model["prepare"] for own, model in zip(shared, models, strict=True)] == [
        True
    ] * 3


def test_searches_of_a_course_share_what_they_prepared(mixed, make_problem):
    """Each fold of the second search has the preparation of the first search's fold."""
    runner = Runner(Clock(None), 0.0, None, Workers(None, None))
    problem = make_problem(*mixed)
    for model in (linear_model(problem), boosting_model(problem), linear_model(problem)):
        grid = {name: values[:1] for name, values in model.grid.items()}
        runner.run(GridSearchCV, model.estimator, grid, model, problem)

    linear, boosting, again = ([m[0] for m in trial.models] for trial in runner.trials)

    assert all(a is b for a, b in zip(linear, again, strict=True))
    assert len({id(own) for own in (*linear, *boosting)}) == 6
