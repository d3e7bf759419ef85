"""Lines of progress."""

import math

from sk_tune.automl import AutoProgress
from sk_tune.automl._progress import print_progress, progress_text


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


def test_the_line_is_rewritten(capsys):
    """It begins with what clears the one before."""
    print_progress(_progress())

    assert capsys.readouterr().out.startswith("\r\x1b[K")
