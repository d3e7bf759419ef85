"""Networks inside scikit-learn's and scikit-optimize's own classes, on real data.

Each use must reach a score that a network which learnt nothing would not: the share of the
largest class, or an R^2 of 0, is the bound from below.
"""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import loguniform
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_linnerud
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import SequentialFeatureSelector
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import (
    GridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    train_test_split,
    validation_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sk_tune import CNNClassifier, MLPClassifier, MLPRegressor, RNNClassifier

FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)
# Better than the largest class alone, which is 0.63 of the rows, by far.
LEARNT = 0.9


def _net(**params):
    return MLPClassifier(**{"width": 32, "max_epochs": 5, "random_state": 0, **params})


def _scaled(**params):
    return make_pipeline(StandardScaler(), _net(**params))


@pytest.fixture(scope="module")
def tumours():
    """All 569 tumours, as a frame, with the labels as text."""
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    return X, y.map({0: "malignant", 1: "benign"})


@pytest.fixture(scope="module")
def scaled_tumours(tumours):
    """The same, scaled beforehand, for uses that take no pipeline."""
    X, y = tumours
    return pd.DataFrame(StandardScaler().fit_transform(X), columns=X.columns), y


def test_pipeline_with_a_scaler(tumours):
    """A pipeline with a scaler is cross-validated, in folds of its own."""
    assert cross_val_score(_scaled(), *tumours, cv=FOLDS).min() > LEARNT


def test_column_transformer(tumours):
    """Numbers are scaled and text one-hot encoded before the network."""
    X, y = tumours
    X = X.assign(
        size=np.where(X["mean radius"] > X["mean radius"].median(), "big", "small")
    )
    columns = ColumnTransformer([
        ("numbers", StandardScaler(), make_column_selector(dtype_include="number")),
        ("text", OneHotEncoder(), ["size"]),
    ])

    assert cross_val_score(make_pipeline(columns, _net()), X, y, cv=FOLDS).min() > LEARNT


def test_grid_search(tumours):
    """A grid over pipeline parameters is searched, in two processes, and refitted."""
    grid = {"mlpclassifier__learning_rate": [1e-6, 1e-2], "mlpclassifier__n_layers": [1, 2]}

    search = GridSearchCV(_scaled(), grid, cv=FOLDS, n_jobs=2).fit(*tumours)

    assert search.best_params_["mlpclassifier__learning_rate"] == 1e-2
    assert search.best_score_ > LEARNT
    assert set(search.predict(tumours[0])) == {"malignant", "benign"}


def test_randomized_search(tumours):
    """Distributions of scipy are drawn from."""
    space = {"mlpclassifier__learning_rate": loguniform(1e-3, 1e-1)}

    search = RandomizedSearchCV(_scaled(), space, n_iter=3, cv=FOLDS, random_state=0)

    assert search.fit(*tumours).best_score_ > LEARNT


def test_halving_over_epochs(tumours):
    """Epochs are the resource of scikit-learn's halving."""
    search = HalvingRandomSearchCV(
        _net(),
        {"learning_rate": [1e-6, 3e-3, 1e-2, 3e-2]},
        resource="max_epochs",
        min_resources=2,
        max_resources=8,
        factor=2,
        cv=FOLDS,
        random_state=0,
    )

    search.fit(StandardScaler().fit_transform(tumours[0]), tumours[1])

    assert search.best_estimator_.n_epochs_ == 8
    assert search.best_score_ > LEARNT


def test_bayesian_search_of_scikit_optimize(scaled_tumours):
    """Its dimensions reach the network as numpy's numbers and strings."""
    skopt = pytest.importorskip("skopt")
    from skopt.space import Categorical, Integer, Real

    space = {
        "learning_rate": Real(1e-4, 1e-1, "log-uniform"),
        "n_layers": Integer(1, 2),
        "residual": Categorical([True, False]),
        "activation": Categorical(["relu", "gelu"]),
    }
    search = skopt.BayesSearchCV(
        _net(), space, n_iter=7, cv=FOLDS, random_state=0,
        optimizer_kwargs={"n_initial_points": 5},
    )  # fmt: skip
    with warnings.catch_warnings():
        # scikit-optimize 0.10 on scikit-learn 1.9 and numpy 2.
        warnings.simplefilter("ignore")
        search.fit(*scaled_tumours)

    assert search.best_score_ > LEARNT


def test_cross_validate_returns_networks_from_other_processes(tumours):
    """Fitted networks come back from worker processes and predict here."""
    X, y = tumours
    result = cross_validate(_scaled(), X, y, cv=FOLDS, return_estimator=True, n_jobs=2)

    scores = [
        net.score(X.iloc[test], y.iloc[test])
        for net, (_, test) in zip(result["estimator"], FOLDS.split(X, y), strict=True)
    ]

    assert scores == pytest.approx(result["test_score"].tolist())
    assert min(scores) > LEARNT


def test_cross_val_predict_gives_probabilities(tumours):
    """Out-of-fold probabilities sum to 1 and rank the classes."""
    X, y = tumours
    proba = cross_val_predict(_scaled(), X, y, cv=FOLDS, method="predict_proba")

    assert proba.sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert ((proba[:, 1] > 0.5) == (y == "malignant")).mean() > LEARNT


def test_learning_curve(tumours):
    """More rows give a better score than a tenth of them."""
    sizes, _, scores = learning_curve(
        _scaled(), *tumours, cv=FOLDS, train_sizes=[0.1, 1.0], shuffle=True, random_state=0
    )

    assert sizes[0] < sizes[1]
    assert scores[1].mean() > max(scores[0].mean(), LEARNT)


def test_validation_curve(tumours):
    """A network of 20 epochs fits better than one of a single epoch."""
    train, test = validation_curve(
        _scaled(),
        *tumours,
        cv=FOLDS,
        param_name="mlpclassifier__max_epochs",
        param_range=[1, 20],
    )

    assert train[1].mean() > train[0].mean()
    assert test[1].mean() > LEARNT


@pytest.mark.parametrize(
    "ensemble",
    [
        BaggingClassifier(_net(), 3, random_state=0),
        AdaBoostClassifier(_net(), n_estimators=3, random_state=0),
        StackingClassifier([("net", _net()), ("linear", LogisticRegression())], cv=FOLDS),
        VotingClassifier([("a", _net()), ("b", _net(n_layers=1))], voting="soft"),
        CalibratedClassifierCV(_net(), cv=FOLDS),
    ],
    ids=lambda ensemble: type(ensemble).__name__,
)
def test_ensemble_of_networks(ensemble, scaled_tumours):
    """Ensembles take networks as members and predict rows that they have not seen."""
    X_train, X_test, y_train, y_test = train_test_split(*scaled_tumours, random_state=0)

    assert ensemble.fit(X_train, y_train).score(X_test, y_test) > LEARNT


def test_tuned_threshold(scaled_tumours):
    """A threshold tuned for balanced accuracy is not worse than one half on it."""
    X, y = scaled_tumours
    X, y = X.to_numpy(), (y == "malignant").to_numpy().astype(int)
    tuned = TunedThresholdClassifierCV(_net(), cv=FOLDS, random_state=0).fit(X, y)

    plain = balanced_accuracy_score(y, tuned.estimator_.predict(X))

    assert balanced_accuracy_score(y, tuned.predict(X)) > max(plain - 0.02, LEARNT)


def test_one_versus_rest():
    """Three networks of two classes each tell three species apart."""
    X, y = load_iris(return_X_y=True)
    net = OneVsRestClassifier(_scaled(max_epochs=40))

    assert cross_val_score(net, X, y, cv=FOLDS).mean() > 0.85


def test_multi_output_regressor():
    """One network for each of three targets, on rows it was trained on."""
    X, y = load_linnerud(return_X_y=True)
    net = make_pipeline(
        StandardScaler(), MultiOutputRegressor(MLPRegressor(max_epochs=200, random_state=0))
    )

    assert net.fit(X, y).score(X, y) > 0.3
    assert net.predict(X).shape == y.shape


@pytest.mark.parametrize("ensemble", [BaggingRegressor, AdaBoostRegressor])
def test_ensemble_of_regressors(ensemble):
    """Bagged and boosted networks explain a part of the disease's progress."""
    X, y = load_diabetes(return_X_y=True, scaled=False)
    member = MLPRegressor(width=32, max_epochs=15, random_state=0)
    net = make_pipeline(StandardScaler(), ensemble(member, n_estimators=3, random_state=0))

    assert cross_val_score(net, X, y, cv=3).mean() > 0.3


def test_permutation_importance(scaled_tumours):
    """Shuffling a column of pure noise costs less than the most useful column."""
    X, y = scaled_tumours
    noise = np.random.default_rng(0).normal(size=len(X))
    X = X.assign(noise=noise)
    net = _net(max_epochs=20).fit(X, y)

    importance = permutation_importance(net, X, y, n_repeats=3, random_state=0)

    assert importance.importances_mean.max() > importance.importances_mean[-1]


def test_sequential_feature_selector(scaled_tumours):
    """Forward selection prefers a measurement to a column of pure noise."""
    X, y = scaled_tumours
    noise = np.random.default_rng(0).normal(size=len(X))
    X = X[["mean radius"]].assign(noise=noise)

    selector = SequentialFeatureSelector(_net(), n_features_to_select=1, cv=FOLDS).fit(X, y)

    assert selector.get_support().tolist() == [True, False]


@pytest.mark.parametrize(
    "net",
    [
        CNNClassifier(input_shape=(8, 8), n_channels=8, max_epochs=12, random_state=0),
        RNNClassifier(input_shape=(8, 8), hidden_size=32, max_epochs=6, random_state=0),
    ],
    ids=["CNN", "RNN"],
)
def test_networks_for_images_and_sequences_go_through_flat_pipelines(net, digits):
    """Scaled flat digits are folded by the network; chance is 0.1."""
    scores = cross_val_score(make_pipeline(StandardScaler(), net), *digits, cv=FOLDS)

    assert scores.mean() > 0.6
