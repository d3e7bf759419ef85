# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What the larger networks of the same search reached."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sk_tune.diagnosis._records import Curves
from sk_tune.diagnosis._sources import curves_of

__all__ = ["larger_in_search", "size"]

_WIDTHS = ("width", "n_channels", "hidden_size", "module__width", "module__hidden_size")
_DEPTHS = ("n_layers", "module__n_layers")


def size(params: Mapping[str, Any]) -> float | None:
    """Return roughly the number of weights between hidden layers, or None if unknown.

    It is good for comparisons only.
    """
    layers = params.get("hidden_layer_sizes")
    if layers is not None:
        return float(np.square(np.atleast_1d(np.asarray(layers, dtype=float))).sum())
    widths = [params[n] for n in _WIDTHS if isinstance(params.get(n), int | np.integer)]
    if not widths:
        return None
    depths = [params[n] for n in _DEPTHS if isinstance(params.get(n), int | np.integer)]
    return float(widths[0] ** 2 * (depths[0] if depths else 1))


def larger_in_search(search: Any, candidate: int) -> Curves | None:
    """Return the curves of the best network of a search that is larger than a candidate.

    The best one has the least held-out loss; None if no larger one was trained as long.
    """
    own = curves_of(search, candidate)
    own_size = size(own.params)
    if own_size is None:
        return None
    best: tuple[float, Curves | None] = (math.inf, None)
    with_curves = set(np.asarray(search.learning_curves_["candidate"]).tolist())
    for row in sorted(with_curves):
        other_size = size(_params(search, own, row))
        if other_size is None or other_size <= own_size:
            continue
        other = curves_of(search, row)
        end = float(np.mean([_last(fold) for fold in other.valid_loss]))
        was_long = other.n_epochs >= own.n_epochs or other.params.get("early_stopping")
        if was_long and end < best[0]:
            best = (end, other)
    return best[1]


def _last(losses: Any) -> float:
    """Return the last loss of a fold, which early stopping may have ended."""
    known = losses[np.isfinite(losses)]
    return float(known[-1]) if len(known) else math.nan


def _params(search: Any, own: Curves, row: int) -> dict[str, Any]:
    """Return the parameters of a row, as far as they tell its size."""
    params = dict(own.params)
    for name, value in search.cv_results_["params"][row].items():
        inner = name.rpartition("__")[2]
        if inner in {*_WIDTHS, *_DEPTHS, "hidden_layer_sizes"}:
            params[inner] = value
    return params
