"""Trials, and the average of their models."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import GridSearchCV
from sk_tune.automl._blend import Blend, Trial, best_of, blend_of, library_of, trials_of
from sk_tune.ensemble import Combination, Member

X, Y = load_iris(return_X_y=True)
FOLDS = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X, Y))


@pytest.fixture
def search():
    """Return a search over three strengths, whose models were kept."""
    pipeline = make_pipeline("passthrough", LogisticRegression(max_iter=1000))
    grid = {"logisticregression__C": [0.01, 1.0, 10.0]}
    return GridSearchCV(pipeline, grid, cv=FOLDS, refit=False, keep_models="all").fit(X, Y)


def test_trials_are_the_candidates_with_their_models(search):
    """Scores are those of the search, and names count on."""
    trials = trials_of(search, "linear", is_classification=True, n_before=4, n_rows=100)

    assert [trial.name for trial in trials] == ["linear 5", "linear 6", "linear 7"]
    np.testing.assert_allclose(
        [trial.score for trial in trials], search.cv_results_["mean_test_score"]
    )
    assert all(len(trial.models) == 3 for trial in trials)
    assert {(trial.n_rows, trial.label) for trial in trials} == {(100, "linear")}


def test_libraries_hold_what_folds_predict_of_other_rows(search):
    """They equal scikit-learn's cross_val_predict with the same folds."""
    trials = trials_of(search, "linear", is_classification=True, n_before=0, n_rows=100)
    expected = cross_val_predict(
        search.estimator.set_params(logisticregression__C=10.0),
        X,
        Y,
        cv=FOLDS,
        method="predict_proba",
    )

    library = library_of(best_of(trials, 2))

    assert library.predictions.shape == (2, 150, 3)
    own = trials[2].library.predictions[0]
    np.testing.assert_allclose(own, expected, atol=1e-6)


def test_a_search_without_models_leaves_nothing(search):
    """An ensemble could not use its candidates."""
    search.models_ = {}

    assert trials_of(search, "linear", is_classification=True, n_before=0, n_rows=100) == []


def test_the_best_come_first(search):
    """In the order of their scores, as many as are asked for."""
    trials = trials_of(search, "linear", is_classification=True, n_before=0, n_rows=100)

    best = best_of(trials, 2)

    assert [t.score for t in best] == sorted((t.score for t in trials), reverse=True)[:2]


def test_one_fold_tells_nothing_of_a_spread(search):
    """The deviation is not 0 then but not known."""
    single = GridSearchCV(
        search.estimator, search.param_grid, cv=FOLDS[:1], refit=False, keep_models="all"
    ).fit(X, Y)

    trials = trials_of(single, "linear", is_classification=True, n_before=0, n_rows=100)

    assert all(np.isnan(trial.std) for trial in trials)
    assert [len(trial.fold_scores) for trial in trials] == [1, 1, 1]


class _Counting(StandardScaler):
    """Counts how often it is asked."""

    n_calls = 0

    def transform(self, X, copy=None):
        """Count, and scale."""
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


def test_probabilities_are_the_weighted_mean():
    """Two pipelines, one with three quarters of the weight."""
    models = [
        make_pipeline(StandardScaler(), LogisticRegression(C=c)).fit(X, Y)
        for c in (0.01, 10.0)
    ]
    members = [Member(models[0], 0.75), Member(models[1], 0.25)]
    blend = Blend(combination=Combination(members, np.arange(3)), temperature=1.0)

    expected = 0.75 * models[0].predict_proba(X) + 0.25 * models[1].predict_proba(X)
    np.testing.assert_allclose(blend.predict_proba(X), expected)
    np.testing.assert_array_equal(blend.predict(X), expected.argmax(axis=1))


def test_a_class_that_a_fold_lacks_has_no_probability_there():
    """Columns are those of all classes."""
    few = Y < 2
    models = [
        make_pipeline("passthrough", LogisticRegression()).fit(X[few], Y[few]),
        make_pipeline("passthrough", LogisticRegression(max_iter=1000)).fit(X, Y),
    ]
    blend = blend_of([_trial(models)], np.ones(1), 1.0, np.arange(3))

    own = models[1].predict_proba(X)[:, 2] / 2
    np.testing.assert_allclose(blend.predict_proba(X)[:, 2], own)


def test_numbers_are_the_weighted_mean():
    """A regressor has no classes."""
    X, y = load_diabetes(return_X_y=True)
    models = [make_pipeline("passthrough", Ridge(a)).fit(X, y) for a in (0.1, 10.0)]
    blend = blend_of([_trial(models)], np.ones(1), 1.0, None)

    expected = (models[0].predict(X) + models[1].predict(X)) / 2
    np.testing.assert_allclose(blend.predict(X), expected)


def test_rows_are_prepared_once_for_models_that_share_it():
    """Candidates of one fold share their transformer, which is asked once."""
    scaler = _Counting().fit(X)
    scaled = scaler.transform(X)
    _Counting.n_calls = 0
    models = [
        Pipeline([("scale", scaler), ("net", LogisticRegression(C=c).fit(scaled, Y))])
        for c in (0.1, 1.0, 10.0)
    ]

    blend_of([_trial(models)], np.ones(1), 1.0, np.arange(3)).predict(X)

    assert _Counting.n_calls == 1


def test_trials_without_weight_are_no_members():
    """The weight of a trial is shared by its folds."""
    first, second = (
        _trial([make_pipeline(LogisticRegression(max_iter=1000)).fit(X, Y)] * n)
        for n in (2, 3)
    )

    blend = blend_of([first, second], np.array([0.0, 1.0]), 1.0, np.arange(3))

    weights = [member.weight for member in blend.combination.members]
    assert weights == pytest.approx([1 / 3] * 3)


def test_a_temperature_changes_no_order():
    """Above 1 probabilities become more equal."""
    model = make_pipeline(LogisticRegression(max_iter=1000)).fit(X, Y)
    cool = blend_of([_trial([model])], np.ones(1), 1.0, np.arange(3)).predict_proba(X)
    warm = blend_of([_trial([model])], np.ones(1), 2.0, np.arange(3)).predict_proba(X)

    np.testing.assert_array_equal(cool.argmax(axis=1), warm.argmax(axis=1))
    assert warm.max(axis=1).mean() < cool.max(axis=1).mean()
