# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Rungs and brackets, counted in integers, and learning-rate schedules."""

from sk_tune.schedule._asynchronous import AsynchronousBracket, RungJob
from sk_tune.schedule._halving import (
    HalvingPlan,
    Rung,
    halving_plan,
    n_promoted,
    new_resources,
)
from sk_tune.schedule._hyperband import Bracket, hyperband_brackets
from sk_tune.schedule._learning_rates import LR_SCHEDULES, learning_rate_factor

__all__ = [
    "LR_SCHEDULES",
    "AsynchronousBracket",
    "Bracket",
    "HalvingPlan",
    "Rung",
    "RungJob",
    "halving_plan",
    "hyperband_brackets",
    "learning_rate_factor",
    "n_promoted",
    "new_resources",
]
