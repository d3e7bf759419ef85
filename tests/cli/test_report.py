"""``sk-tune report`` and ``export``."""

import json
import shutil

import numpy as np
import onnxruntime
import pytest
from sklearn.datasets import load_iris

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
    assert page.count("<section>") == 5
    assert (tmp_path / "p.html").is_file()
    assert "Verdict" in capsys.readouterr().out


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


def test_a_network_can_be_exported(tmp_path, capsys):
    """ONNX gives the probabilities of the network, on columns that are named beside it."""
    X, y = load_iris(return_X_y=True, as_frame=True)
    auto = AutoClassifier(
        time_budget=None, n_rounds=0, models=["network"], cv=2, random_state=0
    ).fit(X, y)
    saved = SavedModel(
        model=auto,
        task="classification",
        target="y",
        columns=tuple(X.columns),
        texts=(),
        ignored=(),
    )
    write_output(tmp_path / "out", saved, {}, {}, "iris")

    assert (
        main(["export", str(tmp_path / "out"), "--output", str(tmp_path / "n.onnx")]) == 0
    )

    about = json.loads((tmp_path / "n.json").read_text(encoding="utf-8"))
    assert (about["model"], about["classes"]) == ("MLP 1", ["0", "1", "2"])
    assert len(about["inputs"]) == 4
    pipeline = auto.ensemble_.combination.members[0].estimator
    rows = pipeline[:-1].transform(X).astype(np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "n.onnx")
    (probabilities,) = session.run(None, {"X": rows})
    np.testing.assert_allclose(probabilities, pipeline.predict_proba(X), atol=1e-5)


def test_bad_exports_are_refused(fitted, tmp_path, fails):
    """No network, another ending, no such model."""
    fails(["export", fitted, "--output", tmp_path / "n.onnx"], "network in the ensemble")
    fails(["export", fitted, "--output", tmp_path / "n.txt"], ".onnx")
    fails(["export", tmp_path / "none", "--output", tmp_path / "n.onnx"], "MODEL_DIR")
    fails(["report", tmp_path / "none"], "MODEL_DIR")
