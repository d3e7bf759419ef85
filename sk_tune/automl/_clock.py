# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How much of a time budget is left."""

import math
import time

__all__ = ["Clock"]


class Clock:
    """Measures a budget in seconds from its start, by ``time.monotonic``.

    None has no end.
    """

    def __init__(self, budget: float | None, start: float | None = None) -> None:
        self.budget = budget
        self._start = time.monotonic() if start is None else start

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    @property
    def left(self) -> float:
        """Seconds that are left, 0 at least; infinite without a budget."""
        if self.budget is None:
            return math.inf
        return max(0.0, self.budget - self.seconds)

    def share(self, part: float) -> float:
        """Return a share, from 0 to 1, of the whole budget in seconds.

        Infinite without one.
        """
        return math.inf if self.budget is None else part * self.budget
