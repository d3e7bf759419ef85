"""Tables in files, tables for a demo, and the target column."""

import decimal
import gzip
import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest

import sk_tune._cli._tables
from sk_tune._cli import main
from sk_tune._cli._tables import demo_table, read_parts, read_table, read_target
from sk_tune.exceptions import TableError


def _write(path, text, encoding="utf-8"):
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv", "t.tsv.gz", "T.CSV"])
def test_text_files_are_read_by_their_ending(tmp_path, name):
    """Commas in .csv and tabs in .tsv, compressed or not, give the same table."""
    separator = "\t" if "tsv" in name else ","
    path = _write(tmp_path / name, f"a{separator}b\n1{separator}x\n")

    table = read_table(path)

    assert table.frame.to_dict("list") == {"a": [1], "b": ["x"]}
    assert table.name == name
    assert not table.notes


def test_parquet_is_read_with_its_types_and_named_index(tmp_path):
    """Types are kept; a named index becomes a column."""
    frame = pd.DataFrame({"b": pd.array([1, None], dtype="Int64"), 7: [True, False]})
    frame.columns = frame.columns.astype(str)
    frame.index = pd.Index(["u", "v"], name="a")
    frame.to_parquet(tmp_path / "t.parquet")

    read = read_table(tmp_path / "t.parquet").frame

    assert list(read.columns) == ["a", "b", "7"]
    assert read["b"].dtype == "Int64"


VERSIONS = [["version", "a", "b"], ["2.0", "1,5", "-2,25"], ["x", "3,0", "4,75"]]
FEW = [["a", "b"], ["1,200", "0.5"], ["12,500", "7"]]
MANY = [["a", "b"], ["1,200", "0,51"], ["12,500", "7,2"], ["0,125", "8,1"]]
POINTS = [["n", "m", "s"], ["1.200", "1.000", "0,5"], ["345", "2.000", "7"]]


def _lines(rows, separator, end="\n"):
    return "".join(separator.join(row) + end for row in rows)


@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [
        # The separator is found in the header, even where cells hold commas.
        ("t.csv", "a;b\n1;x, y, z\n2;u, v", {"a": [1, 2], "b": ["x, y, z", "u, v"]}),
        ("t.csv", "a|b\n1|x, y, z\n2|u, v", {"a": [1, 2], "b": ["x, y, z", "u, v"]}),
        ("t.csv", "a\tb\n1\tx, y\n2\tu, v", {"a": [1, 2], "b": ["x, y", "u, v"]}),
        # Most numbers tell the decimal sign: one version number makes no texts of others.
        ("t.csv", _lines(VERSIONS, ";", "\r\n"), {"a": [1.5, 3.0], "b": [-2.25, 4.75]}),
        ("t.csv", _lines(VERSIONS, "|", "\r\n"), {"a": [1.5, 3.0], "b": [-2.25, 4.75]}),
        ("t.tsv", _lines(VERSIONS, "\t", "\r\n"), {"a": [1.5, 3.0], "b": [-2.25, 4.75]}),
        # Between tabs 1,200 is no 1.2, unless other numbers have commas that group nothing.
        ("t.tsv", _lines(FEW, "\t"), {"a": ["1,200", "12,500"], "b": [0.5, 7.0]}),
        ("t.tsv", _lines(MANY, "\t"), {"a": [1.2, 12.5, 0.125]}),
        # Between semicolons 1.200 stays text, of which its column tells what it is.
        ("t.csv", _lines(POINTS, ";"), {"n": ["1.200", "345"], "s": [0.5, 7.0]}),
        # Question marks are missing, as in the files of the UCI repository.
        ("t.csv", "a, b\n1, ?\n, 2\n", {"a": [1, np.nan], "b": [np.nan, 2]}),
        # Semicolons alone do not mean decimal commas.
        ("t.csv", "a;b\n1.5;x\n2.25;1,2\n", {"a": [1.5, 2.25]}),
        # A first column without a name stays if it does not count the rows.
        ("t.csv", ",a\nx,1\ny,2\n", {"Unnamed: 0": ["x", "y"], "a": [1, 2]}),
    ],
)
def test_the_dialect_is_detected(tmp_path, name, text, columns):
    """With several separators, marks of thousands and decimal marks."""
    path = _write(tmp_path / name, text)

    found = read_table(path).frame[list(columns)].to_dict("list")

    assert all(found[k] == pytest.approx(columns[k], nan_ok=True) for k in columns)
    # A code of digits is text if it was text in the table that was fitted.
    texts = pd.concat(read_parts(path, texts=[*columns, "z"]))
    assert all(pd.api.types.is_string_dtype(texts[k]) for k in columns)


@pytest.mark.parametrize(
    ("text", "columns", "note"),
    [
        ("a;b\n1,5;x\n-2,25;y\n", {"a": [1.5, -2.25], "b": ["x", "y"]}, "decimal comma"),
        # Lines that repeat the header are left out, and columns of numbers stay so.
        (
            "a;b\n1,5;x\na;b\n2,5;y\na;b\n",
            {"a": [1.5, 2.5], "b": ["x", "y"]},
            "Note: 2 lines repeat the header; left out.",
        ),
        (
            "a,b,a\n1,2,3\n",
            {"a": [1], "b": [2], "a.1": [3]},
            "Note: column name 'a' occurs 2 times; the second is called 'a.1'.",
        ),
        # The index that pandas writes would tell how the rows were sorted.
        (",a\n0,5\n1,6\n", {"a": [5, 6]}, "has no name and numbers the rows"),
    ],
    ids=["comma", "header", "names", "index"],
)
def test_guesses_are_reported_once(tmp_path, text, columns, note):
    """One sentence for each guess."""
    table = read_table(_write(tmp_path / "t.csv", text))

    assert table.frame.to_dict("list") == columns
    assert sum(note in told for told in table.notes) == 1


@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        *(("utf-8", ""), ("utf-8-sig", ""), ("utf-16", ""), ("cp1252", "cp1252")),
        ("latin-1", "latin-1"),
    ],
)
def test_the_encoding_is_detected(tmp_path, encoding, note):
    """UTF-8 and UTF-16 are certain; a guess is reported."""
    # This character is in Latin-1 only.
    town = "\x81" if encoding == "latin-1" else "Köln"
    table = read_table(_write(tmp_path / "t.csv", f"größe,b\n1,{town}\n", encoding))

    assert table.frame.to_dict("list") == {"größe": [1], "b": [town]}
    assert note in "".join(table.notes)
    assert bool(table.notes) == bool(note)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.xlsx", b"a", [".csv", ".parquet", "t.xlsx"]),
        ("t", b"a", [".csv", ".parquet"]),
        ("t.csv", b"", ["0 bytes"]),
        ("t.parquet", b"", ["0 bytes"]),
        ("t.csv", b"a,b\n", ["at least one row", "0 rows and 2 columns"]),
        ("t.csv", b"\n\n", ["a header and rows", "only blank lines"]),
        ("t.csv", b"a,b\n1,2\n1,2,3\n", ["as many fields in each line", "line 3"]),
        ("t.csv", b"a,b\n1,2,3\n1,2,3\n", ["as many fields in each line"]),
        ("t.csv.gz", b"a,b\n1,2\n", ["must be a gzip file"]),
        # Without the time of day, which would be part of the test's name.
        ("t.csv.gz", gzip.compress(b"a,b\n1,2\n" * 99, mtime=0)[:-20], ["a gzip file"]),
        ("t.parquet", b"a,b\n1,2\n", ["must be a Parquet file"]),
        ("t.parquet", pd.DataFrame, ["at least one row"]),
        ("none.csv", None, ["which does not exist"]),
        ("folder.csv", "folder", ["which is a folder"]),
    ],
)
def test_bad_files_are_refused(tmp_path, name, content, words):
    """The error names the file, the requirement and the problem."""
    path = tmp_path / name
    if content is pd.DataFrame:
        content({"a": np.array([], dtype=float)}).to_parquet(path)
    elif content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)

    for read in (read_table, lambda path: list(read_parts(path))):
        with pytest.raises(TableError) as caught:
            read(path)
        assert all(word in str(caught.value) for word in [*words, name])


def test_parquet_without_pyarrow_names_the_package(tmp_path, monkeypatch):
    """Reading Parquet is an optional extra."""

    def missing(path):
        raise ImportError("no engine")

    monkeypatch.setattr(pd, "read_parquet", missing)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")

    with pytest.raises(TableError, match=r"sk-tune\[tables\]"):
        read_table(tmp_path / "t.parquet")


def test_parquet_is_read_by_another_package_without_pyarrow(tmp_path, monkeypatch):
    """In one part, because pandas reads it at once."""
    frame = pd.DataFrame({"a": [1, 2]})
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setattr(pd, "read_parquet", lambda path: frame)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")

    (part,) = read_parts(tmp_path / "t.parquet", n_rows=1)

    assert part["a"].tolist() == [1, 2]


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_file_is_read_in_parts(tmp_path, name):
    """Parts with a limited number of rows make up the whole table."""
    frame = pd.DataFrame({"a": np.arange(25), "b": list("abcde") * 5})
    path = tmp_path / name
    if name == "t.csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)

    parts = list(read_parts(path, n_rows=10))

    assert [len(part) for part in parts] == [10, 10, 5]
    assert pd.concat(parts, ignore_index=True).to_dict("list") == frame.to_dict("list")


def test_the_titanic_has_text_and_missing_values_but_no_leaks():
    """1309 passengers of OpenML's data set 40945, 500 of whom survived."""
    table, target = demo_table()

    assert table.frame.shape == (1309, 12)
    assert table.frame[target].sum() == 500
    assert table.frame["age"].isna().sum() == 263
    assert table.frame["name"].iloc[0] == "Allen, Miss. Elisabeth Walton"
    assert not {"boat", "body"} & set(table.frame.columns)


def test_without_the_titanic_the_demo_has_another_table(monkeypatch):
    """A distribution may omit scikit-learn's tests; classes are names."""
    monkeypatch.setattr(sk_tune._cli._tables, "_TITANIC", "nowhere")

    table, target = demo_table()

    assert (table.name, len(table.frame)) == ("breast_cancer", 569)
    assert table.frame[target].iloc[0] == "malignant"


def test_a_demo_can_be_run_twice(tmp_path, monkeypatch, capsys):
    """Its default folder is overwritten; a folder of the user is not."""
    monkeypatch.chdir(tmp_path)
    command = ["demo", "--time-budget", "0.1s", "--n-jobs", "1"]

    assert main(command) == 0
    assert main([*command, "--random-state", "1"]) == 0
    summary = json.loads((tmp_path / "sk_tune_demo" / "summary.json").read_text())
    assert (summary["table"], summary["random_state"]) == ("titanic", 1)
    capsys.readouterr()

    shutil.copytree("sk_tune_demo", "mine")
    assert main([*command, "--output", "./mine"]) == 2
    assert "--overwrite" in capsys.readouterr().err


N = 100


def _repeat(*values):
    return [values[i % len(values)] for i in range(N)]


def _target(values, task="auto"):
    return read_target(pd.DataFrame({"y": values}), "y", task)


AMOUNTS, CLASSES = "regression", "classification"


@pytest.mark.parametrize(
    ("values", "task", "other", "labels"),
    [
        (_repeat("a", "b"), CLASSES, "", ["a", "b"]),
        (_repeat(True, False), CLASSES, "", [False, True]),
        (pd.array(_repeat(True, False), dtype="boolean"), CLASSES, "", [False, True]),
        (pd.Categorical(_repeat("a", "b")), CLASSES, "", ["a", "b"]),
        (pd.Categorical(_repeat(1, 2)), CLASSES, "", ["1", "2"]),
        (_repeat(0, 1), CLASSES, AMOUNTS, [0, 1]),
        (pd.Series(_repeat(0, 1), dtype=object), CLASSES, AMOUNTS, [0, 1]),
        (_repeat(3, 4, 5, 6, 7, 8, 9), CLASSES, AMOUNTS, [3, 4, 5, 6, 7, 8, 9]),
        (_repeat(0.0, 1.0), CLASSES, AMOUNTS, [0.0, 1.0]),
        (pd.array(_repeat(0, 1), dtype="Int64"), CLASSES, AMOUNTS, [0, 1]),
        (_repeat("a", 1), CLASSES, "", ["1", "a"]),
        (np.arange(N), AMOUNTS, "", None),
        (np.arange(28), AMOUNTS, "", None),
        (_repeat(*range(11)), AMOUNTS, CLASSES, None),
        # A class needs rows: eight values in 39 rows are too many.
        (np.arange(39) % 8, AMOUNTS, CLASSES, None),
        (_repeat(0.5, 1.0), AMOUNTS, "", None),
        (np.arange(N) * 1.0, AMOUNTS, "", None),
        ([decimal.Decimal(k) / 4 for k in range(N)], AMOUNTS, "", None),
    ],
)
def test_the_task_follows_from_the_values(values, task, other, labels):
    """A few different integers fit both tasks; --task overrules the guess."""
    decided = _target(values)

    assert (decided.task, decided.other_task) == (task, other)
    if labels:
        assert np.unique(decided.y).tolist() == labels
    else:
        assert decided.y.dtype == np.float64
    if other:
        named = _target(values, other)
        assert (named.task, named.other_task) == (other, "")
        assert named.y.dtype.kind == ("f" if other == AMOUNTS else "i")
    elif task == AMOUNTS and len(set(values)) == 2:
        assert set(_target(values, CLASSES).y) == {"0.5", "1.0"}


def test_a_word_among_numbers_is_a_label_if_the_task_says_so():
    """In a classification, words such as "unknown" are labels."""
    labels = _target(_repeat("1", "2", "-", "unknown"), CLASSES).y

    assert np.unique(labels).tolist() == ["-", "1", "2", "unknown"]


@pytest.mark.parametrize("wrong", ["Qualty", "QUALITY", "qualities"])
def test_a_wrong_column_name_gets_a_suggestion(wrong):
    """In upper or lower case."""
    frame = pd.DataFrame({"alcohol": [1], "quality": [2]})

    with pytest.raises(TableError, match=f"'{wrong}' instead. Did you mean 'quality'"):
        read_target(frame, wrong, "auto")
    wide = pd.DataFrame({f"c{i}": [1] for i in range(50)})
    with pytest.raises(TableError, match=r"'c0', .*'c11' and 38 more\."):
        read_target(wide, "zzz", "auto")


@pytest.mark.parametrize(
    ("values", "task", "message"),
    [
        ([*range(N - 2), None, None], "auto", r"NaN\) of 100, the first in row 99"),
        (["a", None, *_repeat("b")], "auto", "1 missing"),
        ([*map(str, np.arange(N) / 7), "unknown"], "auto", "1 missing"),
        (_repeat("a"), "auto", "two different values. Got only 'a'"),
        (_repeat(1.5), "regression", "two different values. Got only '1.5'"),
        (_repeat(1, 2)[:19], "auto", "at least 20 rows. Got 19"),
        (pd.date_range("2020-01-01", periods=N), "auto", "Got dates"),
        (_repeat("2020-01-01", "2020-01-02"), "auto", "column 'y' must .* Got dates"),
        (_repeat("1", "many"), "regression", "numbers for regression. Got 'many' in row 2"),
        ([np.inf, *range(N)], "auto", "finite numbers for regression. Got 'inf' in row 1"),
        ([f"n{i}" for i in range(N)], "auto", "recurring classes.*100 different values"),
        (np.arange(N) / 7, "classification", "--task regression|recurring classes"),
    ],
)
def test_targets_that_cannot_be_predicted_are_refused(values, task, message):
    """The error names the column, its requirement and its values."""
    with pytest.raises(TableError, match=message) as caught:
        _target(values, task)

    assert "'y'" in str(caught.value) or "rows" in str(caught.value)


def test_a_sample_of_a_parquet_file_keeps_the_order_of_its_rows(tmp_path, monkeypatch):
    """The file is read in parts; each row is drawn at most once, with its cells."""
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(sk_tune._cli._tables, "_PART_ROWS", 64)
    frame = pd.DataFrame({"place": range(1000), "text": [f"row {i}" for i in range(1000)]})
    frame.to_parquet(tmp_path / "t.parquet")

    table = read_table(tmp_path / "t.parquet", 300)

    places = table.frame["place"]
    assert places.is_monotonic_increasing
    assert places.is_unique
    assert len(places) == table.most_rows == 300
    assert table.frame["text"].tolist() == [f"row {i}" for i in places]
    assert "sample of 300 of its 1,000 rows" in table.notes[0]
    pd.testing.assert_frame_equal(
        read_table(tmp_path / "t.parquet", 300).frame, table.frame
    )


@pytest.mark.parametrize("most_rows", [None, 1000, 2000])
def test_a_parquet_file_within_the_limit_is_read_whole(tmp_path, most_rows):
    """Without a note."""
    pytest.importorskip("pyarrow")
    pd.DataFrame({"place": range(1000)}).to_parquet(tmp_path / "t.parquet")

    table = read_table(tmp_path / "t.parquet", most_rows)

    assert (len(table.frame), table.notes, table.most_rows) == (1000, (), None)


def _grouped(n_rows=1000, n_groups=50):
    """Return a table of groups of different sizes."""
    rng = np.random.default_rng(0)
    groups = np.sort(rng.integers(n_groups, size=n_rows) ** 2 // n_groups)
    return pd.DataFrame({"group": groups, "row": np.arange(n_rows)})


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
def test_a_sample_of_a_large_file_has_whole_groups(tmp_path, monkeypatch, ending):
    """It has nearly as many rows as the limit, in their order, as in the file."""
    for name, value in (("_LARGE_TEXT", 0), ("_PART_ROWS", 70)):
        monkeypatch.setattr(sk_tune._cli._tables, name, value)
    frame, path = _grouped(), tmp_path / f"t.{ending}"
    frame.to_parquet(path) if ending == "parquet" else frame.to_csv(path, index=False)

    table = read_table(path, 300, "group")

    chosen = table.frame["group"].unique()
    expected = frame[frame["group"].isin(chosen)]
    pd.testing.assert_frame_equal(table.frame, expected.reset_index(drop=True))
    assert 200 < len(table.frame) <= table.most_rows == 300
    assert "of its 1,000 rows (whole groups of 'group'): the" in table.notes[-1]


def test_a_sample_of_a_large_csv_file_has_single_rows_in_order(tmp_path, monkeypatch):
    """A quoted line break does not end a row, and missing cells stay missing."""
    for name, value in (("_LARGE_TEXT", 0), ("_PART_ROWS", 70)):
        monkeypatch.setattr(sk_tune._cli._tables, name, value)
    frame = _grouped().assign(text="two\nlines", part=[1.5, None] * 500)
    frame.to_csv(tmp_path / "t.csv", index=False, na_rep="NA")

    table = read_table(tmp_path / "t.csv", 300)

    rows = table.frame["row"].to_numpy()
    assert (len(rows), table.most_rows) == (300, 300)
    assert (np.diff(rows) > 0).all()
    assert abs(rows.mean() - 500) < 50
    assert set(table.frame["text"]) == {"two\nlines"}
    assert (table.frame["part"].isna() == rows % 2).all()
