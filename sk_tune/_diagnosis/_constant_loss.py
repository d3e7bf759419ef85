# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Losses of the best constant prediction, with which learning curves are compared."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import huber, xlogy
from scipy.stats import entropy
from sklearn.base import is_classifier
from sklearn.metrics import mean_pinball_loss, mean_tweedie_deviance


def constant_loss(network: Any, params: Mapping[str, Any], y: Any) -> float | None:
    """Return the loss of the best constant prediction, on the scale of the curves."""
    y = None if y is None else np.asarray(y)
    if not any(c.__module__.startswith("sk_tune.") for c in type(network).__mro__):
        criterion = params.get("criterion")
        name = getattr(criterion, "__name__", type(criterion).__name__)
        if y is not None and y.ndim == 1 and name in {"CrossEntropyLoss", "NLLLoss"}:
            return float(entropy(np.unique(y, return_counts=True)[1]))
        is_squared = y is not None and name == "MSELoss"
        return float(np.var(y.astype(float), axis=0).mean()) if is_squared else None
    if not is_classifier(network):
        return _of_numbers(params, y)
    return _of_classes(network, params.get("class_weight"), y)


def _of_classes(network: Any, class_weight: Any, y: Any) -> float | None:
    """Return the held-out loss of predicting the weighted shares of the classes.

    Without `y`, the shares are those of a fitted network, and the weights of the classes
    apply to held-out samples, too.
    """
    if y is None:
        shares = getattr(network, "class_prior_", None)
        if shares is None:
            return None
        classes, is_multilabel = network.classes_, network._is_multilabel
    else:
        is_multilabel = y.ndim == 2 and y.dtype.kind != "f"
        classes, counts = np.unique(y, return_counts=True)
        shares = counts / len(y) if y.ndim == 1 else y.mean(axis=0)
    if is_multilabel:
        both = np.stack([shares, 1 - shares])
        return None if class_weight is not None else float(entropy(both).mean())
    factors = shares > 0
    if isinstance(class_weight, dict):
        factors = np.array([float(class_weight.get(c, 1)) for c in classes.tolist()])
    weighted = factors * (1 if class_weight == "balanced" else shares)
    weighted = weighted / weighted.sum()
    return -float(xlogy(weighted if y is None else shares, weighted).sum())


# Powers of the deviances that do not have a parameter.
_POWERS = {"poisson": 1.0, "gamma": 2.0}


def _of_numbers(params: Mapping[str, Any], y: Any) -> float | None:
    """Return the loss of the mean or quantiles of encoded targets."""
    loss = params.get("loss", "squared_error")
    if loss == "squared_error":
        return 1.0
    if y is None:
        return None
    columns = y.astype(np.float64).reshape(len(y), -1)
    if loss in {"poisson", "gamma", "tweedie"}:
        power = _POWERS.get(loss, params.get("tweedie_power", 1.5))
        relative = (columns / columns.mean(axis=0)).ravel()
        return float(mean_tweedie_deviance(relative, np.ones_like(relative), power=power))
    scale = columns.std(axis=0)
    if loss == "quantile":
        levels = np.atleast_1d(params.get("quantiles", (0.1, 0.5, 0.9)))
        y = columns[:, 0] / (scale[0] or 1)
        losses = [
            mean_pinball_loss(y, np.full(len(y), np.quantile(y, level)), alpha=level)
            for level in levels
        ]
        return float(np.mean(losses))
    errors = np.abs(columns - np.median(columns, axis=0)) / np.where(scale > 0, scale, 1)
    return float((huber(1, errors) if loss == "huber" else errors).mean())
