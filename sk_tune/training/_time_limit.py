# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""When training is to end: what training loops ask between steps and between epochs."""

import math
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

# An epoch may take so many times as long as the one before, on a machine that others use.
_SLOWER = 1.2
# Seconds of the epochs that are trained in one go.
_SECONDS_AT_ONCE = 0.25


class TimeIsUpError(BaseException):
    """Ends a training in the middle of an epoch, so that nothing of it counts.

    Not an ``Exception``, which would be taken for a failure of the network.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLimit:
    """When training is to end, by ``time.monotonic`` of the machine `host`.

    A fit that is late ends at once, without a result; if the limit `cuts`, it ends after
    the last whole epoch that is expected to be done by then, and has one epoch at least.
    `seconds_per_epoch` are left for what each epoch costs afterwards.
    """

    until: float
    cuts: bool = False
    seconds_per_epoch: float = 0.0
    host: str = field(default_factory=socket.gethostname)

    @property
    def seconds_left(self) -> float:
        """Seconds until then; below 0 if it is later."""
        return self.until - time.monotonic()

    def part(self, n_fits: int, n_left: int) -> "TimeLimit":
        """Return the limit of the next fits of all that are left, if it cuts."""
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
    """A block whose training ends in time; `has_cut` says whether a fit in it was cut."""

    limit: TimeLimit | None
    has_cut: bool = False


_TIME: ContextVar[LimitedTime | None] = ContextVar("time", default=None)


@contextmanager
def time_limit(limit: TimeLimit | None) -> Iterator[LimitedTime]:
    """Let training in a block end in time; without a limit the one around stays."""
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
    """Raise ``TimeIsUpError`` if the time is up and what is unfinished does not count."""
    current = _TIME.get()
    limit = None if current is None else current.limit
    if limit is not None and not limit.cuts and time.monotonic() >= limit.until:
        raise TimeIsUpError


class EpochTimer:
    """Tells before each epoch but the first whether it would end too late.

    In a fit that a fleet goes on with epochs of earlier calls are not counted.
    """

    def __init__(self) -> None:
        # The block around, if its fits may be cut.
        block = _TIME.get()
        self._own = block if block and block.limit and block.limit.cuts else None
        self._began = time.monotonic()
        self._n_epochs = 0
        # Epochs to train before `is_late` is asked, which cuts nothing else.
        self.most_at_once = math.inf if self._own is None else 1.0

    def is_late(self, n_epochs: int = 1) -> bool:
        """Return whether to end after so many epochs more, which the next ones are like."""
        if self._own is None or self._own.limit is None:
            return False
        limit = self._own.limit
        now = time.monotonic()
        seconds, self._began = now - self._began, now
        self._n_epochs += n_epochs
        in_time = int(n_epochs * _SECONDS_AT_ONCE / max(seconds, 1e-9))
        self.most_at_once = max(1, min(2 * n_epochs, in_time))
        after = (self._n_epochs + n_epochs) * limit.seconds_per_epoch
        if now + _SLOWER * seconds + after <= limit.until:
            return False
        self._own.has_cut = True
        return True
