"""Metrics extracted from scorers, against the scorers."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import check_scoring, fbeta_score, get_scorer, hinge_loss, make_scorer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune._scores import Metric, scorer_metric


def _fitted(n_classes, labels):
    X, codes = make_classification(
        200, n_informative=5, n_classes=n_classes, flip_y=0.3, random_state=0
    )
    y = np.array(labels)[codes]
    return LogisticRegression().fit(X, y), X, y


def _score(metric, classifier, X, y):
    response = metric.response(classifier.predict_proba(X), classifier.classes_)
    return metric(y, response)


SCORERS = {
    ("ham", "spam"): [
        *("accuracy", "balanced_accuracy", "f1_macro", "matthews_corrcoef"),
        *("neg_log_loss", "roc_auc"),
    ],
    ("a", "b", "c"): ["accuracy", "f1_weighted", "neg_log_loss", "roc_auc_ovr"],
}


@pytest.mark.parametrize(
    ("labels", "name"), [(labels, name) for labels in SCORERS for name in SCORERS[labels]]
)
def test_scores_from_probabilities_equal_the_scorers(labels, name):
    """String labels; for two classes one column of probabilities suffices."""
    classifier, X, y = _fitted(len(labels), labels)

    score = _score(scorer_metric(name), classifier, X, y)

    assert score == pytest.approx(get_scorer(name)(classifier, X, y), rel=1e-12)


@pytest.mark.parametrize("pos_label", ["ham", "spam"])
def test_the_positive_label_is_the_scorers(pos_label):
    """Average precision of either class, and options of the metric."""
    classifier, X, y = _fitted(2, ["ham", "spam"])
    for scorer in (
        make_scorer(
            get_scorer("average_precision")._score_func,
            response_method="predict_proba",
            pos_label=pos_label,
        ),
        make_scorer(fbeta_score, beta=2, pos_label=pos_label),
    ):
        score = _score(scorer_metric(scorer), classifier, X, y)

        assert score == pytest.approx(scorer(classifier, X, y), rel=1e-12)


def test_losses_are_negated():
    """Greater is better; metrics declare whether they take labels or probabilities."""
    metric = scorer_metric("neg_mean_squared_error")
    hinge = scorer_metric(make_scorer(hinge_loss, response_method="decision_function"))

    assert metric([0.0, 2.0], [0.0, 0.0]) == -2.0
    assert metric.sign == -1
    assert [scorer_metric(name).takes_labels for name in ("f1", "roc_auc")] == [True, False]
    assert (metric.takes_probabilities, hinge.takes_probabilities) == (True, False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"response_methods": ("decision_function",)}, "takes decision_function instead"),
        ({"response_methods": ("predict_proba",), "pos_label": "eggs"}, "Got 'eggs' inst"),
    ],
)
def test_unsuitable_responses_are_refused(options, words):
    """A metric of decisions refuses probabilities; an unknown label is refused."""
    with pytest.raises(ValueError, match=words):
        Metric(function=max, **options).response(np.ones((3, 2)), np.array(["ham", "spam"]))


def test_multilabel_predictions_are_the_likely_labels():
    """Multilabel predictions are the labels with a probability above one half."""
    probabilities = np.array([[0.2, 0.7], [0.5, 0.51]])

    labels = scorer_metric("accuracy").response(probabilities, None)

    assert labels.tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (LogisticRegression(), "accuracy"),
        (LinearRegression(), "r2"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "accuracy"),
        (make_pipeline(StandardScaler(), make_pipeline(LinearRegression())), "r2"),
    ],
)
def test_without_a_scorer_the_metric_is_the_estimators_score(estimator, name):
    """Accuracy of classifiers and R^2 of regressors, alone or last in a pipeline."""
    expected = scorer_metric(name)
    for scorer in (None, check_scoring(estimator, None)):
        metric = scorer_metric(scorer, estimator)

        assert metric.function is expected.function
        assert metric.sign == 1


class _ScoresItsOwnWay(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        return self

    def score(self, X, y):
        return 42.0


@pytest.mark.parametrize(
    "scorer", [None, lambda estimator, X, y: 0.5, check_scoring(_ScoresItsOwnWay(), None)]
)
def test_other_callables_and_estimators_have_no_metric(scorer):
    """Callables and estimators with their own score have no metric."""
    assert scorer_metric(scorer, _ScoresItsOwnWay()) is None
