"""Metrics as sums over samples, for many weightings at once."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import make_scorer, r2_score, roc_auc_score

from sk_tune._metric import scorer_metric
from sk_tune.search._metric_sums import AucSums, metric_sums


@settings(deadline=None)
@given(seed=st.integers(0, 2**20), n_rows=st.integers(2, 40), n_distinct=st.integers(1, 50))
def test_areas_equal_scikit_learns_on_the_rows_drawn(seed, n_rows, n_distinct):
    """For any resample that has both classes, ties included; else there is none."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n_rows)
    scores = rng.integers(n_distinct, size=(3, n_rows)) / 7
    rows = np.concatenate([rng.integers(n_rows, size=n_rows), [y.argmin(), y.argmax()]])
    weights = np.bincount(rows, minlength=n_rows)[np.newaxis].astype(float)
    sums = AucSums(scores=scores, is_positive=y == 1)

    if y.min() < y.max():
        expected = [roc_auc_score(y[rows], s[rows]) for s in scores]
        np.testing.assert_allclose(sums.of_all(weights)[0], expected, rtol=1e-12)
        for candidate in range(3):
            area = sums.of_one(weights, np.array([candidate]))
            np.testing.assert_allclose(area, expected[candidate], rtol=1e-12)
    else:
        assert np.isnan(sums.of_all(weights)).all()


def test_each_weighting_may_ask_for_another_candidate():
    """The first candidate ranks right, the second the other way round."""
    y = np.array([0, 0, 1, 1])
    sums = AucSums(scores=np.stack([y, 1 - y]), is_positive=y == 1)
    weights = np.array([[1.0, 0, 1, 0], [1, 2, 3, 4], [1, 1, 0, 0]])

    areas = sums.of_one(weights, np.array([1, 0, 0]))

    assert areas[:2].tolist() == [0.0, 1.0]
    assert np.isnan(areas[2])


def test_some_candidates_are_kept_and_a_sign_turns_round():
    """As for other metrics."""
    y = np.array([0, 1, 1])
    sums = AucSums(scores=np.stack([y, 1 - y]), is_positive=y == 1, sign=-1)

    kept = sums.of(np.array([True, False]))

    assert kept.of_all(np.ones((1, 3))).tolist() == [[-1.0]]


N_CANDIDATES = 4


def _case(name, rng, n_rows):
    """Return true values and responses such as the metric takes."""
    if name in {"accuracy", "balanced_accuracy"}:
        labels = np.array(["a", "b", "c"])
        y = labels[rng.integers(3, size=n_rows)]
        return y, labels[rng.integers(3, size=(N_CANDIDATES, n_rows))]
    if name == "neg_log_loss":
        probabilities = rng.dirichlet([0.3] * 3, size=(N_CANDIDATES, n_rows))
        return np.resize([0, 1, 2], n_rows), probabilities
    y = rng.normal(5, 2, size=n_rows)
    return y, y + rng.normal(size=(N_CANDIDATES, n_rows))


def _resample(rng, n_rows):
    rows = rng.integers(n_rows, size=n_rows)
    return rows, np.bincount(rows, minlength=n_rows).astype(float)


NAMES = [
    "accuracy",
    "balanced_accuracy",
    "neg_log_loss",
    "r2",
    "neg_mean_squared_error",
    "neg_mean_absolute_error",
    "neg_root_mean_squared_error",
]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20), n_rows=st.integers(4, 40))
def test_sums_equal_the_metric_on_the_rows_drawn(name, seed, n_rows):
    """Of all candidates, and of the one asked for, for any resample."""
    rng = np.random.default_rng(seed)
    metric = scorer_metric(name)
    y, responses = _case(name, rng, n_rows)
    rows, weights = _resample(rng, n_rows)
    options = {"labels": [0, 1, 2]} if name == "neg_log_loss" else {}
    with warnings.catch_warnings():
        # scikit-learn warns of classes that a resample lacks.
        warnings.simplefilter("ignore")
        expected = [
            metric.sign * metric.function(y[rows], response[rows], **options)
            for response in responses
        ]

    sums = metric_sums(metric, y, responses)
    of_all = sums.of_all(weights[np.newaxis])
    of_one = [sums.of_one(weights[np.newaxis], np.array([c]))[0] for c in range(4)]

    np.testing.assert_allclose(of_all, [expected], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(of_one, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["r2", "neg_mean_absolute_error", "neg_root_mean_squared_error", "accuracy"]
)
def test_several_outputs_are_scored_as_by_scikit_learn(name):
    """Averaged over outputs; labels of a row are right together."""
    rng = np.random.default_rng(0)
    if name == "accuracy":
        y = rng.integers(2, size=(30, 2))
        responses = rng.integers(2, size=(N_CANDIDATES, 30, 2))
    else:
        y = rng.normal(size=(30, 2)) * [1, 10]
        responses = y + rng.normal(size=(N_CANDIDATES, 30, 2))
    metric = scorer_metric(name)
    rows, weights = _resample(rng, 30)

    scores = metric_sums(metric, y, responses).of_all(weights[np.newaxis])

    expected = [metric(y[rows], response[rows]) for response in responses]
    np.testing.assert_allclose(scores[0], expected, rtol=1e-10)


def test_probabilities_of_the_second_class_are_enough():
    """Two classes in one column, 0 and 1 included, which are clipped."""
    y = np.array(["n", "y", "y", "n"])
    response = np.array([[0.1, 0.8, 1.0, 0.0]])
    metric = scorer_metric("neg_log_loss")

    score = metric_sums(metric, y, response).of_all(np.ones((1, 4)))

    assert score[0, 0] == pytest.approx(metric(y, response[0]), rel=1e-12)


def test_classes_without_rows_keep_their_column():
    """Probabilities of three classes score rows of two, if the classes are named."""
    y = np.array([0, 2, 2])
    probabilities = np.array([[[0.5, 0.2, 0.3], [0.1, 0.1, 0.8], [0.2, 0.2, 0.6]]])
    metric = scorer_metric("neg_log_loss")

    sums = metric_sums(metric, y, probabilities, classes=np.array([0, 1, 2]))

    expected = np.log([0.5, 0.8, 0.6]).mean()
    assert sums.of_all(np.ones((1, 3)))[0, 0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_r2_of_equal_targets_is_1_if_exact_and_else_0(offset):
    """scikit-learn's rule, which a resample of one value meets."""
    y = np.array([0.1, 0.1, 0.1, 7.0])
    response = (y + offset)[np.newaxis]
    weights = np.array([[2.0, 1.0, 1.0, 0.0]])

    score = metric_sums(scorer_metric("r2"), y, response).of_all(weights)

    assert score[0, 0] == r2_score(y[[0, 0, 1, 2]], response[0][[0, 0, 1, 2]])


@pytest.mark.parametrize("name", NAMES)
def test_no_rows_have_no_score(name):
    """A resample may leave none out."""
    rng = np.random.default_rng(0)
    y, responses = _case(name, rng, 6)

    sums = metric_sums(scorer_metric(name), y, responses)

    assert np.isnan(sums.of_one(np.zeros((1, 6)), np.array([0]))).all()


@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_do_not_fit_are_left_to_the_metric(name):
    """It will say what is wrong with them."""
    y, responses = _case(name, np.random.default_rng(0), 6)

    assert metric_sums(scorer_metric(name), y[:5], responses) is None
    assert metric_sums(scorer_metric("roc_auc"), y[:5], responses) is None
    assert metric_sums(scorer_metric("f1"), y, responses) is None


@pytest.mark.parametrize("labels", [[0, 1], ["no", "yes"]])
def test_the_second_label_is_positive_to_the_area_under_the_roc_curve(labels):
    """As it is to scikit-learn, in sorted order."""
    rng = np.random.default_rng(0)
    y = np.array(labels)[rng.integers(2, size=30)]
    scores = rng.normal(size=(2, 30))
    metric = scorer_metric("roc_auc")

    areas = metric_sums(metric, y, scores).of_all(np.ones((1, 30)))

    np.testing.assert_allclose(areas[0], [metric(y, s) for s in scores], rtol=1e-12)


def test_labels_beyond_the_classes_are_left_to_the_metric():
    """A label without a column has no probability."""
    probabilities = np.full((1, 3, 2), 0.5)
    metric = scorer_metric("neg_log_loss")

    assert metric_sums(metric, np.array([0, 1, 2]), probabilities, np.array([0, 1])) is None


def test_options_are_left_to_the_metric():
    """They would change what is summed."""
    metric = scorer_metric(make_scorer(r2_score, force_finite=False))

    assert metric_sums(metric, np.arange(3.0), np.ones((1, 3))) is None
