"""The line that says how far a search is."""

import numpy as np

from sk_tune import GridSearchCV
from sk_tune.engine import Progress
from sk_tune.search._progress_line import ProgressLine, progress_text


def progress(**values):
    """Return the progress of 4 candidates on 3 folds, half of them done."""
    own = {
        "n_fits": 12,
        "n_fits_done": 7,
        "n_epochs": 120,
        "n_epochs_done": 75,
        "best_score": 0.91234,
        "seconds": 10.0,
        "seconds_left": 6.0,
    }
    return Progress(**{**own, **values})


def test_candidates_of_earlier_rounds_count():
    """A candidate is done when all of its folds are; those before are added."""
    text = progress_text(progress(), n_folds=3, n_before=8, best=0.95)

    assert text == "candidates 10/12, epochs 75/120, best score 0.95, 6.0 s left"


def test_the_best_fold_stands_in_until_there_is_a_mean():
    """Before the first complete candidate the line tells of the best fold."""
    text = progress_text(progress(), n_folds=3, n_before=0, best=np.nan)

    assert "best fold 0.9123" in text


def test_what_is_not_known_is_left_out():
    """Without scores and times the line has counts only."""
    text = progress_text(
        progress(best_score=np.nan, seconds_left=np.nan), n_folds=3, n_before=0, best=np.nan
    )

    assert text == "candidates 2/4, epochs 75/120"


def test_the_line_is_written_over_and_ended_once(capsys):
    """Updates overwrite the line, at most every fifth of a second; the last one ends it."""
    line = ProgressLine(3)
    for _ in range(50):
        line(progress(n_epochs_done=100))
    line(progress(n_fits_done=12, best_score=np.nan, seconds_left=np.nan))

    printed = capsys.readouterr().out
    assert printed.count("\r") == 2
    assert printed.endswith("\n")
    assert printed.count("\n") == 1
    first, last = printed[1:-1].split("\r")
    assert len(last) >= len(first)


def test_a_verbose_search_prints_its_line(make_estimator, iris, capsys):
    """With verbose=1 a search ends with a line that counts all candidates."""
    GridSearchCV(
        make_estimator("MLPClassifier"),
        {"learning_rate": [0.01, 0.1]},
        cv=3,
        verbose=1,
    ).fit(*iris)

    printed = capsys.readouterr().out
    assert "totalling 6 fits" in printed
    assert "candidates 2/2, epochs 12/12" in printed
