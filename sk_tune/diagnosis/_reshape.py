# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Changes of a value, and of a description of what a parameter may be."""

import math
from numbers import Real
from typing import Any

import numpy as np
import skopt.space
from scipy import stats

from sk_tune.diagnosis._edge import NATURAL_BOUNDS, is_whole
from sk_tune.diagnosis._records import Change

__all__ = ["changed_range", "changed_value"]


def changed_value(value: Any, change: Change) -> Any:
    """Return what a change makes of a parameter's value.

    The same value if it cannot be made.
    """
    if change.action == "set":
        return change.value
    if not _is_number(value) or value < 0:
        # A floor or bound under what is not set is its value.  A batch size of -1 is a
        # name, too.
        unset = value is None and change.action in {"at least", "at most"}
        return change.value if unset else value
    if change.action == "multiply":
        new = value * change.value
    elif change.action == "at least":
        new = max(value, change.value)
    elif change.action == "at most":
        new = min(value, change.value)
    else:
        # A range that goes on beyond its end says nothing of a single value in it.
        return value
    return _valid(change.parameter, new, whole=_is_whole(change, value))


def changed_range(described: Any, change: Change, *, tuples_are_ranges: bool = True) -> Any:
    """Return what a change makes of the description of a parameter's values.

    `described` is a list, a distribution of scipy, a dimension of scikit-optimize or a
    tuple (two numbers are a range only if `tuples_are_ranges`); the result is of the same
    kind, and the same object if the change cannot be made.
    """
    if change.action == "set":
        return [change.value]
    if isinstance(described, skopt.space.Categorical):
        values = _changed_list(list(described.categories), change)
        same = values == list(described.categories)
        return described if same else skopt.space.Categorical(values, name=described.name)
    if isinstance(described, skopt.space.Real | skopt.space.Integer):
        kind = type(described)
        is_log, whole = described.prior == "log-uniform", kind is skopt.space.Integer
        low, high = _moved(described.low, described.high, is_log, change, whole=whole)
        if (low, high) == (described.low, described.high):
            return described
        if low >= high:
            return [low]
        return kind(low, high, prior=described.prior, name=described.name)
    if hasattr(described, "rvs"):
        return _changed_distribution(described, change)
    if _is_range(described, tuples_are_ranges):
        is_log = len(described) > 2 and described[2] == "log-uniform"
        whole = _is_whole(change, *described[:2])
        low, high = _moved(described[0], described[1], is_log, change, whole=whole)
        if (low, high) == tuple(described[:2]):
            return described
        return (low, high, *described[2:]) if low < high else [low]
    if isinstance(described, str | bytes) or not hasattr(described, "__iter__"):
        return described
    values = list(described)
    changed = _changed_list(values, change)
    return described if changed == values else changed


def _changed_list(values: list[Any], change: Change) -> list[Any]:
    numbers = [v for v in values if _is_number(v)]
    if not numbers or len(numbers) < len(values):
        return values
    bound = change.value
    if change.action == "multiply":
        changed = [changed_value(v, change) for v in values]
        return list(dict.fromkeys(changed))
    value = _valid(change.parameter, bound, whole=_is_whole(change, *numbers))
    if change.action == "at least":
        return [v for v in values if v >= bound] or [value]
    if change.action == "at most":
        return [v for v in values if v <= bound] or [value]
    if change.action == "extend above":
        return values if max(numbers) >= value else [*values, value]
    return values if min(numbers) <= value else [value, *values]


def _changed_distribution(frozen: Any, change: Change) -> Any:
    name = getattr(getattr(frozen, "dist", None), "name", "")
    if name not in {"uniform", "loguniform", "reciprocal", "randint"}:
        return frozen
    low, high = (float(end) for end in frozen.support())
    is_log, is_whole_range = name in {"loguniform", "reciprocal"}, name == "randint"
    if is_whole_range:
        low, high = int(low), int(high)
    new_low, new_high = _moved(low, high, is_log, change, whole=is_whole_range)
    if (new_low, new_high) == (low, high):
        return frozen
    if new_low >= new_high:
        return [new_low]
    if is_whole_range:
        return stats.randint(new_low, new_high + 1)
    if is_log:
        return stats.loguniform(new_low, new_high)
    return stats.uniform(new_low, new_high - new_low)


def _moved(
    low: Any,
    high: Any,
    is_log: bool,  # noqa: FBT001
    change: Change,
    *,
    whole: bool,
) -> tuple[Any, Any]:
    """Return the ends of a range after a change; it keeps its width if it must move."""
    bound = change.value
    new_low, new_high = low, high
    if change.action == "multiply":
        new_low, new_high = low * bound, high * bound
    elif change.action == "extend above":
        new_high = max(high, bound)
    elif change.action == "extend below":
        new_low = min(low, bound) if not is_log or bound > 0 else low
    elif change.action == "at least":
        new_low = max(low, bound)
        if new_low > high:
            new_high = new_low * high / low if is_log else new_low + (high - low)
    elif change.action == "at most":
        new_high = min(high, bound)
        if new_high < low:
            if is_log:
                new_low = new_high * low / high
            else:
                # Not through 0, beyond which most parameters mean nothing.
                new_low = new_high - (high - low)
                new_low = max(new_low, 0) if low >= 0 else new_low
    valid_low, valid_high = (
        _valid(change.parameter, end, whole=whole) for end in (new_low, new_high)
    )
    return valid_low, valid_high


def _valid(parameter: str, value: Any, *, whole: bool) -> Any:
    """Return a number within what the parameter means, whole if it has to be."""
    low, high = NATURAL_BOUNDS.get(parameter.rpartition("__")[2], (-math.inf, math.inf))
    clipped = min(max(value, low), high)
    return round(clipped) if whole else float(clipped)


def _is_whole(change: Change, *values: Any) -> bool:
    """Return whether what a change makes of values has to be whole, as they are."""
    bound = () if change.action == "multiply" else (change.value,)
    return is_whole(change.parameter, *values, *bound)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _is_range(described: Any, tuples_are_ranges: bool) -> bool:  # noqa: FBT001
    if not isinstance(described, tuple) or not 2 <= len(described) <= 3:
        return False
    is_pair = all(_is_number(end) for end in described[:2])
    return is_pair and (isinstance(described[-1], str) or tuples_are_ranges)
