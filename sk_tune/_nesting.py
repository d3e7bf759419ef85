# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Estimators in pipelines and transformed targets, and prefixes of their parameters."""

from typing import Any

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


def last_step(estimator: Any) -> Any:
    """Return the last step of a pipeline, which may be nested, or the estimator itself."""
    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
