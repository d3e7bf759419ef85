# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Rungs and brackets: how many candidates get how much, counted in integers."""

from sk_tune.schedule._asynchronous import (
    AsynchronousBracket,
    RungJob,
    asynchronous_bracket,
)
from sk_tune.schedule._halving import HalvingPlan, Rung, halving_plan, n_promoted
from sk_tune.schedule._hyperband import Bracket, hyperband_brackets

__all__ = [
    "AsynchronousBracket",
    "Bracket",
    "HalvingPlan",
    "Rung",
    "RungJob",
    "asynchronous_bracket",
    "halving_plan",
    "hyperband_brackets",
    "n_promoted",
]
