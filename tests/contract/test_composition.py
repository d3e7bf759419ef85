"""Networks inside the tools of scikit-learn and scikit-optimize, on real data.

Every composition must beat a baseline by a margin: the share of the most frequent class
(1/3 for iris, 1/10 for digits), or the mean's R^2 of 0.
"""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import AdaBoostClassifier, VotingRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import SequentialFeatureSelector
from sklearn.inspection import permutation_importance
from sklearn.linear_model import Ridge
from sklearn.metrics import brier_score_loss, f1_score
from sklearn.model_selection import (
    KFold,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sk_tune import CNNClassifier, MLPClassifier, MLPRegressor, RNNClassifier

SMALL = {
    "width": 16,
    "n_layers": 1,
    "normalization": None,
    "dropout": 0.0,
    "batch_size": 16,
    "learning_rate": 0.02,
    "lr_schedule": "constant",
    "max_epochs": 6,
    "random_state": 0,
}
CV = StratifiedKFold(3, shuffle=True, random_state=0)


def _classifier(**params):
    return MLPClassifier(**{**SMALL, **params})


def _regressor(**params):
    return MLPRegressor(**{**SMALL, **params})


def _scaled(net):
    return make_pipeline(StandardScaler(), net)


@pytest.fixture(scope="module")
def scaled_iris(iris):
    """Iris, standardised once."""
    return StandardScaler().fit_transform(iris.X), iris.y


@pytest.fixture(scope="module")
def scaled_cancer(breast_cancer):
    """The tumours, standardised once, and the share of the larger class."""
    share = np.bincount(breast_cancer.y).max() / len(breast_cancer.y)
    return StandardScaler().fit_transform(breast_cancer.X), breast_cancer.y, share


@pytest.fixture(scope="module")
def data(iris, scaled_iris, breast_cancer, scaled_cancer, digits, diabetes):
    """X, y, the score of a guess and folds, by name."""
    X, y, share = scaled_cancer
    frame = pd.DataFrame(breast_cancer.X[:, :4], columns=list("abcd"))
    frame["compact"] = np.where(breast_cancer.X[:, 5] > 0.1, "no", "yes")
    two = np.column_stack([diabetes.y, -2 * diabetes.y + 3 * diabetes.X[:, 2]])
    labels = np.column_stack([iris.y == 0, iris.y == 2]).astype(int)
    return {
        "iris": (*iris, 1 / 3, CV),
        "scaled iris": (*scaled_iris, 1 / 3, CV),
        "labels": (scaled_iris[0], labels, 1 / 3, KFold(3, shuffle=True, random_state=0)),
        "cancer": (X, y, share, CV),
        "frame": (frame, y, share, CV),
        "digits": (*digits, 1 / 10, CV),
        "diabetes": (*diabetes, 0.0, KFold(3)),
        "two targets": (diabetes.X, two, 0.0, KFold(3)),
    }


def _by_columns(net):
    columns = [("numbers", StandardScaler(), list("abcd"))]
    return make_pipeline(
        ColumnTransformer([*columns, ("text", OneHotEncoder(), ["compact"])]), net
    )


_IMAGE = {"batch_size": 16, "input_shape": (8, 8), "random_state": 0}
# What is cross-validated on which data, and by how much it must beat a guess.
COMPOSED = {
    "pipeline": (lambda: _scaled(_classifier()), "iris", 0.45),
    "columns by their kind": (lambda: _by_columns(_classifier()), "frame", 0.2),
    "images": (
        lambda: CNNClassifier(
            n_layers=1, n_channels=8, width=32, learning_rate=0.01, max_epochs=8, **_IMAGE
        ),
        "digits",
        0.65,
    ),
    "images as sequences": (
        lambda: RNNClassifier(hidden_size=32, learning_rate=0.02, max_epochs=12, **_IMAGE),
        "digits",
        0.4,
    ),
    "boosting by weights": (
        lambda: AdaBoostClassifier(_classifier(), n_estimators=3, random_state=0),
        "scaled iris",
        0.45,
    ),
    "voting of regressors": (
        lambda: VotingRegressor([("net", _regressor()), ("linear", Ridge())]),
        "diabetes",
        0.2,
    ),
    "one against the rest": (
        lambda: OneVsRestClassifier(_classifier()),
        "scaled iris",
        0.45,
    ),
    "one against one": (lambda: OneVsOneClassifier(_classifier()), "scaled iris", 0.45),
    "a network for each target": (
        lambda: MultiOutputRegressor(_regressor()),
        "two targets",
        0.2,
    ),
    "a network for both targets": (_regressor, "two targets", 0.2),
    "a network for each label": (
        lambda: MultiOutputClassifier(_classifier()),
        "labels",
        0.45,
    ),
    "a chain": (lambda: ClassifierChain(_classifier(), random_state=0), "labels", 0.45),
    "a network for both labels": (_classifier, "labels", 0.45),
    "logarithms of targets": (
        lambda: TransformedTargetRegressor(_regressor(), func=np.log, inverse_func=np.exp),
        "diabetes",
        0.2,
    ),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_a_composition_beats_a_guess(name, data):
    """Cross-validated, it scores better than the most frequent class or the mean."""
    make, source, margin = COMPOSED[name]
    X, y, guess, folds = data[source]

    assert cross_val_score(make(), X, y, cv=folds).mean() > guess + margin


def test_frames_pass_through_pipelines_that_keep_frames(iris):
    """With set_output("pandas") names of columns reach the network."""
    frame = pd.DataFrame(iris.X, columns=list("abcd"))
    pipeline = _scaled(_classifier()).set_output(transform="pandas")

    pipeline.fit(frame, iris.y)

    assert pipeline[-1].feature_names_in_.tolist() == list("abcd")
    assert pipeline.score(frame, iris.y) > 0.8


def test_fitted_estimators_and_several_scores_come_back(scaled_cancer):
    """cross_validate returns networks that reproduce its scores, above the larger class."""
    X, y, share = scaled_cancer
    folds = list(CV.split(X, y))

    result = cross_validate(
        _classifier(),
        X,
        y,
        cv=folds,
        scoring=["accuracy", "roc_auc", "neg_log_loss", "f1"],
        return_estimator=True,
        return_train_score=True,
    )

    for fold, (_, test) in enumerate(folds):
        score = result["estimator"][fold].score(X[test], y[test])
        assert result["test_accuracy"][fold] == score
    assert result["test_accuracy"].mean() > share + 0.2
    assert result["test_roc_auc"].min() > 0.9
    assert result["test_neg_log_loss"].mean() > -math.log(2)
    assert result["train_accuracy"].min() > share + 0.2


def test_a_class_that_a_fold_lacks_has_a_column_of_zeros(scaled_iris):
    """Each fold of sorted labels lacks a class; the score on the rest exceeds one half."""
    X, y = scaled_iris

    with pytest.warns(RuntimeWarning, match="Number of classes in training fold"):
        proba = cross_val_predict(_classifier(), X, y, cv=KFold(3), method="predict_proba")
    fitted = cross_validate(_classifier(), X, y, cv=KFold(3), return_estimator=True)

    assert proba.shape == (150, 3)
    assert (proba[np.arange(150), y] == 0).all()
    classes = [net.classes_.tolist() for net in fitted["estimator"]]
    assert classes == [[1, 2], [0, 2], [0, 1]]
    assert fitted["estimator"][1].score(X[y != 1], y[y != 1]) > 0.9


def test_calibration(scaled_cancer):
    """Calibrated probabilities have less than half the Brier score of the class shares."""
    X, y, share = scaled_cancer
    calibrated = CalibratedClassifierCV(_classifier(), cv=3)

    proba = cross_val_predict(calibrated, X, y, cv=CV, method="predict_proba")[:, 1]

    assert brier_score_loss(y, proba) < share * (1 - share) / 2


@pytest.mark.slow
def test_a_tuned_threshold(scaled_cancer):
    """A threshold tuned for F1 of the rarer class is far above all-positive's F1."""
    X, y, _ = scaled_cancer
    rare = np.bincount(y).argmin()
    target = (y == rare).astype(int)
    tuned = TunedThresholdClassifierCV(_classifier(), scoring="f1", cv=3, random_state=0)

    predicted = cross_val_predict(tuned, X, target, cv=CV)

    assert f1_score(target, predicted) > f1_score(target, np.ones_like(target)) + 0.1


def test_petals_matter_more_than_sepals(scaled_iris):
    """Permutation importance agrees with textbooks on iris."""
    X, y = scaled_iris
    net = _classifier(max_epochs=15).fit(X, y)

    importance = permutation_importance(net, X, y, n_repeats=3, random_state=0)

    sepals, petals = importance.importances_mean.reshape(2, 2).mean(axis=1)
    assert petals > sepals + 0.1


def test_forward_selection_takes_a_petal_first(scaled_iris):
    """One feature is chosen that alone is far above a third."""
    X, y = scaled_iris
    selector = SequentialFeatureSelector(
        _classifier(max_epochs=10), n_features_to_select=1, cv=CV
    )

    chosen = selector.fit(X, y).get_support(indices=True)

    assert chosen[0] in {2, 3}
    alone = cross_val_score(_classifier(max_epochs=10), X[:, chosen], y, cv=CV)
    assert alone.mean() > 0.8
