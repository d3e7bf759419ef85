# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How samples become the inputs of an ensemble's networks.

Each network has its preparation: columns, transformers, checks.  Equal preparations run
once.  So do preparations that differ in scalers only, as in the folds of a search: the
difference between them is an affine map of each column, close to the identity.

Notation: D columns.  An affine map takes x to ``(x - center) * scale``.  It stores the
centre, not the shift ``-center * scale``, because columns far from 0 would lose digits.
"""

from collections.abc import Callable, Hashable, Sequence
from numbers import Real
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from sklearn.utils.validation import validate_data
from torch import Tensor

from sk_tune._engine import value_fingerprint
from sk_tune._estimators import NetworkEstimator
from sk_tune._types import Array

# scikit-learn's scalers keep the precision of floats of these types.
_FLOATS = (np.float64, np.float32, np.float16)
# The largest distance of a scaler from the common scaling, in units of its scale. With a
# larger distance, values between them would lose digits.
_MOST_SHIFT = 8.0


class ScalerNumbers(NamedTuple):
    """A fitted scaler as numbers: ``(x - center) / divisor * scale + shift``, then clipped.

    Each part is one number or D numbers; the bounds of `clip` are numbers. A missing value
    becomes `fill`, (D,); without `fill`, it stays missing.
    """

    center: Any = 0.0
    divisor: Any = 1.0
    scale: Any = 1.0
    shift: Any = 0.0
    clip: tuple[float, float] | None = None
    fill: Array | None = None


def scaler_numbers(transformer: Any) -> ScalerNumbers | None:
    """Return the numbers of a fitted scaler or imputer of scikit-learn; else None."""
    kind = type(transformer)
    if kind is StandardScaler:
        return ScalerNumbers(
            center=transformer.mean_ if transformer.with_mean else 0.0,
            divisor=1.0 if transformer.scale_ is None else transformer.scale_,
        )
    if kind is MinMaxScaler:
        clip = transformer.feature_range if transformer.clip else None
        return ScalerNumbers(scale=transformer.scale_, shift=transformer.min_, clip=clip)
    if kind is MaxAbsScaler:
        clip = (-1.0, 1.0) if transformer.clip else None
        return ScalerNumbers(divisor=transformer.scale_, clip=clip)
    if kind is RobustScaler:
        return ScalerNumbers(
            center=transformer.center_ if transformer.with_centering else 0.0,
            divisor=transformer.scale_ if transformer.with_scaling else 1.0,
        )
    return _imputer_numbers(transformer) if kind is SimpleImputer else None


def _imputer_numbers(imputer: Any) -> ScalerNumbers | None:
    missing, fill = imputer.missing_values, np.asarray(imputer.statistics_)
    if fill.dtype.hasobject and all(isinstance(value, Real) for value in fill):
        # The constant of a strategy may be a string.
        fill = fill.astype(np.float64)
    is_nan = isinstance(missing, float) and np.isnan(missing)
    # Columns without any value have no statistic and are dropped.
    is_complete = fill.dtype.kind in "fiu" and not np.isnan(fill).any()
    if imputer.add_indicator or not (is_nan and is_complete):
        return None
    return ScalerNumbers(fill=fill.astype(np.float64))


class _AffineMap(NamedTuple):
    """The map ``(x - center) * scale`` of D columns, which may fill missing values.

    After the map, a missing value becomes `fill`, (D,), in units of the result; without
    `fill`, it stays missing.
    """

    center: Array
    scale: Array
    fill: Array | None = None

    def then(self, other: Self) -> Self:
        """Return the composition of this map and then another."""
        fill = other.fill
        if self.fill is not None:
            # The other map receives filled values.
            fill = (self.fill - other.center) * other.scale
        center = self.center + other.center / self.scale
        return type(self)(center, self.scale * other.scale, fill)


def _affine_tail(transformers: Sequence[Any]) -> tuple[int, _AffineMap | None]:
    """Return the number of transformers before the trailing scalers, and their map.

    The map is None if the last transformer is not a scaler, clips, or has infinite numbers;
    "passthrough" and None change no sample.
    """
    n_others, tail = len(transformers), None
    for place, transformer in reversed(list(enumerate(transformers))):
        if transformer is None or isinstance(transformer, str):
            continue
        numbers = scaler_numbers(transformer)
        if numbers is None or numbers.clip is not None:
            break
        center, divisor, scale, shift = (
            np.broadcast_to(np.asarray(n, dtype=np.float64), transformer.n_features_in_)
            for n in numbers[:4]
        )
        last = _AffineMap(center - shift * divisor / scale, scale / divisor, numbers.fill)
        values = [value for value in last if value is not None]
        if not (np.isfinite(values).all() and last.scale.all()):
            break
        n_others, tail = place, last if tail is None else last.then(tail)
    return n_others, tail


class Inputs:
    """The samples of one call, with a cache of everything derived from them."""

    def __init__(self, X: Any) -> None:
        self.X = X
        self._made: dict[Hashable, Any] = {}

    def made(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return the result of `make`, called once for each key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def columns(self, features: Array | None) -> Any:
        """Return the columns of X at the positions `features`; all if None."""
        return self.X if features is None else self.X[:, features]

    def transformed(self, transformers: Pipeline | None, features: Array | None) -> Any:
        """Return columns after fitted transformers, computed once for the same objects."""
        if transformers is None:
            return self.columns(features)
        columns = None if features is None else features.tobytes()
        key = ("transformed", columns, *(id(step) for _, step in transformers.steps))
        return self.made(key, lambda: transformers.transform(self.columns(features)))


class Preparation(NamedTuple):
    """The steps from samples to the inputs of one fitted network.

    It passes the columns `features` through the `transformers`: `n_others` of them, then
    trailing scalers, whose composition is `tail`. `key` is equal for equal preparations,
    `head_key` for preparations that agree up to the trailing scalers.
    """

    network: NetworkEstimator
    features: Array | None
    transformers: Pipeline | None
    n_others: int
    tail: _AffineMap | None
    key: Hashable
    head_key: Hashable

    def __call__(self, inputs: Inputs) -> Tensor:
        """Return the inputs of the network, or raise the error that it would raise."""

        def prepared() -> Tensor:
            transformed = inputs.transformed(self.transformers, self.features)
            return self.network._inputs(transformed)

        return inputs.made(self.key, prepared)  # type: ignore[no-any-return]

    def before_scalers(self, inputs: Inputs) -> Array | None:
        """Return the input of the trailing scalers, (n, D); None if they must run."""
        X, transformers = inputs.columns(self.features), self.transformers
        if transformers is None:
            return None
        if self.n_others:
            X = transformers[: self.n_others].transform(X)
        if issparse(X) or getattr(X, "dtype", None) is np.dtype(object):
            return None
        checked: Array = validate_data(
            transformers[self.n_others],
            X,
            reset=False,
            dtype=_FLOATS,
            ensure_all_finite=False,
        )
        # Scalers compute in the precision of their input.
        is_short = checked.dtype.itemsize < np.dtype(self.network.dtype).itemsize
        return None if is_short else checked


class CommonScaling(NamedTuple):
    """The scaling of one preparation, relative to which those of others are expressed."""

    preparation: Preparation
    tail: _AffineMap

    def relative(self, others: Sequence[Preparation]) -> tuple[Tensor, Tensor] | None:
        """Return scale and shift, (k, D), that map this one's inputs to k networks' inputs.

        They are float64; None if a preparation is too different.
        """
        head = self.preparation.head_key
        tails = [p.tail for p in others if p.tail is not None and p.head_key == head]
        if len(tails) < len(others):
            return None
        # A map is ``base(x) * scale + shift``.
        base = self.tail
        scale = np.stack([tail.scale / base.scale for tail in tails])
        shift = np.stack([(base.center - tail.center) * tail.scale for tail in tails])
        if not (np.isfinite(scale).all() and np.abs(shift).max() <= _MOST_SHIFT):
            return None
        return torch.from_numpy(scale), torch.from_numpy(shift)

    def __call__(self, inputs: Inputs) -> Tensor | None:
        """Return the scaled samples, (n, D), to which ``relative`` applies.

        They have the dtype of the networks. None if some are not finite, because scalers
        differ in their treatment of such values.
        """
        network = self.preparation.network
        device = str(network.net_.device)
        key = ("scaled", self.preparation.head_key, network.dtype, device)
        return inputs.made(key, lambda: self._scaled(inputs))  # type: ignore[no-any-return]

    def _scaled(self, inputs: Inputs) -> Tensor | None:
        X = self.preparation.before_scalers(inputs)
        if X is None:
            return None
        network = self.preparation.network
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = X - self.tail.center
            scaled *= self.tail.scale
            scaled = scaled.astype(network.dtype, copy=False)
        # numpy takes a tenth of torch's time.
        if not np.isfinite(scaled).all():
            return None
        return torch.from_numpy(scaled).to(network.net_.device)


def preparation_of(network: Any, estimator: Any, features: Array | None) -> Preparation:
    """Return the preparation of a network that is an estimator or its last step."""
    columns = None if features is None else features.tobytes()
    form = (network.dtype, network.input_shape_, str(network.net_.device))
    key: Hashable = ("inputs", columns, form, _checked_names(network))
    if estimator is network or len(estimator.steps) == 1:
        return Preparation(network, features, None, 0, None, key, key)
    transformers = estimator[:-1]
    steps = [step for _, step in transformers.steps]
    n_others, tail = _affine_tail(steps)
    head = value_fingerprint(steps[:n_others]) if tail is not None else None
    # Scalers with equal numbers are equal, whatever other attributes they have learnt.
    last = value_fingerprint(steps if tail is None else tuple(tail))
    entry = _checked_names(steps[n_others]) if tail is not None else None
    head_key = ("head", columns, head, entry, form)
    key = (key, head_key, last)
    return Preparation(network, features, transformers, n_others, tail, key, head_key)


def _checked_names(estimator: Any) -> Hashable:
    """Return the number and names of the columns that an estimator validates."""
    names = getattr(estimator, "feature_names_in_", None)
    n_features = getattr(estimator, "n_features_in_", None)
    return n_features, None if names is None else tuple(names)
