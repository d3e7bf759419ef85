# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""K multi-layer perceptrons of sk_tune's as one chain of layers."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from sk_tune.engine.fleet._chain import ChainProgram
from sk_tune.engine.fleet._dropout import RowDropout
from sk_tune.engine.fleet._layers import (
    Activation,
    Batch,
    BatchNorm,
    Dropout,
    Layer,
    LayerNorm,
    Linear,
    Residual,
    chained,
)
from sk_tune.engine.fleet._members import MemberHead, MemberLinear, Members
from sk_tune.engine.fleet._module_layer import ModuleLayer
from sk_tune.nets import MLP, mean_of_members

__all__ = ["MLPProgram"]


class MLPProgram(ChainProgram):
    """K networks ``sk_tune.nets.MLP`` of one architecture, dropout probabilities aside."""

    def __init__(self, modules: Sequence[MLP], dropout: RowDropout) -> None:
        super().__init__(modules, dropout)
        inputs, hidden = modules[0].inputs, modules[0].hidden
        self.members, self.link = modules[0].members, modules[0].link
        layers: list[Layer] = []
        is_first = inputs is None
        if inputs is not None:
            layers.append(ModuleLayer("inputs", inputs))
        if self.members > 1:
            layers.append(Members(self.members, first=is_first))
        for index, layer in enumerate(hidden):
            layers += self._hidden_layer(index, layer, first=is_first and index == 0)
        if self.members > 1:
            layers.append(MemberHead("output", self.members, self.memory))
        else:
            layers.append(Linear("output", self.memory, first=not layers, last=True))
        self.layers = chained(layers)

    def forward(self, X: Tensor, rows: slice, step: int) -> Tensor:
        """Return the outputs for a batch to train on, and keep what ``backward`` needs."""
        outputs = super().forward(X, rows, step)
        return outputs if self.members == 1 else self._members_last(outputs)

    def backward(self, gradient: Tensor) -> list[Tensor]:
        """Return the derivatives by the parameters at the last batch."""
        if self.members > 1:
            gradient = gradient.transpose(1, 2).flatten(1, 2)
        return super().backward(gradient)

    def evaluate(self, X: Tensor, rows: slice) -> Tensor:
        """Return the outputs in evaluation mode."""
        outputs = super().evaluate(X, rows)
        return outputs if self.members == 1 else self.combined(self._members_last(outputs))

    def combined(self, outputs: Tensor) -> Tensor:
        """Return the outputs of a batch without an axis of members."""
        return outputs if outputs.ndim == 3 else mean_of_members(outputs, self.link, dim=2)

    def _members_last(self, outputs: Tensor) -> Tensor:
        """Return (k, m B, C) as (k, B, m, C), as a lone network has it."""
        k, _, n_outputs = outputs.shape
        return outputs.view(k, self.members, -1, n_outputs).transpose(1, 2)

    def _hidden_layer(self, index: int, layer: Any, *, first: bool) -> list[Layer]:
        name = f"hidden.{index}"
        linear = f"{name}.linear"
        own: list[Layer] = [
            Linear(linear, self.memory, first=first)
            if self.members == 1
            else MemberLinear(linear, self.members, self.memory, first=first)
        ]
        if isinstance(layer.norm, nn.BatchNorm1d):
            momentum = layer.norm.momentum or 0.0
            own.append(BatchNorm(f"{name}.norm", layer.norm.eps, momentum, self.memory))
        elif layer.norm is not None:
            own.append(LayerNorm(f"{name}.norm", layer.norm.eps, self.memory))
        if not isinstance(layer.activation, nn.Identity):
            own.append(Activation(layer.activation, f"{name}.activation", self.memory))
        mask = partial(self._mask, index)
        own.append(Dropout(mask, f"{name}.dropout", self.memory, seeded=index))
        if layer.residual:
            return [Residual(chained(own), name, self.memory, first=first)]
        return own

    def _mask(self, index: int, x: Tensor, batch: Batch) -> Tensor | None:
        if not self.dropout.active:
            return None
        out = self.memory(f"mask{index}", x, x.shape[0], x.shape[1] * x.shape[2])
        return self.dropout.mask(index, batch.step, batch.rows, out).view(x.shape)
