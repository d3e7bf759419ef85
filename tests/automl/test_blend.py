"""The average that predicts."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune.automl._blend import Blend, Trial, blend_of
from sk_tune.ensemble import Combination, Member

X, Y = load_iris(return_X_y=True)


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
