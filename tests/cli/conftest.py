"""Tables for the command line, and a short way to run it."""

import numpy as np
import pandas as pd
import pytest

from sk_tune.cli import main


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


@pytest.fixture
def fit(tmp_path):
    """Return a function that runs a short fit, by default into ``tmp_path / "out"``."""

    def run(path, target, *options, budget="0.1s"):
        common = [
            "--time-budget",
            budget,
            "--n-jobs",
            "1",
            "--output",
            str(tmp_path / "out"),
        ]
        return main(["fit", str(path), "--target", target, *common, *options])

    return run


@pytest.fixture(scope="session")
def fitted_once(tmp_path_factory):
    """Return the folder of a model for the mixed table; tests copy it."""
    folder = tmp_path_factory.mktemp("fitted")
    _mixed_table().to_csv(folder / "mixed.csv", index=False)
    command = [
        "fit",
        str(folder / "mixed.csv"),
        "--target",
        "label",
        "--time-budget",
        "0.1s",
    ]
    assert main([*command, "--n-jobs", "1", "--output", str(folder / "out")]) == 0
    return folder / "out"


@pytest.fixture
def fails(capsys):
    """Return a function that checks that a call exits with 2 and names what is wrong."""

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
