# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Limits of time: what loops ask between steps and epochs."""

import time

import pytest

from sk_tune.training import EpochTimer, TimeIsUpError, TimeLimit, check_time, time_limit


def test_what_is_late_and_cannot_be_cut_ends_at_once():
    """In the block of a limit only, and not if the limit is another machine's."""
    past = time.monotonic() - 1.0

    with time_limit(TimeLimit(until=past)), pytest.raises(TimeIsUpError):
        check_time()
    with time_limit(TimeLimit(until=past, host="another")):
        check_time()
    with time_limit(TimeLimit(until=past, cuts=True)):
        check_time()
    check_time()


def test_a_fit_is_cut_before_an_epoch_that_would_end_too_late():
    """Epochs are thought to take what the last took, and what each costs afterwards."""
    with time_limit(TimeLimit(until=time.monotonic() + 60, cuts=True)) as own:
        assert not EpochTimer().is_late()
    assert not own.has_cut

    for limit in (
        TimeLimit(until=time.monotonic() - 1, cuts=True),
        TimeLimit(until=time.monotonic() + 60, cuts=True, seconds_per_epoch=50.0),
    ):
        with time_limit(limit) as own:
            assert EpochTimer().is_late()
        assert own.has_cut


def test_fits_that_follow_each_other_share_the_time():
    """Each has its part of what is left, and of what its epochs cost afterwards."""
    now = time.monotonic()
    whole = TimeLimit(until=now + 100.0, cuts=True, seconds_per_epoch=8.0)

    part = whole.part(1, 4)

    assert part.until == pytest.approx(now + 25.0, abs=1.0)
    assert part.seconds_per_epoch == 2.0
    # What ends at once has no parts.
    assert TimeLimit(until=now).part(1, 4) == TimeLimit(until=now)
