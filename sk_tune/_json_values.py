# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Plain values as JSON and back, with their types; nothing that is read is executed."""

from typing import Any

import numpy as np

__all__ = ["decode", "encode"]


def encode(value: Any) -> Any:
    """Return a value as JSON knows it; what JSON does not know becomes a tagged dict.

    Parameters
    ----------
    value : object
        Made of numbers, strings, lists, tuples, dicts and arrays.

    Returns
    -------
    object
        For ``json.dumps``.  Numpy's numbers become Python's.

    Raises
    ------
    TypeError
        If the value holds something else.
    """
    if value is None or isinstance(value, bool | str | int | float):
        return value
    if isinstance(value, np.generic):
        return encode(value.item())
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(k), encode(v)] for k, v in value.items()]}
    if isinstance(value, np.ndarray) and value.dtype.kind in "mM":
        return {"ticks": value.view(np.int64).tolist(), "dtype": value.dtype.str}
    if isinstance(value, np.ndarray):
        return {
            "array": [encode(item) for item in value.tolist()],
            "dtype": value.dtype.str,
        }
    raise TypeError(
        f"It must be made of numbers, strings, lists, tuples and dicts. Got {value!r} of "
        f"type {type(value).__name__}."
    )


def decode(value: Any) -> Any:
    """Return the value that was encoded.

    Parameters
    ----------
    value : object
        From ``json.loads``.

    Returns
    -------
    object
        What :func:`encode` was given.
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "tuple" in value:
        return tuple(decode(item) for item in value["tuple"])
    if "dict" in value:
        return {decode(k): decode(v) for k, v in value["dict"]}
    if "ticks" in value:
        return np.array(value["ticks"], dtype=np.int64).view(value["dtype"])
    return np.array([decode(item) for item in value["array"]], dtype=value["dtype"])
