"""``sk-tune report`` and ``export``."""

import json
import shutil

import numpy as np
import onnxruntime
import pytest
from sklearn.datasets import load_iris

import sk_tune.estimators
from sk_tune import AutoClassifier
from sk_tune.cli import main
from sk_tune.cli._output import SavedModel, write_output


@pytest.fixture
def fitted(fitted_once, tmp_path, capsys):
    """Return the folder of a model for the mixed table."""
    capsys.readouterr()
    return shutil.copytree(fitted_once, tmp_path / "out")


def test_the_page_is_written_anew(fitted, tmp_path, capsys):
    """In the folder, or where it is asked for; the scores are printed."""
    (fitted / "report.html").unlink()

    assert main(["report", str(fitted)]) == 0
    assert main(["report", str(fitted), "--output", str(tmp_path / "p.html")]) == 0

    page = (fitted / "report.html").read_text(encoding="utf-8")
    assert page.count("<section ") == 7
    assert (tmp_path / "p.html").is_file()
    assert "Verdict" in capsys.readouterr().out


def test_the_page_of_a_model_file_is_beside_its_folder(fitted):
    """As if the output folder had been named."""
    (fitted / "report.html").unlink()

    assert main(["report", str(fitted / "model" / "model.joblib")]) == 0

    page = (fitted / "report.html").read_text(encoding="utf-8")
    assert "<h1>label in mixed.csv</h1>" in page
    assert not (fitted / "model" / "report.html").exists()


def test_the_page_written_anew_has_the_heading_of_the_first(fitted):
    """Target and table, which the summary names; the target alone without it."""
    heading = "<h1>label in mixed.csv</h1>"
    assert heading in (fitted / "report.html").read_text(encoding="utf-8")

    main(["report", str(fitted)])
    assert heading in (fitted / "report.html").read_text(encoding="utf-8")

    (fitted / "summary.json").unlink()
    main(["report", str(fitted)])
    assert "<h1>label</h1>" in (fitted / "report.html").read_text(encoding="utf-8")


def test_a_page_needs_a_folder(fitted, fails):
    """It is not made on the way, as for predictions."""
    path = fitted / "none" / "p.html"

    fails(["report", fitted, "--output", path], "--output", "folder that exists", str(path))


def _saved_irises(folder, models):
    X, y = load_iris(return_X_y=True, as_frame=True)
    auto = AutoClassifier(
        time_budget=None, n_rounds=0, models=models, cv=2, random_state=0
    ).fit(X, y)
    saved = SavedModel(
        model=auto,
        task="classification",
        target="y",
        columns=tuple(X.columns),
        texts=(),
        ignored=(),
    )
    write_output(folder, saved, {}, "iris")
    return auto, X


def _exported(folder, *options):
    """Return what the JSON file tells, and the probabilities by onnxruntime of rows."""
    output = folder.parent / "n.onnx"
    assert main(["export", str(folder), "--output", str(output), *options]) == 0
    about = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(output)

    def predict_proba(X):
        columns = [column["name"] for column in about["inputs"]]
        return session.run(None, {"X": X[columns].to_numpy()})[0]

    return about, predict_proba


def test_an_ensemble_of_networks_can_be_exported(tmp_path, capsys):
    """ONNX gives the probabilities of all, from the columns as they are in the table."""
    auto, X = _saved_irises(tmp_path / "out", ["network"])

    about, predict_proba = _exported(tmp_path / "out")

    assert about["classes"] == ["0", "1", "2"]
    assert len(about["inputs"]) == 4
    assert {member["model"] for member in about["members"]} <= {"MLP 1", "MLP 2"}
    np.testing.assert_allclose(predict_proba(X), auto.predict_proba(X), atol=1e-5)
    assert f"{len(about['members'])} models to" in capsys.readouterr().out


def test_the_networks_of_a_mixed_ensemble_can_be_exported_alone(tmp_path, fails):
    """As whatever else predicts by --use."""
    auto, X = _saved_irises(tmp_path / "out", ["linear", "network"])

    _, predict_proba = _exported(tmp_path / "out", "--use", "networks")

    expected = auto.blends_["networks"].predict_proba(X)
    np.testing.assert_allclose(predict_proba(X), expected, atol=1e-5)


def test_an_export_replaces_no_file_but_an_export(tmp_path, fails):
    """What happens to have the name of the account beside the model stays."""
    _saved_irises(tmp_path / "out", ["network"])
    summary = tmp_path / "out" / "summary.json"
    before = summary.read_text()

    fails(
        ["export", tmp_path / "out", "--output", summary.with_suffix(".onnx")],
        "--output",
        "summary.json",
    )

    assert summary.read_text() == before
    assert not summary.with_suffix(".onnx").exists()
    for _ in range(2):
        _exported(tmp_path / "out")


def test_an_export_without_its_packages_says_what_to_install(tmp_path, monkeypatch, fails):
    """Export is an extra."""
    _saved_irises(tmp_path / "out", ["network"])
    monkeypatch.setattr(sk_tune.estimators._onnx_export, "find_spec", lambda name: None)

    command = ["export", tmp_path / "out", "--output", tmp_path / "n.onnx"]
    fails(command, "onnxscript", "pip install 'sk-tune[export]'")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_bad_exports_are_refused(fitted, tmp_path, fails):
    """No network, another ending, no such model."""
    command = ["export", fitted, "--output", tmp_path / "n.onnx"]
    fails([*command, "--use", "networks"], "--use must name a model that was trained")
    fails(["export", fitted, "--output", tmp_path / "n.txt"], ".onnx")
    fails(["export", tmp_path / "none", "--output", tmp_path / "n.onnx"], "MODEL_DIR")
    fails(["report", tmp_path / "none"], "MODEL_DIR")
