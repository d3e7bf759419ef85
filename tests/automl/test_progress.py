"""Lines of progress."""

import math
import re
import sys

import numpy as np

from sk_tune import AutoClassifier
from sk_tune.automl import AutoProgress
from sk_tune.automl._runner import AutoProgressLine, progress_text


def _progress(**changes):
    return AutoProgress(**{
        "stage": "MLP, round 1",
        "n_trials": 3,
        "best_model": "boosting 1",
        "best_score": 0.81234,
        "seconds": 4.0,
        "seconds_left": 6.4,
        **changes,
    })


def test_a_line_says_what_is_done_and_what_is_best():
    """Stage, trials, the best score so far and the time left."""
    text = progress_text(_progress())

    assert text == "MLP, round 1, 3 trials, best 0.8123 (boosting 1), 6 s left"


def test_what_is_not_known_is_left_out():
    """Before the first trial there is no best, without a budget no time left."""
    text = progress_text(_progress(best_model="", seconds_left=math.inf))

    assert text == "MLP, round 1, 3 trials"


def test_a_terminal_has_one_line_that_is_written_over_and_ended(capsys, monkeypatch):
    """It begins with what clears the one before."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    line = AutoProgressLine()

    line(_progress())
    line.end()

    assert re.fullmatch(r"(\r\x1b\[KMLP.*left\n?){2}", capsys.readouterr().out)


def test_a_file_has_no_escape_codes(capsys):
    """The last line alone, where a fit takes a moment."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    auto = AutoClassifier(
        time_budget=None, n_rounds=1, models=["linear"], progress=True, random_state=0
    )

    auto.fit(X, X[:, 0] > 0)

    printed = capsys.readouterr().out
    assert not re.search("[\r\x1b\b]", printed)
    assert printed.splitlines()[-1].startswith("ensemble, ")
