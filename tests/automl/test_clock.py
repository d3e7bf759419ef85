"""Budgets."""

import math
import time

import pytest

from sk_tune.automl._resources import Clock


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
