# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Fits of the package's estimators as networks of a fleet."""

from typing import Any

import numpy.typing as npt

from sk_tune.augment import kinds_of
from sk_tune.engine._fits import Fit
from sk_tune.estimators import FitPreparer
from sk_tune.fleets import FleetNetwork, Recipe, module_structure
from sk_tune.nets import CNN, MLP, RNN
from sk_tune.training import TrainingState

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

    def predictions(self, outputs: Array) -> Array:
        """Return probabilities, or targets in their units, for outputs, (n, C)."""
        return self.prepared.predictions(outputs)

    def train_alone(self) -> tuple[TrainingState, Array | None]:
        """Train through skorch.

        Return the state of training, and the monitor's predictions.
        """
        return self.prepared.train_alone(self.n_epochs)
