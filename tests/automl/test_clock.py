"""Budgets and deadlines."""

import math
import time
from types import SimpleNamespace

import pytest

from sk_tune.automl._clock import Clock, Deadline


def test_what_is_left_is_the_budget_less_what_was_spent():
    """Seconds since the start count, and nothing is left when they exceed the budget."""
    now = time.monotonic()

    assert 9 < Clock(20.0, start=now - 10).left <= 10
    assert Clock(5.0, start=now - 10).left == 0
    assert 10 <= Clock(5.0, start=now - 10).seconds < 11


def test_without_a_budget_there_is_no_end():
    """What is left and each share of it are infinite."""
    clock = Clock(None)

    assert math.isinf(clock.left)
    assert math.isinf(clock.share(0.1))
    assert Clock(20.0).share(0.1) == pytest.approx(2.0)


def test_a_deadline_ends_a_training_that_is_not_done():
    """It interrupts as Ctrl-C would, and remembers that it did."""
    told = []
    deadline = Deadline(Clock(1.0, start=time.monotonic() - 0.9), 0.5, told.append)
    progress = SimpleNamespace(n_fits=4, n_fits_done=1)

    with pytest.raises(KeyboardInterrupt):
        deadline(progress)

    assert deadline.has_ended
    assert told == [progress]


def test_a_deadline_leaves_alone_what_is_done_or_in_time():
    """Nothing is raised before the time, nor when every fit has ended."""
    done = SimpleNamespace(n_fits=4, n_fits_done=4)
    begun = SimpleNamespace(n_fits=4, n_fits_done=0)
    past = Deadline(Clock(1.0, start=time.monotonic() - 2), 0.0, lambda _: None)
    future = Deadline(Clock(100.0), 0.0, lambda _: None)

    past(done)
    future(begun)

    assert not past.has_ended
    assert not future.has_ended
