# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""``sk-tune predict``: a saved network applied to a file."""

import difflib
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn

from sk_tune._files import replaced_file
from sk_tune.cli._output import SavedModel, load_model
from sk_tune.cli._tables import read_table
from sk_tune.exceptions import OptionError, TableError

__all__ = ["predict"]

_N_NAMED = 12  # Columns that a message lists.


def predict(model: Path, data: Path, output: Path | None, *, proba: bool) -> None:
    """Write the predictions for the rows of a file, in their order.

    Parameters
    ----------
    model : Path
        Output folder of ``sk-tune fit``.
    data : Path
        Table with the columns of the fitted one, in any order.
    output : Path or None
        CSV file to write; None prints.
    proba : bool
        Whether to add the probability of each class.

    Raises
    ------
    TableError
        If the model or the table cannot be used, or they do not fit together.
    OptionError
        If probabilities are asked of a regression.
    """
    if output is not None and not output.absolute().parent.is_dir():
        raise OptionError(
            f"--output must be a file in a folder that exists. Got {str(output)!r} instead."
        )
    with warnings.catch_warnings():
        # scikit-learn's on another version, which is said below, and on new categories.
        warnings.simplefilter("ignore", UserWarning)
        saved = load_model(model)
        if proba and saved.task != "classification":
            raise OptionError(f"--proba must go with a classification. Got a {saved.task}.")
        _note(_version_note(saved))
        frame = read_table(data, texts=saved.texts).frame
        _check_columns(frame, saved)
        predictions = _predictions(frame, saved, proba=proba)
    if output is None:
        predictions.to_csv(sys.stdout, index=False)
        return
    with replaced_file(output) as path:
        predictions.to_csv(path, index=False)
    print(f"Written: {len(predictions)} predictions of {saved.target!r} to {output}")


def _check_columns(frame: pd.DataFrame, saved: SavedModel) -> None:
    missing = [name for name in saved.columns if name not in frame.columns]
    if missing:
        near = difflib.get_close_matches(missing[0], list(frame.columns), n=1)
        hint = f" Did you rename {missing[0]!r} to {near[0]!r}?" if near else ""
        raise TableError(
            f"The table must have the {len(saved.columns)} columns that the model was "
            f"fitted with. Got {frame.shape[1]} columns, without {_listed(missing)}.{hint}"
        )
    extra = [name for name in frame.columns if name not in {*saved.columns, *saved.ignored}]
    if extra:
        _note(f"Columns that the model does not know are ignored: {_listed(extra)}.")


def _predictions(frame: pd.DataFrame, saved: SavedModel, *, proba: bool) -> pd.DataFrame:
    # Columns that are left out need not be there, but have their places.
    X = frame.reindex(columns=list(saved.pipeline["prepare"].feature_names_in_))
    columns = {"prediction": saved.pipeline.predict(X)}
    if proba:
        probabilities = saved.pipeline.predict_proba(X).astype(np.float64).round(6)
        for label, values in zip(saved.pipeline.classes_, probabilities.T, strict=True):
            columns[f"proba_{label}"] = values
    return pd.DataFrame(columns)


def _version_note(saved: SavedModel) -> str:
    if saved.sklearn_version == sklearn.__version__:
        return ""
    return (
        f"The model was fitted with scikit-learn {saved.sklearn_version}, and this is "
        f"{sklearn.__version__}: predictions may differ."
    )


def _note(text: str) -> None:
    if text:
        print(f"sk-tune predict: {text}", file=sys.stderr)


def _listed(names: list[str]) -> str:
    more = len(names) - _N_NAMED
    listed = ", ".join(map(repr, names[:_N_NAMED]))
    return f"{listed} and {more} more" if more > 0 else listed
