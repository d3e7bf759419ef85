# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Which points of a space are worth evaluating next, several at a time.

One pool of codes is judged once; points are then taken greedily.  A point that is taken, or
is being evaluated, is believed to score its mean [1]_: means stay, deviations shrink by
conditioning.  Of a portfolio of acquisition functions the lucky ones are asked more often
[2]_.

References
----------
.. [1] D. Ginsbourger, R. Le Riche, L. Carraro. Kriging is well-suited to parallelize
   optimization. In: Computational Intelligence in Expensive Optimization Problems, 2010.
   The "Kriging believer".
.. [2] M. Hoffman, E. Brochu, N. de Freitas. Portfolio allocation for Bayesian optimization.
   UAI 2011.  Algorithm 2, GP-Hedge.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from skopt.acquisition import gaussian_ei, gaussian_lcb, gaussian_pi

from sk_tune.sampler._surrogate import Belief, Surrogate
from sk_tune.space import Space

Array = NDArray[np.float64]
# (means, deviations, best score so far, improvement that counts, deviations of a bound) ->
# value; greater is better.
_Acquisition = Callable[[Array, Array, float, float, float], Array]

# Points are numbers in [0, 1]; the widest step leaves a basin, the narrowest ends in it.
_STEPS = (0.2, 0.07, 0.02, 0.006)
_N_RANDOM = 1500
_N_STARTS = 8
_N_PER_START = 24
# A step changes this many parameters on average, so that good ones stay together.
_N_CHANGED = 2.0
_VARIANCE_FLOOR = 1e-12


class _Posterior:
    """Stands for a model in scikit-optimize's acquisition functions."""

    def __init__(self, mean: Array, std: Array) -> None:
        self._mean, self._std = mean, std

    def predict(self, X: Any, *, return_std: bool) -> tuple[Array, Array]:
        return self._mean, self._std


# The names are those of scikit-optimize.  In a bound there is no improvement that could
# have a margin.
ACQUISITIONS: dict[str, _Acquisition] = {
    "EI": lambda mean, std, y_opt, xi, kappa: np.asarray(
        gaussian_ei(None, _Posterior(mean, std), y_opt, xi)
    ),
    "LCB": lambda mean, std, y_opt, xi, kappa: np.asarray(
        -gaussian_lcb(None, _Posterior(mean, std), kappa=kappa)
    ),
    "PI": lambda mean, std, y_opt, xi, kappa: np.asarray(
        gaussian_pi(None, _Posterior(mean, std), y_opt, xi)
    ),
}


def candidate_pool(
    space: Space, best: Array, judge: Callable[[Array], Array], rng: RandomState
) -> Array:
    """Return codes, (P, D), among which the best are worth evaluating.

    They are random codes, and codes around the best by `judge` (codes to values, greater is
    better), ever closer; `best` has the codes of the best candidates so far, (n, D).
    """
    pool = [
        space.random_codes(_N_RANDOM, rng),
        neighbours(space, best, _N_PER_START, _STEPS[1], rng),
    ]
    values = [judge(codes) for codes in pool]
    for step in _STEPS:
        codes = np.concatenate(pool)
        top = np.argsort(-np.concatenate(values), kind="stable")[:_N_STARTS]
        pool.append(neighbours(space, codes[top], _N_PER_START, step, rng))
        values.append(judge(pool[-1]))
    return np.concatenate(pool)


def greedy_batch(
    belief: Belief,
    value: Callable[[Array, Array, float], Array],
    y_opt: float,
    n: int,
    *,
    is_taken: Callable[[int], bool],
    pending: range,
) -> list[int]:
    """Return up to `n` positions in a pool to evaluate together.

    `value` maps ``(mean, std, y_opt)`` to a value, greater is better; `y_opt` is the best
    score so far, less is better. Positions for which `is_taken` holds are not returned (it
    is asked for the best ones only); those in `pending` are being evaluated.
    """
    factors = np.empty((0, len(belief.mean)))
    variance = belief.std**2
    for row in pending:
        factors, variance = _condition(belief, factors, variance, row)
        y_opt = min(y_opt, float(belief.mean[row]))
    free = np.ones(len(belief.mean), dtype=bool)
    rows: list[int] = []
    while len(rows) < n:
        best = _first_free(value(belief.mean, np.sqrt(variance), y_opt), free, is_taken)
        if best is None:
            break
        rows.append(best)
        factors, variance = _condition(belief, factors, variance, best)
        y_opt = min(y_opt, float(belief.mean[best]))
    return rows


def _condition(
    belief: Belief, factors: Array, variance: Array, row: int
) -> tuple[Array, Array]:
    """Return factors and variances given that a point's score is known.

    `factors` are the rows of a Cholesky factor of what is known so far.
    """
    covariance = belief.covariance(row) - factors[:, row] @ factors
    pivot = max(float(variance[row]), 0.0) + belief.noise
    factor = covariance / np.sqrt(max(pivot, _VARIANCE_FLOOR))
    variance = np.maximum(variance - factor**2, 0.0)
    return np.concatenate([factors, factor[None]]), variance


def _first_free(
    values: Array, free: NDArray[np.bool_], is_taken: Callable[[int], bool]
) -> int | None:
    """Return the best point that is free; mark it and those before it as not free."""
    for row in np.argsort(-values, kind="stable"):
        if free[row]:
            free[row] = False
            if not is_taken(int(row)):
                return int(row)
    return None


def neighbours(
    space: Space, centres: Array, n_each: int, step: float, rng: RandomState
) -> Array:
    """Return codes that differ from the `centres`, (n, D), in a few parameters.

    There are `n_each` for each centre; `step` is the standard deviation of a change, as a
    share of a parameter's range. Parameters that become active by a change are random.
    """
    codes = np.repeat(centres, n_each, axis=0)
    fresh = space.random_codes(len(codes), rng)
    codes = np.where(space.active(codes), codes, fresh)
    has_order = np.array([column.dimension.n_categories == 0 for column in space.columns])
    moved = np.where(has_order, codes + step * rng.normal(size=codes.shape), fresh)
    # One change at least.
    changed = rng.uniform(size=codes.shape) < _N_CHANGED / codes.shape[1]
    changed[np.arange(len(codes)), rng.randint(codes.shape[1], size=len(codes))] = True
    return space.snap(
        np.where(changed, np.where(has_order, np.clip(moved, 0, 1), moved), codes)
    )


_PORTFOLIO = ("EI", "LCB", "PI")
# scikit-optimize's; the rate at which gains become odds.
_RATE = 1.0


class Hedge:
    """Chooses an acquisition function for each batch."""

    def __init__(self, rng: RandomState) -> None:
        self._rng = rng
        self.gains = np.zeros(len(_PORTFOLIO))
        self._nominees: Array | None = None

    def choose(self, model: Surrogate) -> str:
        """Draw the name of the next function, with odds that grow with its gain.

        The gain of a function is what the newly fitted `model` expects at the points that
        the function nominated before.
        """
        if self._nominees is not None:
            # Predicted values are costs: less is better.
            self.gains -= _RATE * model.believe(self._nominees).mean
            self._nominees = None
        odds = np.exp(self.gains - self.gains.max())
        return _PORTFOLIO[int(np.argmax(self._rng.multinomial(1, odds / odds.sum())))]

    def nominate(
        self, features: Array, belief: Belief, value: Callable[[str, Belief], Array]
    ) -> None:
        """Note which point of a pool each function would evaluate first.

        `features` are those of the pool, (P, F); `value` maps ``(name, belief)`` to values,
        greater is better.
        """
        best = [int(np.argmax(value(name, belief))) for name in _PORTFOLIO]
        self._nominees = features[best]
