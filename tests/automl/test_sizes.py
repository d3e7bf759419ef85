"""Epochs and candidates that a time allows."""

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator

from sk_tune.automl._sizes import Cost, hyperband_epochs, hyperband_size, measured_cost
from sk_tune.schedule import hyperband_brackets


class _Slow(BaseEstimator):
    """Takes a time for each unit."""

    def __init__(self, units=1, pause=0.01):
        self.units = units
        self.pause = pause

    def fit(self, X, y):
        """Wait."""
        time.sleep(0.005 + self.units * self.pause)
        return self


def test_cost_is_told_apart_into_what_comes_once_and_with_each_unit():
    """Two fits of a model that takes 10 ms a unit say so."""
    cost = measured_cost(_Slow(), "units", np.zeros((20, 1)), np.zeros(20))

    assert cost.per_unit == pytest.approx(0.01, abs=0.005)
    assert cost.once < 0.02


def test_what_takes_too_long_is_given_up():
    """A model whose shortest fit exceeds the limit gets no unit."""
    cost = measured_cost(
        _Slow(pause=0.05), "units", np.zeros((20, 1)), np.zeros(20), limit=0.01
    )

    assert cost.units(100.0, 50) == 0


def test_units_fill_the_time():
    """What comes once is paid first; without an end all are granted."""
    cost = Cost(once=1.0, per_unit=0.5)

    assert cost.units(3.0, 100) == 4
    assert cost.units(0.5, 100) == 0
    assert cost.units(1000.0, 100) == 100
    assert cost.units(math.inf, 7) == 7


def test_epochs_of_a_pass_are_those_of_its_rungs():
    """R=9 and factor 3: 9 + 3*2 + 6, 5*3 + 6, 3*9 epochs."""
    assert hyperband_epochs(1, 9) == 21 + 21 + 27
    assert len(hyperband_brackets(1, 9)) == 3


@given(st.floats(1, 1e6), st.integers(1, 300))
def test_a_pass_costs_no_more_than_can_be_afforded(epochs, most):
    """Whatever the budget, the pass fits into it and its last rungs are long enough."""
    least, longest = hyperband_size(epochs, most)

    assert 1 <= least <= longest <= most
    assert hyperband_epochs(least, longest) <= max(epochs, 1)


def test_much_time_means_many_candidates():
    """The first rung gets shorter as the budget grows, the last stays as long."""
    assert hyperband_size(math.inf, 81) == (1, 81)
    assert hyperband_size(500, 81)[1] == 81
    assert hyperband_size(500, 81)[0] > 1
    assert hyperband_size(40, 81) == (40, 40)
