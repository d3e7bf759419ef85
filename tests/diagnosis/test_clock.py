# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Learning rate spent by the end of each epoch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_tune.diagnosis._summary import rate_spent
from sk_tune.training import LR_SCHEDULES, learning_rate_factor


@pytest.mark.parametrize("schedule", LR_SCHEDULES)
def test_it_is_the_integral_of_the_schedule(schedule):
    """The closed forms agree with sums over sk_tune's own schedules."""
    steps = (np.arange(40_000) + 0.5) / 40_000
    factors = [learning_rate_factor(schedule, step) for step in steps]
    expected = 8 * np.cumsum(factors)[4999::5000] / 40_000

    spent = rate_spent(8, schedule, 8)

    # The 4e-6 of the peak at which one_cycle ends is taken for 0.
    np.testing.assert_allclose(spent, expected, atol=2e-5)


def test_a_part_of_a_schedule_is_that_part():
    """What was stopped half way through a cosine has spent more than half of its rate."""
    whole, part = rate_spent(10, "cosine", 10), rate_spent(5, "cosine", 10)

    np.testing.assert_array_equal(part, whole[:5])


@pytest.mark.parametrize("schedule", [None, "constant", "a user's own", 3])
def test_what_is_not_known_counts_as_constant(schedule):
    """Without a schedule of sk_tune, an epoch is an epoch."""
    assert rate_spent(3, schedule).tolist() == [1.0, 2.0, 3.0]


@given(
    n_epochs=st.integers(1, 40),
    schedule=st.sampled_from(LR_SCHEDULES),
    total=st.integers(1, 60) | st.none(),
)
def test_it_never_falls(n_epochs, schedule, total):
    """Learning rate that was spent stays spent, beyond the end of the schedule too."""
    spent = rate_spent(n_epochs, schedule, total)

    assert len(spent) == n_epochs
    assert spent[0] > 0
    assert (np.diff(spent) >= 0).all()
