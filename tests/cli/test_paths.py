"""Files that a command needs."""

import shutil

import joblib
import pytest

from sk_tune.cli import main


@pytest.fixture
def fitted(fitted_once, tmp_path, capsys):
    """Return the folder of a model for the mixed table."""
    capsys.readouterr()
    return shutil.copytree(fitted_once, tmp_path / "out")


@pytest.mark.parametrize("change", ["of another user", "changed", "without signature"])
@pytest.mark.parametrize("command", ["predict", "report", "export", "resume"])
def test_a_pickle_that_is_not_ones_own_is_refused_before_it_is_loaded(
    fitted, tmp_path, mixed_csv, monkeypatch, fails, change, command
):
    """The line says what loading it can do, and what to say to load it all the same."""
    name = "resume/trials.joblib" if command == "resume" else "model/model.joblib"
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


def test_ones_own_model_may_be_moved(fitted, tmp_path, mixed_csv):
    """It is known by its bytes, so nothing has to be said of a copy."""
    copy = shutil.copytree(fitted, tmp_path / "copy")

    assert main(["predict", str(copy), str(mixed_csv)]) == 0
    assert main(["predict", str(copy / "model" / "model.joblib"), str(mixed_csv)]) == 0
