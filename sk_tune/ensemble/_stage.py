# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""One stage of a boosting: an estimator whose networks the engine trains.

A fleet of one network takes half the time of its own ``fit``.  Inside a ``with fleet():``
block the stages of all tasks, the folds of a search say, train side by side instead.
"""

from contextlib import nullcontext
from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from sk_tune._compat import get_active_backend
from sk_tune.adoption import adopter, adoption
from sk_tune.backend import CollectingBackend
from sk_tune.engine import Fit, train
from sk_tune.estimators import NetworkEstimator, first_seed
from sk_tune.training import TrainingState

__all__ = ["fit_stage"]


def fit_stage(stage: Any, X: Any, y: Any, sample_weight: Any = None) -> Any:
    """Fit an estimator in place and return it.

    Raises ValueError if there are weights that the estimator does not take.
    """
    params = {} if sample_weight is None else {_weight_name(stage): sample_weight}
    target = y[:, 0] if y.shape[1] == 1 else y
    is_in_block = isinstance(get_active_backend()[0], CollectingBackend)
    # Who answers in a block trains for all of its tasks.
    asked = nullcontext() if is_in_block and adopter() is not None else adoption(_train)
    with asked:
        return stage.fit(X, target, **params)


def _weight_name(stage: Any) -> str:
    last = stage.steps[-1][1] if isinstance(stage, Pipeline) else stage
    if not has_fit_parameter(last, "sample_weight"):
        raise ValueError(
            f"sample_weight needs stages that take weights. {type(last).__name__} does not."
        )
    return "sample_weight" if last is stage else f"{stage.steps[-1][0]}__sample_weight"


def _train(estimator: Any, X: Any, y: Any, sample_weight: Any) -> TrainingState | None:
    """Train a network that asks for it; None lets it train and fail by itself."""
    if not isinstance(estimator, NetworkEstimator):
        return None
    fit = Fit(
        estimator=estimator,
        X=X,
        y=y,
        sample_weight=sample_weight,
        seed=first_seed(estimator),
    )
    with adoption(None):
        (trained,) = train([fit], n_jobs=1)
    return trained.state
