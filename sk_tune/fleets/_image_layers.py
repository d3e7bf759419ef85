# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Layers of K networks at once whose inputs are signals, images or volumes.

Notation: k networks of the fleet in a batch; B samples, C channels, S spatial sizes.  x is
a layer's input, y its output; dx and dy are the derivatives of the loss by them.
"""

from typing import Any

import torch
from torch import Tensor, nn

from sk_tune._compat.torch_names import normalized, normalized_backward
from sk_tune.fleets._convolution import (
    Geometry,
    channels_of_one,
    convolution,
    convolution_gradients,
    pool_forms,
    pooled,
)
from sk_tune.fleets._layers import Batch, Layer, Memory, Tensors


class Convolution(Layer):
    """A convolution; `first` says that nobody asks for the derivatives by the input."""

    def __init__(self, name: str, geometry: Geometry, *, bias: bool, first: bool) -> None:
        self.weight, self.bias = name + ".weight", name + ".bias" if bias else None
        self.geometry = geometry
        self.first = first

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        needed = (not self.first, True, self.bias is not None)
        weight = batch.tensors[self.weight]
        found = convolution_gradients(dy, self._x, weight, self.geometry, needed)
        dx, dweight, dbias = found
        for name, gradient in ((self.weight, dweight), (self.bias, dbias)):
            if name is not None and gradient is not None:
                batch.found[name] = gradient.contiguous()
        return dy if dx is None else dx

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        bias = None if self.bias is None else tensors[self.bias]
        return convolution(x, tensors[self.weight], bias, self.geometry)


class Pooling(Layer):
    """The maximum or the mean over windows of a layer that ``pool_fits``, by autograd."""

    def __init__(self, module: nn.Module, *, first: bool) -> None:
        self.module = module
        self.first = first
        self._saved: Any = None

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        merge, part = pool_forms(x)
        with torch.enable_grad():
            leaf = merge(x).detach().requires_grad_(not self.first)
            y: Tensor = self.module(leaf)
        # The result itself, of which no view that autograd knows is changed in place.
        self._saved = (leaf, y, merge, part)
        return part(y.detach())

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        assert self._saved is not None  # noqa: S101 - forward came before
        leaf, y, merge, part = self._saved
        self._saved = None
        if self.first:
            return dy
        (dx,) = torch.autograd.grad(y, leaf, merge(dy))
        back: Tensor = part(dx)
        return back

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        return pooled(x, self.module)


class ImageNorm(Layer):
    """Batch normalisation of each channel, over samples and places of a network's batch."""

    def __init__(self, name: str, eps: float, momentum: float) -> None:
        self.name = name
        self.eps = eps
        self.momentum = momentum
        self._saved: tuple[Tensor, ...] = ()

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        if x[0].numel() == x.shape[2]:
            raise ValueError("Batch normalisation asks for more than one number a channel.")
        images, back = channels_of_one(x)
        tensors = self._own(batch.tensors)
        y, *statistics = normalized(images, *tensors, True, self.momentum, self.eps)
        batch.tensors[self.name + ".num_batches_tracked"].add_(1)
        self._saved = (x, *statistics)
        return back(y)

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        x, *statistics = self._saved
        images, back = channels_of_one(x)
        if dy.stride() != x.stride():
            dy = torch.empty_like(x).copy_(dy)
        outputs, _ = channels_of_one(dy)
        weight, _, *running = self._own(batch.tensors)
        dx, dweight, dbias = normalized_backward(
            outputs, images, weight, *running, *statistics, True, self.eps, [True] * 3
        )
        batch.found[self.name + ".weight"] = dweight.view(len(x), -1)
        batch.found[self.name + ".bias"] = dbias.view(len(x), -1)
        return back(dx)

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        images, back = channels_of_one(x)
        y, *_ = normalized(images, *self._own(tensors), False, self.momentum, self.eps)
        return back(y)

    def _own(self, tensors: Tensors) -> list[Tensor]:
        """Return weight, bias, mean and variance of the channels of all networks."""
        names = ("weight", "bias", "running_mean", "running_var")
        return [tensors[f"{self.name}.{name}"].flatten() for name in names]


class Flat(Layer):
    """All numbers of a sample in one line, in the order of a lone network."""

    def __init__(self, name: str, memory: Memory) -> None:
        self.name = name
        self.memory = memory

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        return torch.empty_like(self._x).copy_(dy.reshape(self._x.shape))

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        out = self.memory(self.name, x, *x.shape)
        return out.copy_(x).flatten(2)
