# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Changes applied to single values, lists, ranges and distributions."""

import math
import operator
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import skopt.space
from scipy import stats

from sk_tune._diagnosis._diagnose import NATURAL_BOUNDS, is_whole
from sk_tune._diagnosis._findings import Change
from sk_tune._text import is_number

_ON_VALUES: dict[str, Callable[[Any, Any], Any]] = {
    "multiply": operator.mul,
    "at least": max,
    "at most": min,
}


def changed_value(value: Any, change: Change) -> Any:
    """Return a value after a change, or the same value if the change does not apply."""
    if change.action == "set":
        return change.value
    if not is_number(value) or value < 0:
        # A bound on an unset parameter becomes its value.  Negative numbers are names, such
        # as a batch size of -1.
        is_unset = value is None or (isinstance(value, str) and value == "auto")
        is_bound = change.action in {"at least", "at most"}
        return change.value if is_unset and is_bound else value
    if change.action not in _ON_VALUES:
        # Extending a range does not change a single value in it.
        return value
    new = _ON_VALUES[change.action](value, change.value)
    return _valid(change.parameter, new, as_int=_is_whole(change, value))


class _Range(NamedTuple):
    """The ends of a range, and a function that describes other ends in the same way."""

    low: Any
    high: Any
    is_log: bool
    is_integer: bool
    described: Callable[[Any, Any], Any]


def changed_range(described: Any, change: Change, *, tuples_are_ranges: bool = True) -> Any:
    """Return the changed description of a parameter's values, or `described` itself."""
    if change.action == "set":
        return [change.value]
    ends = _range(described, change, tuples_are_ranges=tuples_are_ranges)
    if ends is not None:
        low, high = _moved(ends, change)
        if (low, high) == (ends.low, ends.high):
            return described
        return ends.described(low, high) if low < high else [low]
    categories = getattr(described, "categories", described)
    is_one = isinstance(categories, str | bytes) or not hasattr(categories, "__iter__")
    if is_one or (categories is described and hasattr(described, "rvs")):
        return described
    values = list(categories)
    changed = _changed_list(values, change)
    if changed == values:
        return described
    if categories is described:
        return changed
    return skopt.space.Categorical(changed, name=described.name)


def _range(described: Any, change: Change, *, tuples_are_ranges: bool) -> _Range | None:
    """Return the ends of a range; None for any other description."""
    if isinstance(described, skopt.space.Real | skopt.space.Integer):
        low, high, prior = described.low, described.high, described.prior
        kind: Any = type(described)
        make = partial(kind, prior=prior, name=described.name)
        return _Range(low, high, prior == "log-uniform", kind is skopt.space.Integer, make)
    if hasattr(described, "rvs"):
        name = getattr(getattr(described, "dist", None), "name", "")
        if name not in _DISTRIBUTIONS:
            return None
        kind = int if name == "randint" else float
        low, high = map(kind, described.support())
        is_log = name not in {"uniform", "randint"}
        return _Range(low, high, is_log, kind is int, _DISTRIBUTIONS[name])
    if not isinstance(described, tuple) or not 2 <= len(described) <= 3:
        return None
    low, high, *options = described
    is_range = tuples_are_ranges or isinstance(described[-1], str)
    if not (is_range and is_number(low) and is_number(high)):
        return None
    is_log, is_integer = options == ["log-uniform"], _is_whole(change, low, high)
    return _Range(low, high, is_log, is_integer, lambda a, b: (a, b, *options))


_DISTRIBUTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "uniform": lambda low, high: stats.uniform(low, high - low),
    "loguniform": stats.loguniform,
    "reciprocal": stats.loguniform,
    "randint": lambda low, high: stats.randint(low, high + 1),
}


def _changed_list(values: list[Any], change: Change) -> list[Any]:
    numbers = [v for v in values if is_number(v)]
    if not numbers or len(numbers) < len(values):
        return values
    bound = change.value
    if change.action == "multiply":
        return list(dict.fromkeys(changed_value(v, change) for v in values))
    value = _valid(change.parameter, bound, as_int=_is_whole(change, *numbers))
    if change.action == "at least":
        return [v for v in values if v >= bound] or [value]
    if change.action == "at most":
        return [v for v in values if v <= bound] or [value]
    if change.action == "extend up to":
        return values if max(numbers) >= value else [*values, value]
    return values if min(numbers) <= value else [value, *values]


def _moved(ends: _Range, change: Change) -> tuple[Any, Any]:
    low, high, is_log, as_int, _ = ends
    bound = change.value
    new_low, new_high = {
        "multiply": (low * bound, high * bound),
        "extend up to": (low, max(high, bound)),
        "extend down to": (low if is_log and bound <= 0 else min(low, bound), high),
        "at least": (max(low, bound), high),
        "at most": (low, min(high, bound)),
    }[change.action]
    # A range that must move keeps its width.
    if new_low > new_high and change.action == "at least":
        new_high = new_low * high / low if is_log else new_low + (high - low)
    elif new_low > new_high:
        new_low = new_high * low / high if is_log else new_high - (high - low)
        # The lower end stays above 0, where most parameters are defined.
        new_low = max(new_low, 0) if low >= 0 else new_low
    name = change.parameter
    return _valid(name, new_low, as_int=as_int), _valid(name, new_high, as_int=as_int)


def _valid(parameter: str, value: Any, *, as_int: bool) -> Any:
    """Return a number within the limits of a parameter, rounded if `as_int`."""
    low, high = NATURAL_BOUNDS.get(parameter.rpartition("__")[2], (-math.inf, math.inf))
    clipped = min(max(value, low), high)
    return round(clipped) if as_int else float(clipped)


def _is_whole(change: Change, *values: Any) -> bool:
    bound = () if change.action == "multiply" else (change.value,)
    return is_whole(change.parameter, *values, *bound)
