"""Brackets of Hyperband against the paper, and invariants for any budget."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_tune._schedule import (
    Rung,
    hyperband_brackets,
    new_resources,
    one_fold_brackets,
    promoted_in_ratio,
    with_candidates,
)

BUDGETS = {
    "low": st.integers(1, 500),
    "extra": st.integers(0, 500),
    "factor": st.integers(2, 6),
}

# Li et al. 2018, Table 1 (R = 81, eta = 3): candidates and resources per rung.
TABLE_1 = {
    4: [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
    3: [(27, 3), (9, 9), (3, 27), (1, 81)],
    2: [(9, 9), (3, 27), (1, 81)],
    1: [(6, 27), (2, 81)],
    0: [(5, 81)],
}


def _pairs(bracket):
    return [(rung.n_candidates, rung.n_resources) for rung in bracket.rungs]


def test_brackets_equal_the_papers_table():
    """The algorithm starts ceil(5/5*81), ceil(5/4*27), ceil(5/3*9), ceil(5/2*3) and 5."""
    brackets = hyperband_brackets(1, 81, factor=3)

    assert [b.rungs[0].n_candidates for b in brackets] == [81, 34, 15, 8, 5]
    assert _pairs(brackets[1]) == [(34, 3), (11, 9), (3, 27), (1, 81)]
    assert (_pairs(brackets[0]), _pairs(brackets[4])) == (TABLE_1[4], TABLE_1[0])
    for bracket in brackets:
        expected = [resources for _, resources in TABLE_1[bracket.index]]
        assert [rung.n_resources for rung in bracket.rungs] == expected


@given(**BUDGETS)
def test_every_bracket_trains_its_survivors_to_the_end(low, extra, factor):
    """For any budget, a bracket ends at max_resources with at least one candidate."""
    for bracket in hyperband_brackets(low, low + extra, factor=factor):
        assert bracket.rungs[-1].n_resources == low + extra
        assert all(rung.n_candidates >= 1 for rung in bracket.rungs)


@given(**BUDGETS)
def test_rungs_grow_by_the_factor_from_at_least_the_minimum(low, extra, factor):
    """Each rung has factor times the previous resources, up to rounding down."""
    for bracket in hyperband_brackets(low, low + extra, factor=factor):
        resources = [rung.n_resources for rung in bracket.rungs]

        assert resources[0] >= low
        for initial, after in pairwise(resources):
            assert initial * factor <= after < (initial + 1) * factor


@given(**BUDGETS)
def test_a_pass_has_as_many_brackets_as_the_resources_allow(low, extra, factor):
    """s_max is the largest s with low * factor**s <= high; every s has its bracket."""
    brackets = hyperband_brackets(low, low + extra, factor=factor)
    s_max = brackets[0].index

    assert [b.index for b in brackets] == list(range(s_max, -1, -1))
    assert [len(b.rungs) for b in brackets] == [b.index + 1 for b in brackets]
    assert low * factor**s_max <= low + extra < low * factor ** (s_max + 1)


def test_a_bracket_prints_as_a_table():
    """A header and one line per rung."""
    text = str(hyperband_brackets(1, 9)[1])

    assert [line.split() for line in text.splitlines()] == [
        ["rung", "candidates", "resources"],
        ["0", "5", "3"],
        ["1", "1", "9"],
    ]


@pytest.mark.parametrize(("low", "high"), [(0, 9), (10, 9), (-1, 9)])
def test_resources_must_be_an_interval(low, high):
    """The message has the requirement and both values."""
    with pytest.raises(ValueError, match=f"min_resources={low} and max_resources={high}"):
        hyperband_brackets(low, high)


def test_a_factor_below_two_is_refused():
    """A rung that promotes all of its candidates would never end."""
    with pytest.raises(ValueError, match="'factor' parameter .* Got 1 instead"):
        hyperband_brackets(1, 9, factor=1)


@given(**BUDGETS, data=st.data())
def test_fewer_candidates_are_promoted_in_the_same_ratio(low, extra, factor, data):
    """One in `factor`, rounded down; a single candidate goes to the last rung."""
    bracket = hyperband_brackets(low, low + extra, factor=factor)[0]
    most = bracket.rungs[0].n_candidates
    n = data.draw(st.integers(1, most))

    rungs = with_candidates(bracket.rungs, n, lambda k, *_: k // factor)

    if n == most:
        assert rungs == list(bracket.rungs)
        return
    counts = [rung.n_candidates for rung in rungs]
    assert counts == [max(1, n // factor**i) for i in range(len(rungs))]
    assert (rungs[0].n_candidates, rungs[0].n_resources) == (
        n,
        bracket.rungs[0].n_resources,
    )
    assert rungs[-1].n_resources == bracket.rungs[-1].n_resources
    assert 1 not in counts[1:-1]


@given(low=BUDGETS["low"], extra=BUDGETS["extra"])
def test_a_bracket_on_one_fold_ends_with_all_folds_and_resources(low, extra):
    """For any budget; rungs have fewer candidates and more resources than those below."""
    rungs = one_fold_brackets(low, low + extra)[0].rungs

    assert rungs[-1].n_resources == low + extra
    assert [rung.n_folds for rung in rungs] == [1] * (len(rungs) - 1) + [None]
    for before, after in pairwise(rungs):
        assert low <= before.n_resources < after.n_resources
        assert before.n_candidates >= after.n_candidates >= 1


def test_a_bracket_on_one_fold_has_as_many_candidates_as_hyperband():
    """All brackets of Hyperband with 27 epochs start 49 candidates."""
    (bracket,) = one_fold_brackets(1, 27)

    assert bracket.rungs[0].n_candidates == 27 + 12 + 6 + 4
    assert [line.split() for line in str(bracket).splitlines()] == [
        ["rung", "candidates", "resources", "folds"],
        ["0", "49", "1", "1"],
        ["1", "12", "7", "1"],
        ["2", "5", "13", "1"],
        ["3", "2", "27", "all"],
    ]


def test_a_fold_that_joins_trains_from_its_first_resource():
    """Epochs of a rung are a mean over all folds: (3 - 1) + 3 + 3 on three folds."""
    rungs = [Rung(n_candidates=9, n_resources=1, n_folds=1)]
    rungs += [Rung(n_candidates=3, n_resources=3), Rung(n_candidates=1, n_resources=9)]

    assert new_resources(rungs, n_splits=3) == pytest.approx([1 / 3, 8 / 3, 6])
    assert new_resources(rungs, n_splits=3, goes_on=False) == pytest.approx([1 / 3, 3, 9])


def test_rungs_may_promote_in_their_own_ratio():
    """12 of 49 candidates: 12 in 49 of them are promoted, then 5 in 12, at least one."""
    rungs = with_candidates(one_fold_brackets(1, 27)[0].rungs, 12, promoted_in_ratio)

    assert [rung.n_candidates for rung in rungs] == [12, 3, 1]
