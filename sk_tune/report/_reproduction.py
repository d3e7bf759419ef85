# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Versions, seeds, folds, data and code: what it takes to get a search again."""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import clone

from sk_tune import __version__
from sk_tune._search_record import search_record
from sk_tune.prepare import as_pandas
from sk_tune.report._value_texts import import_lines, python_text, value_text

_PACKAGES = ("torch", "scikit-learn", "skorch", "numpy", "scipy", "pandas")
_HASH_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """All that is needed to get the same search again.

    Versions of packages and the system, ``random_state`` of each part that has one, the
    folds, shape, type and hash of X and y as far as they are known, and the search and its
    best candidate as Python.
    """

    versions: Mapping[str, str]
    seeds: Mapping[str, Any]
    cv: str
    data: Mapping[str, str]
    code: str


def reproduction(
    search: Any, best: Mapping[str, Any] | None, X: Any, y: Any
) -> Reproduction:
    """Return what it takes to get a search again; `X` and `y` are None if not at hand."""
    record = search_record(search)
    if y is None and record is not None:
        y = record.y
    data = {
        name: data_fingerprint(values)
        for name, values in (("X", X), ("y", y))
        if values is not None
    }
    return Reproduction(
        versions=package_versions(),
        seeds=_seeds(search),
        cv=_cv_text(search),
        data=data,
        code=_code(search, best),
    )


def package_versions() -> dict[str, str]:
    """Return the versions of the packages and the system that results depend on."""
    return {
        "sk_tune": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
    }


def fit_code(estimator: Any, name: str, *others: Any) -> str:
    """Return Python that makes and fits an estimator; `others` are imported, too."""
    imports = import_lines([estimator, *others])
    made = f"{name} = {python_text(estimator)}"
    return "\n".join([*imports, "", made, f"{name}.fit(X, y)"])


def data_fingerprint(values: Any) -> str:
    """Return shape, type and hash of data, whatever their layout in memory.

    >>> text = data_fingerprint(np.eye(2))
    >>> text.startswith("shape (2, 2), float64, sha256 ")
    True
    >>> text == data_fingerprint(np.asfortranarray(np.eye(2)))
    True
    """
    table = as_pandas(values)
    if table is not None:
        return _of_table(table, values.shape)
    if sparse.issparse(values):
        csr = values.tocsr()
        digest = _digest([csr.indptr, csr.indices, csr.data])
        return f"shape {csr.shape}, sparse {csr.dtype}, sha256 {digest}"
    array = np.asarray(values)
    return f"shape {array.shape}, {array.dtype}, sha256 {_digest([array])}"


def _of_table(table: pd.DataFrame, shape: tuple[int, ...]) -> str:
    dtypes = table.dtypes.astype(str).value_counts()
    listed = ", ".join(f"{count} {name}" for name, count in dtypes.items())
    try:
        hashed = [pd.util.hash_pandas_object(table, index=False).to_numpy()]
    except TypeError:
        hashed = [np.array(table.astype(str))]
    names = np.array([str(name) for name in table.columns])
    return f"shape {shape}, {listed}, sha256 {_digest([names, *hashed])}"


def _digest(arrays: list[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}{array.dtype}".encode())
        if array.dtype == object:
            digest.update(repr(array.tolist()).encode())
        else:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:_HASH_DIGITS]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _seeds(search: Any) -> dict[str, Any]:
    seeds = {
        name: value
        for name, value in search.get_params(deep=True).items()
        if name.rsplit("__", 1)[-1] == "random_state"
    }
    cv = search.cv
    if hasattr(cv, "random_state"):
        seeds["cv.random_state"] = cv.random_state
    return {name: value_text(value) for name, value in sorted(seeds.items())}


def _cv_text(search: Any) -> str:
    # scikit-learn makes a splitter of a number of folds, for example.
    cv = getattr(search, "_checked_cv_orig", search.cv)
    if type(cv).__module__.startswith("sklearn.") and not type(cv).__name__.startswith("_"):
        return value_text(cv)
    return f"{search.n_splits_} folds by {type(search.cv).__name__}"


def _code(search: Any, best: Mapping[str, Any] | None) -> str:
    extra = [] if best is None else [clone]
    lines = [fit_code(search, "search", *extra)]
    if best is not None:
        lines += [
            "",
            "# The best candidate alone:",
            f"params = {python_text(dict(best))}",
            "clone(search.estimator).set_params(**params).fit(X, y)",
        ]
    return "\n".join(lines)
