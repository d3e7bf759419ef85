# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Encoded samples, and a canonical form of equivalent data sets.

A full-batch step depends on the samples and their weights, not on their order or on whether
a weight of 2 is written as two samples.  In float32, however, the order of a sum changes
its last bits.  The canonical form makes equivalent data sets give bit-identical networks.
"""

import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from scipy import sparse
from skorch.helper import SliceDict
from torch import Tensor

from sk_tune._compat import safe_indexing
from sk_tune._epochs import stops_early
from sk_tune._training import LARGE_SAMPLES, TensorSet, rows_as_tensor
from sk_tune._types import Array

# Bytes of X from which on it is not copied, and shared by folds.
LARGE = 2**24
# Targets, orders and parts of the samples, for each sample; measured.
_BYTES_OF_PLACES = 100


class Samples(NamedTuple):
    """Checked and encoded samples: X, targets and weights; weights of None are equal."""

    X: Array
    target: Array
    weight: Array | None

    def take(self, index: Array | slice) -> Self:
        """Return the samples at `index`: copies, or views if `index` is a slice."""
        weight = None if self.weight is None else self.weight[index]
        return self._replace(X=self.X[index], target=self.target[index], weight=weight)


class EncodedData(NamedTuple):
    """Encoded data of an estimator, shared by fits with the same data parameters."""

    rows: Samples
    y: Array  # targets before encoding, for splits and class weights
    X: Tensor  # on the device, as `target`
    target: Tensor
    places: Tensor | None = None  # of `rows` in X and `target`


def n_bytes(rows: Any) -> int:
    """Return the bytes of samples in any container."""
    if hasattr(rows, "memory_usage"):
        return int(np.sum(rows.memory_usage(deep=False)))
    if hasattr(rows, "estimated_size"):
        return int(rows.estimated_size())
    # The buffer of an array of dates has no view.
    holder = rows if hasattr(rows, "nbytes") else getattr(rows, "data", rows)
    return int(getattr(holder, "nbytes", 0))


def memory_of_fit(network: Any, X: Any, dtype: str) -> int | None:
    """Return the bytes that a fit needs on top of X; None if X is small or sparse."""
    if sparse.issparse(X) or n_bytes(X) < LARGE_SAMPLES:
        return None
    is_shared = isinstance(X, np.ndarray) and X.dtype == dtype and X.flags.c_contiguous
    # The loop of nets with callbacks copies the samples that are not held out.
    has_callbacks = bool(network.verbose or network.callbacks)
    n_copies = (not is_shared) + (has_callbacks and stops_early(network, len(X)))
    encoded = math.prod(X.shape) * getattr(torch, dtype).itemsize
    return int(n_copies * encoded + _BYTES_OF_PLACES * len(X))


def samples_that_count(weight: Array | None, index: Array | None) -> Array | None:
    """Return the positions, among `index`, of samples with a nonzero weight in float32."""
    if weight is None:
        return index
    weight = weight if index is None else weight[index]
    if not weight.any():
        raise ValueError(
            "sample_weight and class_weight must leave rows to train and to validate on. "
            f"Got {len(weight)} rows, all with weight 0."
        )
    counts = weight > weight.max() * np.finfo(np.float32).tiny
    if counts.all():
        return index
    positions: Array = np.flatnonzero(counts) if index is None else index[counts]
    return positions


def merge_equal_samples(samples: Samples) -> Samples:
    """Merge samples that are equal in X and target, adding their weights, in sorted order.

    >>> samples = Samples(np.array([[2.0], [1.0], [2.0]]), np.array([0, 1, 0]), None)
    >>> [a.tolist() for a in merge_equal_samples(samples)]
    [[[1.0], [2.0]], [1, 0], [1.0, 2.0]]
    """
    X, target, weight = samples
    if sparse.issparse(X):
        X = X.toarray()  # type: ignore[attr-defined]
    flat = np.nan_to_num(X.reshape(len(X), -1), nan=np.inf)
    keys = np.column_stack([flat, target.reshape(len(X), -1)])
    _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    weight = np.ones(len(X)) if weight is None else weight
    merged = np.bincount(group.ravel(), weights=weight)
    return Samples(X[first], target[first], merged)


def repeat_by_weight(samples: Samples) -> Samples | None:
    """Write an integer weight k as k equal samples, for networks with batch statistics.

    None if a weight is not an integer, or the result would have over ten times the samples.
    """
    weight = samples.weight
    if weight is None:
        return samples
    if (weight % 1).any() or weight.sum() > 10 * len(weight):
        return None
    index = np.arange(len(weight)).repeat(weight.astype(int))
    return samples.take(index)._replace(weight=None)


def to_tensor(values: Array, dtype: str, device: str | torch.device) -> Tensor:
    """Return an array as a tensor, or a sparse table in a form that yields tensors."""
    if sparse.issparse(values):
        table: Tensor = rows_as_tensor(values, dtype, device)
        return table
    if values.dtype.kind == "f":
        values = values.astype(dtype, copy=False)
    values = np.ascontiguousarray(values)
    if values.flags.writeable:
        return torch.from_numpy(values).to(device)
    # Torch warns about read-only arrays, but users' modules get copies of their batches.
    if values.nbytes < LARGE:
        return torch.from_numpy(values.copy()).to(device)
    with warnings.catch_warnings(action="ignore"):
        return torch.from_numpy(values).to(device)


def placed(values: Tensor, places: Tensor, n_samples: int) -> Tensor:
    """Return `n_samples` values: `values` at their places, and 0 elsewhere."""
    every = values.new_zeros((n_samples, *values.shape[1:]))
    every[places] = values
    return every


def to_set(
    X: Tensor,
    target: Tensor,
    weight: Array | None,
    index: Array | None,
    places: Tensor | None = None,
) -> TensorSet:
    """Return the samples at `index` (at ``places[index]`` of X) for training."""
    rows = None if index is None else torch.from_numpy(index).to(X.device)
    if places is not None:
        rows = places if rows is None else places[rows]
    if weight is None:
        return TensorSet(X, target, index=rows)
    used = weight if index is None else weight[index]
    # Equal weights give the same bits as no weights.
    if (used == used[0]).all():
        return TensorSet(X, target, index=rows)
    # Only ratios matter; unscaled weights might overflow or vanish in float32.
    dtype = str(X.dtype).removeprefix("torch.")
    scaled = to_tensor(weight / used.max(), dtype, X.device)
    if places is not None:
        scaled = placed(scaled, places, len(X))
    return TensorSet(X, target, scaled, rows)


def is_dict(X: Any) -> bool:
    """Return whether X is a dict of arrays; some sparse tables of scipy are dicts, too."""
    return isinstance(X, Mapping) and not sparse.issparse(X)


def as_sliceable(X: Any) -> Any:
    """Return a plain dict of arrays as a dict that can be split into folds; else X."""
    return SliceDict(**X) if type(X) is dict else X


def take_rows(data: Any, rows: Array | None) -> Any:
    """Return the samples of any container at the positions `rows`, all if None."""
    if data is None or rows is None:
        return data
    # Torch does not take index arrays of negative stride.
    return safe_indexing(data, np.ascontiguousarray(rows))
