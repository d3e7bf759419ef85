"""Outcomes of candidates on folds, and tables of them."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.neighbors import KNeighborsClassifier

from sk_tune._schedule import halving_schedule
from sk_tune._scores import Ledger
from sk_tune._search._outcomes import (
    FoldOutcome,
    best_epoch,
    hold,
    learning_curves,
    search_ledger,
)

NAN = np.nan


def test_a_label_of_all_rows_has_probability_one(iris):
    """scikit-learn gives one column for it, with its only value."""
    y = np.column_stack([iris.y == 0, np.ones(150), np.zeros(150)]).astype(int)
    model = KNeighborsClassifier(7).fit(iris.X, y)

    held_out = hold(model, iris.X, np.arange(150))

    np.testing.assert_array_equal(held_out.values[:, 1:], [[1.0, 0.0]] * 150)


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


def ledger(outcomes, max_epochs=None, starts=None, n_folds=2):
    """Return the ledger of candidates without earlier epochs."""
    is_start = [not any(o.n_granted_before for o in folds) for folds in outcomes]
    return search_ledger(
        outcomes,
        n_folds=n_folds,
        max_epochs=max_epochs,
        starts=is_start if starts is None else starts,
        seconds={},
    )


def test_epochs_cut_by_failures_are_counted():
    """Failing after 1 of 5 epochs cuts 4; stopping early after 2 saves 3."""
    spent = ledger([[net(1, 5, reason="nan"), net(2, 5)]])

    assert spent.epochs_cut_by_failure == 4
    assert spent.epochs_saved_by_early_stopping == 3
    assert spent.n_failed == 1


def test_epochs_beyond_the_common_ones_of_a_cut_candidate_count_as_trained():
    """The folds of a cut candidate keep 3 epochs; the first fold had trained 4."""
    first, second = net(3, 3, before=1, resumed=1), net(3, 3)
    unused = FoldOutcome(is_planned=False)

    spent = ledger([[net(1, 1), unused], [first, second]], max_epochs=20)

    assert first.n_reached == 4
    assert spent.epochs_trained == 7
    assert spent.epochs_saved_by_early_stopping == 0
    assert spent.epochs_full == spent.epochs_trained + spent.epochs_saved_by_pruning


def play(rungs, ends, n_folds, *, is_warm=True):
    """Train every fit to the epoch in `ends` at most; the first fits are promoted."""
    behind, outcomes, previous = {}, [], 0
    for rung in rungs:
        for candidate in range(rung.n_candidates):
            folds = []
            for fit in ((candidate, fold) for fold in range(n_folds)):
                start = behind.get(fit, 0) if is_warm else 0
                behind[fit] = min(rung.n_resources, ends[fit])
                folds.append(net(behind[fit] - start, rung.n_resources, previous, start))
            outcomes.append(folds)
        previous = rung.n_resources
    return outcomes, behind


@given(
    n_candidates=st.integers(1, 12),
    n_folds=st.integers(1, 3),
    max_epochs=st.integers(1, 20),
    data=st.data(),
)
def test_every_epoch_of_a_full_training_is_counted(n_candidates, n_folds, max_epochs, data):
    """Trained, pruned or stopped early, and no epoch twice; warm rungs save the rest."""
    rungs = halving_schedule(n_candidates, max_resources=max_epochs, factor=2).rungs
    fits = [(c, f) for c in range(n_candidates) for f in range(n_folds)]
    ends = {fit: data.draw(st.integers(1, 25), label=str(fit)) for fit in fits}
    outcomes, behind = play(rungs, ends, n_folds)
    spent = ledger(outcomes, max_epochs, n_folds=n_folds)
    cold, _ = play(rungs, ends, n_folds, is_warm=False)
    anew = ledger(cold, max_epochs, n_folds=n_folds)

    granted = {
        (c, f): max(r.n_resources for r in rungs if c < r.n_candidates) for c, f in fits
    }
    assert spent.n_candidates == n_candidates
    assert spent.epochs_full == n_candidates * n_folds * max_epochs
    assert spent.epochs_trained == sum(behind.values())
    assert spent.epochs_saved_by_pruning == sum(max_epochs - granted[f] for f in fits)
    assert spent.epochs_saved_by_early_stopping == sum(
        granted[f] - min(granted[f], ends[f]) for f in fits
    )
    assert anew.epochs_trained - spent.epochs_trained == spent.epochs_saved_by_warm_start
    assert anew.epochs_saved_by_warm_start == 0
    assert anew.epochs_saved_by_pruning == spent.epochs_saved_by_pruning


def test_a_ledger_prints_counts_seconds_and_reasons():
    """With a line for each reason; fits trained alone are one number."""
    spent = Ledger(
        n_candidates=4, n_fits=8, epochs_trained=40, epochs_loaded=0, epochs_full=40,
        epochs_saved_by_pruning=0, epochs_saved_by_early_stopping=0,
        epochs_cut_by_failure=0, epochs_saved_by_warm_start=0, n_in_fleets=5,
        alone_reasons={"a callback": 2, "no batching rule": 1},
        remarks={"without a held-out curve": 1},
        seconds={"training": 2.5, "total": 75.0},
    )  # fmt: skip
    lines = str(spent).splitlines()

    counts = dict(line.rsplit(maxsplit=1) for line in lines[1:15])
    assert (counts["fits"], counts["fits trained alone"]) == ("8", "3")
    assert counts["epochs trained"] == "40"
    assert "training 2.5 s" in lines[15]
    assert lines[15].endswith("total 1 min 15 s")
    assert lines[16:] == [
        "2 trained alone: a callback",
        "1 trained alone: no batching rule",
        "1 without a held-out curve",
    ]
    html = spent._repr_html_()
    assert "<td>trained alone: a callback</td><td>2</td>" in html
    assert "<td>training</td><td>2.5 s</td>" in html


def curves(*losses):
    """Return the outcome of a network with these curves; fewer than three are empty."""
    return FoldOutcome(
        **dict(zip(("train_loss", "valid_loss", "valid_score"), losses, strict=False))
    )


def test_the_table_has_a_line_for_each_candidate_fold_and_epoch():
    """Curves below each other, padded with NaN; a fold without one shifts no other."""
    long = curves(np.array([0.9, 0.5]), np.array([1.0, 0.8]), np.array([0.6]))
    failed = FoldOutcome(reason="broke")
    outcomes = [[long, failed], [failed, curves(np.array([0.7]))]]

    table = learning_curves(outcomes, {}, [0, 1])
    of_rungs = learning_curves(outcomes, {"iter": [0, 1], "n_resources": [1, 9]}, [0, 0])

    expected = pd.DataFrame({
        "result_row": [0, 0, 1],
        "candidate": [0, 0, 1],
        "fold": [0, 0, 1],
        "epoch": [1, 2, 1],
        "train_loss": [0.9, 0.5, 0.7],
        "valid_loss": [1.0, 0.8, NAN],
        "valid_score": [0.6, NAN, NAN],
    })
    pd.testing.assert_frame_equal(table, expected)
    pd.testing.assert_frame_equal(
        of_rungs, expected.assign(candidate=0, iter=[0, 0, 1], n_resources=[1, 1, 9])
    )


def test_no_curves_are_an_empty_table():
    """All columns have numbers."""
    frame = learning_curves([], {}, [])

    assert len(frame) == 0
    assert [dtype.kind for dtype in frame.dtypes] == ["i", "i", "i", "i", "f", "f", "f"]


# Sixty-fourths, whose sums are exact.
CURVES = arrays(
    np.int64,
    st.tuples(st.integers(1, 5), st.integers(1, 12)),
    elements=st.integers(-64, 64),
).map(lambda a: a / 64)


@given(curves=CURVES)
def test_the_best_epoch_has_the_first_of_the_highest_means(curves):
    """The definition, for folds that reached all epochs."""
    epoch = best_epoch(curves)

    totals = curves.sum(axis=0)
    assert totals[epoch - 1] == totals.max()
    assert (totals[: epoch - 1] < totals.max()).all()


@given(curves=CURVES, data=st.data())
def test_epochs_missing_in_a_fold_are_not_compared(curves, data):
    """The shortest curve ends the comparison; without scores there is no best epoch."""
    n_reached = data.draw(st.integers(1, curves.shape[1]))
    fold = data.draw(st.integers(0, len(curves) - 1))
    ended = curves.copy()
    ended[fold, n_reached:] = NAN
    without = np.vstack([ended, np.full(curves.shape[1], NAN)])

    assert best_epoch(ended) == best_epoch(curves[:, :n_reached])
    assert best_epoch(without) is None
