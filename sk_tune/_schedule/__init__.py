# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Rungs and brackets in integer arithmetic, and learning-rate schedules."""

from sk_tune._schedule._learning_rates import LR_SCHEDULES, learning_rate_factor
from sk_tune._schedule._rungs import (
    AsynchronousBracket,
    Bracket,
    HalvingSchedule,
    Promotion,
    Rung,
    RungJob,
    halving_schedule,
    hyperband_brackets,
    n_promoted,
    new_resources,
    one_fold_brackets,
    promoted_in_ratio,
    with_candidates,
)
