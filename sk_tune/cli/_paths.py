# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Files that a command needs, looked for before anything that takes seconds is imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sk_tune._files import is_own
from sk_tune.exceptions import OptionError, StoreError, TableError

__all__ = [
    "CONFIG",
    "MODEL",
    "RESUME",
    "TRIALS",
    "check_paths",
    "check_trusted",
    "is_text_table",
    "model_file",
    "resume_file",
]

# Files in the output folder: the model, and those that a fit resumes from.
MODEL = "model/model.joblib"
RESUME = "resume"
CONFIG = f"{RESUME}/config.json"
TRIALS = f"{RESUME}/trials.joblib"

_TEXT_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
_PARQUET_ENDINGS = (".parquet", ".pq")


def check_paths(command: str, options: Mapping[str, Any]) -> None:
    """Raise the error that a command would end with for want of a file."""
    is_trusted = options.get("trusted", False)
    if command in {"predict", "report", "export"}:
        path = model_file(options.get("model") or options["folder"])
        check_trusted(path, is_trusted=is_trusted)
    if command == "resume":
        check_trusted(resume_file(options["folder"]), is_trusted=is_trusted)
    if command == "store" and not options["path"].exists():
        raise StoreError(f"The store must be a file that exists. Got {options['path']}.")
    if options.get("data") is not None:
        is_text_table(options["data"])


def is_text_table(path: Path) -> bool:
    """Return whether the file of a table is text, and not Parquet, or refuse it."""
    name = path.name.lower()
    is_text = name.endswith(_TEXT_ENDINGS)
    if not is_text and not name.endswith(_PARQUET_ENDINGS):
        raise TableError(
            f"The table must be a file that ends in {', '.join(_TEXT_ENDINGS)} or "
            f".parquet. Got {str(path)!r} instead."
        )
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise TableError(
            f"The table must be a file that exists. Got {str(path)!r}, which is {found}."
        )
    if path.stat().st_size == 0:
        raise TableError(
            f"The table {str(path)!r} must have a header and rows. Got 0 bytes."
        )
    return is_text


def model_file(folder: Path) -> Path:
    """Return the file of the model in an output folder, or that file if it was given."""
    path = folder / MODEL if folder.is_dir() else folder
    if path.is_file():
        return path
    hint = ""
    if (folder / TRIALS).is_file():
        hint = f", whose fit was cut off: go on with sk-tune resume {folder}"
    raise TableError(
        f"MODEL_DIR must be a folder with a {MODEL}, as sk-tune fit writes. Got "
        f"{str(folder)!r}{hint}."
    )


def resume_file(folder: Path) -> Path:
    """Return the file that a fit resumes from."""
    for name in (CONFIG, TRIALS):
        if not (folder / name).is_file():
            raise TableError(
                f"MODEL_DIR must be a folder with {CONFIG} and {TRIALS}, as sk-tune fit "
                f"writes. Got {str(folder)!r} without {name}."
            )
    return folder / TRIALS


def check_trusted(path: Path, *, is_trusted: bool) -> None:
    """Refuse a pickle that this user has not written, and does not vouch for."""
    if not is_trusted and not is_own(path):
        raise OptionError(
            f"{str(path)!r} is a pickle, and loading it can execute code. Got one that you "
            "did not write with this account on this machine, or that has changed since. "
            "If you trust where it comes from, say --trusted."
        )
