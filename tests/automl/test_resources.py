"""Time budgets, threads and measured costs."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from sk_tune._automl import _resources
from sk_tune._automl._resources import (
    Cost,
    _hyperband_epochs,
    affordable,
    few_threads,
    hyperband_size,
    measured_cost,
)
from sk_tune._schedule import hyperband_brackets


def _most_threads():
    return max(pool["num_threads"] for pool in threadpool_info())


def test_small_data_get_one_thread_and_large_ones_all():
    """Only small data are limited."""
    with threadpool_limits(2):
        with few_threads(1000):
            assert _most_threads() == 1
        with few_threads(10_000_000):
            assert _most_threads() == 2


class _Fits:
    """Returns the seconds of fits, and advances a clock by them."""

    def __init__(self, monkeypatch, *coefficients, first=0.0):
        self.coefficients, self.first, self.calls = coefficients, first, []
        self.now = 0.0
        monkeypatch.setattr(_resources.time, "perf_counter", lambda: self.now)

    def __call__(self, n_rows, units):
        """Return seconds; the first call takes longer, as with imports."""
        a, b, c, d = self.coefficients
        seconds = a + b * n_rows + units * (c + d * n_rows)
        self.now += seconds if self.calls else seconds + self.first
        self.calls.append((n_rows, units))
        return seconds


def test_the_cost_of_rows_and_units_is_measured(monkeypatch):
    """The coefficients of a + b n + u (c + d n) are exact; imports are ignored."""
    fits = _Fits(monkeypatch, 0.2, 1e-4, 0.01, 1e-5, first=3.0)

    cost = measured_cost(fits, 5000)

    assert cost.once == pytest.approx(0.2)
    assert cost.once_per_row == pytest.approx(1e-4)
    assert cost.per_unit == pytest.approx(0.01)
    assert cost.per_unit_per_row == pytest.approx(1e-5)
    assert cost.seconds(300, 7) == pytest.approx(fits(300, 7))


def test_the_measurement_stays_within_its_limit(monkeypatch):
    """Fits on more rows are skipped if they would exceed it."""
    fits = _Fits(monkeypatch, 0.0, 1e-3, 0.0, 1e-3)

    measured_cost(fits, 100_000, limit=10.0)

    assert max(n for n, _ in fits.calls) == 400
    assert fits.now <= 10.0


def test_a_cost_that_is_clearly_low_is_not_measured_on_all_rows(monkeypatch):
    """Two numbers of rows are enough, and the cost of all rows is exact."""
    fits = _Fits(monkeypatch, 0.2, 1e-4, 0.01, 1e-5)

    cost = measured_cost(fits, 5000, is_enough=lambda cost: cost.seconds(5000, 9) < 2.0)

    assert {n for n, _ in fits.calls} == {100, 400}
    assert cost.seconds(5000, 9) == pytest.approx(fits(5000, 9))


def test_with_one_number_of_rows_half_of_the_cost_grows(monkeypatch):
    """The error for more rows is at most a factor of 2."""
    fits = _Fits(monkeypatch, 0.0, 1e-3, 0.0, 1e-3)

    cost = measured_cost(fits, 100_000, limit=1.0)

    assert {n for n, _ in fits.calls} == {100}
    assert cost.seconds(100, 5) == pytest.approx(fits(100, 5))
    assert fits(10_000, 5) / 2 <= cost.seconds(10_000, 5) <= fits(10_000, 5)


def test_a_far_too_slow_model_is_skipped(monkeypatch):
    """If the first fit far exceeds the limit, the model gets no rows and no units."""
    fits = _Fits(monkeypatch, 0.0, 1.0, 0.0, 0.0)

    cost = measured_cost(fits, 1000, limit=0.1)

    assert len(fits.calls) == 1
    assert cost.units(100.0, 1000, 50) == 0
    assert cost.rows(100.0, 1) == 0
    assert math.isinf(cost.seconds(10, 1))


COST = Cost(once=1.0, per_unit=0.5, once_per_row=0.01, per_unit_per_row=0.001)


@given(st.floats(0.1, 100), st.integers(1, 50))
def test_affordable_rows_and_units_stay_within_the_time(seconds, units):
    """One more row would exceed it."""
    n_rows = COST.rows(seconds, units)

    if n_rows:
        assert COST.seconds(n_rows, units) <= seconds + 1e-9
        assert COST.seconds(n_rows + 1, units) > seconds - 1e-9
    n_units = COST.units(seconds, 100, 1000)
    if n_units:
        assert COST.seconds(100, n_units) <= seconds + 1e-6


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        # All rows and all units: 1 + 10 + 100 (0.5 + 1) = 161 s.
        (170.0, (1000, 100)),
        # All rows, and as many units as fit.
        (61.1, (1000, 33)),
        # Enough units, 10, and as many rows as fit: 1 + 5 + n (0.01 + 0.01).
        (16.0, (500, 10)),
        # Fewer than 100 rows are too few.
        (7.0, (0, 0)),
        (0.5, (0, 0)),
        (math.inf, (1000, 100)),
    ],
)
def test_rows_are_reduced_before_units_become_too_few(seconds, expected):
    """All rows with fewer units, then fewer rows with enough units, then none."""
    size = affordable(COST, seconds, n_rows=1000, least_rows=100, most=100, enough=10)

    assert size == expected


def test_epochs_of_a_pass_are_those_of_its_rungs():
    """R=9 and factor 3: 9 + 3*2 + 6, 5*3 + 6, 3*9 epochs."""
    assert _hyperband_epochs(1, 9) == 21 + 21 + 27
    assert len(hyperband_brackets(1, 9)) == 3


@given(st.floats(1, 1e6), st.integers(1, 300))
def test_a_pass_costs_no_more_than_can_be_afforded(epochs, most):
    """The pass fits into the budget, and its last rungs are long enough."""
    least, longest = hyperband_size(epochs, most)

    assert 1 <= least <= longest <= most
    assert _hyperband_epochs(least, longest) <= max(epochs, 1)
