"""Scores by fold, and candidates that are clearly worse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from sk_tune.search._outcomes import SearchOptions
from sk_tune.search._race import MIN_FOLDS, ScoreBook, clearly_worse

RATIO = 0.25  # Of five folds.
# Sixty-fourths are added and subtracted without rounding.
SCORES = arrays(np.int64, (6, 5), elements=st.integers(0, 64)).map(lambda a: a / 64)


def _race(scores, incumbent=0, **options):
    scores = np.asarray(scores)
    return clearly_worse(
        scores, scores[incumbent], **{"test_train_ratio": RATIO, **options}
    )


def test_the_statistic_is_the_corrected_t():
    """The p-value from the formula, at levels on both sides of it."""
    incumbent = np.array([0.80, 0.82, 0.79, 0.85, 0.81])
    candidate = np.array([0.78, 0.81, 0.79, 0.80, 0.80])
    d = candidate - incumbent
    t = d.mean() / np.sqrt((1 / 5 + RATIO) * d.var(ddof=1))
    p_value = stats.t.cdf(t, df=4)

    def dropped(level):
        return clearly_worse([candidate], incumbent, test_train_ratio=RATIO, level=level)[0]

    assert dropped(p_value * 1.001)
    assert not dropped(p_value * 0.999)


def test_without_the_correction_it_is_the_paired_t_test():
    """A ratio of zero gives scipy's test."""
    rng = np.random.default_rng(0)
    incumbent = rng.normal(size=6)
    candidates = incumbent + rng.normal(-0.4, 0.5, size=(50, 6))
    expected = stats.ttest_rel(
        candidates, incumbent[np.newaxis], axis=1, alternative="less"
    ).pvalue

    dropped = clearly_worse(candidates, incumbent, test_train_ratio=0.0, level=0.05)

    assert 0 < dropped.sum() < 50
    assert dropped.tolist() == (expected < 0.05).tolist()


@given(scores=SCORES, incumbent=st.integers(0, 5))
def test_the_incumbent_is_never_dropped(scores, incumbent):
    """It is not worse than itself, and neither is its twin."""
    scores[(incumbent + 1) % 6] = scores[incumbent]

    dropped = _race(scores, incumbent)

    assert not dropped[incumbent]
    assert not dropped[(incumbent + 1) % 6]


@given(scores=SCORES, shifts=st.lists(st.integers(-640, 640), min_size=5, max_size=5))
def test_an_easy_fold_is_no_reason(scores, shifts):
    """What is added to all scores of a fold changes nothing."""
    shifted = scores + np.array(shifts) / 64

    assert _race(shifted).tolist() == _race(scores).tolist()


@given(scores=SCORES, data=st.data())
def test_the_order_of_candidates_and_folds_does_not_matter(scores, data):
    """Each candidate is compared with the incumbent alone."""
    order = np.array(data.draw(st.permutations(range(6))))
    folds = np.array(data.draw(st.permutations(range(5))))

    dropped = clearly_worse(
        scores[order][:, folds], scores[0][folds], test_train_ratio=RATIO
    )

    assert dropped.tolist() == _race(scores)[order].tolist()


@given(scores=SCORES, lower=st.floats(0.001, 0.5), higher=st.floats(0.001, 0.5))
def test_a_stricter_level_drops_no_more(scores, lower, higher):
    """Who is dropped at one level is dropped at every higher one."""
    lower, higher = sorted((lower, higher))

    strict, lax = _race(scores, level=lower), _race(scores, level=higher)

    assert not (strict & ~lax).any()


@given(scores=SCORES)
def test_nobody_better_on_average_is_dropped(scores):
    """Levels up to one half ask for a mean below the incumbent's."""
    dropped = _race(scores, level=0.5)

    assert (scores[dropped].mean(axis=1) < scores[0].mean()).all()


def test_equal_differences_decide_by_their_sign():
    """Always worse by the same is worse; rounding is no difference."""
    incumbent = np.array([0.3, 0.6, 0.9])
    below = incumbent - 0.01
    above = incumbent + 0.01
    rounded = np.nextafter(incumbent, 0)

    dropped = clearly_worse(
        [below, incumbent, above, rounded], incumbent, test_train_ratio=RATIO
    )

    assert dropped.tolist() == [True, False, False, False]


def test_few_folds_in_common_drop_nobody():
    """Fold scores that are missing on either side do not count."""
    nan = np.nan
    incumbent = [0.9, 0.91, 0.92, nan, 0.9]
    scores = [
        [0.1, 0.11, 0.12, 0.1, 0.1],
        [0.1, 0.11, nan, 0.1, nan],
        [nan, 0.11, 0.12, 0.1, 0.1],
        [nan, nan, nan, nan, nan],
        [-np.inf, 0.11, 0.12, 0.1, nan],
    ]

    dropped = clearly_worse(scores, incumbent, test_train_ratio=RATIO)

    assert MIN_FOLDS == 3
    assert dropped.tolist() == [True, False, True, False, False]


def test_two_folds_are_enough_if_asked_for():
    """And one is not."""
    incumbent, scores = [0.9, 0.91], [[0.1, 0.12]]

    assert clearly_worse(scores, incumbent, test_train_ratio=RATIO, min_folds=2)[0]
    with pytest.raises(ValueError, match="'min_folds' parameter .* Got 1 instead"):
        clearly_worse(scores, incumbent, test_train_ratio=RATIO, min_folds=1)


@pytest.mark.parametrize("n_folds", [3, 5, 10])
def test_equals_are_dropped_no_more_often_than_the_level_says(n_folds):
    """Of 20,000 pairs that differ by chance, correlated as the correction supposes."""
    rng = np.random.default_rng(n_folds)
    n_pairs, level = 20_000, 0.05
    ratio = 1 / (n_folds - 1)
    rho = ratio / (1 + ratio)  # n2 / (n1 + n2)
    common = rng.normal(size=(n_pairs, 1))
    own = rng.normal(size=(n_pairs, n_folds))
    differences = np.sqrt(rho) * common + np.sqrt(1 - rho) * own

    dropped = clearly_worse(
        differences, np.zeros(n_folds), test_train_ratio=ratio, level=level
    )

    standard_error = np.sqrt(level * (1 - level) / n_pairs)
    assert dropped.mean() <= level + 3 * standard_error
    assert dropped.mean() >= level / 2


@pytest.mark.parametrize("n_rows", [20, 100])
def test_equals_scored_on_few_rows_are_dropped_no_more_often(n_rows):
    """Accuracies of few rows are often equal; 20,000 pairs over three folds."""
    rng = np.random.default_rng(n_rows)
    right = rng.binomial(n_rows, 0.8, size=(2, 20_000, 3)) / n_rows

    dropped = [
        clearly_worse(candidate[np.newaxis], incumbent, test_train_ratio=0.5)[0]
        for candidate, incumbent in zip(*right, strict=True)
    ]

    assert np.mean(dropped) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 20_000)


def test_the_hopeless_are_always_dropped():
    """0.1 against 0.95, with the noise of 100 rows, after three folds."""
    rng = np.random.default_rng(0)
    incumbent = rng.binomial(100, 0.95, size=3) / 100
    hopeless = rng.binomial(100, 0.1, size=(10_000, 3)) / 100

    assert clearly_worse(hopeless, incumbent, test_train_ratio=0.5).all()


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
