"""How far a fit is."""

import sys

from sk_tune.automl import AutoProgress
from sk_tune.cli._printing import FitProgress


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
