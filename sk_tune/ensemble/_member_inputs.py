# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How samples become the inputs of an ensemble's networks.

Each network has its preparation: columns, transformers, its checks.  Equal preparations
are run once.  Preparations that differ by scalers only, as those of a search's folds do,
are run once too: what is left between them is an affine map of each column, near to the
identity.

Notation: an affine map takes x to ``(x - center) * scale``; D columns.  The centre is kept,
not the shift ``-center * scale``: of columns far from 0 the difference loses digits.
"""

from collections.abc import Callable, Hashable, Sequence
from numbers import Real
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import issparse
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from sklearn.utils.validation import validate_data
from torch import Tensor

from sk_tune.backend import value_fingerprint
from sk_tune.estimators import NetworkEstimator, network_inputs

__all__ = ["AffineMap", "Base", "Inputs", "Way", "affine_tail", "common_bases", "ways_of"]

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


# Which scalers leave as they are, as scikit-learn's own do.
_FLOATS = (np.float64, np.float32, np.float16)
# Of a base and another scaler, in standard deviations or the like: more would cost digits
# of what lies between.
_MOST_SHIFT = 8.0


class Inputs:
    """The samples of one call, as the ensemble got them, and what has been made of them."""

    def __init__(self, X: Any) -> None:
        self.X = X
        self._made: dict[Hashable, Any] = {}

    def made(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return what `make` returns; it is called once for each key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def columns(self, features: Array | None) -> Any:
        """Return the columns of X at the positions `features`; all if None."""
        return self.X if features is None else self.X[:, features]

    def transformed(self, transformers: Pipeline, features: Array | None) -> Any:
        """Return some columns as the fitted transformers of a pipeline leave them.

        Pipelines that hold the same objects give the same result, which is made once.
        """
        columns = None if features is None else features.tobytes()
        key = ("transformed", columns, *(id(step) for _, step in transformers.steps))
        return self.made(key, lambda: transformers.transform(self.columns(features)))


class Way(NamedTuple):
    """How samples become inputs of one fitted network.

    It sees the columns `features` through the `transformers`, of which `n_others` come
    before the last scalers, whose effect is `tail`. `key` is equal for equal ways,
    `head_key` for ways that are equal up to the last scalers.
    """

    network: NetworkEstimator
    features: Array | None
    transformers: Pipeline | None
    n_others: int
    tail: AffineMap | None
    key: Hashable
    head_key: Hashable

    def __call__(self, inputs: Inputs) -> Tensor:
        """Return rows as the network takes them, or raise what it would raise."""
        return inputs.made(self.key, lambda: self._inputs(inputs))  # type: ignore[no-any-return]

    def _inputs(self, inputs: Inputs) -> Tensor:
        if self.transformers is None:
            return network_inputs(self.network, inputs.columns(self.features))
        own = inputs.transformed(self.transformers, self.features)
        return network_inputs(self.network, own)

    def headed(self, inputs: Inputs) -> Array | None:
        """Return what the last scalers see, (n, D).

        None if only the transformers themselves can make it.
        """
        found: Array | None = inputs.made(self.head_key, lambda: self._headed(inputs))
        return found

    def _headed(self, inputs: Inputs) -> Array | None:
        own, transformers = inputs.columns(self.features), self.transformers
        if transformers is None:
            return None
        if self.n_others:
            own = transformers[: self.n_others].transform(own)
        if issparse(own) or getattr(own, "dtype", None) is np.dtype(object):
            return None
        checked: Array = validate_data(
            transformers[self.n_others],
            own,
            reset=False,
            dtype=_FLOATS,
            ensure_all_finite=False,
        )
        # Scalers compute in the precision of what comes.
        is_short = checked.dtype.itemsize < np.dtype(self.network.dtype).itemsize
        return None if is_short else checked


class Base(NamedTuple):
    """The scaling of one of several ways, to which the others are relative."""

    way: Way
    tail: AffineMap

    def relative(self, ways: Sequence[Way]) -> tuple[Tensor, Tensor] | None:
        """Return what makes the inputs of k networks of the base's.

        Scale and shift, (k, D). They are float64; None if a way is not near enough to the
        base.
        """
        if any(w.tail is None or w.head_key != self.way.head_key for w in ways):
            return None
        own = [w.tail.relative_to(self.tail) for w in ways if w.tail is not None]
        scale, shift = (np.stack(values) for values in zip(*own, strict=True))
        if not (np.isfinite(scale).all() and np.abs(shift).max() <= _MOST_SHIFT):
            return None
        return torch.from_numpy(scale), torch.from_numpy(shift)

    def __call__(self, inputs: Inputs) -> Tensor | None:
        """Return the scaled samples, (n, D), to which ``relative`` applies.

        They have the dtype of the networks. None if some are not finite: then it depends on
        the scalers what becomes of them.
        """
        network = self.way.network
        key = ("base", self.way.head_key, network.dtype, str(network.net_.device))
        found: Tensor | None = inputs.made(key, lambda: self._scaled(inputs))
        return found

    def _scaled(self, inputs: Inputs) -> Tensor | None:
        X = self.way.headed(inputs)
        if X is None:
            return None
        network = self.way.network
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = X - self.tail.center
            scaled *= self.tail.scale
            own = scaled.astype(network.dtype, copy=False)
        # By numpy, which takes a tenth of torch's time.
        if not np.isfinite(own).all():
            return None
        return torch.from_numpy(own).to(network.net_.device)


def ways_of(networks: Sequence[Any], members: Sequence[Any]) -> list[Way]:
    """Return how samples become the inputs of networks, the last steps of these members."""
    return [_way(n, m) for n, m in zip(networks, members, strict=True)]


def common_bases(ways: Sequence[Way]) -> dict[Hashable, Base]:
    """Return, by ``head_key``, a base for all ways that differ by scalers only."""
    bases: dict[Hashable, Base] = {}
    for way in ways:
        if way.tail is not None:
            bases.setdefault(way.head_key, Base(way, way.tail))
    return bases


def _way(network: Any, member: Any) -> Way:
    estimator, features = member.estimator, member.features
    columns = None if features is None else features.tobytes()
    form = (network.dtype, network.input_shape_, str(network.net_.device))
    names = _names(network)
    key: Hashable = ("way", columns, form, names)
    if estimator is network or len(estimator.steps) == 1:
        return Way(network, features, None, 0, None, key, key)
    transformers = estimator[:-1]
    steps = [step for _, step in transformers.steps]
    n_others, tail = affine_tail(steps)
    head = value_fingerprint(steps[:n_others]) if tail is not None else None
    # Scalers that do the same are the same, whatever else they have learnt.
    last = value_fingerprint(steps if tail is None else tuple(tail))
    entry = _names(steps[n_others]) if tail is not None else None
    head_key = ("head", columns, head, entry, form)
    key = (key, head_key, last)
    return Way(network, features, transformers, n_others, tail, key, head_key)


def _names(estimator: Any) -> Hashable:
    """Return the columns that an estimator checks rows for."""
    names = getattr(estimator, "feature_names_in_", None)
    own = None if names is None else tuple(names)
    return getattr(estimator, "n_features_in_", None), own
