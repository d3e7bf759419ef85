# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Time budget and threads of a fit, and measured costs of training.

Notation: a fit on n samples with u units (epochs or iterations) takes
a + b n + u (c + d n) seconds.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass

import joblib
from threadpoolctl import threadpool_limits

from sk_tune._schedule import hyperband_brackets, new_resources
from sk_tune._training import slowdown

# Share of the budget, and its limits in seconds, reserved for the ensemble and last check.
_RESERVED_SHARE, _LEAST_RESERVED, _MOST_RESERVED = 0.08, 1.2, 10.0
_RESERVED_IF_BUSY = 0.3
# Share of the budget for column importance, and its largest number of seconds.
_SHARE_OF_EFFECTS, MOST_FOR_EFFECTS = 0.03, 10.0


def reserve_of(budget: float | None) -> float:
    """Return the seconds of a budget to leave for the ensemble; 0 without a budget."""
    if budget is None:
        return 0.0
    seconds = min(max(_RESERVED_SHARE * budget, _LEAST_RESERVED), _MOST_RESERVED)
    seconds += min(_SHARE_OF_EFFECTS * budget, MOST_FOR_EFFECTS)
    return min(seconds * slowdown(), _RESERVED_IF_BUSY * budget)


class Clock:
    """Measures a budget in seconds by ``time.monotonic``; None means no limit."""

    def __init__(self, budget: float | None) -> None:
        self.budget = budget
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    @property
    def left(self) -> float:
        """Seconds left, at least 0; infinite without a budget."""
        if self.budget is None:
            return math.inf
        return max(0.0, self.budget - self.seconds)

    def share(self, part: float) -> float:
        """Return a share of the budget in seconds; infinite without a budget."""
        return math.inf if self.budget is None else part * self.budget


# Number of values below which threads cost more than they save, and much more on a busy
# machine.
_VALUES_FOR_THREADS = 1_000_000


# Seconds of a fit, and end of the last fit by ``time.monotonic``.
_limits: ContextVar[tuple[float, float]] = ContextVar(
    "limits", default=(math.inf, math.inf)
)


@contextmanager
def fits_within(seconds: float, end: float) -> Iterator[None]:
    """Limit each boosting fit inside to `seconds` and to `end` (``time.monotonic``)."""
    token = _limits.set((seconds, end))
    try:
        yield
    finally:
        _limits.reset(token)


def end_of_fit() -> float:
    """Return the end, by ``time.monotonic``, of a fit that begins now; may be infinite."""
    seconds, end = _limits.get()
    return min(time.monotonic() + seconds, end)


def n_threads(n_values: int) -> int:
    """Return the number of threads for a fit of boosting."""
    return 1 if n_values < _VALUES_FOR_THREADS else joblib.cpu_count()


def few_threads(n_values: int, *, is_busy: bool = False) -> threadpool_limits:
    """Return a context with one thread if there are few values or the machine is busy."""
    is_small = n_values < _VALUES_FOR_THREADS
    return threadpool_limits(limits=1 if is_small or is_busy else None)


# Number of reductions in the longest bracket: the first rung has 3**-4 of the epochs.
_MOST_REDUCTIONS = 4
_FACTOR = 3
# Samples of the first measured fits, and their growth factor.
_FIRST_ROWS = 100
_GROWTH = 4
# Numbers of units in measured fits.
_FEW, _MORE = 1, 3
# The first fit may exceed the limit by this factor, because it may import libraries.
_MOST_OF_LIMIT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds of a fit: a + b samples + (c + d samples) units.

    a is `once`, b `once_per_row`, c `per_unit` and d `per_unit_per_row`; a unit is an epoch
    or iteration.
    """

    once: float
    per_unit: float
    once_per_row: float = 0.0
    per_unit_per_row: float = 0.0

    def seconds(self, n_rows: int, units: int) -> float:
        """Return the seconds of a fit; infinite if it was too long to measure."""
        return self.once + units * self.per_unit + self._per_row(units) * n_rows

    def seconds_per_unit(self, n_rows: int) -> float:
        """Return the seconds of each further unit, at least 0."""
        return max(0.0, self.seconds(n_rows, 1) - self.seconds(n_rows, 0))

    def rows(self, seconds: float, units: int) -> int:
        """Return the largest number of samples affordable with `units`; may be 0."""
        spare = seconds - self.seconds(0, units)
        if math.isnan(spare) or spare <= 0:
            return 0
        return int(min(spare / max(self._per_row(units), 1e-12), 2**53))

    def units(self, seconds: float, n_rows: int, most: int) -> int:
        """Return the number of affordable units, at most `most`; `seconds` may be inf."""
        if math.isinf(seconds):
            return most
        once = self.seconds(n_rows, 0)
        if math.isinf(once):
            return 0
        units = (seconds - once) / max(self.seconds(n_rows, 1) - once, 1e-9)
        return int(min(most, max(0.0, units)))

    def times(self, factor: float) -> "Cost":
        """Return the cost of `factor` fits."""
        return Cost(**{name: factor * seconds for name, seconds in asdict(self).items()})

    def _per_row(self, units: int) -> float:
        return self.once_per_row + units * self.per_unit_per_row


def measured_cost(
    seconds: Callable[[int, int], float],
    n_rows: int,
    *,
    limit: float = math.inf,
    is_enough: Callable[[Cost], bool] = lambda cost: False,
) -> Cost:
    """Return the cost of fits, measured by short fits on few samples, then on more.

    `seconds` is called with samples and units; `limit` are seconds for all calls. A cost
    that `is_enough` is not measured on more samples. If there was time for only one number
    of samples, half of the cost is assumed proportional to them; the cost is infinite if
    the first fit far exceeded the limit.
    """
    start = time.perf_counter()
    sizes = [_FIRST_ROWS]
    while sizes[-1] * _GROWTH / 2 <= n_rows:
        sizes.append(sizes[-1] * _GROWTH)
    sizes[-1] = n_rows
    # The first call includes imports and other work that is done once; ignore its time.
    seconds(sizes[0], _FEW)
    if time.perf_counter() - start > _MOST_OF_LIMIT * limit:
        return Cost(once=math.inf, per_unit=math.inf)
    if time.perf_counter() - start <= limit:
        # The first call does not count against the limit either.
        start = time.perf_counter()
    points: list[tuple[int, float, float]] = []
    for size in sizes:
        if points:
            cost = _through(points)
            expected = cost.seconds(size, _FEW) + cost.seconds(size, _MORE)
            is_late = time.perf_counter() - start + expected > limit
            if is_late or (len(points) > 1 and is_enough(cost)):
                break
        short, long = seconds(size, _FEW), seconds(size, _MORE)
        per_unit = max(0.0, long - short) / (_MORE - _FEW)
        points.append((size, max(0.0, short - _FEW * per_unit), per_unit))
    return _through(points)


def _through(points: list[tuple[int, float, float]]) -> Cost:
    """Return the cost through the last two points, linear in the samples."""
    n_rows, once, per_unit = points[-1]
    # The share that grows with the samples is unknown for a single point: with one half the
    # error is at most a factor of two.
    fewer, *earlier = points[-2] if len(points) > 1 else (0, once / 2, per_unit / 2)
    once_per_row, per_unit_per_row = (
        # More samples make a fit neither faster nor more than proportionally slower.
        min(max(0.0, now - smaller) / (n_rows - fewer), now / n_rows)
        for now, smaller in zip((once, per_unit), earlier, strict=True)
    )
    return Cost(
        once=once - once_per_row * n_rows,
        per_unit=per_unit - per_unit_per_row * n_rows,
        once_per_row=once_per_row,
        per_unit_per_row=per_unit_per_row,
    )


def affordable(
    cost: Cost, seconds: float, *, n_rows: int, least_rows: int, most: int, enough: int
) -> tuple[int, int]:
    """Return affordable numbers of samples and units of a fit.

    All samples if there is time for `enough` of the `most` units, else fewer samples with
    `enough` units; 0 and 0 if these are fewer than `least_rows`.
    """
    enough = min(enough, most)
    units = cost.units(seconds, n_rows, most)
    if units >= enough:
        return n_rows, units
    rows = min(n_rows, cost.rows(seconds, enough))
    return (rows, enough) if rows >= min(least_rows, n_rows) else (0, 0)


def _hyperband_epochs(min_epochs: int, max_epochs: int) -> float:
    """Return the epochs that all candidates of a Hyperband pass train in one fold."""
    return sum(
        rung.n_candidates * n_epochs
        for bracket in hyperband_brackets(min_epochs, max_epochs, _FACTOR)
        for rung, n_epochs in zip(bracket.rungs, new_resources(bracket.rungs), strict=True)
    )


def hyperband_size(epochs: float, max_epochs: int) -> tuple[int, int]:
    """Return the least and the most epochs of a Hyperband pass with `epochs` per fold.

    More epochs allow more reductions.  The largest number is below `max_epochs` only if not
    even one candidate can train for `max_epochs`.
    """
    for reductions in range(_MOST_REDUCTIONS, 0, -1):
        least = max_epochs // _FACTOR**reductions
        if least >= 1 and _hyperband_epochs(least, max_epochs) <= epochs:
            return least, max_epochs
    most = max(1, min(max_epochs, int(min(epochs, max_epochs))))
    return most, most
