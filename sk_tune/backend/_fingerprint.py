# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Whether two fits are the same: same parameters, same bytes of data.

Pure functions; what cannot be read is never equal to anything, so that it is trained.
"""

from hashlib import sha256
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
import torch
from joblib.hashing import NumpyHasher
from sklearn.base import BaseEstimator
from skorch.callbacks import Callback
from torch import Tensor


def data_fingerprint(data: Any) -> Any:
    """Return a key that is equal for equal features, targets or weights."""
    if data is None:
        return None
    if isinstance(data, Tensor):
        return (Tensor, data_fingerprint(data.detach().cpu().numpy()))
    if isinstance(data, np.ndarray) and not data.dtype.hasobject:
        content = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        return (data.shape, data.dtype.str, sha256(content.data).digest())
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
