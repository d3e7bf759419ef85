"""Fits and their results: plain records."""

import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from sk_tune.engine import Fit, Trained
from sk_tune.training import TrainingState

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
    """There is no epoch to tell of."""
    failed = _trained(status="failed", state=None, predictions=None, message="why")

    assert getattr(failed, name).shape == (0,)


def test_a_fit_needs_an_estimator_and_data_only():
    """All rows, the estimator's own seed and epochs, and no monitor are the defaults."""
    fit = Fit(estimator="estimator", X="X", y="y")

    defaults = ("rows", "sample_weight", "seed", "n_epochs", "monitor", "state")
    assert [getattr(fit, name) for name in defaults] == [None] * 6
    assert fit.name == ""


@pytest.mark.parametrize(
    "record", [Fit(estimator=1, X=2, y=3), _trained()], ids=["Fit", "Trained"]
)
def test_records_are_frozen(record):
    """What goes between stages is not changed by one."""
    with pytest.raises(FrozenInstanceError):
        record.state = None


def test_records_of_arrays_are_compared_by_identity():
    """Equality of arrays has no truth value, so a record is equal to itself only."""
    first, second = (Fit(estimator=1, X=np.ones(2), y=np.ones(2)) for _ in range(2))

    assert first == first
    assert first != second
    assert len({first, second}) == 2


def test_a_result_travels_by_pickle():
    """Workers send it back as it is."""
    copy = pickle.loads(pickle.dumps(_trained()))

    np.testing.assert_array_equal(copy.predictions, np.arange(3.0))
    np.testing.assert_array_equal(copy.train_loss, [0.5, 0.25])
    assert (copy.status, copy.engine, copy.seconds) == ("trained", "fleet", 1.5)
    assert copy.state.history == HISTORY
