"""Quick metrics have the scores, warnings and errors of scikit-learn's metrics."""

import warnings

import numpy as np
import pytest
from sklearn import metrics
from sklearn.metrics import get_scorer

from sk_tune._scores import quick_metric, scorer_metric

AVERAGES = ["", "_macro", "_micro", "_weighted"]
OF_LABELS = ["accuracy", "balanced_accuracy"]
OF_LABELS += [f"{m}{a}" for m in ("f1", "precision", "recall", "jaccard") for a in AVERAGES]
OF_PROBABILITIES = ["neg_log_loss", "roc_auc", "roc_auc_ovr", "roc_auc_ovr_weighted"]
OF_PROBABILITIES += ["roc_auc_ovo", "neg_brier_score"]


def outcome(function, *args, **options):
    """Return the score of a metric, or its error, and its warnings."""
    with warnings.catch_warnings(record=True, action="always") as caught:
        try:
            score = function(*args, **options)
        except (IndexError, TypeError, ValueError) as error:
            score = repr(error)
    return score, [(w.category, str(w.message)) for w in caught]


def assert_equal(name, y, response, **options):
    """Compare a metric's outcomes."""
    metric = scorer_metric(name)
    options = {**metric.options, **options}
    score, messages = outcome(quick_metric(metric.function), y, response, **options)
    expected, expected_messages = outcome(metric.function, y, response, **options)
    assert messages == expected_messages
    if isinstance(expected, str):
        assert score == expected
    else:
        assert score == pytest.approx(expected, rel=1e-12, abs=1e-15, nan_ok=True)


def drawn(seed, n_classes, kind, n_rows=60):
    """Return labels, probabilities with ties, and the classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(n_classes, size=n_rows)
    logits = rng.normal(size=(n_rows, n_classes)).round(1)
    logits[np.arange(n_rows), labels] += 1
    p = np.exp(logits)
    classes = np.unique(np.arange(n_classes).astype(kind))
    return classes[labels], p / p.sum(axis=1, keepdims=True), classes


@pytest.mark.parametrize("name", OF_LABELS + OF_PROBABILITIES)
@pytest.mark.parametrize("kind", [int, np.uint8, str, float, object])
@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_the_scores_are_those_of_scikit_learn(name, kind, n_classes):
    """Of labels of all types, and of tied probabilities in both precisions."""
    for seed in range(2):
        y, p, classes = drawn(seed, n_classes, kind)
        for dtype in (np.float64, np.float32):
            response = scorer_metric(name).response(p.astype(dtype), classes)
            assert_equal(name, y, response)


@pytest.mark.parametrize("name", OF_LABELS + OF_PROBABILITIES)
@pytest.mark.parametrize("n_classes", [2, 4])
def test_classes_without_samples_or_predictions_are_scikit_learns_case(name, n_classes):
    """Scores, warnings and errors are its own."""
    y, p, classes = drawn(0, n_classes, int)
    response = scorer_metric(name).response(p, classes)
    is_first, is_predicted = y == 0, p.argmax(axis=1) != 1

    for rows in (is_first, ~is_first, is_predicted, slice(0), slice(1), slice(5)):
        assert_equal(name, y[rows], response[rows])


@pytest.mark.parametrize("name", OF_LABELS + OF_PROBABILITIES)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_unusual_arguments_are_scikit_learns_case(name, n_classes):
    """Weights, lists, other lengths and types, and values that are not probabilities."""
    y, p, classes = drawn(1, n_classes, int)
    response = scorer_metric(name).response(p, classes)

    if name != "roc_auc_ovo":
        assert_equal(name, y, response, sample_weight=np.arange(len(y)) % 3)
    assert_equal(name, y.tolist(), response.tolist())
    assert_equal(name, y[:-1], response)
    assert_equal(name, y.astype(str), response)
    assert_equal(name, y[:, np.newaxis], response)
    assert_equal(name, y, response * 1.001)
    assert_equal(name, y, response - 0.1)
    assert_equal(name, y, response * np.nan)
    assert_equal(name, y, p)


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (metrics.accuracy_score, {"normalize": False}),
        (metrics.log_loss, {"labels": [0, 1, 2]}),
        (metrics.log_loss, {"normalize": False}),
        (metrics.balanced_accuracy_score, {"adjusted": True}),
        (metrics.f1_score, {"average": "macro", "labels": [0, 1]}),
        (metrics.f1_score, {"average": "macro", "zero_division": 1.0}),
        (metrics.f1_score, {"average": None}),
        (metrics.fbeta_score, {"average": "macro", "beta": 2}),
        (metrics.precision_score, {"average": "macro", "zero_division": np.nan}),
        (metrics.roc_auc_score, {"multi_class": "ovr", "max_fpr": 0.5}),
    ],
)
def test_options_are_respected(function, options):
    """Of metrics made by a user."""
    y, p, classes = drawn(2, 3, int)
    takes_p = function in {metrics.log_loss, metrics.roc_auc_score}
    response = p if takes_p else classes[p.argmax(axis=1)]

    quick = outcome(quick_metric(function), y, response, **options)

    np.testing.assert_equal(quick, outcome(function, y, response, **options))


@pytest.mark.parametrize("name", OF_LABELS[:2] + OF_PROBABILITIES[:3] + ["f1_macro"])
def test_plain_cases_take_the_short_way(name, monkeypatch):
    """Scikit-learn does not check the targets of plain labels."""
    y, p, classes = drawn(3, 2, int)
    response = scorer_metric(name).response(p, classes)
    expected = get_scorer(name)._score_func(y, response, **scorer_metric(name).options)
    for module in (metrics._classification, metrics._ranking):
        monkeypatch.setattr(module, "type_of_target", None)
    metric = scorer_metric(name)

    score = quick_metric(metric.function)(y, response, **metric.options)

    assert score == pytest.approx(expected, rel=1e-12)
