# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""``sk-tune predict``, ``report``, ``export`` and ``store``: commands on finished fits."""

import json
import sys
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn

from sk_tune._cli._output import SavedModel, load_model, usage_text, write_report
from sk_tune._cli._printing import print_answer, say
from sk_tune._cli._tables import NO_NAME, read_parts
from sk_tune._engine import FitStore
from sk_tune._files import replaced_file
from sk_tune._report import writer_for
from sk_tune._text import bytes_text, counted, listed, nearest
from sk_tune.exceptions import OptionError, SkTuneWarning, StoreError, TableError

_N_LISTED = 12  # Columns that a message lists.


def predict(
    model: Path,
    data: Path,
    output: Path | None,
    *,
    proba: bool,
    interval: float | None,
    use: str | None,
) -> None:
    """Write predictions for the rows of a file, in their order, to a file or the screen."""
    _check_output_file(output)
    if output is not None and output.exists() and output.samefile(data):
        raise OptionError(
            f"--output must not replace the table. Got {str(output)!r}, the file of the "
            "rows to predict. Name another file."
        )
    file, n_rows = sys.stdout, 0
    with ExitStack() as stack:
        # scikit-learn's warnings of another version (reported below) and of new categories.
        stack.enter_context(warnings.catch_warnings(action="ignore", category=UserWarning))
        saved = load_model(model, use=use)
        if proba and saved.task != "classification":
            raise OptionError(f"--proba needs a classifier. Got a model for {saved.task}.")
        if saved.sklearn_version != sklearn.__version__:
            _note(
                f"The model was fitted with scikit-learn {saved.sklearn_version}. With the "
                f"installed version, {sklearn.__version__}, predictions may differ."
            )
        if output is not None:
            path = stack.enter_context(replaced_file(output))
            file = stack.enter_context(path.open("w", encoding="utf-8"))
        # Part by part, so that no file is too large for memory.
        for part in read_parts(data, texts=saved.texts):
            if not n_rows:
                _check_columns(part, saved)
            predictions = _predicted(part, saved, n_rows, proba=proba, interval=interval)
            # The file itself ends lines as the system does.
            predictions.to_csv(file, index=False, header=not n_rows, lineterminator="\n")
            n_rows += len(part)
    if output is not None:
        print(f"Written: {n_rows} predictions of {saved.target!r} to {output}")


def _check_output_file(output: Path | None) -> None:
    if output is not None and (output.is_dir() or not output.absolute().parent.is_dir()):
        raise OptionError(
            f"--output must be a file in a folder that exists. Got {str(output)!r} instead."
        )


def _predicted(
    part: pd.DataFrame,
    saved: SavedModel,
    n_before: int,
    *,
    proba: bool,
    interval: float | None,
) -> pd.DataFrame:
    """Return predictions for rows of a file that has `n_before` rows before them."""
    where = f" Rows are counted from row {n_before + 1} of the file." if n_before else ""
    # Columns that the model ignores may be missing; their positions are filled.
    X = part.reindex(columns=list(saved.model.feature_names_in_))
    with warnings.catch_warnings(record=True, action="always") as caught:
        try:
            columns = {"prediction": saved.model.predict(X)}
            if proba:
                labels = [f"proba_{label}" for label in saved.model.classes_]
                probabilities = saved.model.predict_proba(X).astype(np.float64)
                columns |= zip(labels, probabilities.round(6).T, strict=True)
            if interval is not None:
                columns |= _intervals(saved, X, interval)
        except TableError as error:
            raise TableError(f"{error}{where}") from error
    messages = [w.message for w in caught if issubclass(w.category, SkTuneWarning)]
    # Labels and probabilities raise the same warnings.
    for message in dict.fromkeys(map(str, messages)):
        _note(f"{message}{where}")
    return pd.DataFrame(columns)


def _intervals(saved: SavedModel, X: pd.DataFrame, coverage: float) -> dict[str, Any]:
    """Return columns of the bounds, or a column of the labels of each set."""
    if saved.task != "classification":
        low, high = saved.model.predict_interval(X, coverage).T
        return {"low": low, "high": high}
    labels = np.asarray(saved.model.classes_).astype(str)
    sets = saved.model.predict_set(X, coverage)
    return {"set": ["|".join(labels[members]) for members in sets]}


def _check_columns(frame: pd.DataFrame, saved: SavedModel) -> None:
    expected = {*saved.columns, *saved.ignored}
    missing = [name for name in saved.columns if name not in frame.columns]
    if missing:
        similar = nearest(missing[0], [n for n in frame.columns if n not in expected])
        hint = f" Did you rename {missing[0]!r} to {similar[0]!r}?" if similar else ""
        raise TableError(
            f"The table must have the {counted(len(saved.columns), 'column')} that the "
            f"model was fitted with. Got {counted(frame.shape[1], 'column')}; missing: "
            f"{listed([*map(repr, missing)], _N_LISTED)}.{hint}"
        )
    extra = [n for n in frame.columns if n not in expected and not n.startswith(NO_NAME)]
    if extra:
        names = listed([*map(repr, extra)], _N_LISTED)
        _note(f"Columns that the model was not fitted with are ignored: {names}.")


def _note(text: str) -> None:
    print(f"sk-tune predict: {text}", file=sys.stderr)


def report(folder: Path, output: Path | None) -> None:
    """Print the outcome of a fit and write its page, into its folder by default."""
    _check_output_file(output)
    try:
        writer_for(output or "report.html")
    except ValueError as error:
        raise OptionError(str(error)) from None
    saved = load_model(folder)
    if not folder.is_dir():  # `folder` is the file of the model.
        folder = folder.parent.parent if folder.parent.name == "model" else folder.parent
    try:
        text = (folder / "summary.json").read_text(encoding="utf-8")
        title = f"{saved.target} in {json.loads(text)['table']}"
    except (OSError, ValueError, LookupError, TypeError):
        title = saved.target
    path = folder / "report.html" if output is None else output
    written = write_report(saved.model, path, title, usage_text(folder))
    print_answer(saved.model)
    say("Written", str(written))


def export(folder: Path, output: Path, *, use: str | None = None) -> None:
    """Write a model as ONNX and its columns as JSON, or neither."""
    if output.suffix != ".onnx" or not output.absolute().parent.is_dir():
        raise OptionError(
            "--output must be a file that ends in .onnx, in a folder that exists. Got "
            f"{str(output)!r} instead."
        )
    columns_file = output.with_suffix(".json")
    try:
        keys = json.loads(columns_file.read_text(encoding="utf-8")).keys()
    except (OSError, ValueError, AttributeError):
        keys = set()
    # The file of another ONNX model may be replaced.
    if columns_file.exists() and not {"inputs", "classes", "members"} <= keys:
        raise OptionError(
            f"--output must not replace other files. Got {str(output)!r}: the list of its "
            f"columns would replace {columns_file.name}, which export did not write. Name "
            "another file."
        )
    say("Reading", str(folder))
    auto = load_model(folder, use=use).model
    with replaced_file(columns_file) as account, replaced_file(output) as network:
        try:
            about = auto.to_onnx(network, progress=lambda text: say("Writing", text))
        except (TypeError, ImportError) as error:
            raise OptionError(str(error)) from error
        text = json.dumps(about, indent=2, ensure_ascii=False)
        account.write_text(text + "\n", encoding="utf-8")
    members = counted(len(about["members"]), "model")
    say("Written", f"{members} to {output}, its columns to {output.stem}.json")


def store(action: str, path: str, max_size: float | None) -> None:
    """Show "info" of a store, "verify" it, or "vacuum" it to `max_size` bytes."""
    with FitStore(path) as opened:
        if action == "vacuum":
            say("Removed", f"{opened.vacuum(max_size)} fits")
        if action == "verify":
            damaged = opened.verify()
            if damaged:
                raise StoreError(
                    f"{len(damaged)} of {opened.info().n_fits} fits in {opened.name} are "
                    "damaged. They will be trained again; vacuum removes them."
                )
            say("Verified", "every fit matches its checksum")
        info = opened.info()
    say("Store", f"{info.path}, schema {info.schema_version}")
    say("Fits", f"{info.n_fits:,} with {info.n_epochs:,} epochs")
    say("Size", bytes_text(info.n_bytes))
