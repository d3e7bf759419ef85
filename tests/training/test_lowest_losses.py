"""The lowest loss so far, told epoch by epoch."""

from hypothesis import given
from hypothesis import strategies as st

from sk_tune.training import LowestLosses

LOSSES = st.lists(st.floats(0, 10, width=16), min_size=1, max_size=30)


@given(losses=LOSSES, n_past=st.integers(0, 30))
def test_a_loss_is_the_lowest_if_none_before_was_lower(losses, n_past):
    """Whether earlier epochs were seen one by one or come as a history."""
    past = [{"epoch": i, "valid_loss": loss} for i, loss in enumerate(losses[:n_past])]
    seen = LowestLosses(past)

    found = [seen.is_lowest("valid_loss", loss) for loss in losses[n_past:]]

    wanted = [loss == min(losses[: i + 1]) for i, loss in enumerate(losses)]
    assert found == wanted[n_past:]


def test_what_is_not_a_number_is_never_the_lowest():
    """A monitor may have no loss; the epochs after it are compared with those before."""
    seen = LowestLosses([{"monitor_loss": float("nan"), "my_loss": "none"}])

    losses = [float("nan"), 2.0, float("nan"), 3.0, 2.0]

    assert [seen.is_lowest("monitor_loss", loss) for loss in losses] == [
        False,
        True,
        False,
        False,
        True,
    ]


def test_kinds_of_loss_are_kept_apart():
    """The lowest of one is no bound of another."""
    seen = LowestLosses([{"train_loss": 0.1, "valid_loss": 0.5}])

    assert seen.is_lowest("valid_loss", 0.4)
    assert not seen.is_lowest("train_loss", 0.4)
