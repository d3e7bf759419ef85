"""Samplers: common behaviour, random samplers, and models for each rung."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from marks import slow
from scipy import stats
from scipy.stats import uniform
from sklearn.model_selection import ParameterSampler

from sk_tune._sampler import (
    BayesSampler,
    FidelitySampler,
    RandomSampler,
    TPESampler,
    fill_failed,
)
from sk_tune._space import Choice, as_space


def _learner(space, seed):
    return BayesSampler(space, seed, n_initial_points=0)


def _bohb(space, random_state):
    return FidelitySampler(_learner, space, random_state)


def _trees(space, random_state):
    return BayesSampler(space, random_state, base_estimator="ET")


SAMPLERS = [RandomSampler, BayesSampler, _trees, _bohb, TPESampler]
LEARNERS = SAMPLERS[1:]
every_sampler = pytest.mark.parametrize("make", SAMPLERS, ids=lambda m: m.__name__)
every_learner = pytest.mark.parametrize("make", LEARNERS, ids=lambda m: m.__name__)

MIXED = {
    "activation": [np.tanh, None, (1, 2)],
    "lr": stats.loguniform(1e-4, 1),
    "net": Choice({"cnn": {"kernel": [3, 5]}, "mlp": {"width": (8, 64, "log-uniform")}}),
    "noise": stats.norm(),
    "seed": stats.randint(0, 5),
}


def _score(candidate):
    return -((np.log10(candidate["lr"]) + 2) ** 2) - (candidate["net"] == "cnn")


def _run(make, described, score, n_points=24, batch=4, seed=0):
    sampler = make(as_space(described), seed)
    asked = []
    while len(asked) < n_points:
        candidates = sampler.ask(batch)
        if not candidates:
            break
        sampler.tell(candidates, [score(c) for c in candidates], 1)
        asked += candidates
    return asked


@every_sampler
def test_candidates_are_of_the_space_and_repeatable(make):
    """A seed fixes the candidates; branches, objects and Python's numbers are kept."""
    asked = _run(make, MIXED, _score)

    assert asked == _run(make, MIXED, _score)
    assert asked != _run(make, MIXED, _score, seed=1)
    assert len(asked) == 24
    for candidate in asked:
        as_space(MIXED).encode([candidate])
        assert any(candidate["activation"] is value for value in MIXED["activation"])
        assert ("kernel" in candidate) == (candidate["net"] == "cnn")
        assert type(candidate["lr"]) is float
        assert type(candidate["seed"]) is int


@every_sampler
@pytest.mark.parametrize("batch", [1, 7])
def test_a_finite_space_is_exhausted_without_repetition(make, batch):
    """Every candidate is proposed once."""
    described = {"a": [3, 1, 2], "b": [None, "x"], "c": Choice({1: {"d": [4, 5]}, 2: {}})}

    asked = _run(make, described, lambda c: c["a"], n_points=100, batch=batch)

    assert len(asked) == 18
    assert len({repr(sorted(c.items())) for c in asked}) == 18


@every_sampler
def test_a_space_of_one_candidate_is_not_a_special_case(make):
    """Constants are not modelled."""
    assert _run(make, {"a": ["x"], "b": (2, 2)}, lambda _: 1.0) == [{"a": "x", "b": 2}]


@every_learner
def test_a_finite_distribution_is_exhausted(make):
    """scipy's integers are distinct candidates to a sampler that learns."""
    described = {"a": stats.randint(0, 4), "b": [1, 2]}

    asked = _run(make, described, lambda c: c["a"], n_points=100)

    assert len({repr(c) for c in asked}) == len(asked) == 8


@every_sampler
@pytest.mark.parametrize("failure", [np.nan, np.inf, slow(-np.inf)])
def test_failed_candidates_do_not_end_a_search(make, failure):
    """Scores that are not finite are survived, from the first candidate on."""
    n_calls = iter(range(1000))

    def score(candidate):
        n = next(n_calls)
        return failure if n < 6 or n % 3 == 0 else _score(candidate)

    assert len(_run(make, MIXED, score, n_points=16)) == 16


@every_learner
def test_unrequested_scores_are_learnt_from(make):
    """A search can continue from an earlier search."""
    space = as_space({"x": (0.0, 1.0)})
    xs = np.linspace(0, 1, 30)
    sampler = make(space, 0)

    sampler.tell([{"x": x} for x in xs.tolist()], -((xs - 0.3) ** 2), 1)
    asked = [c["x"] for c in sampler.ask(9)]

    # At random, the median would be 0.5; BOHB asks a third at random.
    assert abs(np.median(asked) - 0.3) < 0.15


@every_learner
def test_equal_scores_do_not_fail(make):
    """A model of ties still proposes candidates."""
    assert len(_run(make, MIXED, lambda _: 0.5)) == 24


@every_learner
def test_no_warning_and_no_line_of_a_log_reaches_the_user(make, capfd):
    """From scikit-optimize, scikit-learn or Optuna."""
    with warnings.catch_warnings(action="error"):
        _run(make, MIXED, _score)

    assert capfd.readouterr() == ("", "")


@every_learner
def test_what_can_only_be_drawn_from_is_refused_at_once(make):
    """The error names the parameter; random search would take it."""

    class OnlyRvs:
        def rvs(self, random_state=None):
            return random_state.uniform()

    space = as_space({"drawn": OnlyRvs()})

    with pytest.raises(ValueError, match="'drawn' must have 'ppf' and 'cdf'"):
        make(space, 0)
    assert len(RandomSampler(space, 0).ask(3)) == 3


@every_sampler
def test_a_global_seed_is_neither_needed_nor_touched(make):
    """numpy's global generator is left as it was."""
    state = np.random.get_state()[1].copy()  # noqa: NPY002

    _run(make, MIXED, _score, n_points=12)

    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_failures_count_as_the_worst_finite_score():
    """Without a finite score, failures are ignored."""
    np.testing.assert_array_equal(
        fill_failed(np.array([1.0, np.nan, -2.0, np.inf, -np.inf])), [1, -2, -2, -2, -2]
    )
    assert fill_failed(np.array([np.nan, np.inf])) is None
    assert fill_failed(np.array([])) is None


ENDLESS = [{"a": stats.uniform(), "b": [1, 2]}, {"a": stats.randint(0, 9), "c": ["x"]}]


@given(batches=st.lists(st.integers(1, 5), max_size=6), seed=st.integers(0, 1000))
def test_batches_do_not_change_what_is_drawn(batches, seed):
    """For any batches, candidates of distributions equal ParameterSampler's."""
    sampler = RandomSampler(as_space(ENDLESS), seed)

    asked = [candidate for n in batches for candidate in sampler.ask(n)]

    assert asked == list(ParameterSampler(ENDLESS, sum(batches), random_state=seed))


@pytest.mark.parametrize("n_points", [1, 5, 12])
def test_lists_are_drawn_as_scikit_learn_draws_them(n_points):
    """The first candidates equal ParameterSampler's."""
    grid = {"b": [1, 2, 3], "a": ["x", "y", "z", None]}

    asked = RandomSampler(as_space(grid), 3).ask(n_points)

    assert asked == list(ParameterSampler(grid, n_points, random_state=3))


SPACE = as_space({"x": (0.0, 1.0), "y": (0.0, 1.0)})


class Recorder:
    """Proposes points at y = 0.5 and records the calls of ``tell``."""

    told = None

    def __init__(self, space, seed):
        self.rng = np.random.RandomState(seed)

    def tell(self, candidates, scores, n_resources=None):
        Recorder.told = (len(candidates), list(scores), n_resources)

    def ask(self, n_points):
        return [{"x": self.rng.uniform(), "y": 0.5} for _ in range(n_points)]


@pytest.fixture(autouse=True)
def _fresh():
    Recorder.told = None


def _points(n, seed=0):
    return SPACE.sample(n, np.random.RandomState(seed))


def _n_learnt(candidates):
    return sum(c["y"] == 0.5 for c in candidates)


def test_the_highest_level_with_enough_points_is_learnt_from():
    """As in Algorithm 2 of the paper: N_min + 2 points, where N_min is dimensions + 1."""
    sampler = FidelitySampler(Recorder, SPACE, 0)

    levels = []
    for n_resources, n_points in [(1, 4), (1, 1), (3, 4), (9, 5), (3, 1), (9, 0)]:
        sampler.tell(_points(n_points, n_resources), [0.0] * n_points, n_resources)
        levels.append(sampler.level())

    assert levels == [None, 1, 1, 9, 9, 9]


def test_scores_of_other_levels_are_ignored():
    """Scores after few epochs are not mixed with scores after many."""
    sampler = FidelitySampler(Recorder, SPACE, 0)
    sampler.tell(_points(9), range(9), 1)
    sampler.tell(_points(6, seed=1), range(100, 106), 3)

    sampler.ask(10)

    assert Recorder.told == (6, list(range(100, 106)), 3)


def test_a_third_of_the_candidates_is_random():
    """rho is 1/3; without enough points all are random."""
    sampler = FidelitySampler(Recorder, SPACE, 0)
    assert _n_learnt(sampler.ask(50)) == 0

    sampler.tell(_points(5), range(5), 1)
    # Five standard deviations of 3000 draws.
    assert _n_learnt(sampler.ask(3000)) == pytest.approx(2000, abs=130)


def test_random_and_learnt_candidates_are_mixed():
    """They are not in blocks."""
    sampler = FidelitySampler(Recorder, SPACE, 0)
    sampler.tell(_points(5), range(5), 1)

    is_learnt = [c["y"] == 0.5 for c in sampler.ask(60)]

    assert 10 < sum(a != b for a, b in itertools.pairwise(is_learnt)) < 50


def test_columns_of_branches_count_as_dimensions():
    """N_min counts every parameter that a model has to learn: three here."""
    space = as_space({"a": Choice({"p": {"q": uniform()}, "r": {}}), "b": [1, 2]})
    sampler = FidelitySampler(RandomSampler, space)
    points = RandomSampler(space, 0).ask(6)

    levels = []
    for point in points:
        sampler.tell([point], [0.0], 1)
        levels.append(sampler.level())

    assert levels == [None] * 5 + [1]


def test_a_candidate_of_one_level_is_not_proposed_for_another():
    """A finite space is used up once, whichever level is learnt from."""
    space = as_space({"x": range(5), "y": range(4)})
    sampler = _bohb(space, 0)
    asked = []
    for n_resources in (1, 1, 3, 3, 9, 9):
        candidates = sampler.ask(4)
        sampler.tell(candidates, [c["x"] for c in candidates], n_resources)
        asked += candidates

    assert len({str(c) for c in asked}) == len(asked) == 20


def test_it_learns_from_full_training_what_short_training_hides():
    """Where the ranking turns with the resources, the highest level's counts."""
    sampler = _bohb(SPACE, 0)
    short, full = _points(30), _points(12, seed=1)
    sampler.tell(short, [-c["x"] for c in short], 1)
    sampler.tell(full, [c["x"] for c in full], 9)

    assert np.median([c["x"] for c in sampler.ask(12)]) > 0.8


def test_candidates_under_way_are_expected():
    """Single proposals would otherwise come from the same neighbourhood."""
    expected = []

    class Expecting(Recorder):
        def expect(self, candidates):
            expected.append(list(candidates))

    sampler = FidelitySampler(Expecting, SPACE, 0)
    sampler.tell(_points(5), range(5), 1)

    first, second = sampler.ask(6), sampler.ask(6)
    sampler.tell(first, [1.0] * 6, 1)
    sampler.ask(6)

    assert [len(own) for own in expected] == [6, 6]
    assert all(c in first for c in expected[0])
    assert all(c in second for c in expected[1])


def test_single_proposals_are_as_spread_as_a_batch():
    """Between calls of ``tell``, a model expects less and less of a place."""
    points = _points(12)
    scores = [-((c["x"] - 0.5) ** 2) - (c["y"] - 0.5) ** 2 for c in points]

    def spread(n_at_once):
        sampler = _bohb(SPACE, 0)
        sampler.tell(points, scores, 1)
        asked = [c for _ in range(8 // n_at_once) for c in sampler.ask(n_at_once)]
        return np.std([[c["x"], c["y"]] for c in asked], axis=0).sum()

    assert spread(1) > 0.5 * spread(8)


def test_random_candidates_leave_out_expected_candidates():
    """A listed space has each candidate once, whoever evaluates it."""
    sampler = RandomSampler({"a": [1, 2, 3]}, random_state=0)
    sampler.expect([{"a": 2}])

    assert sorted(c["a"] for c in sampler.ask(2)) == [1, 3]
    assert sampler.ask(1) == []
