"""Scores of the engine's predictions equal scores of the networks."""

import functools
import re

import numpy as np
import pytest
import sklearn
from sklearn import model_selection
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.metrics import accuracy_score, f1_score, get_scorer, make_scorer
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import GridSearchCV, HyperbandSearchCV, MLPClassifier, MLPRegressor
from sk_tune._estimators import NetworkEstimator
from sk_tune._search._stand_ins import PredictedClassifier

RATES = [1e-3, 1e-2, 1e-1]
NET = MLPClassifier(width=8, max_epochs=3, dtype="float64", random_state=0)


def scaled(net):
    """Return a pipeline that scales the rows for a network."""
    return Pipeline([("scale", StandardScaler()), ("net", net)])


def labelled(load, names=None):
    """Return a data set of scikit-learn, with text as labels if there are names."""
    X, y = load(return_X_y=True)
    return X, y if names is None else np.array(names)[y]


@pytest.fixture
def adopted(monkeypatch):
    """Count the networks that adopt a training."""
    states = []
    adopt = NetworkEstimator._adopt

    def counting(self, *args, **kwargs):
        states.append(self)
        return adopt(self, *args, **kwargs)

    monkeypatch.setattr(NetworkEstimator, "_adopt", counting)
    return states


def searched(net, X, y, *, kind=GridSearchCV, **options):
    """Return a fitted search over learning rates."""
    space = {"net__learning_rate": RATES}
    settings = {"cv": KFold(3, shuffle=True, random_state=0), "refit": False, **options}
    return kind(scaled(net), space, **settings).fit(X, y)


def searched_as_sklearn(net, X, y, **options):
    """Return a search with training scores, equal to scikit-learn's search."""
    options["return_train_score"] = True
    search = searched(net, X, y, **options)
    expected = searched(net, X, y, kind=model_selection.GridSearchCV, **options)
    for name, values in expected.cv_results_.items():
        if "time" not in name and "param" not in name and "rank" not in name:
            np.testing.assert_allclose(search.cv_results_[name], values, atol=1e-9)
    return search


@pytest.mark.parametrize(
    ("load", "names", "scoring"),
    [
        (load_iris, None, None),
        (load_iris, ["a", "b", "c"], "accuracy"),
        (load_iris, None, "roc_auc_ovr"),
        (load_iris, ["a", "b", "c"], ["accuracy", "neg_log_loss", "balanced_accuracy"]),
        (load_breast_cancer, None, "roc_auc"),
        (load_breast_cancer, ["bad", "good"], make_scorer(f1_score, pos_label="bad")),
        (load_breast_cancer, ["bad", "good"], ["average_precision", "neg_brier_score"]),
    ],
)
def test_a_classifier_gets_the_scores_of_its_network(load, names, scoring):
    """On training and held-out samples, as in scikit-learn's search."""
    if scoring == ["average_precision", "neg_brier_score"]:
        # They need to be told which of two texts is the one to look for.
        scoring = {
            n: make_scorer(
                get_scorer(n)._score_func,
                response_method="predict_proba",
                greater_is_better=n[0] == "a",
                pos_label="bad",
            )
            for n in scoring
        }

    searched_as_sklearn(NET, *labelled(load, names), scoring=scoring)


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("scoring", [None, ["r2", "neg_mean_absolute_error"]])
def test_a_regressor_gets_the_scores_of_its_network(n_outputs, scoring):
    """The same for one target and for two."""
    X, y = load_diabetes(return_X_y=True)
    y = y if n_outputs == 1 else np.column_stack([y, X[:, 0]])
    net = MLPRegressor(width=8, max_epochs=3, dtype="float64", random_state=0)

    searched_as_sklearn(net, X, y, scoring=scoring)


def test_scores_build_no_network(adopted, iris):
    """Neither behind reproducible transformers nor in rungs."""
    net = MLPClassifier(width=8, max_epochs=4, random_state=0)
    rungs = {"sampler": "bayes", "select_epoch": "best", "random_state": 0}

    GridSearchCV(net, {"learning_rate": RATES}, cv=3, refit=False).fit(*iris)
    searched(net, *iris, return_train_score=True)
    search = searched(net, *iris, kind=HyperbandSearchCV, **rungs)
    assert len(search.cv_results_["params"]) == 4
    assert len(adopted) == 0


@pytest.mark.parametrize("n_rows", [1, 7, 360])
@pytest.mark.parametrize("kind", [int, np.uint8, bool, float, str])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_the_default_score_is_the_accuracy(n_rows, kind, is_weighted):
    """To the last bit, for labels of all types."""
    rng = np.random.default_rng(n_rows)
    classes = np.unique(np.arange(2).astype(kind))
    labels = classes[rng.integers(2, size=n_rows)]
    weight = rng.random(n_rows) if is_weighted else None
    stand_in = PredictedClassifier(rng.random((n_rows, 2)), classes, takes_positions=False)
    X = np.arange(n_rows)[:, np.newaxis]

    score = stand_in.score(X, labels, weight)

    assert score == accuracy_score(labels, stand_in.predict(X), sample_weight=weight)


def test_the_default_score_rejects_the_same_as_the_accuracy():
    """Targets of another length or type."""
    stand_in = PredictedClassifier(np.eye(2), np.arange(2), takes_positions=False)
    X = np.arange(2)[:, np.newaxis]

    for labels in (np.array([0, 1, 1]), np.array([0.5, 0.7]), np.array(["0", "1"])):
        with pytest.raises(ValueError, match=r".") as error:
            accuracy_score(labels, stand_in.predict(X))
        with pytest.raises(ValueError, match=re.escape(str(error.value))):
            stand_in.score(X, labels)


@pytest.mark.parametrize(
    "scoring",
    [
        lambda estimator, X, y: estimator.score(X, y),
        {"own": lambda estimator, X, y: estimator.score(X, y)},
    ],
    ids=["callable", "several"],
)
def test_a_callable_gets_the_network(scoring, adopted, iris):
    """It may call any method."""
    searched(NET, *iris, scoring=scoring)

    assert len(adopted) == 9


def test_only_kept_models_are_built(adopted, iris):
    """They predict the held-out samples like the engine."""
    rates = {"learning_rate": RATES}
    search = GridSearchCV(NET, rates, cv=3, keep_models=1, refit=False).fit(*iris)

    assert len(adopted) == 3
    ((row, models),) = search.models_.items()
    for model, rows in zip(models, search.held_out_rows_[row], strict=True):
        np.testing.assert_allclose(
            model.predict_proba(iris.X[rows]),
            search.oof_predictions_[row][rows],
            atol=1e-12,
        )


def test_a_scorer_gets_the_first_method_of_the_network(iris):
    """Even if only a later method of its list is precomputed."""
    scoring = make_scorer(
        lambda y_true, response: float(response.max(axis=1).mean()),
        response_method=("predict_log_proba", "predict_proba"),
    )

    search = searched_as_sklearn(NET, *iris, scoring=scoring)

    assert (search.cv_results_["mean_test_score"] < 0).all()


def test_a_metric_may_overwrite_its_input():
    """Out-of-fold predictions do not change."""
    X, y = load_diabetes(return_X_y=True)
    net = MLPRegressor(width=8, max_epochs=10, random_state=0)

    def clipped(y_true, predictions):
        predictions[predictions < 160] = 160
        return -float(np.mean((y_true - predictions) ** 2))

    search = searched(net, X, y, scoring=make_scorer(clipped))

    # The first learns next to nothing.
    assert (search.oof_predictions_.min(axis=1)[1:] < 160).all()


class Adding(TransformerMixin, BaseEstimator):
    """Adds rows to unseen rows."""

    def fit(self, X, y=None):
        self.n_rows_ = len(X)
        return self

    def transform(self, X):
        """Return the rows, and five of them again."""
        return X if len(X) == self.n_rows_ else np.vstack([X, X[:5]])


def test_additional_held_out_rows_have_no_score(iris):
    """As in scikit-learn, where the scorer gets too many predictions."""
    pipeline = Pipeline([("add", Adding()), ("net", NET)])
    search = GridSearchCV(pipeline, {"net__learning_rate": RATES}, cv=3, refit=False)

    with pytest.warns(UserWarning, match="inconsistent numbers of samples|non-finite"):
        search.fit(*iris)

    assert np.isnan(search.cv_results_["mean_test_score"]).all()


def test_callbacks_of_the_searched_estimator_get_every_fit(do_nothing, iris):
    """They belong to the pipeline, not to the search."""

    class Counting(do_nothing):
        n_fits = 0

        def on_fit_task_begin(self, estimator, context):
            Counting.n_fits += 1

    counts = []
    for keep_models in (None, "all"):
        Counting.n_fits = 0
        pipeline = scaled(NET).set_callbacks(Counting())
        options = {"cv": 3, "refit": False, "keep_models": keep_models}
        GridSearchCV(pipeline, {"net__learning_rate": RATES}, **options).fit(*iris)
        counts.append(Counting.n_fits)

    assert counts[0] == counts[1] > 9


def test_callbacks_with_rows_get_the_rows_of_the_fold(do_nothing, iris):
    """Scoring without rows must not report other rows."""
    arrays = []

    class Watching(do_nothing):
        def on_fit_task_begin(self, estimator, context, *, X=None):
            if context.task_name == "candidate-split-evaluation":
                arrays.append(X)

    folds = list(StratifiedKFold(3).split(*iris))
    search = GridSearchCV(NET, {"learning_rate": RATES}, cv=folds, refit=False)

    search.set_callbacks(Watching()).fit(*iris)

    assert len(arrays) == 9
    for position, rows in enumerate(arrays):
        np.testing.assert_array_equal(rows, iris.X[folds[position % 3][0]])


class Contrary(MLPClassifier):
    """Predicts the last class, instead of its network's."""

    def predict(self, X):
        return np.repeat(self.classes_[-1:], len(X))


class Wrapped(MLPClassifier):
    """The same, with the docstring and the module of the overridden method."""

    @functools.wraps(MLPClassifier.predict)
    def predict(self, X):
        return np.repeat(self.classes_[-1:], len(X))


class Property(MLPClassifier):
    """The same, by a property."""

    @property
    def predict(self):
        return lambda X: np.repeat(self.classes_[-1:], len(X))


@pytest.mark.parametrize("kind", [Contrary, Wrapped, Property])
def test_a_class_with_its_own_predictions_is_called(kind, iris):
    """Its predictions are scored, not the engine's."""
    search = searched(kind(width=8, max_epochs=20, random_state=0), *iris, cv=3)

    np.testing.assert_allclose(search.cv_results_["mean_test_score"], 1 / 3)


def test_a_fold_without_a_class_is_scored_as_usual(adopted, iris):
    """A class without training rows is never predicted."""
    y = iris.y
    folds = [(np.flatnonzero(y != k), np.flatnonzero(y == k)) for k in range(3)]

    search = searched_as_sklearn(NET, *iris, cv=folds)

    assert len(adopted) == 0
    assert (search.cv_results_["mean_test_score"] == 0).all()


class Routed(BaseEstimator):
    """Takes the weights from the samples, if there are any."""

    def fit(self, X, y=None, sample_weight=None):
        return self

    def transform(self, X, sample_weight=None):
        return X if sample_weight is None else X - np.asarray(sample_weight)[:, None]

    def fit_transform(self, X, y=None, sample_weight=None):
        return self.transform(X, sample_weight)


def test_transformers_of_held_out_rows_get_requested_weights(iris):
    """Scores equal scikit-learn's, which routes weights to ``transform`` too."""
    weight = np.arange(150) % 7 + 1.0
    with sklearn.config_context(enable_metadata_routing=True):
        net = clone(NET)
        net.set_fit_request(sample_weight=False).set_score_request(sample_weight=False)
        routed = Routed().set_fit_request(sample_weight=True)
        pipeline = make_pipeline(routed.set_transform_request(sample_weight=True), net)
        ours, theirs = (
            search(pipeline, {"mlpclassifier__learning_rate": RATES}, cv=3)
            .fit(iris.X + weight[:, None], iris.y, sample_weight=weight)
            .cv_results_["mean_test_score"]
            for search in (GridSearchCV, model_selection.GridSearchCV)
        )

    np.testing.assert_array_equal(ours, theirs)


def test_weights_of_a_score_are_used(iris):
    """A scorer with routed sample weights gets them."""
    weight = np.where(iris.y == 0, 5.0, 1.0)
    options = {"cv": KFold(3, shuffle=True, random_state=0), "refit": False}
    with sklearn.config_context(enable_metadata_routing=True):
        net = clone(NET).set_fit_request(sample_weight=False)
        scoring = get_scorer("accuracy").set_score_request(sample_weight=True)
        weighted, plain = (
            GridSearchCV(net, {"learning_rate": RATES}, scoring=metric, **options)
            for metric in (scoring, "accuracy")
        )
        weighted.fit(*iris, sample_weight=weight)
        plain.fit(*iris)

    for row in range(len(RATES)):
        is_correct = plain.oof_predictions_[row].argmax(axis=1) == iris.y
        folds = plain.held_out_rows_[row]
        expected = [np.average(is_correct[rows], weights=weight[rows]) for rows in folds]
        assert weighted.cv_results_["mean_test_score"][row] == pytest.approx(
            np.mean(expected)
        )
