# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Values as people read them, as JSON has them, and as Python that makes them again.

What scikit-learn prints of an estimator shows distributions by their address in memory and
indents by the length of names.
"""

import inspect
import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import skopt.space
from sklearn.base import BaseEstimator

from sk_tune._compat import scorer_parts
from sk_tune.space import Choice

# Characters of a value that is an object; a longer one says no more.
_LONGEST = 80
_MISSING = "n/a"
_EXPONENT_FROM = 1e6


def number_text(value: float, digits: int = 4) -> str:
    """Return a number in few significant digits, "n/a" for NaN.

    There is no exponent from 0.0001 to a million; digits before the point are all there.

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

    Numbers have four digits, functions and classes are names; else it is what ``repr``
    says, on one line and cut if it is long.

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

    Records are mappings, numbers that are not finite None, objects text.

    >>> plain({"score": float("nan"), "params": {"width": np.int64(8), "f": max}})
    {'score': None, 'params': {'width': 8, 'f': 'max'}}
    """
    if is_dataclass(value) and not isinstance(value, type | BaseEstimator):
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


_INDENT = "    "
_WIDTH = 80
# Items of a list that are written; a page is no place for data.
_MOST_ITEMS = 60
# Levels of nested objects that are written, for structures that hold themselves.
_DEEPEST = 12


def python_text(value: Any, depth: int = 0) -> str:
    """Return Python that makes a value again, indented by `depth` levels.

    Estimators have the parameters that differ from the defaults. What has no such form is
    there as its ``repr``.

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
    made = _call(value, depth)
    if made is not None:
        given = [python_text(item, depth + 1) for item in made.given]
        given += [f"{k}={python_text(v, depth + 1)}" for k, v in made.options.items()]
        return _joined(f"{made.name}(", given, ")", depth)
    if isinstance(getattr(value, "__name__", None), str):
        return str(value.__name__)
    try:
        # Where an object lies in memory is of no use to anybody.
        return re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(repr(value).split()))
    except Exception as error:  # noqa: BLE001 - whatever a user's class raises
        return f"<{type(value).__name__}: {type(error).__name__} in repr>"


class _MakingCall(NamedTuple):
    """The call that makes an object: a function, its module, and what it is given."""

    module: str
    name: str
    given: list[Any]
    options: Mapping[str, Any]


def _call(value: Any, depth: int) -> _MakingCall | None:
    """Return the call that makes an object at a depth, if its kind is known."""
    kind = type(value)
    if isinstance(value, Choice):
        return _MakingCall(kind.__module__, "Choice", [value.options], {})
    if isinstance(value, skopt.space.Categorical):
        prior = {} if value.prior is None else {"prior": list(value.prior)}
        return _MakingCall(kind.__module__, "Categorical", [list(value.categories)], prior)
    scorer = scorer_parts(value)
    if scorer is not None:
        method, sign = scorer["response_method"], scorer["sign"]
        options = {} if method == "predict" else {"response_method": method}
        options |= {"greater_is_better": False} if sign < 0 else {}
        options |= scorer["options"]
        return _MakingCall("sklearn.metrics", "make_scorer", [scorer["function"]], options)
    if hasattr(value, "get_params") and not isinstance(value, type):
        # Callbacks of skorch are no estimators, and have parameters all the same.
        return _MakingCall(kind.__module__, kind.__name__, [], _changed(value, depth))
    if hasattr(value, "dist") and hasattr(value, "args") and hasattr(value, "kwds"):
        return _MakingCall("scipy.stats", value.dist.name, list(value.args), value.kwds)
    return None


def _changed(estimator: Any, depth: int) -> dict[str, Any]:
    """Return the parameters of an estimator that differ from the defaults."""
    declared = inspect.signature(type(estimator)).parameters
    params = estimator.get_params(deep=False)
    return {n: v for n, v in params.items() if not _is_default(v, declared.get(n), depth)}


def _is_default(value: Any, parameter: inspect.Parameter | None, depth: int) -> bool:
    """Return whether a value is written as the default of a parameter is."""
    if parameter is None or parameter.default is inspect.Parameter.empty:
        return False
    if parameter.default is None:
        # What holds other objects is not written once more to compare it.
        return value is None
    return python_text(value, depth + 1) == python_text(parameter.default, depth + 1)


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


def import_lines(value: Any) -> list[str]:
    """Return what has to be imported to make a value again, without the user's script.

    >>> from scipy.stats import loguniform, uniform
    >>> import_lines([{"alpha": loguniform(0.1, 1)}, uniform()])
    ['from scipy.stats import loguniform, uniform']
    """
    by_module: dict[str, set[str]] = {}
    for module, name in _names(value, 0):
        if module not in {"__main__", "builtins"}:
            by_module.setdefault(_public(module, name), set()).add(name)
    return [
        f"from {module} import {', '.join(sorted(names))}"
        for module, names in sorted(by_module.items())
    ]


def _names(value: Any, depth: int) -> Iterator[tuple[str, str]]:
    """Yield module and name of each class and function."""
    if depth > _DEEPEST or isinstance(value, np.ndarray | np.generic | str):
        return
    parts: list[Any] = []
    made, name = _call(value, depth), getattr(value, "__name__", None)
    if made is not None:
        yield made.module, made.name
        parts = [*made.given, *made.options.values()]
    elif isinstance(name, str):
        # A class or a function of any kind, which is written by its name.
        if isinstance(getattr(value, "__module__", None), str) and name.isidentifier():
            yield value.__module__, name
    else:
        if type(value).__module__ != "builtins":
            yield type(value).__module__, type(value).__name__
        if isinstance(value, Mapping):
            parts = list(value.values())
        elif isinstance(value, list | tuple):
            parts = list(value)
    for item in parts[:_MOST_ITEMS]:
        yield from _names(item, depth + 1)


def _public(module: str, name: str) -> str:
    """Return the shortest path of a package that has the name."""
    parts = module.split(".")
    paths = (".".join(parts[: k + 1]) for k in range(len(parts)))
    return next((p for p in paths if hasattr(sys.modules.get(p), name)), module)
