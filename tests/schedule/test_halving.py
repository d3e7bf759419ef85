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

from sk_tune.schedule import Rung, halving_plan, n_promoted
from sk_tune.schedule._halving import n_reductions, rung_table


@given(k=st.integers(0, 20), factor=st.integers(2, 10))
def test_exact_powers_are_counted_exactly(k, factor):
    """factor**k can be reduced k times, and one less only k - 1 times."""
    assert n_reductions(factor**k, factor) == k
    assert k == 0 or n_reductions(factor**k - 1, factor) == k - 1


@given(ratio=st.integers(1, 10**6), factor=st.floats(1.05, 10))
def test_the_count_is_the_largest_that_fits(ratio, factor):
    """The definition, for factors that are no integers too."""
    k = n_reductions(ratio, factor)

    assert factor**k <= ratio < factor ** (k + 1)


def test_rungs_print_as_a_table():
    """One line per rung."""
    rungs = (Rung(n_candidates=12, n_resources=1), Rung(n_candidates=4, n_resources=3))

    assert rung_table(rungs).splitlines() == [
        "rung  candidates  resources",
        "   0          12          1",
        "   1           4          3",
    ]


SMALLEST = 20  # 5 folds * 2 * 2 classes, as in scikit-learn's tests.


class _Resourceful(DummyClassifier):
    """Has a parameter to search and one to grant."""

    def __init__(self, a=0, c=1):
        super().__init__()
        self.a = a
        self.c = c


def _by_scikit_learn(n_candidates, smallest, **options):
    """Let scikit-learn's class run over candidates that cost nothing."""
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


def _numbers(plan):
    return {
        "n_required_iterations_": plan.n_required_iterations,
        "n_possible_iterations_": plan.n_possible_iterations,
        "n_iterations_": plan.n_iterations,
        "min_resources_": plan.min_resources,
        "n_remaining_candidates_": plan.n_remaining_candidates,
        "n_candidates_": [rung.n_candidates for rung in plan.rungs],
        "n_resources_": [rung.n_resources for rung in plan.rungs],
    }


def _log_is_right(ratio, factor):
    """Return whether the floor of the floating-point logarithm obeys its definition."""
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
def test_numbers_are_those_of_scikit_learn(
    n_candidates, smallest, extra, minimum, factor, aggressive
):
    """All of its attributes, wherever its logarithm is right."""
    options = {
        "min_resources": smallest if minimum == "given" else minimum,
        "max_resources": smallest + extra,
        "factor": factor,
        "aggressive_elimination": aggressive,
    }

    plan = halving_plan(n_candidates, smallest_resources=smallest, **options)

    ratio = plan.max_resources // plan.min_resources
    if _log_is_right(n_candidates, factor) and _log_is_right(ratio, factor):
        search = _by_scikit_learn(n_candidates, smallest, **options)
        assert _numbers(plan) == {name: getattr(search, name) for name in _numbers(plan)}


# The tables below are facts that scikit-learn's test_successive_halving.py states.


@pytest.mark.parametrize(
    ("aggressive", "max_resources", "possible", "remaining", "candidates", "resources"),
    [
        (True, 180, 3, 1, [60, 20, 7, 3], [20, 20, 60, 180]),
        (False, 180, 3, 3, [60, 20, 7], [20, 60, 180]),
        (True, 1000, 4, 1, [60, 20, 7, 3], [37, 111, 333, 999]),
        (False, 1000, 4, 1, [60, 20, 7, 3], [37, 111, 333, 999]),
    ],
)
def test_aggressive_elimination_as_in_scikit_learns_tests(
    aggressive, max_resources, possible, remaining, candidates, resources
):
    """The first rung is repeated where resources are short, and only there."""
    plan = halving_plan(
        60,
        max_resources=max_resources,
        smallest_resources=SMALLEST,
        aggressive_elimination=aggressive,
    )

    assert plan.n_required_iterations == 4
    assert plan.n_possible_iterations == possible
    assert plan.n_iterations == len(candidates)
    assert plan.n_remaining_candidates == remaining
    assert [rung.n_candidates for rung in plan.rungs] == candidates
    assert [rung.n_resources for rung in plan.rungs] == resources


@pytest.mark.parametrize(
    ("min_resources", "max_resources", "possible", "resources"),
    [
        ("smallest", 1000, 4, [20, 60]),
        (50, 1000, 3, [50, 150]),
        ("smallest", 30, 1, [20]),
        ("exhaust", 1000, 2, [333, 999]),
        ("exhaust", 999, 2, [333, 999]),
        ("exhaust", 600, 2, [200, 600]),
        ("exhaust", 599, 2, [199, 597]),
        ("exhaust", 300, 2, [100, 300]),
        ("exhaust", 60, 2, [20, 60]),
        ("exhaust", 50, 1, [20]),
        ("exhaust", 20, 1, [20]),
    ],
)
def test_resources_as_in_scikit_learns_tests(
    min_resources, max_resources, possible, resources
):
    """Smallest, given and exhausting resources of six candidates."""
    plan = halving_plan(
        6,
        min_resources=min_resources,
        max_resources=max_resources,
        smallest_resources=SMALLEST,
    )

    assert plan.n_required_iterations == 2
    assert plan.n_possible_iterations == possible
    assert [rung.n_resources for rung in plan.rungs] == resources


@pytest.mark.parametrize(
    ("max_resources", "n_iterations", "n_possible"),
    [
        (1024, 5, 9),
        (700, 5, 8),
        (512, 5, 8),
        (511, 5, 7),
        (32, 4, 4),
        (31, 3, 3),
        (16, 3, 3),
        (4, 1, 1),
    ],
)
def test_iterations_as_in_scikit_learns_tests(max_resources, n_iterations, n_possible):
    """Twenty candidates from four resources on, halved."""
    plan = halving_plan(20, min_resources=4, max_resources=max_resources, factor=2)

    assert plan.n_required_iterations == 5
    assert plan.n_iterations == n_iterations
    assert plan.n_possible_iterations == n_possible


def test_243_candidates_reach_the_last_rung():
    """An exact power that scikit-learn's logarithm puts one too low."""
    plan = halving_plan(243, min_resources=1, max_resources=243, factor=3)

    assert [(rung.n_candidates, rung.n_resources) for rung in plan.rungs] == [
        (243, 1),
        (81, 3),
        (27, 9),
        (9, 27),
        (3, 81),
        (1, 243),
    ]


@given(k=st.integers(0, 7), factor=st.integers(2, 10), start=st.integers(1, 9))
def test_exact_powers_end_with_one_candidate_and_all_resources(k, factor, start):
    """factor**k candidates over factor**k times the resources need k + 1 rungs."""
    plan = halving_plan(
        factor**k, min_resources=start, max_resources=start * factor**k, factor=factor
    )

    assert [rung.n_candidates for rung in plan.rungs] == [
        factor ** (k - i) for i in range(k + 1)
    ]
    assert [rung.n_resources for rung in plan.rungs] == [
        start * factor**i for i in range(k + 1)
    ]


@given(n=st.integers(1, 1000), max_resources=st.integers(1, 1000), factor=st.floats(1.2, 8))
def test_exhausting_never_exceeds_what_there_is(n, max_resources, factor):
    """Whatever the factor, resources grow and stay within the limit."""
    plan = halving_plan(n, max_resources=max_resources, factor=factor)
    resources = [rung.n_resources for rung in plan.rungs]

    assert resources == sorted(resources)
    assert 1 <= resources[0] == plan.min_resources
    assert resources[-1] <= max_resources


@given(n=st.integers(1, 10**6), factor=st.integers(2, 10))
def test_one_in_factor_is_promoted_rounded_up(n, factor):
    """ceil(n / factor), in integers."""
    assert n_promoted(n, factor) == -(-n // factor)


def test_a_plan_prints_as_a_table():
    """One line per rung below a header."""
    text = str(halving_plan(4, min_resources=1, max_resources=4, factor=2))

    assert [line.split() for line in text.splitlines()[1:]] == [
        ["0", "4", "1"],
        ["1", "2", "2"],
        ["2", "1", "4"],
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_candidates": 0}, "'n_candidates' .* Got 0 instead"),
        ({"factor": 1}, "'factor' .* more than 1. Got 1 instead"),
        ({"min_resources": 11}, "min_resources=11 and max_resources=10 instead"),
        ({"smallest_resources": 0}, "min_resources=0 and max_resources=10 instead"),
    ],
)
def test_what_cannot_be_planned_is_refused(options, message):
    """The message says the rule and the value."""
    with pytest.raises(ValueError, match=message):
        halving_plan(**{"n_candidates": 9, "max_resources": 10, **options})
