"""Held-out rows are transformed once for all candidates, where that changes no score."""

import numpy as np
import pytest
from sklearn import model_selection
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.metrics import make_scorer
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import GridSearchCV
from sk_tune.search._fold_transformers import FittedTransformers, HeldOutRows, transformed

CV = StratifiedKFold(3, shuffle=True, random_state=1)
GRID = {"net__learning_rate": [0.001, 0.01, 0.03, 0.1]}


class Watched(TransformerMixin, BaseEstimator):
    """A transformer that counts how often it transforms, and may draw noise each time."""

    calls: list[int] = []  # noqa: RUF012 - shared by all clones on purpose
    rng = np.random.default_rng(0)

    def __init__(self, noise=0.0):
        self.noise = noise

    def fit(self, X, y=None):
        """Learn nothing."""
        self.n_features_ = X.shape[1]
        return self

    def transform(self, X):
        """Return the rows, perhaps with noise."""
        Watched.calls.append(len(X))
        return X + self.noise * Watched.rng.normal(size=X.shape)


@pytest.fixture
def calls():
    """Rows of each transform, none at the start."""
    Watched.calls.clear()
    return Watched.calls


@pytest.fixture
def net(make_estimator):
    """Return a small classifier in float64."""
    return make_estimator("MLPClassifier", dtype="float64")


@pytest.mark.parametrize(
    "scoring",
    [
        None,
        "roc_auc_ovr",
        ["accuracy", "neg_log_loss"],
        make_scorer(lambda y_true, y_pred: float(np.mean(y_true == y_pred))),
    ],
)
def test_scores_are_those_of_scikit_learn_and_rows_are_transformed_twice(
    net, iris, calls, scoring
):
    """Held-out rows are transformed for training and for the first score, no more."""
    pipeline = Pipeline([("watched", Watched()), ("scale", StandardScaler()), ("net", net)])
    options = {"scoring": scoring, "cv": CV, "refit": False}
    theirs = model_selection.GridSearchCV(pipeline, GRID, **options).fit(*iris)
    calls.clear()

    ours = GridSearchCV(pipeline, GRID, **options).fit(*iris)

    # Once with the fit, on the training rows.
    assert sorted(calls) == [50] * 2 * 3 + [100] * 3
    for name in theirs.cv_results_:
        if name.startswith(("mean_test", "split")):
            np.testing.assert_allclose(
                ours.cv_results_[name], theirs.cv_results_[name], atol=1e-6
            )


def test_a_scorer_that_is_given_the_estimator_sees_pipeline_and_rows(net, iris, calls):
    """A callable gets the fitted pipeline and the rows as they are, each time."""
    seen = []

    def scorer(estimator, X, y):
        seen.append((type(estimator), np.array(X)))
        return estimator.score(X, y)

    pipeline = Pipeline([("watched", Watched()), ("net", net)])
    GridSearchCV(pipeline, GRID, cv=CV, refit=False, scoring=scorer).fit(*iris)

    assert calls.count(50) == 3 + 4 * 3
    assert {kind for kind, _ in seen} == {Pipeline}
    tests = [test for _, test in CV.split(*iris)]
    for position, (_, X) in enumerate(seen):
        np.testing.assert_array_equal(X, iris.X[tests[position % 3]])


def test_what_is_random_is_drawn_for_every_score(net, iris, calls):
    """Rows that come out another way the second time are transformed each time."""
    pipeline = Pipeline([("watched", Watched(noise=0.1)), ("net", net)])

    GridSearchCV(pipeline, GRID, cv=CV, refit=False).fit(*iris)

    assert calls.count(50) == 3 + 4 * 3


def test_training_rows_are_scored_as_training_rows(net, iris):
    """With return_train_score only the first call of a scorer is for held-out rows."""
    pipeline = Pipeline([("scale", StandardScaler()), ("net", net)])
    options = {"cv": CV, "refit": False, "return_train_score": True}
    theirs = model_selection.GridSearchCV(pipeline, GRID, **options).fit(*iris)

    ours = GridSearchCV(pipeline, GRID, **options).fit(*iris)

    for name in ("mean_train_score", "mean_test_score"):
        np.testing.assert_allclose(
            ours.cv_results_[name], theirs.cv_results_[name], atol=1e-6
        )


def test_rows_are_those_of_the_fitted_transformers_themselves(iris):
    """Neither another fold nor other fitted transformers are given remembered rows."""
    store = HeldOutRows(FittedTransformers())
    test = np.arange(10)
    X = iris.X[test]
    pipeline = Pipeline([("scale", StandardScaler().fit(iris.X)), ("net", None)])
    other = Pipeline([("scale", StandardScaler().fit(iris.X)), ("net", None)])

    store.remember(pipeline, test, transformed(pipeline, X))

    assert store.rows(other, test, X) is None
    assert store.rows(pipeline, test.copy(), X) is None
    expected = (X - iris.X.mean(axis=0)) / iris.X.std(axis=0)
    for _ in range(3):
        np.testing.assert_allclose(store.rows(pipeline, test, X), expected)


def test_rows_of_a_network_that_may_change_them_are_copies(iris):
    """What is no network of sk_tune's never gets the remembered rows themselves."""
    store = HeldOutRows(FittedTransformers())
    test = np.arange(10)
    pipeline = Pipeline([("scale", StandardScaler().fit(iris.X)), ("net", None)])
    store.remember(pipeline, test, transformed(pipeline, iris.X[test]))

    for _ in range(2):
        store.rows(pipeline, test, iris.X[test])[:] = 0

    assert store.rows(pipeline, test, iris.X[test]).any()
