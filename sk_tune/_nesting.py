# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Estimators in pipelines and transformed targets, and prefixes of their parameters."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline


def nested(estimator: Any) -> list[tuple[Any, str]]:
    """Return an estimator and its inner estimators, with their parameter prefixes."""
    parts, prefix = [(estimator, "")], ""
    while True:
        if isinstance(estimator, Pipeline):
            name, estimator = estimator.steps[-1]
        elif isinstance(estimator, TransformedTargetRegressor):
            name = "regressor"
            estimator = getattr(estimator, "regressor_", estimator.regressor)
        else:
            return parts
        prefix += f"{name}__"
        parts.append((estimator, prefix))


def innermost(estimator: Any) -> Any:
    """Return the estimator inside all pipelines and transformed targets."""
    return nested(estimator)[-1][0]


def transformers_of(estimator: Any) -> list[Any]:
    """Return the steps in front of the innermost estimator, of all pipelines."""
    pipelines = (part for part, _ in nested(estimator) if isinstance(part, Pipeline))
    return [step for pipeline in pipelines for _, step in pipeline.steps[:-1]]


def transforms_target(estimator: Any) -> bool:
    """Return whether the innermost estimator gets other targets than the outermost."""
    return bool(_around_targets(estimator))


def transformed_target(estimator: Any, y: Any) -> Any:
    """Return targets as the innermost estimator gets them, if the others are fitted."""
    for part in _around_targets(estimator):
        y = _by_columns(part.transformer_.transform, y)
    return y


def restored_target(estimator: Any, y: Any) -> Any:
    """Return predictions of the innermost estimator in the units of the outermost."""
    for part in reversed(_around_targets(estimator)):
        y = _by_columns(part.transformer_.inverse_transform, y)
    return y


def _around_targets(estimator: Any) -> list[TransformedTargetRegressor]:
    parts = [part for part, _ in nested(estimator)]
    return [part for part in parts if isinstance(part, TransformedTargetRegressor)]


def _by_columns(transform: Callable[[Any], Any], y: Any) -> Any:
    """Return transformed targets; a transformer takes a single target as a column."""
    y = np.asarray(y)
    columns = transform(y.reshape(-1, 1) if y.ndim == 1 else y)
    is_single = y.ndim == 1 and columns.ndim == 2 and columns.shape[1] == 1
    return columns[:, 0] if is_single else columns


def last_step(estimator: Any) -> Any:
    """Return the last step of a pipeline, which may be nested, or the estimator itself."""
    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
