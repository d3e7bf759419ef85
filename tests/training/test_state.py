"""The state of a training."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sk_tune._training import (
    LowestLosses,
    StoppingState,
    TrainingState,
    arrays_of_state,
    state_from_arrays,
    values_of_state,
)

LOSSES = st.lists(st.floats(0, 10, width=16), min_size=1, max_size=30)


def _run(losses, tol):
    state = StoppingState()
    states = []
    for epoch, loss in enumerate(losses, start=1):
        state = state.after(epoch, loss, tol)
        states.append(state)
    return states


@given(losses=LOSSES, tol=st.floats(0, 1))
def test_best_epoch_is_the_first_lowest_loss(losses, tol):
    """For any tolerance, the best weights are those of the lowest loss."""
    last = _run(losses, tol)[-1]

    assert last.best_loss == min(losses)
    assert last.best_epoch == 1 + losses.index(min(losses))


@given(losses=LOSSES)
def test_without_tolerance_waiting_starts_at_the_best_epoch(losses):
    """With tol=0 any decrease counts as progress, so waiting starts at the best epoch."""
    last = _run(losses, 0.0)[-1]

    assert last.n_waited == len(losses) - last.best_epoch


def test_slow_progress_updates_weights_but_not_patience():
    """A decrease below the tolerance moves the best epoch but counts as waiting."""
    states = _run([1.0, 0.95, 0.90, 0.5], tol=0.1)

    assert [s.best_epoch for s in states] == [1, 2, 3, 4]
    assert [s.n_waited for s in states] == [0, 1, 2, 0]


@given(losses=LOSSES, n_past=st.integers(0, 30))
def test_a_loss_is_the_lowest_if_no_earlier_loss_was_lower(losses, n_past):
    """Whether earlier losses were recorded one by one or came as a history."""
    past = [{"epoch": i, "valid_loss": loss} for i, loss in enumerate(losses[:n_past])]
    seen = LowestLosses(past)

    result = [seen.is_lowest("valid_loss", loss) for loss in losses[n_past:]]

    wanted = [loss == min(losses[: i + 1]) for i, loss in enumerate(losses)]
    assert result == wanted[n_past:]


def test_nan_is_never_the_lowest():
    """A monitor may have no loss; later epochs are compared with earlier losses."""
    seen = LowestLosses([{"monitor_loss": float("nan"), "my_loss": "none"}])

    losses = [float("nan"), 2.0, float("nan"), 3.0, 2.0]

    assert [seen.is_lowest("monitor_loss", loss) for loss in losses] == [
        False,
        True,
        False,
        False,
        True,
    ]


def test_kinds_of_loss_are_independent():
    """The lowest loss of one kind does not affect other kinds."""
    seen = LowestLosses([{"train_loss": 0.1, "valid_loss": 0.5}])

    assert seen.is_lowest("valid_loss", 0.4)
    assert not seen.is_lowest("train_loss", 0.4)


def _state(**parts):
    return TrainingState(
        seed=3,
        weights={"a.weight": np.eye(2), "b": np.zeros(1)},
        moments={0: {"exp_avg": np.ones(2)}, 11: {"step": np.array(4.0)}},
        n_steps=7,
        first_epoch=2,
        stopping=StoppingState(best_loss=0.5, best_epoch=1, n_waited=3),
        history=({"epoch": 1, "train_loss": 0.5}, {"epoch": 2}),
        **parts,
    )


def test_a_state_survives_a_round_trip():
    """All fields, with dotted names and positions of two digits."""
    state = _state(
        last_weights={"b": np.ones(1)},
        best_weights={"b": np.full(1, 2.0)},
        course={"generator": "00", "schedulers": {"lr": {"last_epoch": 3}}},
    )

    again = state_from_arrays(arrays_of_state(state), values_of_state(state))

    assert repr(again) == repr(state)


def test_missing_weights_remain_missing():
    """Without early stopping there are no best weights."""
    state = _state()

    again = state_from_arrays(arrays_of_state(state), values_of_state(state))

    assert again.last_weights is None
    assert again.best_weights is None
    assert again.course == {}


def test_curve_has_a_value_for_each_epoch():
    """NaN where an epoch has no value, and everywhere for an unknown name."""
    state = _state()

    np.testing.assert_array_equal(state.curve("train_loss"), [0.5, np.nan])
    np.testing.assert_array_equal(state.curve("epoch"), [1.0, 2.0])
    np.testing.assert_array_equal(state.curve("valid_loss"), [np.nan, np.nan])
