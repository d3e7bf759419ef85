# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Whether the best candidates crowd at an end of the space."""

import math
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from sk_tune.diagnosis._candidates import fold_scores, last_rows
from sk_tune.diagnosis._check import CHECKS
from sk_tune.diagnosis._records import Change, Finding
from sk_tune.diagnosis._sources import network_part
from sk_tune.space import Space, as_space

__all__ = ["NATURAL_BOUNDS", "check_edge", "described_space", "is_whole"]

Floats = npt.NDArray[np.float64]

# Fewer candidates do not show where good ones lie.
FEWEST_CANDIDATES = 4
# The best candidates looked at, as a share of all.
BEST_SHARE = 0.25
# A code this close to 0 or 1 is at the edge.
AT_EDGE = 0.1
# What a bound on a logarithmic scale is multiplied with, and a linear range widened by.
_FACTOR = 4.0
_WIDENING = 0.5
# Where values end by what they mean, or where more is known not to help; ends that are
# whole are those of whole numbers.
NATURAL_BOUNDS: dict[str, tuple[float, float]] = {
    "dropout": (0.0, 0.8),
    "momentum": (0.0, 0.99),
    "label_smoothing": (0.0, 0.5),
    "weight_decay": (0.0, math.inf),
    "l1": (0.0, math.inf),
    "n_layers": (0, math.inf),
    "width": (1, math.inf),
    "members": (1, math.inf),
    "n_channels": (1, math.inf),
    "kernel_size": (1, math.inf),
    "hidden_size": (1, math.inf),
    "embedding_size": (1, math.inf),
    "batch_size": (1, math.inf),
    "max_epochs": (1, math.inf),
    "patience": (1, math.inf),
    "learning_rate": (0.0, math.inf),
    "lr": (0.0, math.inf),
    "gradient_clip": (0.0, math.inf),
    "tol": (0.0, math.inf),
}


def is_whole(parameter: str, *values: Any) -> bool:
    """Return whether a parameter takes whole numbers only.

    The name decides if it is known (0 may well be a dropout); otherwise all of its past and
    future `values` must be whole.
    """
    bounds = NATURAL_BOUNDS.get(parameter.rpartition("__")[2])
    if bounds is not None:
        return isinstance(bounds[0], int)
    return all(isinstance(value, Integral) for value in values)


def described_space(search: Any) -> tuple[str, Any, bool]:
    """Return the space of a search as the user wrote it.

    The result is the name of the search's parameter that holds it, the space, and whether
    tuples in it are the ends of ranges. Raises TypeError if the search has none.
    """
    for name in ("search_spaces", "param_distributions", "param_grid"):
        if hasattr(search, name):
            return name, getattr(search, name), name == "search_spaces"
    raise TypeError(f"{type(search).__name__} has no space.")


def check_edge(search: Any) -> Finding:
    """Look for parameters whose best values lie at an end of their range.

    A tip with wider ranges.
    """
    check = CHECKS["optimum at the edge"]
    _, described, are_ranges = described_space(search)
    if not described:
        return check.not_applicable("The search varies no parameter.")
    space = as_space(described, tuples_are_ranges=are_ranges)
    if not all(column.dimension.has_codes for column in space.columns):
        return check.not_applicable("A distribution does not tell where its edges are.")
    resource = getattr(search, "resource_", getattr(search, "resource", None))
    rows = last_rows(search)
    scores = fold_scores(search)[rows].mean(axis=1)
    rows = [row for row, s in zip(rows, scores, strict=True) if math.isfinite(s)]
    scores = scores[np.isfinite(scores)]
    if len(rows) < FEWEST_CANDIDATES:
        return check.not_applicable(
            f"It takes {FEWEST_CANDIDATES} candidates to see where the good ones lie."
        )
    params = [search.cv_results_["params"][row] for row in rows]
    params = [{k: v for k, v in p.items() if k != resource} for p in params]
    codes, active = _codes(space, params)
    order = np.argsort(-scores, kind="stable")
    _, prefix = network_part(search.estimator)
    changes = []
    for j, column in enumerate(space.columns):
        if column.name is None or column.dimension.n_categories:
            continue
        side = _side(column.dimension, codes[order, j], active[order, j])
        values = [p[column.name] for p in params if column.name in p]
        if side and len(set(values)) > 1:
            changes += _extension(column.name.removeprefix(prefix), values, column, side)
    evidence = {"n_candidates": len(rows), "n_at_edge": len(changes)}
    if not changes:
        return check.passed("The best candidates lie inside the space.", evidence)
    names = ", ".join(
        f"{c.parameter} ({'low' if c.action.endswith('below') else 'high'} end)"
        for c in changes
    )
    return check.tip(
        "medium",
        f"The best candidates lie at an edge of the space: {names}.",
        evidence,
        "Widen these ranges and search again.",
        tuple(changes),
    )


def _codes(space: Space, params: list[Any]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    codes = space.encode(params)
    return codes, space.active(codes)


def _side(dimension: Any, codes: Floats, active: npt.NDArray[np.bool_]) -> int:
    """Return -1 or 1 if the best candidates, which come first, crowd at an end; else 0."""
    codes = codes[active]
    if not len(codes) or not active[0]:
        return 0
    n_points = dimension.n_points
    reach = AT_EDGE if n_points is None else max(AT_EDGE, 0.75 / n_points)
    n_best = max(2, math.ceil(BEST_SHARE * len(codes)))
    best = float(codes[0])
    typical = float(np.median(codes[:n_best]))
    # The others must have been elsewhere, or there was nothing to choose between.
    others = float(np.median(codes))
    if best <= reach and typical < 0.3 and others > typical:
        return -1
    if best >= 1 - reach and typical > 0.7 and others < typical:
        return 1
    return 0


def _extension(name: str, values: list[Any], column: Any, side: int) -> list[Change]:
    ends = [float(v) for v in values]
    low, high = min(ends), max(ends)
    bounds = NATURAL_BOUNDS.get(name.rpartition("__")[2], (-math.inf, math.inf))
    whole = is_whole(name, *values)
    # Nobody knows what is meant by numbers below 0, or none, where there were none.
    named = 1 if whole and low >= 1 else 0
    least = max(bounds[0], named) if low >= 0 else bounds[0]
    is_wide = low > 0 and high / low >= _FACTOR**2
    if side > 0:
        bound = high * _FACTOR if is_wide else high + _WIDENING * (high - low)
        bound = min(bound, bounds[1])
    else:
        bound = low / _FACTOR if is_wide else low - _WIDENING * (high - low)
        if low > 0 and bound <= 0:
            bound = low / _FACTOR
        bound = max(bound, least)
    value: Any = bound
    if whole:
        value = math.floor(bound) if least == -math.inf else max(math.floor(bound), least)
    if (side > 0 and value <= high) or (side < 0 and value >= low):
        return []
    return [
        Change(
            parameter=name,
            action="extend above" if side > 0 else "extend below",
            value=value,
            reason=f"the best candidates lie at the {'high' if side > 0 else 'low'} end",
        )
    ]
