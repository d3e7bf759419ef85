"""Which level is learnt from, and how many candidates are random."""

import itertools

import numpy as np
import pytest
from scipy.stats import uniform

from sk_tune.sampler import BayesSampler, FidelitySampler, RandomSampler
from sk_tune.space import Choice, as_space

SPACE = as_space({"x": (0.0, 1.0), "y": (0.0, 1.0)})


class Recorder:
    """Proposes points at y = 0.5 and remembers what it was told."""

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


def test_scores_of_other_levels_are_not_told():
    """Scores after few epochs do not mix with those after many."""
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


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 20), (1.0, 0)])
def test_the_fraction_may_be_chosen(fraction, expected):
    """None at random and all at random are the ends."""
    sampler = FidelitySampler(Recorder, SPACE, 0, random_fraction=fraction, min_points=1)
    sampler.tell(_points(3), range(3), 1)

    assert _n_learnt(sampler.ask(20)) == expected


def test_random_and_learnt_candidates_are_mixed():
    """Neither kind comes first as a block."""
    sampler = FidelitySampler(Recorder, SPACE, 0)
    sampler.tell(_points(5), range(5), 1)

    is_learnt = [c["y"] == 0.5 for c in sampler.ask(60)]

    assert 10 < sum(a != b for a, b in itertools.pairwise(is_learnt)) < 50


def test_columns_of_branches_count_as_dimensions():
    """N_min counts every parameter that a model has to learn."""
    space = as_space({"a": Choice({"p": {"q": uniform()}, "r": {}}), "b": [1, 2]})

    assert FidelitySampler(RandomSampler, space).min_points == 4


def test_a_candidate_of_one_level_is_not_proposed_for_another():
    """A finite space is used up once, whichever level is learnt from."""
    space = as_space({"x": range(5), "y": range(4)})
    sampler = FidelitySampler(
        lambda space, seed: BayesSampler(space, seed, n_initial_points=0), space, 0
    )
    asked = []
    for n_resources in (1, 1, 3, 3, 9, 9):
        candidates = sampler.ask(4)
        sampler.tell(candidates, [c["x"] for c in candidates], n_resources)
        asked += candidates

    assert len({str(c) for c in asked}) == len(asked) == 20


def test_it_learns_from_full_training_what_short_training_hides():
    """Where the ranking turns with the resources, the highest level's counts."""
    sampler = FidelitySampler(
        lambda space, seed: BayesSampler(space, seed, n_initial_points=0), SPACE, 0
    )
    short, full = _points(30), _points(12, seed=1)
    sampler.tell(short, [-c["x"] for c in short], 1)
    sampler.tell(full, [c["x"] for c in full], 9)

    assert np.median([c["x"] for c in sampler.ask(12)]) > 0.8


def test_candidates_under_way_are_expected():
    """Who asks for one at a time would else get the same neighbourhood each time."""
    expected = []

    class Expecting(Recorder):
        def expect(self, candidates):
            expected.append(list(candidates))

    sampler = FidelitySampler(Expecting, SPACE, 0, random_fraction=0.0, min_points=1)
    sampler.tell(_points(3), range(3), 1)

    (first,) = sampler.ask(1)
    (second,) = sampler.ask(1)
    sampler.tell([first], [1.0], 1)
    sampler.ask(1)

    assert expected == [[first], [second]]


def test_candidates_asked_for_one_by_one_are_as_spread_as_in_a_batch():
    """Where nothing was told in between, a model expects less and less of one place."""
    points = _points(12)
    scores = [-((c["x"] - 0.5) ** 2) - (c["y"] - 0.5) ** 2 for c in points]

    def spread(n_at_once):
        sampler = FidelitySampler(
            lambda space, seed: BayesSampler(space, seed, n_initial_points=0),
            SPACE, 0, random_fraction=0.0,
        )  # fmt: skip
        sampler.tell(points, scores, 1)
        asked = [c for _ in range(8 // n_at_once) for c in sampler.ask(n_at_once)]
        return np.std([[c["x"], c["y"]] for c in asked], axis=0).sum()

    assert spread(1) > 0.5 * spread(8)
