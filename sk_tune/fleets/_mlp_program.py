# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Layers of ``sk_tune.nets`` whose members share a matrix, of K networks at once.

Between them, the samples of all members are those of one long batch, so that activations,
dropout and normalisation need nothing new.

Notation: k networks of the fleet, m members of each, B samples; D inputs and H outputs.  r
and s are the scales of inputs and outputs, W the matrix, z = W (r * x).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sk_tune.fleets._chain import ChainProgram
from sk_tune.fleets._layers import (
    Activation,
    Batch,
    BatchNorm,
    Dropout,
    Layer,
    LayerNorm,
    Linear,
    ModuleLayer,
    Residual,
    Tensors,
    chained,
)
from sk_tune.fleets._masks import StackedDropout
from sk_tune.nets import MLP, mean_of_members

__all__ = ["MLPProgram"]

Memory = Callable[..., Tensor]


class Members(Layer):
    """Each sample once for each of m members."""

    def __init__(self, members: int, *, first: bool) -> None:
        self.members = members
        self.first = first

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        if self.first:
            return dy
        return _by_member(dy, self.members).sum(dim=1)

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        return x.repeat(1, self.members, 1)


class MemberLinear(Layer):
    """A linear map with one matrix for all members."""

    def __init__(self, name: str, members: int, memory: Memory, *, first: bool) -> None:
        self.name = name
        self.members = members
        self.memory = memory
        self.first = first
        self._saved: tuple[Tensor, ...] = ()

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        y, scaled, z = self._outputs(x, batch.tensors)
        self._saved = (x, scaled, z)
        return y

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        x, scaled, z = self._saved
        r, s, _ = self._vectors(batch.tensors)
        weight = batch.tensors[self.name + ".weight"]
        dy = _by_member(dy, self.members)  # (k, m, B, H)
        self._found("bias", dy.sum(dim=2), batch)
        self._found("output_scale", (dy * _by_member(z, self.members)).sum(dim=2), batch)
        dz = (dy * s).flatten(1, 2)
        out = self.memory(self.name + ".weight", dz, *weight.shape)
        batch.found[self.name + ".weight"] = torch.bmm(dz.mT, scaled, out=out)
        dscaled = torch.bmm(dz, weight, out=self.memory(self.name + ".dx", x, *x.shape))
        dscaled = _by_member(dscaled, self.members)
        by_scale = (dscaled * _by_member(x, self.members)).sum(dim=2)
        self._found("input_scale", by_scale, batch)
        return dy if self.first else dscaled.mul_(r).flatten(1, 2)

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        return self._outputs(x, tensors)[0]

    def _outputs(self, x: Tensor, tensors: Tensors) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output, the scaled input and z."""
        weight = tensors[self.name + ".weight"]
        r, s, b = self._vectors(tensors)
        scaled = self.memory(self.name + ".scaled", x, *x.shape)
        torch.mul(_by_member(x, self.members), r, out=_by_member(scaled, self.members))
        shape = (*x.shape[:2], weight.shape[1])
        z = torch.bmm(scaled, weight.mT, out=self.memory(self.name + ".z", x, *shape))
        y = self.memory(self.name + ".y", x, *shape)
        torch.addcmul(b, _by_member(z, self.members), s, out=_by_member(y, self.members))
        return y, scaled, z

    def _vectors(self, tensors: Tensors) -> tuple[Tensor, Tensor, Tensor]:
        """Return r, s and b, each of shape (k, m, 1, D or H)."""
        r, s, b = (
            vector.reshape(len(vector), self.members, 1, -1)
            for vector in (
                tensors[f"{self.name}.{part}"]
                for part in ("input_scale", "output_scale", "bias")
            )
        )
        return r, s, b

    def _found(self, part: str, gradient: Tensor, batch: Batch) -> None:
        batch.found[f"{self.name}.{part}"] = gradient.flatten(1)


class MemberHead(Layer):
    """A linear map for each member."""

    def __init__(self, name: str, members: int, memory: Memory) -> None:
        self.weight, self.bias = name + ".weight", name + ".bias"
        self.dx = name + ".dx"
        self.members = members
        self.memory = memory

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        k = len(dy)
        dy = _by_member(dy, self.members).flatten(0, 1)  # (k m, B, C)
        x = _by_member(self._x, self.members).flatten(0, 1)
        weight = batch.tensors[self.weight].flatten(0, 1)
        batch.found[self.weight] = torch.bmm(dy.mT, x).view(
            batch.tensors[self.weight].shape
        )
        batch.found[self.bias] = dy.sum(dim=1).view(k, -1)
        dx = torch.bmm(dy, weight, out=self.memory(self.dx, x, *x.shape))
        return dx.view(self._x.shape)

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        weight = tensors[self.weight].flatten(0, 1)
        bias = tensors[self.bias].view(len(weight), 1, -1)
        inputs = _by_member(x, self.members).flatten(0, 1)
        return torch.baddbmm(bias, inputs, weight.mT).view(*x.shape[:2], -1)


def _by_member(x: Tensor, members: int) -> Tensor:
    """Return (k, m B, D) as (k, m, B, D), a view of contiguous memory."""
    return x.reshape(len(x), members, -1, x.shape[2])


class MLPProgram(ChainProgram):
    """K networks ``sk_tune.nets.MLP`` of one architecture, dropout probabilities aside."""

    def __init__(self, modules: Sequence[MLP], dropout: StackedDropout) -> None:
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

    def forward(self, X: Tensor, networks: slice, step: int) -> Tensor:
        outputs = super().forward(X, networks, step)
        return outputs if self.members == 1 else self._members_last(outputs)

    def backward(self, gradient: Tensor) -> list[Tensor]:
        if self.members > 1:
            gradient = gradient.transpose(1, 2).flatten(1, 2)
        return super().backward(gradient)

    def evaluate(self, X: Tensor, networks: slice) -> Tensor:
        outputs = super().evaluate(X, networks)
        return outputs if self.members == 1 else self.combined(self._members_last(outputs))

    def combined(self, outputs: Tensor) -> Tensor:
        return outputs if outputs.ndim == 3 else mean_of_members(outputs, self.link, dim=2)

    def _members_last(self, outputs: Tensor) -> Tensor:
        """Return (k, m B, C) as (k, B, m, C), as a lone network has it."""
        k, _, n_outputs = outputs.shape
        return outputs.view(k, self.members, -1, n_outputs).transpose(1, 2)

    def _hidden_layer(self, index: int, layer: Any, *, first: bool) -> list[Layer]:
        name = f"hidden.{index}"
        linear = f"{name}.linear"
        layers: list[Layer] = [
            Linear(linear, self.memory, first=first)
            if self.members == 1
            else MemberLinear(linear, self.members, self.memory, first=first)
        ]
        if isinstance(layer.norm, nn.BatchNorm1d):
            momentum = layer.norm.momentum or 0.0
            layers.append(BatchNorm(f"{name}.norm", layer.norm.eps, momentum, self.memory))
        elif layer.norm is not None:
            layers.append(LayerNorm(f"{name}.norm", layer.norm.eps, self.memory))
        if not isinstance(layer.activation, nn.Identity):
            layers.append(Activation(layer.activation, f"{name}.activation", self.memory))
        mask = partial(self._mask, index)
        layers.append(Dropout(mask, f"{name}.dropout", self.memory, seeded=index))
        if layer.residual:
            return [Residual(chained(layers), name, self.memory, first=first)]
        return layers

    def _mask(self, index: int, x: Tensor, batch: Batch) -> Tensor | None:
        if not self.dropout.active:
            return None
        out = self.memory(f"mask{index}", x, x.shape[0], x.shape[1] * x.shape[2])
        return self.dropout.mask(index, batch.step, batch.networks, out).view(x.shape)
