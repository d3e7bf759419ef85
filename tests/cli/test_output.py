"""The output folder."""

import json
import pickle
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import pytest

from sk_tune.cli._output import (
    SavedModel,
    check_output_folder,
    load_model,
    results_table,
    write_output,
)
from sk_tune.exceptions import OptionError, TableError

MODEL = SavedModel(
    pipeline="a pipeline",
    task="classification",
    target="y",
    columns=("a", "b"),
    texts=("b",),
    ignored=("c", "y"),
)
RESULTS = pd.DataFrame({"candidate": [1]})
FILES = ["model.joblib", "report.html", "results.csv", "summary.json"]


def _report(path):
    path.write_text("<!DOCTYPE html>")


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_model_comes_back_as_it_was_written(tmp_path):
    """From the folder or from the file in it."""
    write_output(tmp_path / "new" / "out", MODEL, RESULTS, {}, _report)

    assert load_model(tmp_path / "new" / "out") == MODEL
    assert load_model(tmp_path / "new" / "out" / "model.joblib") == MODEL


def test_the_files_are_written_and_nothing_else(tmp_path):
    """No temporary file stays, in the folder or beside it."""
    write_output(
        tmp_path / "out", MODEL, RESULTS, {"a": np.float64(1.5), "b": [np.nan]}, _report
    )

    assert _names(tmp_path) == ["out"]
    assert _names(tmp_path / "out") == FILES
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == {
        "a": 1.5,
        "b": [None],
    }


def test_other_files_in_the_folder_stay(tmp_path):
    """Only the four files are replaced."""
    (tmp_path / "mine.txt").write_text("mine")
    write_output(tmp_path, MODEL, RESULTS, {}, _report)
    write_output(tmp_path, MODEL, RESULTS.assign(candidate=7), {}, _report)

    assert _names(tmp_path) == sorted(["mine.txt", *FILES])
    assert pd.read_csv(tmp_path / "results.csv")["candidate"].tolist() == [7]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_nothing_is_half_written(tmp_path, monkeypatch, error):
    """Whatever stops the last file, the folder is as it was."""

    def broken(*args, **kwargs):
        raise error

    write_output(tmp_path / "old", MODEL, RESULTS, {}, _report)
    monkeypatch.setattr(joblib, "dump", broken)

    for folder in ("old", "new"):
        with pytest.raises(error):
            write_output(tmp_path / folder, MODEL, RESULTS.assign(candidate=7), {}, _report)

    assert _names(tmp_path) == ["old"]
    assert pd.read_csv(tmp_path / "old" / "results.csv")["candidate"].tolist() == [1]


def test_a_folder_with_a_model_is_refused_unless_it_may_be_overwritten(tmp_path):
    """A search of an hour is not lost to a second one."""
    write_output(tmp_path / "out", MODEL, RESULTS, {}, _report)

    with pytest.raises(OptionError, match=r"--output.*out'.*--overwrite"):
        check_output_folder(tmp_path / "out", overwrite=False)
    check_output_folder(tmp_path / "out", overwrite=True)
    check_output_folder(tmp_path / "new" / "out", overwrite=False)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    """It is found out before the search, not after it."""
    (tmp_path / "file").write_text("")

    for path in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(
            OptionError, match="--output must be a folder that can be written"
        ):
            check_output_folder(path, overwrite=True)


@pytest.mark.parametrize(
    "content", [b"", b"not a pickle", pickle.dumps(3), pickle.dumps({})]
)
def test_files_that_are_no_models_are_refused(tmp_path, content):
    """Damaged, foreign and empty files are told from models."""
    (tmp_path / "model.joblib").write_bytes(content)

    with pytest.raises(TableError, match="must be a model that sk-tune fit wrote"):
        load_model(tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path):
    """So is a path that does not exist."""
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(TableError, match="MODEL_DIR"):
            load_model(folder)


def test_results_have_a_row_for_each_candidate():
    """scikit-learn's columns, then the parameters; what failed has no rank."""
    search = SimpleNamespace(
        n_splits_=2,
        cv_results_={
            "params": [
                {"net__width": 1, "net__normalization": "batch"},
                {"net__width": 2, "net__normalization": None},
            ],
            "rank_test_score": np.array([1, 2]),
            "mean_test_score": np.array([0.75, np.nan]),
            "std_test_score": np.array([0.25, np.nan]),
            "split0_test_score": np.array([0.5, np.nan]),
            "split1_test_score": np.array([1.0, 0.5]),
            "mean_fit_time": np.array([0.1, 0.2]),
        },
    )

    table = results_table(search)

    assert table["candidate"].tolist() == [1, 2]
    assert table["rank_test_score"].tolist() == [1, pd.NA]
    assert table["split1_test_score"].tolist() == [1.0, 0.5]
    assert table["width"].tolist() == [1, 2]
    assert table["normalization"].tolist() == ["batch", "none"]
    assert list(table.columns[-2:]) == ["width", "normalization"]
