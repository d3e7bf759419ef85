# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Which networks and data compiled code knows: small chains, and arrays in plain order."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sk_tune.engine.fleet._chain import ChainProgram
from sk_tune.engine.fleet._layers import Activation, Dropout, Layer, Linear
from sk_tune.engine.fleet._losses import LOSSES
from sk_tune.engine.fleet._program import Program
from sk_tune.engine.fleet._records import Recipe, Row
from sk_tune.training import TensorSet

__all__ = [
    "MOST_LAYERS",
    "Step",
    "holds_classes",
    "is_plain",
    "is_plain_input",
    "number_of_loss",
    "steps_of",
]

# As in _epoch.c.
MOST_LAYERS = 16
# Weights of a layer from which on the products of torch's libraries, which keep parts of
# them in the cache, take less time.
_MOST_WEIGHTS = 2**17
_LOSSES = (
    "cross_entropy",
    "binary_cross_entropy",
    "squared_error",
    "absolute_error",
    "huber",
)
# Below, what Adam divides padding by may be 0.
_LEAST_EPS = 1e-20


class Step(NamedTuple):
    """A linear layer and what is done to its outputs.

    `dropout` is the number of the dropout layer that follows, -1 for none.
    """

    linear: Linear
    has_relu: bool
    dropout: int


def is_plain(program: Program, recipe: Recipe, rows: Sequence[Row]) -> bool:
    """Return whether compiled code knows how to train networks, and takes less time.

    True for small chains of linear layers, ReLU and seeded dropout on the CPU.
    """
    loss, steps = number_of_loss(recipe), steps_of(program)
    return bool(steps) and loss >= 0 and _has_plain_data(program, rows, loss, steps)


def number_of_loss(recipe: Recipe) -> int:
    """Return the number that the compiled code has for a loss.

    -1 if it does not know it.
    """
    return next((i for i, n in enumerate(_LOSSES) if recipe.loss is LOSSES[n]), -1)


def steps_of(program: Program) -> list[Step]:
    """Return the linear layers of a chain that compiled code knows.

    None of other programs.
    """
    if not isinstance(program, ChainProgram) or program.members > 1:
        return []
    steps: list[Step] = []
    for layer in program.layers:
        if not _join(steps, layer):
            return []
    if not 0 < len(steps) <= MOST_LAYERS or steps[-1].has_relu or steps[-1].dropout >= 0:
        return []
    tensors = program.parameters.tensors
    largest = max(tensors[step.linear.weight][0].numel() for step in steps)
    return [] if largest > _MOST_WEIGHTS or program.buffers.tensors else steps


def _join(steps: list[Step], layer: Layer) -> bool:
    """Add a layer of a chain; return whether there is a place for it."""
    if type(layer) is Linear:
        steps.append(Step(layer, has_relu=False, dropout=-1))
        return True
    if not steps or steps[-1].dropout >= 0:
        return False
    if isinstance(layer, Activation) and layer.is_relu and not steps[-1].has_relu:
        steps[-1] = steps[-1]._replace(has_relu=True)
        return True
    if isinstance(layer, Dropout) and layer.seeded is not None:
        steps[-1] = steps[-1]._replace(dropout=layer.seeded)
        return True
    return False


def _has_plain_data(
    program: Program, rows: Sequence[Row], loss: int, steps: list[Step]
) -> bool:
    first, last = (
        program.parameters.tensors[step.linear.weight] for step in (steps[0], steps[-1])
    )
    if first.device.type != "cpu" or first.dtype not in {torch.float32, torch.float64}:
        return False
    if rows[0].augmentation or any(row.settings.eps < _LEAST_EPS for row in rows):
        return False
    sets = [row.train for row in rows]
    return all(
        is_plain_input(s.X, first.dtype, first.shape[2])
        and _has_plain_targets(s, first.dtype, loss, last.shape[1])
        # Of rows that share the same data, once.
        for s in {(id(s.X), id(s.y), id(s.sample_weight)): s for s in sets}.values()
    )


def is_plain_input(X: Tensor, dtype: torch.dtype, n_features: int) -> bool:
    """Return whether inputs lie in memory as compiled code reads them.

    They do if one sample lies after the other, each with its features.
    """
    has_features = X.ndim > 1 and X.shape[1:].numel() == n_features
    return X.dtype == dtype and X.is_contiguous() and has_features


def _has_plain_targets(s: TensorSet, dtype: torch.dtype, loss: int, n_outputs: int) -> bool:
    y, n = s.y, len(s.X)
    if y is None or not y.is_contiguous():
        return False
    if s.sample_weight is not None and s.sample_weight.shape != (n,):
        return False
    if loss == 0:
        return y.dtype == torch.int64 and y.shape == (n,)
    return y.dtype == dtype and y.shape == (n, n_outputs)


def holds_classes(s: TensorSet) -> bool:
    """Return whether each sample of a set has a class, and all weigh the same.

    The class is negative if it is not among those of the training samples.
    """
    y = s.y
    if y is None or s.sample_weight is not None or not len(s):
        return False
    is_plain = y.is_contiguous() and y.dtype == torch.int64 and y.shape == (len(s.X),)
    return is_plain and int(y.min()) >= 0
