"""Places of dates in the year, the week and the day."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_tune.prepare._transformers import circle_names, circles

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
