# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A fit that no fleet carries, alone, through its estimator and skorch.

A fleet must give the same.
"""

import time
from dataclasses import replace
from typing import Any

from sk_tune.engine._estimator_fits import EstimatorFit
from sk_tune.engine._fits import Fit, Trained
from sk_tune.engine._skorch import SkorchFit
from sk_tune.estimators import (
    FitPreparer,
    NetworkEstimator,
    fit_as_overridden,
    is_unchanged,
)
from sk_tune.exceptions import SkTuneError
from sk_tune.training import TimeLimit, TrainingState, time_limit


def train_alone(fit: Fit, preparer: FitPreparer, limit: TimeLimit | None = None) -> Trained:
    """Train one fit that has a seed and a number of epochs; a failure is a result, too."""
    start = time.perf_counter()
    try:
        with time_limit(limit) as clock:
            state, predictions = _train(fit, preparer)
    except Exception as error:  # noqa: BLE001 - every fit has a result
        return failed(fit, error, time.perf_counter() - start, "alone")
    return Trained(
        status="trained",
        state=state,
        predictions=predictions,
        message="",
        seconds=time.perf_counter() - start,
        engine="alone",
        is_cut=clock.has_cut,
    )


def _train(fit: Fit, preparer: FitPreparer) -> tuple[TrainingState, Any]:
    estimator = fit.estimator
    if not isinstance(estimator, NetworkEstimator) or is_unchanged(estimator):
        return prepare(fit, preparer).train_alone()
    if fit.state is not None:
        raise ValueError(
            f"{type(estimator).__name__} overrides a method of training, so that it cannot "
            "go on from a state."
        )
    return fit_as_overridden(
        estimator,
        fit.X,
        fit.y,
        seed=fit.seed_number,
        n_epochs=fit.n_epochs or int(estimator.max_epochs),
        rows=fit.rows,
        sample_weight=fit.sample_weight,
        monitor=fit.monitor,
    )


def prepare(fit: Fit, preparer: FitPreparer) -> EstimatorFit | SkorchFit:
    """Do all of a fit, which has a seed and a number of epochs, but the training."""
    if isinstance(fit.estimator, NetworkEstimator):
        return EstimatorFit(fit, preparer)
    return SkorchFit(fit)


def late(fit: Fit, engine: str) -> Trained:
    """Return the result of a fit that the time left without one."""
    result = failed(fit, "The time was up before it was trained.", 0.0, engine)
    return replace(result, is_cut=True)


def failed(fit: Fit, reason: Exception | str, seconds: float, engine: str) -> Trained:
    """Return the result of a fit that failed, with a message that names it."""
    message = str(reason)
    if isinstance(reason, Exception) and not isinstance(reason, SkTuneError | ValueError):
        message = f"{type(reason).__name__}: {reason}"
    return Trained(
        status="failed",
        state=None,
        predictions=None,
        message=f"{fit.name}: {message}" if fit.name else message,
        seconds=seconds,
        engine="fleet" if engine == "fleet" else "alone",
    )
