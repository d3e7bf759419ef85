# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Search spaces: parameters, their values, and dependencies between them."""

from sk_tune._space._conversion import AnySpace, as_space, points_of, skopt_space
from sk_tune._space._dimensions import Distribution, Range, Values
from sk_tune._space._space import Candidate, Choice, Space
from sk_tune._space._table_space import table_space
