# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How much of a time budget is left, and training that ends with it."""

import math
import time
from collections.abc import Callable
from typing import Any

__all__ = ["Clock", "Deadline"]


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


class Deadline:
    """Ends the training of networks when the time is up.

    It is called with the progress of the engine, and interrupts it as Ctrl-C would: a
    search then keeps what is complete.

    Parameters
    ----------
    clock : Clock
        Whose time it is.
    reserve : float
        Seconds that are to be left.
    tell : callable
        Called with the engine's progress, before anything is ended.
    """

    def __init__(self, clock: Clock, reserve: float, tell: Callable[[Any], object]) -> None:
        self._clock = clock
        self._reserve = reserve
        self._tell = tell
        self.has_ended = False

    def __call__(self, progress: Any) -> None:
        """End the training if the time is up.

        Parameters
        ----------
        progress : sk_tune.engine.Progress
            Of the current call of the engine.
        """
        self._tell(progress)
        if self._clock.left <= self._reserve and progress.n_fits_done < progress.n_fits:
            self.has_ended = True
            raise KeyboardInterrupt
