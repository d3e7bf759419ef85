"""Rungs of successive halving."""

import math
from unittest.mock import MagicMock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingGridSearchCV

from sk_tune._schedule import Rung, halving_schedule, new_resources


class _Resourceful(DummyClassifier):
    """Has a parameter to search and a resource."""

    def __init__(self, a=0, c=1):
        super().__init__()
        self.a = a
        self.c = c


def _by_scikit_learn(n_candidates, smallest, **options):
    """Run scikit-learn's class on trivial candidates."""
    search = HalvingGridSearchCV(
        _Resourceful(), {"a": list(range(n_candidates))}, resource="c", **options
    )
    minimum = search.min_resources
    search.min_resources_ = minimum if isinstance(minimum, int) else smallest
    search.max_resources_ = search.max_resources
    search._checked_cv_orig = None
    search.n_splits_ = 5

    def evaluate(candidates, cv, more_results, callback_ctx):
        return {
            "iter": np.array(more_results["iter"]),
            "params": np.array(candidates, dtype=object),
            "mean_test_score": np.arange(len(candidates), dtype=float),
        }

    search._run_search(evaluate, callback_ctx=MagicMock())
    return search


def _numbers(schedule):
    return {
        "n_required_iterations_": schedule.n_required_iterations,
        "n_possible_iterations_": schedule.n_possible_iterations,
        "n_iterations_": schedule.n_iterations,
        "min_resources_": schedule.min_resources,
        "n_remaining_candidates_": schedule.n_remaining_candidates,
        "n_candidates_": [rung.n_candidates for rung in schedule.rungs],
        "n_resources_": [rung.n_resources for rung in schedule.rungs],
    }


def _log_is_right(ratio, factor):
    """Return whether the floor of the floating-point logarithm is exact."""
    k = math.floor(math.log(ratio, factor))
    return factor**k <= ratio < factor ** (k + 1)


@settings(max_examples=200, deadline=None)
@given(
    n_candidates=st.integers(1, 300),
    smallest=st.integers(1, 50),
    extra=st.integers(0, 2000),
    minimum=st.sampled_from(["smallest", "exhaust", "given"]),
    factor=st.sampled_from([2, 3, 4, 5, 10, 1.5, 2.5, 3.0, 1.1, math.pi]),
    aggressive=st.booleans(),
)
def test_numbers_equal_scikit_learns(
    n_candidates, smallest, extra, minimum, factor, aggressive
):
    """All of its attributes, if its logarithm is exact."""
    options = {
        "min_resources": smallest if minimum == "given" else minimum,
        "max_resources": smallest + extra,
        "factor": factor,
        "aggressive_elimination": aggressive,
    }

    schedule = halving_schedule(n_candidates, smallest_resources=smallest, **options)

    ratio = schedule.max_resources // schedule.min_resources
    if _log_is_right(n_candidates, factor) and _log_is_right(ratio, factor):
        search = _by_scikit_learn(n_candidates, smallest, **options)
        assert _numbers(schedule) == {
            name: getattr(search, name) for name in _numbers(schedule)
        }


# The tables below are from scikit-learn's test_successive_halving.py.


@pytest.mark.parametrize(
    ("granted", "new"), [([1, 3, 9], [1, 2, 6]), ([3, 3, 9], [3, 3, 6]), ([5], [5])]
)
def test_a_rung_trains_added_resources_or_restarts(granted, new):
    """A rung with the resources of the previous rung adds nothing."""
    rungs = [Rung(n_candidates=1, n_resources=n) for n in granted]

    assert new_resources(rungs) == new
    assert new_resources(rungs, goes_on=False) == granted


@given(k=st.integers(0, 7), factor=st.integers(2, 10), start=st.integers(1, 9))
def test_exact_powers_end_with_one_candidate_and_all_resources(k, factor, start):
    """factor**k candidates over factor**k times the resources need k + 1 rungs."""
    schedule = halving_schedule(
        factor**k, min_resources=start, max_resources=start * factor**k, factor=factor
    )

    assert [rung.n_candidates for rung in schedule.rungs] == [
        factor ** (k - i) for i in range(k + 1)
    ]
    assert [rung.n_resources for rung in schedule.rungs] == [
        start * factor**i for i in range(k + 1)
    ]


@given(n=st.integers(1, 1000), max_resources=st.integers(1, 1000), factor=st.floats(1.2, 8))
def test_exhausting_never_exceeds_the_resources(n, max_resources, factor):
    """For any factor, resources grow and stay within the limit."""
    schedule = halving_schedule(n, max_resources=max_resources, factor=factor)
    resources = [rung.n_resources for rung in schedule.rungs]

    assert resources == sorted(resources)
    assert 1 <= resources[0] == schedule.min_resources
    assert resources[-1] <= max_resources


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_candidates": 0}, "'n_candidates' .* an int >= 1. Got 0 instead"),
        ({"factor": 1}, "'factor' .* more than 1. Got 1 instead"),
        ({"min_resources": 11}, "min_resources=11 and max_resources=10 instead"),
        ({"smallest_resources": 0}, "min_resources=0 and max_resources=10 instead"),
    ],
)
def test_impossible_plans_are_refused(options, message):
    """The message has the requirement and the value."""
    with pytest.raises(ValueError, match=message):
        halving_schedule(**{"n_candidates": 9, "max_resources": 10, **options})
