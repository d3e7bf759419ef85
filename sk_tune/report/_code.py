# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Estimators, spaces and values as Python that makes them again, a parameter a line.

What scikit-learn prints of an estimator shows distributions by their address in memory and
indents by the length of names.
"""

import inspect
import re
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import skopt.space

from sk_tune._compat import scorer_parts
from sk_tune.space import Choice

__all__ = ["python_text"]

_INDENT = "    "
_WIDTH = 80
# Items of a list that are written; a page is no place for data.
_MOST_ITEMS = 60
# Levels of nested objects that are written, for structures that hold themselves.
_DEEPEST = 12


def python_text(value: Any, depth: int = 0) -> str:
    """Return Python that makes a value again, as far as it has such a form.

    Parameters
    ----------
    value : object
        An estimator, a space, or a value of a parameter.
    depth : int, default=0
        Levels by which it is indented.

    Returns
    -------
    str
        Estimators with the parameters that differ from the defaults.  What has no such
        form is there as its ``repr``.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> print(python_text({"alpha": loguniform(0.1, 1), "n": [1, 2]}))
    {'alpha': loguniform(0.1, 1), 'n': [1, 2]}
    """
    if depth > _DEEPEST:
        return "..."
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        items = [f"{key!r}: {python_text(v, depth + 1)}" for key, v in value.items()]
        return _joined("{", items, "}", depth)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return _sequence(value, depth)
    call = _call(value, depth)
    if call is not None:
        return call
    if isinstance(getattr(value, "__name__", None), str):
        return str(value.__name__)
    try:
        # Where an object lies in memory is of no use to anybody.
        return re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(repr(value).split()))
    except Exception as error:  # noqa: BLE001 - whatever a user's class raises
        return f"<{type(value).__name__}: {type(error).__name__} in repr>"


def _call(value: Any, depth: int) -> str | None:
    """Return the call that makes an object, if its kind is known."""
    if isinstance(value, Choice):
        return _joined("Choice(", [python_text(value.options, depth + 1)], ")", depth)
    if isinstance(value, skopt.space.Categorical):
        own = [python_text(list(value.categories), depth + 1)]
        if value.prior is not None:
            own.append(f"prior={python_text(list(value.prior), depth + 1)}")
        return _joined("Categorical(", own, ")", depth)
    made = scorer_parts(value)
    if made is not None:
        return _scorer(made, depth)
    if hasattr(value, "get_params") and not isinstance(value, type):
        # Callbacks of skorch are no estimators, and have parameters all the same.
        return _joined(f"{type(value).__name__}(", _changed(value, depth), ")", depth)
    if hasattr(value, "dist") and hasattr(value, "args") and hasattr(value, "kwds"):
        own = [python_text(v, depth + 1) for v in value.args]
        own += [f"{name}={python_text(v, depth + 1)}" for name, v in value.kwds.items()]
        return _joined(f"{value.dist.name}(", own, ")", depth)
    return None


def _scorer(parts: Mapping[str, Any], depth: int) -> str:
    """Return the call of ``make_scorer`` that makes a scorer."""
    own = [python_text(parts["function"], depth + 1)]
    if parts["response_method"] != "predict":
        own.append(f"response_method={python_text(parts['response_method'], depth + 1)}")
    if parts["sign"] < 0:
        own.append("greater_is_better=False")
    own += [f"{name}={python_text(v, depth + 1)}" for name, v in parts["options"].items()]
    return _joined("make_scorer(", own, ")", depth)


def _changed(estimator: Any, depth: int) -> list[str]:
    defaults = inspect.signature(type(estimator)).parameters
    return [
        f"{name}={text}"
        for name, value in estimator.get_params(deep=False).items()
        if (text := python_text(value, depth + 1))
        != _default_text(defaults.get(name), depth)
    ]


def _default_text(parameter: inspect.Parameter | None, depth: int) -> str | None:
    if parameter is None or parameter.default is inspect.Parameter.empty:
        return None
    return python_text(parameter.default, depth + 1)


def _sequence(values: Any, depth: int) -> str:
    items = [python_text(value, depth + 1) for value in values[:_MOST_ITEMS]]
    if len(values) > _MOST_ITEMS:
        items.append("...")
    if all(value is None or isinstance(value, str | Real) for value in values):
        # Names of columns, for example: as many on a line as it takes.
        items = _filled(items, _WIDTH - len(_INDENT) * (depth + 1))
    if isinstance(values, list):
        return _joined("[", items, "]", depth)
    return f"({items[0]},)" if len(values) == 1 else _joined("(", items, ")", depth)


def _filled(items: list[str], width: int) -> list[str]:
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + len(item) + 3 <= width:
            lines[-1] += f", {item}"
        else:
            lines.append(item)
    return lines


def _joined(start: str, items: list[str], end: str, depth: int) -> str:
    line = f"{start}{', '.join(items)}{end}"
    if not items or ("\n" not in line and len(line) + len(_INDENT) * depth <= _WIDTH):
        return line
    inner = _INDENT * (depth + 1)
    lines = "".join(f"{inner}{item},\n" for item in items)
    return f"{start}\n{lines}{_INDENT * depth}{end}"
