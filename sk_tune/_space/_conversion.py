# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Conversion of users' descriptions to spaces, and of spaces to scikit-optimize's."""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence, Sized
from numbers import Integral
from typing import Any

import numpy as np
import skopt.space

from sk_tune._space._dimensions import Dimension, Distribution, Range, Values, plain
from sk_tune._space._space import Candidate, Choice, Group, Node, Space
from sk_tune._text import is_number
from sk_tune.exceptions import SpaceError

_PRIORS = ("uniform", "log-uniform")


AnySpace = Space | Mapping[str, Any] | Sequence[Any]


def as_space(
    param_distributions: object,
    *,
    tuples_are_ranges: bool = True,
    may_be_empty: bool = False,
) -> Space:
    """Return the space of a user's description, without listing or drawing values.

    Without `tuples_are_ranges` a tuple is a list of values, as in scikit-learn. Raises
    SpaceError, which names the parameter, and TypeError without dicts, as
    scikit-learn and scikit-optimize do.

    >>> from sk_tune._space import as_space
    >>> as_space({"C": (1e-3, 10.0, "log-uniform"), "kernel": ["rbf", "linear"]})
    Space(C, kernel)
    """
    if isinstance(param_distributions, Space):
        return param_distributions
    got = f"Got {param_distributions!r} instead."
    described = param_distributions
    if isinstance(described, Mapping):
        described = [described]
    if isinstance(described, str) or not isinstance(described, Sequence):
        raise TypeError(f"The space must be a dict or a list of dicts. {got}")
    pairs = [_dict_and_n_iter(element) for element in described]
    if not any(d for d, _ in pairs) and not (may_be_empty and len(pairs) == 1):
        raise SpaceError(f"The space must have at least one parameter. {got}")
    groups = tuple(_group(d, frozenset(), tuples_are_ranges) for d, _ in pairs)
    root = groups[0]
    if len(groups) > 1:
        root = Group((Node(None, Values(range(len(groups)), keeps_order=False), groups),))
    return Space(root, tuple(n_iter for _, n_iter in pairs))


def _dict_and_n_iter(element: Any) -> tuple[Any, Any]:
    pair = element if isinstance(element, tuple) else (element, None)
    if len(pair) == 2 and isinstance(pair[0], Mapping):
        n_iter = pair[1]
        if n_iter is None or (isinstance(n_iter, Integral) and int(n_iter) >= 0):
            return pair
    kind = SpaceError if isinstance(element, tuple) else TypeError
    raise kind(
        "The elements of a list of spaces must be dicts or (dict, int) pairs. "
        f"Got {element!r} instead."
    )


def _error(noun: str, name: str, must: str, got: Any) -> SpaceError:
    return SpaceError(f"The {noun} of {name!r} must {must}. Got {got!r} instead.")


def _group(space: Mapping[Any, Any], outer: frozenset[str], are_ranges: bool) -> Group:  # noqa: FBT001
    for name in space:
        if not isinstance(name, str):
            raise SpaceError(
                f"The name of a parameter must be a str. Got {name!r} instead."
            )
        if name in outer:
            raise SpaceError(
                f"The space of a choice must not set {name!r}, because it already applies "
                "to all of the choice's options."
            )
    inside = outer | frozenset(space)
    nodes = tuple(_node(name, space[name], inside, are_ranges) for name in sorted(space))
    # Two choices that are active together may not set the same parameter.
    set_by: dict[str | None, str | None] = {}
    for node in nodes:
        for name in {column.name for below in node.groups for column in below.columns()}:
            if name in set_by:
                raise SpaceError(
                    f"Only one choice may set {name!r}. "
                    f"Both {set_by[name]!r} and {node.name!r} do."
                )
            set_by[name] = node.name
    return Group(nodes)


def _node(name: str, described: Any, outer: frozenset[str], are_ranges: bool) -> Node:  # noqa: FBT001
    if not isinstance(described, Choice):
        return Node(name, _dimension(name, described, are_ranges))
    pairs = described.pairs()
    if not pairs:
        raise SpaceError(f"The choice of {name!r} must have at least one option. Got none.")
    for pair in pairs:
        is_pair = isinstance(pair, tuple | list) and len(pair) == 2
        if not is_pair or not isinstance(pair[1], Mapping):
            must = "be a dict of dicts, or (value, dict) pairs"
            raise _error("options", name, must, pair)
    values = Values([value for value, _ in pairs], keeps_order=False)
    return Node(name, values, tuple(_group(space, outer, are_ranges) for _, space in pairs))


def _dimension(name: str, described: Any, are_ranges: bool) -> Dimension:  # noqa: FBT001
    if isinstance(described, skopt.space.Categorical):
        weights = described.prior
        shares = None if weights is None else tuple(map(float, weights))
        return Values(described.categories, shares, keeps_order=False)
    if isinstance(described, skopt.space.Real | skopt.space.Integer):
        is_integer = isinstance(described, skopt.space.Integer)
        return _range(name, described.low, described.high, described.prior, is_integer)
    if isinstance(described, skopt.space.Dimension):
        raise _unknown(name, described)
    if hasattr(described, "rvs"):
        return _from_distribution(name, described)
    if are_ranges and isinstance(described, tuple) and _is_range(described):
        low, high, prior = (*described, "uniform")[:3]
        is_integer = isinstance(low, Integral) and isinstance(high, Integral)
        return _range(name, low, high, prior, is_integer)
    return _listed(name, described)


def _is_range(described: tuple[Any, ...]) -> bool:
    """Return whether scikit-optimize would take a tuple as a range."""
    bounds, options = described[:2], described[2:]
    are_numbers = len(bounds) == 2 and all(map(is_number, bounds))
    has_prior = 0 < len(options) < 3 and isinstance(options[0], str)
    return are_numbers and (has_prior or not options)


def _range(name: str, low: Any, high: Any, prior: str, is_integer: bool) -> Dimension:  # noqa: FBT001
    is_log = prior == "log-uniform"
    if prior not in _PRIORS:
        raise _error("prior", name, f"be a str among {set(_PRIORS)}", prior)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise _error("bounds", name, "be finite numbers", (low, high))
    if low > high:
        raise _error("bounds", name, "satisfy low <= high", (low, high))
    if is_log and low <= 0:
        raise _error("bounds", name, "be > 0 for the prior 'log-uniform'", (low, high))
    kind = int if is_integer else float
    low, high = kind(low), kind(high)
    if low == high:
        return Values([low])
    return Range(low, high, is_log=is_log, is_integer=is_integer)


def _from_distribution(name: str, frozen: Any) -> Dimension:
    if isinstance(frozen, type) or not callable(frozen.rvs):
        raise _unknown(name, frozen)
    if hasattr(frozen, "support"):
        try:
            low, high = frozen.support()
        except TypeError as error:
            # norm itself looks frozen; loguniform itself lacks arguments.
            must = "be frozen, as in loguniform(1e-4, 1)"
            raise _error("distribution", name, must, frozen) from error
        if np.isnan(low) or np.isnan(high):
            arguments = (*getattr(frozen, "args", ()), *getattr(frozen, "kwds", {}).items())
            must = "have parameters in their domain"
            raise _error("distribution", name, must, arguments)
    return Distribution(frozen)


def _listed(name: str, described: Any) -> Dimension:
    # A set has no reproducible order.
    is_single = isinstance(described, str | bytes | Mapping | set | frozenset)
    if (
        is_single
        or not isinstance(described, Iterable)
        or getattr(described, "shape", None) == ()
    ):
        raise _unknown(name, described)
    is_indexed = isinstance(described, Sequence | np.ndarray)
    values: Any = described if is_indexed else list(described)
    if len(values) == 0:
        raise _error("values", name, "be a non-empty sequence", values)
    return Values(values)


def _unknown(name: str, described: Any) -> SpaceError:
    return SpaceError(
        f"The values of {name!r} must be a list or array, a distribution with 'rvs', a "
        "dimension of scikit-optimize or a Choice. "
        f"Got {described!r} (of type {type(described).__name__}) instead; a single value "
        "goes into a list."
    )


def skopt_space(space: Space, candidates: Sequence[Candidate]) -> list[Any] | None:
    """Return a space as dimensions of scikit-optimize, sorted by name, if possible.

    The candidates bound distributions with infinite support.

    >>> from sk_tune._space import as_space, skopt_space
    >>> skopt_space(as_space({"rate": (1e-4, 1.0, "log-uniform")}), [])
    [Real(low=0.0001, high=1.0, prior='log-uniform', transform='identity')]
    """
    named = {c.name: c.dimension for c in space.columns if c.name is not None}
    if len(named) < len(space.columns) or any(c.parent is not None for c in space.columns):
        return None
    return [
        _converted(name, dimension, [plain(c[name]) for c in candidates])
        for name, dimension in sorted(named.items())
    ]


def points_of(
    dimensions: Sequence[Any], candidates: Sequence[Mapping[str, Any]]
) -> list[Any]:
    """Return candidates as lists of values in the order of scikit-optimize's dimensions."""
    kinds = [
        (d.name, _category if isinstance(d, skopt.space.Categorical) else plain)
        for d in dimensions
    ]
    return [[convert(c[name]) for name, convert in kinds] for c in candidates]


def _converted(name: str, dimension: Dimension, drawn: Sequence[Any]) -> Any:
    if isinstance(dimension, Range | Distribution):
        prior = "log-uniform" if dimension.is_log else "uniform"
        low, high = dimension.low, dimension.high
        low = low if np.isfinite(low) else min(drawn, default=0.0)
        high = high if np.isfinite(high) else max(drawn, default=1.0)
        is_integer = dimension.is_integer
        if is_integer:
            low, high = int(low), int(high)
        if low >= high:
            return skopt.space.Categorical([low], name=name)
        kind = skopt.space.Integer if is_integer else skopt.space.Real
        return kind(low, high, prior=prior, name=name)
    values = [dimension.at(i) for i in range(dimension.n_points or 0)]
    return skopt.space.Categorical(list(dict.fromkeys(map(_category, values))), name=name)


def _category(value: Any) -> Any:
    """Return a hashable value without a length, as scikit-optimize needs."""
    value = plain(value)
    can_be_looked_up = isinstance(value, Hashable) and not isinstance(value, Sized)
    return value if isinstance(value, str) or can_be_looked_up else repr(value)
