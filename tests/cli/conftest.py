"""Tables for the command line, and functions that run it."""

import json
import shutil
from functools import partial

import numpy as np
import pandas as pd
import pytest

from sk_tune._cli import main


def _mixed_table():
    rng = np.random.default_rng(0)
    n = 120
    size = rng.normal(size=n)
    town = rng.choice(["Bern", "Köln", "Ulm"], n)
    frame = pd.DataFrame({
        "size": size,
        "town": town,
        "open": rng.random(n) < 0.5,
        "since": pd.date_range("2020-01-01", periods=n).astype(str),
        "constant": 1,
        "empty": np.nan,
        "name": [f"person {i}" for i in range(n)],
        "label": np.where(size + (town == "Ulm") > 0.3, "yes", "no"),
    })
    frame.loc[::7, "size"] = np.nan
    frame.loc[::11, "town"] = np.nan
    return frame


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path_factory, monkeypatch):
    """Run each test in a new folder: parallel tests would share the default --output."""
    monkeypatch.chdir(tmp_path_factory.mktemp("working"))


@pytest.fixture
def mixed_table():
    """Return 120 rows of all kinds of columns; the label follows from two of them."""
    return _mixed_table()


@pytest.fixture
def mixed_csv(tmp_path, mixed_table):
    """Return the path of the table as CSV."""
    path = tmp_path / "mixed.csv"
    mixed_table.to_csv(path, index=False)
    return path


def _fit(folder, table, target, *options, budget="0.1s"):
    path = table
    if isinstance(table, pd.DataFrame):
        path = folder / "t.csv"
        table.to_csv(path, index=False)
    common = ["--time-budget", budget, "--n-jobs", "1", "--output", str(folder / "out")]
    return main(["fit", str(path), "--target", target, *common, *options])


@pytest.fixture
def fit(tmp_path):
    """Return a function that briefly fits a file or frame into ``tmp_path / "out"``.

    A frame is ``tmp_path / "t.csv"`` then.
    """
    return partial(_fit, tmp_path)


@pytest.fixture
def summary(tmp_path):
    """Return a function that reads the summary in ``tmp_path / "out"``."""
    path = tmp_path / "out" / "summary.json"
    return lambda: json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def printed(capsys):
    """Return a function that returns the printed text as one line."""
    return lambda: " ".join(capsys.readouterr().out.split())


@pytest.fixture(scope="session")
def fitted_once(tmp_path_factory):
    """Return the folder of a model for the mixed table; tests copy it."""
    folder = tmp_path_factory.mktemp("fitted")
    _mixed_table().to_csv(folder / "mixed.csv", index=False)
    assert _fit(folder, folder / "mixed.csv", "label") == 0
    return folder / "out"


@pytest.fixture
def fitted(fitted_once, tmp_path, capsys):
    """Return a copy of that folder, ``tmp_path / "out"``."""
    capsys.readouterr()
    return shutil.copytree(fitted_once, tmp_path / "out")


@pytest.fixture
def fails(capsys):
    """Return a function that checks for exit code 2 and an error with some words."""

    def check(argv, *words, without=()):
        assert main([str(argument) for argument in argv]) == 2
        error = capsys.readouterr().err
        assert "Traceback" not in error
        assert len(error.splitlines()) <= 2
        for word in words:
            assert word in error
        for word in without:
            assert word not in error

    return check
