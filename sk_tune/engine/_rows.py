# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Prepared fits as rows of a fleet."""

import warnings
from typing import Any

import torch
from torch import Tensor

from sk_tune.engine._structure import module_structure
from sk_tune.engine.fleet import Recipe, Row, SeededCourse, Settings, build_program
from sk_tune.estimators import PreparedFit
from sk_tune.nets import CNN, MLP, RNN
from sk_tune.training import (
    SECOND_MOMENT_DECAY,
    BinaryCrossEntropy,
    CrossEntropy,
    SquaredError,
    Stream,
    TrainingState,
    accuracy,
    derive_seed,
    r2,
    row_accuracy,
    row_r2,
)

__all__ = ["reason_in_module", "row_recipe", "to_row"]

_LOSSES = {
    CrossEntropy: "cross_entropy",
    BinaryCrossEntropy: "binary_cross_entropy",
    SquaredError: "squared_error",
}

_SCORES: dict[Any, Any] = {accuracy: row_accuracy, r2: row_r2}


def to_row(prepared: PreparedFit, n_epochs: int) -> Row:
    """Return a prepared fit as a row.

    Parameters
    ----------
    prepared : PreparedFit
        Of one of sk_tune's estimators.
    n_epochs : int
        Epochs to train now, at most.

    Returns
    -------
    Row
        It holds the module of `prepared`.
    """
    options, estimator = prepared.options, prepared.estimator
    state = prepared.state or TrainingState(seed=options.seed, weights={}, moments={})
    course = SeededCourse(
        options.seed,
        learning_rate=options.learning_rate,
        lr_schedule=options.lr_schedule,
        schedule_epochs=options.schedule_epochs,
        patience=options.patience,
        tol=options.tol,
        stopping=state.stopping,
        first_epoch=state.first_epoch,
    )
    settings = Settings(
        momentum=float(estimator.momentum),
        beta_2=SECOND_MOMENT_DECAY[estimator.optimizer],
        weight_decay=float(estimator.weight_decay),
    )
    return Row(
        module=prepared.module,
        course=course,
        settings=settings,
        state=state,
        n_epochs=n_epochs,
        train=prepared.train,
        valid=prepared.valid,
        monitor=prepared.monitor,
        learning_rate=options.learning_rate,
        l1=float(options.l1),
        label_smoothing=float(getattr(prepared.loss, "label_smoothing", 0.0)),
        gradient_clip=options.gradient_clip,
        dropout_seed=derive_seed(options.seed, Stream.DROPOUT),
    )


def row_recipe(prepared: PreparedFit) -> tuple[Recipe, Any]:
    """Return what a row must have in common with the others of its fleet.

    Parameters
    ----------
    prepared : PreparedFit
        Of one of sk_tune's estimators.

    Returns
    -------
    recipe : Recipe
        How to train.
    structure : object
        Hashable; what the modules have in common.
    """
    estimator, module = prepared.estimator, prepared.module
    recipe = Recipe(
        optimizer=estimator.optimizer,
        nesterov=bool(estimator.nesterovs_momentum),
        batch_size=int(estimator.batch_size),
        loss=_LOSSES[type(prepared.loss)],
        score=_SCORES[prepared.options.score],
        draws_globally=prepared.options.global_rng,
    )
    if isinstance(module, MLP | CNN | RNN):
        # Their parameters say it all, but for the sizes that come from the data.
        shapes = [tuple(p.shape) for p in module.parameters()]
        return recipe, (shapes[0], shapes[-1])
    return recipe, module_structure(module)


def reason_in_module(row: Row) -> str | None:
    """Return why modules like a row's cannot run as one, after trying it.

    Parameters
    ----------
    row : Row
        One of the fleet.

    Returns
    -------
    str or None
        A clause that continues "was trained alone because"; None if they can.
    """
    if isinstance(row.module, MLP):
        return None
    X = torch.stack([row.train[:2][0]] * 2)
    was_training = row.module.training
    try:
        with warnings.catch_warnings():
            # Torch computes network by network, and says so, where vmap has no rule.
            warnings.filterwarnings("error", message=".*batching rule.*")
            return _difference(row, X)
    except Exception as error:  # noqa: BLE001 - whatever a user's module raises
        first_line = str(error).strip().partition("\n")[0].partition(". ")[0]
        return f"torch.func.vmap cannot carry its module ({first_line})"
    finally:
        row.module.train(was_training)


def _difference(row: Row, X: Tensor) -> str | None:
    """Compute two networks as one and compare; errors are the caller's."""
    program = build_program([row, row])
    program.begin_epoch([0, 0], 1, [torch.Generator(), torch.Generator()])
    outputs = program.evaluate(X, slice(0, 2))
    with torch.no_grad():
        alone = row.module.eval()(X[0])
    if not torch.allclose(outputs[0], alone, rtol=1e-3, atol=1e-4, equal_nan=True):
        return "its module gives other outputs when it is batched over networks"
    program.backward(torch.zeros_like(program.forward(X, slice(0, 2), 0)))
    return None
