# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The time and the threads of a fit, and what the time allows.

Notation: a fit on n samples with u units (epochs or iterations) takes
a + b n + u (c + d n) seconds.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from threadpoolctl import threadpool_limits

from sk_tune.schedule import hyperband_brackets, new_resources


class Clock:
    """Measures a budget in seconds by ``time.monotonic``; None has no end."""

    def __init__(self, budget: float | None) -> None:
        self.budget = budget
        self._start = time.monotonic()

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
        """Return a share of the budget in seconds; infinite without one."""
        return math.inf if self.budget is None else part * self.budget


# Below it threads wait for each other longer than they compute, and on a busy machine many
# times longer.
_VALUES_FOR_THREADS = 1_000_000


def few_threads(n_values: int, *, is_busy: bool = False) -> threadpool_limits:
    """Return a context in which few values, or all on a busy machine, get one thread."""
    is_small = n_values < _VALUES_FOR_THREADS
    return threadpool_limits(limits=1 if is_small or is_busy else None)


# Rungs of the longest bracket, less 1: with 4 the first rung has 3**-4 of the epochs.
_MOST_REDUCTIONS = 4
_FACTOR = 3
# Samples of the first fits that are measured, and how many times more the next ones have.
_FIRST_ROWS = 100
_GROWTH = 4
# Values of the parameter that are measured.
_FEW, _MORE = 1, 3
# How much longer than the limit the first fit may take, which may have to import much.
_MOST_OF_LIMIT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The seconds of a fit: a + b samples + (c + d samples) units.

    a is `once`, b `once_per_row`, c `per_unit` and d `per_unit_per_row`; a unit is an epoch
    or iteration.
    """

    once: float
    per_unit: float
    once_per_row: float = 0.0
    per_unit_per_row: float = 0.0

    def seconds(self, n_rows: int, units: int) -> float:
        """Return what a fit takes; infinite if it is too long to be measured."""
        return self.once + units * self.per_unit + self._per_row(units) * n_rows

    def seconds_per_unit(self, n_rows: int) -> float:
        """Return what another unit of a fit takes, at least 0."""
        return max(0.0, self.seconds(n_rows, 1) - self.seconds(n_rows, 0))

    def rows(self, seconds: float, units: int) -> int:
        """Return the samples that a fit of so many units has time for; 0 if for none."""
        left = seconds - self.seconds(0, units)
        if math.isnan(left) or left <= 0:
            return 0
        return int(min(left / max(self._per_row(units), 1e-12), 2**53))

    def units(self, seconds: float, n_rows: int, most: int) -> int:
        """Return the units, up to `most`, that fit into a time, which may be infinite."""
        if math.isinf(seconds):
            return most
        once = self.seconds(n_rows, 0)
        if math.isinf(once):
            return 0
        units = (seconds - once) / max(self.seconds(n_rows, 1) - once, 1e-9)
        return int(min(most, max(0.0, units)))

    def times(self, factor: float) -> "Cost":
        """Return the cost of so many fits."""
        return Cost(**{name: factor * seconds for name, seconds in asdict(self).items()})

    def _per_row(self, units: int) -> float:
        return self.once_per_row + units * self.per_unit_per_row


def measured_cost(
    seconds: Callable[[int, int], float], n_rows: int, *, limit: float = math.inf
) -> Cost:
    """Return what fits take, from short ones on a few samples, then on more.

    `seconds` is called with samples and units; `limit` are seconds for all calls. If there
    was time for one number of samples only, half of the time is thought to grow with them;
    the cost is infinite if the very first fit took far too long.
    """
    start = time.perf_counter()
    sizes = [_FIRST_ROWS]
    while sizes[-1] * _GROWTH / 2 <= n_rows:
        sizes.append(sizes[-1] * _GROWTH)
    sizes[-1] = n_rows
    # Work that is done only once, such as imports, is no part of what a fit takes.
    seconds(sizes[0], _FEW)
    if time.perf_counter() - start > _MOST_OF_LIMIT * limit:
        return Cost(once=math.inf, per_unit=math.inf)
    if time.perf_counter() - start <= limit:
        # Nor is it a reason to measure on fewer samples.
        start = time.perf_counter()
    points: list[tuple[int, float, float]] = []
    for size in sizes:
        if points:
            before, once, per_unit = points[-1]
            expected = size / before * (2 * once + (_FEW + _MORE) * per_unit)
            if time.perf_counter() - start + expected > limit:
                break
        short, long = seconds(size, _FEW), seconds(size, _MORE)
        per_unit = max(0.0, long - short) / (_MORE - _FEW)
        points.append((size, max(0.0, short - _FEW * per_unit), per_unit))
    return _through(points)


def _through(points: list[tuple[int, float, float]]) -> Cost:
    """Return the cost that agrees with the last two points, by straight lines."""
    n_rows, once, per_unit = points[-1]
    if len(points) == 1:
        # How much of it grows with the samples is not known: at most twice too little or
        # too much is said by one half.
        return Cost(
            once=once / 2,
            per_unit=per_unit / 2,
            once_per_row=once / 2 / n_rows,
            per_unit_per_row=per_unit / 2 / n_rows,
        )
    fewer, once_before, per_unit_before = points[-2]
    slopes = [
        # Neither does a fit get faster by more samples, nor slower in proportion.
        min(max(0.0, now - before) / (n_rows - fewer), now / n_rows)
        for now, before in ((once, once_before), (per_unit, per_unit_before))
    ]
    return Cost(
        once=once - slopes[0] * n_rows,
        per_unit=per_unit - slopes[1] * n_rows,
        once_per_row=slopes[0],
        per_unit_per_row=slopes[1],
    )


def affordable(
    cost: Cost, seconds: float, *, n_rows: int, least_rows: int, most: int, enough: int
) -> tuple[int, int]:
    """Return on how many samples, and with how many units, a fit may be.

    All samples if there is time for `enough` of the `most` units, else as many as have
    enough; 0 and 0 if these are fewer than `least_rows`.
    """
    enough = min(enough, most)
    units = cost.units(seconds, n_rows, most)
    if units >= enough:
        return n_rows, units
    rows = min(n_rows, cost.rows(seconds, enough))
    return (rows, enough) if rows >= min(least_rows, n_rows) else (0, 0)


def _hyperband_epochs(min_epochs: int, max_epochs: int) -> int:
    """Return the epochs that all candidates of a Hyperband pass train in one fold."""
    return sum(
        rung.n_candidates * n_epochs
        for bracket in hyperband_brackets(min_epochs, max_epochs, _FACTOR)
        for rung, n_epochs in zip(bracket.rungs, new_resources(bracket.rungs), strict=True)
    )


def hyperband_size(epochs: float, max_epochs: int) -> tuple[int, int]:
    """Return the least and the most epochs of a Hyperband pass of so many epochs a fold.

    The least are few if many candidates can be tried; the most are less than asked for only
    if not even one candidate can be trained for so long.
    """
    for reductions in range(_MOST_REDUCTIONS, 0, -1):
        least = max_epochs // _FACTOR**reductions
        if least >= 1 and _hyperband_epochs(least, max_epochs) <= epochs:
            return least, max_epochs
    most = max(1, min(max_epochs, int(min(epochs, max_epochs))))
    return most, most
