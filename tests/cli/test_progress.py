"""How far a search is."""

import sys
import time

import numpy as np

from sk_tune.cli._progress import Progress
from sk_tune.engine import Progress as EngineProgress


def _news(n_fits_done):
    return EngineProgress(
        n_fits=40,
        n_fits_done=n_fits_done,
        n_epochs=400,
        n_epochs_done=0,
        best_score=0.9,
        seconds=1.0,
        seconds_left=np.nan,
    )


def test_a_file_or_pipe_gets_nothing(capsys):
    """A rewritten line would be rubbish in a log."""
    with Progress(time.monotonic() + 5, n_folds=5, every_batch=False) as progress:
        progress.update(3, 0.5)

    assert capsys.readouterr().out == ""


def test_a_terminal_gets_a_line_that_is_rewritten_and_cleared(capsys, monkeypatch):
    """Nothing of it is left in the end."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)

    with Progress(time.monotonic() + 4.5, n_folds=5, every_batch=False) as progress:
        progress.update(3, 0.51239)

    out = capsys.readouterr().out
    assert "3 tried, best 0.5124, 5 s left" in out
    assert out.endswith("\r\x1b[K")
    assert "\n" not in out


def test_each_batch_can_have_a_line(capsys):
    """As --verbose asks, also for a log; time that has run out is not negative."""
    with Progress(time.monotonic() - 5, n_folds=5, every_batch=True) as progress:
        progress.update(1, 0.5)
        progress.update(3, 0.75)

    assert capsys.readouterr().out.splitlines() == [
        "1 tried, best 0.5, 0 s left",
        "3 tried, best 0.75, 0 s left",
    ]


def test_news_of_the_engine_adds_up_over_its_calls(capsys, monkeypatch):
    """Candidates count when all of their folds are done; a batch may take several calls."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    progress = Progress(time.monotonic() + 4.5, n_folds=5, every_batch=False)

    progress.update(1, 0.75)
    for n_fits_done in (0, 9, 40, 0, 10):
        progress(_news(n_fits_done))

    shown = capsys.readouterr().out.split("\r\x1b[K")[1:]
    assert [text.split(",")[0] for text in shown] == [
        "Searching: 1 tried",
        "Searching: 1 tried",
        "Searching: 2 tried",
        "Searching: 9 tried",
        "Searching: 9 tried",
        "Searching: 11 tried",
    ]
    assert "best 0.75" in shown[-1]


def test_there_is_no_best_score_before_the_first(capsys):
    """Where all have failed so far, only their number is known."""
    progress = Progress(time.monotonic() + 4.5, n_folds=5, every_batch=True)

    progress.update(3, np.nan)

    assert capsys.readouterr().out == "3 tried, 5 s left\n"
