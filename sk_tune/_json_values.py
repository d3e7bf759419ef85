# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Plain values as JSON and back, with their types; decoding never executes code."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

# numpy's type strings of numbers, Booleans, texts, objects and times; record types, which
# may have any size, do not match.
_KIND = r"[<>|=]?[biufcUSOmM]\d*(\[\w+\])?"
_MOST_BYTES = 2**20
_MOST_BYTES_OF_NUMBER = 32


def encode(value: Any, special: Callable[[Any], Any] | None = None) -> Any:
    """Return a value in JSON's types; other types become tagged dicts.

    Numpy scalars become Python numbers.  For each nested value, a result of `special` other
    than None takes precedence.  Raises TypeError if the value contains anything except
    numbers, strings, lists, tuples, dicts and arrays.
    """
    if special is not None and (packed := special(value)) is not None:
        return packed
    if value is None or isinstance(value, bool | str | int | float):
        return value
    if isinstance(value, np.generic):
        item = value.item()
        return encode(float(item) if isinstance(item, np.longdouble) else item, special)
    if isinstance(value, list):
        return [encode(item, special) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(item, special) for item in value]}
    if isinstance(value, dict):
        return {
            "dict": [[encode(k, special), encode(v, special)] for k, v in value.items()]
        }
    if isinstance(value, np.ndarray) and value.dtype.kind in "mM":
        return {"ticks": value.view(np.int64).tolist(), "dtype": value.dtype.str}
    # Records would become bytes, which `decode` refuses.
    if isinstance(value, np.ndarray) and value.dtype.kind != "V":
        items = [encode(item, special) for item in value.ravel().tolist()]
        return {"array": items, "dtype": value.dtype.str, "shape": list(value.shape)}
    raise TypeError(
        f"It must consist of numbers, strings, lists, tuples and dicts. Got {value!r} of "
        f"type {type(value).__name__}."
    )


def decode(value: Any, special: Callable[[Any], Any] | None = None) -> Any:
    """Return the value that was encoded; `special` decodes the tagged dicts of others.

    Raises exceptions of any kind for foreign values.  No code is executed, and memory is
    limited to the size of the described value.
    """
    if isinstance(value, list):
        return [decode(item, special) for item in value]
    if not isinstance(value, dict):
        return value
    if "tuple" in value:
        return tuple(decode(item, special) for item in value["tuple"])
    if "dict" in value:
        return {decode(k, special): decode(v, special) for k, v in value["dict"]}
    if special is not None and "dtype" not in value:
        return special(value)
    name = value["dtype"]
    if not re.fullmatch(_KIND, name):
        raise ValueError(f"An array must be of numbers, texts or times. Got {name!r}.")
    kind = np.dtype(name)
    if "ticks" in value:
        if kind.kind not in "mM":
            raise ValueError(f"Ticks must be of a type of time. Got {kind}.")
        return np.array(value["ticks"], dtype=np.int64).view(kind)
    return _decoded_array(
        [decode(item) for item in value["array"]], kind, value.get("shape")
    )


def _decoded_array(items: list[Any], kind: np.dtype[Any], shape: list[int] | None) -> Any:
    """Return an array of its items, which are in one list if the shape is known."""
    # A few bytes must not allocate gigabytes, as "U1000000000" would.
    longest = max((len(item) for item in items if isinstance(item, str | bytes)), default=0)
    most = _MOST_BYTES + len(items) * (4 * longest + _MOST_BYTES_OF_NUMBER)
    if len(items) * kind.itemsize > most:
        raise ValueError(f"An array of {len(items)} values cannot be of type {kind}.")
    if shape is None:
        return np.array(items, dtype=kind)
    if kind.kind != "O":
        return np.array(items, dtype=kind).reshape(shape)
    array = np.empty(len(items), dtype=object)
    for k, item in enumerate(items):
        # numpy would make equally long tuples an axis.
        array[k] = item
    return array.reshape(shape)
