# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tables in files, CSV in its common dialects, TSV and Parquet, and those for a demo."""

import codecs
import gzip
import io
import re
import warnings
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from sk_tune.cli._parser import is_text_table
from sk_tune.exceptions import TableError
from sk_tune.prepare import header_rows

__all__ = ["NO_NAME", "LoadedTable", "demo_table", "read_parts", "read_table"]

# How the names begin that pandas gives to columns without one.
NO_NAME = "Unnamed: "

_SEPARATORS = ",;\t|"
_SNIFFED_CHARACTERS = 100_000
# Number of rows that are predicted at a time.
_PART_ROWS = 50_000
# The prefix of pandas before the reason of an error.
_C_PARSER = "Error tokenizing data. C error: "
# Missing values beside those of pandas, such as the empty cell and NA.
_MISSING = ["?"]
# A field that is a number of some form, between the separators.
_FIELD = r"(?:^|{0})[ \"]*-?{1}[ \"]*(?={0}|\r?$)"
# OpenML's data set 40945, among scikit-learn's tests, which a distribution may leave out.
_TITANIC = "datasets/tests/data/openml/id_40945"
# Filled in after the sinking: the number of the lifeboat, and of the body.
_AFTERWARDS = ["boat", "body"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedTable:
    """A table of one row or more, its name, and notes on guesses made in reading it."""

    frame: pd.DataFrame
    name: str
    notes: tuple[str, ...] = ()


def read_table(path: Path, *, texts: Collection[str] = ()) -> LoadedTable:
    """Return the table in a file, which has at least one row.

    A text file's separator, encoding and decimal sign are found out; lines that repeat its
    header are left out, and `texts` are columns to read as text. Raises TableError if there
    is no such file, or it is of another type, damaged or empty.
    """
    is_text = is_text_table(path)
    frame, notes = _read_text(path, texts) if is_text else (_read_parquet(path), ())
    if frame.empty:
        raise TableError(_no_rows(path, frame))
    frame, dropped = _without_row_numbers(frame)
    return LoadedTable(frame=frame, name=path.name, notes=(*notes, *dropped))


def read_parts(
    path: Path, *, texts: Collection[str] = (), n_rows: int = _PART_ROWS
) -> Iterator[pd.DataFrame]:
    """Yield the table in a file in parts of at most `n_rows`, never all of it at once.

    A first column without a name stays: one part does not tell whether it counts the rows.
    Takes and raises what :func:`read_table` does.
    """
    is_empty = True
    parts = _text_parts if is_text_table(path) else _parquet_parts
    for part in parts(path, texts, n_rows):
        if part.empty and is_empty:
            raise TableError(_no_rows(path, part))
        is_empty = False
        yield part
    if is_empty:
        raise TableError(_no_rows(path, pd.DataFrame()))


def _no_rows(path: Path, frame: pd.DataFrame) -> str:
    return (
        f"The table {str(path)!r} must have at least one row below its header. Got "
        f"{len(frame)} rows and {frame.shape[1]} columns."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dialect:
    """How a text file is written."""

    encoding: str
    separator: str
    decimal: str

    def read(self, file: Any, texts: Collection[str], **options: Any) -> Any:
        """Return a file as pandas reads it, or what reads it part by part."""
        return pd.read_csv(
            file,
            sep=self.separator,
            decimal=self.decimal,
            encoding=self.encoding,
            dtype=dict.fromkeys(texts, "str"),
            na_values=_MISSING,
            skipinitialspace=True,
            index_col=False,
            low_memory=False,
            **options,
        )


def _dialect(path: Path) -> _Dialect:
    encoding = _encoding(path)
    with _opened(path) as file, io.TextIOWrapper(file, encoding, newline="") as text:
        head = text.read(_SNIFFED_CHARACTERS)
    separator = "\t" if ".tsv" in path.name.lower() else _separator(head)
    decimal = "," if _has_decimal_commas(head, separator) else "."
    return _Dialect(encoding=encoding, separator=separator, decimal=decimal)


@contextmanager
def _strictly(path: Path) -> Iterator[None]:
    """Refuse what pandas cannot parse, or would drop fields of."""
    try:
        with warnings.catch_warnings():
            # Pandas warns where it would drop fields of rows longer than the header.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            yield
    except (
        pd.errors.EmptyDataError,
        pd.errors.ParserError,
        pd.errors.ParserWarning,
    ) as error:
        raise TableError(
            f"The table {str(path)!r} must be lines with as many fields as its header. "
            f"Got: {_first_line(error)}"
        ) from error


def _text_parts(path: Path, texts: Collection[str], n_rows: int) -> Iterator[pd.DataFrame]:
    dialect = _dialect(path)
    with _strictly(path):
        reader = dialect.read(path, texts, chunksize=n_rows)
    with reader:
        while True:
            try:
                with _strictly(path):
                    part = next(reader)
            except StopIteration:
                return
            yield part


def _parquet_parts(
    path: Path, texts: Collection[str], n_rows: int
) -> Iterator[pd.DataFrame]:
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        # Says what is missing.
        yield _read_parquet(path)
        return
    try:
        file = ParquetFile(path)
        batches = file.iter_batches(batch_size=n_rows)
        for batch in batches:
            yield _named(batch.to_pandas(), path)
    except (ValueError, OSError) as error:
        raise TableError(
            f"{str(path)!r} must be a Parquet file. Got: {_first_line(error)}"
        ) from error


def _read_text(path: Path, texts: Collection[str]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    dialect = _dialect(path)
    with _strictly(path):
        frame = dialect.read(path, texts)
    repeated = header_rows(frame)
    if repeated.any():
        # The table is read from text once more, so that columns of numbers are numbers
        # again.
        rest = frame[~repeated].to_csv(index=False, sep=dialect.separator)
        frame = dialect.read(io.StringIO(rest), texts)
    n = repeated.sum()
    lines = "1 line repeats" if n == 1 else f"{n} lines repeat"
    notes = {
        f"It is not UTF-8; read as {dialect.encoding}.": (
            not dialect.encoding.startswith("utf")
        ),
        f"Fields are separated by {dialect.separator!r}.": dialect.separator not in ",\t",
        "Numbers have a decimal comma.": dialect.decimal == ",",
        f"Note: {lines} the header; left out.": repeated.any(),
        **_notes_on_names(dialect, path),
    }
    return frame, tuple(note for note, applies in notes.items() if applies)


def _notes_on_names(dialect: _Dialect, path: Path) -> dict[str, bool]:
    """Return what is said of column names that a file has more than once."""
    header = dialect.read(path, (), header=None, nrows=1).iloc[0].dropna().astype(str)
    repeated = dict.fromkeys(header[header.duplicated()])
    return {
        f"Note: column name {name!r} is there {(header == name).sum()} times; the second "
        f"is called {name + '.1'!r}.": True
        for name in repeated
    }


def _encoding(path: Path) -> str:
    with _opened(path) as file:
        start = file.read(2)
    if start in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        return "utf-16"
    # Latin-1 reads anything, cp1252 nearly anything and a little more sensibly.
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            # All of the file is read, a piece at a time.
            with _opened(path) as file, io.TextIOWrapper(file, encoding) as text:
                while text.read(_SNIFFED_CHARACTERS):
                    pass
        except UnicodeError:
            continue
        return encoding
    return "latin-1"


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    opener: Any = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rb") as file:
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TableError(f"{str(path)!r} must be a gzip file. Got: {error}.") from error


def _separator(head: str) -> str:
    """Return the separator that the header has most of, outside quotes."""
    header = re.sub(r'"[^"]*"', "", head.lstrip().partition("\n")[0])
    return max(_SEPARATORS, key=header.count)


def _has_decimal_commas(head: str, separator: str) -> bool:
    """Return whether more numbers have a comma than a point, where it separates nothing.

    Those of 1,200 and 1.200 are not counted, which may be of thousands, unless there are no
    others and semicolons separate, as they do where the comma is taken.
    """
    if separator == ",":
        return False
    (commas, may_be), (points, may_be_too) = (
        [
            len(re.findall(_FIELD.format(re.escape(separator), number), head, re.MULTILINE))
            for number in (rf"\d+{mark}\d+", rf"[1-9]\d{{0,2}}{mark}\d{{3}}")
        ]
        for mark in (",", r"\.")
    )
    clear = commas - may_be, points - may_be_too
    if separator == ";" and not any(clear):
        return commas > points
    return clear[0] > clear[1]


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise TableError(
            "Reading Parquet needs pyarrow. Install it with: pip install 'sk-tune[tables]'"
        ) from error
    except (ValueError, OSError) as error:
        raise TableError(
            f"{str(path)!r} must be a Parquet file. Got: {_first_line(error)}"
        ) from error
    return _named(frame, path)


def _named(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return a frame whose columns are all of its columns, with texts for names."""
    if frame.index.names != [None]:
        # Pandas stores a named index as a column, which is what it is to a reader.
        frame = frame.reset_index()
    frame.columns = frame.columns.astype(str)
    if not frame.columns.is_unique:
        repeated = sorted(set(frame.columns[frame.columns.duplicated()]))
        raise TableError(
            f"{str(path)!r} must have unique column names. Got {repeated} twice."
        )
    return frame.reset_index(drop=True)


def _without_row_numbers(frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Drop the index that pandas writes to CSV files, which tells how rows were sorted."""
    name = frame.columns[0]
    if not name.startswith(NO_NAME):
        return frame, ()
    first = frame[name]
    if not pd.api.types.is_integer_dtype(first) or not first.is_unique:
        return frame, ()
    note = "Its first column, which has no name, counts the rows and is left out."
    return frame.drop(columns=name), (note,)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].removeprefix(_C_PARSER)


def demo_table(name: str | None) -> tuple[LoadedTable, str]:
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
    return LoadedTable(frame=frame, name=chosen), "target"


def _titanic() -> LoadedTable:
    file = _titanic_file()
    if file is None:
        raise TableError(
            "--table titanic must be among the files of this scikit-learn. Got none; use "
            "--table breast_cancer."
        )
    frame = _read_arff(gzip.decompress(file.read_bytes()).decode())
    note = f"Left out, because filled in afterwards: {' and '.join(_AFTERWARDS)}."
    return LoadedTable(frame=frame.drop(columns=_AFTERWARDS), name="titanic", notes=(note,))


def _titanic_file() -> Any:
    folder = files("sklearn") / _TITANIC
    if not folder.is_dir():
        return None
    return next((file for file in folder.iterdir() if file.name.endswith(".arff.gz")), None)


def _read_arff(text: str) -> pd.DataFrame:
    """Read the simple kind of ARFF: quoted names, one row a line, ? for missing."""
    header, _, rows = text.partition("@data\n")
    names = re.findall(r"^@attribute '([^']+)'", header, re.MULTILINE)
    return pd.read_csv(io.StringIO(rows), names=names, na_values="?", escapechar="\\")
