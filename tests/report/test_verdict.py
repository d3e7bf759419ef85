"""The answer in words."""

import math

import pytest

from sk_tune.report import Baseline
from sk_tune.report._gathering import answer, interval
from sk_tune.search import CorrectedScore

CORRECTED = CorrectedScore(
    score=0.8, low=0.7, high=0.9, confidence=0.95, n_bootstraps=1000, naive_score=0.85
)


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (0.69, "clearly better than the linear baseline"),
        (0.71, "cannot be told from the linear baseline, which scores 0.710: prefer the"),
        (0.91, "worse than the linear baseline"),
    ],
)
def test_a_baseline_is_beaten_below_the_interval(make_row, score, words):
    """Inside it the simpler one is preferred, above it all the more."""
    baselines = [
        Baseline(name="dummy", mean=0.5, std=0),
        Baseline(name="linear", mean=score, std=0),
    ]

    text = answer(make_row(3, 0.85), CORRECTED, baselines, n_candidates=9)

    assert words in text
    assert "The best of 9 candidates is row 3 of cv_results_. On new data" in text
    assert "expect 0.800, between 0.700 and" in text
    assert "dummy" not in text


def test_the_better_baseline_is_the_one_to_beat(make_row):
    """Also if it is the dummy; one without a score is left out."""
    baselines = [
        Baseline(name="dummy", mean=0.75, std=0),
        Baseline(name="linear", mean=math.nan, std=math.nan),
    ]

    text = answer(make_row(0, 0.85), CORRECTED, baselines, n_candidates=1)

    assert text.startswith("There is one candidate. On new data, expect 0.8")
    assert text.endswith("which scores 0.750: nothing was learnt.")


def test_without_a_correction_the_folds_tell(make_row):
    """Mean less and plus the standard deviation."""
    row = make_row(0, -3.0, std=0.5)

    assert interval(row, None) == (-3.5, -2.5)
    text = answer(row, None, [Baseline(name="dummy", mean=-4, std=0)], n_candidates=2)
    assert (
        "with -3.00 ± 0.5 over the folds. That is better, beyond that spread, than the"
        in text
    )


@pytest.mark.parametrize(("n", "start"), [(1, "The candidate has no"), (3, "None of 3")])
def test_nothing_to_choose_is_an_answer(n, start):
    """Where no candidate has a score."""
    assert answer(None, None, [], n_candidates=n).startswith(start)
