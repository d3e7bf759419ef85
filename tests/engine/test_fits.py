"""Requests, results and progress."""

import numpy as np
import pytest

from sk_tune._engine import Trained
from sk_tune._engine._fits import ProgressReporter
from sk_tune._training import TrainingState

HISTORY = (
    {"epoch": 1, "train_loss": 0.5, "monitor_loss": 0.75, "monitor_score": 0.25},
    {"epoch": 2, "train_loss": 0.25},
)


def _trained(**changes):
    own = {
        "status": "trained",
        "state": TrainingState(seed=3, weights={}, moments={}, history=HISTORY),
        "predictions": np.arange(3.0),
        "message": "",
        "seconds": 1.5,
        "engine": "fleet",
    }
    return Trained(**{**own, **changes})


FAILED = _trained(status="failed", state=None, predictions=None, message="why")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train_loss", [0.5, 0.25]),
        ("monitor_loss", [0.75, np.nan]),
        ("monitor_score", [0.25, np.nan]),
    ],
)
def test_curves_have_one_value_for_each_epoch(name, expected):
    """They come from the history, with NaN where an epoch has no such value."""
    curve = getattr(_trained(), name)

    assert curve.dtype == np.float64
    np.testing.assert_array_equal(curve, expected)


@pytest.mark.parametrize("name", ["train_loss", "monitor_loss", "monitor_score"])
def test_the_curves_of_a_failed_fit_are_empty(name):
    """It has no epochs."""
    assert getattr(FAILED, name).shape == (0,)


def test_the_time_left_is_in_proportion_to_the_epochs_left(monkeypatch):
    """A quarter of the epochs in six seconds leaves eighteen."""
    clock = iter([100.0, 106.0, 108.0])
    monkeypatch.setattr("sk_tune._engine._fits.time.perf_counter", lambda: next(clock))
    seen = []
    reporter = ProgressReporter(seen.append, {0: 1, 1: 3})

    reporter.epoch_done(1)
    reporter.fits_done(dict.fromkeys(range(2), FAILED))

    assert [(p.seconds, p.seconds_left) for p in seen] == [(6.0, 18.0), (8.0, 0.0)]


@pytest.mark.parametrize("n_more", [1, 100])
def test_epochs_trained_again_are_not_counted_beyond_the_end(n_more):
    """A fleet that was started over, smaller, does not bring more than all epochs."""
    seen = []
    reporter = ProgressReporter(seen.append, {0: 2})

    for _ in range(2 + n_more):
        reporter.epoch_done(1)

    assert [p.n_epochs_done for p in seen][-1] == 2
