"""The output folder: its files, their replacement, and trust in pickles."""

import copy
import errno
import gzip
import json
import os
import pickle
import shutil
import sys
import zlib
from pathlib import Path
from unittest.mock import Mock, patch

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

from sk_tune import AutoClassifier
from sk_tune._cli import main
from sk_tune._cli._output import SavedModel, check_output_folder, load_model, write_output
from sk_tune._diagnosis import find_leaks
from sk_tune.exceptions import OptionError, TableError

FILES = ["model", "report.html", "summary.json", "trials.parquet"]


@pytest.fixture(scope="module")
def auto():
    """Return a small fit."""
    X, y = load_iris(return_X_y=True, as_frame=True)
    options = {"time_budget": None, "n_rounds": 0, "cv": 2, "random_state": 0}
    return AutoClassifier(models=["linear"], leak_guard=False, **options).fit(X, y)


@pytest.fixture
def saved(auto):
    """Return the saved model of this fit."""
    columns = {"columns": ("a", "b"), "texts": ("b",), "ignored": ("c", "y")}
    model = copy.deepcopy(auto)
    return SavedModel(model=model, task="classification", target="y", **columns)


def _write(folder, saved, **summary):
    return write_output(folder, saved, summary, "a title")


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_saved_model_loads_unchanged(tmp_path, saved):
    """From the folder, or from the file in it."""
    _write(tmp_path / "new" / "out", saved)
    X = load_iris(as_frame=True).data

    for path in ("out", "out/model/model.joblib"):
        loaded = load_model(tmp_path / "new" / path)
        assert (loaded.target, loaded.columns, loaded.texts) == ("y", ("a", "b"), ("b",))
        expected = saved.model.predict_proba(X)
        np.testing.assert_array_equal(loaded.model.predict_proba(X), expected)


def test_the_page_names_options(tmp_path, saved):
    """It names options of the command line instead of parameters."""
    X = pd.DataFrame({"when": pd.date_range("2020", periods=90), "cow": np.arange(90) % 10})
    saved.model.findings_ = find_leaks(X, np.arange(90) % 2, groups=np.arange(90) % 9)
    saved.model.summary_ = "It predicts with use='best'."

    _write(tmp_path, saved)

    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for option in (
        "--use best",
        "its column by --groups.",
        "give its name to --groups.",
        "column of times by --times",
    ):
        assert option in page
    assert "KFold" not in page


def test_only_the_output_files_are_written(tmp_path, saved):
    """No temporary file remains; unrelated files stay."""
    check_output_folder(tmp_path / "out", overwrite=False)
    assert not list(tmp_path.iterdir())
    _write(tmp_path / "out", saved, n=1)
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with patch.object(Path, "replace", autospec=True, side_effect=Path.replace) as moved:
        names = _write(tmp_path / "out", saved, a=np.float64(1.5), b=[np.nan])

    # What is beside a model is never older than it.
    assert moved.call_args.args[1].name == "model.joblib"
    assert _names(tmp_path) == ["out"]
    assert _names(tmp_path / "out") == sorted(["mine.txt", *FILES])
    assert _names(tmp_path / "out" / "model") == ["model.joblib", "model.joblib.signature"]
    assert all((tmp_path / "out" / name).is_file() for name in names)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary == {"a": 1.5, "b": [None]}


def test_without_pyarrow_trials_are_csv(tmp_path, saved, monkeypatch):
    """Both formats have the same table; files of an earlier fit are removed."""
    _write(tmp_path, saved)
    expected = pd.read_parquet(tmp_path / "trials.parquet")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", Mock(side_effect=ImportError))
    _write(tmp_path, saved)

    found = pd.read_csv(tmp_path / "trials.csv")
    assert found["model"].tolist() == expected["model"].tolist()
    assert "trials.parquet" not in _names(tmp_path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_output_is_written_completely_or_not_at_all(tmp_path, monkeypatch, saved, error):
    """If writing the last file fails, the folder stays unchanged."""
    _write(tmp_path / "old", saved, n=1)
    monkeypatch.setattr(joblib, "dump", Mock(side_effect=error))

    for folder in ("old", "new"):
        with pytest.raises(error):
            _write(tmp_path / folder, saved, n=7)

    assert _names(tmp_path) == ["old"]
    assert json.loads((tmp_path / "old" / "summary.json").read_text()) == {"n": 1}


def test_a_folder_may_be_a_file_system_of_its_own(tmp_path, monkeypatch, saved):
    """For example, a volume of a container: files cannot be moved into it."""
    volume, replace = tmp_path / "volume", os.replace
    volume.mkdir()

    def within(source, target):
        if volume not in Path(source).parents:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace(source, target)

    monkeypatch.setattr(os, "replace", within)
    _write(volume, saved)

    assert _names(tmp_path) == ["volume"]
    assert _names(volume) == FILES


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_to_a_folder_is_followed(tmp_path, saved, exists):
    """Also to a folder that does not exist yet; no other files appear."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "out").symlink_to(tmp_path / "scratch" / "out")
    if exists:
        (tmp_path / "scratch" / "out").mkdir(parents=True)

    check_output_folder(tmp_path / "work" / "out", overwrite=False)
    _write(tmp_path / "work" / "out", saved)

    assert (tmp_path / "work" / "out").is_symlink()
    assert _names(tmp_path / "scratch") == ["out"]
    assert _names(tmp_path / "scratch" / "out") == FILES


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no /proc")
def test_an_unwritable_folder_is_refused():
    """Also if permissions would allow it, as for root in /proc."""
    with pytest.raises(OptionError, match="a writable folder"):
        check_output_folder(Path("/proc/out"), overwrite=False)


@pytest.mark.parametrize("name", ["resume/config.json", "summary.json", "report.html"])
def test_existing_files_are_only_replaced_with_overwrite(tmp_path, name):
    """The output folder may be a project with files of these names."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")

    with pytest.raises(OptionError, match=f"which has {name}.*--overwrite"):
        check_output_folder(tmp_path, overwrite=False)
    check_output_folder(tmp_path, overwrite=True)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    """Also in place of its subfolder; the error comes before the search."""
    (tmp_path / "file").write_text("")

    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "model").write_text("")

    for path in (tmp_path / "file", tmp_path / "file" / "out", tmp_path / "in"):
        with pytest.raises(OptionError, match="--output must be a writable folder"):
            check_output_folder(path, overwrite=True)


@pytest.mark.parametrize(
    "content", [b"", b"not a pickle", pickle.dumps(3), pickle.dumps({})]
)
def test_files_that_are_not_models_are_refused(tmp_path, content):
    """Damaged, foreign and empty files."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.joblib").write_bytes(content)

    with pytest.raises(TableError, match="must be a model that sk-tune fit wrote"):
        load_model(tmp_path)


def test_a_damaged_model_is_refused_wherever_it_is_damaged(tmp_path, saved):
    """A flipped bit, a truncated file or extra bytes: the error names the file."""
    # More than is read at a time, so that the checksum is far behind what is unpickled.
    saved.model.padding_ = np.random.default_rng(1).bytes(100_000)
    _write(tmp_path, saved)
    path = tmp_path / "model" / "model.joblib"
    whole = path.read_bytes()
    damaged = [whole[:-1], whole[: len(whole) // 2], whole + b"\1"]
    places = np.linspace(0, len(whole) - 1, 40).astype(int)
    for place in (1, 2, *places, len(whole) - 2):
        one = bytearray(whole)
        one[place] ^= 1 << (place % 8)
        damaged.append(bytes(one))

    # Bits that fill up a byte between two blocks of what is compressed mean nothing.
    damaged = [content for content in damaged if not _is_same(content, whole)]
    assert len(damaged) > 40
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(TableError, match="model.joblib"):
            load_model(tmp_path)


def _is_same(content, whole):
    try:
        return gzip.decompress(content) == gzip.decompress(whole)
    except (EOFError, OSError, zlib.error):
        return False


def test_trials_have_a_row_for_each_model(saved, tmp_path):
    """Weights sum to 1, and parameters are columns without their step's name."""
    _write(tmp_path, saved)

    table = pd.read_parquet(tmp_path / "trials.parquet")
    assert len(table) == saved.model.n_trials_ + 1
    assert table["weight"].sum() == pytest.approx(1)
    assert {"C", "max_iter", "strategy"} < set(table.columns)


@pytest.mark.parametrize("change", ["of another user", "changed", "without signature"])
@pytest.mark.parametrize("command", ["predict", "report", "export", "resume"])
def test_a_foreign_pickle_is_refused_before_it_is_loaded(
    fitted, tmp_path, mixed_csv, monkeypatch, fails, change, command
):
    """The error explains the risk and names the option to load it."""
    name = "resume/trials.pickle" if command == "resume" else "model/model.joblib"
    path = fitted / name
    if change == "of another user":
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    elif change == "changed":
        path.write_bytes(path.read_bytes() + b"\0")
    else:
        path.with_name(f"{path.name}.signature").unlink()
    monkeypatch.setattr(joblib, "load", None)
    more = {"predict": [mixed_csv], "export": ["--output", tmp_path / "a.onnx"]}

    fails([command, fitted, *more.get(command, [])], name, "execute code", "--trusted")


def test_a_trusted_model_may_be_moved(fitted, tmp_path, mixed_csv):
    """Trust depends on the bytes, so copies need no option."""
    copy = shutil.copytree(fitted, tmp_path / "copy")

    assert main(["predict", str(copy), str(mixed_csv)]) == 0
    assert main(["predict", str(copy / "model" / "model.joblib"), str(mixed_csv)]) == 0
