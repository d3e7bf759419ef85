# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A torch module as one layer of a chain, by ``torch.func.vmap`` and autograd.

The rest of the chain keeps its written-out derivatives.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from sk_tune.engine.fleet._layers import Batch, Layer, Tensors

__all__ = ["ModuleLayer"]


class ModuleLayer(Layer):
    """A module that comes first in a chain.

    It has no dropout, and is the same in training and in evaluation.
    """

    # Autograd keeps the output for itself.
    reads_output = True

    def __init__(self, name: str, module: nn.Module) -> None:
        self.pattern = copy.deepcopy(module)
        self.parameters = {f"{name}.{n}": n for n, _ in module.named_parameters()}
        self.buffers = {f"{name}.{n}": n for n, _ in module.named_buffers()}
        self._vmapped: Any = vmap(self._call)
        self._saved: tuple[Tensor, list[Tensor]] | None = None

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Return the output for a batch to train on."""
        own = {
            n: batch.tensors[name].detach().requires_grad_()
            for name, n in self.parameters.items()
        }
        with torch.enable_grad():
            y: Tensor = self._vmapped(own, self._buffers(batch.tensors), x)
        self._saved = (y, list(own.values()))
        return y.detach()

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        """Note the derivatives by the parameters; nobody asks for those by the input."""
        assert self._saved is not None  # noqa: S101 - forward came before
        y, parameters = self._saved
        self._saved = None
        found = torch.autograd.grad(y, parameters, dy)
        for name, gradient in zip(self.parameters, found, strict=True):
            batch.found[name] = gradient.contiguous()
        return dy

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        """Return the output in evaluation mode."""
        own = {n: tensors[name] for name, n in self.parameters.items()}
        y: Tensor = self._vmapped(own, self._buffers(tensors), x)
        return y

    def _buffers(self, tensors: Tensors) -> Tensors:
        return {n: tensors[name] for name, n in self.buffers.items()}

    def _call(self, parameters: Tensors, buffers: Tensors, x: Tensor) -> Tensor:
        """Return the outputs of one row; vmap makes it all."""
        y: Tensor = functional_call(self.pattern, (parameters, buffers), (x,))
        return y
