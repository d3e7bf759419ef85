# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A key that is equal, in any process, for fits that give the same network.

It is a digest of all that training depends on: parameters, bytes of the data, rows,
weights, seed, epochs, where it goes on from, and versions.  Equal keys mean equal results;
where that cannot be told, there is no key.
"""

import hashlib
import inspect
import json
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import pandas as pd
import skorch
import torch
from pandas.util import hash_pandas_object
from torch import Tensor

import sk_tune
from sk_tune._json_values import encode
from sk_tune.engine._records import Fit
from sk_tune.training import TrainingState, arrays_of_state, values_of_state

__all__ = ["FitKeys"]

# To be counted up when the same fit gives other numbers, or its result another form.
_FORMAT = 1
# Parameters that say nothing of the network; the seed is a part of the fit.
_UNHEARD = frozenset({"random_state", "verbose", "warm_start"})


class FitKeys:
    """Makes the keys of fits, and reads data that several of them share once."""

    def __init__(self) -> None:
        # With the object itself, so that its id stays its own.
        self._digests: dict[int, tuple[Any, str]] = {}

    def key(self, fit: Fit) -> str:
        """Return the key of a fit.

        Parameters
        ----------
        fit : Fit
            With its seed and number of epochs.

        Returns
        -------
        str
            Hexadecimal.

        Raises
        ------
        TypeError
            If a parameter or the data cannot be read.
        """
        params = {
            name: _digest_of_value(value)
            for name, value in sorted(fit.estimator.get_params(deep=False).items())
            if name not in _UNHEARD and not name.startswith("_")
        }
        parts = [
            _FORMAT,
            [sk_tune.__version__, torch.__version__, skorch.__version__],
            _digest_of_code(type(fit.estimator)),
            params,
            [self._digest(part) for part in (fit.X, fit.y, fit.sample_weight)],
            [self._digest(part) for part in (fit.rows, fit.monitor)],
            fit.seed,
            fit.n_epochs,
            None if fit.state is None else _digest_of_state(fit.state),
        ]
        return _sha256(json.dumps(parts).encode())

    def _digest(self, data: Any) -> str | None:
        if data is None:
            return None
        known = self._digests.get(id(data))
        if known is None:
            known = self._digests[id(data)] = (data, _digest_of_data(data))
        return known[1]


def _sha256(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _digest_of_data(data: Any) -> str:
    """Return a digest that does not depend on how the data lie in memory."""
    if isinstance(data, Tensor):
        return _digest_of_data(data.detach().cpu().numpy())
    if isinstance(data, np.ndarray) and not data.dtype.hasobject:
        return _digest_of_array(data)
    if isinstance(data, pd.Series):
        data = data.to_frame()
    if isinstance(data, pd.DataFrame):
        columns = [[repr(name), str(kind)] for name, kind in data.dtypes.items()]
        hashes = hash_pandas_object(data, index=False).to_numpy()
        return _sha256(json.dumps(columns).encode(), hashes.tobytes())
    if hasattr(data, "to_pandas"):
        return _digest_of_data(data.to_pandas())
    return _digest_by_pickling(data)


def _digest_of_array(array: npt.NDArray[Any]) -> str:
    form = json.dumps([array.shape, array.dtype.str]).encode()
    data = np.ascontiguousarray(array).reshape(-1).view(np.ndarray)
    return _sha256(form, data.view(np.uint8) if data.nbytes else b"")


def _digest_of_state(state: TrainingState) -> str:
    arrays = arrays_of_state(state)
    values = {**values_of_state(state), "history": len(state.history)}
    own = [name + _digest_of_array(arrays[name]) for name in sorted(arrays)]
    return _sha256(json.dumps([encode(values), own]).encode())


def _digest_of_value(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float | str):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        return _digest_of_code(value)
    if isinstance(value, list | tuple):
        return f"{type(value).__name__} {[_digest_of_value(item) for item in value]}"
    return _digest_by_pickling(value)


def _digest_of_code(code: type | Callable[..., Any]) -> str:
    """Return a digest of a class or function: its name, and its source if there is one."""
    name = f"{code.__module__}.{code.__qualname__}"
    if code.__module__.partition(".")[0] in {"sk_tune", "torch", "skorch"}:
        # Of a version that is a part of the key.
        return name
    closure = getattr(code, "__closure__", None) or ()
    if closure:
        raise TypeError(f"{name} depends on variables around it")
    try:
        return _sha256(name.encode(), inspect.getsource(code).encode())
    except (OSError, TypeError) as error:
        raise TypeError(f"the source of {name} cannot be read") from error


def _digest_by_pickling(value: Any) -> str:
    try:
        return f"{type(value).__qualname__} {joblib.hash(value)}"
    except Exception as error:
        raise TypeError(f"{type(value).__name__} cannot be read: {error}") from error
