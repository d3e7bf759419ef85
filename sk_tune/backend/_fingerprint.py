# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Whether two fits are the same: same parameters, same bytes of data.

Pure functions; what cannot be read is never equal to anything, so that it is trained.
"""

import hashlib
from types import BuiltinFunctionType, FunctionType
from typing import Any

import joblib
import numpy as np
from sklearn.base import BaseEstimator
from torch import Tensor

__all__ = ["data_fingerprint", "params_fingerprint", "value_fingerprint"]


def data_fingerprint(data: Any) -> Any:
    """Return a key that is equal for equal data.

    Parameters
    ----------
    data : object
        Features, targets or weights as given to ``fit``.

    Returns
    -------
    object
        Hashable.
    """
    if data is None:
        return None
    if isinstance(data, Tensor):
        return (Tensor, data_fingerprint(data.detach().cpu().numpy()))
    if isinstance(data, np.ndarray) and not data.dtype.hasobject:
        # Of the bytes in C order: a copy in another order is the same data.
        digest = hashlib.blake2b(np.ascontiguousarray(data).data, digest_size=16)
        return (data.shape, data.dtype.str, digest.digest())
    return (type(data), _hash_of(data))


def params_fingerprint(estimator: BaseEstimator, *, without: str = "") -> Any:
    """Return a key that is equal for estimators that train alike.

    Parameters
    ----------
    estimator : estimator
        With ``get_params``.
    without : str, default=""
        A parameter to leave out.

    Returns
    -------
    object
        Hashable.
    """
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

    Parameters
    ----------
    value : object
        Any.

    Returns
    -------
    object
        Hashable; equal to no other if the value cannot be read.
    """
    if value is None or isinstance(value, bool | int | float | str | type):
        return (type(value), value)
    if isinstance(value, FunctionType | BuiltinFunctionType):
        return value
    return _hash_of(value)


def _hash_of(value: Any) -> Any:
    try:
        return joblib.hash(value)
    except Exception:  # noqa: BLE001 - whatever pickling raises
        return object()
