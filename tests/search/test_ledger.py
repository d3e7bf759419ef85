"""Accounts of epochs against a search that is played through, one fit at a time."""

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_tune.schedule import halving_plan, hyperband_brackets
from sk_tune.search import Ledger
from sk_tune.search._ledger import RungEpochs, epoch_account


def _play(rungs, ends, n_folds, *, is_warm):
    """Train every fit up to its own end; return what each rung saw, and all fits' epochs.

    The candidates promoted are the first ones; `ends` is where early stopping ends a fit.
    """
    trained, behind, records = {}, {}, []
    before = 0
    for rung in rungs:
        fits = [(c, f) for c in range(rung.n_candidates) for f in range(n_folds)]
        start = {fit: behind.get(fit, 0) if is_warm else 0 for fit in fits}
        here = {fit: min(rung.n_resources, ends[fit]) - start[fit] for fit in fits}
        for fit in fits:
            behind[fit] = start[fit] + here[fit]
            trained[fit] = trained.get(fit, 0) + here[fit]
        records.append(
            RungEpochs(
                n_candidates=rung.n_candidates,
                n_fits=len(fits),
                n_epochs_before=before,
                n_epochs=rung.n_resources,
                epochs_trained=sum(here.values()),
                epochs_continued=sum(start.values()),
                is_warm=is_warm,
            )
        )
        before = rung.n_resources
    return records, trained, behind


@given(
    n_candidates=st.integers(1, 12),
    n_folds=st.integers(1, 3),
    max_epochs=st.integers(1, 20),
    data=st.data(),
)
def test_every_epoch_of_the_full_training_is_accounted_for(
    n_candidates, n_folds, max_epochs, data
):
    """Trained, pruned or stopped early, and no epoch twice."""
    rungs = halving_plan(n_candidates, max_resources=max_epochs, factor=2).rungs
    fits = [(c, f) for c in range(n_candidates) for f in range(n_folds)]
    ends = {fit: data.draw(st.integers(1, 25), label=str(fit)) for fit in fits}
    records, trained, _ = _play(rungs, ends, n_folds, is_warm=True)

    account = epoch_account(records, n_folds=n_folds, max_epochs=max_epochs)

    granted = {
        (c, f): max(r.n_resources for r in rungs if c < r.n_candidates) for c, f in fits
    }
    assert account.n_candidates == n_candidates
    assert account.epochs_full == n_candidates * n_folds * max_epochs
    assert account.epochs_trained == sum(trained.values())
    assert account.epochs_saved_by_pruning == sum(max_epochs - granted[f] for f in fits)
    assert account.epochs_saved_by_early_stopping == sum(
        granted[f] - min(granted[f], ends[f]) for f in fits
    )
    assert account.epochs_full == (
        account.epochs_trained
        + account.epochs_saved_by_pruning
        + account.epochs_saved_by_early_stopping
    )


@given(n_candidates=st.integers(1, 12), max_epochs=st.integers(1, 20), data=st.data())
def test_warm_starts_save_what_cold_rungs_train_more(n_candidates, max_epochs, data):
    """The same search, played with rungs that go on and with rungs that begin anew."""
    rungs = halving_plan(n_candidates, max_resources=max_epochs, factor=2).rungs
    fits = [(c, f) for c in range(n_candidates) for f in range(2)]
    ends = {fit: data.draw(st.integers(1, 25), label=str(fit)) for fit in fits}

    warm, cold = (
        epoch_account(
            _play(rungs, ends, 2, is_warm=is_warm)[0], n_folds=2, max_epochs=max_epochs
        )
        for is_warm in (True, False)
    )

    assert cold.epochs_trained - warm.epochs_trained == warm.epochs_saved_by_warm_start
    assert cold.epochs_saved_by_warm_start == 0
    assert cold.epochs_saved_by_pruning == warm.epochs_saved_by_pruning


def test_the_first_bracket_of_the_papers_table_saves_most_epochs():
    """81 candidates to 81 epochs, pruned by three: 81 * 1 + 27 * 2 + 9 * 6 + ... epochs."""
    rungs = hyperband_brackets(1, 81)[0].rungs
    ends = {(c, 0): 81 for c in range(81)}

    account = epoch_account(
        _play(rungs, ends, 1, is_warm=True)[0], n_folds=1, max_epochs=81
    )

    assert account.epochs_full == 81 * 81
    assert account.epochs_trained == 81 * 1 + 27 * 2 + 9 * 6 + 3 * 18 + 1 * 54
    # Begun anew, each of the five rungs would train 81 epochs.
    assert account.epochs_trained + account.epochs_saved_by_warm_start == 5 * 81


def test_a_race_saves_the_folds_that_it_does_not_train():
    """Four candidates on five folds, of which one is dropped after three."""
    rung = RungEpochs(
        n_candidates=4, n_fits=18, n_epochs_before=0, n_epochs=10, epochs_trained=180
    )

    account = epoch_account([rung], n_folds=5, max_epochs=10)

    assert account.epochs_saved_by_pruning == 2 * 10
    assert account.epochs_saved_by_early_stopping == 0


def test_failures_are_no_savings_of_early_stopping():
    """Two fits of ten epochs, of which one fails after three."""
    rung = RungEpochs(
        n_candidates=2,
        n_fits=2,
        n_epochs_before=0,
        n_epochs=10,
        epochs_trained=13,
        epochs_cut_by_failure=7,
    )

    account = epoch_account([rung], n_folds=1, max_epochs=10)

    assert account.epochs_cut_by_failure == 7
    assert account.epochs_saved_by_early_stopping == 0


@pytest.fixture
def ledger():
    """A search of 4 candidates on 2 folds, none of which ends early."""
    rung = RungEpochs(
        n_candidates=4, n_fits=8, n_epochs_before=0, n_epochs=5, epochs_trained=40
    )
    return Ledger(
        **asdict(epoch_account([rung], n_folds=2, max_epochs=5)),
        n_failed=1,
        n_rows=5,
        solo_reasons={"a callback": 2, "no batching rule": 1},
        seconds_training=2.5,
        seconds_total=75.0,
    )


def test_solo_fits_are_counted_by_their_reasons(ledger):
    """One number for all reasons."""
    assert ledger.n_solo == 3
    assert ledger.n_rows + ledger.n_solo == ledger.n_fits


def test_a_ledger_prints_counts_seconds_and_reasons(ledger):
    """Short enough to read, and each reason in a line."""
    lines = str(ledger).splitlines()

    counts = dict(line.rsplit(maxsplit=1) for line in lines[1:14])
    assert counts["fits"] == "8"
    assert counts["epochs trained"] == "40"
    assert counts["saved by warm start"] == "0"
    assert "training 2.5 s" in lines[14]
    assert lines[14].endswith("in all 1 min 15 s")
    assert lines[15:] == [
        "2 one at a time: a callback",
        "1 one at a time: no batching rule",
    ]
