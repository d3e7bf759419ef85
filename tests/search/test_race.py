"""Scores by fold, and candidates that are clearly worse."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.base import BaseEstimator
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import KFold

from sk_tune import BayesSearchCV, GridSearchCV
from sk_tune._search._search_session import _MIN_FOLDS, _clearly_worse

RATIO = 0.25  # Of five folds.
# Sixty-fourths are added and subtracted without rounding.
SCORES = arrays(np.int64, (6, 5), elements=st.integers(0, 64)).map(lambda a: a / 64)


def _race(scores, incumbent=0, **options):
    scores = np.asarray(scores)
    return _clearly_worse(
        scores, scores[incumbent], **{"test_train_ratio": RATIO, **options}
    )


def test_the_statistic_is_the_corrected_t():
    """The p-value from the formula, at levels on both sides of it."""
    incumbent = np.array([0.80, 0.82, 0.79, 0.85, 0.81])
    candidate = np.array([0.78, 0.81, 0.79, 0.80, 0.80])
    d = candidate - incumbent
    t = d.mean() / np.sqrt((1 / 5 + RATIO) * d.var(ddof=1))
    p_value = stats.t.cdf(t, df=4)

    for level in (p_value * 0.999, p_value * 1.001):
        dropped = _clearly_worse(
            [candidate], incumbent, test_train_ratio=RATIO, level=level
        )
        assert dropped[0] == (level > p_value)


@given(scores=SCORES, incumbent=st.integers(0, 5))
def test_the_incumbent_is_never_dropped(scores, incumbent):
    """It is not worse than itself, and neither is its twin."""
    scores[(incumbent + 1) % 6] = scores[incumbent]

    dropped = _race(scores, incumbent)

    assert not dropped[incumbent]
    assert not dropped[(incumbent + 1) % 6]


@given(scores=SCORES, shifts=st.lists(st.integers(-640, 640), min_size=5, max_size=5))
def test_an_easy_fold_is_no_reason(scores, shifts):
    """A shift of all scores of a fold does not change the result."""
    shifted = scores + np.array(shifts) / 64

    assert _race(shifted).tolist() == _race(scores).tolist()


def test_equal_differences_decide_by_their_sign():
    """A constant loss is worse; rounding is not a difference."""
    incumbent = np.array([0.3, 0.6, 0.9])
    below = incumbent - 0.01
    above = incumbent + 0.01
    rounded = np.nextafter(incumbent, 0)

    dropped = _clearly_worse(
        [below, incumbent, above, rounded], incumbent, test_train_ratio=RATIO
    )

    assert dropped.tolist() == [True, False, False, False]


def test_few_common_folds_drop_no_candidate():
    """Missing fold scores on either side do not count."""
    nan = np.nan
    incumbent = [0.9, 0.91, 0.92, nan, 0.9]
    scores = [
        [0.1, 0.11, 0.12, 0.1, 0.1],
        [0.1, 0.11, nan, 0.1, nan],
        [nan, 0.11, 0.12, 0.1, 0.1],
        [nan, nan, nan, nan, nan],
        [-np.inf, 0.11, 0.12, 0.1, nan],
    ]

    dropped = _clearly_worse(scores, incumbent, test_train_ratio=RATIO)

    assert _MIN_FOLDS == 3
    assert dropped.tolist() == [True, False, True, False, False]


@pytest.mark.parametrize("n_folds", [3, 5, 10])
def test_equals_are_dropped_at_most_at_the_level(n_folds):
    """Of 20,000 pairs that differ by chance, correlated as the correction assumes."""
    rng = np.random.default_rng(n_folds)
    n_pairs, level = 20_000, 0.05
    ratio = 1 / (n_folds - 1)
    rho = ratio / (1 + ratio)  # n2 / (n1 + n2)
    common = rng.normal(size=(n_pairs, 1))
    noise = rng.normal(size=(n_pairs, n_folds))
    differences = np.sqrt(rho) * common + np.sqrt(1 - rho) * noise

    dropped = _clearly_worse(
        differences, np.zeros(n_folds), test_train_ratio=ratio, level=level
    )

    assert dropped.mean() <= level + 3 * np.sqrt(level * (1 - level) / n_pairs)
    assert dropped.mean() >= level / 2


# Each sample has the number of the fold that holds it out.
FOLDS = np.repeat(np.arange(5), 4)[:, np.newaxis]


class Listed(BaseEstimator):
    """Scores the given value for each fold; None fails."""

    def __init__(self, scores=None):
        self.scores = scores

    def fit(self, X, y=None):
        if self.scores is None:
            raise ArithmeticError
        return self

    def score(self, X, y=None):
        return self.scores[int(X[0, 0])]


def raced(search, X=FOLDS):
    """Fit a search with a race; return the losing rows with the reasons."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "One or more of the test")
        warnings.simplefilter("ignore", FitFailedWarning)
        search.set_params(race=True).fit(X)
    n = len(search.cv_results_["params"])
    reasons = search.cv_results_.get("failure_reason", [""] * n)
    return {row: why for row, why in enumerate(reasons) if "clearly worse" in why}


GOOD, HOPELESS = [0.9, 0.92, 0.91, 0.9, 0.93], [0.1, 0.13, 0.09, 0.1, 0.1]


@pytest.mark.parametrize(
    ("scores", "losers"),
    [
        ([GOOD, HOPELESS, [0.9, 0.91, 0.9, 0.91, 0.9]], {1}),
        # By hand, with differences of mean -0.24: t is -6.3 after three folds, and the
        # quantile -4.3, that of 2.5 %, because five folds are looked at twice.
        ([[0.9] * 5, [0.61, 0.71, 0.66, 0.9, 0.9]], {1}),
        # t is -3.5, which would be enough for 5 %.
        ([[0.9] * 5, [0.57, 0.75, 0.66, 0.9, 0.9]], set()),
        # A candidate that fails is no incumbent, and loses to none.
        ([GOOD, None, HOPELESS], {2}),
    ],
    ids=["hopeless", "worse", "not clearly", "failed"],
)
def test_clearly_worse_candidates_lose_after_three_folds(scores, losers):
    """By the paper's test, against the best so far, which the reason names."""
    lost = raced(GridSearchCV(Listed(), {"scores": scores}, cv=KFold(5), refit=False))

    assert set(lost) == losers
    assert all("3 folds" in why and "candidate 0" in why for why in lost.values())


def test_no_candidate_loses_on_two_folds():
    """Two folds are too few."""
    search = GridSearchCV(Listed(), {"scores": [GOOD, HOPELESS]}, cv=KFold(2), refit=False)

    assert raced(search, FOLDS[:8]) == {}


def test_an_incumbent_of_an_earlier_round_counts():
    """A candidate loses to the best of all rounds, on its own folds."""

    class OneByOne:
        def __init__(self):
            self.left = [{"scores": tuple(GOOD)}, {"scores": tuple(HOPELESS)}]

        def ask(self, n_points):
            return [self.left.pop(0)] if self.left else []

        def tell(self, *_):
            pass

    space = {"scores": [tuple(GOOD), tuple(HOPELESS)]}
    search = BayesSearchCV(
        Listed(), space, n_iter=2, n_points=1, sampler=OneByOne(), cv=KFold(5), refit=False
    )

    assert set(raced(search)) == {1}


@pytest.mark.parametrize(("refit", "loser"), [("score", 1), ("opposite", 0)])
def test_the_metric_of_refit_decides(refit, loser):
    """Of several scores, refit names the decisive one; skipped folds have none."""
    scoring = {
        "score": lambda estimator, X, y=None: estimator.score(X),
        "opposite": lambda estimator, X, y=None: -estimator.score(X),
    }
    search = GridSearchCV(
        Listed(), {"scores": [GOOD, HOPELESS]}, cv=KFold(5), scoring=scoring, refit=refit
    )

    assert set(raced(search)) == {loser}
    for name in scoring:
        is_nan = np.isnan(search.cv_results_[f"split4_test_{name}"])
        assert np.flatnonzero(is_nan).tolist() == [loser]
    assert search.ledger_.n_failed == 0
