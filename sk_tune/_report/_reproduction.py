# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Versions, seeds, folds, data and code to reproduce and to use a search."""

import inspect
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from numbers import Real
from typing import Any

import numpy as np
import skopt.space
from scipy import sparse
from sklearn.base import clone

from sk_tune import __version__
from sk_tune._compat import scorer_parts
from sk_tune._engine import value_digest
from sk_tune._estimators import as_sequences
from sk_tune._frames import as_pandas
from sk_tune._report._search_trials import repr_text, value_text
from sk_tune._saving import is_savable
from sk_tune._search_record import search_record
from sk_tune._space import Choice
from sk_tune._versions import package_version

_PACKAGES = ("torch", "scikit-learn", "skorch", "numpy", "scipy", "pandas")
_HASH_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """Text for the reproduction of a search."""

    versions: Mapping[str, str]
    seeds: Mapping[str, Any]  # the ``random_state`` parameters
    cv: str
    data: Mapping[str, str]  # fingerprints of X and y
    code: str


def reproduction(
    search: Any, best: Mapping[str, Any] | None, X: Any, y: Any
) -> Reproduction:
    """Return the text to reproduce a search; `X` and `y` are None if unavailable."""
    record = search_record(search)
    if y is None and record is not None:
        y = record.y
    data = {
        name: data_description(values)
        for name, values in (("X", X), ("y", y))
        if values is not None
    }
    seeds = {
        name: value
        for name, value in search.get_params(deep=True).items()
        if name.rsplit("__", 1)[-1] == "random_state"
    }
    if hasattr(search.cv, "random_state"):
        seeds["cv.random_state"] = search.cv.random_state
    # For example, the splitter that scikit-learn makes of a number of folds.
    cv = getattr(search, "_checked_cv_orig", search.cv)
    arguments = []
    if record is not None:
        arguments += ["sample_weight"] * record.is_weighted
        arguments += ["groups"] * (record.groups is not None)
    kind, folds = type(cv), f"{search.n_splits_} folds by {type(search.cv).__name__}"
    if kind.__module__.startswith("sklearn.") and not kind.__name__.startswith("_"):
        folds = value_text(cv)
    return Reproduction(
        versions=package_versions(),
        seeds={name: value_text(value) for name, value in sorted(seeds.items())},
        cv=folds,
        data=data,
        code=fit_code(search, "search", arguments, best),
    )


def package_versions() -> dict[str, str]:
    """Return the versions of packages and the system that affect results."""
    return {
        "sk_tune": __version__,
        "python": platform.python_version(),
        **{name: package_version(name) for name in _PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
    }


def fit_code(
    estimator: Any,
    name: str,
    arguments: Sequence[str] = (),
    best: Mapping[str, Any] | None = None,
) -> str:
    """Return code that fits an estimator, and the candidate `best` of a search.

    `arguments` are the names of values for each sample that ``fit`` got besides X and y.
    """
    writer = _CodeWriter()
    of_fit = ", ".join(["X", "y", *(f"{argument}={argument}" for argument in arguments)])
    lines = [f"{name} = {writer.text(estimator)}", f"{name}.fit({of_fit})"]
    if best is not None:
        cloned = writer.text(clone)
        lines += [
            "",
            "# The best candidate alone:",
            f"params = {writer.text(dict(best))}",
            f"{cloned}({name}.estimator).set_params(**params).fit(X, y)",
        ]
    return "\n".join([*writer.imports(), "", *lines])


def data_description(values: Any) -> str:
    """Return shape, type and hash of data, whatever their layout in memory.

    >>> text = data_description(np.eye(2))
    >>> text.startswith("shape (2, 2), float64, sha256 ")
    True
    >>> text == data_description(np.asfortranarray(np.eye(2)))
    True
    """
    table = as_pandas(values)
    if table is not None:
        counts = table.dtypes.astype(str).value_counts()
        kind = ", ".join(f"{count} {name}" for name, count in counts.items())
    elif sparse.issparse(values):
        kind = f"sparse {values.dtype}"
    else:
        values = np.asarray(as_sequences(values))
        kind = str(values.dtype)
    return f"shape {values.shape}, {kind}, sha256 {value_digest(values)[:_HASH_DIGITS]}"


_INDENT = "    "
_WIDTH = 80
# Longest list in the code; a page is not the place for data.
_MOST_ITEMS = 60
# Most levels of nested objects, because structures may be recursive.
_DEEPEST = 12


class _CodeWriter:
    """Writes values as Python code, and collects the imports of that code.

    The ``repr`` of scikit-learn's estimators shows distributions by their address in memory
    and indents by the length of names.
    """

    def __init__(self) -> None:
        # Modules and names of classes and functions.
        self._names: set[tuple[str, str]] = set()

    def text(self, value: Any, depth: int = 0) -> str:
        """Return a value as Python, indented by `depth` levels, or else its ``repr``."""
        if depth > _DEEPEST:
            return "..."
        if isinstance(value, np.generic | np.ndarray):
            value = value.tolist()
        if isinstance(value, Mapping):
            items = [f"{key!r}: {self.text(v, depth + 1)}" for key, v in value.items()]
            return _joined("{", items, "}", depth)
        if isinstance(value, list | tuple):
            items = [self.text(item, depth + 1) for item in value[:_MOST_ITEMS]]
            if len(value) > _MOST_ITEMS:
                items.append("...")
            if all(item is None or isinstance(item, str | Real) for item in value):
                # For example, names of columns: as many on a line as fit.
                items = _filled(items, _WIDTH - len(_INDENT) * (depth + 1))
            if isinstance(value, list):
                return _joined("[", items, "]", depth)
            return f"({items[0]},)" if len(value) == 1 else _joined("(", items, ")", depth)
        call = _call(value, depth)
        if call is not None:
            module, name, arguments, options = call
            self._names.add((module, name))
            items = [self.text(item, depth + 1) for item in arguments]
            items += [f"{key}={self.text(v, depth + 1)}" for key, v in options.items()]
            return _joined(f"{name}(", items, ")", depth)
        # A class or a function of any kind is written by its name.
        is_named = isinstance(getattr(value, "__name__", None), str)
        named = value if is_named else type(value)
        name = str(named.__name__)
        # Methods of built-in types have no module.
        home = getattr(named, "__module__", None)
        if isinstance(home, str) and name.isidentifier():
            self._names.add((home, name))
        # Without the address in memory.
        return name if is_named else re.sub(r" at 0x\w+", "", repr_text(value))

    def imports(self) -> list[str]:
        by_module: dict[str, set[str]] = {}
        for module, name in self._names:
            # The user's script cannot be imported.
            if module in {"__main__", "builtins"}:
                continue
            # The shortest package path with the name.
            public, *private = module.split(".")
            while private and not hasattr(sys.modules.get(public), name):
                public = f"{public}.{private.pop(0)}"
            documented = public.replace("sk_tune._", "sk_tune.")
            public = documented if find_spec(documented) else public
            by_module.setdefault(public, set()).add(name)
        return [
            f"from {module} import {', '.join(sorted(names))}"
            for module, names in sorted(by_module.items())
        ]


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


def _call(value: Any, depth: int) -> tuple[str, str, list[Any], Mapping[str, Any]] | None:
    """Return the call that makes an object at a depth, if its kind is known.

    It is a module and a function in it, with arguments by position and by name.
    """
    kind = type(value)
    if isinstance(value, Choice):
        return kind.__module__, "Choice", [value.options], {}
    if isinstance(value, skopt.space.Categorical):
        prior = {} if value.prior is None else {"prior": list(value.prior)}
        return kind.__module__, "Categorical", [list(value.categories)], prior
    scorer = scorer_parts(value)
    if scorer is not None:
        method, sign = scorer["response_method"], scorer["sign"]
        options = {} if method == "predict" else {"response_method": method}
        options |= {"greater_is_better": False} if sign < 0 else {}
        options |= scorer["options"]
        return "sklearn.metrics", "make_scorer", [scorer["function"]], options
    if hasattr(value, "get_params") and not isinstance(value, type):
        # Callbacks of skorch have parameters without being estimators.
        return kind.__module__, kind.__name__, [], _changed(value, depth)
    if hasattr(value, "dist") and hasattr(value, "args") and hasattr(value, "kwds"):
        return "scipy.stats", value.dist.name, list(value.args), value.kwds
    return None


def _changed(estimator: Any, depth: int) -> dict[str, Any]:
    """Return the parameters of an estimator with other code than the defaults."""
    declared = inspect.signature(type(estimator)).parameters
    changed = {}
    for name, value in estimator.get_params(deep=False).items():
        default = declared[name].default if name in declared else inspect.Parameter.empty
        # Nested objects are not written a second time without a default to compare with.
        if default is None or default is inspect.Parameter.empty:
            is_default = value is default
        else:
            written, usual = (_CodeWriter().text(v, depth + 1) for v in (value, default))
            is_default = written == usual
        if not is_default:
            changed[name] = value
    return changed


def usage_code(search: Any) -> str:
    """Return code that predicts with the refitted estimator, and saves it."""
    if not hasattr(search, "best_estimator_"):
        return ""
    lines = ["predictions = search.predict(X_new)"]
    if hasattr(search, "predict_proba"):
        lines.append("probabilities = search.predict_proba(X_new)")
    keeping = [
        "# To keep the model; load a pickle only if you trust who made it:",
        'joblib.dump(search.best_estimator_, "model.joblib")',
    ]
    if is_savable(search.best_estimator_):
        keeping = [
            "# To keep the model, in a file that holds no code:",
            'sk_tune.save(search.best_estimator_, "model.safetensors")',
        ]
    return "\n".join([*lines, "", *keeping])
