# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Import lines for the names in code that makes a search again."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import skopt.space

from sk_tune._compat import scorer_parts
from sk_tune.space import Choice

__all__ = ["import_lines"]

# Items of a list that are looked at, and levels of lists in lists.
_MOST_ITEMS = 60
_DEEPEST = 12


def import_lines(value: Any) -> list[str]:
    """Return what has to be imported to make a value again.

    Parameters
    ----------
    value : object
        An estimator, a space, or a list of these.

    Returns
    -------
    list of str
        A line for each module, sorted; without names of the user's own script.

    Examples
    --------
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
    named = getattr(value, "__name__", None)
    if scorer_parts(value) is not None:
        yield "sklearn.metrics", "make_scorer"
    elif isinstance(named, str):
        # A class or a function of any kind, which is written by its name.
        if isinstance(getattr(value, "__module__", None), str) and named.isidentifier():
            yield value.__module__, named
    elif hasattr(value, "dist") and hasattr(value, "args"):
        yield "scipy.stats", value.dist.name
    elif type(value).__module__ != "builtins":
        yield type(value).__module__, type(value).__name__
    for item in _parts(value)[:_MOST_ITEMS]:
        yield from _names(item, depth + 1)


def _parts(value: Any) -> list[Any]:
    """Return what a value is made of, as far as it is shown."""
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple):
        return list(value)
    if hasattr(value, "dist") and hasattr(value, "args"):
        return [*value.args, *value.kwds.values()]
    if isinstance(value, Choice):
        return [value.options]
    if isinstance(value, skopt.space.Categorical):
        return list(value.categories)
    made = scorer_parts(value)
    if made is not None:
        return [made["function"], *made["options"].values()]
    if hasattr(value, "get_params") and not isinstance(value, type):
        return list(value.get_params(deep=False).values())
    return []


def _public(module: str, name: str) -> str:
    """Return the shortest path of a package that has the name."""
    parts = module.split(".")
    paths = (".".join(parts[: k + 1]) for k in range(len(parts)))
    return next((p for p in paths if hasattr(sys.modules.get(p), name)), module)
