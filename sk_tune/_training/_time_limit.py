# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Time limits of training, which loops check between steps and between epochs."""

import math
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

# Assumed ratio of the next epoch's time to the last one's, on a machine with other users.
_SLOWER = 1.2
# Target time in seconds of epochs trained without a check.
_SECONDS_AT_ONCE = 0.25


class TimeIsUpError(BaseException):
    """Ends a training in the middle of an epoch; its result is discarded.

    Not an ``Exception``, so that it does not count as a failure of the network.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLimit:
    """End of training for a call of the engine.

    A fit that is late is stopped at once, without a result.

    Parameters
    ----------
    until : float
        End by ``time.monotonic()``.
    cuts : bool, default=False
        Whether a fit ends after the last complete epoch that is expected to end in time,
        with at least one epoch.
    seconds_per_epoch : float, default=0.0
        Time to reserve for later work on each epoch, such as its scores.
    host : str, default=name of this machine
        The machine of the clock that `until` refers to.

    Examples
    --------
    >>> import time
    >>> from sk_tune.engine import TimeLimit
    >>> limit = TimeLimit(until=time.monotonic() + 60.0, cuts=True)
    >>> bool(59.0 < limit.seconds_left <= 60.0)
    True
    """

    until: float
    cuts: bool = False
    seconds_per_epoch: float = 0.0
    host: str = field(default_factory=socket.gethostname)

    @property
    def seconds_left(self) -> float:
        """Seconds until the end; negative after it."""
        return self.until - time.monotonic()

    def part(self, n_fits: int, n_left: int) -> "TimeLimit":
        """Return the limit of the next `n_fits` of `n_left` fits, if it cuts."""
        if not self.cuts:
            return self
        now, share = time.monotonic(), n_fits / n_left
        return replace(
            self,
            until=now + (self.until - now) * share,
            seconds_per_epoch=self.seconds_per_epoch * share,
        )


@dataclass(slots=True)
class LimitedTime:
    """A block with a time limit; `has_cut` says whether one of its fits was cut."""

    limit: TimeLimit | None
    has_cut: bool = False


_TIME: ContextVar[LimitedTime | None] = ContextVar("time", default=None)


@contextmanager
def time_limit(limit: TimeLimit | None) -> Iterator[LimitedTime]:
    """Limit the time of training in a block; with None, the outer limit applies."""
    around = _TIME.get()
    if limit is None or limit.host != socket.gethostname():
        limit = None if around is None else around.limit
    limited_time = LimitedTime(limit)
    token = _TIME.set(limited_time)
    try:
        yield limited_time
    finally:
        _TIME.reset(token)


def check_time() -> None:
    """Raise ``TimeIsUpError`` if the time is up and the limit does not cut."""
    current = _TIME.get()
    limit = None if current is None else current.limit
    if limit is not None and not limit.cuts and time.monotonic() >= limit.until:
        raise TimeIsUpError


class EpochTimer:
    """Tells before each epoch except the first whether it would end too late."""

    def __init__(self) -> None:
        # The enclosing block, if its limit cuts.
        block = _TIME.get()
        self._block = block if block and block.limit and block.limit.cuts else None
        self._began = time.monotonic()
        self._n_epochs = 0
        # Largest number of epochs before the next call of `is_late`.
        self.most_at_once = math.inf if self._block is None else 1.0

    def is_late(self, n_epochs: int = 1) -> bool:
        """Return whether to end after `n_epochs` more, since as many more would be late."""
        if self._block is None or self._block.limit is None:
            return False
        limit = self._block.limit
        now = time.monotonic()
        seconds, self._began = now - self._began, now
        self._n_epochs += n_epochs
        in_time = int(n_epochs * _SECONDS_AT_ONCE / max(seconds, 1e-9))
        self.most_at_once = max(1, min(2 * n_epochs, in_time))
        after = (self._n_epochs + n_epochs) * limit.seconds_per_epoch
        if now + _SLOWER * seconds + after <= limit.until:
            return False
        self._block.has_cut = True
        return True
