# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Category columns for members that are given arrays, which have no types of columns."""

from collections.abc import Sequence
from typing import Any

from sklearn.base import clone

from sk_tune.estimators import NetworkEstimator

__all__ = ["asks_for_types", "with_categories"]


def asks_for_types(estimator: Any) -> bool:
    """Return whether an estimator takes its category columns from the types of X.

    True for networks for tables, unless they are told their columns; of a pipeline nobody
    knows which columns its last step gets.
    """
    given = getattr(estimator, "categorical_features", None)
    is_network = isinstance(estimator, NetworkEstimator)
    return is_network and isinstance(given, str) and given == "from_dtype"


def with_categories(estimator: Any, positions: Sequence[int]) -> Any:
    """Return an estimator that is told which `positions` hold categories.

    It would have read them from a frame; the result is the estimator itself if there is
    nothing to tell.
    """
    if not positions or not asks_for_types(estimator):
        return estimator
    return clone(estimator).set_params(categorical_features=list(positions))
