# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Whether two fits are the same: same parameters, same bytes of data.

Pure functions; what cannot be read is never equal to anything, so that it is trained.
"""

from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from joblib.hashing import NumpyHasher
from sklearn.base import BaseEstimator
from skorch.callbacks import Callback
from torch import Tensor

Array = npt.NDArray[Any]

# Bytes of an array that its hash looks at, beside their sum.
_N_SAMPLED = 256


def data_fingerprint(data: Any) -> Any:
    """Return a key that is equal for equal features, targets or weights.

    The key of an array holds the array, and is good until the array is written to.
    """
    if data is None:
        return None
    if isinstance(data, Tensor):
        return (Tensor, data_fingerprint(data.detach().cpu().numpy()))
    if isinstance(data, np.ndarray) and not data.dtype.hasobject:
        return _ArrayKey(data)
    return (type(data), _hash_of(data))


def params_fingerprint(estimator: BaseEstimator, *, without: str = "") -> Any:
    """Return a key that is equal for estimators that train alike, but for one parameter."""
    # skorch counts every attribute, also those that scikit-learn's callbacks set.
    params = {
        name: value
        for name, value in estimator.get_params(deep=False).items()
        if name != without and not name.startswith("_")
    }
    values = tuple(
        (name, value_fingerprint(value)) for name, value in sorted(params.items())
    )
    return (type(estimator), values)


def value_fingerprint(value: Any) -> Any:
    """Return a key that is equal for equal values of a parameter.

    It is equal to no other if the value cannot be read.
    """
    if value is None or isinstance(value, bool | int | float | str | type):
        return (type(value), value)
    if isinstance(value, FunctionType | BuiltinFunctionType):
        return value
    return _hash_of(value)


def _hash_of(value: Any) -> Any:
    try:
        return _Hasher("md5").hash(value)
    except Exception:  # noqa: BLE001 - whatever pickling raises
        return object()


class _Hasher(NumpyHasher):  # type: ignore[misc]
    """joblib's, for values that act alike where their pickles differ.

    Torch pickles a tensor by its address, and a callback of skorch keeps what it met.
    """

    def save(self, obj: Any) -> None:
        if isinstance(obj, Callback) and type(obj).__module__.startswith("skorch."):
            obj = (type(obj), obj.get_params(deep=False))
        if isinstance(obj, Tensor) and obj.layout == torch.strided:
            bits = obj.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            form = (type(obj), str(obj.dtype), tuple(obj.shape), str(obj.device))
            obj = (*form, obj.requires_grad, bits.numpy())
        super().save(obj)


class _ArrayKey:
    """Equal to the key of an array of the same bytes in C order.

    Two arrays are compared some twenty times faster than one is digested; the hash, which
    sees few of the bytes, only spares most comparisons of different arrays.
    """

    __slots__ = ("_bytes", "_form", "_hash")

    def __init__(self, array: Array) -> None:
        self._form = (array.shape, array.dtype.str)
        self._bytes = _bytes_of(array)
        n_words = len(self._bytes) // 8
        total = int(self._bytes[: 8 * n_words].view(np.uint64).sum())
        # Odd, so that not only equal bytes of all numbers are seen.
        step = len(self._bytes) // _N_SAMPLED | 1
        self._hash = hash((self._form, total, self._bytes[::step].tobytes()))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _ArrayKey)
            and self._hash == other._hash
            and self._form == other._form
            and np.array_equal(self._bytes, other._bytes)
        )


def _bytes_of(array: Array) -> npt.NDArray[np.uint8]:
    if array.nbytes == 0:
        return np.empty(0, np.uint8)
    return np.ascontiguousarray(array).reshape(-1).view(np.ndarray).view(np.uint8)
