"""Grid search, against scikit-learn's own over the same networks."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from scipy import sparse
from sklearn import model_selection
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import make_multilabel_classification
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, make_scorer
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sk_tune import GridSearchCV, MLPClassifier

RATES = [0.001, 0.03]
CV = StratifiedKFold(3, shuffle=True, random_state=1)


def piped(net: Any) -> Pipeline:
    """Return a network behind a scaler."""
    return Pipeline([("scale", StandardScaler()), ("net", net)])


@pytest.fixture
def net(make_estimator):
    """Return a small classifier in float64."""
    return make_estimator("MLPClassifier", dtype="float64", dropout=0.2)


@pytest.fixture
def regressor(make_estimator):
    """Return a small regressor in float64."""
    return make_estimator("MLPRegressor", dtype="float64")


def pair(estimator, grid, **options):
    """Return our search and scikit-learn's, with the same options."""
    options = {"cv": CV, **options}
    return (
        GridSearchCV(estimator, grid, **options),
        model_selection.GridSearchCV(estimator, grid, **options),
    )


@pytest.mark.parametrize(
    ("cv", "is_piped"),
    [
        (CV, True),
        (3, False),
        (KFold(4), True),
        (ShuffleSplit(4, test_size=0.4, random_state=3), False),
        (ShuffleSplit(4, test_size=0.4, random_state=3), True),
        (RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0), False),
        (PredefinedSplit(np.arange(150) % 4 - 1), True),
    ],
)
def test_every_splitter_gives_the_results_of_scikit_learn(
    net, iris, assert_same_search, cv, is_piped
):
    """Whatever the folds, overlapping or sorted, the results are scikit-learn's."""
    prefix = "net__" if is_piped else ""
    estimator = piped(net) if is_piped else net
    grid = {f"{prefix}learning_rate": RATES, f"{prefix}weight_decay": [0.0, 0.1]}

    search = assert_same_search(*pair(estimator, grid, cv=cv), *iris)

    assert search.ledger_.n_in_fleets == search.ledger_.n_fits > 0


def test_folds_may_be_masks(net, iris):
    """Predictions are for the samples that a mask holds out."""
    masks = [np.arange(150) % 3 == fold for fold in range(3)]
    places = [(np.flatnonzero(~mask), np.flatnonzero(mask)) for mask in masks]
    ours, same = (
        GridSearchCV(net, {"learning_rate": RATES}, cv=cv).fit(*iris).oof_predictions_
        for cv in ([(~mask, mask) for mask in masks], places)
    )

    np.testing.assert_array_equal(ours, same)


def test_a_class_missing_in_a_training_fold_gives_the_same_scores(
    net, iris, assert_same_search
):
    """Folds with a missing class in training score as in scikit-learn."""
    search = assert_same_search(*pair(net, {"learning_rate": RATES}, cv=KFold(3)), *iris)

    oof = search.oof_predictions_
    assert oof.shape == (2, 150, 3)
    assert (oof[:, :50, 0] == 0).all()
    np.testing.assert_allclose(oof.sum(axis=2), 1)


@pytest.mark.parametrize("is_piped", [False, True], ids=["alone", "pipeline"])
def test_train_scores_are_those_of_scikit_learn(net, iris, assert_same_search, is_piped):
    """Training rows are scored with the network of the fold's score."""
    estimator = piped(net) if is_piped else net
    name = "net__learning_rate" if is_piped else "learning_rate"

    assert_same_search(*pair(estimator, {name: RATES}, return_train_score=True), *iris)


@pytest.mark.parametrize("is_piped", [False, True], ids=["alone", "pipeline"])
def test_sample_weights_reach_every_fit_and_score(net, iris, assert_same_search, is_piped):
    """Weights without routing reach the training, the score and the refit."""
    weight = np.linspace(0.1, 3, 150)
    estimator = piped(net) if is_piped else net
    prefix = "net__" if is_piped else ""

    assert_same_search(
        *pair(estimator, {f"{prefix}learning_rate": RATES}),
        *iris,
        **{f"{prefix}sample_weight": weight},
    )


def test_routed_weights_reach_requesting_steps(net, iris, assert_same_search):
    """With metadata routing, weights reach only the steps that request them."""
    weight = np.where(np.arange(150) % 2, 0.1, 2.0)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = clone(net).set_fit_request(sample_weight=True)
        scalers = [StandardScaler().set_fit_request(sample_weight=b) for b in (True, False)]
        pipeline = Pipeline([("scale", scalers[0]), ("net", routed)])

        weighted = assert_same_search(
            *pair(
                pipeline,
                {"scale": scalers},
                scoring=make_scorer(accuracy_score).set_score_request(sample_weight=False),
            ),
            *iris,
            sample_weight=weight,
        )
    plain = GridSearchCV(piped(net), {"net__learning_rate": RATES}, cv=CV).fit(*iris)

    assert not np.allclose(
        weighted.oof_predictions_, plain.oof_predictions_, rtol=1e-3, atol=0
    )


@pytest.mark.parametrize("cv", [GroupKFold(3), LeaveOneGroupOut()])
def test_groups_stay_together(net, iris, assert_same_search, cv):
    """Groups go to the splitter."""
    groups = np.arange(150) % 4

    assert_same_search(*pair(net, {"learning_rate": RATES}, cv=cv), *iris, groups=groups)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames_keep_their_column_names(net, iris, assert_same_search, frame):
    """Frames of pandas and polars go through scaler, network and refit with their names."""
    X = frame({name: iris.X[:, i] for i, name in enumerate(["a", "b", "c", "d"])})
    y = np.array(["setosa", "versicolor", "virginica"])[iris.y]

    for estimator, name in ((net, "learning_rate"), (piped(net), "net__learning_rate")):
        search = assert_same_search(*pair(estimator, {name: RATES}), X, y)

        assert list(search.feature_names_in_) == ["a", "b", "c", "d"]
        assert set(search.classes_) == set(y)


def test_sparse_rows_become_dense_behind_a_transformer(net, iris, assert_same_search):
    """A transformer may make sparse X dense, as in scikit-learn."""
    X = sparse.csr_array(iris.X)
    pipeline = Pipeline([
        ("pca", PCA(2, svd_solver="arpack", random_state=0)),
        ("net", net),
    ])

    search = assert_same_search(*pair(pipeline, {"net__learning_rate": RATES}), X, iris.y)

    assert len(search.learning_curves_) == 2 * 3 * 2


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_regression_gives_the_results_of_scikit_learn(
    regressor, diabetes, assert_same_search, n_outputs
):
    """One target or several, R^2 and predictions are scikit-learn's."""
    y = diabetes.y if n_outputs == 1 else np.column_stack([diabetes.y, *diabetes.X.T[:2]])

    search = assert_same_search(
        *pair(regressor, {"learning_rate": RATES}, cv=KFold(3)), diabetes.X, y
    )

    assert search.oof_predictions_.shape == (2, *y.shape)


def test_multilabel_gives_the_results_of_scikit_learn(net, assert_same_search):
    """Several labels a row are scored as in scikit-learn."""
    X, y = make_multilabel_classification(120, 8, n_classes=3, random_state=0)

    search = assert_same_search(*pair(net, {"learning_rate": RATES}, cv=KFold(3)), X, y)

    assert search.oof_predictions_.shape == (2, 120, 3)


SEVERAL = {"accuracy": "accuracy", "loss": "neg_log_loss", "f1": "f1_macro"}


@pytest.mark.parametrize(
    ("refit", "is_piped"),
    [
        ("loss", True),
        (False, False),
        (lambda results: int(np.argmax(results["mean_test_f1"])), False),
    ],
)
def test_several_metrics_match_scikit_learn(net, iris, assert_same_search, refit, is_piped):
    """Columns of several metrics, and the winner, are scikit-learn's."""
    estimator = piped(net) if is_piped else net
    name = "net__learning_rate" if is_piped else "learning_rate"

    search = assert_same_search(
        *pair(estimator, {name: RATES}, scoring=SEVERAL, refit=refit), *iris
    )

    assert hasattr(search, "best_estimator_") == (refit is not False)


def two_scores(estimator, X, y):
    """Return two scores by name."""
    predicted = estimator.predict(X)
    return {
        "acc": accuracy_score(y, predicted),
        "f1": f1_score(y, predicted, average="macro"),
    }


def test_a_callable_may_return_several_scores(net, iris, assert_same_search):
    """A scoring function that returns a dict gives a column for each name."""
    assert_same_search(
        *pair(net, {"learning_rate": RATES}, scoring=two_scores, refit="acc"), *iris
    )


def test_failed_fits_get_the_names_of_a_callables_scores(net, iris):
    """A fit that fails before any other was scored has the error score in each column."""
    search = GridSearchCV(
        net,
        {"learning_rate": [1e25, 0.01]},
        scoring=two_scores,
        refit="acc",
        cv=CV,
        error_score=-7.0,
    )

    with pytest.warns(sklearn.exceptions.FitFailedWarning):
        search.fit(*iris)

    assert search.cv_results_["mean_test_acc"][0] == -7
    assert search.cv_results_["mean_test_f1"][0] == -7
    assert search.best_index_ == 1


def test_the_passed_estimator_stays_unfitted(net, iris):
    """Neither the estimator nor the steps of its pipeline are fitted or changed."""
    pipeline = piped(net)
    identities = {name: id(step) for name, step in pipeline.named_steps.items()}

    GridSearchCV(pipeline, {"net__learning_rate": RATES}, cv=CV).fit(*iris)

    assert identities == {name: id(step) for name, step in pipeline.named_steps.items()}
    assert not hasattr(net, "net_")
    assert not hasattr(pipeline.named_steps["scale"], "mean_")
    assert pipeline.memory is None


class Remembering(StratifiedKFold):
    """Unseeded folds that remember every draw."""

    def __init__(self, n_splits=3, *, shuffle=True, random_state=None):
        super().__init__(n_splits, shuffle=shuffle, random_state=random_state)
        self.drawn = []

    def split(self, X, y=None, groups=None):
        """Yield folds and record their test rows."""
        for train, test in super().split(X, y, groups):
            self.drawn.append(test)
            yield train, test


@pytest.mark.parametrize("time_budget", [None, 60.0])
def test_all_candidates_see_the_same_unseeded_folds(net, iris, time_budget):
    """Equal candidates get equal scores, though the folds are shuffled without a seed."""
    cv = Remembering()
    search = GridSearchCV(
        net, [{"learning_rate": [0.01]}] * 12, cv=cv, time_budget=time_budget
    )

    search.fit(*iris)

    scores = np.array([search.cv_results_[f"split{k}_test_score"] for k in range(3)])
    assert (scores == scores[:, :1]).all()
    assert len(cv.drawn) == 3


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_other_estimators_are_searched_as_in_scikit_learn(iris, assert_same_search, n_jobs):
    """They give scikit-learn's results, in this process and in workers."""
    for estimator, grid in (
        (SVC(), {"C": [0.1, 1.0]}),
        (LogisticRegression(max_iter=1000), {"C": [0.01, 1.0]}),
    ):
        search = assert_same_search(*pair(estimator, grid, n_jobs=n_jobs), *iris)

        assert len(search.learning_curves_) == 0
        np.testing.assert_allclose(search.oof_predictions_.sum(axis=2), 1)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_networks_and_others_may_compete(net, iris, assert_same_search, n_jobs):
    """A space with several last steps trains its networks as fleets."""
    pipeline = piped(SVC())
    grid = [
        {"net": [SVC()], "net__C": [0.1, 1.0]},
        {"net": [net], "net__learning_rate": RATES},
    ]

    search = assert_same_search(*pair(pipeline, grid, n_jobs=n_jobs), *iris)

    assert search.ledger_.n_in_fleets == 2 * 3
    assert search.ledger_.n_candidates == 4
    assert set(search.learning_curves_["result_row"]) == {2, 3}


@pytest.mark.usefixtures("workers_for_little")
def test_workers_change_no_result_of_networks(net, iris):
    """The scores are the same with one worker and with two."""
    one, two = (
        GridSearchCV(piped(net), {"net__learning_rate": RATES}, cv=CV, n_jobs=n_jobs).fit(
            *iris
        )
        for n_jobs in (1, 2)
    )

    np.testing.assert_allclose(one.oof_predictions_, two.oof_predictions_, atol=1e-12)


def test_networks_inside_other_estimators_train_as_usual(net, iris, assert_same_search):
    """A bagging classifier of networks gives the results of scikit-learn."""
    bagging = BaggingClassifier(net, n_estimators=2, random_state=0)

    assert_same_search(*pair(bagging, {"estimator__learning_rate": RATES}), *iris)


def test_y_may_be_absent(iris, assert_same_search):
    """Without targets a search works as scikit-learn's."""
    kmeans = KMeans(random_state=0, n_init=1)
    search = assert_same_search(*pair(kmeans, {"n_clusters": [2, 3]}, cv=KFold(3)), iris.X)

    assert search.expected_score_ is None
    assert search.oof_predictions_.shape == (2, 150)


def test_a_search_without_failures_is_silent(net, iris, capsys):
    """It neither prints nor warns with verbose=0."""
    with warnings.catch_warnings(action="error"):
        GridSearchCV(make_pipeline(StandardScaler(), net), {"memory": [None]}, cv=CV).fit(
            *iris
        )

    assert capsys.readouterr() == ("", "")


def test_targets_that_no_fold_needs_may_be_missing(iris):
    """As in scikit-learn's search, if there is no refit on all samples."""
    y = np.array(iris.y, dtype=float)
    y[-1] = np.nan
    folds = [(np.arange(0, 140, 2), np.arange(1, 140, 2))]
    search = GridSearchCV(MLPClassifier(max_epochs=2), {}, cv=folds, refit=False)

    assert np.isfinite(search.fit(iris.X, y).cv_results_["mean_test_score"]).all()
    with pytest.raises(ValueError, match=r"1 missing of 150, at position 149"):
        search.set_params(refit=True).fit(iris.X, y)
