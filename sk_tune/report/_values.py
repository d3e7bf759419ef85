# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Numbers and parameters as people read them, and as JSON has them."""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

__all__ = ["number_text", "plain", "value_text"]

# Characters of a value that is an object; a longer one says no more.
_LONGEST = 80
_MISSING = "n/a"
_EXPONENT_FROM = 1e6


def number_text(value: float, digits: int = 4) -> str:
    """Return a number in few digits.

    Parameters
    ----------
    value : float
        Any.
    digits : int, default=4
        Significant ones.

    Returns
    -------
    str
        "n/a" for NaN.  Without an exponent from 0.0001 to a million, where digits before
        the point are all there.

    Examples
    --------
    >>> [number_text(v) for v in (0.98765432, -12.0, float("nan"), 9999.7, 1e-7)]
    ['0.9877', '-12', 'n/a', '10000', '1e-07']
    """
    if math.isnan(value):
        return _MISSING
    text = f"{value:.{digits}g}"
    # Rounding may add a digit, and so an exponent.
    if abs(value) < _EXPONENT_FROM and abs(float(text)) >= 10**digits:
        return f"{round(value):d}"
    return text


def value_text(value: Any) -> str:
    """Return a parameter's value as text.

    Parameters
    ----------
    value : object
        Any.

    Returns
    -------
    str
        Numbers in four digits, names of functions and classes, else what ``repr`` says,
        on one line and cut if it is long.

    Examples
    --------
    >>> [value_text(v) for v in (0.00123456, 16, "adam", None, (8, 8), max)]
    ['0.001235', '16', 'adam', 'None', '(8, 8)', 'max']
    """
    if isinstance(value, bool | np.bool_) or value is None:
        text = str(value)
    elif isinstance(value, Integral):
        text = str(int(value))
    elif isinstance(value, Real):
        text = number_text(float(value))
    elif isinstance(value, str):
        text = value
    elif isinstance(getattr(value, "__name__", None), str):
        text = value.__name__
    else:
        try:
            text = repr(value)
        except Exception as error:  # noqa: BLE001 - whatever a user's class raises
            text = f"<{type(value).__name__} without repr: {type(error).__name__}>"
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def plain(value: Any) -> Any:
    """Return a value made of what JSON has.

    Parameters
    ----------
    value : object
        Any.

    Returns
    -------
    object
        Records as mappings, None for numbers that are not finite, text for objects.

    Examples
    --------
    >>> plain({"score": float("nan"), "params": {"width": np.int64(8), "f": max}})
    {'score': None, 'params': {'width': 8, 'f': 'max'}}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value_text(value)
