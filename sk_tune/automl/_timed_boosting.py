# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Histogram gradient boosting that ends with the time it is given.

A fit of scikit-learn's is not cut from outside.  Here it is done in parts, each of which
goes on from the one before; after each of them the clock is asked.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self

from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

__all__ = ["TimedBoostingClassifier", "TimedBoostingRegressor", "fits_within"]

# Iterations of the first part, and how many times more there are after each of the next.
_FIRST, _GROWTH = 10, 1.6

# Seconds of a fit, and when the last fit is to end by ``time.monotonic``.
_limits: ContextVar[tuple[float, float] | None] = ContextVar("limits", default=None)


@contextmanager
def fits_within(seconds: float, end: float) -> Iterator[None]:
    """Let boosting that is fitted inside end in time, after its first iterations at least.

    Each fit may take `seconds`, and all end at `end`, by ``time.monotonic``.
    """
    token = _limits.set((seconds, end))
    try:
        yield
    finally:
        _limits.reset(token)


class _Timed:
    """Fits in parts where there is a limit, else as scikit-learn does."""

    max_iter: int
    warm_start: bool
    n_iter_: int

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit, with fewer iterations than `max_iter` if there is no time for all."""
        limits = _limits.get()
        if limits is None:
            return super().fit(X, y, sample_weight)  # type: ignore[misc,no-any-return]
        start = time.monotonic()
        end = min(start + limits[0], limits[1])
        asked = self.max_iter, self.warm_start
        try:
            self.max_iter = min(_FIRST, asked[0])
            while True:
                super().fit(X, y, sample_weight)  # type: ignore[misc]
                done, now = self.max_iter, time.monotonic()
                more = min(int(_GROWTH * done), asked[0])
                # The next part takes about as long for each iteration as those before.
                expected = (now - start) * (more - done) / done
                if self.n_iter_ < done or more == done or now + expected > end:
                    return self
                self.warm_start, self.max_iter = True, more
        finally:
            self.max_iter, self.warm_start = asked


class TimedBoostingClassifier(_Timed, HistGradientBoostingClassifier):  # type: ignore[misc]
    """scikit-learn's classifier, which ends in time inside ``fits_within``."""


class TimedBoostingRegressor(_Timed, HistGradientBoostingRegressor):  # type: ignore[misc]
    """scikit-learn's regressor, which ends in time inside ``fits_within``."""
