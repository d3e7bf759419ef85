# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Values far from all others: typing errors, codes for a missing value, heavy tails.

Notation: z is a value's distance from the median in robust standard deviations, 1.4826
times the median absolute deviation, which is the standard deviation of normal values.

References
----------
.. [1] P. J. Rousseeuw, M. Hubert. Robust statistics for outlier detection. Wiley
   Interdisciplinary Reviews: Data Mining and Knowledge Discovery 1(1):73-79, 2011.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from sk_tune.diagnosis._check import share
from sk_tune.diagnosis._leak_checks import LEAK_CHECKS, LeakTable
from sk_tune.diagnosis._records import Finding

__all__ = ["Outliers", "check_outliers", "outliers_of"]

Floats = npt.NDArray[np.float64]

FEWEST_ROWS = 20
# Fewer values, or one that so large a part of the rows has, are no scale to measure by.
FEWEST_VALUES = 10
LUMP = 0.25
# Far from the median.  What is skewed by nature has a few such values, so they must also
# stand apart (the nearest so many times nearer, and nearer than ALONE), or make the
# standard deviation so many times that of the others that these become next to equal once
# they are standardised.
FAR, ALONE = 10.0, 20.0
GAP = 4.0
WIDENED = 5.0
# As a share of a column's rows; more of them are no outliers, but how the column is.
MOST = 0.05
# Of normal values by the median absolute deviation, and by the quartiles' distance.
_NORMAL_MAD, _NORMAL_IQR = 1.4826, 1.349
_MOST_NAMES = 3


@dataclass(frozen=True, slots=True)
class Outliers:
    """The outliers of one column.

    `rows`, (n_samples,), marks them; `furthest` is the largest robust z score, `widened`
    the ratio of the standard deviation to the robust one.
    """

    rows: npt.NDArray[np.bool_]
    furthest: float
    widened: float


def check_outliers(table: LeakTable) -> Finding:
    """Look for single values that are far from all others of their column.

    A tip if there are some, of medium severity among the targets of a regression.
    """
    check = LEAK_CHECKS["outliers"]
    columns = {repr(name): column for name, column in table.numbers.items()}
    targets: dict[str, pd.Series] = {}
    if not table.is_classification:
        flat = pd.DataFrame(table.y.reshape(len(table.y), -1))
        targets = {
            "the target" if flat.shape[1] == 1 else f"target {k}": flat[k] for k in flat
        }
    found = {name: outliers_of(own) for name, own in {**columns, **targets}.items()}
    looked_at = {name: own for name, own in found.items() if own is not None}
    if not looked_at:
        return check.not_applicable("There is no column of many different numbers.")
    guilty = {name: own for name, own in looked_at.items() if own.rows.any()}
    furthest = max(own.furthest for own in looked_at.values())
    evidence = {"columns": len(guilty), "furthest": furthest}
    if not guilty:
        return check.passed("No single values are far from all others.", evidence)
    part = float(np.any([own.rows for own in guilty.values()], axis=0).mean())
    evidence |= {"share": part, "widened": max(o.widened for o in guilty.values())}
    names = sorted(guilty, key=lambda name: -guilty[name].furthest)
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    is_in_target = any(name in targets for name in names)
    return check.tip(
        "medium" if is_in_target else "low",
        f"{share(part)} of the rows have values far from all others, up to "
        f"{furthest:.0f} robust standard deviations, in {', '.join(names[:_MOST_NAMES])}"
        f"{more}.",
        evidence,
        _remedy(is_in_target=is_in_target, is_in_features=set(names) != set(targets)),
    )


def outliers_of(column: "pd.Series[float]") -> Outliers | None:
    """Return which values of a column are outliers; missing and infinite ones are ignored.

    None for columns without a scale: few samples, few different values, or one value that a
    quarter of the samples has.

    >>> ages = pd.Series([*range(20, 70), 999])
    >>> np.flatnonzero(outliers_of(ages).rows).tolist()
    [50]
    """
    values = column.to_numpy(dtype=np.float64)
    is_finite = np.isfinite(values)
    known = values[is_finite]
    kinds, counts = np.unique(known, return_counts=True)
    if len(known) < FEWEST_ROWS or len(kinds) <= FEWEST_VALUES:
        return None
    if counts.max() > LUMP * len(known):
        return None
    middle = float(np.median(known))
    deviation = _NORMAL_MAD * float(np.median(np.abs(known - middle)))
    if deviation == 0.0:
        deviation = float(np.subtract(*np.quantile(known, [0.75, 0.25]))) / _NORMAL_IQR
    if deviation == 0.0:
        return None
    z = np.full(len(values), 0.0)
    z[is_finite] = np.abs(known - middle) / deviation
    limit = _limit(z[is_finite])
    widened = float(known.std()) / deviation
    return Outliers(rows=z >= limit, furthest=float(z.max()), widened=widened)


def _limit(z: Floats) -> float:
    """Return the least z of an outlier; infinite if there is none."""
    z = np.sort(z)
    top = z[int((1 - MOST) * len(z)) :]
    if top[0] >= FAR:
        return np.inf
    # Nobody is alone among those who are where most are.
    apart = top[1:] >= GAP * np.maximum(top[:-1], ALONE / GAP)
    limit = float(top[1:][apart][0]) if apart.any() else np.inf
    # Of what does not stand apart, the second moment about the median, which is about the
    # square of the standard deviation.
    return FAR if float(np.sqrt(np.mean(z[z < limit] ** 2))) > WIDENED else limit


def _remedy(*, is_in_target: bool, is_in_features: bool) -> str:
    texts = ["Look at these rows: a typing error, a code for a missing value, or real?"]
    if is_in_features:
        texts.append(
            'Scale real ones by TablePreparer(numeric="smooth_clip") or RobustScaler.'
        )
    if is_in_target:
        texts.append(
            "Train on a target without a long tail, by TransformedTargetRegressor with a "
            "logarithm or quantiles, or a network with loss='huber' or 'absolute_error', "
            "which errors enter linearly."
        )
    return " ".join(texts)
