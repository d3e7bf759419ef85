"""``sk-tune fit`` from file to folder."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_diabetes

import sk_tune._automl._texts
import sk_tune._cli._fit
from sk_tune import AutoClassifier
from sk_tune._cli import main


def test_a_table_of_all_kinds_of_columns(fit, mixed_csv, printed, summary):
    """Text, missing values, booleans, dates, constants and names are supported."""
    assert fit(mixed_csv, "label") == 0

    out = printed()
    assert "label: classification, 2 different texts" in out
    assert "2 numbers, 1 date, 1 category" in out
    assert "Left out constant: constant; no values: empty" in out
    assert "empty; text that differs in almost every row: name" in out
    # By default only larger tables have rows set aside, as in Python.
    assert "set aside" not in out
    columns = summary()["kinds"]
    assert columns["numbers"] == ["size", "open"]
    assert columns["dates"] == ["since"]
    assert columns["categories"] == ["town"]
    assert sorted(columns["dropped"]) == ["constant", "empty", "name"]


def test_text_that_helps_is_read_from_the_file(
    tmp_path, fit, printed, capsys, summary, monkeypatch
):
    """Predictions depend on it, on however busy a machine."""
    monkeypatch.setattr(sk_tune._automl._texts, "_SHARE", 1.0)
    rng = np.random.default_rng(0)
    words = np.array(["amber birch", "coral delta", "ember fjord", "grove haven"])
    codes = rng.integers(4, size=240)
    numbers = rng.permutation(10_000)[:240].astype(str)
    remarks = np.char.add(np.char.add(words[codes], " no "), numbers)
    table = pd.DataFrame({"size": rng.normal(size=240), "remark": remarks})
    table["label"] = np.where(codes > 1, "yes", "no")

    assert fit(table, "label", "--models", "linear,boosting", budget="10s") == 0

    assert "Texts Used: remark" in printed()
    assert summary()["kinds"]["texts"] == ["remark"]
    new = pd.DataFrame({"size": [0.0, 0.0], "remark": [words[0], words[3]]})
    new.to_csv(tmp_path / "new.csv", index=False)
    assert main(["predict", str(tmp_path / "out"), str(tmp_path / "new.csv")]) == 0
    assert capsys.readouterr().out.split() == ["prediction", "no", "yes"]


def test_text_among_numbers_is_reported(
    tmp_path, fit, mixed_table, capsys, printed, summary
):
    """The column stays numeric, also for the model; prediction reports it once."""
    mixed_table["size"] = mixed_table["size"].astype(object)
    mixed_table.loc[1, "size"] = "bulky"

    assert fit(mixed_table, "label") == 0

    assert "'size' holds numbers, except for 'bulky' in row 2" in printed()
    assert summary()["kinds"]["numbers"] == ["size", "open"]
    assert main(["predict", str(tmp_path / "out"), str(tmp_path / "t.csv"), "--proba"]) == 0
    assert capsys.readouterr().err.count("except for 'bulky' in row 2") == 1


def test_imports_do_not_count_against_the_budget(fit, mixed_csv, summary, monkeypatch):
    """Imports can be slow on a busy machine."""
    clock = time.monotonic

    class Slow:
        def __getattr__(self, name):
            monkeypatch.setattr(time, "monotonic", lambda: clock() + 1000)
            return getattr(sk_tune._cli._fit, name)

    monkeypatch.setitem(sys.modules, "sk_tune._cli._fit", Slow())
    assert fit(mixed_csv, "label", "--models", "linear") == 0

    assert summary()["seconds"] < 1000


def test_the_page_has_the_scores_of_the_summary(fitted_once, fitted, summary):
    """It includes baselines, and one row per model."""
    trials = pd.read_parquet(fitted / "trials.parquet")
    linear = trials[trials["family"] == "linear"]
    scores = {score["name"]: score for score in summary()["scores"]}
    assert {"dummy", "linear"} <= set(trials["family"])
    assert linear["cv_score"].max() == pytest.approx(scores["linear"]["score"])
    assert linear["C"].notna().all()
    page = (fitted / "report.html").read_text(encoding="utf-8")
    for score in summary()["scores"]:
        assert f'data-key="{score["score"]}"' in page
    assert f"sk-tune predict {fitted_once} new.csv --output predictions.csv" in page
    assert "left out: text that differs in almost every row" in page


def test_regression_from_parquet(tmp_path, fit, capsys, summary):
    """Numbers with fractions are regression targets, scored by R^2."""
    frame = load_diabetes(as_frame=True).frame
    frame["target"] += 0.5
    frame.to_parquet(tmp_path / "diabetes.parquet")

    assert fit(tmp_path / "diabetes.parquet", "target") == 0

    assert "target: regression, numbers with fractions" in capsys.readouterr().out
    scores = {score["name"]: score for score in summary()["scores"]}
    assert summary()["scoring"] == "r2"
    assert scores["ensemble"]["score"] > 0.3 > scores["dummy"]["score"]


def test_task_and_scorer_can_be_chosen(fit, mixed_csv, summary, capsys):
    """The summary records them; --json prints only JSON."""
    options = ["--task", "regression", "--scoring", "neg_max_error", "--json"]
    assert fit(mixed_csv, "open", *options) == 0

    assert json.loads(capsys.readouterr().out) == summary()
    assert summary()["task"] == "regression"
    assert summary()["scoring"] == "neg_max_error"
    assert summary()["scores"][0]["score"] < 0


def test_noise_scores_at_chance_on_the_rows_set_aside(fit, printed, summary):
    """The selected model does not predict new rows of noise."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(400, 5)), columns=list("abcde"))
    frame["label"] = rng.integers(0, 2, 400)

    fit(frame, "label", "--test-size", "0.5")

    # Three standard deviations of the ROC AUC of random order over 200 rows.
    assert abs(summary()["scores"][-1]["held_out"] - 0.5) < 0.13
    out = printed()
    assert "linear model is simpler" in out or "clearly beats predicting" in out


def test_rows_set_aside_are_never_trained_on(fit, monkeypatch):
    """No fit receives a row that is set aside."""
    seen = set()
    kinds_and_values = sk_tune._prepare._table_preparer.kinds_and_values

    def spy(X, **options):
        seen.update(X["a"])
        return kinds_and_values(X, **options)

    monkeypatch.setattr(sk_tune._prepare._table_preparer, "kinds_and_values", spy)
    frame = pd.DataFrame({"a": np.arange(100) * 1.5, "label": ["x", "y"] * 50})

    assert fit(frame, "label", "--test-size", "0.2") == 0

    assert 0 < len(seen) <= 80


def test_the_model_file_holds_no_rows(tmp_path, fit):
    """Beyond 1,000 errors for intervals its size does not grow with the table."""
    sizes = []
    for n in (6000, 9000):
        rng = np.random.default_rng(0)
        frame = pd.DataFrame(rng.normal(size=(n, 10))).add_prefix("c")
        frame["label"] = np.arange(n) % 2
        fit(frame, "label", "--overwrite")
        sizes.append((tmp_path / "out" / "model" / "model.joblib").stat().st_size)

    assert sizes[1] < 1.05 * sizes[0]


def test_groups_and_times_are_not_features(fit, mixed_table, summary, printed):
    """They define the split, which passes the leak guard."""
    mixed_table["who"] = np.arange(120) // 4

    for option, column in (("--groups", "who"), ("--times", "since")):
        options = [option, column, "--test-size", "0.2", "--overwrite"]
        assert fit(mixed_table, "label", *options) == 0
        assert column not in summary()["kinds"]["numbers"]
        assert column not in summary()["kinds"]["dates"]
        assert summary()["issues"] == []
        of_group = "; rows with the same 'who' stay together" * (column == "who")
        assert f"Rows about 24 set aside for a final check{of_group} " in printed()


@pytest.mark.parametrize("written", ["%Y-%m-%d", "%m/%d/%Y"])
def test_times_as_text_are_sorted_as_dates(mixed_table, fit, written, summary):
    """The latest rows are set aside, in any format of dates."""
    times = pd.to_datetime(mixed_table["since"])
    mixed_table["since"] = times.dt.strftime(written)
    is_last = times >= times.nlargest(24).min()
    mixed_table["late"] = is_last | (np.arange(120) % 3 == 0)
    mixed_table = mixed_table.sample(frac=1, random_state=0)

    options = ["--times", "since", "--scoring", "accuracy", "--test-size", "0.2"]
    assert fit(mixed_table, "late", *options) == 0

    dummy = summary()["scores"][0]
    assert dummy["held_out"] == 0  # All of them are late, which most others are not.


def test_common_text_formats_are_parsed(tmp_path, fit, mixed_table, printed, summary):
    """In fit, in predictions of few rows and in the target; the formats are printed."""
    rng = np.random.default_rng(0)
    days = pd.to_datetime(mixed_table["since"])
    mixed_table["since"] = days.dt.strftime("%d.%m.%Y")
    mixed_table["share"] = [f"{share:.1f} %" for share in 100 * rng.random(120)]
    lows = 1000 * rng.random(120)
    mixed_table["weight"] = [f"{low:.0f} to {low + 1:.0f}" for low in lows]
    paid = 2000 * rng.random(120)
    mixed_table["paid"] = [f"€ {price:,.2f}" for price in paid]

    assert fit(mixed_table, "paid") == 0

    out = printed()
    assert "paid: regression" in out
    assert "(numbers with a decimal point, in €)" in out
    assert "Read as dates with the day first: since" in out
    assert "Read as numbers with a decimal point, in %: share" in out
    assert "cannot be read as numbers or dates, such as" in out
    assert out.count("weight") == 1
    columns = summary()["kinds"]
    assert columns["numbers"] == ["size", "open", "share"]
    assert columns["dates"] == ["since"]
    mixed_table[:1].to_csv(tmp_path / "one.csv", index=False)
    for name in ("t.csv", "one.csv"):
        command = ["predict", str(tmp_path / "out"), str(tmp_path / name)]
        assert main([*command, "--output", str(tmp_path / f"of_{name}")]) == 0
    every, one = (pd.read_csv(tmp_path / f"of_{name}") for name in ("t.csv", "one.csv"))
    assert one["prediction"][0] == pytest.approx(every["prediction"][0])
    assert 0 < every["prediction"].mean() < 2000


def test_a_fit_can_be_resumed(tmp_path, fit, mixed_csv, fails, capsys, summary):
    """Only with the same rows, from the recorded file or a given file."""
    assert fit(mixed_csv, "label") == 0
    before = summary()["n_trials"]
    command = ["resume", str(tmp_path / "out"), "--time-budget", "0.2s", "--n-jobs", "1"]

    assert main(command) == 0

    assert summary()["n_trials"] >= before
    moved = mixed_csv.rename(tmp_path / "moved.csv")
    fails(command, "--data", "mixed.csv")
    assert main([*command, "--data", str(moved)]) == 0
    pd.read_csv(moved).head(60).to_csv(moved, index=False)
    capsys.readouterr()
    fails([*command, "--data", moved], "must be the same as in fit")


@pytest.mark.parametrize("content", ["[1]", '{"target": "label"}', '{"data": null}'])
def test_options_changed_by_hand_are_refused(fitted_once, tmp_path, fails, content):
    """The error names the changed file and its folder."""
    folder = shutil.copytree(fitted_once, tmp_path / "out")
    (folder / "resume" / "config.json").write_text(content)

    fails(["resume", folder], "config.json", "out")


@pytest.mark.usefixtures("two_threads")
def test_minus_one_stands_for_a_process_for_each_cpu(fit, mixed_csv, tmp_path):
    """joblib counts the CPUs of this process; torch keeps its threads."""
    assert fit(mixed_csv, "label", "--n-jobs", "-1") == 0
    assert torch.get_num_threads() == 2

    model = joblib.load(tmp_path / "out" / "model" / "model.joblib")["model"]
    assert model.n_jobs == -1


@pytest.mark.parametrize("verbose", [[], ["--verbose", "--test-size", "0.3"]])
def test_a_leak_is_reported_once(fit, mixed_table, recwarn, verbose, printed):
    """In the output, without an additional warning."""
    mixed_table["told"] = np.where(mixed_table["label"] == "yes", 7, 3)
    warnings.simplefilter("default")

    assert fit(mixed_table, "label", *verbose) == 0

    out = printed()
    assert out.count("'told' is the target in another encoding") == 1
    # A line for each step, with the best so far, only if it is asked for.
    assert ("linear, default, 1 trials, best" in out) == bool(verbose)
    assert not any("told" in str(warned.message) for warned in recwarn)


def test_a_folder_with_a_model_is_refused_before_the_search(fitted, fails, mixed_csv):
    """The model of the first fit is kept."""
    before = (fitted / "model" / "model.joblib").read_bytes()

    command = ["fit", mixed_csv, "--target", "label", "--output", fitted]
    fails(command, "--output", "out'", "--overwrite")

    assert (fitted / "model" / "model.joblib").read_bytes() == before


def test_an_early_interrupt_leaves_no_folder(tmp_path, fit, mixed_csv, monkeypatch, capsys):
    """Ctrl-C in the first seconds leaves no files."""
    monkeypatch.setattr(AutoClassifier, "fit", Mock(side_effect=KeyboardInterrupt))

    assert fit(mixed_csv, "label") == 130

    assert sorted(path.name for path in tmp_path.iterdir()) == ["mixed.csv"]
    assert "interrupted; no files were written" in capsys.readouterr().err


@pytest.mark.parametrize("ends", ["is cut off", "ends"])
def test_a_folder_named_resume_keeps_other_files(
    tmp_path, fit, mixed_csv, monkeypatch, ends
):
    """The output folder may be a project with unrelated files in resume/."""
    own = tmp_path / "out" / "resume" / "lena.pdf"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    if ends == "is cut off":
        monkeypatch.setattr(AutoClassifier, "fit", Mock(side_effect=KeyboardInterrupt))

    fit(mixed_csv, "label")

    assert own.read_text() == "mine"
    names = {path.name for path in own.parent.iterdir()} - {"lena.pdf"}
    of_fit = {"config.json", "trials.pickle", "trials.pickle.signature"}
    assert names == (set() if ends == "is cut off" else of_fit)


def test_a_fit_without_results_is_not_suggested_for_resuming(tmp_path, mixed_csv, fails):
    """A kill in the first seconds leaves only the options."""
    (tmp_path / "out" / "resume").mkdir(parents=True)
    (tmp_path / "out" / "resume" / "config.json").write_text("{}")
    command = ["fit", mixed_csv, "--target", "label", "--output", tmp_path / "out"]

    fails(command, "Name another folder", "--overwrite", without=["sk-tune resume"])


def test_an_interrupted_write_can_be_resumed(
    tmp_path, fit, mixed_csv, monkeypatch, capsys, fails
):
    """The error of predict names sk-tune resume, which writes the model."""
    with monkeypatch.context() as patch:
        stop = Mock(side_effect=KeyboardInterrupt)
        patch.setattr(sk_tune._cli._fit, "write_output", stop)
        assert fit(mixed_csv, "label") == 130

    assert f"sk-tune resume {tmp_path / 'out'}" in capsys.readouterr().err
    assert not (tmp_path / "out" / "model").exists()
    fails(["predict", tmp_path / "out", mixed_csv], "unfinished fit", "sk-tune resume")
    resume = ["resume", str(tmp_path / "out"), "--time-budget", "0.1s", "--n-jobs", "1"]
    assert main(resume) == 0
    assert main(["predict", str(tmp_path / "out"), str(mixed_csv)]) == 0


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals are POSIX's")
def test_sigterm_ends_a_fit_as_ctrl_c_does(tmp_path, fit, mixed_csv, monkeypatch, capsys):
    """Results are written, and the exit code is the shell's for the signal."""
    begin = sk_tune._automl._runner.Runner.begin

    def terminated(self, stage):
        begin(self, stage)
        if stage == "boosting, default":
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(sk_tune._automl._runner.Runner, "begin", terminated)
    monkeypatch.setattr(sk_tune._automl._models, "_REGULARISATION", [1.0])

    # After it is safe: a reader of a pipe that left, as head does, costs no model.
    printing = Mock(side_effect=RuntimeError)
    monkeypatch.setattr(sk_tune._cli._fit, "print_outcome", printing)
    with suppress(RuntimeError):
        fit(mixed_csv, "label", budget="30s")
    assert main(["report", str(tmp_path / "out")]) == 0
    shutil.rmtree(tmp_path / "out")
    printing.side_effect = None
    capsys.readouterr()

    assert fit(mixed_csv, "label", budget="30s") == 143

    assert "results are in" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "out")]) == 0
    trials = pd.read_parquet(tmp_path / "out" / "trials.parquet")
    assert set(trials["family"]) == {"dummy", "linear", "ensemble"}
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_after_a_kill_workers_end_and_the_fit_can_be_resumed(tmp_path, mixed_csv):
    """The folder can be resumed from the first model on."""
    out, store = tmp_path / "out", tmp_path / "out" / "resume" / "trials.pickle"
    command = [sys.executable, "-m", "sk_tune", "fit", str(mixed_csv), "--target", "label"]
    command += ["--time-budget", "600s", "--n-jobs", "2", "--output", str(out)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, start_new_session=True
    ) as fit:
        assert _until(lambda: store.exists() and len(_in_session(fit.pid)) > 3, 120)

        fit.kill()

    assert _until(lambda: not _in_session(fit.pid), 10)
    assert main(["resume", str(out), "--time-budget", "0.1s", "--n-jobs", "1"]) == 0
    assert main(["predict", str(out), str(mixed_csv)]) == 0


def _until(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.1)
    return condition()


def _in_session(pid):
    """Return the processes of a session that have not ended."""
    stats = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            stats.append(path.read_text().rpartition(")")[2].split())
    return [stat for stat in stats if int(stat[3]) == pid and stat[0] != "Z"]


@pytest.mark.parametrize(
    ("scoring", "words"),
    [
        ("accuracies", ["'accuracies'", "accuracy"]),
        ("xyz", ["'xyz'", "instead. Names: accuracy, "]),
        (
            "acuracy",
            ["'acuracy' instead. Did you mean 'accuracy'? Names: sklearn.metrics."],
        ),
        ("neg_mean_squared_error", ["--scoring must suit", "for classification", "2 diff"]),
    ],
)
def test_bad_scorers_are_refused(mixed_csv, fails, scoring, words, monkeypatch):
    """Unknown names get suggestions; unsuitable scorers fail before training."""
    monkeypatch.setattr(sk_tune._automl._auto, "ModelCourse", None)

    fails(["fit", mixed_csv, "--target", "label", "--scoring", scoring], *words)


@pytest.fixture
def rare_csv(tmp_path):
    """Return a table with 10 % "YES", which one column predicts in part."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(600, 3)), columns=list("abc"))
    odds = np.exp(2 * frame["a"] - 3)
    frame["hit"] = np.where(rng.random(600) < odds / (1 + odds), "YES", "NO")
    path = tmp_path / "rare.csv"
    frame.to_csv(path, index=False)
    return path


def test_a_metric_of_one_class_uses_the_rarer_class(rare_csv, fit, printed, summary):
    """Metric, class and tuned threshold are printed and saved."""
    options = ["--scoring", "average_precision", "--threshold", "f1", "--models", "linear"]

    assert fit(rare_csv, "hit", *options, budget="1s") == 0

    out = printed()
    assert "Metric Scored by average precision of the class 'YES'" in out
    assert "rows belong to class 'YES'. If the metric is" in out
    assert "--threshold balanced_accuracy, or TunedThresholdClassifierCV" in out
    saved = summary()
    assert (saved["scoring"], saved["positive"]) == ("average_precision", "YES")
    assert 0 < saved["threshold"] < 0.5
    assert (
        f"'YES' is predicted if its probability is at least {saved['threshold']:.3g}."
        in out
    )


def test_the_default_metric_is_printed_with_its_reason(rare_csv, fit, printed, summary):
    """Accuracy hardly distinguishes a model from the majority class here."""
    assert fit(rare_csv, "hit", "--models", "linear") == 0

    assert "Scored by ROC AUC: " in printed()
    assert "so accuracy hardly distinguishes" in summary()["scoring_reason"]


@pytest.mark.parametrize("scoring", [None, "neg_mean_poisson_deviance"])
def test_counts_are_named_with_the_option_for_their_loss(fit, printed, summary, scoring):
    """The line of the metric has the option; with it, predictions are positive."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=200)})
    frame["visits"] = rng.poisson(np.exp(frame["a"]))
    options = [] if scoring is None else ["--scoring", scoring]

    assert fit(frame, "visits", "--task", "regression", "--models", "linear", *options) == 0

    words = "log link" if scoring else "--scoring neg_mean_poisson_deviance gives"
    assert words in printed()
    assert words in summary()["scoring_reason"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--positive", "yes"], ["--positive must be one of the two classes", "'NO', 'Y"]),
        (["--threshold", "roc_auc"], ["--threshold must be a number", "'roc_auc'"]),
        (["--threshold", "neg_mean_squared_error"], ["--threshold must suit the target"]),
        (["--threshold", "2"], ["--threshold", "must be a number from 0 to 1", "'2'"]),
        (["--threshold", "f1", "--task", "regression"], ["numbers for regression"]),
    ],
)
def test_classes_and_thresholds_are_checked(rare_csv, fails, options, words, monkeypatch):
    """Before any model is trained."""
    monkeypatch.setattr(sk_tune._automl._auto, "ModelCourse", None)
    fails(["fit", rare_csv, "--target", "hit", *options], *words)


def test_numbers_have_no_positive_class(rare_csv, fails):
    """They have no threshold either."""
    for option in (["--positive", "1"], ["--threshold", "0.2"]):
        fails(["fit", rare_csv, "--target", "a", *option], option[0], "has no classes")


def test_other_bad_input_is_refused(mixed_csv, tmp_path, fails):
    """Each error names the file, the column or the option."""
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "header.csv").write_text("a,label\n")
    (tmp_path / "t.docx").write_text("a,label\n")
    only_constants = pd.DataFrame({"a": [1] * 40, "label": ["x", "y"] * 20})
    only_constants.to_csv(tmp_path / "constant.csv", index=False)

    def refuses(name, *words, target="label", options=()):
        fails(["fit", mixed_csv.with_name(name), "--target", target, *options], *words)

    refuses("mixed.csv", "'labels'", "Did you mean 'label'?", target="labels")
    task = ["--task", "regression"]
    refuses("mixed.csv", "numbers for regression", "'yes'", options=task)
    wrong = ["--test-size", "0.99"]
    refuses("mixed.csv", "--test-size=0.99", "reduce --test-size", options=wrong)
    refuses("mixed.csv", "--groups", "'whom'", options=["--groups", "whom"])
    near = "Did you mean 'town'?", "Columns: 'size'"
    refuses("mixed.csv", "--groups", *near, options=["--groups", "town_"])
    one = ["--groups", "constant", "--output", tmp_path / "out"]
    refuses("mixed.csv", "at least 2 different groups", "Got 1.", options=one)
    refuses("mixed.csv", "--times", "'label'", options=["--times", "label"])
    refuses("mixed.csv", "--groups", "missing in 'town'", options=["--groups", "town"])
    both = ["--groups", "open", "--times", "since"]
    refuses("mixed.csv", "--times and --groups cannot be combined", options=both)
    refuses("none.csv", "exists", "none.csv")
    refuses("empty.csv", "empty.csv", "0 bytes")
    refuses("header.csv", "header.csv", "at least one row")
    refuses("t.docx", ".csv", "t.docx")
    refuses("constant.csv", "'a': constant")


def test_a_full_disk_loses_no_results(tmp_path, fit, mixed_csv, monkeypatch, capsys):
    """Predict can use the model, and resume the stored fits."""
    write, tried = sk_tune._cli._fit.write_output, []

    def full_at_first(folder, saved, *args):
        tried.append(folder)
        if len(tried) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(folder, saved, *args)

    monkeypatch.setattr(sk_tune._cli._fit, "write_output", full_at_first)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    assert fit(mixed_csv, "label") == 2

    error = capsys.readouterr().err
    other = Path(re.search("The results are in '(.*)' instead", error)[1])
    assert "--output" in error
    assert "no space left on device" in error
    assert other == tried[1]
    assert other.name == "out"
    assert (other / "model" / "model.joblib").is_file()
    assert (tmp_path / "out" / "resume" / "trials.pickle").is_file()


@pytest.mark.parametrize("folder", [".", ".."])
def test_the_fallback_is_a_new_folder(tmp_path, mixed_csv, monkeypatch, capsys, folder):
    """Also for a relative output such as ".."; it is removed if writing fails again."""
    tried = []

    def full(folder, *args):
        tried.append(folder)
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere")

    monkeypatch.setattr(sk_tune._cli._fit, "write_output", full)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    (tmp_path / "home" / "in").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "home" / "in")

    command = ["fit", str(mixed_csv), "--target", "label", "--time-budget", "0.1s"]
    assert main([*command, "--n-jobs", "1", "--output", folder]) == 2

    error = "sk-tune fit: error: No space left on device: 'somewhere'\n"
    assert capsys.readouterr().err == error
    assert tried[1].parent.parent == tmp_path / "elsewhere"
    assert tried[1].name in {"in", "home"}
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.slow
def test_a_longer_resume_keeps_the_single_held_out_part_of_a_short_fit(fitted, summary):
    """Folds would fit the longer budget, but could not be averaged with these models."""
    stds = [score["std"] for score in summary()["scores"]]
    assert stds == [None] * len(stds)

    assert main(["resume", str(fitted), "--time-budget", "3s", "--n-jobs", "1"]) == 0

    stds = [score["std"] for score in summary()["scores"]]
    assert stds == [None] * len(stds)
    assert "n/a" in (fitted / "report.html").read_text(encoding="utf-8")


def test_the_time_to_predict_is_limited(fit, mixed_csv, summary, fails):
    """The fastest model predicts if none is fast enough; the summary has time and size."""
    options = ["--models", "linear,boosting", "--max-predict-ms"]

    assert fit(mixed_csv, "label", *options, "1e-6", budget="2s") == 0

    front = summary()["pareto_front"]
    assert set(front[0]) == {"model", "cv_score", "predict_ms", "megabytes"}
    assert front[0]["predict_ms"] > 0 < front[0]["megabytes"]
    fails(["fit", mixed_csv, "--target", "label", *options, "0"], "a number greater than 0")
