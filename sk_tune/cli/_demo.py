# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""``sk-tune demo``: fit on a real table that a dependency brings along."""

import gzip
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from sk_tune.cli._fit import FitOptions, fit
from sk_tune.cli._tables import Table
from sk_tune.exceptions import TableError

__all__ = ["demo", "demo_table"]

# OpenML's data set 40945, among scikit-learn's tests, which a distribution may leave out.
_TITANIC = "datasets/tests/data/openml/id_40945"
# Filled in after the sinking: the number of the lifeboat, and of the body.
_AFTERWARDS = ["boat", "body"]


def demo(name: str | None, options: FitOptions) -> None:
    """Run a fit on a table that comes with scikit-learn.

    The first there is if None is named.
    """
    table, target = demo_table(name)
    # The folder that only demos write to may be written again.
    own_folder = options.output == Path("sk_tune_demo")
    overwrite = options.overwrite or own_folder
    fit(table, replace(options, target=target, overwrite=overwrite))


def demo_table(name: str | None) -> tuple[Table, str]:
    """Return a table that comes with scikit-learn, and its target.

    The default is "titanic", or "breast_cancer" if that is not installed; TableError if
    "titanic" is asked for then.
    """
    if name == "titanic" or (name is None and _titanic_file() is not None):
        return _titanic(), "survived"
    loaders: dict[str, Callable[..., Any]] = {
        "breast_cancer": load_breast_cancer,
        "wine": load_wine,
        "diabetes": load_diabetes,
    }
    chosen = name or "breast_cancer"
    data = loaders[chosen](as_frame=True)
    frame = data.frame
    if hasattr(data, "target_names"):
        frame["target"] = data.target_names.astype(object)[frame["target"]]
    return Table(frame=frame, name=chosen), "target"


def _titanic() -> Table:
    file = _titanic_file()
    if file is None:
        raise TableError(
            "--table titanic must be among the files of this scikit-learn. Got none; use "
            "--table breast_cancer."
        )
    frame = _read_arff(gzip.decompress(file.read_bytes()).decode())
    note = f"Left out, because filled in afterwards: {' and '.join(_AFTERWARDS)}."
    return Table(frame=frame.drop(columns=_AFTERWARDS), name="titanic", notes=(note,))


def _titanic_file() -> Any:
    folder = files("sklearn") / _TITANIC
    if not folder.is_dir():
        return None
    return next((file for file in folder.iterdir() if file.name.endswith(".arff.gz")), None)


def _read_arff(text: str) -> pd.DataFrame:
    """Read the simple kind of ARFF: quoted names, one row a line, ? for missing."""
    header, _, rows = text.partition("@data\n")
    names = re.findall(r"^@attribute '([^']+)'", header, re.MULTILINE)
    return pd.read_csv(StringIO(rows), names=names, na_values="?", escapechar="\\")
