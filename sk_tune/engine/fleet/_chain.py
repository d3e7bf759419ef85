# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""K networks that are plain chains of layers as one, with derivatives written out.

Autograd would cost a small network as much as its arithmetic, and would allocate every
intermediate result anew; here each has its memory for the whole training.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sk_tune.engine.fleet._dropout import RowDropout
from sk_tune.engine.fleet._layers import Batch, Layer, Linear, run_backward
from sk_tune.engine.fleet._predicting import (
    PredictingLinear,
    Step,
    fold_floors,
    predicting,
    shift_input,
)
from sk_tune.engine.fleet._program import Program, stacked_parts

__all__ = ["ChainProgram"]

# Memory is made anew when a fleet has had this many shapes of batches and layers.
_MOST_SHAPES = 256


class ChainProgram(Program):
    """K networks of one chain of layers.

    Parameters
    ----------
    modules : sequence of Module
        Of one architecture, dropout probabilities aside.
    dropout : RowDropout
        Of the modules' seeded dropout layers.
    """

    def __init__(self, modules: Sequence[nn.Module], dropout: RowDropout) -> None:
        super().__init__(*stacked_parts(modules), dropout)
        self.layers: list[Layer] = []
        self._store: dict[Any, Tensor] = {}
        self._steps: dict[tuple[int, int, int], list[Step]] = {}
        self._is_training = True
        self._batch: Any = None

    def forward(self, X: Tensor, rows: slice, step: int) -> Tensor:
        """Return the outputs for a batch to train on, and keep what ``backward`` needs."""
        batch = self._batch = Batch(self.parts(rows), rows, step, {})
        h = X
        for layer in self.layers:
            h = layer.forward(h, batch)
        return h

    def backward(self, gradient: Tensor) -> list[Tensor]:
        """Return the derivatives by the parameters at the last batch."""
        run_backward(self.layers, gradient, self._batch, keep=True)
        return [self._batch.found[name] for name in self.parameters.tensors]

    def evaluate(self, X: Tensor, rows: slice) -> Tensor:
        """Return the outputs in evaluation mode."""
        tensors = self.parts(rows)
        h = X
        for layer in self.layers:
            h = layer.evaluate(h, tensors)
        return h

    def evaluate_shared(self, X: Tensor, rows: slice) -> Tensor:
        """Return the outputs in evaluation mode for inputs that the rows share.

        Only after ``only_predict``.

        Parameters
        ----------
        X : Tensor of shape (n, ...)
            Inputs.
        rows : slice
            Which rows, k of them.

        Returns
        -------
        Tensor of shape (k, n, C)
            Unnormalised outputs.
        """
        if not isinstance(self.layers[0], PredictingLinear):
            return self.evaluate(X.expand(rows.stop - rows.start, *X.shape), rows)
        h = X.flatten(1)
        key = (rows.start, rows.stop, len(h))
        if key in self._steps:
            for step in self._steps[key]:
                h = step(h)
            return h
        tensors = self.parts(rows)
        steps: list[Step] = []
        for layer in self.layers:
            if isinstance(layer, PredictingLinear):
                step = layer.bound(h, tensors)
            else:
                step = partial(layer.evaluate, tensors=tensors)
            steps.append(step)
            h = step(h)
        if len(self._steps) >= _MOST_SHAPES:
            self._steps.clear()
        self._steps[key] = steps
        return h

    def fold_affine(self, scale: Tensor, shift: Tensor) -> bool:
        """Let the first layer take inputs that it has yet to scale and shift.

        Parameters
        ----------
        scale, shift : Tensor of shape (K, D)
            Of each row; in float64.

        Returns
        -------
        bool
            Whether there is such a layer; else nothing has changed.
        """
        first = self.layers[0]
        if not isinstance(first, Linear) or first.bias is None:
            return False
        tensors = self.parameters.tensors
        shift_input(first, shift, tensors)
        weight = tensors[first.weight]
        tensors[first.weight] = (weight * scale.unsqueeze(1)).to(weight.dtype)
        self._forget_weights()
        return True

    def only_predict(self) -> None:
        """Take layers that only predict, for which ``fold_floors`` changes the weights.

        All shapes of a name share one memory: rows to predict vary in number.
        """
        self.layers = predicting(self.layers)
        self._is_training = False
        self._store.clear()

    def fold_floors(self) -> None:
        """Change the weights, once, as layers that only predict need them."""
        fold_floors(self.layers, self.parameters.tensors)
        self._forget_weights()

    def _forget_weights(self) -> None:
        self._parts.clear()
        self._steps.clear()

    def begin_epoch(
        self,
        first_steps: Sequence[int],
        n_steps: int,
        generators: Sequence[torch.Generator | None],
    ) -> None:
        """Prepare the random numbers of an epoch."""
        super().begin_epoch(first_steps, n_steps, generators)
        if len(self._store) > _MOST_SHAPES:
            self._store.clear()

    def select(self, index: Tensor) -> None:
        """Keep some rows, in the order given."""
        super().select(index)
        self._store.clear()

    def memory(
        self, name: str, like: Tensor, *shape: int, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Return memory of a name and shape, the same at every step.

        Parameters
        ----------
        name : str
            Of what is kept there.
        like : Tensor
            For the device, and the dtype if there is none.
        *shape : int
            Of the memory.
        dtype : dtype or None, default=None
            Of the memory.

        Returns
        -------
        Tensor
            With whatever was left there.
        """
        if not self._is_training:
            size = math.prod(shape)
            found = self._store.get(name)
            if found is None or len(found) < size:
                found = self._store[name] = like.new_empty(size, dtype=dtype)
                # What is smaller now goes.
                self._steps.clear()
            return found[:size].view(shape)
        key = (name, shape)
        found = self._store.get(key)
        if found is None:
            found = self._store[key] = like.new_empty(shape, dtype=dtype)
        return found
