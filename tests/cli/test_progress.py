"""How far a search is."""

import sys
import time

from sk_tune.cli._progress import Progress


def test_a_file_or_pipe_gets_nothing(capsys):
    """A rewritten line would be rubbish in a log."""
    with Progress(time.monotonic() + 5, every_batch=False) as progress:
        progress.update(3, 0.5)

    assert capsys.readouterr().out == ""


def test_a_terminal_gets_a_line_that_is_rewritten_and_cleared(capsys, monkeypatch):
    """Nothing of it is left in the end."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)

    with Progress(time.monotonic() + 4.5, every_batch=False) as progress:
        progress.update(3, 0.51239)

    out = capsys.readouterr().out
    assert "3 tried, best 0.5124, 5 s left" in out
    assert out.endswith("\r\x1b[K")
    assert "\n" not in out


def test_each_batch_can_have_a_line(capsys):
    """As --verbose asks, also for a log; time that has run out is not negative."""
    with Progress(time.monotonic() - 5, every_batch=True) as progress:
        progress.update(1, 0.5)
        progress.update(3, 0.75)

    assert capsys.readouterr().out.splitlines() == [
        "1 tried, best 0.5, 0 s left",
        "3 tried, best 0.75, 0 s left",
    ]
