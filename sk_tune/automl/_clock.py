# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How much of a time budget is left."""

import math
import time

__all__ = ["Clock"]


class Clock:
    """Measures a budget from its start.

    Parameters
    ----------
    budget : float or None
        Seconds; None for no limit.
    start : float or None, default=None
        When it began, by ``time.monotonic``; None is now.
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
        """Return a part of the whole budget.

        Parameters
        ----------
        part : float
            From 0 to 1.

        Returns
        -------
        float
            Seconds; infinite without a budget.
        """
        return math.inf if self.budget is None else part * self.budget
