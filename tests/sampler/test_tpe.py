"""Optuna's estimators over our spaces."""

import sys

import numpy as np
import optuna
import pytest
from scipy.stats import loguniform, uniform

from sk_tune._sampler import RandomSampler, TPESampler
from sk_tune._space import Choice, as_space

SPACE = {
    "lr": loguniform(1e-5, 1),
    "optimizer": Choice({"sgd": {"momentum": uniform(0, 0.99)}, "adam": {"b": [1, 2]}}),
}


def _score(c):
    score = -((np.log10(c["lr"]) + 2) ** 2)
    return score - (c["momentum"] - 0.9) ** 2 if c["optimizer"] == "sgd" else score - 1


def _best(make, seed, n_points=60):
    sampler = make(as_space(SPACE), seed)
    scores = []
    for _ in range(n_points // 4):
        candidates = sampler.ask(4)
        scores += [_score(c) for c in candidates]
        sampler.tell(candidates, scores[-4:])
    return max(scores)


@pytest.mark.slow
def test_it_finds_better_candidates_than_chance():
    """After 60 points with branches, the median of eight seeds beats random search."""
    ours = [_best(TPESampler, seed) for seed in range(8)]

    assert np.median(ours) > np.median([_best(RandomSampler, seed) for seed in range(8)])


def test_scores_are_in_optunas_table():
    """Asked and foreign candidates have their scores; a failure has the worst score."""
    sampler = TPESampler(as_space(SPACE), 0)
    sampler.tell(sampler.ask(2), [1.0, 3.0])
    sampler.tell([{"lr": 0.01, "optimizer": "adam", "b": 2}], [np.nan])

    trials = sampler._study.trials

    assert [trial.value for trial in trials] == [1.0, 3.0, 1.0]
    # The middle of the logarithms is the code 0.6; of two numbers the second is at 0.75.
    params = {k: v for k, v in trials[2].params.items() if not isinstance(v, int)}
    assert sorted(params.values()) == pytest.approx([0.6, 0.75])


def test_failures_before_any_score_are_left_out():
    """There is no worst score yet."""
    sampler = TPESampler(as_space(SPACE), 0)
    sampler.tell(sampler.ask(2), [np.nan, np.inf])

    states = {trial.state for trial in sampler._study.trials}

    assert states == {optuna.trial.TrialState.FAIL}


def test_optunas_log_is_as_loud_as_before():
    """The level that the user has set is put back."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    try:
        TPESampler(as_space(SPACE), 0).ask(1)
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        optuna.logging.set_verbosity(before)


def test_without_optuna_the_extra_is_named(monkeypatch):
    """The error says how to install it."""
    monkeypatch.setitem(sys.modules, "optuna", None)

    with pytest.raises(ImportError, match="pip install 'sk-tune\\[tpe\\]'"):
        TPESampler(as_space(SPACE))
