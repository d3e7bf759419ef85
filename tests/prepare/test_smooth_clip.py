"""Robust scaling with smooth clipping."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.preprocessing import RobustScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sk_tune.prepare import SmoothClipScaler

# scikit-learn adds all values up to see whether one is NaN.
FINITE = st.floats(-1e307, 1e307)


@parametrize_with_checks([SmoothClipScaler()])
def test_the_scaler_passes_the_checks_of_scikit_learn(estimator, check):
    """It is a transformer like scikit-learn's own."""
    check(estimator)


def test_it_is_robust_scaling_and_the_papers_formula():
    """f(x) = x / sqrt(1 + (x / 3)^2) of what scikit-learn's RobustScaler gives."""
    X = np.random.default_rng(0).standard_t(2, size=(200, 3))
    scaled = RobustScaler().fit_transform(X)

    clipped = SmoothClipScaler().fit_transform(X)

    assert np.allclose(clipped, scaled / np.sqrt(1 + (scaled / 3) ** 2))


@pytest.mark.parametrize(
    ("column", "scale"),
    [
        ([0, 1, 2, 3, 4], 1 / 2),  # Quartiles 1 and 3.
        ([0, 0, 0, 0, 0, 4], 2 / 4),  # Equal quartiles: 2 over the range.
        ([7, 7, 7], 0.0),
        ([0, 1, 2, 3, 4, np.nan, np.nan], 1 / 2),
    ],
)
def test_the_scale_is_the_papers(column, scale):
    """The three cases of section 3, and missing values left out."""
    X = np.array(column, dtype=float)[:, None]

    assert SmoothClipScaler().fit(X).scale_.tolist() == [scale]


def test_missing_values_stay_missing():
    """And a column of nothing else stays that."""
    X = np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, np.nan]])

    Z = SmoothClipScaler().fit_transform(X)

    assert np.array_equal(np.isnan(Z), np.isnan(X))


def test_a_constant_of_half_the_largest_number_is_no_trouble():
    """What is as far on the other side differs by more than any number."""
    X = np.full((7, 1), 8.98846567e307)

    assert SmoothClipScaler().fit(X).transform(-X).tolist() == [[0.0]] * 7


@given(X=arrays(np.float64, (7, 2), elements=FINITE), new=FINITE)
@example(X=np.array([[-1.79e308, 0.0]] + [[1e292, 0.0]] * 6), new=0.0)
def test_whatever_comes_the_result_is_bounded_and_keeps_the_order(X, new):
    """Between -3 and 3, and of two values the greater one is never less."""
    scaler = SmoothClipScaler().fit(X)

    Z = scaler.transform(np.sort(np.vstack([X, [[new, -new]]]), axis=0))

    assert (np.abs(Z) <= 3).all()
    assert (np.diff(Z, axis=0) >= 0).all()
