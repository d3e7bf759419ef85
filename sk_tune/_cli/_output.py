# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The output folder: a model, trials, a summary and a report, all or none."""

import gzip
import json
import os
import shlex
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import sklearn

from sk_tune import __version__
from sk_tune._automl import auto_page
from sk_tune._cli._parser import CONFIG, MODEL, RESUME, TRIALS, in_options, model_file
from sk_tune._files import replaced_file, sign
from sk_tune._report import plain, write_page
from sk_tune.exceptions import OptionError, TableError

_TABLES = ("trials.parquet", "trials.csv")
_SUMMARY = "summary.json"
_REPORT = "report.html"
_RESULTS = (MODEL, *_TABLES, _SUMMARY, _REPORT)
# Files to resume from, with signatures, SQLite's extra files, and half-written files that a
# kill leaves behind.
_OF_RESUME = (
    "config.json",
    "trials.pickle*",
    "*.networks.db*",
    ".config.json.*.tmp",
    ".trials.pickle.*.tmp",
)
_FORMAT = 3

# The checksum of zlib, joblib's default, overlooked one flipped bit in 29,000.
_COMPRESS = ("gzip", 3)
_GZIP = b"\x1f\x8b"
# Bytes read at a time.
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedModel:
    """A fitted model, and the columns that it needs from a file.

    `columns` are required, `texts` among them hold text; `ignored` are the other columns of
    the fitted table. scikit-learn supports only pickles of its own version.
    """

    model: Any
    task: str
    target: str
    columns: tuple[str, ...]
    texts: tuple[str, ...]
    ignored: tuple[str, ...]
    sklearn_version: str = sklearn.__version__


def check_output_folder(folder: Path, *, overwrite: bool) -> None:
    """Raise OptionError if output cannot be written to a folder, which may not exist."""
    existing = [name for name in (*_RESULTS, CONFIG) if (folder / name).exists()]
    if existing and not overwrite:
        can_resume = (folder / TRIALS).exists()
        remedy = "Continue with sk-tune resume, name" if can_resume else "Name"
        raise OptionError(
            "--output must be a folder without files of an earlier fit. Got "
            f"{str(folder)!r}, which has {', '.join(existing)}. {remedy} another folder, "
            "or replace them with --overwrite."
        )
    for place in map(Path, map(os.path.realpath, (folder, folder / "model"))):
        nearest = next(parent for parent in (place, *place.parents) if parent.exists())
        try:
            # Permissions are not enough: root ignores them, and file systems may be
            # read-only.
            Path(tempfile.mkdtemp(prefix=".sk_tune.", dir=nearest)).rmdir()
        except OSError as error:
            raise OptionError(
                f"--output must be a writable folder. Got {str(folder)!r}, where "
                f"{str(nearest)!r} is a file or is not writable: {reason_of(error)}."
            ) from error


@contextmanager
def resumable_output(
    folder: Path, config: dict[str, Any], *, resumes: bool
) -> Iterator[Path]:
    """Create the folder for the store of a fit, and remove it if no model finished.

    Raises KeyboardInterrupt with the output folder if models finished before it.
    """
    resume, was_there = folder / RESUME, folder.exists()
    if not resumes:
        _remove_resume(resume)
    resume.mkdir(parents=True, exist_ok=True)
    try:
        with replaced_file(folder / CONFIG) as path:
            path.write_text(as_json(config), encoding="utf-8")
        yield resume
    except BaseException as error:
        if not (folder / TRIALS).exists():
            _remove_resume(resume)
            if not was_there:
                with suppress(OSError):
                    folder.rmdir()
        elif isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(str(folder)) from None
        raise


def _remove_resume(resume: Path) -> None:
    """Delete the files to resume from, but no other file in the folder."""
    for pattern in _OF_RESUME:
        for path in resume.glob(pattern):
            with suppress(OSError):
                path.unlink()
    with suppress(OSError):
        resume.rmdir()


def write_output(
    folder: Path, saved: SavedModel, summary: dict[str, Any], title: str
) -> list[str]:
    """Write the files of a fit, and return their names; other files in the folder stay."""
    folder, usage = Path(os.path.realpath(folder)), usage_text(folder)
    # Files can only be moved within a file system. An existing folder may be a file system
    # of its own, as a volume of a container, or its parent may be read-only.
    home = folder if folder.is_dir() else folder.parent
    stage = home / f".{folder.name}.{os.getpid()}.tmp"
    (stage / "model").mkdir(parents=True)
    try:
        names = [_write_trials(saved.model, stage), _SUMMARY, _REPORT]
        (stage / _SUMMARY).write_text(as_json(summary), encoding="utf-8")
        write_report(saved.model, stage / _REPORT, title, usage)
        # Plain values around the model, so that the file names no class of this module.
        content = {name: getattr(saved, name) for name in SavedModel.__slots__}
        versions = {"format": _FORMAT, "sk_tune_version": __version__}
        joblib.dump({**versions, **content}, stage / MODEL, compress=_COMPRESS)
        (folder / "model").mkdir(parents=True, exist_ok=True)
        sign(stage / MODEL, instead_of=folder / MODEL)
        # The model last, so that it is never newer than the rest.
        for name in [*names, MODEL]:
            (stage / name).replace(folder / name)
        # Remaining files of an earlier fit belong to another model.
        for name in set(_RESULTS).difference([*names, MODEL]):
            (folder / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return [MODEL, *names]


def write_report(auto: Any, path: Path, title: str, usage: str) -> Path:
    """Write the page of a fit with options of the command line, and return its file."""
    page = auto_page(auto, title=title, usage=usage)
    checks = [replace(check, remedy=in_options(check.remedy)) for check in page.checks]
    step = page.next_step
    if step is not None:
        step = replace(step, remedy=in_options(step.remedy))
    page = replace(page, summary=in_options(page.summary), checks=checks, next_step=step)
    return write_page(page, path)


def reason_of(error: OSError) -> str:
    """Return the reason of an error without the name of the file."""
    return (error.strerror or str(error)).lower()


def usage_text(folder: Path) -> str:
    """Return code that predicts with an output folder, in a terminal and in Python."""
    return (
        f"sk-tune predict {shlex.quote(str(folder))} new.csv --output predictions.csv\n\n"
        "# Or in Python. A pickle can execute code: load only a file that you trust.\n"
        "import joblib\nimport pandas as pd\n\n"
        f'model = joblib.load({str(folder / MODEL)!r})["model"]\n'
        'predictions = model.predict(pd.read_csv("new.csv"))'
    )


def load_model(folder: Path, *, use: str | None = None) -> SavedModel:
    """Return the model in an output folder, or in the pickle itself."""
    path = model_file(folder)
    content = _unpickled(path)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise TableError(
            f"{str(path)!r} must be a model that sk-tune fit wrote, of format {_FORMAT}. "
            f"Got an object of type {type(content).__name__}."
        )
    saved = SavedModel(**{name: content[name] for name in SavedModel.__slots__})
    if use is not None:
        blends = saved.model.blends_
        if use not in blends:
            names = [name for name in blends if name != "dummy"]
            raise OptionError(
                f"--use must name a model that was trained: {', '.join(names)}. Got "
                f"{use!r} instead."
            )
        saved.model.set_params(use=use)
    return saved


def _unpickled(path: Path) -> Any:
    """Return the content of a file, if its checksum is right."""
    try:
        with path.open("rb") as file:
            is_zipped = file.read(len(_GZIP)) == _GZIP
        if is_zipped:
            # Read up to the checksum, in pieces that fit into memory.
            with gzip.open(path) as unzipped:
                while unzipped.read(_CHUNK):
                    pass
        return joblib.load(path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TableError(
            f"{str(path)!r} must be a model that sk-tune fit wrote. Its checksum is "
            "wrong: the file is damaged or was not copied completely."
        ) from error
    except (MemoryError, OSError):
        raise
    except Exception as error:
        raise TableError(
            f"{str(path)!r} must be a model that sk-tune fit wrote. Loading it failed: "
            f"{type(error).__name__}: {error}"
        ) from error


def _write_trials(auto: Any, stage: Path) -> str:
    """Write the leaderboard with a column of texts for each parameter; return its name."""
    board = auto.leaderboard_.reset_index()
    params = [
        {key.rpartition("__")[2]: value for key, value in values.items()}
        for values in board.pop("params")
    ]
    # Texts, because one parameter may be a number here and a name there.
    texts = pd.DataFrame(params, index=board.index, dtype=object).map(_plain)
    table = pd.concat([board, texts], axis=1)
    with_parquet, without = _TABLES
    try:
        table.to_parquet(stage / with_parquet, index=False)
    except ImportError:
        table.to_csv(stage / without, index=False)
        return without
    return with_parquet


def as_json(content: dict[str, Any]) -> str:
    text = json.dumps(plain(content), indent=2, ensure_ascii=False)
    return f"{text}\n"


def _plain(value: Any) -> Any:
    if isinstance(value, float) and np.isnan(value):
        return None
    return "none" if value is None else str(value)
