# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Losses of gradient boosting: where to start, what to fit next, how far to go.

Notation: n samples, C columns.  y are targets, F what the ensemble predicts so far, f what
a new stage predicts, all of shape (n, C); w are the weights of the samples.  Each stage is
fitted to the negative gradient r of the loss by F (Friedman 2001, Algorithm 1, line 3),
and goes into the sum times a step rho (line 5), which minimises the loss of F + rho f.
Where the loss has second derivatives, rho is one step of Newton's method from 0, in closed
form; it stays bounded where classes are separated, where the minimum does not.

References
----------
.. [1] J. H. Friedman. Greedy function approximation: a gradient boosting machine. Annals of
   Statistics 29(5):1189-1232, 2001.
.. [2] S. Badirli, X. Liu, Z. Xing, A. Bhowmik, K. Doan, S. S. Keerthi. Gradient boosting
   neural networks: GrowNet. arXiv:2002.07971, 2020.
"""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_expit, logsumexp, softmax

__all__ = ["REGRESSION_LOSSES", "BoostingLoss", "classification_loss", "regression_loss"]

Floats = npt.NDArray[np.float64]

REGRESSION_LOSSES = ("squared_error", "absolute_error", "huber")


def regression_loss(name: str, alpha: float) -> "BoostingLoss":
    """Return one of `REGRESSION_LOSSES`; huber takes a share `alpha` of small residuals."""
    if name == "huber":
        return _HuberLoss(alpha)
    return _AbsoluteError() if name == "absolute_error" else _SquaredError()


def classification_loss(n_columns: int) -> "BoostingLoss":
    """Return the log loss of labels 0 and 1 in one column, or of one-hot labels."""
    return _BinaryLogLoss() if n_columns == 1 else _LogLoss()


class BoostingLoss(ABC):
    """A loss as gradient boosting needs it."""

    @abstractmethod
    def start(self, y: Floats, w: Floats) -> Floats:
        """Return the constant prediction of least loss, (C,).

        Targets have the shape (n, C), weights (n,).
        """

    @abstractmethod
    def each(self, y: Floats, F: Floats) -> Floats:
        """Return the loss of each sample, (n,), a mean over targets, (n, C)."""

    @abstractmethod
    def residual(self, y: Floats, F: Floats) -> Floats:
        """Return the negative gradient of each sample's loss, (n, C), times a constant.

        The next stage is fitted to it.
        """

    @abstractmethod
    def curvature(self, y: Floats, F: Floats, f: Floats) -> Floats:
        """Return the second derivative of each sample's loss along a stage `f`, (n,).

        It is multiplied by the constant of ``residual``.
        """

    def look_at(self, y: Floats, F: Floats, w: Floats) -> None:  # noqa: B027
        """Adapt the loss to the residuals before a stage, if it has something to adapt."""

    def mean(self, y: Floats, F: Floats, w: Floats) -> float:
        """Return the weighted mean of the loss; less is better."""
        return float(np.average(self.each(y, F), weights=w))

    def step(self, y: Floats, F: Floats, f: Floats, w: Floats) -> float:
        """Return how far to go along a stage `f`, (n, C); 0 where it leads nowhere."""
        slope = float(w @ (self.residual(y, F) * f).sum(axis=1))
        curvature = float(w @ self.curvature(y, F, f))
        return slope / curvature if curvature > np.finfo(np.float64).tiny else 0.0


class _SquaredError(BoostingLoss):
    """Half the squared error; the step is the exact minimum."""

    def start(self, y: Floats, w: Floats) -> Floats:
        return np.asarray(np.average(y, axis=0, weights=w))

    def each(self, y: Floats, F: Floats) -> Floats:
        return np.asarray(0.5 * ((y - F) ** 2).mean(axis=1))

    def residual(self, y: Floats, F: Floats) -> Floats:
        return y - F

    def curvature(self, y: Floats, F: Floats, f: Floats) -> Floats:
        return np.asarray((f**2).sum(axis=1))


class _AbsoluteError(BoostingLoss):
    """Absolute error; the step is the exact minimum, a median (Friedman 2001, eq. 14)."""

    def start(self, y: Floats, w: Floats) -> Floats:
        return np.array([_weighted_quantile(column, w, 0.5) for column in y.T])

    def each(self, y: Floats, F: Floats) -> Floats:
        return np.asarray(np.abs(y - F).mean(axis=1))

    def residual(self, y: Floats, F: Floats) -> Floats:
        return np.sign(y - F)

    def curvature(self, y: Floats, F: Floats, f: Floats) -> Floats:
        return np.zeros(len(y))

    def step(self, y: Floats, F: Floats, f: Floats, w: Floats) -> float:
        # sum w |f| |(y - F) / f - rho| is least at the weighted median of the ratios.
        weights = w[:, np.newaxis] * np.abs(f)
        moves = weights > 0
        if not moves.any():
            return 0.0
        return _weighted_quantile((y - F)[moves] / f[moves], weights[moves], 0.5)


class _HuberLoss(BoostingLoss):
    """Squared error for the share `alpha` of small residuals, absolute error for others."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self.delta = np.inf
        # The first one: losses of several stages are compared, so that they are to be those
        # of one function.
        self._scored_delta = np.inf

    def start(self, y: Floats, w: Floats) -> Floats:
        # The median, as in Friedman (2001, Algorithm 4).
        return _AbsoluteError().start(y, w)

    def look_at(self, y: Floats, F: Floats, w: Floats) -> None:
        weights = np.broadcast_to(w[:, np.newaxis], y.shape)
        sizes = np.abs(y - F).ravel()
        self.delta = _weighted_quantile(sizes, weights.ravel(), self.alpha)
        if self._scored_delta == np.inf:
            self._scored_delta = self.delta

    def each(self, y: Floats, F: Floats) -> Floats:
        size = np.abs(y - F)
        small = np.minimum(size, self._scored_delta)
        return np.asarray((small * (size - 0.5 * small)).mean(axis=1))

    def residual(self, y: Floats, F: Floats) -> Floats:
        return np.clip(y - F, -self.delta, self.delta)

    def curvature(self, y: Floats, F: Floats, f: Floats) -> Floats:
        return np.asarray((f**2 * (np.abs(y - F) <= self.delta)).sum(axis=1))


class _BinaryLogLoss(BoostingLoss):
    """Negative log-likelihood of labels 0 and 1 in nats; F are log-odds."""

    def start(self, y: Floats, w: Floats) -> Floats:
        share = np.average(y, axis=0, weights=w)
        return np.asarray(np.log(share) - np.log1p(-share))

    def each(self, y: Floats, F: Floats) -> Floats:
        return np.asarray(-log_expit(np.where(y > 0, F, -F))[:, 0])

    def residual(self, y: Floats, F: Floats) -> Floats:
        return np.asarray(y - expit(F))

    def curvature(self, y: Floats, F: Floats, f: Floats) -> Floats:
        return np.asarray((expit(F) * expit(-F) * f**2)[:, 0])


class _LogLoss(BoostingLoss):
    """Negative log-likelihood of one-hot labels in nats; F are logits."""

    def start(self, y: Floats, w: Floats) -> Floats:
        return np.asarray(np.log(np.average(y, axis=0, weights=w)))

    def each(self, y: Floats, F: Floats) -> Floats:
        return np.asarray(logsumexp(F, axis=1) - (y * F).sum(axis=1))

    def residual(self, y: Floats, F: Floats) -> Floats:
        return np.asarray(y - softmax(F, axis=1))

    def curvature(self, y: Floats, F: Floats, f: Floats) -> Floats:
        p = softmax(F, axis=1)
        # The variance of f under p.
        centred = f - (p * f).sum(axis=1, keepdims=True)
        return np.asarray((p * centred**2).sum(axis=1))


def _weighted_quantile(values: Floats, weights: Floats, level: float) -> float:
    """Return the least value that a share `level` of the weights does not exceed."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    position = np.searchsorted(total, level * total[-1])
    return float(values[order[min(int(position), len(values) - 1)]])
