# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Metrics of scikit-learn without its validation, which takes ten times their own time."""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    fbeta_score,
    jaccard_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from sk_tune._scores._metric import Metric
from sk_tune._scores._metric_sums import losses_of_classes, metric_sums
from sk_tune._types import Array

_OF_PROBABILITIES = {log_loss, roc_auc_score}
# Undefined, with a warning, for a class without samples or predictions.
_OF_EACH_CLASS = {balanced_accuracy_score, precision_score, recall_score}
_QUICK = {accuracy_score, f1_score, fbeta_score, jaccard_score}
_QUICK |= _OF_PROBABILITIES | _OF_EACH_CLASS
# scikit-learn warns about more classes per sample.
_MOST_CLASSES = 0.5


@cache
def quick_metric(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return an equal metric, which computes plain cases without scikit-learn.

    It passes all other arguments on, such as weights and classes without samples, about
    which scikit-learn may warn or raise.
    """
    if function not in _QUICK:
        return function

    @wraps(function)
    def metric(y: Any, response: Any, **options: Any) -> Any:
        score = _plain_score(function, y, response, options)
        return function(y, response, **options) if np.isnan(score) else score

    return metric


def _plain_score(
    function: Callable[..., Any], y: Any, response: Any, options: dict[str, Any]
) -> float:
    """Return the score of one label per sample, nan if the case is not plain."""
    if not (isinstance(y, np.ndarray) and isinstance(response, np.ndarray)):
        return np.nan
    if y.ndim != 1 or not len(y) or y.dtype.kind not in "biuU" or "labels" in options:
        return np.nan
    are_labels = response.shape == y.shape and response.dtype.kind == y.dtype.kind
    if function is accuracy_score and are_labels and not options:
        return float(np.mean(y == response))
    classes = np.unique(y)
    if not 1 < len(classes) <= _MOST_CLASSES * len(y):
        return np.nan
    if function in _OF_PROBABILITIES:
        if not _are_probabilities(response, len(y), len(classes)):
            return np.nan
    elif not are_labels or (
        function in _OF_EACH_CLASS and not np.array_equal(np.unique(response), classes)
    ):
        return np.nan
    if function is log_loss and not options:
        # A mean in the precision of the probabilities, as scikit-learn's.
        return float(losses_of_classes(y, response[np.newaxis], classes)[0].mean())
    metric = Metric(function=function, options=options)
    sums = metric_sums(metric, y, response[np.newaxis])
    return np.nan if sums is None else float(sums.of_all(np.ones((1, len(y))))[0, 0])


def _are_probabilities(response: Array, n_rows: int, n_classes: int) -> bool:
    """Return whether all classes have probabilities, or the second of two."""
    columns = () if n_classes == 2 else (n_classes,)
    if response.dtype.kind != "f" or response.shape != (n_rows, *columns):
        return False
    if not (response.min() >= 0 and response.max() <= 1):
        return False
    # scikit-learn's tolerances are 1e-5 and this root.
    tolerance = min(1e-5, np.sqrt(np.finfo(response.dtype).eps))
    return not columns or bool(np.abs(response.sum(axis=1) - 1).max() < tolerance)
