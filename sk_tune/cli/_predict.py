# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""``sk-tune predict``: a saved model applied to a file, part by part."""

import difflib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd
import sklearn

from sk_tune._files import replaced_file
from sk_tune.cli._output import SavedModel, load_model
from sk_tune.cli._tables import NO_NAME, read_parts
from sk_tune.exceptions import OptionError, SkTuneWarning, TableError

__all__ = ["predict"]

_N_NAMED = 12  # Columns that a message lists.


def predict(
    model: Path, data: Path, output: Path | None, *, proba: bool, use: str | None
) -> None:
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
    use : str or None
        Which of the models predicts; None is the one of the fit.

    Raises
    ------
    TableError
        If the model or the table cannot be used, or they do not fit together.
    OptionError
        If probabilities are asked of a regression, or a model that there is not.
    """
    if output is not None and not output.absolute().parent.is_dir():
        raise OptionError(
            f"--output must be a file in a folder that exists. Got {str(output)!r} instead."
        )
    with warnings.catch_warnings():
        # scikit-learn's on another version, which is said below, and on new categories.
        warnings.simplefilter("ignore", UserWarning)
        saved = load_model(model, use=use)
        if proba and saved.task != "classification":
            raise OptionError(f"--proba must go with a classification. Got a {saved.task}.")
        _note(_version_note(saved))
        parts = read_parts(data, texts=saved.texts)
        if output is None:
            _write(parts, saved, sys.stdout, proba=proba)
            return
        with replaced_file(output) as path, path.open("w", encoding="utf-8") as file:
            n_rows = _write(parts, saved, file, proba=proba)
    print(f"Written: {n_rows} predictions of {saved.target!r} to {output}")


def _write(
    parts: Iterator[pd.DataFrame],
    saved: SavedModel,
    file: TextIO,
    *,
    proba: bool,
) -> int:
    """Write predictions part by part, so that no file is too large for memory."""
    n_rows = 0
    for part in parts:
        if not n_rows:
            _check_columns(part, saved)
        counted = f" Rows are counted from row {n_rows + 1} of the file." if n_rows else ""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SkTuneWarning)
            try:
                predictions = _predictions(part, saved, proba=proba)
            except TableError as error:
                raise TableError(f"{error}{counted}") from error
        # Labels and probabilities are of the same cells, of which each says the same.
        told = [str(own.message) for own in caught if own.category is SkTuneWarning]
        for message in dict.fromkeys(told):
            _note(f"{message}{counted}")
        # The file itself ends lines as the system does.
        predictions.to_csv(file, index=False, header=not n_rows, lineterminator="\n")
        n_rows += len(predictions)
    return n_rows


def _check_columns(frame: pd.DataFrame, saved: SavedModel) -> None:
    missing = [name for name in saved.columns if name not in frame.columns]
    if missing:
        near = difflib.get_close_matches(missing[0], list(frame.columns), n=1)
        hint = f" Did you rename {missing[0]!r} to {near[0]!r}?" if near else ""
        raise TableError(
            f"The table must have the {_columns(len(saved.columns))} that the model was "
            f"fitted with. Got {_columns(frame.shape[1])}, without "
            f"{_listed(missing)}.{hint}"
        )
    known = {*saved.columns, *saved.ignored}
    extra = [n for n in frame.columns if n not in known and not n.startswith(NO_NAME)]
    if extra:
        _note(f"Columns that the model does not know are ignored: {_listed(extra)}.")


def _predictions(frame: pd.DataFrame, saved: SavedModel, *, proba: bool) -> pd.DataFrame:
    # Columns that are left out need not be there, but have their places.
    X = frame.reindex(columns=list(saved.model.feature_names_in_))
    columns = {"prediction": saved.model.predict(X)}
    if proba:
        probabilities = saved.model.predict_proba(X).astype(np.float64).round(6)
        for label, values in zip(saved.model.classes_, probabilities.T, strict=True):
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


def _columns(n: int) -> str:
    return "1 column" if n == 1 else f"{n} columns"


def _listed(names: list[str]) -> str:
    more = len(names) - _N_NAMED
    listed = ", ".join(map(repr, names[:_N_NAMED]))
    return f"{listed} and {more} more" if more > 0 else listed
