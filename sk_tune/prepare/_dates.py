# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Places in the year, the week and the day as points on circles.

A place on a circle is given by its sine and cosine, so that December is next to January
and Sunday next to Monday.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["circle_names", "circles"]

Floats = npt.NDArray[np.float64]

_CIRCLES = ("year", "week", "day")
_MS_PER_DAY = 24 * 60 * 60 * 1000
_DAYS_PER_WEEK = 7
_THURSDAY = 3  # Of 1970-01-01, where Monday is 0.
_DIGITS = 9  # A millisecond is some 2e-10 of a year on its circle, and 7e-8 of a day.


def circles(days: Any) -> Floats:
    """Return sines and cosines of the places of times in the year, the week and the day.

    Parameters
    ----------
    days : array-like of shape (n_samples, n_dates)
        Days since 1970-01-01, as ``read_values`` gives them; NaN is missing.

    Returns
    -------
    ndarray of shape (n_samples, 6 * n_dates)
        For each date and each circle, the sine and the cosine; NaN where missing.

    Examples
    --------
    A Monday at noon is at the start of the week's circle and opposite that of the day.

    >>> monday_noon = 4.5  # 1970-01-05 12:00
    >>> week_and_day = circles([[monday_noon]])[0, 2:]
    >>> week_and_day.round(2).tolist()
    [0.43, 0.9, 0.0, -1.0]
    """
    days = np.asarray(days, dtype=np.float64)
    # (N, dates, circles); whole milliseconds, or noon might come out a little before it.
    days = np.round(days * _MS_PER_DAY) / _MS_PER_DAY
    share = np.stack(
        [
            _share_of_year(days),
            (days + _THURSDAY) % _DAYS_PER_WEEK / _DAYS_PER_WEEK,
            days % 1,
        ],
        axis=-1,
    )
    angles = 2 * np.pi * share
    # Trees would split what differs in the last bit, which is noise, and other on each
    # machine.
    both: Floats = np.stack([np.sin(angles), np.cos(angles)], axis=-1).round(_DIGITS)
    return both.reshape(len(days), -1)


def circle_names(_: Any, names: Any) -> list[str]:
    """Return the names of the columns that ``circles`` makes.

    Parameters
    ----------
    _ : object
        The transformer that asks, as scikit-learn's ``FunctionTransformer`` gives it.
    names : array-like of str
        Names of the dates.

    Returns
    -------
    list of str
        Six for each date.
    """
    return [
        f"{name}_{circle}_{function}"
        for name in names
        for circle in _CIRCLES
        for function in ("sin", "cos")
    ]


def _share_of_year(days: Floats) -> Floats:
    missing = np.isnan(days)
    whole = np.where(missing, 0, np.floor(days)).astype("datetime64[D]")
    start = whole.astype("datetime64[Y]")
    length = ((start + 1).astype("datetime64[D]") - start.astype("datetime64[D]")).astype(
        int
    )
    passed = days - start.astype("datetime64[D]").astype(np.int64)
    share: Floats = np.where(missing, np.nan, passed / length)
    return share
