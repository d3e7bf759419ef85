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
from dataclasses import dataclass, field
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
    """The values of one parameter; the defaults are those of unbounded numbers."""

    __slots__ = ()

    @property
    def n_points(self) -> int | None:
        """Number of distinct values; None if infinite."""
        return None

    @property
    def n_categories(self) -> int:
        """Number of values if they have no order, else 0."""
        return 0

    @property
    def is_listed(self) -> bool:
        """Whether all values are equally likely and can be drawn by index."""
        return False

    @property
    def has_codes(self) -> bool:
        """Whether every value has a code, as models need."""
        return True

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


@dataclass(frozen=True, slots=True)
class Values(Dimension):
    """A list of values of any kind, returned unchanged (numpy scalars as Python's).

    `weights` are relative probabilities. Models see numbers by rank, or as categories
    unless `keeps_order`.
    """

    values: Sequence[Any] | NDArray[Any]
    weights: tuple[float, ...] | None = None
    keeps_order: bool = True
    # Indices of values in ascending order.
    _order: Sequence[int] | None = field(init=False, default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.keeps_order or not _are_numbers(self.values):
            return
        order: Sequence[int] = range(len(self.values))
        if not isinstance(self.values, range):
            numbers = np.asarray(self.values, dtype=float)
            order = np.argsort(numbers, kind="stable").tolist()
        elif self.values.step < 0:
            # A range may be too long to sort.
            order = order[::-1]
        object.__setattr__(self, "_order", order)

    @property
    def n_points(self) -> int:
        return len(self.values)

    @property
    def n_categories(self) -> int:
        return len(self.values) if self._order is None else 0

    @property
    def is_listed(self) -> bool:
        return self.weights is None

    def sample(self, rng: RandomState) -> Any:
        if self.weights is not None:
            return self.at(int(rng.choice(len(self.values), p=self.weights)))
        return self.at(rng.randint(len(self.values)))

    def at(self, index: int) -> Any:
        return plain(self.values[index])

    def encode(self, value: Any) -> float:
        index = _position(self.values, value)
        if self._order is None:
            return float(index)
        return (self._order.index(index) + 0.5) / len(self.values)

    def decode(self, code: float) -> Any:
        if self._order is None:
            return self.at(int(code))
        n = len(self.values)
        return self.at(int(self._order[min(max(int(code * n), 0), n - 1)]))

    def snap(self, codes: Codes) -> Codes:
        n = len(self.values)
        if self._order is None:
            return np.clip(np.floor(codes), 0, n - 1)
        return (np.clip(np.floor(codes * n), 0, n - 1) + 0.5) / n

    def spread(self, unit: Codes) -> Codes:
        n = len(self.values)
        if self.weights is None:
            return unit * n if self._order is None else unit
        weights = np.array(self.weights)
        if self._order is not None:
            weights = weights[list(self._order)]
        ends = np.cumsum(weights) / weights.sum()
        ranks = np.searchsorted(ends, unit, side="right").astype(float)
        return ranks if self._order is None else (ranks + 0.5) / n


@dataclass(frozen=True, slots=True)
class Range(Dimension):
    """Numbers between two inclusive bounds; with `is_log` uniform in the logarithm."""

    low: float
    high: float
    is_log: bool = False
    is_integer: bool = False

    @property
    def n_points(self) -> int | None:
        return int(self.high - self.low) + 1 if self.is_integer else None

    @property
    def is_listed(self) -> bool:
        return self.is_integer and not self.is_log

    def at(self, index: int) -> Any:
        return self.low + index if self.is_integer else Dimension.at(self, index)

    def encode(self, value: Any) -> float:
        number = _number(value)
        slack = 0.0 if self.is_integer else _ROUNDING * (self.high - self.low)
        if not self.low - slack <= number <= self.high + slack:
            raise LookupError
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
    """Values drawn by an object with ``rvs``, such as a frozen distribution of scipy.

    If it also has ``ppf`` and ``cdf``, its codes are quantiles.
    """

    def __init__(self, frozen: Any) -> None:
        self.frozen = frozen
        self.is_integer = hasattr(frozen, "pmf")
        self.is_log = getattr(getattr(frozen, "dist", None), "name", "") in _LOG_UNIFORM
        low, high = frozen.support() if hasattr(frozen, "support") else (-np.inf, np.inf)
        self.low, self.high = float(low), float(high)
        self._n_points = self._count() if self.is_integer and self.has_codes else None

    @property
    def n_points(self) -> int | None:
        return self._n_points

    @property
    def has_codes(self) -> bool:
        return hasattr(self.frozen, "ppf") and hasattr(self.frozen, "cdf")

    def sample(self, rng: RandomState) -> Any:
        return plain(self.frozen.rvs(random_state=rng))

    def encode(self, value: Any) -> float:
        number = _number(value)
        low, high = self.low, self.high
        slack = _ROUNDING * (high - low) if np.isfinite(high - low) else 0.0
        if not low - slack <= number <= high + slack:
            raise LookupError
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
        low, high = self.low, self.high
        return np.clip(
            codes,
            0.0 if np.isfinite(low) else _TAIL,
            1.0 if np.isfinite(high) else 1 - _TAIL,
        )

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


def _number(value: Any) -> float:
    if not is_number(value):
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
