# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tables in files, tables for a demo, and the target column."""

import codecs
import gzip
import io
import re
import warnings
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.datasets import load_breast_cancer

from sk_tune._cli._parser import is_text_table
from sk_tune._prepare import format_of_column, header_rows, is_missing
from sk_tune._splits import are_classes
from sk_tune._text import counted, did_you_mean, listed
from sk_tune.exceptions import TableError

# Prefix of pandas' names for columns without a name.
NO_NAME = "Unnamed: "

_SEPARATORS = ",;\t|"
_SNIFFED_CHARACTERS = 100_000
# Rows predicted, or read for a sample, at a time.
_PART_ROWS = 50_000
# Bytes of text from which on only a sample may be in memory; packed bytes count tenfold.
_LARGE_TEXT, _MOST_PACKED = 2**26, 10
# Prefix of pandas' parser errors.
_C_PARSER = "Error tokenizing data. C error: "
# Marks a missing cell in any column, in addition to pandas' marks such as the empty cell
# and NA; among numbers and dates, all MISSING_WORDS of sk_tune._prepare do.
_MISSING = ["?"]
# A number of a given form between separators.
_FIELD = r"(?:^|{0})[ \"]*-?{1}[ \"]*(?={0}|\r?$)"
# OpenML's data set 40945 from scikit-learn's tests, which a distribution may omit.
_TITANIC = "datasets/tests/data/openml/id_40945"
# Known only after the sinking: the numbers of the lifeboat and of the body.
_AFTERWARDS = ["boat", "body"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedTable:
    """A table of one row or more, its name, and notes on guesses while reading it.

    `most_rows` is the size of a sample of its rows, None if it has all.
    """

    frame: pd.DataFrame
    name: str
    notes: tuple[str, ...] = ()
    most_rows: int | None = None


def read_table(
    path: Path, most_rows: int | None = None, groups: str | None = None
) -> LoadedTable:
    """Return a table of at most `most_rows` rows, with all rows of sampled `groups`."""
    notes: tuple[str, ...] = ()
    if is_text_table(path):
        frame, notes, n_rows = _read_text(path, most_rows, groups)
    else:
        frame, n_rows = _read_parquet(path, most_rows, groups)
    is_sample = len(frame) < n_rows
    if is_sample:
        of_groups = "" if groups is None else f" (whole groups of {groups!r})"
        sample = f"a random sample of {len(frame):,} of its {n_rows:,} rows{of_groups}"
        notes = (*notes, f"Read {sample}: the time budget is too short for more.")
    if frame.empty:
        raise _no_rows(path, frame)
    name, first = frame.columns[0], frame.iloc[:, 0]
    counts_rows = pd.api.types.is_integer_dtype(first) and first.is_unique
    if name.startswith(NO_NAME) and counts_rows:
        # The index that pandas writes to CSV files could reveal the order of the rows.
        frame = frame.drop(columns=name)
        note = "Left out: the first column, which has no name and numbers the rows."
        notes = (*notes, note)
    return LoadedTable(
        frame=frame, name=path.name, notes=notes, most_rows=most_rows if is_sample else None
    )


def read_parts(
    path: Path, *, texts: Collection[str] = (), n_rows: int = _PART_ROWS
) -> Iterator[pd.DataFrame]:
    """Yield a table in parts of at most `n_rows` rows; columns `texts` are read as text."""
    is_text = is_text_table(path)
    parts = _text_parts(path, texts, n_rows) if is_text else _parquet_parts(path, n_rows)
    n_read, part = 0, pd.DataFrame()
    for part in parts:
        n_read += len(part)
        if len(part):
            yield part
    if not n_read:
        raise _no_rows(path, part)


def _no_rows(path: Path, frame: pd.DataFrame) -> TableError:
    return TableError(
        f"The table {str(path)!r} must have at least one row below its header. Got "
        f"{len(frame)} rows and {counted(frame.shape[1], 'column')}."
    )


def _reader(path: Path) -> "partial[Any]":
    """Return ``pd.read_csv`` with the encoding, separator and decimal mark of a file."""
    encoding = _encoding(path)
    with _opened(path) as file, io.TextIOWrapper(file, encoding, newline="") as text:
        head = text.read(_SNIFFED_CHARACTERS)
    # The separator is the most frequent candidate in the header outside of quotes.
    header = re.sub(r'"[^"]*"', "", head.lstrip().partition("\n")[0])
    is_tabbed = ".tsv" in path.name.lower()
    separator = "\t" if is_tabbed else max(_SEPARATORS, key=header.count)
    return partial(
        pd.read_csv,
        sep=separator,
        decimal="," if _has_decimal_commas(head, separator) else ".",
        encoding=encoding,
        na_values=_MISSING,
        skipinitialspace=True,
        index_col=False,
        low_memory=False,
    )


@contextmanager
def _strictly(path: Path) -> Iterator[None]:
    """Refuse files that pandas cannot parse without dropping fields."""
    errors = pd.errors.ParserError, pd.errors.ParserWarning
    try:
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
            # Pandas warns where it would drop fields of rows longer than the header.
            yield
    except pd.errors.EmptyDataError as error:
        raise TableError(
            f"The table {str(path)!r} must have a header and rows. Got only blank lines."
        ) from error
    except errors as error:
        raise TableError(
            f"The table {str(path)!r} must have as many fields in each line as in its "
            f"header. Got: {_first_line(error)}"
        ) from error


def _text_parts(path: Path, texts: Collection[str], n_rows: int) -> Iterator[pd.DataFrame]:
    with _strictly(path):
        reader = _reader(path)(path, dtype=dict.fromkeys(texts, "str"), chunksize=n_rows)
    part: pd.DataFrame | None
    with reader:
        while True:
            with _strictly(path):
                part = next(reader, None)
            if part is None:
                return
            yield part


def _parquet_parts(path: Path, n_rows: int) -> Iterator[pd.DataFrame]:
    file = _parquet_file(path)
    if file is None:
        yield _read_parquet(path)[0]
        return
    for batch in file.iter_batches(batch_size=n_rows):
        yield _named(batch.to_pandas(), path)


def _parquet_file(path: Path) -> Any:
    """Return a file to read in parts; other packages of pandas read it at once: None."""
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        return None
    with _reading_parquet(path):
        return ParquetFile(path)


def _read_parquet(
    path: Path, most_rows: int | None = None, groups: str | None = None
) -> tuple[pd.DataFrame, int]:
    """Return a table, or a random sample of its rows in their order; and its rows.

    For a sample the file is read in parts, so it may be larger than the memory.
    """
    file = None if most_rows is None else _parquet_file(path)
    if file is None or most_rows is None or file.metadata.num_rows <= most_rows:
        with _reading_parquet(path):
            frame = pd.read_parquet(path)
        return _named(frame, path), len(frame)
    n_rows, start, parts = file.metadata.num_rows, 0, []
    if groups in file.schema_arrow.names:
        column = file.read([groups]).to_pandas().reset_index()[groups]
        rows = np.flatnonzero(_below(_group_keys(column), most_rows)[0])
    else:
        rows = np.sort(np.random.default_rng(0).choice(n_rows, most_rows, replace=False))
    for batch in file.iter_batches(batch_size=_PART_ROWS):
        first, last = np.searchsorted(rows, [start, start + len(batch)])
        parts.append(batch.to_pandas().iloc[rows[first:last] - start])
        start += len(batch)
    return _named(pd.concat(parts, ignore_index=True), path), n_rows


def _group_keys(column: "pd.Series[Any]") -> npt.NDArray[np.uint64]:
    """Return random numbers that are equal for equal values."""
    return np.asarray(pd.util.hash_pandas_object(column, index=False), dtype=np.uint64)


def _below(keys: npt.NDArray[Any], most_rows: int) -> tuple[npt.NDArray[np.bool_], Any]:
    """Return which of at most `most_rows` rows have the least keys, and their limit.

    Rows of one key are in or out; those of the least key are always in.
    """
    limit = np.partition(keys, most_rows)[most_rows]
    limit = max(limit, keys.min() + 1)
    return keys < limit, limit


def _text_sample(
    read: Any, path: Path, most_rows: int, groups: str | None
) -> tuple[pd.DataFrame, int]:
    """Return a sample of a table as text, in the order of the file, and its rows."""
    rng, n_rows, limit = np.random.default_rng(0), 0, 2**64 - 1
    sample, keys = pd.DataFrame(), np.empty(0, dtype=np.uint64)
    with _strictly(path):
        for part in read(path, dtype="str", na_filter=False, chunksize=_PART_ROWS):
            n_rows += len(part)
            new = rng.integers(2**63, size=len(part), dtype=np.uint64)
            if groups in part.columns:
                new = _group_keys(part[groups])
            keys = np.concatenate([keys, new])
            chosen = keys < limit
            if chosen.sum() > most_rows:
                chosen, limit = _below(keys, most_rows)
            sample, keys = pd.concat([sample, part])[chosen], keys[chosen]
    return sample, n_rows


def _read_text(
    path: Path, most_rows: int | None, groups: str | None
) -> tuple[pd.DataFrame, tuple[str, ...], int]:
    read = _reader(path)
    encoding, separator = read.keywords["encoding"], read.keywords["sep"]
    source: Any = path
    n_rows = None
    is_packed = path.name.lower().endswith(".gz")
    n_bytes = path.stat().st_size * (_MOST_PACKED if is_packed else 1)
    if most_rows is not None and n_bytes >= _LARGE_TEXT:
        sample, n_rows = _text_sample(read, path, most_rows, groups)
        # Read again, because parts of a column may have different types.
        source = io.StringIO(sample.to_csv(index=False, sep=separator))
        del sample
    with _strictly(path):
        frame = read(source)
    n_rows = len(frame) if n_rows is None else n_rows
    repeated = header_rows(frame)
    if repeated.any():
        # Read the table again without these lines, so that numeric columns are numbers.
        data = frame[~repeated].to_csv(index=False, sep=separator)
        frame = read(io.StringIO(data))
    header = read(path, header=None, nrows=1).iloc[0].dropna().astype(str)
    n = repeated.sum()
    notes = {
        f"It is not UTF-8; read as {encoding}.": not encoding.startswith("utf"),
        f"Fields are separated by {separator!r}.": separator not in ",\t",
        "Numbers have a decimal comma.": read.keywords["decimal"] == ",",
        f"Note: {'1 line repeats' if n == 1 else f'{n} lines repeat'} the header; left "
        "out.": n > 0,
        **{
            f"Note: column name {name!r} occurs {(header == name).sum()} times; the "
            f"second is called {name + '.1'!r}.": True
            for name in header[header.duplicated()]
        },
    }
    n_rows = n_rows - n
    return frame, tuple(note for note, applies in notes.items() if applies), n_rows


def _encoding(path: Path) -> str:
    with _opened(path) as file:
        start = file.read(2)
    if start in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        return "utf-16"
    # Latin-1 decodes any file; cp1252 nearly any, and more characters sensibly.
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            # Read the whole file in pieces.
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


def _has_decimal_commas(head: str, separator: str) -> bool:
    """Return whether more numbers have a decimal comma than a decimal point.

    Numbers such as 1,200 and 1.200 may have a mark of thousands. They count only if all
    numbers are such and semicolons separate fields, as is usual with decimal commas.
    """
    if separator == ",":
        return False
    (commas, comma_thousands), (points, point_thousands) = (
        [
            len(re.findall(_FIELD.format(re.escape(separator), number), head, re.MULTILINE))
            for number in (rf"\d+{mark}\d+", rf"[1-9]\d{{0,2}}{mark}\d{{3}}")
        ]
        for mark in (",", r"\.")
    )
    clear = commas - comma_thousands, points - point_thousands
    if separator == ";" and not any(clear):
        return commas > points
    return clear[0] > clear[1]


@contextmanager
def _reading_parquet(path: Path) -> Iterator[None]:
    """Refuse files that are not Parquet, and name the package needed to read Parquet."""
    try:
        yield
    except ImportError as error:
        raise TableError(
            "Reading Parquet needs pyarrow. Install it with: pip install 'sk-tune[tables]'"
        ) from error
    except (ValueError, OSError) as error:
        raise TableError(
            f"{str(path)!r} must be a Parquet file. Got: {_first_line(error)}"
        ) from error


def _named(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return a frame with its index as columns, and texts as column names."""
    if frame.index.names != [None]:
        # A named index is a column of the stored table.
        frame = frame.reset_index()
    frame.columns = frame.columns.astype(str)
    if not frame.columns.is_unique:
        repeated = sorted(set(frame.columns[frame.columns.duplicated()]))
        raise TableError(
            f"{str(path)!r} must have unique column names. Got {repeated} twice."
        )
    return frame.reset_index(drop=True)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].removeprefix(_C_PARSER)


def demo_table() -> tuple[LoadedTable, str]:
    """Return the Titanic's passengers, or another table of scikit-learn, and the target."""
    folder = files("sklearn") / _TITANIC
    archives = folder.iterdir() if folder.is_dir() else ()
    file = next((file for file in archives if file.name.endswith(".arff.gz")), None)
    if file is None:
        data = load_breast_cancer(as_frame=True)
        data.frame["target"] = data.target_names.astype(object)[data.target]
        return LoadedTable(frame=data.frame, name="breast_cancer"), "target"
    # Simple ARFF: quoted names, one row per line, ? for missing.
    text = gzip.decompress(file.read_bytes()).decode()
    header, _, rows = text.partition("@data\n")
    names = re.findall(r"^@attribute '([^']+)'", header, re.MULTILINE)
    frame = pd.read_csv(io.StringIO(rows), names=names, na_values="?", escapechar="\\")
    columns = " and ".join(_AFTERWARDS)
    note = f"Left out, because their values were known only afterwards: {columns}."
    frame = frame.drop(columns=_AFTERWARDS)
    return LoadedTable(frame=frame, name="titanic", notes=(note,)), "survived"


N_FOLDS = 5
# Leaves a few rows to each fold after the test rows are set aside.
MIN_ROWS = 20

# Types that pandas infers for numbers in object columns, such as Parquet's decimals.
_NUMBERS_IN_OBJECTS = {"decimal", "floating", "integer", "mixed-integer-float"}

_N_NAMED = 12  # Columns that an error message lists.


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The column to predict, its task, and the reason for the task.

    `y` are labels, or numbers as float64; `other_task` is the alternative if the values fit
    both tasks and the user did not choose.
    """

    name: str
    task: str
    reason: str
    y: npt.NDArray[Any]
    other_task: str = ""


def read_target(frame: pd.DataFrame, name: str, task: str) -> Target:
    """Return the target of a table, or raise TableError if it cannot be predicted."""
    if name not in frame.columns:
        hint = column_hint(name, list(frame.columns))
        raise TableError(
            f"--target must name a column of the table. Got {name!r} instead.{hint}"
        )
    column = frame[name]
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if column.dtype == object and kind in _NUMBERS_IN_OBJECTS:
        column = pd.to_numeric(column)
    text_format = format_of_column(column) if kind == "string" else None
    # In a classification, a word such as "unknown" is a label.
    is_measured = text_format is not None and task != "classification"
    missing = is_missing(column) if is_measured else column.isna().to_numpy()
    if missing.any():
        raise TableError(
            f"Target column {name!r} must have a value in each row. Got {missing.sum()} "
            f"missing (NaN) of {len(column)}, the first in row {missing.argmax() + 1}. "
            "Remove these rows. Empty cells, ?, NA, None and null count as missing; among "
            "numbers also - and unknown, unless --task is classification."
        )
    labels, written = column, ""
    if text_format is not None and not text_format.is_plain_number:
        # The date, or the number in text such as "€ 9.99".
        column, written = text_format.read(column), f" ({text_format})"
    if len(frame) < MIN_ROWS:
        raise TableError(f"The table must have at least {MIN_ROWS} rows. Got {len(frame)}.")
    if column.nunique() < 2:
        raise TableError(
            f"Target column {name!r} must hold at least two different values. Got only "
            f"{str(column.iloc[0])!r}."
        )
    decision, reason, other = _decide(column)
    reason += written
    if task != "auto":
        decision, reason, other = task, "as --task says", ""
    y = _numbers(column) if decision == "regression" else _labels(labels)
    return Target(name=name, task=decision, reason=reason, y=y, other_task=other)


def column_hint(name: str, columns: list[str]) -> str:
    """Return a space and a hint for a wrong column name: similar names, and all columns."""
    listing = listed([*map(repr, columns)], _N_NAMED)
    return f"{did_you_mean(name, columns)} Columns: {listing}."


def _decide(column: "pd.Series[Any]") -> tuple[str, str, str]:
    """Return the task, the reason, and the other task if the values fit both."""
    n_values = column.nunique()
    types = pd.api.types
    if types.is_datetime64_any_dtype(column) or types.is_timedelta64_dtype(column):
        raise TableError(
            f"Target column {column.name!r} must hold labels or numbers. Got dates."
        )
    if types.is_bool_dtype(column):
        return "classification", "true or false", ""
    if not types.is_numeric_dtype(column):
        return "classification", f"{n_values} different texts", ""
    if not (column % 1 == 0).all():
        return "regression", "numbers with fractions", ""
    reason = f"{n_values} different whole numbers"
    if are_classes(n_values, len(column)):
        return "classification", reason, "regression"
    can_be_classes = n_values <= 30 and _recur(column.value_counts())
    return "regression", reason, "classification" if can_be_classes else ""


def _recur(counts: Any) -> bool:
    """Return whether values with these counts recur often enough to be classes."""
    return bool(counts.max() >= N_FOLDS and 2 * len(counts) <= counts.sum())


def _numbers(column: "pd.Series[Any]") -> npt.NDArray[Any]:
    numbers = pd.to_numeric(column.astype(object), errors="coerce")
    y: npt.NDArray[Any] = numbers.to_numpy(dtype=np.float64)
    wrong = ~np.isfinite(y)
    if wrong.any():
        first = int(wrong.argmax())
        raise TableError(
            f"Target column {column.name!r} must hold finite numbers for regression. Got "
            f"{str(column.iloc[first])!r} in row {first + 1}."
        )
    return y


def _labels(column: "pd.Series[Any]") -> npt.NDArray[Any]:
    """Return recurring labels of a type that numpy can sort: bool, number or text."""
    types = pd.api.types
    # Numbers with fractions are texts, because scikit-learn refuses them as labels.
    y: npt.NDArray[Any] = np.array([str(label) for label in column], dtype=object)
    if types.is_bool_dtype(column) and not isinstance(column.dtype, pd.CategoricalDtype):
        y = column.to_numpy(dtype=bool)
    elif types.is_numeric_dtype(column) and (column % 1 == 0).all():
        is_integer = types.is_integer_dtype(column)
        y = column.to_numpy(dtype=np.int64 if is_integer else np.float64)
    labels, counts = np.unique(y, return_counts=True)
    if not _recur(counts):
        hint = "; --task regression predicts numbers" if y.dtype.kind in "if" else ""
        raise TableError(
            f"Target column {column.name!r} must hold recurring classes: at most one class "
            f"for every two rows, and one class at least {N_FOLDS} times. Got "
            f"{len(labels)} different values in {len(y)} rows, each at most "
            f"{counted(int(counts.max()), 'time')}{hint}."
        )
    return y
