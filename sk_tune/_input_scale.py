# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Location and spread of a network's input features, recorded by searches for diagnosis.

The features are measured after the transformers of a pipeline, on training samples.  Codes
of categories have no scale and are left out.
"""

import warnings
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from sk_tune._numerical_embedding import PiecewiseLinear, as_embedding
from sk_tune._types import Array, Bools, Floats

# Rows and values are sampled: quartiles of this many are accurate, and take milliseconds.
_MOST_ROWS = 5_000
_MOST_VALUES = 2_000_000
_MOST_SEQUENCES = 500
_MOST_FEATURES = 2_000
# Ratio of the normal distribution's interquartile range to its standard deviation.
_NORMAL_IQR = 1.349


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InputScale:
    """Statistics of input features, (D,): columns of a table, or channels."""

    names: tuple[str, ...]
    mean: Floats
    std: Floats
    bulk: Floats  # interquartile range in standard deviations of a normal distribution
    reach: Floats  # largest distance from the mean in standard deviations
    is_table: bool  # a column scaler can precede the network
    is_sparse: bool = False
    has_codes: bool = False  # further columns are codes of categories


def is_binned(numerical_embedding: Any) -> bool:
    """Return whether a network bins its numbers, so that their scale has no effect."""
    return isinstance(as_embedding(numerical_embedding), PiecewiseLinear)


def input_scale(X: Any, network: Any, rows: Any = None) -> InputScale | None:
    """Return the scale of X at `rows`; None if the network bins X, or X has no numbers."""
    if is_binned(getattr(network, "numerical_embedding", None)):
        return None
    try:
        sample = _sampled(X, rows)
        names, values = _features(sample, network)
        codes = _codes(sample, names, network)
        features = np.flatnonzero(~codes)
        features = features[:: -(-len(features) // _MOST_FEATURES) or 1]
        values = np.array(values[:, features], dtype=np.float64)
    except (TypeError, ValueError, IndexError):
        # Fit will report the error in the data.
        return None
    if not values.size:
        return None
    values[~np.isfinite(values)] = np.nan
    # Columns without numbers have no statistics.
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        mean, std = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        low, high = np.nanpercentile(values, (25, 75), axis=0)
        reach = np.nanmax(np.abs(values - mean), axis=0) / std
    return InputScale(
        names=tuple(str(names[i]) for i in features),
        mean=np.nan_to_num(mean),
        std=np.nan_to_num(std),
        bulk=np.nan_to_num((high - low) / _NORMAL_IQR),
        reach=np.nan_to_num(reach, posinf=0.0),
        is_table=not isinstance(sample, list) and sample.ndim == 2,
        is_sparse=sparse.issparse(X),
        has_codes=bool(codes.any()),
    )


def _sampled(X: Any, rows: Any) -> Any:
    """Return evenly spaced rows of X as a table, an array or a list of sequences."""
    if hasattr(X, "to_pandas"):
        X = X.to_pandas()
    if isinstance(X, list) and len({np.shape(x) for x in X[:_MOST_SEQUENCES]}) == 1:
        X = np.asarray(X)
    if not isinstance(X, pd.DataFrame | np.ndarray | list) and not sparse.issparse(X):
        X = np.asarray(X)
    n = len(X) if isinstance(X, list) else X.shape[0]
    rows = np.arange(n) if rows is None else np.asarray(rows)
    rows = np.flatnonzero(rows) if rows.dtype == bool else rows
    most = _MOST_SEQUENCES
    if not isinstance(X, list):
        most = max(100, min(_MOST_ROWS, _MOST_VALUES // max(prod(X.shape[1:]), 1)))
    rows = rows[:: -(-len(rows) // most) or 1]
    if isinstance(X, pd.DataFrame):
        return X.iloc[rows]
    if isinstance(X, list):
        return [np.asarray(X[row]) for row in rows]
    return X.tocsr()[rows].toarray() if sparse.issparse(X) else X[rows]


def _features(X: Any, network: Any) -> tuple[list[Any], Any]:
    """Return names of D features and their values, (n, D); positions count as samples."""
    if isinstance(X, pd.DataFrame):
        return list(X.columns), X.to_numpy()
    if isinstance(X, list):
        # Sequences of unequal length.
        values = np.concatenate([x.reshape(len(x), -1) for x in X])
    else:
        values = _channels_last(X, network)
    kind = "column" if not isinstance(X, list) and X.shape == values.shape else "channel"
    return [f"{kind} {i}" for i in range(values.shape[1])], values


def _channels_last(X: Array, network: Any) -> Array:
    """Return samples with a column per channel and a row per position; tables unchanged."""
    has_time_last = getattr(network, "_time_is_last", True)
    if X.ndim == 2:
        shape = getattr(network, "input_shape", None)
        # Flat samples of CNNs and RNNs are one channel unless input_shape has more.
        is_table = not (hasattr(network, "n_channels") or hasattr(network, "cell"))
        if shape is None or len(np.atleast_1d(shape)) < (3 if has_time_last else 2):
            return X if is_table and shape is None else X.reshape(-1, 1)
        X = X.reshape(len(X), *shape)
    axis = 1 if has_time_last else -1
    return np.moveaxis(X, axis, -1).reshape(-1, X.shape[axis])


def _codes(X: Any, names: list[Any], network: Any) -> Bools:
    """Return the mask of category codes, by dtype or the network's parameter."""
    dtypes = X.dtypes if isinstance(X, pd.DataFrame) else names
    mask = np.array([isinstance(kind, pd.CategoricalDtype) for kind in dtypes], dtype=bool)
    columns = getattr(network, "categorical_features", None)
    if columns is not None and not isinstance(columns, str):
        is_named = np.asarray(columns).dtype.kind not in "biu"
        mask[np.isin(np.array(names, object), columns) if is_named else columns] = True
    return mask
