"""Stacking, against scikit-learn's, and its layers."""

import inspect
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import ensemble as theirs
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import sk_tune
from sk_tune import StackingClassifier, StackingRegressor, fleet
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
def test_parameters_are_those_of_scikit_learn_and_layers(name):
    """Names, kinds and defaults are scikit-learn's; what has a position keeps it."""
    ours = inspect.signature(getattr(sk_tune, name)).parameters
    expected = inspect.signature(getattr(theirs, name)).parameters

    assert list(ours)[:2] == list(expected)[:2]
    assert set(ours) - set(expected) == {"layers", "random_state"}
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
    assert ours.n_layers_ == 1
    assert len(ours.layer_scores_) == 0


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


def ridge_and_tree(depth):
    tree = DecisionTreeRegressor(max_depth=depth, random_state=0)
    return [("ridge", Ridge()), ("tree", tree)]


def test_two_layers_are_nested_stacks(diabetes, monkeypatch):
    """Layers are what scikit-learn's class gives as its own final estimator."""
    base = ridge_and_tree(3)
    monkeypatch.setattr(
        StackingRegressor, "_compare_layers", lambda self, *_: setattr(self, "n_layers_", 2)
    )

    ours = StackingRegressor(base, Ridge(), cv=3, layers=2).fit(*diabetes)

    last = theirs.StackingRegressor(base, Ridge(), cv=3)
    expected = theirs.StackingRegressor(base, last, passthrough=True, cv=3).fit(*diabetes)
    assert_allclose(ours.predict(diabetes.X), expected.predict(diabetes.X))
    assert_allclose(ours.transform(diabetes.X), expected.transform(diabetes.X))
    assert len(ours.get_feature_names_out()) == 2 + 10
    copy = pickle.loads(pickle.dumps(ours))
    assert_array_equal(copy.predict(diabetes.X), ours.predict(diabetes.X))


def residual_problem(n_rows=600):
    """Return a target that is a line plus a step: a line's rest is what a tree finds."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(n_rows, 3))
    y = 3 * X[:, 0] + 2 * X[:, 1] + np.sign(X[:, 2] * X[:, 0]) * X[:, 1]
    return X, y + 0.05 * rng.normal(size=n_rows)


@pytest.mark.parametrize("make", [list, iter])
def test_layers_take_folds_as_positions(diabetes, make, monkeypatch):
    """Those of all samples, in each layer; layers are compared on what is left of them."""
    X, y = diabetes
    bases = ridge_and_tree(3)[::-1]
    splitter = KFold(3, shuffle=True, random_state=0)
    options = {"layers": 2, "random_state": 0}

    given = StackingRegressor(bases, cv=make(list(splitter.split(X))), **options).fit(X, y)

    assert len(given.layer_scores_) == 2
    monkeypatch.setattr(StackingRegressor, "_compare_layers", _take_all_layers)
    given = StackingRegressor(bases, cv=make(list(splitter.split(X))), **options).fit(X, y)
    drawn = StackingRegressor(bases, cv=splitter, **options).fit(X, y)
    assert_allclose(given.predict(X), drawn.predict(X))
    other = KFold(3, shuffle=True, random_state=1)
    other = StackingRegressor(bases, cv=other, **options).fit(X, y)
    assert np.abs(given.predict(X) - other.predict(X)).max() > 1e-6


def _take_all_layers(stack, X, y, cv, fit_params):
    """Let all layers be worth it."""
    stack.n_layers_, stack.layer_scores_ = stack.layers, np.zeros(stack.layers)


def test_layers_of_fitted_estimators_are_refused(diabetes):
    """They would be asked for more columns than they have seen."""
    ridge = Ridge().fit(*diabetes)

    with pytest.raises(ValueError, match="must be folds if layers > 1.*'prefit'"):
        StackingRegressor([("ridge", ridge)], cv="prefit", layers=2).fit(*diabetes)


def test_lists_are_taken_as_they_are():
    """Cells of several types keep them, when it is fitted and when it predicts."""
    X = [["a", 1], ["b", 2]] * 20
    y = [0, 1] * 20
    base = make_pipeline(OneHotEncoder(), LogisticRegression())

    assert StackingClassifier([("one", base)]).fit(X, y).predict(X[:2]).tolist() == [0, 1]


def test_a_layer_that_helps_is_kept():
    """Where the second layer sees more than the first, two layers are used."""
    X, y = residual_problem()
    base = ridge_and_tree(6)
    stack = StackingRegressor(base, Ridge(), cv=5, layers=2, random_state=0).fit(X, y)

    assert stack.n_layers_ == 2
    assert stack.layer_scores_[1] > stack.layer_scores_[0]


def test_a_layer_that_helps_by_chance_only_is_dropped():
    """On labels that are noise no layer is added, and the scores are at chance."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 5)), np.tile([0, 1], 200)
    rng.shuffle(y)
    base = [("a", LogisticRegression()), ("b", DecisionTreeClassifier(random_state=0))]

    stack = StackingClassifier(base, cv=3, layers=3, random_state=0).fit(X, y)

    assert stack.n_layers_ == 1
    assert len(stack.layer_scores_) == 3
    # A fair guess has a log loss of log 2; 80 samples leave an error of a few percent.
    assert_allclose(stack.layer_scores_, -np.log(2), atol=0.1)


def test_layers_are_compared_on_samples_that_none_saw(iris, monkeypatch):
    """A fifth of the samples is in no fit of the comparison."""
    seen = []
    original = theirs.StackingClassifier.fit

    def fit(self, X, y, **params):
        seen.append(X)
        return original(self, X, y, **params)

    monkeypatch.setattr(theirs.StackingClassifier, "fit", fit)
    base = [("tree", DecisionTreeClassifier(max_depth=2, random_state=0))]
    X = iris.X + np.arange(150)[:, None] * 1e-6
    StackingClassifier(base, cv=3, layers=2, random_state=0).fit(X, iris.y)

    compared = {tuple(row[:4]) for rows in seen[:2] for row in rows}
    assert len(compared) == 120
    assert len(seen[-1]) == 150 or len(seen[-2]) == 150


def test_a_final_estimator_without_probabilities_is_compared_by_accuracy(iris):
    """Accuracies on held-out samples lie between 0 and 1."""
    base = [("tree", DecisionTreeClassifier(max_depth=2, random_state=0))]
    names = np.array(["x", "y", "z"])[iris.y]
    stack = StackingClassifier(base, RidgeClassifier(), cv=3, layers=2).fit(iris.X, names)

    assert (stack.layer_scores_ > 0.6).all()
    assert set(stack.predict(iris.X)) == {"x", "y", "z"}


@pytest.mark.parametrize("layers", [0, 1.5])
def test_layers_are_a_number(base, iris, layers):
    """At least one layer is asked for."""
    with pytest.raises(ValueError, match="'layers' parameter of StackingClassifier"):
        StackingClassifier(base, layers=layers).fit(*iris)
