# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Columns of floats, integers or truth values, handled all at once.

pandas takes longer to return one column than numpy to compute with a hundred rows of it,
so tables of thousands of columns, such as spectra, are slow column by column.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd

from sk_tune._types import Floats, Ints


class PlainNumbers(NamedTuple):
    """Columns whose dtype is numpy's for floats, integers or truth values.

    `values`, (n_samples, n_columns), are float64, NaN where missing or infinite.
    """

    names: list[str]
    values: Floats

    @classmethod
    def of(cls, X: pd.DataFrame) -> Self:
        """Return the columns of a table that have such a dtype."""
        dtypes = X.dtypes.to_numpy()
        are_plain = {dtype: _is_plain(dtype) for dtype in set(dtypes)}
        is_plain = np.array([are_plain[dtype] for dtype in dtypes], dtype=bool)
        part = X if is_plain.all() else X.loc[:, is_plain]
        # Each column is contiguous, as in pandas: otherwise sums differ in the last bit.
        values = np.array(part.to_numpy(dtype=np.float64), order="F")
        values[~np.isfinite(values)] = np.nan
        # Iterating over an index of text is slow.
        return cls(part.columns.tolist(), values)

    def frame_with(self, values: Mapping[str, Any], index: pd.Index) -> pd.DataFrame:
        """Return a table of the columns that `values` names, those of this object first.

        The values of other columns are taken from `values`.
        """
        is_named = np.array([name in values for name in self.names], dtype=bool)
        names = [name for name in self.names if name in values]
        numbers = self.values if is_named.all() else self.values.T[is_named].T
        frame = pd.DataFrame(numbers, columns=names, index=index, copy=False)
        of_self = set(names)
        extra = {name: column for name, column in values.items() if name not in of_self}
        if not extra:
            return frame
        extra_frame = pd.DataFrame(extra, index=index, copy=False)
        return pd.concat([frame, extra_frame], axis=1) if names else extra_frame


def _is_plain(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "fiub"


def extremes(values: Floats) -> tuple[Floats, Floats]:
    """Return the smallest and the largest value of each column; NaN without any value."""
    low = np.fmin.reduce(values, axis=0, initial=np.nan)
    return low, np.fmax.reduce(values, axis=0, initial=np.nan)


def different_values(values: Floats) -> Ints:
    """Return the number of different values of each column, at most 3; NaN is none."""
    low, high = extremes(values)
    is_end = (values == low) | (values == high) | np.isnan(values)
    n_values: Ints = (~np.isnan(low)).astype(np.intp) + (low < high) + ~is_end.all(axis=0)
    return n_values


def percentiles(values: Floats, orders: Sequence[float]) -> Floats:
    """Return percentiles of each column, (n_orders, n_columns); NaN without any value.

    As ``numpy.nanpercentile``, which takes each column by itself if a value is missing.
    """
    is_missing = np.isnan(values)
    if not is_missing.any():
        return np.percentile(values, orders, axis=0)
    ordered = np.sort(values, axis=0)
    last = np.maximum(len(values) - is_missing.sum(axis=0) - 1, 0)
    places = last * np.true_divide(orders, 100)[:, np.newaxis]
    below = np.floor(places).astype(np.intp)
    low, high = (
        np.take_along_axis(ordered, np.minimum(rows, last), axis=0)
        for rows in (below, below + 1)
    )
    part, width = places - below, high - low
    # From the nearer end, as numpy does, so that the result is the same to the last bit.
    between: Floats = np.where(part < 0.5, low + width * part, high - width * (1 - part))
    return between


def unique_counts(values: Floats) -> Ints:
    """Return the number of different values of each column; NaN is none."""
    ordered = np.sort(values, axis=0)
    has_values = ~np.isnan(ordered[:1])
    counts: Ints = has_values.sum(axis=0) + (ordered[1:] > ordered[:-1]).sum(axis=0)
    return counts
