"""A state taken apart and put together."""

import numpy as np

from sk_tune.training import (
    StoppingState,
    TrainingState,
    arrays_of_state,
    state_from_arrays,
    values_of_state,
)


def _state(**parts):
    return TrainingState(
        seed=3,
        weights={"a.weight": np.eye(2), "b": np.zeros(1)},
        moments={0: {"exp_avg": np.ones(2)}, 11: {"step": np.array(4.0)}},
        n_steps=7,
        first_epoch=2,
        stopping=StoppingState(best_loss=0.5, best_epoch=1, n_waited=3),
        history=({"epoch": 1, "train_loss": 0.5},),
        **parts,
    )


def test_a_state_comes_back():
    """Every field, with names that have dots and positions of two digits."""
    state = _state(
        last_weights={"b": np.ones(1)},
        best_weights={"b": np.full(1, 2.0)},
        course={"generator": "00", "schedulers": {"lr": {"last_epoch": 3}}},
    )

    again = state_from_arrays(arrays_of_state(state), values_of_state(state))

    assert repr(again) == repr(state)


def test_weights_that_are_not_there_stay_away():
    """Without early stopping there are no best weights."""
    state = _state()

    again = state_from_arrays(arrays_of_state(state), values_of_state(state))

    assert again.last_weights is None
    assert again.best_weights is None
    assert again.course == {}


def test_a_course_takes_no_place_where_there_is_none():
    """What was written without one is equal to what is written now."""
    assert "course" not in values_of_state(_state())
