# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Bayesian optimisation with the models of scikit-optimize.

scikit-optimize's ``Optimizer`` fits its model three times per point of a batch, repeats
points, and supports neither branches nor failures; so this module uses its models without
it.  The model scores one pool of codes; points are then chosen greedily.  A chosen or
pending point is assumed to score its mean [1]_: means stay, deviations shrink by
conditioning.  A portfolio of acquisition functions prefers successful functions [2]_.

References
----------
.. [1] D. Ginsbourger, R. Le Riche, L. Carraro. Kriging is well-suited to parallelize
   optimization. In: Computational Intelligence in Expensive Optimization Problems, 2010.
   The "Kriging believer".
.. [2] M. Hoffman, E. Brochu, N. de Freitas. Portfolio allocation for Bayesian optimization.
   UAI 2011.  Algorithm 2, GP-Hedge.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike
from scipy.stats import norm
from sklearn.base import BaseEstimator

from sk_tune._sampler._samplers import Learner, fill_failed
from sk_tune._sampler._surrogate import Belief, Surrogate, quiet_and_single, surrogate
from sk_tune._space import AnySpace, Candidate, Space
from sk_tune._types import Bools, Floats, Seed

# With more points, a Gaussian process costs more than trees.
_MAX_PROCESS_POINTS = 100
_N_BEST = 5
# Beyond this number of pending points, the oldest count as lost.
_MAX_PENDING = 64
# Tukey's far fence; scores beyond it would compress all others.
_FENCE = 3.0


class BayesSampler(Learner):
    """Proposes candidates by the acquisition function of a model of the score.

    The model is fitted once for each ``ask`` after a ``tell``, for any number of
    candidates.  No candidate is repeated while new candidates remain.  Pending candidates
    are assumed to score the model's mean.

    Parameters
    ----------
    space : dict, list of dict or Space
        As in :class:`~sk_tune.BayesSearchCV`.  Every distribution needs ``ppf`` and
        ``cdf``.
    random_state : int, RandomState or None, default=None
        Seed of the candidates.
    base_estimator : str or regressor, default="auto"
        "GP", "ET", "RF", "GBRT", "dummy" or a regressor whose ``predict`` takes
        ``return_std``, as in scikit-optimize; "auto" is a Gaussian process up to 100 points
        and extremely randomised trees beyond.
    acq_func : {"EI", "PI", "LCB", "gp_hedge"}, default="EI"
        Acquisition function, as in scikit-optimize.
    xi : float, default=0.001
        Least improvement, in standard deviations of the scores.
    kappa : float, default=1.96
        Standard deviations between mean and confidence bound.
    n_initial_points : int, default=10
        Number of initial candidates, from a Latin hypercube.

    Raises
    ------
    ValueError
        If `acq_func` or `base_estimator` is unknown, or a distribution cannot be modelled.

    See Also
    --------
    TPESampler : Models densities of good and bad candidates.

    Examples
    --------
    >>> from sk_tune.sampler import BayesSampler
    >>> sampler = BayesSampler({"x": (-2.0, 2.0)}, random_state=0)
    >>> for _ in range(6):
    ...     candidates = sampler.ask(4)
    ...     sampler.tell(candidates, [-((c["x"] - 1) ** 2) for c in candidates])
    >>> abs(sampler.ask(1)[0]["x"] - 1) < 0.1
    True
    """

    def __init__(
        self,
        space: AnySpace,
        random_state: Seed = None,
        *,
        base_estimator: str | BaseEstimator = "auto",
        acq_func: str = "EI",
        xi: float = 0.001,
        kappa: float = 1.96,
        n_initial_points: int = 10,
    ) -> None:
        super().__init__(space, random_state)
        names = [*sorted(ACQUISITIONS), "gp_hedge"]
        if acq_func not in names:
            raise ValueError(
                f"The 'acq_func' parameter of BayesSampler must be a str among {names}. "
                f"Got {acq_func!r} instead."
            )
        self.base_estimator = base_estimator
        self.acq_func = acq_func
        self.xi = xi
        self.kappa = kappa
        self.n_initial_points = n_initial_points
        self._hedge = Hedge(self._rng)
        self._codes: list[Floats] = []
        self._scores: list[float] = []
        self._initial: list[Floats] | None = None
        self._kind = ""
        self._model: Surrogate | None = None
        self._n_fitted = 0
        self._choose_model(0)

    def ask(self, n_points: int) -> list[Candidate]:
        """Return new candidates; fewer, or none, once a finite space is exhausted."""
        rows = self._initial_rows(n_points)
        if len(rows) < n_points:
            scores = fill_failed(np.array(self._scores))
            self._choose_model(len(self._scores))
            varies = any(c.dimension.n_categories != 1 for c in self.space.columns)
            if scores is not None and self._model is not None and varies:
                with quiet_and_single():
                    rows += self._model_rows(self._model, n_points - len(rows), scores)
        rows += self._random_rows(n_points - len(rows))
        return self.space.decode(np.array(rows)) if rows else []

    def tell(
        self,
        candidates: Sequence[Candidate],
        scores: ArrayLike,
        n_resources: int | None = None,
    ) -> None:
        """Store scores; the next ``ask`` fits the model."""
        values = np.asarray(scores, dtype=float).tolist()
        for row, score in zip(self._told(candidates), values, strict=True):
            self._codes.append(row)
            self._scores.append(score)

    def _initial_rows(self, n_points: int) -> list[Floats]:
        n_due = self.n_initial_points - len(self._scores) - len(self._pending)
        rows: list[Floats] = []
        if n_due <= 0:
            return rows
        if self._initial is None:
            # A Latin hypercube.
            n_columns = len(self.space.columns)
            cells = [self._rng.permutation(n_due) for _ in range(n_columns)]
            shifts = self._rng.uniform(size=(n_due, n_columns))
            unit = (np.stack(cells, axis=1) + shifts) / n_due
            self._initial = list(self.space.from_unit(unit))
        n_due = min(n_points, n_due)
        while self._initial and len(rows) < n_due:
            row = self._initial.pop(0)
            if self._take(row):
                rows.append(row)
        return rows + self._random_rows(n_due - len(rows))

    def _model_rows(self, model: Surrogate, n: int, scores: Floats) -> list[Floats]:
        y = _standardised_losses(scores)
        if self._n_fitted != len(y):
            model.fit(self._features(np.array(self._codes)), y)
            self._n_fitted = len(y)
        y_opt = float(y.min())
        hedges = self.acq_func == "gp_hedge"
        acquisition = self._hedge.choose(model) if hedges else self.acq_func

        def value(
            mean: Floats, std: Floats, y_opt: float, name: str = acquisition
        ) -> Floats:
            return ACQUISITIONS[name](mean, std, y_opt, self.xi, self.kappa)

        def value_of(codes: Floats) -> Floats:
            belief = model.believe(self._features(codes))
            return value(belief.mean, belief.std, y_opt)

        best = np.array(self._codes)[np.argsort(y, kind="stable")[:_N_BEST]]
        pool = candidate_pool(self.space, best, value_of, self._rng)
        pending = list(self._pending.values())[-_MAX_PENDING:]
        pool = np.concatenate([np.array(pending).reshape(-1, pool.shape[1]), pool])
        features = self._features(pool)
        belief = model.believe(features)
        if hedges:
            self._hedge.nominate(
                features, belief, lambda name, b: value(b.mean, b.std, y_opt, name)
            )
        rows = greedy_batch(
            belief,
            value,
            y_opt,
            n,
            is_taken=lambda row: not self._take(pool[row]),
            pending=range(len(pending)),
        )
        return [pool[row] for row in rows]

    def _choose_model(self, n_points: int) -> None:
        """Make the model for a number of points, unless it is the present model."""
        model = self.base_estimator
        kind = model.upper() if isinstance(model, str) else "OTHER"
        if kind == "AUTO":
            kind = "GP" if n_points <= _MAX_PROCESS_POINTS else "ET"
        if kind != self._kind:
            self._kind, self._n_fitted = kind, 0
            self._model = surrogate(kind, model, self._rng)

    def _features(self, codes: Floats) -> Floats:
        """Return codes with categories one-hot encoded."""
        parts = []
        for j, column in enumerate(self.space.columns):
            n_categories = column.dimension.n_categories
            if n_categories == 0:
                parts.append(codes[:, j : j + 1])
            elif n_categories > 1:
                parts.append((codes[:, j : j + 1] == np.arange(n_categories)).astype(float))
        return np.concatenate(parts, axis=1) if parts else np.empty((len(codes), 0))


def _standardised_losses(scores: Floats) -> Floats:
    """Return losses of mean 0 and deviation 1, with outliers pulled in."""
    low, high = np.quantile(scores, [0.25, 0.75])
    if high > low:
        scores = np.maximum(scores, low - _FENCE * (high - low))
    deviation = scores.std()
    return np.asarray((scores.mean() - scores) / (deviation if deviation > 0 else 1.0))


# Acquisition functions of (means, deviations, best score so far, least improvement, number
# of deviations in a bound); greater is better.
_Acquisition = Callable[[Floats, Floats, float, float, float], Floats]

# Codes are in [0, 1]; the widest step leaves a basin, the narrowest refines within it.
_STEPS = (0.2, 0.07, 0.02, 0.006)
_N_RANDOM = 1500
_N_STARTS = 8
_N_PER_START = 24
# Mean number of parameters that a step changes, so that good combinations survive.
_N_CHANGED = 2.0
_VARIANCE_FLOOR = 1e-12


def _gain(mean: Floats, std: Floats, y_opt: float, xi: float) -> Floats:
    """Return the improvement in standard deviations."""
    return np.asarray((y_opt - xi - mean) / np.maximum(std, _VARIANCE_FLOOR))


def _expected_improvement(
    mean: Floats, std: Floats, y_opt: float, xi: float, kappa: float
) -> Floats:
    gain = _gain(mean, std, y_opt, xi)
    return np.asarray(std * (gain * norm.cdf(gain) + norm.pdf(gain)))


# By scikit-optimize's names.  A confidence bound has no improvement and hence no margin.
ACQUISITIONS: dict[str, _Acquisition] = {
    "EI": _expected_improvement,
    "LCB": lambda mean, std, y_opt, xi, kappa: kappa * std - mean,
    "PI": lambda mean, std, y_opt, xi, kappa: (
        (std > 0) * norm.cdf(_gain(mean, std, y_opt, xi))
    ),
}


def candidate_pool(
    space: Space, best: Floats, value_of: Callable[[Floats], Floats], rng: RandomState
) -> Floats:
    """Return codes, (P, D): random codes, and codes around the `best` by `value_of`."""
    pool = [
        space.random_codes(_N_RANDOM, rng),
        neighbours(space, best, _N_PER_START, _STEPS[1], rng),
    ]
    values = [value_of(codes) for codes in pool]
    for step in _STEPS:
        codes = np.concatenate(pool)
        top = np.argsort(-np.concatenate(values), kind="stable")[:_N_STARTS]
        pool.append(neighbours(space, codes[top], _N_PER_START, step, rng))
        values.append(value_of(pool[-1]))
    return np.concatenate(pool)


def greedy_batch(
    belief: Belief,
    value: Callable[[Floats, Floats, float], Floats],
    y_opt: float,
    n: int,
    *,
    is_taken: Callable[[int], bool],
    pending: range,
) -> list[int]:
    """Return up to `n` positions in a pool to evaluate together.

    `value` maps ``(mean, std, y_opt)`` to a value, greater is better; `y_opt` is the best
    score so far, less is better. Positions with `is_taken` are excluded; points at
    `pending` positions are being evaluated.
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
    belief: Belief, factors: Floats, variance: Floats, row: int
) -> tuple[Floats, Floats]:
    """Return the Cholesky factors and variances after conditioning on a point's score."""
    covariance = belief.covariance(row) - factors[:, row] @ factors
    pivot = max(float(variance[row]), 0.0) + belief.noise
    factor = covariance / np.sqrt(max(pivot, _VARIANCE_FLOOR))
    variance = np.maximum(variance - factor**2, 0.0)
    return np.concatenate([factors, factor[None]]), variance


def _first_free(values: Floats, free: Bools, is_taken: Callable[[int], bool]) -> int | None:
    """Return the best free point; mark it and all better points as taken."""
    for row in np.argsort(-values, kind="stable"):
        if free[row]:
            free[row] = False
            if not is_taken(int(row)):
                return int(row)
    return None


def neighbours(
    space: Space, centres: Floats, n_each: int, step: float, rng: RandomState
) -> Floats:
    """Return `n_each` codes near each centre; few parameters change, by about `step`."""
    codes = np.repeat(centres, n_each, axis=0)
    fresh = space.random_codes(len(codes), rng)
    codes = np.where(space.active(codes), codes, fresh)
    has_order = np.array([column.dimension.n_categories == 0 for column in space.columns])
    shifted = np.clip(codes + step * rng.normal(size=codes.shape), 0, 1)
    # Change at least one parameter.
    changed = rng.uniform(size=codes.shape) < _N_CHANGED / codes.shape[1]
    changed[np.arange(len(codes)), rng.randint(codes.shape[1], size=len(codes))] = True
    return space.snap(np.where(changed, np.where(has_order, shifted, fresh), codes))


_PORTFOLIO = ("EI", "LCB", "PI")
# scikit-optimize's value; the rate at which gains turn into odds.
_RATE = 1.0


class Hedge:
    """Chooses an acquisition function for each batch."""

    def __init__(self, rng: RandomState) -> None:
        self._rng = rng
        self.gains = np.zeros(len(_PORTFOLIO))
        self._nominees: Floats | None = None

    def choose(self, model: Surrogate) -> str:
        """Draw the name of the next function, with odds that grow with its gain.

        The gain of a function is the newly fitted `model`'s expectation at the function's
        earlier nominations.
        """
        if self._nominees is not None:
            # Predictions are losses.
            self.gains -= _RATE * model.believe(self._nominees).mean
            self._nominees = None
        odds = np.exp(self.gains - self.gains.max())
        return _PORTFOLIO[int(np.argmax(self._rng.multinomial(1, odds / odds.sum())))]

    def nominate(
        self, features: Floats, belief: Belief, value: Callable[[str, Belief], Floats]
    ) -> None:
        """Record the favourite point of each function in a pool of `features`, (P, F)."""
        best = [int(np.argmax(value(name, belief))) for name in _PORTFOLIO]
        self._nominees = features[best]
