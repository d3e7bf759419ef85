# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Plain skorch nets in fleets: what they support, their training, and its adoption."""

from sk_tune._engine._skorch._net_adoption import (
    adopt_skorch,
    count_words,
    cutting_iterator,
    draw_as_fit,
    skip_words,
)
from sk_tune._engine._skorch._net_fit import NoFleetError, SkorchFit
from sk_tune._engine._skorch._net_reasons import (
    reason_against_callbacks,
    reason_against_net,
)
