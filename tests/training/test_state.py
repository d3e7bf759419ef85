"""Where a training stands: plain arrays that go anywhere and come back."""

import dataclasses
import pickle

import numpy as np
import pytest

from sk_tune.training import StoppingState, TrainingState


def _state(**options):
    defaults = {
        "seed": 7,
        "weights": {"weight": np.arange(6.0).reshape(2, 3), "count": np.array(3)},
        "moments": {0: {"exp_avg": np.ones((2, 3)), "step": np.array(4.0)}},
        "n_steps": 4,
        "history": ({"epoch": 1, "train_loss": 0.5, "batches": []}, {"epoch": 2}),
    }
    return TrainingState(**{**defaults, **options})


def test_training_that_has_not_begun_has_no_past():
    """Counters are 0, the history is empty, and early stopping knows nothing."""
    state = TrainingState(seed=1, weights={}, moments={})

    assert (state.n_steps, state.first_epoch, state.history) == (0, 0, ())
    assert state.stopping == StoppingState()
    assert state.last_weights is state.best_weights is None


def test_state_is_the_same_after_pickle():
    """All arrays and numbers come back, with their types and shapes."""
    stopping = StoppingState(best_loss=0.25, best_epoch=2, n_waited=1)
    state = _state(stopping=stopping, best_weights={"weight": np.zeros(2)})

    back = pickle.loads(pickle.dumps(state))

    for name in ("seed", "n_steps", "first_epoch", "stopping", "history", "last_weights"):
        assert getattr(back, name) == getattr(state, name)
    pairs = [
        (back.weights, state.weights),
        (back.best_weights, state.best_weights),
        (back.moments[0], state.moments[0]),
    ]
    for got, expected in pairs:
        assert got.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(got[name], array, strict=True)


def test_curve_has_a_value_for_each_epoch():
    """NaN stands where an epoch has none, and everywhere for an unknown name."""
    state = _state()

    np.testing.assert_array_equal(state.curve("train_loss"), [0.5, np.nan])
    np.testing.assert_array_equal(state.curve("epoch"), [1.0, 2.0])
    np.testing.assert_array_equal(state.curve("valid_loss"), [np.nan, np.nan])


def test_curve_of_no_epochs_is_empty():
    """It is an array of float64 all the same."""
    curve = _state(history=()).curve("train_loss")

    assert curve.shape == (0,)
    assert curve.dtype == np.float64


def test_state_cannot_be_changed():
    """A training that goes on makes a new state."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        _state().n_steps = 5


def test_states_are_compared_as_objects():
    """Arrays have no single truth value, so that equality is identity."""
    assert _state() != _state()
