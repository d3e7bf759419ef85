"""Plans: their sums, and how they print."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_tune.schedule import Rung, hyperband_brackets
from sk_tune.search._search_plan import SearchPlan, planned_rounds


def _hyperband(max_epochs, n_folds, **facts):
    rounds = [
        planned
        for bracket in hyperband_brackets(1, max_epochs)
        for planned in planned_rounds(bracket.rungs, n_folds=n_folds, bracket=bracket.index)
    ]
    return SearchPlan(rounds=tuple(rounds), resource="epochs", n_folds=n_folds, **facts)


def test_a_pass_of_hyperband_adds_up():
    """Nine epochs, three brackets: 9/1, 3/3, 1/9; 5/3, 1/9; 3/9, on two folds."""
    plan = _hyperband(9, 2)

    assert plan.n_candidates == 9 + 5 + 3
    assert plan.n_fits == 2 * (9 + 3 + 1 + 5 + 1 + 3)
    # Rungs go on from where they stopped.
    assert plan.n_epochs == 2 * (9 * 1 + 3 * 2 + 1 * 6 + 5 * 3 + 1 * 6 + 3 * 9)


@given(max_epochs=st.integers(1, 100), n_folds=st.integers(1, 5))
def test_rounds_train_no_epoch_twice(max_epochs, n_folds):
    """Were all candidates kept, their epochs would add up to the last rung's."""
    for bracket in hyperband_brackets(1, max_epochs):
        kept = [Rung(n_candidates=1, n_resources=r.n_resources) for r in bracket.rungs]

        rounds = planned_rounds(kept, n_folds=n_folds)

        assert sum(r.n_epochs for r in rounds) == n_folds * max_epochs


@pytest.mark.parametrize("epochs_per_fit", [0, 20])
def test_other_resources_train_all_epochs_in_every_rung(epochs_per_fit):
    """More samples mean a training from the start; other estimators have no epochs."""
    rungs = [Rung(n_candidates=4, n_resources=50), Rung(n_candidates=2, n_resources=100)]

    rounds = planned_rounds(rungs, n_folds=3, epochs_per_fit=epochs_per_fit)

    assert [r.n_epochs for r in rounds] == [12 * epochs_per_fit, 6 * epochs_per_fit]


def test_rounds_of_what_begins_anew_train_all_their_epochs():
    """As many as each rung grants, whatever was trained before."""
    (bracket, *_) = hyperband_brackets(1, 9)

    rounds = planned_rounds(bracket.rungs, n_folds=2, goes_on=False)

    assert [r.n_epochs for r in rounds] == [2 * 9 * 1, 2 * 3 * 3, 2 * 1 * 9]


def test_a_plan_prints_brackets_rungs_and_sums():
    """A table, and below it what it comes to."""
    lines = str(_hyperband(3, 2, seconds=75.0, memory=3 * 2**20)).splitlines()

    assert [line.split() for line in lines[1:-1]] == [
        ["1", "0", "3", "1", "6", "6"],
        ["1", "1", "1", "3", "2", "4"],
        ["0", "0", "2", "3", "4", "12"],
    ]
    assert lines[0].split()[:4] == ["bracket", "rung", "candidates", "epochs"]
    assert lines[-1] == (
        "In all 5 candidates on 2 folds: 12 fits, 22 epochs, about 1 min 15 s, "
        "at most 3.0 MiB of memory."
    )


def test_a_plan_without_brackets_has_no_column_for_them():
    """Nor does it speak of what was not measured."""
    rounds = planned_rounds([Rung(n_candidates=4, n_resources=50)], n_folds=3)

    lines = str(SearchPlan(rounds=rounds, resource="samples", n_folds=3)).splitlines()

    assert lines[0].split()[:3] == ["rung", "candidates", "samples"]
    assert lines[-1] == "In all 4 candidates on 3 folds: 12 fits, 600 epochs."


def test_a_plan_of_rungs_that_are_not_waited_for_is_the_least():
    """More may be promoted than the best of each complete rung."""
    rounds = planned_rounds([Rung(n_candidates=4, n_resources=1)], n_folds=2)
    plan = SearchPlan(rounds=rounds, resource="epochs", n_folds=2, is_asynchronous=True)

    assert "4 candidates on 2 folds: at least 8 fits, 8 epochs" in str(plan)


def test_a_rung_that_adds_no_epochs_trains_them_anew():
    """As with aggressive elimination: 27 and 9 candidates with 3 epochs, then 3 with 9."""
    rungs = [Rung(n_candidates=n, n_resources=r) for n, r in ((27, 3), (9, 3), (3, 9))]

    rounds = planned_rounds(rungs, n_folds=2)

    assert [r.n_epochs for r in rounds] == [2 * 27 * 3, 2 * 9 * 3, 2 * 3 * 6]
