"""What every sampler does, whichever it is."""

import warnings

import numpy as np
import pytest
from scipy import stats

from sk_tune.sampler import BayesSampler, FidelitySampler, RandomSampler, TPESampler
from sk_tune.sampler._samplers import fill_failed
from sk_tune.space import Choice, as_space


def _bohb(space, random_state):
    def make(space, seed):
        return BayesSampler(space, seed, n_initial_points=0)

    return FidelitySampler(make, space, random_state)


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
def test_a_finite_space_is_asked_for_once_and_to_the_end(make, batch):
    """Every candidate comes once, and then there are none."""
    described = {"a": [3, 1, 2], "b": [None, "x"], "c": Choice({1: {"d": [4, 5]}, 2: {}})}

    asked = _run(make, described, lambda c: c["a"], n_points=100, batch=batch)

    assert len(asked) == 18
    assert len({repr(sorted(c.items())) for c in asked}) == 18


@every_sampler
def test_a_space_of_one_candidate_is_no_special_case(make):
    """There is nothing to learn from constants."""
    assert _run(make, {"a": ["x"], "b": (2, 2)}, lambda _: 1.0) == [{"a": "x", "b": 2}]


@every_learner
def test_a_finite_distribution_is_asked_for_to_the_end(make):
    """scipy's integers are distinct candidates to a sampler that learns."""
    described = {"a": stats.randint(0, 4), "b": [1, 2]}

    asked = _run(make, described, lambda c: c["a"], n_points=100)

    assert len({repr(c) for c in asked}) == len(asked) == 8


@every_sampler
@pytest.mark.parametrize("failure", [np.nan, np.inf, -np.inf])
def test_failed_candidates_do_not_end_a_search(make, failure):
    """Scores that are not finite are survived, from the first candidate on."""
    n_calls = iter(range(1000))

    def score(candidate):
        n = next(n_calls)
        return failure if n < 6 or n % 3 == 0 else _score(candidate)

    assert len(_run(make, MIXED, score, n_points=32)) == 32


@every_learner
def test_what_was_told_without_being_asked_is_learnt_from(make):
    """A search that goes on from an earlier one starts where that one ended."""
    space = as_space({"x": (0.0, 1.0)})
    xs = np.linspace(0, 1, 30)
    sampler = make(space, 0)

    sampler.tell([{"x": x} for x in xs.tolist()], -((xs - 0.3) ** 2), 1)
    asked = [c["x"] for c in sampler.ask(9)]

    # At random, the median would be 0.5; BOHB asks a third at random.
    assert abs(np.median(asked) - 0.3) < 0.15


@every_learner
def test_equal_scores_are_survived(make):
    """A model of nothing but ties still proposes."""
    assert len(_run(make, MIXED, lambda _: 0.5)) == 24


@every_learner
def test_no_warning_and_no_line_of_a_log_reaches_the_user(make, capfd):
    """What scikit-optimize, scikit-learn and Optuna would say is kept from the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
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

    _run(make, MIXED, _score)

    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_failures_count_as_the_worst_finite_score():
    """Without any finite score there is nothing that they could count as."""
    np.testing.assert_array_equal(
        fill_failed(np.array([1.0, np.nan, -2.0, np.inf, -np.inf])), [1, -2, -2, -2, -2]
    )
    assert fill_failed(np.array([np.nan, np.inf])) is None
    assert fill_failed(np.array([])) is None
