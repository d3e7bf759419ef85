"""Stacking, against scikit-learn's, and its layers."""

import inspect

import pytest
from numpy.testing import assert_allclose
from sklearn import ensemble as theirs
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

import sk_tune
from sk_tune import StackingClassifier, fleet
from sk_tune._ensemble import _stacking

CV = StratifiedKFold(3, shuffle=True, random_state=0)


@pytest.fixture
def base(make_estimator):
    """Two networks, one behind a scaler, and a tree."""
    net = make_estimator("MLPClassifier", dtype="float64", max_epochs=4)
    wide = make_estimator("MLPClassifier", dtype="float64", hidden_layer_sizes=(9,))
    tree = DecisionTreeClassifier(max_depth=2, random_state=0)
    return [("net", net), ("wide", make_pipeline(StandardScaler(), wide)), ("tree", tree)]


@pytest.mark.parametrize("name", ["StackingClassifier", "StackingRegressor"])
def test_parameters_match_scikit_learn(name):
    """Names, kinds, defaults and positions equal scikit-learn's."""
    ours = inspect.signature(getattr(sk_tune, name)).parameters
    expected = inspect.signature(getattr(theirs, name)).parameters

    assert list(ours) == list(expected)
    for parameter in expected.values():
        found = ours[parameter.name]
        assert (found.kind, found.default) == (parameter.kind, parameter.default)


@pytest.mark.parametrize("passthrough", [False, True])
def test_it_gives_what_scikit_learns_gives(base, iris, passthrough):
    """Fleets change when networks train, and no prediction."""
    final = LogisticRegression(max_iter=1000)
    options = {"final_estimator": final, "cv": CV, "passthrough": passthrough}
    ours = StackingClassifier(base, **options).fit(*iris)
    expected = theirs.StackingClassifier(base, **options).fit(*iris)

    # The final estimator's solver stops at a slope of 1e-4.
    assert_allclose(ours.predict_proba(iris.X), expected.predict_proba(iris.X), atol=1e-3)
    assert_allclose(ours.transform(iris.X), expected.transform(iris.X), atol=1e-9)


def test_networks_and_their_folds_train_in_two_calls(base, iris, monkeypatch):
    """All fits on all samples are one call of the engine, all folds another."""
    reports = []

    def watched(**options):
        block = fleet(**options)

        class Block:
            def __enter__(self):
                reports.append(block.__enter__())

            def __exit__(self, *error):
                return block.__exit__(*error)

        return Block()

    monkeypatch.setattr(_stacking, "fleet", watched)
    StackingClassifier(base, cv=CV).fit(*iris)

    (report,) = reports
    assert report.n_calls == 2
    assert report.n_in_fleets == 2 + 2 * 3
    assert report.n_trained_again == 0


def test_without_networks_there_is_no_fleet(iris, monkeypatch):
    """Estimators that train no network run once, as scikit-learn runs them."""

    def never(**options):
        raise AssertionError("no fleet is needed")

    monkeypatch.setattr(_stacking, "fleet", never)
    base = [("tree", DecisionTreeClassifier(random_state=0)), ("l", RidgeClassifier())]

    assert StackingClassifier(base, cv=3).fit(*iris).score(*iris) > 0.9


def test_it_rides_in_the_fleet_of_others(base, iris):
    """In a block, and in a search in a block, its networks are part of that fleet."""
    alone = StackingClassifier(base, cv=CV).fit(*iris)
    with fleet(n_jobs=1) as report:
        inside = StackingClassifier(base, cv=CV).fit(*iris)
    assert report.n_in_fleets == 8
    assert_allclose(inside.predict_proba(iris.X), alone.predict_proba(iris.X), atol=1e-9)
    with fleet(n_jobs=1) as report:
        search = GridSearchCV(
            StackingClassifier(base[:1], cv=2), {"stack_method": ["auto", "predict"]}, cv=2
        ).fit(*iris)
    assert report.n_trained_again == 0
    assert search.best_score_ > 0.5


def test_a_stack_may_be_the_final_estimator(base, iris):
    """Two layers are two stacks; the fits of each layer train as fleets."""
    last = {"final_estimator": LogisticRegression(max_iter=1000), "cv": CV}
    two = {"passthrough": True, "cv": CV}
    ours = StackingClassifier(base, StackingClassifier(base, **last), **two).fit(*iris)
    inner = theirs.StackingClassifier(base, **last)
    expected = theirs.StackingClassifier(base, inner, **two).fit(*iris)

    assert_allclose(ours.predict_proba(iris.X), expected.predict_proba(iris.X), atol=1e-3)


def test_lists_are_taken_as_they_are():
    """Cells of several types keep them, when it is fitted and when it predicts."""
    X = [["a", 1], ["b", 2]] * 20
    y = [0, 1] * 20
    base = make_pipeline(OneHotEncoder(), LogisticRegression())

    assert StackingClassifier([("one", base)]).fit(X, y).predict(X[:2]).tolist() == [0, 1]
