"""Curves and ledger from what a search remembers."""

import numpy as np

from sk_tune._search_record import INTERRUPTED
from sk_tune.search._ledger import rung_epochs, search_ledger
from sk_tune.search._outcomes import (
    FoldOutcome,
    fold_curves,
    guiding_scores,
    last_rows,
)


def net(n_epochs, granted, before=0, resumed=0, reason=""):
    """Return the outcome of a network."""
    return FoldOutcome(
        train_loss=np.arange(float(resumed + n_epochs)),
        n_epochs=n_epochs,
        n_granted=granted,
        n_granted_before=before,
        n_resumed=resumed,
        reason=reason,
        engine="fleet",
    )


# 3 candidates on 2 folds, 3 epochs each; the best one goes on to 9.
WARM = [
    [net(3, 3), net(3, 3)],
    [net(3, 3), net(3, 3)],
    [net(3, 3), net(3, 3)],
    [net(6, 9, before=3, resumed=3), net(6, 9, before=3, resumed=3)],
]


def ledger(outcomes, max_epochs=None, starts=None):
    """Return the ledger of two folds, of candidates that start where nothing was before."""
    own = [not any(o.n_granted_before for o in folds) for folds in outcomes]
    return search_ledger(
        outcomes,
        n_folds=2,
        max_epochs=max_epochs,
        starts=own if starts is None else starts,
        solo_reasons={},
        seconds={},
    )


def test_the_last_row_of_a_configuration_is_that_of_its_last_rung():
    """What was dropped keeps its row, what was promoted has a later one."""
    params = [{"a": 1, "n": 3}, {"a": 2, "n": 3}, {"a": 1, "n": 9}]

    assert last_rows(params, "n") == (1, 2)
    assert last_rows(params, None) == (0, 1, 2)


def test_a_row_that_an_interruption_left_empty_is_no_last_one():
    """What the candidate had on the rung before is there; of a first rung nothing is."""
    params = [{"a": 1, "n": 1}, {"a": 2, "n": 1}, {"a": 1, "n": 3}, {"a": 3, "n": 1}]
    reasons = ["", "", INTERRUPTED, INTERRUPTED]

    assert last_rows(params, "n", reasons) == (0, 1, 3)
    assert last_rows(params, "n") == (1, 2, 3)


def test_epochs_of_warm_rungs_add_up():
    """By hand: 18 + 12 epochs trained, 54 in full, 24 pruned, 6 gone on from."""
    spent = ledger(WARM, max_epochs=9)

    assert spent.n_candidates == 3
    assert spent.n_fits == 8
    assert spent.epochs_trained == 30
    assert spent.epochs_full == 54
    assert spent.epochs_saved_by_pruning == 24
    assert spent.epochs_saved_by_warm_start == 6
    assert spent.epochs_saved_by_early_stopping == 0
    assert spent.n_rows == 8


def test_epochs_that_failures_cut_are_named():
    """Failing after 1 of 5 epochs cuts 4; stopping early after 2 saves 3."""
    spent = ledger([[net(1, 5, reason="nan"), net(2, 5)]])

    assert spent.epochs_cut_by_failure == 4
    assert spent.epochs_saved_by_early_stopping == 3
    assert spent.n_failed == 1


def test_candidates_of_different_lengths_are_full_by_their_own():
    """Without rungs a candidate's full training is its own number of epochs."""
    spent = ledger([[net(2, 2), net(2, 2)], [net(5, 5), net(5, 5)]])

    assert spent.epochs_full == spent.epochs_trained == 14
    assert spent.epochs_saved_by_pruning == 0


def test_others_count_as_candidates_without_epochs():
    """What is no network is counted; what never began, in a race or by Ctrl-C, is not."""
    stopped = FoldOutcome(reason=INTERRUPTED, was_stopped=True)
    spent = ledger([[FoldOutcome(), stopped], [net(1, 1), net(1, 1)], [stopped, stopped]])

    assert (spent.n_candidates, spent.n_fits, spent.n_failed) == (2, 3, 0)
    assert spent.epochs_trained == 2


def test_a_rung_that_begins_anew_has_no_candidates_of_its_own():
    """More samples, or another parameter, mean a training from the start."""
    starts = np.array([0, 0, 1]) == 0
    spent = ledger([[net(2, 2)], [FoldOutcome()], [net(2, 2)]], starts=starts)

    assert (spent.n_candidates, spent.n_fits) == (2, 3)
    assert type(spent.n_candidates) is int


def test_rungs_are_told_apart_by_what_they_grant():
    """Candidates with equal grants are one rung, whichever round they came in."""
    rungs = rung_epochs(WARM)

    assert [(r.n_epochs_before, r.n_epochs, r.n_candidates) for r in rungs] == [
        (0, 3, 3),
        (3, 9, 1),
    ]


def test_curves_carry_their_fold_and_rung():
    """A fold that failed before its first epoch has no curve, and shifts no other."""
    outcomes = [[FoldOutcome(reason="broke"), net(2, 2)]]

    (curve,) = fold_curves(outcomes, {"iter": [1], "n_resources": [9]})

    assert (curve.candidate, curve.fold, curve.rung, curve.n_resources) == (0, 1, 1, 9)


def test_the_score_that_refit_names_guides():
    """Of several metrics the one of refit counts, else the first; without any, none."""
    results = {"mean_test_a": [1.0], "mean_test_b": [2.0]}

    assert guiding_scores(results, "b") == [2.0]
    assert guiding_scores(results, refit=False) == [1.0]
    assert guiding_scores({"mean_test_score": [3.0]}, refit=True) == [3.0]
    assert len(guiding_scores({}, refit=True)) == 0
