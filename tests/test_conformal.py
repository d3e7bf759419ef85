"""Intervals and sets of labels from held-out predictions."""

from functools import partial

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict

from sk_tune._conformal import (
    Calibration,
    calibrate,
    measured_coverage,
)


def _parts(splitter, X, y):
    part = np.empty(len(y), dtype=int)
    for fold, (_, test) in enumerate(splitter.split(X, y)):
        part[test] = fold
    return part


_of_residuals = partial(calibrate, is_classification=False)
_of_labels = partial(calibrate, is_classification=True)


def _linear_diabetes():
    """Return intervals of linear models: of the models of the folds, and of one model."""
    X, y = load_diabetes(return_X_y=True)
    part = _parts(KFold(5), X, y)
    models = [LinearRegression().fit(X[part != k], y[part != k]) for k in range(5)]
    held_out = cross_val_predict(LinearRegression(), X, y, cv=KFold(5))
    residuals = np.abs(y - held_out)
    of_folds = tuple(np.sort(residuals[part == k]) for k in range(5))
    folds = np.stack([model.predict(X[:3]) for model in models])
    one = LinearRegression().fit(X, y).predict(X[:3])[np.newaxis]
    flat = np.array([[[0.0], [1.0]]])
    by_fold = Calibration(scores=(of_folds,), knots=flat)
    whole = Calibration(scores=((np.sort(residuals),),), knots=flat)
    return by_fold.interval(folds, 0.9), whole.interval(one, 0.9)


def test_intervals_are_those_of_mapie():
    """With equal difficulty, as CrossConformalRegressor of MAPIE 1.6, "plus" and "base"."""
    of_folds = [
        [114.36168502, 298.78166185],
        [-24.36157318, 160.47124133],
        [85.73512881, 269.72704249],
    ]
    of_one_model = [
        [112.77804942, 299.45530507],
        [-25.26759486, 161.4096608],
        [83.54416252, 270.22141818],
    ]
    expected = of_folds, of_one_model
    np.testing.assert_allclose(_linear_diabetes(), expected, rtol=0, atol=1e-7)


def test_sets_match_mapie():
    """Sets of fold models and of a single model equal MAPIE 1.6 with LAC scores."""
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(150)
    X, y = X[order][:, :1], y[order]
    part = _parts(StratifiedKFold(5), X, y)
    held_out = cross_val_predict(
        LogisticRegression(), X, y, cv=StratifiedKFold(5), method="predict_proba"
    )
    models = [LogisticRegression().fit(X[part != k], y[part != k]) for k in range(5)]
    by_fold = _of_labels(y, held_out, part, by_fold=True)
    folds = np.stack([model.predict_proba(X[:8]) for model in models])

    expected = [[0, 1, 1]] * 3 + [[0, 0, 1]] * 3 + [[1, 1, 0], [0, 1, 1]]
    assert by_fold.sets(folds, 0.9).astype(int).tolist() == expected
    mean = folds.mean(axis=0)[np.newaxis]
    assert _of_labels(y, held_out, part).sets(mean, 0.9).astype(int).tolist() == expected


@pytest.mark.parametrize("n_folds", [1, 3])
def test_too_few_samples_give_infinite_intervals(n_folds):
    """Eight samples cannot show 90 % coverage, nine can: ceil(0.9 (n + 1)) <= n."""
    for n, is_finite in ((8, False), (9, True)):
        y = np.arange(float(n))
        calibration = _of_residuals(y, y + 1, np.arange(n) % n_folds, by_fold=n_folds > 1)
        bounds = calibration.interval(np.zeros((n_folds, 1)), 0.9)
        assert np.isfinite(bounds).all() == is_finite


def test_a_single_sample_gives_its_residual():
    """Half of the new residuals are at most as large; 1 of 2 exchangeable values."""
    of_one = _of_residuals(np.array([-5.0]), np.array([-3.0]), np.array([0]))

    assert of_one.interval(np.array([[10.0]]), 0.5).tolist() == [[8.0, 12.0]]
    assert of_one.interval(np.array([[10.0]]), 0.6).tolist() == [[-np.inf, np.inf]]


def test_bounds_are_not_negative_if_no_target_is():
    """Residuals of 2 around 1 and -5: bounds below 0 become 0, only of the first target."""
    y = np.array([[0.0, 0.0], [4.0, -4.0]] * 20)
    calibration = _of_residuals(y, np.tile([2.0, -2.0], (40, 1)), np.arange(40) % 5)

    bounds = calibration.interval(np.array([[[1.0, 1.0], [-5.0, -5.0]]]), 0.9)

    np.testing.assert_allclose(bounds[0], [[0.0, -1.0], [3.0, 3.0]])
    np.testing.assert_allclose(bounds[1], [[0.0, -7.0], [0.0, -3.0]])


def test_too_few_samples_give_sets_of_all_labels():
    """A quantile that does not exist excludes no class."""
    calibration = _of_labels(np.zeros(5, int), np.full((5, 2), 0.5), np.arange(5))

    assert calibration.sets(np.array([[[1.0, 0.0]]]), 0.9).all()


def test_a_set_is_never_empty():
    """A sample less certain than the quantile still has its most probable class."""
    sure = np.tile([0.99, 0.01], (100, 1))
    calibration = _of_labels(np.zeros(100, int), sure, np.arange(100) % 5)

    sets = calibration.sets(np.array([[[0.4, 0.6]]]), 0.9)

    assert sets.tolist() == [[False, True]]


def test_width_follows_difficulty():
    """Where the noise grows with the prediction, so does the width, by its formula."""
    rng = np.random.default_rng(0)
    center = rng.uniform(0, 10, 4000)
    y = center + rng.normal(scale=center)
    calibration = _of_residuals(y, center, np.arange(4000) % 5)

    bounds = calibration.interval(np.array([[1.0, 5.0, 9.0]]), 0.9)

    # The difficulty is the mean residual sqrt(2 / pi) x plus half of its mean over x.
    width = np.diff(bounds)[:, 0]
    expected = (width[1] / (5 + 2.5)) * (np.array([1.0, 5.0, 9.0]) + 2.5)
    np.testing.assert_allclose(width, expected, rtol=0.1)


def test_coverage_is_as_requested():
    """On new samples of the same kind, intervals cover the requested share."""
    rng = np.random.default_rng(1)
    center = rng.uniform(0, 10, 8000)
    y = center + rng.standard_t(3, 8000) * (1 + center)
    part = np.arange(4000) % 5
    calibration = _of_residuals(y[:4000], center[:4000], part)

    for coverage in (0.5, 0.8, 0.95):
        low, high = calibration.interval(center[np.newaxis, 4000:], coverage).T
        covered = np.mean((low <= y[4000:]) & (y[4000:] <= high))
        assert abs(covered - coverage) < 0.02


def test_each_target_has_its_interval():
    """With several targets each is covered by itself; the last axis is the target."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(200, 2)) * [1, 100]
    part = np.arange(200) % 4
    both = _of_residuals(y, np.zeros((200, 2)), part).interval(np.zeros((1, 3, 2)), 0.9)

    assert both.shape == (3, 2, 2)
    for c in range(2):
        alone = _of_residuals(y[:, c], np.zeros(200), part)
        np.testing.assert_array_equal(both[..., c], alone.interval(np.zeros((1, 3)), 0.9))


def test_samples_without_a_prediction_do_not_count():
    """The first samples of a split by time are in no held-out fold."""
    rng = np.random.default_rng(0)
    y, part = rng.normal(size=100), np.repeat([-1, 0, 1], [20, 40, 40])
    center = np.where(part < 0, np.nan, 0.0)

    whole = _of_residuals(y, center, part).interval(np.zeros((1, 1)), 0.9)

    some = _of_residuals(y[20:], center[20:], part[20:])
    np.testing.assert_array_equal(whole, some.interval(np.zeros((1, 1)), 0.9))


def test_a_perfect_model_has_intervals_without_width():
    """Residuals of zero divide by no zero."""
    y = np.arange(100.0)

    bounds = _of_residuals(y, y, np.arange(100) % 5).interval(y[np.newaxis], 0.9)

    np.testing.assert_array_equal(bounds, np.stack([y, y], axis=1))


def test_measured_coverage_calibrates_on_other_folds():
    """A fold with larger errors has a lower coverage than the folds that calibrate it."""
    y = np.r_[np.linspace(-1, 1, 100), np.linspace(-100, 100, 100)]
    part = np.repeat([0, 1], 100)

    coverage = measured_coverage(y, np.zeros(200), part, 0.9, is_classification=False)

    # All of the first fold, and the share of the second within the quantile of the first.
    assert coverage.share == pytest.approx((100 + 0) / 200, abs=0.01)
    sets = measured_coverage(
        np.zeros(100, int),
        np.full((100, 2), 0.5),
        part[50:150],
        0.9,
        is_classification=True,
    )
    assert sets == (1.0, 2.0)


def test_quantiles_are_not_predictions_of_several_targets():
    """Several predictions of one target, or none, give no calibration."""
    assert _of_residuals(np.zeros(9), np.zeros((9, 3)), np.arange(9) % 3) is None
    assert _of_residuals(np.zeros(9), np.full(9, np.nan), np.arange(9) % 3) is None


def test_sets_of_many_samples_have_the_exact_quantile():
    """The bound is the score number ceil(coverage * (n + 1)), in the tail as well."""
    n = 100_000
    share = np.full(n, 0.5)
    share[:10] = np.linspace(0, 0.09, 10)
    probabilities = np.column_stack([share, 1 - share])
    calibration = _of_labels(np.zeros(n, dtype=int), probabilities, np.arange(n) % 5)

    sets = calibration.sets(np.array([[[0.091, 0.909], [0.089, 0.911]]]), 0.9999)

    # Score number 99,991 of 100,000 is 1 - 0.09.
    np.testing.assert_array_equal(sets, [[True, True], [False, True]])
