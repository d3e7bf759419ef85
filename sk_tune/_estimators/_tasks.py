# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Classification and regression: encoding of targets, losses and predictions."""

from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import assert_all_finite, check_array, column_or_1d, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from torch import Tensor, nn

from sk_tune._declaration import parameters
from sk_tune._estimators._network_estimator import NetworkEstimator
from sk_tune._estimators._parameters import ClassifierParameters, RegressorParameters
from sk_tune._estimators._validation import as_array, check_range
from sk_tune._training import (
    REGRESSION_LOSSES,
    BinaryCrossEntropy,
    CrossEntropy,
    R2OfOutput,
    SoftCrossEntropy,
    accuracy_by_network,
    accuracy_of_probabilities,
    middle_of,
    one_thread,
    r2_by_network,
    r2_of_exponentials,
)
from sk_tune._types import Array
from sk_tune._warnings import warn_user
from sk_tune.exceptions import DataWarning

# Largest rounding of a predicted target, as a share of the targets' standard deviation.
_MOST_ROUNDING = 1e-3


class ClassProbabilities(np.ndarray):
    """Probabilities of the classes 0 to C - 1, (n, C): soft targets of a classifier."""


@parameters
class NetworkClassifier(ClassifierMixin, ClassifierParameters, NetworkEstimator):  # type: ignore[misc]
    """Base of the classifiers.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels in the order of the columns of ``predict_proba``; 0 to n_labels - 1 for
        multilabel y.
    class_prior_ : ndarray of shape (n_classes,)
        Share of each class or label in y of the first fit, by ``sample_weight``.
    """

    # Learnt: whether the targets of the first fit were probabilities.
    _is_soft = False

    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: Any = None,
        sample_weight: Any = None,
        *,
        n_epochs: int = 1,
    ) -> Self:
        """Continue training for `n_epochs` epochs.

        Three epochs and then six more give the same network as nine at once: optimizer
        state, batch order, dropout and schedule continue.  `lr_schedule` spans
        ``max_epochs``; use ``lr_schedule="constant"`` for a longer stream.

        Parameters
        ----------
        classes : array-like of shape (n_classes,), default=None
            All labels that can occur, in the first call or in each call; without it, the
            labels of the first call.
        """
        is_later = hasattr(self, "net_") and not self._is_multilabel
        labels = self.classes_ if classes is None and is_later else as_array(classes)
        if is_later and not np.array_equal(np.unique(labels), self.classes_):
            raise ValueError(
                "classes must equal the classes of the first call of fit or partial_fit, "
                f"{self.classes_}. Got {classes} instead."
            )
        options = {"is_partial": True, "n_epochs": n_epochs, "classes": classes}
        return self._fit(X, y, sample_weight, **options)

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class.

        Probabilities of multilabel y are independent and do not sum to 1.
        """
        return self._predictions(self._forward(X))

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of the probability of each class.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Finite even if a probability underflows.
        """
        outputs = self._forward(X)
        if self._is_multilabel:
            return nn.functional.logsigmoid(outputs).numpy()
        with one_thread():
            return outputs.log_softmax(dim=1).numpy()

    def predict(self, X: Any) -> Array:
        """Return the most probable label of each sample, or the indicators of labels."""
        outputs = self._forward(X)
        if self._is_multilabel:
            return (outputs > 0).numpy().astype(int)
        labels: Array = self.classes_[outputs.argmax(dim=1).numpy()]
        return labels

    def _predictions(self, outputs: Tensor) -> Array:
        if self._is_multilabel:
            return outputs.sigmoid().numpy()
        # Even for few samples torch would use several threads and wait for a core.
        with one_thread():
            return outputs.softmax(dim=1).numpy()

    def _target_array(self, y: Any) -> Any:
        if isinstance(y, ClassProbabilities):
            return np.asarray(y, dtype=np.float64)
        if sparse.issparse(y):
            y = y.toarray()
        if getattr(y, "dtype", None) is not None and np.asarray(y).dtype.kind in "fO":
            assert_all_finite(np.asarray(y), input_name="y")
        try:
            check_classification_targets(y)
        except (TypeError, ValueError) as error:
            text = f"{error}".rstrip(".")
            if isinstance(error, TypeError):
                text = (
                    f"Unknown label type: labels must be of one type and sortable. {text}"
                )
            text += "."
            if np.ndim(y) == 1 and getattr(getattr(y, "dtype", None), "hasobject", False):
                text += (
                    " y is of type object: convert it, for example by y.astype(int) or "
                    "y.astype(str)."
                )
            raise ValueError(text) from error
        # One-dimensional y is never multilabel; inspecting the labels would take time.
        if getattr(y, "ndim", 0) == 1 or type_of_target(y) != "multilabel-indicator":
            return column_or_1d(y, warn=True)
        y = check_array(y, dtype=np.int64, accept_sparse=False, input_name="y")
        if not np.isin(y, (0, 1)).all():
            raise ValueError(
                "Multilabel y must hold 1 where a label applies and 0 elsewhere. Got "
                f"{np.unique(y)}."
            )
        return y

    def _start_target(self, y: Array, weight: Array | None, classes: Any) -> None:
        # Indicators of labels are integers.
        self._is_soft = y.ndim == 2 and y.dtype.kind == "f"
        self._is_multilabel = y.ndim == 2 and not self._is_soft
        labels = y if classes is None else as_array(classes)
        self.classes_ = np.arange(y.shape[1]) if y.ndim == 2 else np.unique(labels)
        if len(self.classes_) < 2 and not self._is_multilabel:
            # scikit-learn's classifiers raise this error as well.
            weighted = "" if weight is None else " with positive sample_weight"
            raise ValueError(
                f"{type(self).__name__} needs samples of at least 2 classes in y"
                f"{weighted}. Got only one class: {self.classes_.tolist()[0]!r}."
            )
        self.n_outputs_ = len(self.classes_)
        if y.ndim == 2:
            self.class_prior_ = np.average(y, axis=0, weights=weight)
        else:
            counts = np.bincount(np.searchsorted(self.classes_, y), weight, self.n_outputs_)
            self.class_prior_ = counts / counts.sum()

    def _encode_target(self, y: Array) -> Array:
        has_columns = self._is_multilabel or (self._is_soft and y.ndim == 2)
        if y.shape[1:] != ((self.n_outputs_,) if has_columns else ()):
            raise ValueError(
                "y must have the same type and number of columns as in the first fit. "
                f"Got y.shape={y.shape}."
            )
        if has_columns:
            return y.astype(self.dtype)
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(
                f"y must hold only labels of the first fit, classes_={self.classes_}. Got "
                f"{unknown[:5]}. Name all labels with classes in the first partial_fit."
            )
        numbers = np.searchsorted(self.classes_, y).astype(np.int64)
        return (
            np.eye(self.n_outputs_, dtype=self.dtype)[numbers] if self._is_soft else numbers
        )

    def _task_parts(self) -> tuple[Any, Any]:
        if self._is_soft:
            return SoftCrossEntropy(self.label_smoothing), accuracy_of_probabilities
        loss = BinaryCrossEntropy if self._is_multilabel else CrossEntropy
        return loss(self.label_smoothing), accuracy_by_network

    def _weigh_samples(
        self, y: Array, weight: Array | None, train: Array | slice
    ) -> Array | None:
        if self.class_weight is None:
            return weight
        if self._is_soft:
            raise ValueError(
                "class_weight must be None for probabilities as targets. Got "
                f"{self.class_weight!r}."
            )
        columns = y.reshape(len(y), -1).T
        by_column: Any = self.class_weight
        if not isinstance(by_column, list):
            by_column = [by_column] * (1 if isinstance(by_column, dict) else len(columns))
        if len(by_column) != len(columns):
            raise ValueError(
                "class_weight must be 'balanced' or a list with a dict for each column "
                f"of y. Got {len(by_column)} for {len(columns)} columns."
            )
        factors = np.ones(len(y)) if weight is None else weight.astype(np.float64)
        for class_weight, column in zip(by_column, columns, strict=True):
            classes = np.unique(column) if self._is_multilabel else self.classes_
            factors = factors * _class_factors(class_weight, classes, column, train, weight)
        return factors

    def _strata(self, y: Array) -> Array | None:
        if y.ndim == 2:
            return None
        counts = np.unique(y, return_counts=True)[1]
        n_valid = int(np.ceil(self.validation_fraction * len(y)))
        if counts.min() >= 2 and n_valid >= len(counts) <= len(y) - n_valid:
            return y
        warn_user(
            f"The rows for early stopping are not stratified: {len(y)} rows with "
            f"validation_fraction={self.validation_fraction} are too few for "
            f"{len(counts)} classes (rows of the smallest class: {counts.min()}).",
            DataWarning,
            about="rows for early stopping",
        )
        return None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _class_factors(
    class_weight: Any, classes: Array, y: Array, train: Array | slice, weight: Array | None
) -> Array:
    """Return the weight of each sample's class, balanced over the training samples."""
    present = np.unique(y[train])
    if isinstance(class_weight, dict):
        unknown = [label for label in class_weight if label not in classes]
        if unknown and any(label not in class_weight for label in classes):
            raise ValueError(
                f"class_weight must name the classes {classes.tolist()}. Got {unknown} "
                "instead."
            )
        # compute_class_weight would look up the number 1 for the label "1".
        weights = [class_weight.get(label, 1.0) for label in present.tolist()]
        per_class = np.array(weights, dtype=np.float64)  # Also for types like Fraction.
    else:
        per_class = compute_class_weight(
            class_weight,
            classes=present,
            y=y[train],
            sample_weight=None if weight is None else weight[train],
        )
    if not np.all(np.isfinite(per_class)) or np.min(per_class) < 0:
        wrong = dict(zip(present.tolist(), map(float, per_class), strict=True))
        raise ValueError(
            f"Weights of class_weight must be finite and not negative. Got {wrong} instead."
        )
    factors = np.ones(len(y))
    for label, factor in zip(present, per_class, strict=True):
        factors[y == label] = factor
    return factors


@parameters
class NetworkRegressor(RegressorMixin, RegressorParameters, NetworkEstimator):  # type: ignore[misc]
    """Base of the regressors.

    Attributes
    ----------
    target_mean_, target_scale_ : ndarray of shape (n_targets,)
        The network learns ``(y - target_mean_) / target_scale_``: mean and standard
        deviation of the first targets, or 1 for a constant target.  With "poisson",
        "gamma" and "tweedie", 0 and the mean; the outputs are logarithms.
    quantiles_ : ndarray of shape (n_quantiles,)
        Levels of the predicted quantiles; empty unless ``loss="quantile"``.
    """

    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, n_epochs: int = 1
    ) -> Self:
        """Continue training for `n_epochs` epochs.

        Three epochs and then six more give the same network as nine at once: optimizer
        state, batch order, dropout and schedule continue.  `lr_schedule` spans
        ``max_epochs``; use ``lr_schedule="constant"`` for a longer stream.  The target is
        standardised as in the first call.
        """
        return self._fit(X, y, sample_weight, is_partial=True, n_epochs=n_epochs)

    def predict(self, X: Any, *, return_quantiles: bool = False) -> Array:
        """Return the predicted targets.

        They have type ``dtype`` for one output, and float64 for several, as scikit-learn's
        estimator checks require, or if float32 would round away the differences of targets
        with a large mean.

        Parameters
        ----------
        return_quantiles : bool, default=False
            Whether to return all quantiles of ``loss="quantile"``, not only the quantile
            nearest to the median.  A pipeline passes it to its last step.

        Returns
        -------
        ndarray of shape (n_samples,), (n_samples, n_targets) or (n_samples, n_quantiles)
            Quantiles have the order of ``quantiles_`` and never cross.
        """
        outputs = self._forward(X)
        if not return_quantiles:
            return self._predictions(outputs)
        if not len(self.quantiles_):
            raise ValueError(
                "return_quantiles=True needs loss='quantile'. Got a network with "
                f"loss={self._fitted_params['loss']!r}."
            )
        return self._in_units(outputs).astype(self._dtype_of_targets())

    def _predictions(self, outputs: Tensor) -> Array:
        y = self._in_units(outputs)
        if self._many_outputs:
            return y
        one: Array = y[:, middle_of(self.quantiles_)]
        return one.astype(self._dtype_of_targets())

    def _dtype_of_targets(self) -> str:
        """Return the dtype of one predicted target: wide enough for its mean."""
        dtype: str = getattr(self, "_fitted_params", vars(self))["dtype"]
        rounding = np.finfo(dtype).eps * np.abs(self.target_mean_)
        is_coarse = (rounding > _MOST_ROUNDING * self.target_scale_).any()
        return "float64" if is_coarse else dtype

    def _in_units(self, outputs: Tensor) -> Array:
        """Return means or all quantiles, (n, C) in float64, in the units of y."""
        values = self._unscaled(outputs.double()).numpy()
        y: Array = values * self.target_scale_ + self.target_mean_
        return y

    def _unscaled(self, outputs: Tensor) -> Tensor:
        """Return means or sorted quantiles, (..., C), in the units of encoded targets."""
        if self._link == "exp":
            return outputs.exp()
        return outputs.sort(dim=-1).values if len(self.quantiles_) else outputs

    def _target_array(self, y: Any) -> Any:
        y = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y", order="C")
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if y.ndim > 2:
            raise ValueError(
                f"y must have one or two dimensions. Got an array of shape {y.shape}."
            )
        return y

    def _loss(self) -> Any:
        """Return the loss that the parameters specify; ValueError for wrong quantiles."""
        options: list[float] = []
        if self.loss == "tweedie":
            options = [float(self.tweedie_power)]
        if self.loss == "quantile":
            levels = np.atleast_1d(np.asarray(self.quantiles, dtype=np.float64))
            is_rising = levels.ndim == 1 and (np.diff([0, *levels, 1]) > 0).all()
            if not (is_rising and len(levels)):
                raise ValueError(
                    f"The 'quantiles' parameter of {type(self).__name__} must be a number "
                    "or increasing numbers between 0 and 1. Got "
                    f"{self.quantiles!r} instead."
                )
            options = levels.tolist()
        return REGRESSION_LOSSES[self.loss](*options)

    def _check_range(self, y: Array, *, is_first: bool) -> None:
        if self._loss().link == "exp":
            check_range(self.loss, y, is_first=is_first)

    def _start_target(self, y: Array, weight: Array | None, classes: Any) -> None:
        self._many_outputs = y.ndim == 2
        columns = y.reshape(len(y), -1)
        largest = np.abs(columns).max(axis=0)
        if largest.max() > np.finfo(self.dtype).max:
            raise ValueError(
                f"Input y contains a value too large for dtype={self.dtype!r}: "
                f"{largest.max():g}."
            )
        loss = self._loss()
        self._link, self.quantiles_ = loss.link, np.array(loss.levels)
        self.n_outputs_ = len(loss.levels) or columns.shape[1]
        if len(loss.levels) and self._many_outputs:
            raise ValueError(
                f"y must have one column for loss='quantile'. Got y.shape={y.shape}. Fit a "
                "network for each column, for example by MultiOutputRegressor."
            )
        # Powers of two as units are exact, and keep squares from over- or underflowing.
        _, unit = np.frexp(largest)
        columns = np.ldexp(columns, -unit)
        mean = np.average(columns, axis=0, weights=weight)
        if self._link == "exp":
            # A log mean of 0 then is the mean of the targets, where training starts.
            self.target_mean_, self.target_scale_ = 0 * mean, np.ldexp(mean, unit)
            return
        scale = np.sqrt(np.average((columns - mean) ** 2, axis=0, weights=weight))
        # A constant target has a tiny deviation by rounding; do not scale it up.
        is_tiny = scale <= 10 * np.finfo(np.float64).eps * np.abs(mean)
        self.target_mean_ = np.ldexp(mean, unit)
        self.target_scale_ = np.where(is_tiny, 1.0, np.ldexp(scale, unit))

    def _encode_target(self, y: Array) -> Array:
        columns, n_targets = y.reshape(len(y), -1), len(self.target_scale_)
        if columns.shape[1] != n_targets:
            raise ValueError(
                f"y must have {n_targets} outputs, as in the first fit. Got "
                f"y.shape={y.shape} instead."
            )
        encoded: Array = (columns - self.target_mean_) / self.target_scale_
        # A target for each quantile.
        return np.repeat(encoded, max(1, len(self.quantiles_)), axis=1)

    def _task_parts(self) -> tuple[Any, Any]:
        loss = self._loss()
        if loss.levels:
            return loss, R2OfOutput(middle_of(loss.levels))
        return loss, r2_of_exponentials if loss.link == "exp" else r2_by_network

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        positive = self.loss in {"poisson", "gamma", "tweedie"}
        # Several positive targets are supported, but scikit-learn checks negative ones.
        tags.target_tags.multi_output = not positive and self.loss != "quantile"
        tags.target_tags.positive_only = positive
        return tags
