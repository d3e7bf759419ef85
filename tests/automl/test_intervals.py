"""Intervals and sets of labels of AutoML."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris

from sk_tune import AutoClassifier, AutoRegressor

OPTIONS = {
    "time_budget": None,
    "n_rounds": 0,
    "models": ["linear", "boosting"],
    "random_state": 0,
}


@pytest.fixture(scope="module")
def regressor():
    """Return a fitted regressor, its features and its targets."""
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    return AutoRegressor(**OPTIONS).fit(X[:300], y[:300]), X, y


@pytest.mark.parametrize("use", ["ensemble", "best", "linear", "boosting"])
def test_each_model_has_its_own_intervals(regressor, use):
    """Intervals surround the model of `use` and cover new rows as requested."""
    auto, X, y = regressor
    auto = pickle.loads(pickle.dumps(auto)).set_params(use=use)

    low, high = auto.predict_interval(X[300:], coverage=0.8).T

    below = 2 * auto.predict(X[300:]) - high
    np.testing.assert_allclose(low, np.maximum(below, 0), rtol=1e-6)
    assert np.mean((low <= y[300:]) & (y[300:] <= high)) == pytest.approx(0.8, abs=0.08)


def test_the_summary_has_coverage_and_width(regressor):
    """The sentence is measured on held-out rows."""
    auto, X, _ = regressor

    sentence = auto.summary_.rpartition(". 90 % intervals")[2]

    assert sentence.startswith(" contain the target of ")
    width = float(sentence.rpartition("median width is ")[2].rstrip("."))
    low, high = auto.predict_interval(X[300:]).T
    assert width == pytest.approx(np.median(high - low), rel=0.1)
    assert sentence in " ".join(auto.report().split())


def test_the_summary_omits_infinite_intervals():
    """Fewer than nine residuals do not limit 90 % of the targets."""
    X = np.random.default_rng(0).normal(size=(8, 2))
    auto = AutoRegressor(**{**OPTIONS, "models": ["linear"]}).fit(X, X.sum(axis=1))

    assert np.isinf(auto.predict_interval(X)).all()
    assert "90 % intervals" not in auto.summary_


def test_several_targets_have_intervals():
    """Each target is covered by itself, in its own units."""
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    both = np.column_stack([y, 1000 * y])
    auto = AutoRegressor(**{**OPTIONS, "models": ["linear"]}).fit(X, both)

    width = np.diff(auto.predict_interval(X), axis=1)[:, 0]

    np.testing.assert_allclose(width[:, 1], 1000 * width[:, 0], rtol=0.05)


def test_a_classifier_has_sets():
    """The most probable class is in each set, and the summary has their mean size."""
    X, y = load_iris(return_X_y=True, as_frame=True)
    labels = np.array(["c", "a", "b"])[y]
    auto = AutoClassifier(**OPTIONS).fit(X, labels)

    sets = auto.predict_set(X, coverage=0.99)

    truth = np.searchsorted(auto.classes_, labels)
    assert sets[np.arange(150), truth].mean() >= 0.97
    assert sets[np.arange(150), auto.predict_proba(X).argmax(axis=1)].all()
    assert "90 % prediction sets contain the label of " in auto.summary_
    assert auto.summary_.endswith(" of 3 labels on average.")
