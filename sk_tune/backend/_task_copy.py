# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A copy of a joblib task to record, so that what recording does to it is not seen.

The copy is what a worker process would get: everything anew, but arrays read-only and
shared, and functions and classes themselves.
"""

import io
import pickle
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
from sklearn.callback import CallbackContext
from torch import Tensor

__all__ = ["copy_task"]

_BY_REFERENCE = (type, FunctionType, BuiltinFunctionType, ModuleType, Tensor)


def copy_task(task: Any) -> Any:
    """Return a copy of a task.

    Parameters
    ----------
    task : callable
        As joblib hands it to a backend.

    Returns
    -------
    callable
        It shares arrays with the original and cannot write to them.

    Raises
    ------
    Exception
        If something in the task cannot be pickled.
    """
    buffer, shared = io.BytesIO(), _Shared()
    pickler = _Pickler(buffer, shared)
    pickler.dump(task)
    buffer.seek(0)
    return _Unpickler(buffer, shared).load()


class _Shared(list[Any]):
    """Objects that a copy has in common with its original, by position."""


class _Pickler(pickle.Pickler):
    def __init__(self, file: Any, shared: _Shared) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._shared = shared
        self._positions: dict[int, int] = {}

    def persistent_id(self, obj: Any) -> int | None:
        is_array = isinstance(obj, np.ndarray) and not obj.dtype.hasobject
        if not is_array and not isinstance(obj, (*_BY_REFERENCE, CallbackContext)):
            return None
        position = self._positions.get(id(obj))
        if position is None:
            position = self._positions[id(obj)] = len(self._shared)
            self._shared.append(_read_only(obj) if is_array else obj)
        return position


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, shared: _Shared) -> None:
        super().__init__(file)
        self._shared = shared

    def persistent_load(self, pid: int) -> Any:
        return self._shared[pid]


def _read_only(array: Any) -> Any:
    view = array.view()
    view.flags.writeable = False
    return view
