# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""K networks that are plain chains of layers as one, with derivatives written out.

Autograd would cost a small network as much as its arithmetic, and would allocate every
intermediate result anew; here each has its memory for the whole training.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sk_tune.fleets._layers import (
    Activation,
    Batch,
    Dropout,
    Layer,
    Linear,
    Tensors,
    run_backward,
)
from sk_tune.fleets._masks import StackedDropout
from sk_tune.fleets._stacked_optimizers import StackedTensors

__all__ = ["ChainProgram", "Program", "stacked_parts"]


class Program(ABC):
    """K networks of one architecture as one; tensors have the names of the module's."""

    # Outputs of each network while it trains.
    members = 1

    def __init__(
        self, parameters: StackedTensors, buffers: StackedTensors, dropout: StackedDropout
    ) -> None:
        self.parameters = parameters
        self.buffers = buffers
        self.dropout = dropout
        self._parts: dict[tuple[int, int], dict[str, Tensor]] = {}

    def parts(self, networks: slice) -> dict[str, Tensor]:
        """Return views (k, ...) of the parameters and buffers of some networks by name."""
        key = (networks.start, networks.stop)
        if key not in self._parts:
            self._parts[key] = {
                name: tensor[networks]
                for part in (self.parameters, self.buffers)
                for name, tensor in part.tensors.items()
            }
        return self._parts[key]

    @abstractmethod
    def forward(self, X: Tensor, networks: slice, step: int) -> Tensor:
        """Return the outputs for a batch to train on, and keep what ``backward`` needs.

        X is (k, B, ...), outputs are (k, B, C) and unnormalised; (k, B, members, C) of
        several members. `step` is counted in the epoch.
        """

    def combined(self, outputs: Tensor) -> Tensor:
        """Return outputs of ``forward`` without an axis of members, (k, B, C)."""
        return outputs

    @abstractmethod
    def backward(self, gradient: Tensor) -> Sequence[Tensor]:
        """Return the derivatives, (k, ...), by the parameters; they may be overwritten."""

    @abstractmethod
    def evaluate(self, X: Tensor, networks: slice) -> Tensor:
        """Return unnormalised outputs (k, n, C) in evaluation mode for X (k, n, ...)."""

    def begin_epoch(
        self,
        first_steps: Sequence[int],
        n_steps: int,
        generators: Sequence[torch.Generator | None],
    ) -> None:
        """Prepare the random numbers of an epoch.

        Each network has made `first_steps` updates before, its ``nn.Dropout`` layers draw
        from its generator; `n_steps` are those of the longest epoch.
        """
        self.dropout.begin_epoch(first_steps, n_steps)
        self._parts.clear()

    def select(self, index: Tensor) -> None:
        """Keep some networks, in the order given."""
        for part in (self.parameters, self.buffers, self.dropout):
            part.select(index)
        self._parts.clear()

    def extend(self, other: "Program") -> None:
        """Add the networks of another program, of the same architecture, behind these."""
        self.parameters.extend(other.parameters)
        self.buffers.extend(other.buffers)
        self.dropout.extend(other.dropout)
        self._parts.clear()


def stacked_parts(modules: Sequence[nn.Module]) -> tuple[StackedTensors, StackedTensors]:
    """Return the parameters and buffers of networks, stacked.

    Frozen parameters are buffers.
    """
    parameters, buffers = [], []
    for module in modules:
        named = dict(module.named_parameters())
        parameters.append({n: p for n, p in named.items() if p.requires_grad})
        frozen = {n: p for n, p in named.items() if not p.requires_grad}
        buffers.append(frozen | dict(module.named_buffers()))
    return StackedTensors.stacked(parameters), StackedTensors.stacked(buffers)


Step = Callable[[Tensor], Tensor]


class PredictingLinear(Linear):
    """A linear map, and the ReLU behind it if a layer `following` makes up for a floor."""

    def __init__(self, linear: Linear) -> None:
        vars(self).update(vars(linear))
        self.following: PredictingLinear | None = None

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        """Return the output in evaluation mode, with the samples last in memory."""
        return self.bound(x, tensors)(x)

    def bound(self, x: Tensor, tensors: Tensors) -> Step:
        """Return what maps (k, B, D), or (B, D), to (k, B, H), with all views made."""
        weight = tensors[self.weight]
        out = self.memory(self.out, x, *weight.shape[:2], x.shape[-2])
        multiply, product = torch.bmm, out
        if x.ndim == 2:
            multiply, weight, product = torch.mm, weight.flatten(0, 1), out.flatten(0, 1)
        bias = None if self.bias is None else tensors[self.bias].unsqueeze(2)
        # `baddbmm` would fill the output with the bias, and read it again.
        add = torch.add if self.following is None else torch.maximum
        turned = out.mT

        def step(x: Tensor) -> Tensor:
            multiply(weight, x.mT, out=product)
            if bias is not None:
                add(out, bias, out=out)
            return turned

        return step


def predicting(layers: Sequence[Layer]) -> list[Layer]:
    """Return layers that only predict, once :func:`fold_floors` has been called."""
    found = [
        PredictingLinear(layer) if type(layer) is Linear else layer
        for layer in layers
        if not isinstance(layer, Dropout)
    ]
    for first, second, third in list(zip(found, found[1:], found[2:], strict=False)):
        ends = [x for x in (first, third) if isinstance(x, PredictingLinear) and x.bias]
        if len(ends) == 2 and isinstance(second, Activation) and second.is_relu:
            ends[0].following = ends[1]
            found.remove(second)
    return found


def fold_floors(layers: Sequence[Layer], tensors: Tensors) -> None:
    """Make floors of the biases of what :func:`predicting` returns; biases are replaced."""
    for layer in layers:
        if isinstance(layer, PredictingLinear) and layer.bias and layer.following:
            floor = tensors[layer.bias]
            shift_input(layer.following, floor, tensors)
            tensors[layer.bias] = -floor


def shift_input(layer: Linear, shift: Tensor, tensors: Tensors) -> None:
    """Let a layer add (K, D) to its inputs by its bias: W (x + s) + b = W x + (W s + b)."""
    weight, bias = tensors[layer.weight], tensors[layer.bias or ""]
    moved = (weight.double() @ shift.double().unsqueeze(2)).squeeze(2)
    tensors[layer.bias or ""] = (bias + moved).to(bias.dtype)


# Memory is made anew when a fleet has had this many shapes of batches and layers.
_MOST_SHAPES = 256


class ChainProgram(Program):
    """K networks of one chain of layers, equal but for weights and dropout."""

    def __init__(self, modules: Sequence[nn.Module], dropout: StackedDropout) -> None:
        super().__init__(*stacked_parts(modules), dropout)
        self.layers: list[Layer] = []
        self._store: dict[Any, Tensor] = {}
        self._steps: dict[tuple[int, int, int], list[Step]] = {}
        self._is_training = True
        self._batch: Any = None

    def forward(self, X: Tensor, networks: slice, step: int) -> Tensor:
        batch = self._batch = Batch(self.parts(networks), networks, step, {})
        h = X
        for layer in self.layers:
            h = layer.forward(h, batch)
        return h

    def backward(self, gradient: Tensor) -> list[Tensor]:
        run_backward(self.layers, gradient, self._batch, keep=True)
        return [self._batch.found[name] for name in self.parameters.tensors]

    def evaluate(self, X: Tensor, networks: slice) -> Tensor:
        tensors = self.parts(networks)
        h = X
        for layer in self.layers:
            h = layer.evaluate(h, tensors)
        return h

    def evaluate_shared(self, X: Tensor, networks: slice) -> Tensor:
        """Return outputs (k, n, C) for shared inputs (n, ...), after ``only_predict``."""
        if not isinstance(self.layers[0], PredictingLinear):
            return self.evaluate(
                X.expand(networks.stop - networks.start, *X.shape), networks
            )
        h = X.flatten(1)
        key = (networks.start, networks.stop, len(h))
        if key in self._steps:
            for step in self._steps[key]:
                h = step(h)
            return h
        tensors = self.parts(networks)
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
        """Let the first layer scale and shift inputs, by (K, D) in float64, if it can."""
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

        All shapes of a name share one memory: networks to predict vary in number.
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
        super().begin_epoch(first_steps, n_steps, generators)
        if len(self._store) > _MOST_SHAPES:
            self._store.clear()

    def select(self, index: Tensor) -> None:
        super().select(index)
        self._store.clear()

    def memory(
        self, name: str, like: Tensor, *shape: int, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Return memory of a name and shape, the same at every step, not cleared."""
        if not self._is_training:
            size = math.prod(shape)
            found = self._store.get(name)
            if found is None or len(found) < size:
                found = self._store[name] = like.new_empty(size, dtype=dtype)
                # Views into the smaller memory before are dropped.
                self._steps.clear()
            return found[:size].view(shape)
        key = (name, shape)
        found = self._store.get(key)
        if found is None:
            found = self._store[key] = like.new_empty(shape, dtype=dtype)
        return found
