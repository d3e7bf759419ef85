# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The output folder: a model, results, a summary and a report, all or none."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import sklearn

from sk_tune import __version__
from sk_tune.exceptions import OptionError, TableError

__all__ = [
    "SavedModel",
    "check_output_folder",
    "load_model",
    "results_table",
    "write_output",
]

_MODEL = "model.joblib"
_RESULTS = "results.csv"
_SUMMARY = "summary.json"
_REPORT = "report.html"
_FORMAT = 1

# What unpickling raises on files that are damaged, foreign or of another version.
_PICKLE_ERRORS = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedModel:
    """A fitted pipeline and what it takes to apply it to a file.

    Parameters
    ----------
    pipeline : Pipeline
        Fitted.
    task : {"classification", "regression"}
        The kind of problem.
    target : str
        The column that it predicts.
    columns : tuple of str
        Columns that it needs.
    texts : tuple of str
        Those of them that hold text.
    ignored : tuple of str
        Columns of the fitted table that it does not need.
    sklearn_version : str
        Of scikit-learn, which promises to load pickles of the same version only.
    """

    pipeline: Any
    task: str
    target: str
    columns: tuple[str, ...]
    texts: tuple[str, ...]
    ignored: tuple[str, ...]
    sklearn_version: str = sklearn.__version__


def check_output_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that cannot take the output, before any work is done.

    Parameters
    ----------
    folder : Path
        Where to write; it need not exist.
    overwrite : bool
        Whether a model in it may be replaced.

    Raises
    ------
    OptionError
        If it is a file, cannot be written, or holds a model that must stay.
    """
    if (folder / _MODEL).exists() and not overwrite:
        raise OptionError(
            f"--output must be a folder without a model. Got {str(folder)!r}, which has "
            "one. Name another folder, or replace it with --overwrite."
        )
    nearest = next(
        parent for parent in (folder, *folder.absolute().parents) if parent.exists()
    )
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise OptionError(
            f"--output must be a folder that can be written. Got {str(folder)!r}, where "
            f"{str(nearest)!r} is a file or read-only."
        )


def write_output(
    folder: Path,
    model: SavedModel,
    results: pd.DataFrame,
    summary: dict[str, Any],
    write_report: Callable[[Path], object],
) -> None:
    """Write the four files of a fit.

    Parameters
    ----------
    folder : Path
        Where to write.  Other files in it stay.
    model : SavedModel
        For ``model.joblib``.
    results : DataFrame
        For ``results.csv``.
    summary : dict
        For ``summary.json``.
    write_report : callable
        Writes ``report.html``, given its path.
    """
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    # In the same file system, so that the files can be moved instead of copied.
    stage = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    stage.mkdir()
    try:
        results.to_csv(stage / _RESULTS, index=False)
        text = json.dumps(_without_nan(summary), indent=2, ensure_ascii=False)
        (stage / _SUMMARY).write_text(text + "\n", encoding="utf-8")
        write_report(stage / _REPORT)
        # Plain values around the pipeline, so that the file names no class of this module.
        content = {name: getattr(model, name) for name in SavedModel.__slots__}
        versions = {"format": _FORMAT, "sk_tune_version": __version__}
        joblib.dump({**versions, **content}, stage / _MODEL, compress=3)
        _move(stage, folder)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def load_model(folder: Path) -> SavedModel:
    """Return the model in an output folder.

    Parameters
    ----------
    folder : Path
        Folder, or the ``model.joblib`` in it.  It is a pickle, so it must be trusted.

    Returns
    -------
    SavedModel
        As it was written.

    Raises
    ------
    TableError
        If there is none, or the file is no such model.
    """
    path = folder / _MODEL if folder.is_dir() else folder
    if not path.is_file():
        raise TableError(
            f"MODEL_DIR must be a folder with a {_MODEL}, as sk-tune fit writes. Got "
            f"{str(folder)!r}."
        )
    try:
        content = joblib.load(path)
    except _PICKLE_ERRORS as error:
        raise TableError(
            f"{str(path)!r} must be a model that sk-tune fit wrote. Loading it failed: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise TableError(
            f"{str(path)!r} must be a model that sk-tune fit wrote, of format {_FORMAT}. "
            f"Got another object of type {type(content).__name__}."
        )
    return SavedModel(**{name: content[name] for name in SavedModel.__slots__})


def results_table(search: Any) -> pd.DataFrame:
    """Return a row for each candidate, in the order in which they were tried.

    Parameters
    ----------
    search : RandomizedSearchCV
        Fitted.

    Returns
    -------
    DataFrame
        scikit-learn's columns of scores and times, then a column for each parameter.
        Candidates that could not be fitted have no mean score and no rank.
    """
    results = search.cv_results_
    splits = [f"split{i}_test_score" for i in range(search.n_splits_)]
    names = [
        "rank_test_score",
        "mean_test_score",
        "std_test_score",
        *splits,
        "mean_fit_time",
    ]
    scores = pd.DataFrame({name: results[name] for name in names})
    unscored = scores["mean_test_score"].isna()
    scores["rank_test_score"] = scores["rank_test_score"].astype("Int64").mask(unscored)
    params = pd.DataFrame(results["params"], dtype=object).map(_plain)
    params.columns = params.columns.str.removeprefix("net__")
    table = pd.concat([scores, params], axis=1)
    table.insert(0, "candidate", np.arange(1, len(table) + 1))
    return table


def _move(stage: Path, folder: Path) -> None:
    if not folder.exists():
        stage.rename(folder)
        return
    # The model last: what is beside a model is then never older than it.
    for name in (_RESULTS, _SUMMARY, _REPORT, _MODEL):
        (stage / name).replace(folder / name)


def _plain(value: Any) -> Any:
    # "none", because an empty cell would read as a parameter that was not given.
    return "none" if value is None else value


def _without_nan(value: Any) -> Any:
    """Return a value with null for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
