# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""K multi-layer perceptrons of sk_tune's as one chain of layers."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
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
from sk_tune.engine.fleet._module_layer import ModuleLayer
from sk_tune.nets import MLP

__all__ = ["MLPProgram"]


class MLPProgram(ChainProgram):
    """K networks ``sk_tune.nets.MLP``.

    Parameters
    ----------
    modules : sequence of MLP
        Of one architecture, dropout probabilities aside.
    dropout : RowDropout
        One layer for each hidden layer.
    """

    def __init__(self, modules: Sequence[MLP], dropout: RowDropout) -> None:
        super().__init__(modules, dropout)
        inputs, hidden = modules[0].inputs, modules[0].hidden
        layers: list[Layer] = []
        if inputs is not None:
            layers.append(ModuleLayer("inputs", inputs))
        for index, layer in enumerate(hidden):
            layers += self._hidden_layer(index, layer, first=not layers)
        output = Linear("output", self.memory, first=not layers, last=True)
        self.layers = chained([*layers, output])

    def _hidden_layer(self, index: int, layer: Any, *, first: bool) -> list[Layer]:
        name = f"hidden.{index}"
        own: list[Layer] = [Linear(f"{name}.linear", self.memory, first=first)]
        if isinstance(layer.norm, nn.BatchNorm1d):
            momentum = layer.norm.momentum or 0.0
            own.append(BatchNorm(f"{name}.norm", layer.norm.eps, momentum, self.memory))
        elif layer.norm is not None:
            own.append(LayerNorm(f"{name}.norm", layer.norm.eps, self.memory))
        if not isinstance(layer.activation, nn.Identity):
            own.append(Activation(layer.activation, f"{name}.activation", self.memory))
        mask = partial(self._mask, index)
        own.append(Dropout(mask, f"{name}.dropout", self.memory))
        if layer.residual:
            return [Residual(chained(own), name, self.memory, first=first)]
        return own

    def _mask(self, index: int, x: Tensor, batch: Batch) -> Tensor | None:
        if not self.dropout.active:
            return None
        k, n = x.shape[0], x.shape[1] * x.shape[2]
        bits = self.memory("bits", x, k, n, dtype=torch.int32)
        out = self.memory(f"mask{index}", x, k, n)
        return self.dropout.mask(index, batch.step, batch.rows, bits, out).view(x.shape)
