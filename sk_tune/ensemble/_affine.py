# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What scalers in front of a network do, as one affine map of each column.

Notation: a map takes x to ``(x - center) * scale``; D columns.  The centre is kept, not
the shift ``-center * scale``: of columns far from 0 the difference loses digits.
"""

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

__all__ = ["AffineMap", "affine_tail"]

Array = npt.NDArray[Any]


class AffineMap(NamedTuple):
    """The map ``(x - center) * scale`` of D columns, which may fill missing values.

    After the map a missing value becomes `fill`, (D,), in the units of the result; it stays
    missing without it.
    """

    center: Array
    scale: Array
    fill: Array | None = None

    def __call__(self, X: Array) -> Array:
        """Return the samples of `X`, (n, D), mapped, in float64."""
        scaled = (X - self.center) * self.scale
        return scaled if self.fill is None else np.where(np.isnan(X), self.fill, scaled)

    def then(self, other: Self) -> Self:
        """Return the map that has the effect of this one and then of another."""
        fill = other.fill
        if self.fill is not None:
            # What is filled is no longer missing.
            fill = (self.fill - other.center) * other.scale
        center = self.center + other.center / self.scale
        return type(self)(center, self.scale * other.scale, fill)

    def relative_to(self, base: Self) -> tuple[Array, Array]:
        """Return scale and shift, (D,): this map is ``base(x) * scale + shift``."""
        return self.scale / base.scale, (base.center - self.center) * self.scale


def affine_tail(transformers: Sequence[Any]) -> tuple[int, AffineMap | None]:
    """Return how many transformers come before the last scalers, and the map of these.

    The map is None if the last transformer is no scaler; "passthrough" and None do nothing.
    """
    n_others, tail = len(transformers), None
    for place, transformer in reversed(list(enumerate(transformers))):
        if transformer is None or isinstance(transformer, str):
            continue
        own = _map_of(transformer)
        if own is None or not _is_sound(own):
            break
        n_others, tail = place, own if tail is None else own.then(tail)
    return n_others, tail


def _map_of(transformer: Any) -> AffineMap | None:
    """Return what a transformer does, if it is a scaler of scikit-learn's."""
    read = _READERS.get(type(transformer))
    return (
        None if read is None or getattr(transformer, "clip", False) else read(transformer)
    )


def _is_sound(own: AffineMap) -> bool:
    values = np.stack([own.center, own.scale])
    is_finite = np.isfinite(values).all() and own.scale.all()
    return bool(is_finite and (own.fill is None or np.isfinite(own.fill).all()))


def _centered(center: Any, divisor: Any, n_columns: int) -> AffineMap:
    center = np.zeros(n_columns) if center is None else np.asarray(center, np.float64)
    divisor = np.ones(n_columns) if divisor is None else np.asarray(divisor, np.float64)
    return AffineMap(center, 1 / divisor)


def _standard(scaler: Any) -> AffineMap:
    center = scaler.mean_ if scaler.with_mean else None
    return _centered(center, scaler.scale_, scaler.n_features_in_)


def _min_max(scaler: Any) -> AffineMap:
    return AffineMap(-scaler.min_ / scaler.scale_, np.asarray(scaler.scale_, np.float64))


def _robust(scaler: Any) -> AffineMap:
    center = scaler.center_ if scaler.with_centering else None
    divisor = scaler.scale_ if scaler.with_scaling else None
    return _centered(center, divisor, scaler.n_features_in_)


def _imputer(imputer: Any) -> AffineMap | None:
    missing, fill = imputer.missing_values, np.asarray(imputer.statistics_)
    if fill.dtype.hasobject:
        # Of a constant, which may be a text.
        is_number = all(isinstance(value, Real) for value in fill)
        fill = fill.astype(np.float64) if is_number else fill
    is_plain = (
        isinstance(missing, float) and np.isnan(missing) and not imputer.add_indicator
    )
    # Columns without any value have no statistic, and are left out.
    if not is_plain or fill.dtype.kind not in "fiu" or np.isnan(fill).any():
        return None
    return AffineMap(np.zeros(len(fill)), np.ones(len(fill)), fill.astype(np.float64))


_READERS: dict[type, Callable[[Any], AffineMap | None]] = {
    StandardScaler: _standard,
    MinMaxScaler: _min_max,
    MaxAbsScaler: lambda scaler: _centered(None, scaler.scale_, scaler.n_features_in_),
    RobustScaler: _robust,
    SimpleImputer: _imputer,
}
