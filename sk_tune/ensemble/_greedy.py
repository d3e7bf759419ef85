# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Greedy forward selection with replacement, on bags of rows.

Notation, as in Caruana et al. [1]_: a library of M candidates, N rows to choose by.

References
----------
.. [1] R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes. Ensemble selection from
   libraries of models. ICML 2004.  With replacement: section 2.1; sorted start: 2.2.
   Their bags (2.3) are of candidates; of the few that a search trains most bags would lack
   the best, so these are of rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sk_tune.ensemble._objective import MetricObjective, Objective, SignedObjective

__all__ = ["GreedyOptions", "greedy_weights"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

# Of two candidates whose losses differ by less than this share, one that is in already is
# taken.
_TIE = 1e-12
# Additions in a row that bring nothing, after which none is expected to.
_PATIENCE = 10
# Of which a bag is drawn at most: more would make weights little steadier, and cost more.
_MOST_ROWS = 5000
# A metric that is no mean over rows is called for each candidate in each round, about a
# millisecond each.
_MOST_BAGS_OF_METRIC = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class GreedyOptions:
    """How candidates are chosen.

    Parameters
    ----------
    max_rounds : int
        Additions, in each bag.
    n_start : int
        The ensemble starts from the best candidates: as many as are best together, but
        not more.
    min_gain : float
        What additions must bring to be kept, in standard errors of the paired difference of
        the losses.
    n_bags : int
        Selections, each on rows drawn with replacement, whose weights are averaged; 1 is
        one selection on all rows.
    """

    max_rounds: int
    n_start: int
    min_gain: float
    n_bags: int


def greedy_weights(
    statistics: Array,
    y: Array,
    objective: Objective | SignedObjective,
    options: GreedyOptions,
    rng: np.random.Generator,
) -> Floats:
    """Return the weights of candidates, (M,), in an average with little loss.

    They are at least 0 with sum 1. `statistics`, (M, N, ...), are those of out-of-fold
    predictions, as the objective takes them. A round of a bag takes O(M N), as the sum of
    what was chosen is kept. Bags have 5,000 samples at most, and there are 5 at most for a
    metric that is no mean over samples.
    """
    n_bags = options.n_bags
    own = objective.objective if isinstance(objective, SignedObjective) else objective
    if isinstance(own, MetricObjective):
        n_bags = min(n_bags, _MOST_BAGS_OF_METRIC)
    if n_bags == 1 or len(statistics) == 1:
        counts = _select(statistics, y, objective, options)
        return np.asarray(counts / counts.sum())
    weights = np.zeros(len(statistics))
    for _ in range(n_bags):
        rows = rng.integers(len(y), size=min(len(y), _MOST_ROWS))
        counts = _select(statistics[:, rows], y[rows], objective, options)
        weights += counts / counts.sum()
    return weights / n_bags


def _select(
    statistics: Array,
    y: Array,
    objective: Objective | SignedObjective,
    options: GreedyOptions,
) -> Counts:
    """Return how often each candidate is in the ensemble."""
    counts, total = _sorted_start(statistics, y, objective, options.n_start)
    kept, current = counts.copy(), total / counts.sum()
    n_idle = 0
    for _ in range(options.max_rounds):
        losses = objective.losses((total + statistics) / (counts.sum() + 1), y)
        chosen = _least(losses, counts)
        counts[chosen] += 1
        total = total + statistics[chosen]
        average = total / counts.sum()
        n_idle += 1
        if _is_gain(current, average, y, objective, options.min_gain):
            kept, current, n_idle = counts.copy(), average, 0
        if n_idle == _PATIENCE:
            break
    return kept


def _is_gain(
    before: Array,
    after: Array,
    y: Array,
    objective: Objective | SignedObjective,
    min_gain: float,
) -> bool:
    if min_gain == 0 or isinstance(objective, SignedObjective):
        # Without the error, which costs a metric that is no mean over rows many calls.
        losses = objective.losses(np.stack([before, after]), y)
        return bool(losses[1] < losses[0])
    gain, error = objective.difference(before, after, y)
    return gain > 0 and gain >= min_gain * error


def _sorted_start(
    statistics: Array, y: Array, objective: Objective | SignedObjective, n_start: int
) -> tuple[Counts, Array]:
    """Return the best candidates that are best together, and the sum of their values."""
    best = np.argsort(objective.losses(statistics, y), kind="stable")
    sums = np.cumsum(statistics[best[: max(1, n_start)]], axis=0)
    sizes = np.arange(1, len(sums) + 1).reshape(-1, *[1] * (sums.ndim - 1))
    n = int(np.argmin(objective.losses(sums / sizes, y))) + 1
    counts = np.zeros(len(statistics), dtype=np.int64)
    counts[best[:n]] = 1
    return counts, sums[n - 1]


def _least(losses: Floats, counts: Counts) -> int:
    """Return the candidate whose addition leaves least loss."""
    least = losses.min()
    tied = np.flatnonzero(losses <= least + _TIE * abs(least))
    inside = tied[counts[tied] > 0]
    return int((inside if len(inside) else tied)[0])
