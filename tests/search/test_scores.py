"""What a race is decided by, and the names of scores."""

import numpy as np
import pytest

from sk_tune.search._outcomes import SearchOptions
from sk_tune.search._race import ScoreBook

RATIO = 0.25  # Of five folds.


def options(**params):
    """Return options of a search with one score."""
    own = {
        "n_jobs": 1,
        "pre_dispatch": "all",
        "error_score": np.nan,
        "has_callable_scoring": False,
        "refit": True,
    }
    return SearchOptions(**{**own, **params})


def result(score, fit_error=None, **more):
    """Return a result as scikit-learn has it."""
    times = {"fit_time": 1.0, "score_time": 2.0}
    return {"test_scores": score, "fit_error": fit_error, **times, **more}


def book(scores, groups=None, **params):
    """Return a book of candidates x folds, who all compete unless in several groups."""
    own = ScoreBook()
    own.enter([None] * len(scores) if groups is None else groups)
    for row, folds in enumerate(scores):
        for score in folds:
            own.add(row, result(score), options(**params))
    return own


def test_a_hopeless_candidate_loses_after_three_folds():
    """By the test of the paper, 0.1 against 0.9 with small spread is worse."""
    losers = book([[0.9, 0.92, 0.91], [0.1, 0.13, 0.09], [0.9, 0.91, 0.92]]).losers(
        [0, 1, 2], 5, RATIO
    )

    assert set(losers) == {1}
    assert "3 folds" in losers[1]
    assert "candidate 0" in losers[1]


def test_the_share_of_rows_tested_on_decides_with_the_scores():
    """By hand: t is -6.3 with n2 / n1 = 1 / 4 and -4.2 with 1, and the quantile -4.3.

    Differences of -0.29, -0.19 and -0.24 have a mean of -0.24 and a variance of 0.0025;
    five folds are looked at twice, so that the quantile is that of 2.5 %.
    """
    own = book([[0.9, 0.9, 0.9], [0.61, 0.71, 0.66]])

    assert set(own.losers([0, 1], 5, test_train_ratio=0.25)) == {1}
    assert own.losers([0, 1], 5, test_train_ratio=1.0) == {}


def test_nobody_loses_on_two_folds():
    """Two folds say too little."""
    assert book([[0.9, 0.92], [0.1, 0.13]]).losers([0, 1], 5, RATIO) == {}


def test_failures_decide_nothing():
    """A candidate of which all folds failed is no incumbent, and loses to none."""
    nan = np.nan
    assert book([[nan] * 3, [nan] * 3]).losers([0, 1], 5, RATIO) == {}
    assert book([[0.9, 0.91, 0.92], [nan] * 3]).losers([0, 1], 5, RATIO) == {}


def test_an_incumbent_of_an_earlier_round_counts():
    """A candidate loses to the best of all rounds, by the folds that it has itself."""
    scores = [[0.9, 0.92, 0.91, 0.9, 0.93], [0.1, 0.13, 0.09]]

    assert set(book(scores).losers([1], 5, RATIO)) == {1}


def test_candidates_of_another_group_are_no_rivals():
    """A candidate loses to the best of its own group, which is named by its row."""
    scores = [[0.9, 0.92, 0.91], [0.1, 0.13, 0.09], [0.5, 0.52, 0.51], [0.1, 0.13, 0.09]]

    losers = book(scores, groups="abbb").losers([0, 1, 2, 3], 5, RATIO)

    assert set(losers) == {1, 3}
    assert all("candidate 2" in reason for reason in losers.values())
    assert book(scores, groups="abcd").losers([0, 1, 2, 3], 5, RATIO) == {}


@pytest.mark.parametrize(
    ("n_folds", "stages"),
    [(2, [[0, 1]]), (3, [[0, 1, 2]]), (5, [[0, 1, 2], [3], [4]])],
)
def test_a_race_begins_with_three_folds(n_folds, stages):
    """The first folds run together, the rest one by one."""
    assert [list(stage) for stage in ScoreBook().stages(n_folds)] == stages


def test_the_metric_of_refit_decides():
    """Of several scores the one that refit names is compared."""
    scores = [
        [{"a": 0.1, "b": 0.90}, {"a": 0.1, "b": 0.91}, {"a": 0.1, "b": 0.92}],
        [{"a": 0.9, "b": 0.10}, {"a": 0.9, "b": 0.11}, {"a": 0.9, "b": 0.12}],
    ]

    assert set(book(scores, refit="b").losers([0, 1], 5, RATIO)) == {1}
    assert set(book(scores, refit="a").losers([0, 1], 5, RATIO)) == {0}


def test_names_of_scores_reach_earlier_failures():
    """Failures before the first success get its names afterwards, train scores too."""
    own, failed = ScoreBook(), result(-1.0, "broke", train_scores=-1.0)
    callable_scoring = options(has_callable_scoring=True, error_score=-1.0)
    own.add(0, failed, callable_scoring)
    own.add(1, result({"a": 0.5, "b": 0.6}), callable_scoring)
    late = result(-1.0, "broke")
    own.add(2, late, callable_scoring)

    assert failed["test_scores"] == failed["train_scores"] == {"a": -1.0, "b": -1.0}
    assert late["test_scores"] == {"a": -1.0, "b": -1.0}


def test_an_unscored_fold_has_the_names_and_no_values():
    """What is not run has NaN for each score, no time, and is no failure."""
    own = ScoreBook()
    assert own.is_empty
    own.remember(result(np.nan, "broke"))
    own.remember(result({"a": 0.5}, train_scores={"a": 0.7}))
    own.remember(result(np.nan, "broke"))

    unscored = own.unscored()

    assert not own.is_empty
    np.testing.assert_equal(
        unscored,
        {
            "test_scores": {"a": np.nan},
            "train_scores": {"a": np.nan},
            "fit_error": None,
            "fit_time": 0.0,
            "score_time": 0.0,
        },
    )
