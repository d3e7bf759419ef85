"""Bayesian search: better than chance on closed forms, one fit, no repeats."""

import pickle
from functools import partial

import numpy as np
import pytest
from marks import slow
from scipy.stats import loguniform, uniform
from sklearn.gaussian_process import GaussianProcessRegressor

from sk_tune._sampler import BayesSampler, RandomSampler
from sk_tune._sampler import _bayes as bayes
from sk_tune._sampler._surrogate import Fitted, GaussianProcess
from sk_tune._space import Choice, as_space

N_SEEDS = 10
N_POINTS = 40


def branin(c):
    """Return Branin's function, negated; its greatest value is -0.397887."""
    x, y = c["x"], c["y"]
    curve = y - 5.1 / (4 * np.pi**2) * x**2 + 5 / np.pi * x - 6
    return -(curve**2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x) + 10)


HARTMANN_A = np.array([
    [10, 3, 17, 3.5, 1.7, 8],
    [0.05, 10, 17, 0.1, 8, 14],
    [3, 3.5, 1.7, 10, 17, 8],
    [17, 8, 0.05, 10, 0.1, 14],
])
HARTMANN_P = 1e-4 * np.array([
    [1312, 1696, 5569, 124, 8283, 5886],
    [2329, 4135, 8307, 3736, 1004, 9991],
    [2348, 1451, 3522, 2883, 3047, 6650],
    [4047, 8828, 8732, 5743, 1091, 381],
])


def hartmann(c):
    """Return Hartmann's function of six variables, negated; its top is 3.32237."""
    x = np.array([c[f"x{i}"] for i in range(6)])
    inner = (HARTMANN_A * (x - HARTMANN_P) ** 2).sum(axis=1)
    return float(np.array([1.0, 1.2, 3.0, 3.2]) @ np.exp(-inner))


def branches(c):
    """Return a score with its best branch in a dependent parameter; its maximum is 0."""
    score = -((np.log10(c["lr"]) + 2) ** 2)
    if c["optimizer"] == "sgd":
        return score - 4 * (c["momentum"] - 0.9) ** 2
    return score - 0.5 - 0.3 * (c["layers"] != (8, 8))


FUNCTIONS = {
    "branin": (branin, {"x": (-5.0, 10.0), "y": (0.0, 15.0)}),
    "hartmann": (hartmann, {f"x{i}": (0.0, 1.0) for i in range(6)}),
    "branches": (
        branches,
        {
            "lr": loguniform(1e-5, 1),
            "optimizer": Choice({
                "sgd": {"momentum": uniform(0, 0.99)},
                "adam": {"layers": [(4,), (8, 8), (16,)]},
            }),
        },
    ),
}


def _best_scores(make, function, described, batch, n_seeds=N_SEEDS):
    best = []
    for seed in range(n_seeds):
        sampler = make(as_space(described), seed)
        scores = []
        while len(scores) < N_POINTS:
            candidates = sampler.ask(min(batch, N_POINTS - len(scores)))
            told = [function(c) for c in candidates]
            sampler.tell(candidates, told)
            scores += told
        best.append(max(scores))
    return np.array(best)


@pytest.mark.parametrize("batch", [slow(1), 8])
@pytest.mark.parametrize("name", [slow("branin"), slow("hartmann"), "branches"])
def test_it_finds_better_candidates_than_chance(name, batch):
    """After 40 points, 8 of 10 seeds are better, and half of the way to the top is gone."""
    function, described = FUNCTIONS[name]
    top = {"branin": -0.397887, "hartmann": 3.32237, "branches": 0.0}[name]

    ours = _best_scores(BayesSampler, function, described, batch)
    chance = _best_scores(RandomSampler, function, described, batch)

    assert (ours <= top + 1e-5).all()
    # By chance once in 18.
    assert (ours > chance).sum() >= 8
    assert top - np.median(ours) < (top - np.median(chance)) * 0.6


def test_the_optimum_of_branin_is_found():
    """In batches of one, the median of three seeds is within 0.01 of the known minimum."""
    ours = _best_scores(BayesSampler, *FUNCTIONS["branin"], batch=1, n_seeds=3)

    assert np.median(ours) == pytest.approx(-0.397887, abs=0.01)


@pytest.fixture
def n_fits(monkeypatch):
    """List the numbers of rows that processes are fitted to."""
    fits = []
    fit = GaussianProcess.fit

    def counted(self, X, y):
        fits.append(len(y))
        fit(self, X, y)

    monkeypatch.setattr(GaussianProcess, "fit", counted)
    return fits


SQUARE = {"x": (0.0, 1.0), "y": (0.0, 1.0)}


def _square(c):
    return -((c["x"] - 0.3) ** 2) - (c["y"] - 0.6) ** 2


def test_a_batch_costs_one_fit(n_fits):
    """The model is fitted once for all told scores and all asked points."""
    sampler = BayesSampler(as_space(SQUARE), 0)
    first = sampler.ask(10)
    sampler.tell(first[:4], [_square(c) for c in first[:4]])
    sampler.tell(first[4:], [_square(c) for c in first[4:]])

    sampler.ask(8)
    sampler.ask(3)

    assert n_fits == [10]


def test_initial_points_fill_every_part_of_each_parameter():
    """Ten initial points have one in each tenth of a parameter, in any batches."""
    sampler = BayesSampler(as_space({**SQUARE, "c": ["a", "b"]}), 0)

    points = [c for n in (3, 1, 6) for c in sampler.ask(n)]

    for name in ("x", "y"):
        assert sorted(int(10 * c[name]) for c in points) == list(range(10))
    assert sum(c["c"] == "a" for c in points) == 5


def test_a_warm_start_counts_as_initial_points(n_fits):
    """After ten earlier points, the model proposes the first candidate."""
    sampler = BayesSampler(as_space(SQUARE), 0)
    rng = np.random.RandomState(0)
    told = as_space(SQUARE).sample(10, rng)
    sampler.tell(told, [_square(c) for c in told])

    sampler.ask(1)

    assert n_fits == [10]


def test_proposals_avoid_candidates_under_evaluation():
    """A second ``ask`` before ``tell`` proposes other places."""
    space = as_space({"x": (0.0, 1.0)})
    xs = np.linspace(0, 1, 12)
    sampler = BayesSampler(space, 0)
    sampler.tell([{"x": x} for x in xs.tolist()], np.sin(12 * xs))

    first, second = sampler.ask(1)[0]["x"], sampler.ask(1)[0]["x"]

    assert abs(first - second) > 0.005


def test_trees_follow_the_process_beyond_a_hundred_points(monkeypatch):
    """Where a process costs more than trees, trees learn."""
    monkeypatch.setattr(bayes, "_MAX_PROCESS_POINTS", 12)
    sampler = BayesSampler(as_space(SQUARE), 0)
    kinds = []
    for _ in range(4):
        candidates = sampler.ask(5)
        sampler.tell(candidates, [_square(c) for c in candidates])
        sampler.ask(1)
        kinds.append(type(sampler._model) if sampler._n_fitted else None)

    assert kinds == [None, GaussianProcess, Fitted, Fitted]
    assert bayes._MAX_PROCESS_POINTS == 12


def test_one_disaster_does_not_hide_the_differences_of_others():
    """A score of -1e9 is moved to Tukey's far fence, three quartile ranges below."""
    scores = np.array([0.0, 1.0, 2.0, 3.0, -1e9])
    # Quartiles are 0 and 2, so that the fence is at -6.
    fenced = np.array([0.0, 1.0, 2.0, 3.0, -6.0])

    losses = bayes._standardised_losses(scores)

    np.testing.assert_allclose(losses, -(fenced - fenced.mean()) / fenced.std())


@pytest.mark.parametrize(
    ("options", "n_seeds"),
    [
        ({"acq_func": "PI"}, 5),
        ({"acq_func": "LCB"}, 5),
        slow({"base_estimator": "ET"}, 5),
        slow({"base_estimator": "RF"}, N_SEEDS),
        ({"base_estimator": GaussianProcessRegressor()}, 5),
    ],
    ids=str,
)
def test_every_model_and_acquisition_climbs(options, n_seeds):
    """After 40 points on a hill, the best is nearer to its top than chance would be."""
    ours, chance = (
        _best_scores(make, _square, SQUARE, batch=8, n_seeds=n_seeds)
        for make in (partial(BayesSampler, **options), RandomSampler)
    )

    assert np.median(ours) > np.median(chance)


@pytest.mark.parametrize("name", ["EIps", "ei", None])
def test_an_unknown_acquisition_is_refused(name):
    """The error lists the valid functions."""
    with pytest.raises(
        ValueError, match="'acq_func' .* \\['EI', 'LCB', 'PI', 'gp_hedge'\\]. Got"
    ):
        BayesSampler(as_space(SQUARE), acq_func=name)


def test_an_unknown_model_is_refused_at_once():
    """Not in the middle of a search."""
    with pytest.raises(ValueError, match="'base_estimator' parameter of BayesSampler"):
        BayesSampler(as_space(SQUARE), base_estimator="nonsense")


@pytest.mark.parametrize("model", ["auto", "dummy"])
def test_without_a_model_all_candidates_are_random(model):
    """Before the first score, or with "dummy"."""
    sampler = BayesSampler(as_space(SQUARE), 0, base_estimator=model, n_initial_points=3)
    score = np.nan if model == "auto" else 1.0
    for _ in range(4):
        candidates = sampler.ask(2)
        assert len(candidates) == 2
        sampler.tell(candidates, [score, score])


def test_a_sampler_can_be_pickled_in_the_middle():
    """A stored search continues with the same candidates."""
    sampler = BayesSampler(as_space(SQUARE), 0)
    candidates = sampler.ask(12)
    sampler.tell(candidates, [_square(c) for c in candidates])
    sampler.ask(2)

    assert pickle.loads(pickle.dumps(sampler)).ask(3) == sampler.ask(3)


def test_the_last_candidates_of_a_large_space_are_found():
    """If all but three of 5000 candidates have scores, these three are next."""
    space = as_space({"a": range(100), "b": range(50)})
    everything = space.sample(5000, np.random.RandomState(0))
    sampler = BayesSampler(space, 0, base_estimator="ET")
    sampler.tell(everything[3:], [float(c["a"]) for c in everything[3:]])

    assert sorted(map(str, sampler.ask(8))) == sorted(map(str, everything[:3]))
