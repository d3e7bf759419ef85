"""Early stopping as a fold over the losses seen."""

from hypothesis import given
from hypothesis import strategies as st

from sk_tune.training import StoppingState

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
    """Whatever the tolerance, the best weights are those of the lowest loss."""
    last = _run(losses, tol)[-1]

    assert last.best_loss == min(losses)
    assert last.best_epoch == 1 + losses.index(min(losses))


@given(losses=LOSSES)
def test_without_tolerance_the_wait_is_the_time_since_the_best(losses):
    """With tol=0 any fall counts, so the wait is counted from the best epoch."""
    last = _run(losses, 0.0)[-1]

    assert last.n_waited == len(losses) - last.best_epoch


def test_slow_progress_keeps_weights_but_not_patience():
    """A fall below the tolerance moves the best epoch and still counts as waiting."""
    states = _run([1.0, 0.95, 0.90, 0.5], tol=0.1)

    assert [s.best_epoch for s in states] == [1, 2, 3, 4]
    assert [s.n_waited for s in states] == [0, 1, 2, 0]
