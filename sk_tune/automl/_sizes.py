# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How many epochs and candidates a time allows."""

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

from sk_tune.schedule import hyperband_brackets

__all__ = ["Cost", "hyperband_epochs", "hyperband_size", "measured_cost"]

# Rungs of the longest bracket, less 1: with 4 the first rung has 3**-4 of the epochs.
_MOST_REDUCTIONS = 4
_FACTOR = 3
_WARM_UP_ROWS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a fit takes.

    Parameters
    ----------
    once : float
        Seconds of any fit.
    per_unit : float
        Seconds of each epoch or iteration besides.
    """

    once: float
    per_unit: float

    def units(self, seconds: float, most: int) -> int:
        """Return how many units fit into a time.

        Parameters
        ----------
        seconds : float
            May be infinite.
        most : int
            What is wanted.

        Returns
        -------
        int
            From 0 to `most`.
        """
        if math.isinf(seconds):
            return most
        if math.isinf(self.once):
            return 0
        units = (seconds - self.once) / max(self.per_unit, 1e-9)
        return int(min(most, max(0.0, units)))


def measured_cost(
    estimator: Any,
    parameter: str,
    X: Any,
    y: Any,
    *,
    few: int = 1,
    more: int = 3,
    limit: float = math.inf,
) -> Cost:
    """Return what fits take, from two short ones.

    Parameters
    ----------
    estimator : estimator
        Not changed.
    parameter : str
        Of which a fit takes longer the larger it is.
    X, y : array-like
        Rows of a fit.
    few, more : int
        Its two values.
    limit : float, default=inf
        Seconds after which it is given up.

    Returns
    -------
    Cost
        Of fits on as many rows; infinite if it was given up.
    """
    # What is done only once, such as imports, is no part of what a fit takes.
    some = _some_rows(y)
    X_some = X.iloc[some] if hasattr(X, "iloc") else X[some]
    if all(_seconds(estimator, parameter, few, X_some, y[some]) > limit for _ in "12"):
        return Cost(once=math.inf, per_unit=math.inf)
    start = time.perf_counter()
    short = _seconds(estimator, parameter, few, X, y)
    if time.perf_counter() - start + more / few * short > limit:
        return Cost(once=short, per_unit=short / few)
    long = _seconds(estimator, parameter, more, X, y)
    per_unit = max(0.0, long - short) / (more - few)
    return Cost(once=max(0.0, short - few * per_unit), per_unit=per_unit)


def _some_rows(y: Any) -> Any:
    """Return a few rows, of each class one at least."""
    firsts = np.unique(y, return_index=True)[1]
    if len(firsts) > _WARM_UP_ROWS:
        firsts = firsts[:_WARM_UP_ROWS]
    return np.union1d(firsts, np.arange(min(_WARM_UP_ROWS, len(y))))


def _seconds(estimator: Any, parameter: str, value: int, X: Any, y: Any) -> float:
    own = clone(estimator).set_params(**{parameter: value})
    start = time.perf_counter()
    own.fit(X, y)
    return time.perf_counter() - start


def hyperband_epochs(min_epochs: int, max_epochs: int) -> int:
    """Return the epochs that all candidates of a Hyperband pass train in one fold.

    Parameters
    ----------
    min_epochs, max_epochs : int
        Of the first rung of the longest bracket, and of the last rungs.

    Returns
    -------
    int
        With rungs that go on training.
    """
    total = 0
    for bracket in hyperband_brackets(min_epochs, max_epochs, _FACTOR):
        before = 0
        for rung in bracket.rungs:
            total += rung.n_candidates * (rung.n_resources - before)
            before = rung.n_resources
    return total


def hyperband_size(epochs: float, max_epochs: int) -> tuple[int, int]:
    """Return the least and the most epochs of a Hyperband pass that can be afforded.

    Parameters
    ----------
    epochs : float
        What all candidates may train together in one fold.
    max_epochs : int
        What the last rungs are to grant.

    Returns
    -------
    min_epochs : int
        Few, if many candidates can be tried.
    max_epochs : int
        Less than asked for only if not even one candidate can be trained for so long.
    """
    for reductions in range(_MOST_REDUCTIONS, 0, -1):
        least = max_epochs // _FACTOR**reductions
        if least >= 1 and hyperband_epochs(least, max_epochs) <= epochs:
            return least, max_epochs
    most = max(1, min(max_epochs, int(min(epochs, max_epochs))))
    return most, most
