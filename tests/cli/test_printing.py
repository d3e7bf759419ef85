"""The text that a fit prints."""

import sys

import numpy as np
import pandas as pd

from sk_tune.automl import AutoProgress, Score
from sk_tune.cli._printing import FitProgress, labelled, score_lines, verdict_text


def test_lines_are_wrapped_beside_their_label(monkeypatch):
    """The text keeps clear of the label's column, and of the terminal's edge."""
    monkeypatch.setenv("COLUMNS", "40")

    lines = labelled("Columns", "word " * 20).splitlines()

    assert lines[0].startswith("Columns     word")
    assert all(line.startswith(" " * 12 + "word") for line in lines[1:])
    assert max(map(len, lines)) <= 40


def test_scores_stand_in_columns():
    """A header and a line for each, all of one width."""
    scores = [
        Score(name="dummy", mean=0.5, std=0.0, held_out=0.5),
        Score(name="ensemble", mean=0.81234, std=0.0123, held_out=float("nan")),
    ]

    header, dummy, ensemble = score_lines(scores, "roc_auc")

    assert header.split() == ["roc_auc", "CV", "mean", "±", "std", "set", "aside"]
    assert ensemble.split() == ["ensemble", "0.812", "±", "0.012", "n/a"]
    assert len(header) == len(dummy) == len(ensemble)


def test_a_verdict_advises_options_of_the_command_line():
    """Python's parameters are options there."""
    assert verdict_text("Use it: use='best'. Or not.") == "Use it: --use best. Or not."


def test_the_output_tells_scores_members_and_verdict(fit, mixed_csv, capsys, summary):
    """The printed scores are those of the summary, without a spread where there is none."""
    fit(mixed_csv, "label")

    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines if "±" in line}
    scores = {score["name"]: score for score in summary()["scores"]}
    for name in ("dummy", "linear", "ensemble"):
        mean, _, std, held_out = map(str, rows[name])
        expected = (scores[name][part] for part in ("mean", "std", "held_out"))
        # In so short a time there is one fold, which has no spread.
        texts = ["n/a" if value is None else f"{value:.3f}" for value in expected]
        assert [mean, std, held_out] == texts
    text = " ".join(" ".join(lines).split())
    assert "Ensemble linear 1" in text
    verdict = summary()["verdict"].replace("use='linear'", "--use linear")
    assert f"Verdict {verdict}" in text
    assert "No MLP: It takes too long" in text


def test_what_predicts_is_told_where_it_is_not_the_ensemble(fit, mixed_csv, printed):
    """And what is expected is of the ensemble all the same."""
    fit(mixed_csv, "label", "--models", "linear", "--use", "linear")

    text = printed()
    assert "Predicts linear, as --use says" in text
    assert "Expected of the ensemble 0." in text or "Expected of the ensemble 1." in text


def test_notes_tell_what_makes_scores_misleading(fit, printed):
    """Copies of rows, lopsided classes and classes of few rows are pointed out."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=60)})
    frame["label"] = ["often"] * 54 + ["rare"] * 3 + ["single"] * 3

    assert fit(pd.concat([frame, frame.head(2)]), "label") == 0

    out = printed()
    assert "2 rows are copies of others" in out
    assert "% of the rows are 'often'" in out
    assert "class rare, single" in out


def test_wide_tables_do_not_flood_the_screen(fit, printed):
    """Six columns of a kind are named, the others counted."""
    frame = pd.DataFrame({f"c{i}": [1] * 40 for i in range(50)})
    frame["a"] = np.arange(40.0)
    frame["label"] = ["x", "y"] * 20

    fit(frame, "label")

    out = printed()
    assert "constant: c0, c1, c2, c3, c4, c5 and 44 more" in out


def test_lists_in_cells_are_left_out(tmp_path, fit, printed):
    """A Parquet file may hold what is neither number nor text."""
    frame = pd.DataFrame({"a": np.arange(40.0), "list": [[i, i] for i in range(40)]})
    frame["label"] = ["x", "y"] * 20
    frame.to_parquet(tmp_path / "t.parquet")

    assert fit(tmp_path / "t.parquet", "label") == 0

    out = printed()
    assert "Left out neither numbers, text nor dates: list" in out


def _news(stage="MLP, round 1", n_trials=3):
    return AutoProgress(
        stage=stage,
        n_trials=n_trials,
        best_model="linear 1",
        best_score=0.5,
        seconds=1.0,
        seconds_left=5.0,
    )


def test_a_file_or_pipe_gets_nothing(capsys):
    """A rewritten line would be rubbish in a log."""
    with FitProgress(quiet=False, every_step=False) as progress:
        progress(_news())

    assert capsys.readouterr().out == ""


def test_a_terminal_gets_a_line_that_is_cleared_at_the_end(monkeypatch, capsys):
    """It names the best score and the time left."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    with FitProgress(quiet=False, every_step=False) as progress:
        progress(_news())

    out = capsys.readouterr().out
    assert "best 0.5 (linear 1), 5 s left" in out
    assert out.endswith("\r\x1b[K")


def test_steps_are_lines_if_asked_for(capsys):
    """One for each, however often there are news."""
    progress = FitProgress(quiet=False, every_step=True)

    for news in (_news("a"), _news("a"), _news("b")):
        progress(news)

    assert [line[0] for line in capsys.readouterr().out.splitlines()] == ["a", "b"]


def test_with_json_nothing_is_shown(monkeypatch, capsys):
    """Programs read the output."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    with FitProgress(quiet=True, every_step=True) as progress:
        progress(_news())

    assert capsys.readouterr().out == ""
