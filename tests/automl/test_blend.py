"""Trials, and averages of their models."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import GridSearchCV
from sk_tune._automl._blend import Trial, blend_of, trials_of

X, Y = load_iris(return_X_y=True)
FOLDS = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X, Y))
MODEL = SimpleNamespace(family="linear", name="linear")
PROBLEM = SimpleNamespace(is_classification=True, n_train=100)


@pytest.fixture
def search():
    """Return a search over three regularisation strengths, with its models."""
    pipeline = make_pipeline("passthrough", LogisticRegression(max_iter=1000))
    grid = {"logisticregression__C": [0.01, 1.0, 10.0]}
    return GridSearchCV(pipeline, grid, cv=FOLDS, refit=False, keep_models="all").fit(X, Y)


def test_trials_are_the_candidates_with_their_models(search):
    """Scores are the search's scores, and the numbers in names continue."""
    trials = trials_of(search, MODEL, PROBLEM, 4)

    assert [trial.name for trial in trials] == ["linear 5", "linear 6", "linear 7"]
    np.testing.assert_allclose(
        [trial.score for trial in trials], search.cv_results_["mean_test_score"]
    )
    assert all(len(trial.models) == 3 for trial in trials)
    assert {(trial.n_rows, trial.label) for trial in trials} == {(100, "linear")}


def test_r2_of_trials_on_few_rows_is_that_of_ensembles():
    """It is relative to the variance of all held-out rows, as ensembles are scored."""
    X_few, y = X[:30], X[:30, 0]
    search = GridSearchCV(
        make_pipeline("passthrough", Ridge()), {"ridge__alpha": [1, 9]}, cv=3, refit=False
    )
    search.set_params(keep_models="all", error_score="raise").fit(X_few[:, 1:], y)
    problem = SimpleNamespace(is_classification=False, n_train=20)

    trials = trials_of(search, MODEL, problem, 0)

    for trial in trials:
        errors = (trial.library.predictions[0] - y) ** 2
        assert trial.score == pytest.approx(1 - errors.mean() / y.var())
        assert trial.fold_scores.mean() == trial.score


def test_a_search_without_models_has_no_trials(search):
    """An ensemble could not use its candidates."""
    search.models_ = {}

    assert trials_of(search, MODEL, PROBLEM, 0) == []


def test_one_fold_has_no_standard_deviation(search):
    """It is NaN instead of 0."""
    single = GridSearchCV(
        search.estimator, search.param_grid, cv=FOLDS[:1], refit=False, keep_models="all"
    ).fit(X, Y)

    trials = trials_of(single, MODEL, PROBLEM, 0)

    assert all(np.isnan(trial.std) for trial in trials)
    assert [len(trial.fold_scores) for trial in trials] == [1, 1, 1]


class _Counting(StandardScaler):
    """Counts its calls."""

    n_calls = 0

    def transform(self, X, copy=None):
        type(self).n_calls += 1
        return super().transform(X, copy=copy)


def _trial(models):
    return Trial(
        n_rows=100,
        label="",
        name="linear 1",
        family="linear",
        params={},
        score=0.0,
        std=0.0,
        fold_scores=np.zeros(1),
        seconds=0.0,
        models=tuple(models),
        library=None,
    )


def test_models_without_a_class_give_it_probability_0():
    """There is a column for each class."""
    few = Y < 2
    models = [
        make_pipeline("passthrough", LogisticRegression()).fit(X[few], Y[few]),
        make_pipeline("passthrough", LogisticRegression(max_iter=1000)).fit(X, Y),
    ]
    trials, halves = [_trial(models), _trial(models[1:])], np.full(2, 0.5)
    p = blend_of(trials, halves, 1.0, classes=np.arange(3)).predict_proba(X)

    np.testing.assert_allclose(p[:, 2], models[1].predict_proba(X)[:, 2] * 0.75)
    # A temperature of 2 takes the square root of each.
    warm = blend_of(trials, halves, 2.0, classes=np.arange(3)).predict_proba(X)
    roots = p**0.5 / (p**0.5).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(warm, roots, atol=1e-3)  # 0 is clipped


def test_only_models_of_the_last_fold_predict_in_time_order():
    """Models of earlier folds are trained on old rows; refits replace the last ones."""
    models = [
        make_pipeline(LogisticRegression(C=c, max_iter=1000).fit(X, Y))
        for c in (0.1, 1.0, 10.0)
    ]
    trial, options = _trial(models), {"classes": np.arange(3), "last_fold_only": True}

    last = blend_of([trial], [1.0], 1.0, **options)
    refitted = blend_of([trial], [1.0], 1.0, refits={trial.name: models[0]}, **options)

    for blend, model in [(last, models[2]), (refitted, models[0])]:
        np.testing.assert_allclose(blend.predict_proba(X), model.predict_proba(X))


def test_models_with_equal_transformers_prepare_rows_once():
    """Candidates of one fold share their transformer."""
    scaler = _Counting().fit(X)
    scaled = scaler.transform(X)
    _Counting.n_calls = 0
    models = [
        Pipeline([("scale", scaler), ("net", LogisticRegression(C=c).fit(scaled, Y))])
        for c in (0.1, 1.0, 10.0)
    ]

    blend_of([_trial(models)], np.ones(1), 1.0, classes=np.arange(3)).predict(X)

    assert _Counting.n_calls == 1
