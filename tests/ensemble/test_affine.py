"""Scalers as affine maps: scikit-learn's own transformers are the reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

from sk_tune.ensemble._affine import affine_tail

SCALERS = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    MinMaxScaler(),
    MinMaxScaler(feature_range=(-1, 3)),
    MaxAbsScaler(),
    RobustScaler(),
    RobustScaler(with_centering=False),
    RobustScaler(with_scaling=False),
]


def _rows(seed=0, n=40):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)) * [1, 50, 1e-3] + [0, 1e3, 2]
    X[:, 2] = 2.0 if seed % 2 else X[:, 2]  # constant, or not
    return X


@pytest.mark.parametrize("scaler", SCALERS, ids=str)
@pytest.mark.parametrize("seed", [0, 1], ids=["", "constant column"])
def test_a_scaler_is_an_affine_map(scaler, seed):
    """The map gives what the scaler gives, on rows that it has not seen too."""
    scaler.fit(_rows(seed))

    n_others, tail = affine_tail([scaler])

    assert n_others == 0
    X = _rows(seed + 2)
    np.testing.assert_allclose(tail(X), scaler.transform(X), rtol=1e-9, atol=1e-9)


@given(st.lists(st.sampled_from(range(len(SCALERS))), min_size=1, max_size=4))
def test_scalers_in_a_row_are_one_map(numbers):
    """Whatever their order."""
    pipe = make_pipeline(*[SCALERS[i] for i in numbers]).fit(_rows())

    _, tail = affine_tail([step for _, step in pipe.steps])

    np.testing.assert_allclose(
        tail(_rows(2)), pipe.transform(_rows(2)), rtol=1e-8, atol=1e-8
    )


def test_a_constant_fills_too():
    """Its statistics are objects, as they may be texts."""
    X = _rows()
    X[::3, 1] = np.nan
    imputer = SimpleImputer(strategy="constant", fill_value=7).fit(X)

    n_others, tail = affine_tail([imputer])

    assert n_others == 0
    np.testing.assert_allclose(tail(X), imputer.transform(X))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_missing_values_are_filled_where_the_imputer_stands(place):
    """Before, between or behind scalers; a second imputer finds nothing to do."""
    X = _rows()
    X[::3, 0] = X[1::4, 1] = np.nan
    steps = [StandardScaler(), RobustScaler()]
    steps.insert(place, SimpleImputer(strategy="median"))
    pipe = make_pipeline(*steps, SimpleImputer(strategy="mean")).fit(X)

    n_others, tail = affine_tail([step for _, step in pipe.steps])

    assert n_others == 0
    np.testing.assert_allclose(tail(X), pipe.transform(X), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "other",
    [
        MinMaxScaler(clip=True),
        SimpleImputer(add_indicator=True),
        SimpleImputer(missing_values=0),
        VarianceThreshold(),
        type("MyScaler", (StandardScaler,), {})(),
    ],
    ids=["clipping", "indicator", "zeros", "selection", "subclass"],
)
def test_what_is_no_affine_map_is_left_alone(other):
    """Clipping, indicators and code of others stay transformers."""
    steps = [other.fit(_rows()), None, StandardScaler().fit(_rows()), "passthrough"]

    n_others, tail = affine_tail(steps)

    assert n_others == 2
    assert tail is not None
    assert affine_tail([steps[2], other]) == (2, None)


def test_columns_without_a_value_are_left_alone():
    """An imputer drops them, a scaler has no mean of them."""
    X = _rows()
    X[:, 1] = np.nan
    with np.errstate(invalid="ignore"):
        scaler, imputer = StandardScaler().fit(X), SimpleImputer().fit(X)

    assert affine_tail([scaler]) == (1, None)
    assert affine_tail([imputer]) == (1, None)


def test_of_more_transformers_the_last_scalers_count():
    """What comes before them is not looked at."""
    pipe = make_pipeline(StandardScaler(), PolynomialFeatures(), MinMaxScaler())
    pipe.fit(_rows())

    n_others, tail = affine_tail([step for _, step in pipe.steps])

    assert n_others == 2
    inner = pipe[:2].transform(_rows())
    np.testing.assert_allclose(tail(inner), pipe.transform(_rows()), atol=1e-12)


def test_one_map_is_near_to_another():
    """Scale and shift lead from what one gives to what the other gives."""
    first, second = (affine_tail([StandardScaler().fit(_rows(seed))])[1] for seed in (0, 2))

    scale, shift = second.relative_to(first)

    X = _rows(4)
    np.testing.assert_allclose(first(X) * scale + shift, second(X), atol=1e-11)


def test_a_map_of_columns_far_from_zero_keeps_its_digits():
    """A million standard deviations from 0, the error is that of the scaler."""
    X = 1e6 + np.random.default_rng(0).normal(size=(50, 2))
    scaler = StandardScaler().fit(X)

    _, tail = affine_tail([scaler])

    np.testing.assert_allclose(tail(X), scaler.transform(X), rtol=1e-12, atol=1e-15)
