# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What may vary: parameters, their values, and which of them depend on others."""

from sk_tune.space._choice import Choice
from sk_tune.space._dimensions import Distribution, IntegerRange, Interval, Values
from sk_tune.space._parse import as_space
from sk_tune.space._space import Candidate, Space
from sk_tune.space._table import table_defaults, table_space
from sk_tune.space._to_skopt import points_of, skopt_space

__all__ = [
    "Candidate",
    "Choice",
    "Distribution",
    "IntegerRange",
    "Interval",
    "Space",
    "Values",
    "as_space",
    "points_of",
    "skopt_space",
    "table_defaults",
    "table_space",
]
