# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Columns that were scaled with the rows of all folds.

What was scaled over just these rows has exactly the mean, the quartiles or the ends that
the scaler makes; rows that were scaled by others have them only nearly.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from sk_tune.diagnosis._check import share
from sk_tune.diagnosis._leak_checks import LEAK_CHECKS, LeakTable
from sk_tune.diagnosis._records import Finding

__all__ = ["check_scaling"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# What is this near to 0 or 1 was made so.
EXACTLY = 1e-5
# Part of the columns of numbers that were scaled in one way.
MOST_COLUMNS = 0.5
# Where RealMLP's smooth clipping, x / sqrt(1 + (x / 3)^2), ends.
CLIPPED = 3.0
# Where scikit-learn's QuantileTransformer ends its normal distribution.
END = float(-norm.ppf(1e-7))


def check_scaling(table: LeakTable) -> Finding:
    """Look for columns that were scaled with the samples of all folds.

    An issue of low severity if most columns of numbers were.
    """
    check = LEAK_CHECKS["scaled over all rows"]
    numbers: Any = table.numbers.astype(np.float64)
    values = _of_measurements(numbers.loc[:, numbers.nunique() > 2].to_numpy())
    if values.shape[1] == 0 or len(values) < 3:
        return check.not_applicable("There are no columns of numbers.")
    ways = {
        "mean and deviation": _is_standardised(values),
        "median and quartiles": _has_quartiles(values) | _has_quartiles(_unclipped(values)),
        "ends of a normal distribution": _has_normal_ends(values),
    }
    way = max(ways, key=lambda name: ways[name].mean())
    part = float(ways[way].mean())
    evidence = {"share": part, "columns": values.shape[1]}
    if part < MOST_COLUMNS:
        return check.passed("Columns are not scaled to one mean and deviation.", evidence)
    return check.issue(
        "low",
        f"{share(part)} of the columns of numbers have the same {way} over all rows, so "
        "the test rows had a part in scaling them.",
        evidence,
        "Start from the data before they were scaled, and put the scaler in the pipeline.",
    )


def _of_measurements(values: Floats) -> Floats:
    """Leave out pairs of sine and cosine, which nobody scales."""
    if values.shape[1] < 2:
        return values
    radius = np.hypot(values[:, :-1], values[:, 1:])
    pairs = (np.abs(radius - 1) < EXACTLY).all(axis=0)
    on_circle = np.zeros(values.shape[1], dtype=bool)
    on_circle[:-1] |= pairs
    on_circle[1:] |= pairs
    return values[:, ~on_circle]


def _is_standardised(values: Floats) -> Mask:
    means, deviations = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    usual = float(np.median(deviations))
    n = len(values)
    # By n or by n - 1; and to any common deviation, as some data sets are.
    equal = np.abs(deviations / usual - 1) < EXACTLY
    unit = np.abs(deviations - 1) < EXACTLY
    unit |= np.abs(deviations * np.sqrt(n / (n - 1)) - 1) < EXACTLY
    centred = np.abs(means) < EXACTLY * max(usual, 1e-300)
    scaled: Mask = centred & (unit | (equal & (values.shape[1] > 2)))
    return scaled


def _has_quartiles(values: Floats) -> Mask:
    low, middle, high = np.nanquantile(values, [0.25, 0.5, 0.75], axis=0)
    spread = high - low
    # Where quartiles are equal, RealMLP divides by half the range.
    width = np.nanmax(values, axis=0) - np.nanmin(values, axis=0)
    unit = np.where(spread == 0, np.abs(width - 2), np.abs(spread - 1)) < EXACTLY
    # Counts, such as 0, 1 and 2, have such quartiles by themselves.
    is_whole = (np.isnan(values) | (values == np.round(values))).all(axis=0)
    scaled: Mask = (np.abs(middle) < EXACTLY) & unit & ~is_whole
    return scaled


def _unclipped(values: Floats) -> Floats:
    """Return values before smooth clipping, of columns that may have come from it."""
    inside = np.nanmax(np.abs(values), axis=0) <= CLIPPED
    # At the bound itself, the value before would be infinite.
    kept = np.clip(np.where(inside, values, 0.0) / CLIPPED, -1 + 1e-12, 1 - 1e-12)
    unclipped: Floats = CLIPPED * kept / np.sqrt(1 - kept**2)
    return unclipped


def _has_normal_ends(values: Floats) -> Mask:
    lowest, highest = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    ends: Mask = (np.abs(lowest + END) < EXACTLY) & (np.abs(highest - END) < EXACTLY)
    return ends
