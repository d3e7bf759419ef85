# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Digests of arrays, tensors, frames and sparse matrices: by type, form and every value.

How data lie in memory, in a file or on a device does not count, since nothing that is
computed from them depends on it.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse
import torch
from torch import Tensor

__all__ = ["array_digest", "data_digest", "sha256"]

Array = npt.NDArray[Any]
ValueDigest = Callable[[Any], str]


def sha256(*parts: str | bytes | memoryview) -> str:
    """Return the hexadecimal digest of texts and bytes, each counted with its length."""
    digest = hashlib.sha256()
    for part in parts:
        own = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(b"%d:" % len(own))
        digest.update(own)
    return digest.hexdigest()


def data_digest(data: Any, value_digest: ValueDigest) -> str | None:
    """Return a digest of a container of data; None if it is of no known kind.

    `value_digest` is called with the Python objects that a container holds.
    """
    if isinstance(data, Tensor):
        return _tensor_digest(data)
    if isinstance(data, np.ma.MaskedArray):
        parts = [data.data, np.ma.getmaskarray(data)]
        return sha256("masked", *(array_digest(part, value_digest) for part in parts))
    if isinstance(data, np.ndarray):
        return array_digest(data, value_digest)
    if isinstance(data, pd.Series | pd.Index):
        return sha256("series", *_column_parts(pd.Series(data), data.name, value_digest))
    if isinstance(data, pd.DataFrame):
        columns = ((data.columns[i], data.iloc[:, i]) for i in range(data.shape[1]))
        own = (part for n, c in columns for part in _column_parts(c, n, value_digest))
        return sha256("frame", str(data.shape), *own)
    if scipy.sparse.issparse(data):
        # In one order, and with indices of one type, whatever a slice of it had.
        entries = data.tocoo().tocsr() if data.ndim == 2 else data.tocoo(copy=True)
        entries.sum_duplicates()
        places = [part.astype(np.int64) for part in entries.tocoo().coords]
        parts = [*places, entries.data]
        form = f"{type(data).__name__} {data.shape}"
        return sha256(form, *(array_digest(part, value_digest) for part in parts))
    return _other_frame_digest(data, value_digest)


def array_digest(array: Array, value_digest: ValueDigest) -> str:
    """Return a digest of an array's shape, type and values, in any order of memory."""
    # A record's fields are in its description only.
    kind = array.dtype.descr if array.dtype.names else array.dtype.str
    form = json.dumps([array.shape, str(kind)])
    if array.dtype.hasobject:
        return sha256(form, _objects_digest(array.ravel().tolist(), value_digest))
    data = np.ascontiguousarray(array).reshape(-1).view(np.ndarray)
    return sha256(form, data.view(np.uint8).data if data.nbytes else b"")


def _tensor_digest(tensor: Tensor) -> str:
    own = tensor.detach().cpu().resolve_conj().resolve_neg()
    # By bytes, because numpy has no bfloat16.
    data: Any = b""
    if own.numel():
        data = own.contiguous().reshape(-1).view(torch.uint8).numpy().data
    form = f"tensor {own.dtype} {tuple(own.shape)} {tensor.requires_grad}"
    return sha256(form, data)


def _objects_digest(items: list[Any], value_digest: ValueDigest) -> str:
    if all(type(item) is str for item in items):
        lengths = np.fromiter(map(len, items), dtype=np.int64, count=len(items))
        return sha256("texts", lengths.view(np.uint8).data, "".join(items))
    return value_digest(items)


def _column_parts(column: Any, name: Any, value_digest: ValueDigest) -> Iterable[str]:
    """Return digests of a column of pandas: its name, its type, its values."""
    kind = column.dtype
    yield value_digest(name)
    yield str(kind)
    if isinstance(kind, pd.CategoricalDtype):
        # Their order decides how an encoder numbers them.
        yield str(kind.ordered)
        yield sha256(*_column_parts(pd.Series(kind.categories), None, value_digest))
        yield array_digest(column.cat.codes.to_numpy(), value_digest)
        return
    if isinstance(kind, np.dtype):
        yield array_digest(column.to_numpy(), value_digest)
        return
    missing = column.isna().to_numpy()
    yield array_digest(missing, value_digest)
    # One missing value is like another in a type of pandas' own.
    yield array_digest(_present(column[~missing]), value_digest)


def _present(column: Any) -> Array:
    kind = getattr(column.dtype, "numpy_dtype", None)
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column, kind = column.dt.tz_convert("UTC").dt.tz_localize(None), None
    elif kind is None:
        kind = object
    array: Array = column.to_numpy(dtype=kind)
    return array


def _other_frame_digest(data: Any, value_digest: ValueDigest) -> str | None:
    """Return a digest of a frame or column of polars or pyarrow."""
    try:
        frame = nw.from_native(data, eager_only=True, allow_series=True)
    except TypeError:
        return None
    kind = type(data)
    form = f"{kind.__module__}.{kind.__qualname__}"
    columns = [frame] if isinstance(frame, nw.Series) else list(frame.iter_columns())
    parts = [str(len(frame))]
    for column in columns:
        present = column.drop_nulls().to_numpy()
        parts += [column.name, repr(column.dtype)]
        parts += [
            array_digest(a, value_digest) for a in (column.is_null().to_numpy(), present)
        ]
    return sha256(form, *parts)
