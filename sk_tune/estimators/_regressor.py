# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Regression: targets are standardised for the network and given back in their units."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import RegressorMixin
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.validation import check_consistent_length
from torch import Tensor, nn

from sk_tune.estimators._base import NetworkEstimator
from sk_tune.estimators._parameters import RegressorParameters, parameters
from sk_tune.estimators._validation import as_array
from sk_tune.training import REGRESSION_LOSSES, r2

__all__ = ["NetworkRegressor"]

Array = npt.NDArray[Any]


@parameters
class NetworkRegressor(RegressorMixin, RegressorParameters, NetworkEstimator):  # type: ignore[misc]
    """Base of the regressors.

    Attributes
    ----------
    target_mean_, target_scale_ : ndarray of shape (n_outputs_,)
        The network learns ``(y - target_mean_) / target_scale_``; mean and standard
        deviation of the first targets, 1 for a constant one.
    """

    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, n_epochs: int = 1
    ) -> Self:
        """Train for some epochs more, from exactly where training stands.

        Three epochs and then six more give the same network as nine at once: optimizer
        state, batch order, dropout and schedule go on.  `lr_schedule` stays laid out for
        ``max_epochs``; a stream of more epochs needs ``lr_schedule="constant"``.  The
        target is standardised as in the first call.

        Parameters
        ----------
        X : array-like, frame or tensor of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows in the loss.
        n_epochs : int, default=1
            Passes over these rows.

        Returns
        -------
        self
            The estimator.

        Raises
        ------
        ValueError
            If X or y do not fit to the first call's.
        TrainingDivergedError
            If the loss or a weight becomes infinite or NaN.
        """
        return self._partial_fit(X, y, sample_weight, n_epochs)

    def predict(self, X: Any) -> Array:
        """Return the predicted targets.

        Parameters
        ----------
        X : array-like, frame or tensor of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs_)
            In the units of y.  Of type ``dtype``; several outputs are always float64, as
            scikit-learn's estimator checks ask of multi-output regressors.
        """
        return self._predictions(self._forward(X))

    def _predictions(self, outputs: Tensor) -> Array:
        scaled = outputs.numpy().astype(np.float64)
        y: Array = scaled * self.target_scale_ + self.target_mean_
        return y if self._many_outputs else y[:, 0].astype(self.dtype)

    def _check_target(self, X: Array, y: Any) -> Array:
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        y = check_array(
            as_array(y), dtype=np.float64, ensure_2d=False, input_name="y", order="C"
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if y.ndim > 2:
            raise ValueError(
                f"y must have one or two dimensions. Got an array of shape {y.shape}."
            )
        check_consistent_length(X, y)
        return np.asarray(y)

    def _start_target(self, y: Array, weight: Array | None, classes: Any) -> None:
        self._many_outputs = y.ndim == 2
        columns = y.reshape(len(y), -1)
        if np.abs(columns).max() > np.finfo(self.dtype).max:
            raise ValueError(
                f"Input y contains a value too large for dtype={self.dtype!r}: "
                f"{np.abs(columns).max():g}."
            )
        self.n_outputs_ = columns.shape[1]
        self.target_mean_ = np.average(columns, axis=0, weights=weight)
        variance = np.average((columns - self.target_mean_) ** 2, axis=0, weights=weight)
        scale = np.sqrt(variance)
        # Rounding leaves a constant target a tiny deviation, which must not be blown up.
        tiny = 10 * np.finfo(np.float64).eps * np.abs(self.target_mean_)
        self.target_scale_ = np.where(scale > tiny, scale, 1.0)

    def _encode_target(self, y: Array) -> Array:
        columns = y.reshape(len(y), -1)
        if columns.shape[1] != self.n_outputs_:
            raise ValueError(
                f"y must have {self.n_outputs_} outputs, as in the first fit. Got "
                f"y.shape={y.shape} instead."
            )
        encoded: Array = (columns - self.target_mean_) / self.target_scale_
        return encoded

    def _task_parts(self) -> tuple[nn.Module, Any]:
        return REGRESSION_LOSSES[self.loss](), r2

    def _split_validation(self, y: Array, seed: int) -> tuple[Array, Array]:
        return self._split_rows(np.arange(len(y)), seed, stratify=None)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
