# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Models of the score, and their joint beliefs about a pool of candidates.

A belief gives a mean and a standard deviation for each point of a pool, and covariances
between points. Covariances make batches cheap: after a point is chosen, the uncertainty of
all points shrinks in closed form, without a second fit.

Notation: P points in the pool, F features, N training points, T trees; scores are
standardised and negated, so that less is better, as in scikit-optimize.

References
----------
.. [1] F. Hutter, L. Xu, H. H. Hoos, K. Leyton-Brown. Algorithm runtime prediction: methods
   & evaluation. Artificial Intelligence 206:79-111, 2014. Section 4.3.2.
"""

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any, Protocol

import numpy as np
from numpy.random import RandomState
from scipy.linalg import solve_triangular
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, RegressorMixin, clone, is_regressor
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.utils import check_random_state
from skopt.learning import (
    ExtraTreesRegressor,
    GaussianProcessRegressor,
    RandomForestRegressor,
)
from skopt.learning.gaussian_process.kernels import ConstantKernel, Matern
from threadpoolctl import ThreadpoolController

from sk_tune._types import Floats

# Bounds and settings of scikit-optimize's default models.
_LENGTH_SCALES = (0.01, 100.0)
_AMPLITUDES = (0.01, 1000.0)
_FOREST = {"n_estimators": 100, "min_samples_leaf": 3, "n_jobs": 1}
_BOOSTING: dict[str, Any] = {"loss": "quantile", "n_estimators": 30}
# The likelihood is flat near its maximum; later fits start from the previous optimum.
_MINIMIZE: dict[str, Any] = {"method": "L-BFGS-B", "jac": True, "options": {"maxiter": 30}}
_N_RESTARTS = 2
# The outer quantiles of a normal distribution are two deviations apart.
_QUANTILES = (0.16, 0.5, 0.84)
# Assumed length scale of models without covariances, in units of a feature's range.
_REACH = 0.2


class Belief(Protocol):
    """Predictions of a fitted model for a pool."""

    mean: Floats
    std: Floats
    noise: float

    def covariance(self, row: int) -> Floats:
        """Return the covariance of the pool's scores with one point's."""


class GaussianProcess:
    """scikit-optimize's Gaussian process: Matern 5/2, a length scale per feature, noise."""

    def __init__(self, rng: RandomState) -> None:
        self._rng = rng
        self._model: Any = None
        self._theta: Floats | None = None
        self._n_at_restart = 0

    def fit(self, X: Floats, y: Floats) -> None:
        """Fit to features of shape (N, F) and standardised scores."""
        n_features = X.shape[1]
        kernel = ConstantKernel(1.0, _AMPLITUDES) * Matern(
            length_scale=np.ones(n_features),
            length_scale_bounds=[_LENGTH_SCALES] * n_features,
            nu=2.5,
        )
        # After each doubling, because the likelihood may have another maximum by then.
        restarts = len(X) >= 2 * self._n_at_restart
        if restarts:
            self._n_at_restart = len(X)
        ends: list[tuple[float, Floats]] = []

        def optimize(objective: Any, start: Floats, bounds: Floats) -> tuple[Floats, float]:
            if self._theta is not None and not ends:
                start = self._theta
            end = minimize(objective, start, bounds=bounds, **_MINIMIZE)
            ends.append((float(end.fun), end.x))
            return end.x, end.fun

        model = GaussianProcessRegressor(
            kernel=kernel,
            noise="gaussian",
            optimizer=optimize,
            n_restarts_optimizer=_N_RESTARTS if restarts else 0,
            random_state=self._rng,
        )
        # A closure of this fit, which cannot be pickled with the model.
        self._model = model.fit(X, y).set_params(optimizer=None)
        self._theta = min(ends, key=lambda end: end[0])[1]

    def believe(self, X: Floats) -> Belief:
        """Return mean, deviation and covariance of points of shape (P, F)."""
        return _ProcessBelief(self._model, X)


class _ProcessBelief:
    def __init__(self, model: Any, X: Floats) -> None:
        self._model, self._X = model, X
        kernel = model.kernel_(X, model.X_train_)  # (P, N)
        self._half = solve_triangular(model.L_, kernel.T, lower=True, check_finite=False)
        variance = model.kernel_.diag(X) - np.einsum("np,np->p", self._half, self._half)
        self.mean = kernel @ model.alpha_
        self.std = np.sqrt(np.maximum(variance, 0.0))
        # scikit-optimize removes the noise from the kernel for noise-free predictions.
        self.noise = float(model.noise_)

    def covariance(self, row: int) -> Floats:
        prior = self._model.kernel_(self._X, self._X[row : row + 1])[:, 0]
        return np.asarray(prior - self._half[:, row] @ self._half)


class Fitted:
    """A regressor without hyperparameter fitting, and the class of its beliefs."""

    def __init__(self, model: Any, belief: Callable[[Any, Floats], Belief]) -> None:
        self._model, self._belief = model, belief

    def fit(self, X: Floats, y: Floats) -> None:
        self._model.fit(X, y)

    def believe(self, X: Floats) -> Belief:
        return self._belief(self._model, X)


Surrogate = GaussianProcess | Fitted


def surrogate(kind: str, model: Any, rng: RandomState) -> Surrogate | None:
    """Return the model of scikit-optimize's name, or a user's `model`; None for a dummy."""
    if kind == "DUMMY":
        return None
    if kind == "GP":
        return GaussianProcess(rng)
    if kind in {"ET", "RF"}:
        forest = ExtraTreesRegressor if kind == "ET" else RandomForestRegressor
        return Fitted(forest(**_FOREST, random_state=rng), _ForestBelief)
    return other(BoostedQuantiles() if kind == "GBRT" else model, rng)


class _ForestBelief:
    noise = 0.0

    def __init__(self, model: Any, X: Floats) -> None:
        X = np.ascontiguousarray(X, dtype=np.float32)
        trees = [tree.tree_ for tree in model.estimators_]
        self._leaves = np.stack([tree.apply(X) for tree in trees])  # (T, P)
        means = np.stack([
            tree.value[leaf, 0, 0] for tree, leaf in zip(trees, self._leaves, strict=True)
        ])
        within = np.stack([
            tree.impurity[leaf] for tree, leaf in zip(trees, self._leaves, strict=True)
        ])
        # Section 4.3.2 of [1]_: variance within leaves plus variance between trees.
        self.mean = means.mean(axis=0)
        self.std = np.sqrt(within.mean(axis=0) + means.var(axis=0))

    def covariance(self, row: int) -> Floats:
        # The share of trees in which two points share a leaf is a kernel with diagonal 1.
        proximity = (self._leaves == self._leaves[:, row : row + 1]).mean(axis=0)
        return np.asarray(proximity * self.std * self.std[row])


def other(regressor: Any, rng: RandomState) -> Fitted:
    """Return a clone of a regressor that predicts deviations, too.

    Its covariances decrease with distance. Raises ValueError if its ``predict`` does not
    take ``return_std``.
    """
    is_estimator = isinstance(regressor, BaseEstimator) and is_regressor(regressor)
    if not is_estimator or "return_std" not in signature(regressor.predict).parameters:
        raise ValueError(
            "The 'base_estimator' parameter of BayesSampler must be a str among "
            "{'auto', 'GP', 'ET', 'RF', 'GBRT', 'dummy'} or a regressor whose predict "
            f"takes return_std. Got {regressor!r} instead."
        )
    model = clone(regressor)
    if regressor.get_params().get("random_state", 0) is None:
        model.set_params(random_state=rng)
    return Fitted(model, _OtherBelief)


class BoostedQuantiles(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Gradient boosting of three quantiles; the outer two give the deviation.

    Replaces scikit-optimize's ``GradientBoostingQuantileRegressor``, which fails with numpy
    2.4.
    """

    def __init__(self, random_state: Any = None) -> None:
        self.random_state = random_state

    def fit(self, X: Floats, y: Floats) -> "BoostedQuantiles":
        """Fit to features of shape (N, F) and scores."""
        rng = check_random_state(self.random_state)
        self.regressors_ = [
            GradientBoostingRegressor(**_BOOSTING, alpha=alpha, random_state=rng).fit(X, y)
            for alpha in _QUANTILES
        ]
        return self

    def predict(self, X: Floats, return_std: bool = False) -> Any:  # noqa: FBT001
        """Return the median of points of shape (P, F), optionally with the deviation."""
        low, middle, high = (regressor.predict(X) for regressor in self.regressors_)
        return (middle, np.maximum(high - low, 0.0) / 2) if return_std else middle


class _OtherBelief:
    noise = 0.0

    def __init__(self, model: Any, X: Floats) -> None:
        self._X = X
        self.mean, self.std = model.predict(X, return_std=True)

    def covariance(self, row: int) -> Floats:
        reach = _REACH**2 * self._X.shape[1]
        distance = cdist(self._X, self._X[row : row + 1], "sqeuclidean")[:, 0]
        return np.asarray(np.exp(-distance / (2 * reach)) * self.std * self.std[row])


# Finding the libraries takes longer than some of the blocks.
_controller = functools.cache(ThreadpoolController)


@contextmanager
def quiet_and_single() -> Iterator[None]:
    """Silence warnings, and use one thread, which is faster for small matrices."""
    with warnings.catch_warnings(), _controller().limit(limits=1, user_api="blas"):
        warnings.simplefilter("ignore")
        yield
