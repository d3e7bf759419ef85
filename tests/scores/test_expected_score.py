"""Scores of candidates on folds and resamples."""

import itertools
import time
import warnings
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.linear_model import Ridge
from sklearn.metrics import (
    accuracy_score,
    fbeta_score,
    log_loss,
    make_scorer,
    matthews_corrcoef,
    max_error,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
)
from sklearn.model_selection import KFold, RepeatedKFold

from sk_tune import GridSearchCV
from sk_tune._scores import (
    FoldScores,
    ScoreEstimate,
    _expected_score,
    expected_score,
    scorer_metric,
)

N = 60
FOLDS = np.arange(N) % 3 == np.arange(3)[:, np.newaxis]
CLASSES = np.array(["a", "b"])


def _scores(name, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.random((2, N))
    y = CLASSES[rng.integers(2, size=N)]
    metric = scorer_metric(name)
    predictions = np.stack([1 - p, p], axis=2)
    return FoldScores(metric, predictions, y, classes=CLASSES, folds=FOLDS), y, p


@pytest.mark.parametrize("score", [roc_auc_score, accuracy_score, matthews_corrcoef])
def test_a_fold_has_the_score_of_its_own_samples(score):
    """For metrics of sums and for callables."""
    name = score.__name__.removesuffix("_score")
    fold_scores, y, p = _scores(name)
    responses = p if name == "roc_auc" else CLASSES[(p > 0.5).astype(int)]

    expected = [[score(y[held], one[held]) for one in responses] for held in FOLDS]

    assert fold_scores.on_all() == pytest.approx(np.array(expected))
    assert fold_scores.needs_calls == (name == "matthews_corrcoef")


@pytest.mark.parametrize("name", ["roc_auc", "matthews_corrcoef"])
def test_resamples_are_about_the_mean_over_folds(name):
    """They scatter more than means of all samples, because each fold has 37 %."""
    fold_scores, _, _ = _scores(name)

    means = fold_scores.on_resamples(100, np.random.default_rng(0))

    assert means.shape == (100, 2)
    assert means.mean(axis=0) == pytest.approx(fold_scores.on_all().mean(axis=0), abs=0.04)
    assert (means.std(axis=0) > 0.03).all()


def test_a_fold_without_a_class_has_no_area():
    """It is left out of the mean of a resample."""
    y = CLASSES[(np.arange(N) % 3 == 0) * (np.arange(N) % 2)]
    p = np.linspace(0, 1, N)
    predictions = np.stack([1 - p, p], axis=1)[np.newaxis]
    metric = scorer_metric("roc_auc")

    fold_scores = FoldScores(metric, predictions, y, classes=CLASSES, folds=FOLDS)

    assert np.isnan(fold_scores.on_all()[:, 0]).tolist() == [False, True, True]
    assert np.isfinite(fold_scores.on_resamples(20, np.random.default_rng(0))).all()


@pytest.mark.parametrize("n_in_fold", [29, 30])
def test_r2_of_small_folds_is_relative_to_the_variance_of_all_samples(n_in_fold):
    """The targets of a fold with few samples may be nearly equal by chance."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(2 * n_in_fold, 2))
    predictions = y + rng.normal(size=(3, *y.shape))
    folds = np.arange(len(y)) % 2 == np.arange(2)[:, np.newaxis]

    fold_scores = FoldScores(scorer_metric("r2"), predictions, y, classes=None, folds=folds)

    samples = [slice(None)] * 2 if n_in_fold < 30 else folds
    variances = [np.var(y[part], axis=0) for part in samples]
    expected = [
        [
            np.mean(1 - np.mean((y[fold] - p[fold]) ** 2, axis=0) / variance)
            for p in predictions
        ]
        for fold, variance in zip(folds, variances, strict=True)
    ]
    assert fold_scores.on_all() == pytest.approx(np.array(expected))
    assert fold_scores.is_relative == (n_in_fold < 30)


def test_intervals_of_r2_on_few_rows_contain_the_score_on_new_rows():
    """At 25 rows with folds of 5, where R^2 of a fold may be -100."""
    rng, hits = np.random.default_rng(0), []
    few, new = slice(25), slice(25, None)
    folds = np.arange(25) % 5 == np.arange(5)[:, np.newaxis]
    for _ in range(40):
        X = rng.normal(size=(2025, 5))
        y = X.sum(axis=1) + 1.5 * rng.normal(size=len(X))
        models = [Ridge().fit(X[few][~f], y[few][~f]) for f in folds]
        predictions = np.sum(
            [f * m.predict(X[few]) for f, m in zip(folds, models, strict=True)], axis=0
        )
        scores = FoldScores(
            scorer_metric("r2"), predictions[None], y[few], classes=None, folds=folds
        )
        low, high = np.quantile(scores.on_resamples(200, rng), [0.025, 0.975])
        hits.append(low < np.mean([m.score(X[new], y[new]) for m in models]) < high)

    assert 0.9 <= np.mean(hits) <= 1


def _of_resamples(predictions, y, metric, groups, rng):
    scores = FoldScores(
        metric,
        predictions,
        y,
        classes=None,
        folds=np.ones((1, len(y)), bool),
        groups=groups,
    )
    return np.quantile(scores.on_resamples(200, rng), [0.025, 0.975])


def _of_estimate(predictions, y, metric, groups, rng):
    seed = int(rng.integers(2**31))
    options = {"groups": groups, "n_bootstraps": 200, "random_state": seed}
    estimate = expected_score(predictions, y, metric, **options)
    return estimate.low, estimate.high


@pytest.mark.parametrize("most_blocks", [10_000, 100])
@pytest.mark.parametrize("interval", [_of_resamples, _of_estimate])
def test_intervals_of_groups_contain_the_score_on_new_groups(
    interval, most_blocks, monkeypatch
):
    """Effects of 30 groups of 10 rows have variance 9, rows 1: the squared error is 10."""
    monkeypatch.setattr(_expected_score, "_MOST_BLOCKS", most_blocks)
    rng, hits = np.random.default_rng(0), {True: [], False: []}
    metric = scorer_metric("neg_mean_squared_error")
    group = np.repeat(np.arange(30), 10)
    for _ in range(60):
        y = 3 * rng.normal(size=30)[group] + rng.normal(size=300)
        for has_groups, is_within in hits.items():
            groups = group.astype(str) if has_groups else None
            low, high = interval(np.zeros((1, 300)), y, metric, groups, rng)
            is_within.append(low < -10 < high)

    assert np.mean(hits[True]) > 0.9
    # The rows of a group are not independent.
    assert np.mean(hits[False]) < 0.75


METRICS = [
    *("accuracy", "balanced_accuracy", "neg_log_loss", "r2", "neg_mean_squared_error"),
    *("neg_mean_absolute_error", "neg_root_mean_squared_error", "roc_auc"),
    *("f1_macro", "precision_weighted", "jaccard_micro", "recall", "f2", "roc_auc_ovr"),
]


def _metric(name):
    f2 = make_scorer(fbeta_score, beta=2, zero_division=1)
    return scorer_metric(f2 if name == "f2" else name)


def _case(name, rng, n_rows, n_outputs=None):
    """Return true values and the responses of four candidates in the metric's format."""
    shape = (n_rows,) if n_outputs is None else (n_rows, n_outputs)
    if name in {"neg_log_loss", "roc_auc_ovr"}:
        return np.resize([0, 1, 2], n_rows), rng.dirichlet([0.3] * 3, size=(4, n_rows))
    if name == "roc_auc":
        # Few values, so that there are ties.
        return np.resize(CLASSES, n_rows), rng.integers(5, size=(4, n_rows)) / 7
    if name in {"recall", "f2"}:
        return np.resize([0.0, 1.0], n_rows), rng.integers(2, size=(4, n_rows)) * 1.0
    if name.endswith(("accuracy", "macro", "weighted", "micro")):
        labels = np.array(["a", "b", "c"])
        return labels[rng.integers(3, size=shape)], labels[
            rng.integers(3, size=(4, *shape))
        ]
    y = rng.normal(5, 2, size=shape)
    return y, y + rng.normal(size=(4, *shape))


def _needs_calls(metric, y, responses, classes=None):
    folds = np.ones((1, len(y)), dtype=bool)
    return FoldScores(metric, responses, y, classes=classes, folds=folds).needs_calls


@pytest.mark.parametrize(
    ("name", "n_outputs"),
    [
        *((n, None) for n in METRICS),
        *((n, 2) for n in ["accuracy", *METRICS[3:7], "f1_macro"]),
    ],
)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**20), n_rows=st.integers(4, 40))
def test_sums_equal_the_metric_on_drawn_rows(name, n_outputs, seed, n_rows):
    """A weight counts repeats of a row, for any resample and several outputs."""
    rng = np.random.default_rng(seed)
    metric = _metric(name)
    y, responses = _case(name, rng, n_rows, n_outputs)
    if n_outputs and name in {"accuracy", "f1_macro"}:
        y, responses = (y == "a").astype(int), (responses == "a").astype(int)
    rows = rng.integers(n_rows, size=n_rows)
    if name == "roc_auc_ovr":
        rows[:3] = range(3)  # It needs a sample of each class.
    weight = np.bincount(rows, minlength=n_rows)
    options = {"labels": [0, 1, 2]} if name == "neg_log_loss" else {}
    # scikit-learn warns of classes that a resample lacks.
    with warnings.catch_warnings(action="ignore"):
        options |= metric.options
        drawn = (metric.function(y[rows], one[rows], **options) for one in responses)
        expected = [metric.sign * score for score in drawn]

    scores = [
        expected_score([one], y, metric, sample_weight=weight, n_bootstraps=1).naive_score
        for one in responses
    ]

    assert not _needs_calls(metric, y, responses)
    np.testing.assert_allclose(scores, expected, rtol=1e-10, atol=1e-12)


def test_a_notebook_shows_a_sentence():
    """With the interval, its confidence and the score before the correction."""
    values = {"score": 0.8, "low": 0.75, "high": 0.85, "confidence": 0.95}

    html = ScoreEstimate(**values, method="bootstrap", naive_score=0.83)._repr_html_()

    assert html.startswith("<p>Expected on new data: <b>0.800 [0.750, 0.850]</b> (95 % int")
    assert "interval by bootstrap; 0.830 without" in html


def test_the_correction_is_the_mean_over_all_resamples():
    """Five rows have 3,125 resamples, all listed here; the first of equals is chosen."""
    y = np.array([0, 1, 1, 0, 1])
    right = np.array([[1, 1, 0, 0, 1], [1, 0, 1, 1, 0], [0, 1, 1, 1, 0]])
    predictions = np.where(right, y, 1 - y)
    outside = []
    for rows in itertools.product(range(5), repeat=5):
        missed = np.setdiff1d(range(5), rows)
        if len(missed):
            best = right[:, list(rows)].mean(axis=1).argmax()
            outside.append(right[best, missed].mean())

    estimate = expected_score(
        predictions, y, scorer_metric("accuracy"), n_bootstraps=20_000
    )

    error = np.std(outside) / np.sqrt(20_000)
    assert estimate.score == pytest.approx(np.mean(outside), abs=4 * error)
    assert estimate.low == np.quantile(outside, 0.025)


def _score(name, y, response, **options):
    options = {"n_bootstraps": 1, **options}
    return expected_score([response], y, _metric(name), **options).naive_score


def test_probabilities_need_a_column_for_each_class_only():
    """Of two classes one column suffices, 0 and 1 are clipped, a class may have no row."""
    two, one = np.array(["n", "y", "y", "n"]), np.array([0.1, 0.8, 1.0, 0.0])
    three = np.array([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8], [0.2, 0.2, 0.6]])

    assert _score("neg_log_loss", two, one) == pytest.approx(
        scorer_metric("neg_log_loss")(two, one), rel=1e-12
    )
    assert _score("neg_log_loss", [0, 2, 2], three, classes=[0, 1, 2]) == pytest.approx(
        np.log([0.5, 0.8, 0.6]).mean(), rel=1e-12
    )


def test_a_log_loss_with_labels_is_a_function_of_sums():
    """As the metric itself, also on rows that lack a class."""
    p = np.array([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8], [0.2, 0.2, 0.6]])
    options = {"response_method": "predict_proba", "greater_is_better": False}
    metric = scorer_metric(make_scorer(log_loss, labels=["a", "b", "c"], **options))
    y = np.array(["a", "c", "c"])

    assert not _needs_calls(metric, y, p[np.newaxis])
    expected = metric(y, p)
    assert expected_score([p], y, metric).naive_score == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_r2_of_equal_targets_is_1_if_exact_and_else_0(offset):
    """scikit-learn's rule, which a resample of one value meets."""
    y = np.array([0.1, 0.1, 0.1, 7.0])

    score = _score("r2", y, y + offset, sample_weight=[2.0, 1.0, 1.0, 0.0])

    rows = [0, 0, 1, 2]
    # NaN, no score, and 0 are told apart.
    assert score == r2_score(y[rows], (y + offset)[rows])


@pytest.mark.parametrize("name", METRICS)
def test_no_rows_have_no_score(name):
    """A resample may include all rows."""
    y, responses = _case(name, np.random.default_rng(0), 6)

    assert np.isnan(_score(name, y, responses[0], sample_weight=np.zeros(6)))
    none = np.zeros((6, 2), int)
    assert _score("precision_weighted", none, none) == 0


@pytest.mark.parametrize("name", METRICS)
def test_shapes_that_do_not_fit_are_left_to_the_metric(name):
    """The metric raises its own error."""
    y, responses = _case(name, np.random.default_rng(0), 6)

    assert _needs_calls(_metric(name), y[:5], responses)


def test_other_metrics_are_called():
    """Another metric, one with options, and labels without a column."""
    half = np.full((1, 3, 2), 0.5)
    force = scorer_metric(make_scorer(r2_score, force_finite=False))

    assert _needs_calls(scorer_metric("f1"), np.arange(3), np.ones((1, 3), int))
    assert _needs_calls(force, np.arange(3.0), np.ones((1, 3)))
    f_inf = scorer_metric(make_scorer(fbeta_score, beta=np.inf))
    assert _needs_calls(f_inf, np.arange(2), np.ones((1, 2), int))
    assert _needs_calls(scorer_metric("neg_log_loss"), np.arange(3), half, CLASSES)


ACCURACY = scorer_metric("accuracy")
seeded = partial(expected_score, random_state=0)


def _labels(rng, n_candidates, n_rows, accuracy):
    """Return labels, and predictions with the given accuracy."""
    y = rng.integers(2, size=n_rows)
    right = rng.random((n_candidates, n_rows)) < np.reshape(accuracy, (-1, 1))
    return np.where(right, y, 1 - y), y


def test_the_best_of_many_guessers_is_at_chance_when_corrected():
    """The best of 50 means of 200 rows is expected 2.25 standard errors above 0.5."""
    rng = np.random.default_rng(0)
    results = [
        expected_score(
            *_labels(rng, 50, 200, 0.5), ACCURACY, n_bootstraps=200, random_state=seed
        )
        for seed in range(200)
    ]
    naive, estimate = np.array([(r.naive_score, r.score) for r in results]).T
    covered = np.mean([result.low <= 0.5 <= result.high for result in results])

    assert naive.mean() == pytest.approx(0.5 + 2.25 * 0.5 / np.sqrt(200), abs=0.005)
    standard_error = estimate.std(ddof=1) / np.sqrt(200)
    assert abs(estimate.mean() - 0.5) < 3 * standard_error
    assert covered >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 200)


def test_a_clear_winner_is_hardly_corrected():
    """One candidate at 0.9 among guessers is best in every resample."""
    rng = np.random.default_rng(2)
    predictions, y = _labels(rng, 20, 1000, [0.9, *[0.5] * 19])

    result = seeded(predictions, y, ACCURACY)

    assert result.naive_score == accuracy_score(y, predictions[0])
    assert result.score == pytest.approx(result.naive_score, abs=0.002)
    assert result.low < 0.9 < result.high
    assert result.n_bootstraps == 1000
    narrow = seeded(predictions, y, ACCURACY, confidence=0.5)
    assert narrow.score == result.score
    # The interval of a normal distribution is 2.9 times as wide at 95 % as at 50 %.
    ratio = (result.high - result.low) / (narrow.high - narrow.low)
    assert ratio == pytest.approx(2.9, rel=0.15)


@pytest.mark.parametrize("name", [*METRICS[:4], *METRICS[6:9]])
def test_blocks_of_rows_are_resampled_as_rows_are(monkeypatch, name):
    """600 blocks of 5 weighted rows give the score and interval that 3,000 rows give."""
    rng = np.random.default_rng(3)
    y = rng.integers(2, size=3000)
    logit = (y - 0.5) * np.linspace(0.5, 0.7, 5)[:, None] + rng.normal(size=(5, 3000))
    predictions = 1 / (1 + np.exp(-np.round(logit, 1)))
    if name.endswith(("accuracy", "macro")):
        predictions = (predictions > 0.5).astype(int)
    metric, weight = scorer_metric(name), rng.uniform(0.5, 1.5, size=3000)
    options = {"n_bootstraps": 400, "random_state": 4, "sample_weight": weight}

    by_row = expected_score(predictions, y, metric, **options)
    monkeypatch.setattr(_expected_score, "_MOST_BLOCKS", 600)
    by_block = expected_score(predictions, y, metric, **options)

    width = by_row.high - by_row.low
    assert by_block.naive_score == pytest.approx(by_row.naive_score, rel=1e-9)
    assert by_block.score == pytest.approx(by_row.score, abs=0.05 * width)
    assert by_block.low == pytest.approx(by_row.low, abs=0.15 * width)
    assert by_block.high == pytest.approx(by_row.high, abs=0.15 * width)


@pytest.mark.parametrize("name", ["accuracy", "roc_auc"])
def test_many_rows_take_little_time(name):
    """200,000 rows of 5 candidates in about a second of a processor; they took 3 and 20."""
    rng = np.random.default_rng(0)
    predictions, y = _labels(rng, 5, 200_000, [0.7, 0.6, 0.6, 0.6, 0.6])
    start = time.process_time()

    result = seeded(predictions, y, scorer_metric(name))

    assert time.process_time() - start < 4.0
    assert result.n_bootstraps == 1000
    # 1.96 deviations of the mean of 36.8 % of the rows, drawn without replacement.
    half = 1.96 * np.sqrt(0.7 * 0.3 * (1 / 0.368 - 1) / 200_000)
    assert result.high - result.low == pytest.approx(2 * half, rel=0.15)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_rows_and_candidates_without_predictions_are_left_out(seed):
    """Rows without predictions, and candidates without a row, change no result."""
    rng = np.random.default_rng(seed)
    predictions, y = _labels(rng, 4, 50, 0.6)
    holed = np.insert(predictions.astype(float), 10, np.nan, axis=1)
    failed = np.where(np.arange(51) < 10, np.insert(y, 10, 0), np.nan)

    result = seeded(
        np.vstack([failed, holed, np.full(51, np.nan)]),
        np.insert(y, 10, 0),
        ACCURACY,
        n_bootstraps=20,
    )

    assert result == seeded(predictions, y, ACCURACY, n_bootstraps=20)


def test_labels_may_be_missing_among_strings():
    """None marks them."""
    y = np.array(["a", "b", "a", "b"] * 5, dtype=object)
    failed = y.copy()
    failed[3] = None

    result = seeded([failed, y[::-1]], y, ACCURACY)

    assert result.naive_score == 0.0
    assert result.score == 0.0


def test_rows_come_from_the_candidates_with_the_most():
    """Rungs of samples need not be nested: early rungs had rows that the last lacks."""
    rng = np.random.default_rng(0)
    predictions, y = _labels(rng, 6, 200, 0.8)
    predictions = predictions.astype(float)
    predictions[:4, 40:] = np.nan
    predictions[4:, :20] = np.nan

    estimate = seeded(predictions, y, ACCURACY)

    assert estimate == seeded(predictions[4:, 20:], y[20:], ACCURACY)
    assert np.isfinite(estimate.score)


def test_a_candidate_with_an_undefined_metric_is_left_out():
    """A deviance of positive numbers raises for a negative prediction."""
    rng = np.random.default_rng(0)
    y = rng.poisson(3.0, size=100) + 1.0
    predictions = np.stack([np.full(100, 4.0), np.where(np.arange(100) == 7, -1.0, y)])
    metric = scorer_metric("neg_mean_poisson_deviance")

    estimate = seeded(predictions, y, metric)

    assert estimate.naive_score == metric(y, predictions[0])
    assert np.isfinite(estimate.score)


def test_weights_count_in_a_metric_that_is_called():
    """As in the scores of the search: a row with weight 2 counts as two rows."""
    rng = np.random.default_rng(2)
    y, weight = rng.normal(size=80), rng.integers(1, 4, size=80)
    predictions = y + rng.normal(0, 0.6, size=(3, 80))
    metric = scorer_metric("neg_median_absolute_error")

    estimate = seeded(predictions, y, metric, sample_weight=weight, n_bootstraps=5)

    expected = [metric(y, values, sample_weight=weight) for values in predictions]
    assert estimate.naive_score == pytest.approx(max(expected))
    assert estimate.naive_score != pytest.approx(
        max(metric(y, values) for values in predictions)
    )


def test_a_slow_metric_is_called_for_fewer_resamples():
    """For at least 50; for all without a time limit."""
    rng = np.random.default_rng(0)
    predictions, y = _labels(rng, 1, 50, 0.8)

    def slow(y_true, y_pred):
        return float((y_true == y_pred).mean())

    short, full = (
        seeded(predictions, y, slow, time_budget=t, n_bootstraps=200) for t in (0.0, None)
    )

    assert (short.n_bootstraps, full.n_bootstraps) == (50, 200)


def test_infinite_scores_are_never_chosen():
    """A candidate that diverged is not the best."""
    y = np.arange(20.0)
    predictions = np.stack([np.full(20, np.inf), y + 1])

    result = seeded(predictions, y, scorer_metric("neg_mean_squared_error"))

    assert (result.score, result.naive_score) == (-1.0, -1.0)


@pytest.mark.parametrize("metric", [ACCURACY, lambda y_true, y_pred: 1.0])
def test_nothing_to_choose_from_has_no_score(metric):
    """All candidates failed: NaN, not an error."""
    result = expected_score(np.full((3, 10), np.nan), np.zeros(10), metric)

    assert np.isnan([result.score, result.low, result.high, result.naive_score]).all()
    assert result.n_bootstraps == 0


def test_probabilities_become_the_input_of_the_metric():
    """Labels for accuracy, the positive column for ROC AUC, all columns for log loss."""
    rng = np.random.default_rng(6)
    classes = np.array(["no", "yes"])
    y = classes[rng.integers(2, size=60)]
    probabilities = rng.dirichlet([1, 1], size=(3, 60))
    probabilities[2, :30] = np.nan
    labels = classes[probabilities[:2].argmax(axis=2)]
    aucs = [roc_auc_score(y, p[:, 1]) for p in probabilities[:2]]
    options = {"n_bootstraps": 30, "random_state": 0}

    accuracy = expected_score(probabilities, y, ACCURACY, classes=classes, **options)
    auc = expected_score(
        probabilities, y, scorer_metric("roc_auc"), classes=classes, **options
    )

    assert accuracy == expected_score(labels, y, ACCURACY, **options)
    assert auc.naive_score == pytest.approx(max(aucs), rel=1e-12)


def test_multilabel_probabilities_have_a_threshold_of_one_half():
    """Each label of a multilabel target is independent."""
    rng = np.random.default_rng(7)
    y = rng.integers(2, size=(30, 3))
    probabilities = np.clip(y + rng.normal(0, 0.3, size=(2, 30, 3)), 0, 1)
    options = {"n_bootstraps": 10, "random_state": 0}

    result = expected_score(probabilities, y, ACCURACY, classes=[0, 1], **options)

    labels = (probabilities > 0.5).astype(int)
    assert result == expected_score(labels, y, ACCURACY, **options)


def test_any_callable_is_a_metric_and_takes_fewer_resamples():
    """At most 1000 calls, but at least 50 resamples."""
    predictions, y = _labels(np.random.default_rng(8), 60, 10, 0.6)
    n_calls = []

    def metric(y_true, y_pred):
        n_calls.append(1)
        return float(np.mean(y_true == y_pred))

    assert seeded(predictions, y, metric).n_bootstraps <= 50
    # All candidates on all rows, then in each resample, and the best on the rest.
    assert len(n_calls) == 60 + 50 * 61


def test_resamples_that_lack_a_class_are_left_out():
    """ROC AUC is undefined for one class: two rows of the other are often not drawn."""
    y = np.array([0] * 10 + [1] * 2)
    scores = np.stack([np.linspace(0, 1, 12), np.linspace(1, 0, 12)])

    result = seeded(scores, y, scorer_metric("roc_auc"), n_bootstraps=100)

    assert 0 < result.n_bootstraps < 100
    assert (result.score, result.low, result.high) == (1.0, 1.0, 1.0)


def test_resamples_for_which_a_metric_raises_are_left_out():
    """A metric of all rows may be undefined for a resample."""
    y = np.arange(8)

    def needs_the_first_row(y_true, y_pred):
        if 0 not in y_true:
            raise ValueError("no first row")
        return 0.25

    result = seeded([y, y], y, needs_the_first_row, n_bootstraps=50)

    # It is drawn or not drawn, never both.
    assert result.naive_score == 0.25
    assert result.n_bootstraps == 0
    assert np.isnan(result.score)


def test_an_expected_score_prints_with_its_interval():
    """All three numbers with three decimals: it is wider than 0.1."""
    predictions, y = _labels(np.random.default_rng(9), 3, 40, 0.8)

    result = seeded(predictions, y, ACCURACY)

    assert 0.1 < result.high - result.low < 1
    assert str(result) == f"{result.score:.3f} [{result.low:.3f}, {result.high:.3f}]"


@pytest.mark.parametrize("n_repeats", [1, 8])
def test_repeated_folds_correct_the_score_of_one_network(n_repeats):
    """A mean of noisy predictions has a lower error than any of them."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((200, 1)), rng.standard_normal(200)
    cv = RepeatedKFold(n_splits=4, n_repeats=n_repeats, random_state=0)
    search = GridSearchCV(
        Noisy(), {"scale": [1.0]}, cv=cv, scoring="neg_mean_squared_error"
    ).fit(X, y)

    # By hand: the variance of a target and that of a prediction.
    assert search.best_score_ == pytest.approx(-2, abs=0.5)
    assert search.expected_score_.naive_score == pytest.approx(search.best_score_, abs=0.3)


class Noisy(RegressorMixin, BaseEstimator):
    """Predicts normal numbers."""

    def __init__(self, scale=1.0):
        self.scale = scale

    def fit(self, X, y):
        self.seed_ = int(1e6 * abs(y.sum()))
        return self

    def predict(self, X):
        return self.scale * np.random.default_rng(self.seed_).standard_normal(len(X))


def _no_weights(y, predicted):
    return float(np.abs(y - predicted).max())


@pytest.mark.filterwarnings("ignore:The scoring .* does not support sample_weight")
@pytest.mark.parametrize("refit", ["r2", "max", "own"])
def test_weights_count_if_the_deciding_metric_takes_them(refit):
    """scikit-learn passes weights to the metrics that accept them."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 2))
    y, weight = X[:, 0] + rng.standard_normal(60), rng.uniform(0.5, 2, 60)
    scorer = make_scorer(_no_weights, greater_is_better=False)
    scoring = {"r2": "r2", "max": "neg_max_error", "own": scorer}
    search = GridSearchCV(Ridge(), {}, scoring=scoring, refit=refit, cv=KFold(3))
    search.fit(X, y, sample_weight=weight)

    predicted = search.oof_predictions_[0]
    expected = r2_score(y, predicted, sample_weight=weight)
    if refit != "r2":
        expected = -max_error(y, predicted)
    assert search.expected_score_.naive_score == pytest.approx(expected)


@pytest.mark.parametrize("asked", [True, "w", False])
@pytest.mark.parametrize("n_metrics", [1, 2])
def test_weights_count_if_the_deciding_metric_requests_them(asked, n_metrics):
    """With metadata routing, under any name; requests of other metrics do not count."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 2))
    y, weight = X[:, 0] + rng.standard_normal(60), rng.uniform(0.5, 2, 60)
    with config_context(enable_metadata_routing=True):
        r2, mae = (
            make_scorer(metric).set_score_request(sample_weight=requests)
            for metric, requests in ((r2_score, asked), (mean_absolute_error, True))
        )
        scoring = {"r2": r2, "mae": mae} if n_metrics == 2 else r2
        params = {"sample_weight": weight} | ({"w": weight} if asked == "w" else {})
        ridge = Ridge().set_fit_request(sample_weight=True)
        refit = "r2" if n_metrics == 2 else True
        search = GridSearchCV(ridge, {}, scoring=scoring, refit=refit, cv=KFold(3))
        search.fit(X, y, **params)

    counts = weight if asked else None
    expected = r2_score(y, search.oof_predictions_[0], sample_weight=counts)
    assert search.expected_score_.naive_score == pytest.approx(expected)


class Sure(ClassifierMixin, BaseEstimator):
    """Certain of every row, in float32, and wrong in a tenth of them."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        """Return probability 1 for the class in the first column."""
        second = (X[:, 0] > 0).astype(np.float32)
        return np.column_stack([1 - second, second])


def test_sure_networks_lose_as_much_as_in_the_search():
    """At most 16 nats per row, the limit of float32."""
    y = np.arange(120) % 2
    X = np.where(np.arange(120) % 10 == 0, 1 - y, y)[:, np.newaxis]
    search = GridSearchCV(Sure(), {}, scoring="neg_log_loss", cv=KFold(3)).fit(X, y)

    assert search.expected_score_.naive_score == pytest.approx(search.best_score_)
    assert -2 < search.best_score_ < -1
