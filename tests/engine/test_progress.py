"""How far the engine has come: pure counting."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_tune.engine import Trained
from sk_tune.engine._fits import ProgressReporter
from sk_tune.training import TrainingState


def _trained(*scores):
    state = None
    if scores:
        history = tuple({"monitor_score": score} for score in scores)
        state = TrainingState(seed=0, weights={}, moments={}, history=history)
    return Trained(
        status="trained" if scores else "failed",
        state=state,
        predictions=None,
        message="",
        seconds=0.0,
        engine="fleet",
    )


def test_epochs_in_training_and_of_fits_that_ended_are_added():
    """Two fits of four epochs: half of the first, all of it, and the second at once."""
    seen = []
    reporter = ProgressReporter(seen.append, {0: 4, 1: 4})

    reporter.epoch_done(1)
    reporter.epoch_done(1)
    reporter.fits_done({0: _trained(0.5, 0.75)})
    reporter.fits_done({1: _trained(0.25)})

    assert [p.n_epochs_done for p in seen] == [1, 2, 4, 8]
    assert [p.n_fits_done for p in seen] == [0, 0, 1, 2]
    assert {(p.n_fits, p.n_epochs) for p in seen} == {(2, 8)}


def test_the_best_score_is_that_of_the_last_epoch_of_a_fit():
    """Not of an epoch on the way; fits without a score do not count."""
    seen = []
    reporter = ProgressReporter(seen.append, dict.fromkeys(range(4), 2))

    reporter.fits_done({0: _trained()})
    reporter.fits_done({1: _trained(0.9, 0.5), 2: _trained(math.nan)})
    reporter.fits_done({3: _trained(-2.0)})

    np.testing.assert_array_equal([p.best_score for p in seen], [np.nan, 0.5, 0.5])


def test_the_time_left_is_in_proportion_to_the_epochs_left(monkeypatch):
    """A quarter of the epochs in six seconds leaves eighteen."""
    clock = iter([100.0, 106.0, 108.0])
    monkeypatch.setattr("sk_tune.engine._fits.time.perf_counter", lambda: next(clock))
    seen = []
    reporter = ProgressReporter(seen.append, {0: 1, 1: 3})

    reporter.epoch_done(1)
    reporter.fits_done({0: _trained(), 1: _trained()})

    assert [(p.seconds, p.seconds_left) for p in seen] == [(6.0, 18.0), (8.0, 0.0)]


def test_the_time_left_is_unknown_before_the_first_epoch():
    """It is NaN, not infinite."""
    seen = []

    ProgressReporter(seen.append, {0: 5}).fits_done({})

    assert math.isnan(seen[0].seconds_left)


def test_nobody_needs_to_listen():
    """Without a callable the counting goes on in silence."""
    reporter = ProgressReporter(None, {0: 1})

    assert reporter.epoch_done(1) is None
    assert reporter.fits_done({0: _trained(0.5)}) is None


@given(
    n_epochs=st.lists(st.integers(1, 20), min_size=1, max_size=8),
    data=st.data(),
)
def test_progress_never_goes_back(n_epochs, data):
    """Whatever fleets the fits are cut into, and wherever their rows end."""
    seen = []
    reporter = ProgressReporter(seen.append, dict(enumerate(n_epochs)))
    waiting = list(range(len(n_epochs)))

    while waiting:
        size = data.draw(st.integers(1, len(waiting)))
        fleet, waiting = waiting[:size], waiting[size:]
        ends = [data.draw(st.integers(1, n_epochs[i])) for i in fleet]
        for epoch in range(max(ends)):
            reporter.epoch_done(sum(end > epoch for end in ends))
        reporter.fits_done({i: _trained(0.5) for i in fleet})

    done = [p.n_epochs_done for p in seen]
    assert done == sorted(done)
    assert done[-1] == seen[-1].n_epochs == sum(n_epochs)
    assert all(p.seconds_left >= 0 for p in seen)


@pytest.mark.parametrize("n_more", [1, 100])
def test_epochs_trained_again_are_not_counted_beyond_the_end(n_more):
    """A fleet that was started over, smaller, does not bring more than all epochs."""
    seen = []
    reporter = ProgressReporter(seen.append, {0: 2})

    for _ in range(2 + n_more):
        reporter.epoch_done(1)

    assert [p.n_epochs_done for p in seen][-1] == 2
