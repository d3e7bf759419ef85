"""The chosen candidate, the Pareto front, and the score of pooled predictions."""

import pickle
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import ShuffleSplit, StratifiedKFold, cross_val_predict

from sk_tune import (
    GridSearchCV,
    HalvingGridSearchCV,
    HyperbandSearchCV,
    MLPClassifier,
    expected_score,
)

CV = StratifiedKFold(5, shuffle=True, random_state=1)
GRID = {"width": [4, 16, 32], "learning_rate": [0.003, 0.03]}
RULE = "one_standard_error"


@pytest.fixture
def net():
    """Return a small network."""
    return MLPClassifier(n_layers=1, members=1, max_epochs=4, batch_size=16, random_state=0)


def near_best(search):
    """Return the rows within one standard error of the best, as glmnet computes it."""
    table = pd.DataFrame(search.cv_results_)
    folds = table.filter(regex="^split").to_numpy()
    best = folds[folds.mean(axis=1).argmax()]
    error = best.std(ddof=1) / np.sqrt(len(best))
    return table[folds.mean(axis=1) >= best.mean() - error]


def test_the_cheapest_within_one_standard_error_is_chosen(net, iris):
    """It has the fewest weights, and of equally large networks the best score."""
    search = GridSearchCV(net, GRID, cv=CV, refit=RULE).fit(*iris)

    near = near_best(search)
    cheapest = near[near["param_width"] == near["param_width"].min()]
    assert search.best_index_ == cheapest["mean_test_score"].idxmax()
    assert search.best_score_ == cheapest["mean_test_score"].max()
    assert search.best_estimator_.width == search.best_params_["width"]


def test_fewer_epochs_are_cheaper_among_equally_large_networks(net, iris):
    """The rule prefers fewer epochs if more epochs do not improve the score."""
    search = GridSearchCV(net, {"max_epochs": [40, 39]}, cv=CV, refit=RULE).fit(*iris)

    assert set(near_best(search)["param_max_epochs"]) == {39, 40}
    assert search.best_params_ == {"max_epochs": 39}


class Slow(DummyClassifier):
    """Fits for some seconds and predicts the most frequent class."""

    def __init__(self, seconds=0.0):
        super().__init__()
        self.seconds = seconds

    def fit(self, X, y, sample_weight=None):
        """Wait."""
        time.sleep(self.seconds)
        return super().fit(X, y, sample_weight)


def test_other_estimators_are_compared_by_their_fit_times(iris):
    """Equal scores leave the choice to the measured time."""
    search = GridSearchCV(Slow(), {"seconds": [0.05, 0.0]}, cv=CV, refit=RULE).fit(*iris)

    assert search.best_params_ == {"seconds": 0.0}


def test_a_single_fold_has_no_standard_error(net, iris):
    """The best candidate is chosen."""
    cv = ShuffleSplit(1, random_state=0)
    search = GridSearchCV(net, GRID, cv=cv, refit=RULE).fit(*iris)

    assert search.best_score_ == search.cv_results_["mean_test_score"].max()


@pytest.mark.parametrize("make", [HalvingGridSearchCV, HyperbandSearchCV])
def test_the_rule_chooses_among_the_most_resources(net, iris, make):
    """Cheaper candidates of lower rungs do not count."""
    options = {"resource": "max_epochs", "max_resources": 4, "random_state": 0}
    search = make(net, GRID, cv=CV, refit=RULE, factor=2, **options).fit(*iris)

    level = search.cv_results_["n_resources"]
    assert level[search.best_index_] == level.max() == 4


def test_the_rule_survives_clone_and_pickle(net, iris):
    """The choice and the derived attributes are the same."""
    search = clone(GridSearchCV(net, GRID, cv=CV, refit=RULE)).fit(*iris)

    other = pickle.loads(pickle.dumps(search))

    assert other.best_index_ == search.best_index_
    assert other.pooled_score_ == search.pooled_score_
    pd.testing.assert_frame_equal(other.pareto_front_, search.pareto_front_)
    assert other.expected_score_ == search.expected_score_


def test_several_metrics_need_a_name_or_a_callable(net, iris):
    """The rule is for one metric, as scikit-learn's message says."""
    scoring = ["accuracy", "neg_log_loss"]
    search = GridSearchCV(net, GRID, cv=CV, refit=RULE, scoring=scoring)

    with pytest.raises(ValueError, match="refit must be set to a scorer key or a callable"):
        search.fit(*iris)


def test_the_expected_score_follows_the_choice():
    """With a wide tolerance the cheapest candidate is chosen in every resample."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=100)
    right = np.where(rng.random((3, 100)) < [[0.6], [0.7], [0.9]], y, 1 - y)

    chosen = expected_score(
        right, y, accuracy_score, tolerance=1.0, costs=[1, 0, 2], random_state=0
    )
    alone = expected_score(right[[1]], y, accuracy_score, random_state=0)

    assert (chosen.score, chosen.low, chosen.high) == (alone.score, alone.low, alone.high)


def test_a_search_corrects_for_its_own_rule(net, iris):
    """The expected score is from resamples with the tolerance and costs of the search."""
    search = GridSearchCV(net, GRID, cv=CV, refit=RULE).fit(*iris)

    folds = pd.DataFrame(search.cv_results_).filter(regex="^split").to_numpy()
    best = folds[folds.mean(axis=1).argmax()]
    expected = expected_score(
        search.oof_predictions_.argmax(axis=2),
        iris.y,
        accuracy_score,
        tolerance=best.std(ddof=1) / np.sqrt(5),
        costs=search.cv_results_["param_width"].astype(int),
        random_state=0,
    )
    assert search.expected_score_ == expected


@pytest.mark.parametrize("kind", ["network", "other"])
def test_the_pooled_score_is_the_metric_of_all_predictions(net, iris, kind):
    """It is the ROC AUC of scikit-learn's cross_val_predict, not the mean over folds."""
    y = (iris.y == 1).astype(int)
    estimator = net if kind == "network" else LogisticRegression()
    grid = {"width": [16]} if kind == "network" else {"C": [0.1]}
    search = GridSearchCV(estimator, grid, cv=CV, scoring="roc_auc").fit(iris.X, y)

    predicted = cross_val_predict(
        search.best_estimator_, iris.X, y, cv=CV, method="predict_proba"
    )[:, 1]

    assert search.pooled_score_ == pytest.approx(roc_auc_score(y, predicted), abs=1e-3)
    assert search.pooled_score_ != search.best_score_


def test_the_expected_score_corrects_for_the_epoch(net):
    """It subtracts the loss from epochs chosen on the other folds."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(100, 4)), np.tile([0, 1], 50)
    net = clone(net).set_params(max_epochs=20, learning_rate=0.05)
    options = {"cv": CV, "select_epoch": "best"}
    search = GridSearchCV(net, {"width": [8]}, **options).fit(X, y)

    curves = search.learning_curves_.pivot(
        index="fold", columns="epoch", values="valid_score"
    ).to_numpy()
    by_others = [
        curves[fold, np.delete(curves, fold, axis=0).mean(axis=0).argmax()]
        for fold in range(5)
    ]
    predicted = search.oof_predictions_.argmax(axis=2)
    uncorrected = expected_score(predicted, y, accuracy_score, random_state=0)
    lost = curves.mean(axis=0).max() - np.mean(by_others)
    assert lost > 0
    expected = search.expected_score_
    for name in ("score", "low", "high"):
        difference = getattr(uncorrected, name) - getattr(expected, name)
        assert difference == pytest.approx(lost), name
    assert expected.naive_score == search.pooled_score_


def test_the_pooled_score_needs_the_predictions_of_the_best_only(net, iris):
    """Without any predictions there is none."""
    search = GridSearchCV(net, GRID, cv=CV, keep_predictions="best").fit(*iris)
    without = GridSearchCV(net, GRID, cv=CV, keep_predictions=None).fit(*iris)

    assert search.pooled_score_ == pytest.approx(search.best_score_)
    assert without.pooled_score_ is None


def test_no_row_beats_a_row_of_the_pareto_front(net, iris):
    """Every other row is beaten in all metrics and in the number of weights."""
    scoring = ["accuracy", "neg_log_loss"]
    search = GridSearchCV(net, GRID, cv=CV, refit="neg_log_loss", scoring=scoring)
    front = search.fit(*iris).pareto_front_

    table = pd.DataFrame(search.cv_results_)
    # Two layers of weights and biases, from 4 features to 3 classes.
    w = table["param_width"].astype(int)
    table["n_weights"] = 4 * w + w + 3 * w + 3
    values = np.column_stack([
        table["mean_test_accuracy"], table["mean_test_neg_log_loss"], -table["n_weights"]
    ])  # fmt: skip
    expected = {
        row
        for row, v in enumerate(values)
        if not any((other >= v).all() and (other > v).any() for other in values)
    }
    assert set(front.index) == expected
    assert (front["n_weights"] == table["n_weights"][front.index]).all()
    assert front.index[0] == search.best_index_


def test_other_estimators_have_the_time_of_scoring_in_the_front(iris):
    """The front has the measured time instead of weights."""
    search = GridSearchCV(DummyClassifier(), {"strategy": ["prior"]}, cv=CV).fit(*iris)

    assert list(search.pareto_front_.columns) == [
        "params",
        "mean_test_score",
        "mean_score_time",
    ]
