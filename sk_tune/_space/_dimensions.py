# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The values of one parameter: random draws, and numbers for models.

The *code* of a value is its index, if values have no order (a category), and a number
between 0 and 1 otherwise.  `spread` turns uniform numbers into codes of values drawn from
the dimension.  Where several codes decode to one value, `snap` maps them to the code that
`encode` returns.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from sk_tune._text import is_number

Codes = NDArray[np.float64]

# Distance of the extreme quantiles from 0 and 1, for distributions with infinite support.
_TAIL = 1e-6
# The quantile function of a discrete distribution fails closer to 0 and 1 than this.
_EDGE = 1e-12
# Larger sets of values are not enumerated.
_MANY = 100_000
# scipy's names of distributions that are uniform in the logarithm.
_LOG_UNIFORM = {"loguniform", "reciprocal"}
# Tolerance for values outside their bounds by rounding, as a share of the range.
_ROUNDING = 1e-9


class Dimension:
    """The values of one parameter."""

    n_points: int | None = None  # distinct values, None if infinite
    n_categories: int = 0  # values without order
    is_listed: bool = False  # equally likely, and drawn by index
    has_codes: bool = True  # every value has a code

    def sample(self, rng: RandomState) -> Any:
        return self.decode(rng.uniform())

    def at(self, index: int) -> Any:
        raise IndexError(f"{type(self).__name__} has no value {index}")

    def encode(self, value: Any) -> float:
        """Return the code of a value; raise ``LookupError`` if there is none."""
        raise NotImplementedError

    def decode(self, code: float) -> Any:
        raise NotImplementedError

    def snap(self, codes: Codes) -> Codes:
        """Return for each code the code that `encode` returns for its value."""
        raise NotImplementedError

    def spread(self, unit: Codes) -> Codes:
        """Turn uniform numbers in [0, 1) into codes, not snapped, of random values."""
        return unit


class Values(Dimension):
    """A list of values of any kind, returned unchanged (numpy scalars as Python's).

    Models see numbers by rank, or as categories unless `keeps_order`.
    """

    def __init__(
        self,
        values: Sequence[Any] | NDArray[Any],
        weights: tuple[float, ...] | None = None,
        *,
        keeps_order: bool = True,
    ) -> None:
        self.values, self.weights = values, weights
        self.n_points: int = len(values)
        self.is_listed = weights is None
        self._has_order = keeps_order and _are_numbers(values)
        self.n_categories = 0 if self._has_order else self.n_points
        # Indices of values by rank.
        self._order: Sequence[int] = range(self.n_points)
        if self._has_order and not isinstance(values, range):
            numbers = np.asarray(values, dtype=float)
            self._order = np.argsort(numbers, kind="stable").tolist()
        elif isinstance(values, range) and values.step < 0 and self._has_order:
            # A range may be too long to sort.
            self._order = self._order[::-1]

    def sample(self, rng: RandomState) -> Any:
        if self.weights is not None:
            return self.at(int(rng.choice(self.n_points, p=self.weights)))
        return self.at(rng.randint(self.n_points))

    def at(self, index: int) -> Any:
        return plain(self.values[index])

    def encode(self, value: Any) -> float:
        return float(self._codes(self._order.index(_position(self.values, value))))

    def decode(self, code: float) -> Any:
        return self.at(self._order[int(self._ranks(code))])

    def snap(self, codes: Codes) -> Codes:
        return np.asarray(self._codes(self._ranks(codes)))

    def spread(self, unit: Codes) -> Codes:
        if self.weights is None:
            return unit if self._has_order else unit * self.n_points
        weights = np.array(self.weights)[list(self._order)]
        ends = np.cumsum(weights) / weights.sum()
        ranks = np.searchsorted(ends, unit, side="right").astype(float)
        return np.asarray(self._codes(ranks))

    def _ranks(self, codes: Any) -> Any:
        ranks = np.floor(codes * self.n_points if self._has_order else codes)
        return np.clip(ranks, 0, self.n_points - 1)

    def _codes(self, ranks: Any) -> Any:
        return (ranks + 0.5) / self.n_points if self._has_order else ranks


class Range(Dimension):
    """Numbers between two inclusive bounds; with `is_log` uniform in the logarithm."""

    def __init__(
        self, low: float, high: float, *, is_log: bool = False, is_integer: bool = False
    ) -> None:
        self.low, self.high, self.is_log, self.is_integer = low, high, is_log, is_integer
        self.n_points = int(high - low) + 1 if is_integer else None
        self.is_listed = is_integer and not is_log

    def at(self, index: int) -> Any:
        return self.low + index if self.is_integer else super().at(index)

    def encode(self, value: Any) -> float:
        number = _number_between(self.low, self.high, value, is_integer=self.is_integer)
        if self.is_integer and number % 1:
            raise LookupError
        return float(self._codes(np.clip([number], self.low, self.high))[0])

    def decode(self, code: float) -> Any:
        value = self._values(np.array([float(code)]))[0]
        return int(value) if self.is_integer else float(value)

    def snap(self, codes: Codes) -> Codes:
        return self._codes(self._values(codes)) if self.is_integer else np.clip(codes, 0, 1)

    def _values(self, codes: Codes) -> Codes:
        low, high = self._ends()
        values = low + codes * (high - low)
        values = np.exp(values) if self.is_log else values
        return np.clip(np.floor(values) if self.is_integer else values, self.low, self.high)

    def _codes(self, values: Codes) -> Codes:
        low, high = self._ends()
        values = values + 0.5 if self.is_integer else values
        return ((np.log(values) if self.is_log else values) - low) / (high - low)

    def _ends(self) -> tuple[float, float]:
        # Every integer has the codes of the numbers up to the next integer.
        low, high = self.low, self.high + self.is_integer
        return (math.log(low), math.log(high)) if self.is_log else (low, high)


class Distribution(Dimension):
    """Values drawn by an object with ``rvs``; codes are quantiles by its ``cdf``."""

    def __init__(self, frozen: Any) -> None:
        self.frozen = frozen
        self.is_integer = hasattr(frozen, "pmf")
        self.is_log = getattr(getattr(frozen, "dist", None), "name", "") in _LOG_UNIFORM
        low, high = frozen.support() if hasattr(frozen, "support") else (-np.inf, np.inf)
        self.low, self.high = float(low), float(high)
        self.has_codes = hasattr(frozen, "ppf") and hasattr(frozen, "cdf")
        self.n_points = self._count() if self.is_integer and self.has_codes else None

    def sample(self, rng: RandomState) -> Any:
        return plain(self.frozen.rvs(random_state=rng))

    def encode(self, value: Any) -> float:
        number = _number_between(self.low, self.high, value, is_integer=self.is_integer)
        if self.is_integer and not self.frozen.pmf(number) > 0:
            raise LookupError
        code = self._quantiles(np.array([number]))[0]
        return float(self.snap(np.array([code]))[0])

    def decode(self, code: float) -> Any:
        value = self.frozen.ppf(self._inside(np.array([float(code)])))[0]
        return int(value) if self.is_integer else float(value)

    def snap(self, codes: Codes) -> Codes:
        inside = self._inside(codes)
        return self._quantiles(self.frozen.ppf(inside)) if self.is_integer else inside

    def _quantiles(self, values: Codes) -> Codes:
        quantiles = np.asarray(self.frozen.cdf(values), dtype=float)
        if self.is_integer:
            # The middle of the step, from which rounding cannot reach the neighbour.
            quantiles = quantiles - self.frozen.pmf(values) / 2
        return quantiles

    def _inside(self, codes: Codes) -> Codes:
        if self.is_integer:
            return np.clip(codes, _EDGE, 1 - _EDGE)
        tails = _TAIL * ~np.isfinite([self.low, self.high])
        return np.clip(codes, tails[0], 1 - tails[1])

    def _count(self) -> int | None:
        low, high = self.low, self.high
        if not np.isfinite(high - low):
            return None
        if high - low >= _MANY:
            return int(high - low) + 1
        return int(np.count_nonzero(self.frozen.pmf(np.arange(low, high + 1)) > 0))


def plain(value: Any) -> Any:
    """Convert a numpy scalar to Python's type."""
    return value.item() if isinstance(value, np.generic) else value


def _number_between(low: float, high: float, value: Any, *, is_integer: bool) -> float:
    """Return a number within bounds, up to rounding; raise ``LookupError`` for others."""
    is_exact = is_integer or not math.isfinite(high - low)
    slack = 0.0 if is_exact else _ROUNDING * (high - low)
    if not (is_number(value) and low - slack <= value <= high + slack):
        raise LookupError
    return float(value)


def _are_numbers(values: Sequence[Any] | NDArray[Any]) -> bool:
    if len(values) < 2 or isinstance(values, range):
        return len(values) > 1
    return all(is_number(v) and math.isfinite(v) for v in values)


def _position(values: Sequence[Any] | NDArray[Any], value: Any) -> int:
    """Return the index of a value: of the object, an equal one of its type, any equal."""
    if isinstance(values, range):
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if value not in values:
            raise LookupError
        return values.index(value)
    tests: list[Callable[[Any], bool]] = [
        lambda other: other is value,
        lambda other: type(other) is type(value) and _are_equal(other, value),
        lambda other: _are_equal(other, value),
    ]
    for test in tests:
        for index, other in enumerate(values):
            if test(plain(other)):
                return index
    raise LookupError


def _are_equal(a: Any, b: Any) -> bool:
    try:
        return bool(a == b) or (a != a and b != b)
    except (ValueError, TypeError):
        # Arrays, or containers of arrays.
        return type(a) is type(b) and bool(np.array_equal(a, b))
