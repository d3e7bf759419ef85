# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Time limits, which loops check between steps and epochs."""

import time

import pytest

from sk_tune._training import EpochTimer, TimeIsUpError, TimeLimit, check_time, time_limit


def test_a_late_fit_that_cannot_be_cut_ends_at_once():
    """Only within the block of a limit, and only for a limit of this machine."""
    past = time.monotonic() - 1.0

    with time_limit(TimeLimit(until=past)), pytest.raises(TimeIsUpError):
        check_time()
    with time_limit(TimeLimit(until=past, host="another")):
        check_time()
    with time_limit(TimeLimit(until=past, cuts=True)):
        check_time()
    check_time()


def test_a_fit_is_cut_before_an_epoch_that_would_end_too_late():
    """An epoch is expected to take as long as the last one, plus its later costs."""
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


def test_successive_fits_share_the_time():
    """Each has its share of the remaining time and of the later costs of its epochs."""
    now = time.monotonic()
    whole = TimeLimit(until=now + 100.0, cuts=True, seconds_per_epoch=8.0)

    part = whole.part(1, 4)

    assert part.until == pytest.approx(now + 25.0, abs=1.0)
    assert part.seconds_per_epoch == 2.0
    # Limits that do not cut are not divided.
    assert TimeLimit(until=now).part(1, 4) == TimeLimit(until=now)
