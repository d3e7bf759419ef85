# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A space in scikit-optimize's terms, for its plots and callbacks."""

from collections.abc import Hashable, Mapping, Sequence, Sized
from typing import Any

import numpy as np
import skopt.space

from sk_tune.space._dimensions import Dimension, Distribution, IntegerRange, Interval
from sk_tune.space._space import Candidate, Space

__all__ = ["points_of", "skopt_space"]

# Distributions that scikit-optimize has as a prior.
_LOG_UNIFORM = {"loguniform", "reciprocal"}


def skopt_space(space: Space, candidates: Sequence[Candidate]) -> list[Any] | None:
    """Return the dimensions of a space as scikit-optimize knows them.

    Parameters
    ----------
    space : Space
        What varies.
    candidates : sequence of dict
        Drawn from it; bounds of a distribution that has no end.

    Returns
    -------
    list of skopt.space.Dimension or None
        Sorted by name; None if some parameters depend on others, which scikit-optimize
        cannot say.

    Examples
    --------
    >>> from sk_tune.space import as_space
    >>> skopt_space(as_space({"rate": (1e-4, 1.0, "log-uniform"), "kind": ["a", "b"]}), [])
    [Categorical(categories=('a', 'b'), prior=None), Real(low=0.0001, high=1.0, \
prior='log-uniform', transform='identity')]
    """
    named = {c.name: c.dimension for c in space.columns if c.name is not None}
    if len(named) < len(space.columns) or any(c.parent is not None for c in space.columns):
        return None
    return [
        _converted(name, dimension, [_plain(c[name]) for c in candidates])
        for name, dimension in sorted(named.items())
    ]


def points_of(
    dimensions: Sequence[Any], candidates: Sequence[Mapping[str, Any]]
) -> list[Any]:
    """Return candidates as lists of values in the order of the dimensions.

    Parameters
    ----------
    dimensions : sequence of skopt.space.Dimension
        Of :func:`skopt_space`.
    candidates : sequence of dict
        Drawn from the space.

    Returns
    -------
    list of list
        Tuples and other values that scikit-optimize cannot look up as their ``repr``.
    """
    return [
        [
            _category(c[d.name])
            if isinstance(d, skopt.space.Categorical)
            else _plain(c[d.name])
            for d in dimensions
        ]
        for c in candidates
    ]


def _converted(name: str, dimension: Dimension, drawn: Sequence[Any]) -> Any:
    if isinstance(dimension, IntegerRange | Interval):
        kind = (
            skopt.space.Integer if isinstance(dimension, IntegerRange) else skopt.space.Real
        )
        prior = "log-uniform" if dimension.is_log else "uniform"
        return kind(dimension.low, dimension.high, prior=prior, name=name)
    if isinstance(dimension, Distribution):
        kind_of_prior = getattr(getattr(dimension.frozen, "dist", None), "name", "")
        prior = "log-uniform" if kind_of_prior in _LOG_UNIFORM else "uniform"
        low, high = dimension.support
        low = low if np.isfinite(low) else min(drawn, default=0.0)
        high = high if np.isfinite(high) else max(drawn, default=1.0)
        is_integer = hasattr(dimension.frozen, "pmf")
        kind = skopt.space.Integer if is_integer else skopt.space.Real
        if is_integer:
            low, high = int(low), int(high)
        if low < high:
            return kind(low, high, prior=prior, name=name)
        return skopt.space.Categorical([low], name=name)
    values = [dimension.at(i) for i in range(dimension.n_points or 0)]
    return skopt.space.Categorical(list(dict.fromkeys(map(_category, values))), name=name)


def _category(value: Any) -> Any:
    """Return what scikit-optimize can look up: it hashes values and puts them in arrays."""
    value = _plain(value)
    can_be_looked_up = isinstance(value, Hashable) and not isinstance(value, Sized)
    return value if isinstance(value, str) or can_be_looked_up else repr(value)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
