"""``sk-tune predict``, ``report``, ``export`` and ``store``."""

import io
import json
import sqlite3
from functools import partial

import joblib
import numpy as np
import onnxruntime
import pandas as pd
import pytest
from sklearn.datasets import load_iris

import sk_tune._cli._finished
import sk_tune._cli._tables
import sk_tune._onnx_graph
from sk_tune import AutoClassifier, MLPClassifier
from sk_tune._cli import main
from sk_tune._cli._output import SavedModel, load_model, write_output
from sk_tune._engine import Fit, train
from sk_tune._text import counted
from sk_tune.exceptions import TableError


@pytest.fixture
def predict(fitted, tmp_path, capsys):
    """Return a function that predicts a frame and returns frame and messages."""

    def run(frame, *options):
        path = tmp_path / "new.csv"
        frame.to_csv(path, index=False)
        assert main(["predict", str(fitted), str(path), *options]) == 0
        out, err = capsys.readouterr()
        return pd.read_csv(io.StringIO(out)) if out.startswith("prediction") else out, err

    return run


def test_predictions_come_from_the_saved_model(predict, fitted, mixed_table, tmp_path):
    """The file is read like the fitted file; rows keep their order."""
    auto = joblib.load(fitted / "model" / "model.joblib")["model"]

    predictions, error = predict(mixed_table, "--proba")

    expected = auto.predict_proba(mixed_table.drop(columns="label"))
    assert predictions["proba_no"].tolist() == pytest.approx(expected[:, 0], abs=1e-6)
    assert np.allclose(predictions["proba_no"] + predictions["proba_yes"], 1, atol=1e-5)
    larger = np.where(predictions["proba_yes"] > 0.5, "yes", "no")
    assert (predictions["prediction"] == larger).all()
    assert (larger == mixed_table["label"]).mean() > 0.8
    # Columns that are not needed may be absent, and others in any order.
    needed, more = predict(mixed_table[["since", "town", "open", "size"]])
    assert list(needed.columns) == ["prediction"]
    assert needed["prediction"].tolist() == larger.tolist()
    assert error == more == ""
    out, _ = predict(mixed_table[::-1], "--output", str(tmp_path / "p.csv"))
    assert out.startswith("Written: 120 predictions of 'label' to ")
    assert pd.read_csv(tmp_path / "p.csv")["prediction"].tolist() == larger.tolist()[::-1]


def test_further_columns_are_ignored_with_a_note(predict, mixed_table):
    """The note goes to stderr, not among the predictions."""
    predictions, error = predict(mixed_table.assign(colour="red"))

    assert len(predictions) == len(mixed_table)
    assert "ignored: 'colour'" in error


def test_one_row_with_new_and_missing_values_is_predicted(predict):
    """Unseen categories and empty cells are not errors."""
    row = pd.DataFrame({"size": [None], "town": ["Rome"], "open": [None], "since": [None]})

    predictions, _ = predict(row)

    assert predictions["prediction"].isin(["yes", "no"]).all()


def test_regression_predicts_numbers_and_intervals(tmp_path, fit, fails, capsys):
    """--interval adds bounds; --proba with numbers is refused."""
    frame = pd.DataFrame({"a": np.arange(100) / 10, "value": np.arange(100) / 3})
    fit(frame, "value")
    capsys.readouterr()

    assert main(["predict", str(tmp_path / "out"), str(tmp_path / "t.csv")]) == 0
    predicted = pd.read_csv(io.StringIO(capsys.readouterr().out))["prediction"]
    assert np.corrcoef(predicted, frame["value"])[0, 1] > 0.95
    command = ["predict", tmp_path / "out", tmp_path / "t.csv"]
    fails([*command, "--proba"], "--proba", "regression")
    capsys.readouterr()
    assert main([*map(str, command), "--interval", "0.9"]) == 0
    columns = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(columns) == ["prediction", "low", "high"]
    inside = columns["low"].le(frame["value"]) & columns["high"].ge(frame["value"])
    assert inside.mean() > 0.85
    fails([*command, "--interval", "90"], "--interval", "between 0 and 1", "'90'")


def test_a_set_of_labels_is_a_column(predict, mixed_table):
    """With --interval, bars separate the labels of a set, which has the most probable."""
    predictions, _ = predict(mixed_table, "--interval", "0.95", "--proba")

    assert set(predictions["set"]) <= {"no", "yes", "no|yes"}
    probable = np.where(predictions["proba_yes"] > 0.5, "yes", "no")
    pairs = zip(predictions["set"], probable, strict=True)
    assert all(label in labels.split("|") for labels, label in pairs)
    unsure = predictions["proba_yes"].between(0.4, 0.6)
    assert (predictions["set"][unsure] == "no|yes").all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns=["town", "size"]), ["'size', 'town'", "6 columns"]),
        (lambda t: t[["town"]], ["Got 1 column; missing:"]),
        (
            lambda t: t.rename(columns={"town": "Town"}),
            ["'town'", "rename 'town' to 'Town'?"],
        ),
        (lambda t: t.assign(size="big"), ["'size' must hold numbers", "'big' in row 1"]),
        (lambda t: t.assign(since="soon"), ["'since' must hold dates", "'soon'"]),
        (lambda t: t.head(0), ["at least one row"]),
    ],
)
def test_other_tables_are_refused(fitted, tmp_path, mixed_table, fails, change, words):
    """The error names the columns."""
    change(mixed_table).to_csv(tmp_path / "new.csv", index=False)

    fails(["predict", fitted, tmp_path / "new.csv"], *words)


def test_columns_of_the_fitted_table_are_not_taken_for_renamed_ones():
    """The error suggests only new names."""
    columns, ignored = ("size", "size_2"), ("size_id",)
    saved = SavedModel(
        model=None, task="", target="y", columns=columns, texts=(), ignored=ignored
    )
    table = pd.DataFrame({"size_2": [1.0], "size_id": [1]})

    with pytest.raises(TableError, match=r"missing: 'size'\.\nSee"):
        sk_tune._cli._finished._check_columns(table, saved)


def test_other_bad_input_is_refused(fitted, tmp_path, mixed_csv, fails):
    """Errors distinguish the model, the table and the output."""
    fails(["predict", tmp_path / "none", mixed_csv], "MODEL_DIR", "none")
    fails(["predict", mixed_csv, fitted], "MODEL_DIR", without=["--trusted"])
    fails(["predict", fitted, tmp_path / "none.csv"], "none.csv")
    output = tmp_path / "nowhere" / "p.csv"
    fails(["predict", fitted, mixed_csv, "--output", output], "--output", "nowhere")
    page = fitted / "none" / "p.html"
    fails(["report", fitted, "--output", page], "--output", "folder that exists", str(page))


def test_another_version_of_sklearn_is_noted(predict, fitted, mixed_table):
    """scikit-learn does not support pickles of other versions."""
    path = fitted / "model" / "model.joblib"
    joblib.dump({**joblib.load(path), "sklearn_version": "1.0"}, path)

    _, error = predict(mixed_table, "--trusted")

    assert "scikit-learn 1.0" in error


def test_a_file_is_predicted_in_parts(fitted, tmp_path, mixed_table, monkeypatch, capsys):
    """Parts of 50 rows give the same predictions as all rows, from CSV and Parquet."""
    mixed_table.to_csv(tmp_path / "t.csv", index=False)
    mixed_table.to_parquet(tmp_path / "t.parquet")
    found = []
    for n_rows in (1000, 50):
        own = partial(sk_tune._cli._tables.read_parts, n_rows=n_rows)
        monkeypatch.setattr(sk_tune._cli._finished, "read_parts", own)
        for name in ("t.csv", "t.parquet"):
            assert main(["predict", str(fitted), str(tmp_path / name), "--proba"]) == 0
            found.append(capsys.readouterr().out)

    assert len(found[0].splitlines()) == 121
    assert len(set(found)) == 1


def test_row_numbers_that_were_not_fitted_are_left_out(predict, mixed_table, tmp_path):
    """The index that pandas writes is ignored without a message."""
    expected, _ = predict(mixed_table)

    mixed_table.to_csv(tmp_path / "indexed.csv")
    numbered = pd.read_csv(tmp_path / "indexed.csv")
    predictions, error = predict(numbered)

    assert numbered.columns[0] == "Unnamed: 0"
    assert predictions["prediction"].tolist() == expected["prediction"].tolist()
    assert error == ""


def test_a_column_without_a_name_is_predicted_from(tmp_path, fit, monkeypatch, capsys):
    """It is a feature even if all of its numbers differ in a file or a part of it."""
    numbers = np.tile(np.arange(30), 4)
    frame = pd.DataFrame({"label": np.where(numbers < 15, "low", "high")}, index=numbers)
    frame.to_csv(tmp_path / "t.csv")
    assert fit(tmp_path / "t.csv", "label") == 0
    frame.head(30).to_csv(tmp_path / "new.csv")
    own = partial(sk_tune._cli._tables.read_parts, n_rows=20)
    monkeypatch.setattr(sk_tune._cli._finished, "read_parts", own)
    capsys.readouterr()

    assert main(["predict", str(tmp_path / "out"), str(tmp_path / "new.csv")]) == 0

    predicted = capsys.readouterr().out.split()[1:]
    assert np.mean(np.array(predicted) == frame["label"].head(30)) > 0.8


def test_a_failing_file_leaves_no_predictions(
    fitted, tmp_path, mixed_table, fails, monkeypatch
):
    """Incomplete predictions are deleted; the error names the row."""
    own = partial(sk_tune._cli._tables.read_parts, n_rows=50)
    monkeypatch.setattr(sk_tune._cli._finished, "read_parts", own)
    mixed_table = mixed_table.astype({"size": object})
    mixed_table.loc[110, "size"] = "big"
    mixed_table.to_csv(tmp_path / "t.csv", index=False)

    output = tmp_path / "p.csv"
    command = ["predict", fitted, tmp_path / "t.csv", "--output", output]
    fails(command, "'big'", "in row 11.", "from row 101 of the file")

    assert not output.exists()


def test_predictions_never_replace_the_table(fitted, tmp_path, mixed_table, fails):
    """Nor a folder; other files of earlier predictions are replaced."""
    table = tmp_path / "new.csv"
    mixed_table.to_csv(table, index=False)
    rows = table.read_bytes()

    (tmp_path / "link.csv").symlink_to(table)
    for output in (table, tmp_path / "link.csv"):
        command = ["predict", fitted, table, "--output", output]
        fails(command, "--output must not replace the table", "Name another file.")
    fails(["predict", fitted, table, "--output", tmp_path], "--output must be a file")

    assert table.read_bytes() == rows


def test_printed_advice_can_be_followed(tmp_path, mixed_csv, mixed_table, capsys, fails):
    """Kinds of models are chosen by fit, the predicting model by fit or predict."""
    out = str(tmp_path / "out")
    command = ["fit", str(mixed_csv), "--target", "label", "--n-jobs", "1", "--output", out]
    command += ["--time-budget", "0.1s", "--models", "linear"]
    fails([*command, "--use", "boosting"], "--use", "'boosting' with --models linear")
    fails([*command[:-1], "liner"], "--models", "'liner'")

    assert main([*command, "--use", "linear"]) == 0

    assert "boosting" not in capsys.readouterr().out
    model = load_model(tmp_path / "out").model
    expected = model.set_params(use="linear").predict(mixed_table.drop(columns="label"))
    for options in ([], ["--use", "linear"]):
        assert main(["predict", out, str(mixed_csv), *options]) == 0
        assert capsys.readouterr().out.splitlines() == ["prediction", *expected]
    command = ["predict", out, mixed_csv, "--use", "networks"]
    fails(command, "--use", "linear, best, ensemble")


def test_the_page_is_written_again(fitted, tmp_path, capsys):
    """In the folder or at --output, under its title; scores are printed."""
    heading = "<h1>label in mixed.csv</h1>"
    assert heading in (fitted / "report.html").read_text(encoding="utf-8")
    (fitted / "report.html").unlink()

    # A model file stands for its folder.
    assert main(["report", str(fitted / "model" / "model.joblib")]) == 0
    (fitted / "summary.json").unlink()
    assert main(["report", str(fitted), "--output", str(tmp_path / "p.html")]) == 0

    page = (fitted / "report.html").read_text(encoding="utf-8")
    assert page.count("<section ") == 8
    assert heading in page
    assert not (fitted / "model" / "report.html").exists()
    # The summary is what names the table.
    assert "<h1>label</h1>" in (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "Summary" in capsys.readouterr().out


@pytest.fixture(scope="module")
def irises():
    """Return a fit with networks and a linear model, and its columns."""
    X, y = load_iris(return_X_y=True, as_frame=True)
    options = {"time_budget": None, "n_rounds": 0, "cv": 2, "random_state": 0}
    return AutoClassifier(models=["linear", "networks"], **options).fit(X, y), X


@pytest.fixture(scope="module")
def exported(tmp_path_factory, irises):
    """Return the output folder of this fit."""
    auto, X = irises
    folder = tmp_path_factory.mktemp("exported") / "out"
    columns = {"columns": tuple(X.columns), "texts": (), "ignored": ()}
    saved = SavedModel(model=auto, task="classification", target="y", **columns)
    write_output(folder, saved, {}, "iris")
    return folder


def test_the_predicting_model_can_be_exported(exported, irises, capsys):
    """ONNX gives all probabilities from the columns of the table."""
    auto, X = irises
    output = exported.parent / "n.onnx"
    # What an earlier export wrote is replaced.
    earlier = dict.fromkeys(("inputs", "classes", "members"))
    output.with_suffix(".json").write_text(json.dumps(earlier))

    command = ["export", str(exported), "--output", str(output), "--use", "networks"]
    assert main(command) == 0

    about = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    assert about["classes"] == ["0", "1", "2"]
    assert {member["model"] for member in about["members"]} <= {
        f"table network {k}" for k in (1, 2)
    }
    columns = [column["name"] for column in about["inputs"]]
    rows = X[columns].to_numpy()
    (found,) = onnxruntime.InferenceSession(output).run(None, {"X": rows})
    expected = auto.blends_["networks"].predict_proba(X)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    out = capsys.readouterr().out
    assert "Writing     table network 1" in out.splitlines()
    # The width of the terminal decides where the path breaks the last sentence.
    n_models = counted(len(about["members"]), "model")
    assert f"{n_models} to {output}" in " ".join(out.split())


def test_an_export_replaces_only_exports(exported, fails, monkeypatch):
    """Other files with the name of the JSON file stay; ONNX is an optional extra."""
    summary = exported / "summary.json"
    before, output = summary.read_text(), summary.with_suffix(".onnx")

    fails(["export", exported, "--output", output], "--output", "summary.json")
    monkeypatch.setattr(sk_tune._onnx_graph, "find_spec", lambda name: None)
    other = ["export", exported, "--output", exported / "n.onnx"]
    fails(other, "needs onnx.", "pip install 'sk-tune[export]'")

    assert summary.read_text() == before
    assert not output.exists()
    assert not (exported / "n.onnx").exists()


def test_bad_exports_are_refused(fitted, tmp_path, fails):
    """No network, another file ending, or an unknown model."""
    command = ["export", fitted, "--output", tmp_path / "n.onnx"]
    fails([*command, "--use", "networks"], "--use must name a model that was trained")
    fails(["export", fitted, "--output", tmp_path / "n.txt"], ".onnx")
    fails(["export", tmp_path / "none", "--output", tmp_path / "n.onnx"], "MODEL_DIR")
    fails(["report", tmp_path / "none"], "MODEL_DIR")


@pytest.fixture
def path(tmp_path, iris):
    """A store with two fits of three epochs."""
    path = tmp_path / "fits.db"
    nets = [MLPClassifier(width=4, max_epochs=3, random_state=seed) for seed in (0, 1)]
    train([Fit(estimator=net, X=iris.X, y=iris.y) for net in nets], store=path)
    return path


def _damage(path):
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE fits SET meta = CAST(meta || ' ' AS BLOB) "
            "WHERE key = (SELECT min(key) FROM fits)"
        )
    connection.close()


def test_verify_counts_damaged_fits(path, capsys):
    """An intact store passes; a changed byte is detected."""
    assert main(["store", "info", str(path)]) == 0
    assert "2 with 6 epochs" in capsys.readouterr().out
    assert main(["store", "verify", str(path)]) == 0

    _damage(path)
    assert main(["store", "verify", str(path)]) == 2
    assert f"1 of 2 fits in {path} are damaged" in capsys.readouterr().err


def test_vacuum_removes_damaged_and_surplus_fits(path, capsys):
    """The store is intact afterwards; a limit of one byte removes all fits."""
    _damage(path)

    assert main(["store", "vacuum", str(path)]) == 0

    out = capsys.readouterr().out
    assert "1 fits" in out
    assert "1 with 3 epochs" in out
    assert main(["store", "verify", str(path)]) == 0
    assert main(["store", "vacuum", str(path), "--max-size", "1"]) == 0
    assert "0 with 0 epochs" in capsys.readouterr().out


def test_a_missing_store_is_not_created(tmp_path, fails):
    """A wrong path is an error and leaves no file."""
    path = tmp_path / "none.db"

    fails(["store", "info", str(path)], "must be a file that exists", str(path))

    assert not path.exists()
