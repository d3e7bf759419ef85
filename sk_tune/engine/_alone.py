# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""One fit by itself: as a network for a fleet, or trained alone, with the same result."""

import time
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from sk_tune.augment import kinds_of
from sk_tune.engine._fits import Fit, Trained
from sk_tune.engine._skorch import SkorchFit
from sk_tune.estimators import (
    FitPreparer,
    NetworkEstimator,
    fit_as_overridden,
    is_unchanged,
)
from sk_tune.exceptions import SkTuneError
from sk_tune.fleets import FleetNetwork, Recipe, module_structure
from sk_tune.nets import CNN, MLP, RNN
from sk_tune.training import TimeLimit, TrainingState, time_limit

Array = npt.NDArray[Any]


class EstimatorFit:
    """A fit of one of sk_tune's estimators; ValueError for wrong parameters or data."""

    def __init__(self, fit: Fit, preparer: FitPreparer) -> None:
        self.n_epochs = fit.n_epochs or int(fit.estimator.max_epochs)
        self.prepared = preparer.prepare(
            fit.estimator,
            fit.X,
            fit.y,
            seed=fit.seed_number,
            rows=fit.rows,
            sample_weight=fit.sample_weight,
            monitor=fit.monitor,
            state=fit.state,
        )
        # Probabilities, or targets in their units, of outputs, (n, C).
        self.predictions = self.prepared.predictions

    def network(self) -> FleetNetwork:
        """Return the fit's network, with its module, for a fleet of its recipe."""
        return self.prepared.network(self.n_epochs)

    def recipe(self) -> tuple[Recipe, Any]:
        """Return what fits of one fleet share, and a hashable key of it."""
        prepared, recipe = self.prepared, self.prepared.recipe()
        module = prepared.module
        structure: Any = [tuple(p.shape) for p in module.parameters()]
        if isinstance(module, MLP) and module.inputs is not None:
            # The structure says which columns are categories, and how many codes they have.
            structure = (module_structure(module.inputs), structure[-1])
        elif isinstance(module, MLP | CNN | RNN):
            # The estimator's parameters say all but the sizes that come from the data.
            structure = (structure[0], structure[-1])
        else:
            structure = module_structure(module)
        # Weights need not tell the length of a sequence or the size of an image.
        shape = tuple(prepared.train.X.shape[1:])
        kinds = kinds_of(prepared.options.augmentation)
        return recipe, (recipe, structure, shape, kinds)

    def train_alone(self) -> tuple[TrainingState, Array | None]:
        """Train through skorch.

        Return the state of training, and the monitor's predictions.
        """
        return self.prepared.train_alone(self.n_epochs)


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
