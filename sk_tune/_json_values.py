# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Plain values as JSON and back, with their types; nothing that is read is executed."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

# numpy writes types of numbers, truth, texts, objects and times in this form; types of
# records, which may be of any size, do not match.
_KIND = r"[<>|=]?[biufcUSOmM]\d*(\[\w+\])?"
_MOST_BYTES = 2**20
_MOST_BYTES_OF_NUMBER = 32


def encode(value: Any, special: Callable[[Any], Any] | None = None) -> Any:
    """Return a value as JSON knows it; what JSON does not know becomes a tagged dict.

    Numpy's numbers become Python's.  `special` is asked first for every value inside: what
    it returns is taken, unless None.  Raises TypeError if the value is made of anything but
    numbers, strings, lists, tuples, dicts and arrays.
    """
    if special is not None and (packed := special(value)) is not None:
        return packed
    if value is None or isinstance(value, bool | str | int | float):
        return value
    if isinstance(value, np.generic):
        return encode(value.item(), special)
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
    if isinstance(value, np.ndarray):
        return {
            "array": [encode(item, special) for item in value.tolist()],
            "dtype": value.dtype.str,
        }
    raise TypeError(
        f"It must be made of numbers, strings, lists, tuples and dicts. Got {value!r} of "
        f"type {type(value).__name__}."
    )


def decode(value: Any, special: Callable[[Any], Any] | None = None) -> Any:
    """Return the value that was encoded; `special` reads tagged dicts that are not ours.

    Raises exceptions of any kind if the value is not from there.  Nothing is executed, and
    no more memory is taken than such a value needs.
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
    items = [decode(item) for item in value["array"]]
    # A description of a few bytes must not ask for gigabytes, as "U1000000000" does.
    longest = max((len(item) for item in items if isinstance(item, str | bytes)), default=0)
    most = _MOST_BYTES + len(items) * (4 * longest + _MOST_BYTES_OF_NUMBER)
    if len(items) * kind.itemsize > most:
        raise ValueError(f"An array of {len(items)} values cannot be of type {kind}.")
    return np.array(items, dtype=kind)
