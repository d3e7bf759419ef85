"""``sk-tune fit`` from file to folder."""

import json

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_diabetes

import sk_tune.cli._fit
from sk_tune.cli import main


def _summary(tmp_path):
    return json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))


def test_a_table_of_all_kinds_of_columns(tmp_path, fit, mixed_csv, capsys):
    """Text, missing values, truth values, dates, constants and names go through."""
    assert fit(mixed_csv, "label") == 0

    out = " ".join(capsys.readouterr().out.split())
    assert "label: classification, 2 different texts" in out
    assert "2 numbers, 1 date, 1 category" in out
    assert (
        "Left out constant: constant; no values: empty; text that hardly recurs: name"
        in out
    )
    assert "24 set aside for the test, stratified; 96" in out
    columns = _summary(tmp_path)["columns"]
    assert columns["numbers"] == ["size", "open"]
    assert columns["dates"] == ["since"]
    assert columns["categories"] == ["town"]
    assert sorted(columns["dropped"]) == ["constant", "empty", "name"]


def test_results_have_scores_and_parameters(tmp_path, fit, mixed_csv, four_candidates):
    """The first row is the default network; means are of the five folds."""
    assert fit(mixed_csv, "label") == 0

    results = pd.read_csv(tmp_path / "out" / "results.csv", keep_default_na=False)
    folds = results[[f"split{i}_test_score" for i in range(5)]]
    assert results["candidate"].tolist() == [1, 2, 3, 4]
    assert results["mean_test_score"].tolist() == pytest.approx(folds.mean(axis=1).tolist())
    first = results.iloc[0]
    assert (first["width"], first["n_layers"], first["normalization"]) == (128, 2, "none")
    best = results.sort_values("rank_test_score").iloc[0]
    params = _summary(tmp_path)["best_params"]
    assert best["learning_rate"] == pytest.approx(params["net__learning_rate"])


def test_a_page_tells_of_the_same_scores(tmp_path, fit, mixed_csv, capsys):
    """report.html has the scores of the summary, baselines included."""
    assert fit(mixed_csv, "label") == 0

    assert "report.html in" in " ".join(capsys.readouterr().out.split())
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for score in _summary(tmp_path)["scores"]:
        assert f'data-key="{score["mean"]}"' in page


def test_regression_from_parquet(tmp_path, fit, capsys):
    """Numbers with fractions are amounts, scored by R^2."""
    frame = load_diabetes(as_frame=True).frame
    frame["target"] += 0.5
    frame.to_parquet(tmp_path / "diabetes.parquet")

    assert fit(tmp_path / "diabetes.parquet", "target") == 0

    assert "target: regression, numbers with fractions" in capsys.readouterr().out
    scores = {score["name"]: score for score in _summary(tmp_path)["scores"]}
    assert _summary(tmp_path)["scoring"] == "r2"
    assert scores["network"]["mean"] > 0.3 > scores["dummy"]["mean"]


def test_another_task_and_scorer_can_be_asked_for(tmp_path, fit, mixed_csv):
    """The summary holds what was used."""
    assert fit(mixed_csv, "open", "--task", "regression", "--scoring", "neg_max_error") == 0

    assert _summary(tmp_path)["task"] == "regression"
    assert _summary(tmp_path)["scoring"] == "neg_max_error"
    assert _summary(tmp_path)["scores"][0]["mean"] < 0


def test_noise_scores_at_chance_on_the_test_rows(tmp_path, fit, four_candidates, capsys):
    """Whatever the search finds, the rows set aside tell that there is nothing."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(400, 5)), columns=list("abcde"))
    frame["label"] = rng.integers(0, 2, 400)
    frame.to_csv(tmp_path / "noise.csv", index=False)

    fit(tmp_path / "noise.csv", "label", "--test-size", "0.5")

    # Four standard deviations of the accuracy of coin tosses over 200 rows.
    assert abs(_summary(tmp_path)["scores"][2]["test"] - 0.5) < 0.14
    out = " ".join(capsys.readouterr().out.split())
    assert "does not clearly beat the dummy" in out
    assert "CV score is the highest of 4, so it is optimistic" in out


def test_rows_of_the_test_are_never_trained_on(tmp_path, fit, monkeypatch):
    """No fit, of a baseline or of the network, sees a row that is set aside."""
    seen, tested = set(), set()
    read_columns = sk_tune.prepare._table_preparer.read_columns
    split_rows = sk_tune.cli._fit.split_rows

    def split(*args):
        rows = split_rows(*args)
        tested.update(rows.X_test["a"])
        return rows

    def spy(X, **options):
        seen.update(X["a"])
        return read_columns(X, **options)

    monkeypatch.setattr(sk_tune.cli._fit, "split_rows", split)
    monkeypatch.setattr(sk_tune.prepare._table_preparer, "read_columns", spy)
    frame = pd.DataFrame({"a": np.arange(100) * 1.5, "label": ["x", "y"] * 50})
    frame.to_csv(tmp_path / "t.csv", index=False)

    assert fit(tmp_path / "t.csv", "label") == 0

    assert len(tested) == 20
    assert not tested & seen
    # What the preparation learnt is of the 80 other rows only.
    pipeline = joblib.load(tmp_path / "out" / "model.joblib")["pipeline"]
    scaler = pipeline["prepare"].columns_.named_transformers_["numbers"][0]
    assert len(seen) == 80
    assert scaler.center_[0] == pytest.approx(np.median(sorted(seen)))


def test_the_model_file_holds_no_rows(tmp_path, fit, capsys):
    """Its size does not grow with the table, whose rows may be confidential."""
    sizes = []
    for n in (100, 2000):
        rng = np.random.default_rng(0)
        frame = pd.DataFrame(rng.normal(size=(n, 10))).add_prefix("c")
        frame["label"] = np.arange(n) % 2
        frame.to_csv(tmp_path / "t.csv", index=False)
        fit(tmp_path / "t.csv", "label", "--overwrite")
        sizes.append((tmp_path / "out" / "model.joblib").stat().st_size)

    assert sizes[1] < 1.05 * sizes[0]


def test_the_same_seed_gives_the_same_network(tmp_path, fit, mixed_csv):
    """Where the budget allows the same candidates, all scores are equal."""
    results = []
    for seed in (0, 0, 1):
        fit(mixed_csv, "label", "--overwrite", "--random-state", str(seed))
        results.append(_summary(tmp_path)["scores"])

    assert results[0] == results[1]
    assert results[0] != results[2]


def test_two_processes_search_as_one_does(tmp_path, fit, mixed_csv):
    """The number of processes is a matter of time only."""
    scores = []
    for n_jobs in ("1", "2"):
        assert fit(mixed_csv, "label", "--overwrite", "--n-jobs", n_jobs) == 0
        scores.append(_summary(tmp_path)["scores"])

    assert scores[0] == scores[1]


def test_torch_keeps_its_threads(fit, mixed_csv):
    """A caller in the same process finds torch as it was."""
    torch.set_num_threads(2)
    try:
        fit(mixed_csv, "label")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_verbose_prints_each_batch_and_warnings(fit, mixed_csv, capsys):
    """Without it, warnings are errors of nobody: none comes out."""
    assert fit(mixed_csv, "label", "--verbose") == 0

    assert "1 tried, best" in capsys.readouterr().out


def test_a_folder_with_a_model_is_refused_before_the_search(
    tmp_path, fit, fails, mixed_csv
):
    """The model of the first fit stays."""
    assert fit(mixed_csv, "label") == 0
    before = (tmp_path / "out" / "model.joblib").read_bytes()

    fails(
        ["fit", mixed_csv, "--target", "label", "--output", tmp_path / "out"],
        "--output",
        "--overwrite",
    )

    assert (tmp_path / "out" / "model.joblib").read_bytes() == before


@pytest.mark.parametrize("when", ["_search", "write_output"])
def test_an_interrupt_writes_nothing(tmp_path, fit, mixed_csv, monkeypatch, capsys, when):
    """Ctrl-C in the search or later leaves no folder behind."""

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(sk_tune.cli._fit, when, interrupted)

    assert fit(mixed_csv, "label") == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mixed.csv"]
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("scoring", "words"),
    [
        ("accuracies", ["'accuracies'", "accuracy"]),
        ("xyz", ["'xyz'", "such as accuracy"]),
        ("f1", ["--scoring must suit the target", "'f1'"]),
        ("neg_mean_squared_error", ["--scoring must suit the target"]),
    ],
)
def test_bad_scorers_are_refused(mixed_csv, fails, scoring, words):
    """Unknown names get near ones; known ones must suit the target."""
    fails(["fit", mixed_csv, "--target", "label", "--scoring", scoring], *words)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("label", "yes", ["'label'", "two different values", "'yes'"]),
        ("label", None, ["'label'", "missing (NaN)"]),
    ],
)
def test_bad_targets_are_refused(tmp_path, mixed_table, fails, column, value, words):
    """One class only, or none in some rows."""
    rows = slice(None) if value else slice(0, 3)
    mixed_table.loc[rows, column] = value
    mixed_table.to_csv(tmp_path / "t.csv", index=False)

    fails(["fit", tmp_path / "t.csv", "--target", "label"], *words)


def test_other_bad_input_is_refused(tmp_path, mixed_csv, fails):
    """Each error names the file, the column or the option."""
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "header.csv").write_text("a,label\n")
    (tmp_path / "t.docx").write_text("a,label\n")
    only_constants = pd.DataFrame({"a": [1] * 40, "label": ["x", "y"] * 20})
    only_constants.to_csv(tmp_path / "constant.csv", index=False)

    def refuses(name, *words, target="label", options=()):
        fails(["fit", tmp_path / name, "--target", target, *options], *words)

    refuses("mixed.csv", "'labels'", "Did you mean 'label'?", target="labels")
    refuses(
        "mixed.csv", "numbers for regression", "'yes'", options=["--task", "regression"]
    )
    refuses("mixed.csv", "--test-size", "0.99", options=["--test-size", "0.99"])
    refuses("none.csv", "exists", "none.csv")
    refuses("empty.csv", "empty.csv", "0 bytes")
    refuses("header.csv", "header.csv", "at least one row")
    refuses("t.docx", ".csv", "t.docx")
    refuses("constant.csv", "'a': constant")


def test_a_search_without_a_score_is_refused(tmp_path, mixed_csv, fails, monkeypatch):
    """A scorer that fails for every network is named."""
    monkeypatch.setattr(
        sk_tune.cli._fit.TableSearchCV, "best_score_", np.nan, raising=False
    )
    monkeypatch.setattr(sk_tune.cli._fit.TableSearchCV, "fit", lambda self, X, y: self)
    monkeypatch.setattr(
        sk_tune.cli._fit.TableSearchCV,
        "cv_results_",
        {"params": [{}]},
        raising=False,
    )

    fails(["fit", mixed_csv, "--target", "label"], "'accuracy'", "--scoring")


def test_a_disk_that_is_full_is_one_line(fit, mixed_csv, monkeypatch, capsys):
    """What the operating system refuses is no bug."""

    def full(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr(sk_tune.cli._fit, "write_output", full)

    assert fit(mixed_csv, "label") == 2
    assert capsys.readouterr().err == "sk-tune fit: error: No space left on device\n"


def test_without_n_jobs_each_cpu_gets_a_process():
    """joblib counts those that this process may use."""
    options = sk_tune.cli._fit.FitOptions(
        target="",
        task="auto",
        budget=1,
        scoring=None,
        test_size=0.2,
        output=None,
        overwrite=False,
        random_state=0,
        n_jobs=None,
        verbose=False,
        started=0.0,
    )

    assert options.n_workers == joblib.cpu_count()
    assert main(["--version"]) == 0
