# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Curves of searches and networks."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import huber
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV as SklearnGridSearchCV
from sklearn.model_selection import RepeatedKFold, ShuffleSplit, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import compute_class_weight, compute_sample_weight
from skorch import NeuralNetClassifier
from torch import nn

from sk_tune import (
    GridSearchCV,
    HalvingGridSearchCV,
    HyperbandSearchCV,
    MLPClassifier,
    MLPRegressor,
    diagnose,
)
from sk_tune._diagnosis import Curves, curves_of, curves_of_estimator

X, Y = load_breast_cancer(return_X_y=True)
X, Y = StandardScaler().fit_transform(X)[:150], Y[:150]


NOISE = np.random.default_rng(0).normal(size=(300, 3))


def entropy(p):
    """Return the entropy of two classes in nats."""
    return pytest.approx(-p * math.log(p) - (1 - p) * math.log(1 - p))


def net(**params):
    return MLPClassifier(width=4, n_layers=1, max_epochs=3, random_state=0, **params)


@pytest.fixture(scope="module")
def grid():
    pipe = make_pipeline(StandardScaler(), net())
    return GridSearchCV(pipe, {"mlpclassifier__learning_rate": [0.01, 0.1]}, cv=3).fit(X, Y)


@pytest.fixture(scope="module")
def hyperband():
    rates = {"learning_rate": [0.01, 0.02, 0.03, 0.1]}
    options = {"max_resources": 9, "factor": 3, "select_epoch": "last"}
    return HyperbandSearchCV(net(), rates, cv=3, random_state=0, **options).fit(X, Y)


def test_curves_come_from_the_search(grid):
    """Folds and epochs are placed as in the table of the search."""
    curves = curves_of(grid, 1)

    table = grid.learning_curves_
    for name in ("train_loss", "valid_loss", "valid_score"):
        for fold in range(3):
            own = table[(table["result_row"] == 1) & (table["fold"] == fold)]
            np.testing.assert_array_equal(getattr(curves, name)[fold], own[name])


def test_curves_count_repetitions_of_folds():
    """Repeated folds are counted by their rows."""
    cv = RepeatedKFold(n_splits=2, n_repeats=2, random_state=0)
    search = GridSearchCV(net(), {"learning_rate": [0.01]}, cv=cv).fit(X, Y)

    assert curves_of(search, 0).n_repeats == 2.0
    assert curves_of(search, 0).n_folds == 4


@pytest.mark.parametrize(
    ("cv", "n_held_out"),
    [
        (RepeatedKFold(n_splits=3, n_repeats=2, random_state=0), 50),
        # Draws without overlap hold out a tenth each, and leave most rows out.
        (ShuffleSplit(2, test_size=0.1, random_state=0), 15),
        # Five of six parts are held out.
        (TimeSeriesSplit(5), 25),
    ],
    ids=["repeated", "random", "times"],
)
def test_curves_count_the_held_out_rows_of_a_fold(cv, n_held_out):
    """Folds need not partition the rows."""
    search = GridSearchCV(net(), {"learning_rate": [0.01]}, cv=cv).fit(X, Y)

    assert curves_of(search, 0).n_held_out == pytest.approx(n_held_out)


def test_curves_without_a_search_hold_out_each_row_equally_often():
    """Four folds of two repetitions of 60 rows hold out 30 rows each."""
    epochs = np.arange(1.0, 6.0)
    losses = 0.1 + 1 / epochs + 0.1 * np.arange(4)[:, None]

    def deviation(**rows):
        curves = Curves(
            train_loss=losses,
            valid_loss=losses,
            valid_score=1 - losses,
            n_repeats=2,
            **rows,
        )
        (found,) = (f for f in diagnose(curves) if f.name == "folds disagree")
        return found.evidence["deviation"]

    assert deviation(n_samples=60) == deviation(n_samples=60, n_held_out=30)
    assert deviation(n_samples=60) > deviation(n_samples=60, n_held_out=6)


def test_an_interrupted_rung_of_samples_does_not_hide_earlier_rungs(monkeypatch):
    """A rung without curves is replaced by the previous rung."""
    search = HalvingGridSearchCV(
        net(), {"width": [4, 8]}, factor=2, min_resources=60, max_resources=120, cv=3
    ).fit(X, Y)
    last = len(search.cv_results_["params"]) - 1
    params, table = search.cv_results_["params"], search.learning_curves_
    first = next(row for row in range(last) if params[row] == params[last])

    def is_of(candidate):
        own = table.query(f"result_row == {candidate}")["valid_loss"]
        found = (curves_of(search, row).valid_loss.ravel() for row in (first, last))
        return all(np.array_equal(curve, own) for curve in found)

    assert is_of(last)
    lost = search.learning_curves_.query("result_row != @last")
    monkeypatch.setattr(type(search), "learning_curves_", lost)
    assert is_of(first)


def test_parameters_and_baseline_belong_to_the_network(grid):
    """Parameters have no prefix; the baseline is the entropy of the class shares."""
    curves = curves_of(grid, 1)

    assert (curves.params["learning_rate"], curves.params["width"]) == (0.1, 4)
    assert curves.baseline_loss == entropy(Y.mean())
    assert curves.n_samples == 150


def test_the_baseline_of_a_regressor_is_on_the_scale_of_its_loss():
    """Targets are standardised inside, so curves start near 1 for any y."""
    X, y = load_diabetes(return_X_y=True)
    regressor = MLPRegressor(width=4, max_epochs=2, learning_rate=1e-6, random_state=0)

    search = GridSearchCV(regressor, {"width": [4]}, cv=3).fit(X, 1000 * y)

    curves = curves_of(search, 0)
    assert curves.baseline_loss == 1.0
    assert curves.valid_loss.mean() == pytest.approx(1.0, abs=0.3)


@pytest.mark.parametrize("loss", ["absolute_error", "huber"])
def test_the_baseline_of_other_losses_is_the_loss_of_the_median(loss):
    """A network that learns nothing stays near it, also for long-tailed targets."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 3)), 50 * rng.exponential(size=300)
    net = MLPRegressor(
        width=8, max_epochs=60, loss=loss, learning_rate=0.01, weight_decay=1
    )

    search = GridSearchCV(net, {"width": [8]}, cv=3).fit(X, y)

    curves = curves_of(search, 0)
    baseline = curves.baseline_loss
    assert curves_of_estimator(search.best_estimator_).baseline_loss is None
    assert np.median(curves.valid_loss[:, 10:]) == pytest.approx(baseline, rel=0.1)
    error = np.abs(y - np.median(y)) / y.std()
    assert baseline == pytest.approx(
        {"absolute_error": error, "huber": huber(1, error)}[loss].mean()
    )


@pytest.mark.parametrize("loss", ["poisson", "gamma", "tweedie", "quantile"])
def test_a_network_of_any_loss_that_learns_nothing_stays_near_the_baseline(loss):
    """It is the deviance of the mean, or the pinball loss of the quantiles."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 3)), 1 + rng.poisson(3, size=300)
    net = MLPRegressor(
        width=8, max_epochs=60, loss=loss, learning_rate=0.01, weight_decay=1
    )

    search = GridSearchCV(net, {"width": [8]}, cv=3).fit(X, y)

    curves = curves_of(search, 0)
    last = np.median(curves.valid_loss[:, 10:])
    assert last == pytest.approx(curves.baseline_loss, rel=0.1)


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 1.0, 1: 20.0}])
def test_the_baseline_of_a_network_is_the_weighted_loss_of_the_class_shares(class_weight):
    """It is the loss of a DummyClassifier, with the weights of the network's loss."""
    rare = np.repeat([0, 1], [270, 30])
    sample_weight = np.linspace(1, 2, 300)
    by_class = compute_class_weight(
        class_weight, classes=np.arange(2), y=rare, sample_weight=sample_weight
    )
    weight = sample_weight * by_class[rare]
    dummy = DummyClassifier().fit(rare[:, None], rare, sample_weight=weight)

    fitted = net(class_weight=class_weight).fit(NOISE, rare, sample_weight=sample_weight)

    probabilities = dummy.predict_proba(rare[:, None])
    expected = log_loss(rare, probabilities, sample_weight=weight)
    assert curves_of_estimator(fitted).baseline_loss == pytest.approx(expected)


def test_a_weighted_training_loss_is_not_compared_with_the_held_out_loss():
    """Held-out rows of a search have no weights, so their baseline has none either."""
    rare = np.repeat([0, 1], [270, 30])
    class_weight = {0: 1.0, 1: 20.0}
    weight = compute_sample_weight(class_weight, rare)
    dummy = DummyClassifier().fit(rare[:, None], rare, sample_weight=weight)

    by_class = GridSearchCV(net(class_weight=class_weight), {}, cv=3).fit(NOISE, rare)
    by_sample = GridSearchCV(net(), {}, cv=3).fit(NOISE, rare, sample_weight=weight)

    for search in (by_class, by_sample):
        assert curves_of(search, 0).is_weighted
        found = {f.name: f for f in diagnose(search)}
        assert found["underfitting"].outcome == "not applicable"
        assert "gap" not in found["overfitting"].evidence
    expected = log_loss(rare, dummy.predict_proba(rare[:, None]))
    assert curves_of(by_class, 0).baseline_loss == pytest.approx(expected)


def test_a_network_behind_a_transformed_target_is_diagnosed():
    """The baseline of a loss in the transformed units is unknown, of R2 it is 1."""
    X, y = load_diabetes(return_X_y=True)
    for loss, baseline in (("squared_error", 1.0), ("absolute_error", None)):
        network = make_pipeline(StandardScaler(), MLPRegressor(loss=loss, max_epochs=3))
        model = TransformedTargetRegressor(network, func=np.log1p, inverse_func=np.expm1)
        search = GridSearchCV(model, {}, cv=3).fit(X, y)

        assert curves_of(search, 0).baseline_loss == baseline
        assert {f.name for f in diagnose(search)} >= {"overfitting", "still improving"}


def test_the_baseline_follows_the_candidates_loss_and_weights():
    """Candidates override the estimator; multi-label baselines are averaged."""
    X_d, y = load_diabetes(return_X_y=True)
    regressor = MLPRegressor(width=4, max_epochs=2, random_state=0)
    rare = np.arange(150) % 10 == 0
    labels = np.column_stack([Y, np.arange(150) < 75])

    def baselines(estimator, space, X, y):
        search = GridSearchCV(estimator, space, cv=2).fit(X, y)
        n_rows = len(search.cv_results_["params"])
        return [curves_of(search, row).baseline_loss for row in range(n_rows)]

    losses = {"loss": ["squared_error", "absolute_error"]}
    error = np.abs(y - np.median(y)).mean() / y.std()
    assert baselines(regressor, losses, X_d, y) == [1.0, pytest.approx(error)]
    weights = {"class_weight": [None, "balanced"]}
    even = pytest.approx(math.log(2))
    assert baselines(net(), weights, X, rare) == [entropy(0.1), even]
    mean = pytest.approx((entropy(Y.mean()).expected + math.log(2)) / 2)
    assert baselines(net(), {"width": [4]}, X, labels) == [mean]


def test_a_rung_of_more_samples_is_another_network():
    """Curves of earlier rungs, with fewer samples, are not mixed in."""
    own = net(early_stopping=True, n_iter_no_change=2).set_params(max_epochs=30)
    X, y = load_breast_cancer(return_X_y=True)
    search = HalvingGridSearchCV(
        own, {"learning_rate": [1e-4, 1e-3, 1e-2]}, min_resources=60, cv=2, random_state=0
    ).fit(X, y)

    curves = curves_of(search, search.best_index_)

    table = search.learning_curves_.query(f"result_row == {search.best_index_}")
    assert curves.n_epochs == table["epoch"].max()
    assert np.isfinite(curves.valid_loss).sum() == len(table)


def test_a_candidate_has_the_curves_of_its_longest_rung(hyperband):
    """Any row of a configuration gives the same curves, up to its last epoch."""
    rate = hyperband.best_params_["learning_rate"]
    params = hyperband.cv_results_["params"]
    rows = [row for row, own in enumerate(params) if own["learning_rate"] == rate]

    assert {curves_of(hyperband, row).n_epochs for row in rows} == {9}


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda grid: curves_of(grid, 2), ValueError, "Got 2"),
        (lambda grid: curves_of(grid, -3), ValueError, "Got -3"),
        (
            lambda _: curves_of(
                GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=3).fit(X, Y), 0
            ),
            ValueError,
            "no learning curve",
        ),
        (
            lambda _: diagnose(GridSearchCV(net(), {"width": [4]})),
            NotFittedError,
            "GridSearchCV is not fitted",
        ),
        (lambda _: diagnose(net()), NotFittedError, "MLPClassifier is not fitted"),
        (lambda _: diagnose(LogisticRegression()), TypeError, "LogisticRegression"),
        (
            lambda _: diagnose(SklearnGridSearchCV(net(), {"width": [4]})),
            TypeError,
            "Got GridSearchCV",
        ),
        (
            lambda _: diagnose(SklearnGridSearchCV(net(), {"width": [4]}, cv=2).fit(X, Y)),
            TypeError,
            "instead. Use a search of sk_tune, or diagnose its best_estimator_.",
        ),
    ],
    ids=[
        *("no row", "before the first", "no network", "search not fitted"),
        *("network not fitted", "no epochs", "search of scikit-learn", "the same, fitted"),
    ],
)
def test_sources_without_curves_are_refused(grid, call, error, words):
    """Errors distinguish unfitted objects, other estimators and wrong rows."""
    with pytest.raises(error, match=words):
        call(grid)


def test_a_network_has_one_fold():
    """The history has held-out losses only with early stopping."""
    fitted = net(early_stopping=True).fit(X, Y)

    curves = curves_of_estimator(make_pipeline(fitted))
    plain = curves_of_estimator(net().fit(X, Y))

    assert curves.n_folds == 1
    assert curves.valid_loss[0].tolist() == [row["valid_loss"] for row in fitted.history_]
    assert curves.baseline_loss == entropy(Y.mean())
    assert np.isnan(plain.valid_loss).all()
    assert np.isfinite(plain.train_loss).all()


def test_skorch_nets_use_their_parameter_names():
    """Their rate is called lr; the baseline follows from their criterion."""
    torch.manual_seed(0)
    network = NeuralNetClassifier(
        nn.Linear,
        module__in_features=X.shape[1],
        criterion=nn.CrossEntropyLoss,
        max_epochs=12,
        verbose=0,
    )
    search = GridSearchCV(network, {"lr": [1e-5], "module__out_features": [2]}, cv=3)

    search.fit(X.astype(np.float32), Y.astype(np.int64))

    assert curves_of(search, 0).baseline_loss == entropy(Y.mean())
    slow = {f.name: f for f in diagnose(search)}["learning rate too low"]
    assert [c.parameter for c in slow.changes] == ["lr"]


@pytest.mark.parametrize(
    ("small", "large", "is_larger"),
    [
        ({"width": 8, "n_layers": 1}, {"width": 8, "n_layers": 2}, True),
        ({"width": 8, "n_layers": 1}, {"width": 16, "n_layers": 1}, True),
        ({"hidden_layer_sizes": (8, 8)}, {"hidden_layer_sizes": (8, 16)}, True),
        ({"hidden_size": 8}, {"hidden_size": 32}, True),
        ({"module__width": 8}, {"module__width": 9}, True),
        # A user's own module may be of any size.
        ({"module__depth": 3}, {"module__depth": 4}, False),
    ],
)
def test_networks_are_ordered_by_size(make_search, shapes, small, large, is_larger):
    """Wider and deeper networks are larger, and are compared with smaller networks."""
    unsized = SimpleNamespace(get_params=lambda deep: {})
    search = make_search([small, large], [[0.5, 0.5], [0.6, 0.6]], estimator=unsized)

    found = [shapes.found("underfitting", search, result_row=c).evidence for c in (0, 1)]

    assert ["ahead" in evidence for evidence in found] == [is_larger, False]


def test_the_best_larger_network_is_chosen(make_search, shapes):
    """By the least held-out loss, also if folds stop early."""
    scores = np.repeat([[0.5], [0.6], [0.7], [0.9]], 2, axis=1)
    search = make_search([{"width": w} for w in (8, 16, 32, 4)], scores)

    def ahead(candidate):
        found = shapes.found("underfitting", search, result_row=candidate)
        return found.evidence.get("ahead", pytest.approx(np.nan, nan_ok=True))

    assert ahead(0) == pytest.approx(0.2)
    assert ahead(3) == pytest.approx(-0.2)
    table = search.learning_curves_
    is_early = (table["result_row"] == 2) & (table["epoch"] > 2 + table["fold"])
    search.learning_curves_ = table[~is_early]
    assert ahead(0) == pytest.approx(0.1)
    search.estimator = MLPClassifier(early_stopping=True)
    assert ahead(0) == pytest.approx(0.2)
