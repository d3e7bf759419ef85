"""The text that a fit prints."""

import re
import sys

import numpy as np
import pandas as pd
import pytest

from sk_tune._cli._parser import in_options


@pytest.mark.parametrize("columns", ["60", "200"])
def test_the_output_has_the_result(fit, mixed_csv, capsys, summary, monkeypatch, columns):
    """Lines are wrapped next to their label; scores equal the summary."""
    monkeypatch.setenv("COLUMNS", columns)
    options = ["--models", "linear", "--use", "linear"] if columns == "60" else []
    fit(mixed_csv, "label", "--test-size", "0.2", *options)

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= min(int(columns), 92)
    assert all(line[10:12] == "  " for line in lines if line and "±" not in line)
    assert len({len(line) for line in lines if "±" in line}) == 1
    rows = {line.split()[0]: line.split()[1:] for line in lines if "±" in line}
    scores = {score["name"]: score for score in summary()["scores"]}
    for name in ("dummy", "linear", "ensemble"):
        mean, _, std, held_out = map(str, rows[name])
        expected = (scores[name][part] for part in ("score", "std", "held_out"))
        # In so short a time there is one fold, which has no spread.
        texts = ["n/a" if value is None else f"{value:.3f}" for value in expected]
        assert [mean, std, held_out] == texts
    text = " ".join(" ".join(lines).split())
    assert "Model Linear model." in text
    assert "Next step " in text
    assert f"Summary {summary()['summary']}" in text
    assert ("MLP was not trained: Training takes too long" in text) is not bool(options)
    # What is expected is of the ensemble all the same.
    assert ("interval of the ensemble)" in text) is bool(options)


def test_notes_point_out_misleading_scores(fit, printed):
    """Copies of rows, imbalanced classes and classes with few rows."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=60)})
    frame["label"] = ["often"] * 54 + ["rare"] * 3 + ["single"] * 3

    assert fit(pd.concat([frame, frame.head(2)]), "label") == 0

    out = printed()
    assert "2 rows are copies of other rows" in out
    assert "5 % of 62 rows belong to class" in out
    assert "2 classes have fewer rows than there are folds (5): rare, single" in out


def test_a_possible_leak_is_shown(fit, printed):
    """A tip about units, whose rows are on both sides of a split, does not stop a fit."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"patient_id": np.arange(150) // 3, "a": rng.normal(size=150)})
    frame["label"] = np.where(frame["a"] + rng.normal(size=150) > 0, "x", "y")

    assert fit(frame, "label") == 0

    assert "Check The column 'patient_id' looks like a group identifier" in printed()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Set a larger time_budget.", "Set a larger --time-budget."),
        ("The 'time_budget' parameter must be", "--time-budget must be"),
        ("AutoClassifier(time_budget=60)", "AutoClassifier(time_budget=60)"),
        ("Use scoring='r2'.", "Use --scoring r2."),
    ],
)
def test_parameters_in_texts_become_options(text, expected):
    """Code stays as it is."""
    assert in_options(text) == expected


def test_wide_tables_do_not_flood_the_screen(fit, printed):
    """Six columns of a kind are named, the remaining columns counted."""
    frame = pd.DataFrame({f"c{i}": [1] * 40 for i in range(50)})
    frame["a"] = np.arange(40.0)
    frame["label"] = ["x", "y"] * 20

    fit(frame, "label")

    assert "constant: c0, c1, c2, c3, c4, c5 and 44 more" in printed()


def test_lists_in_cells_are_left_out(tmp_path, fit, printed):
    """A Parquet file may hold cells that are neither numbers nor text."""
    frame = pd.DataFrame({"a": np.arange(40.0), "list": [[i, i] for i in range(40)]})
    frame["label"] = ["x", "y"] * 20
    frame.to_parquet(tmp_path / "t.parquet")

    assert fit(tmp_path / "t.parquet", "label") == 0

    assert "Left out neither numbers, text nor dates: list" in printed()


# What is said of the result, which --verbose lets through.
@pytest.mark.filterwarnings("ignore::sk_tune.exceptions.SkTuneWarning")
@pytest.mark.parametrize(
    ("is_terminal", "options", "expected"),
    [
        # A rewritten line would be rubbish in a log, and programs read JSON.
        (False, [], ""),
        (True, ["--json", "--verbose"], ""),
        # One line in a terminal, of which the last state stays.
        (True, [], r"(\r\x1b\[K.*)*\r\x1b\[Kensemble, .*, best .*\n"),
        # One line for each step if asked for, however often there are news.
        (False, ["--verbose"], r"dummy, default, 0 trials.*\n(.*\n)*ensemble, .*\n"),
    ],
    ids=["pipe", "JSON", "terminal", "steps"],
)
def test_progress_is_shown(
    is_terminal, options, expected, fit, mixed_csv, monkeypatch, capsys
):
    """With the best score so far and the remaining time."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)

    assert fit(mixed_csv, "label", *options) == 0

    told = re.findall(r"[^\n]*, \d+ trials[^\n]*\n", capsys.readouterr().out)
    assert re.fullmatch(expected, "".join(told))
    stages = [line.partition(" trials")[0].rpartition(",")[0] for line in told]
    assert len(set(stages)) == len(stages)
