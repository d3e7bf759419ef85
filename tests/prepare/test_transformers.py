"""Transformers for one kind of column each."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.preprocessing import RobustScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from sk_tune.prepare import SmoothClipScaler
from sk_tune.prepare._transformers import CategoryCodes, circle_names, circles


def _fitted(texts, **options):
    return CategoryCodes(**{"min_frequency": 2, "max_codes": 255, **options}).fit(
        pd.DataFrame({"a": texts})
    )


def _codes(encoder, *texts):
    return encoder.transform(pd.DataFrame({"a": texts})).ravel().tolist()


def test_rare_and_unknown_categories_are_zero():
    """Wherever the rare ones stand among the others."""
    encoder = _fitted(["b", "a", "c", "d"] + ["b", "d"] * 5)

    assert _codes(encoder, "a", "b", "c", "d", "new") == [0, 1, 0, 2, 0]
    assert encoder.n_categories_ == [3]


def test_only_the_most_frequent_have_codes_where_there_are_too_many():
    """The number of codes is kept, with the 0."""
    encoder = _fitted([f"c{i % 50}" for i in range(500)] + ["c7"] * 9, max_codes=10)

    codes = _codes(encoder, *(f"c{i}" for i in range(50)))

    assert encoder.n_categories_ == [10]
    assert sorted(set(codes)) == list(range(10))
    assert codes[7] != 0


DATES = st.datetimes(pd.Timestamp("1700-01-01"), pd.Timestamp("2200-01-01"))


def _days(*texts):
    return [
        [(pd.Timestamp(text) - pd.Timestamp(0)) / pd.Timedelta(days=1)] for text in texts
    ]


@given(date=DATES)
def test_places_are_those_of_the_calendar(date):
    """The angles are those that pandas' day of the year, weekday and time of day give."""
    time = pd.Timestamp(date).floor("s")
    day = (time - time.normalize()) / pd.Timedelta(days=1)
    shares = [
        (time.day_of_year - 1 + day) / (366 if time.is_leap_year else 365),
        (time.day_of_week + day) / 7,
        day,
    ]

    found = circles(_days(time))[0]

    expected = [f(2 * np.pi * share) for share in shares for f in (np.sin, np.cos)]
    # A double holds days of 2200 to about 1e-11, of which a circle has 6.3 in one.
    assert found == pytest.approx(expected, abs=1e-6)


def test_neighbours_on_the_circle_are_near():
    """New Year's Eve is next to New Year, as numbers and not as words."""
    eve, new_year, summer = circles(_days("2025-12-31", "2026-01-01", "2026-07-01"))[:, :2]

    assert np.linalg.norm(eve - new_year) < 0.02
    assert np.linalg.norm(summer - new_year) > 1.9


def test_days_without_an_hour_have_one_place_in_the_day():
    """No rounding makes a column of it."""
    places = circles(_days(*pd.date_range("1960-01-01", periods=999)))

    assert (places[:, 4:] == [0.0, 1.0]).all()


def test_missing_dates_have_no_place():
    """They stay NaN, each date by itself."""
    places = circles([[np.nan, 3.5]])

    assert np.isnan(places[0, :6]).all()
    assert np.isfinite(places[0, 6:]).all()


def test_the_columns_have_names():
    """Date, circle and function, in the order of the columns."""
    names = circle_names(None, ["a", "b"])

    assert len(names) == circles([[0.0, 0.0]]).shape[1]
    assert names[:2] == ["a_year_sin", "a_year_cos"]
    assert names[-1] == "b_day_cos"


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
