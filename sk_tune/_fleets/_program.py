# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""K networks of one architecture as one program: stacked tensors and a list of layers.

Autograd would cost a small network as much as its arithmetic, and would allocate every
intermediate result again.  The layers here have written-out derivatives, and memory for the
whole training.  A module without written-out layers is one layer, by ``vmap`` and autograd.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sk_tune._fleets._convolution import (
    Convolution,
    Flat,
    ImageNorm,
    Pooling,
    geometry_of,
    is_zero_pad,
    pool_fits,
)
from sk_tune._fleets._layers import (
    Activation,
    Batch,
    BatchNorm,
    Dropout,
    Layer,
    LayerNorm,
    Linear,
    MemberHead,
    MemberLinear,
    Members,
    Residual,
    Tensors,
    chained,
    run_backward,
)
from sk_tune._fleets._masks import StackedDropout, mask_of
from sk_tune._fleets._module_layer import ModuleLayer
from sk_tune._fleets._stacked_optimizers import StackedTensors
from sk_tune._fleets._traced import NORMS, OVER_CLASSES, Chain, Link
from sk_tune._nets import MLP, SeparateHeads, SharedLinear, TableInputs

# Memory is released after this many shapes of batches and layers.
_MOST_SHAPES = 256

Step = Callable[[Tensor], Tensor]


class Program:
    """K networks of one architecture, dropout aside, as one program.

    Tensors have the names of the modules'; frozen parameters are buffers. `chain` belongs
    to `pattern`, the module with most layers: modules without dropout may lack its layers.
    `dropout_seeds` is None for networks that only predict. X has the form of the inputs.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        pattern: nn.Module,
        chain: Chain,
        X: Tensor,
        dropout_seeds: Sequence[int] | None,
    ) -> None:
        parameters, buffers = [], []
        for module in modules:
            named = dict(module.named_parameters())
            parameters.append({n: p for n, p in named.items() if p.requires_grad})
            frozen = {n: p for n, p in named.items() if not p.requires_grad}
            buffers.append(frozen | dict(module.named_buffers()))
        self.parameters = StackedTensors.stacked(parameters)
        self.buffers = StackedTensors.stacked(buffers)
        self.dropout = StackedDropout(modules, dropout_seeds)
        # Outputs of each network in training, and the link from them to predictions.
        mlp = modules[0] if isinstance(modules[0], MLP) else None
        self.members = 1 if mlp is None else mlp.members
        self.link = "identity" if mlp is None else mlp.link
        self._is_training = True
        self._parts: dict[tuple[int, int], Tensors] = {}
        self._store: dict[Any, Tensor] = {}
        self._steps: dict[tuple[int, int, int], list[Step]] = {}
        self._batch: Any = None
        # Pattern and chain of the layers; inputs of networks to train.
        self._pattern = (pattern, chain, None if dropout_seeds is None else X)
        self.layers = self._build_layers()
        # Whether the layers expect flat samples.
        self._flattens = not (chain.n_images or isinstance(self.layers[0], ModuleLayer))

    @property
    def is_written_out(self) -> bool:
        """Whether vmap and autograd are needed for the first layer at most."""
        return len(self.layers) > 1 or not isinstance(self.layers[0], ModuleLayer)

    def weights(self) -> StackedTensors:
        """Return all parameters and buffers."""
        return StackedTensors(self.parameters.tensors | self.buffers.tensors)

    def parts(self, networks: slice) -> Tensors:
        """Return views (k, ...) of the parameters and buffers of some networks by name."""
        key = (networks.start, networks.stop)
        if key not in self._parts:
            tensors = self.weights().tensors
            self._parts[key] = {name: tensor[networks] for name, tensor in tensors.items()}
        return self._parts[key]

    def forward(self, X: Tensor, networks: slice) -> Tensor:
        """Return the outputs for a training batch, and save the state for ``backward``.

        X is (k, B, ...), outputs are (k, B, C) and unnormalised; (k, B, members, C) for
        several members.
        """
        batch = self._batch = Batch(self.parts(networks), networks, {})
        h = X.flatten(2) if self._flattens else X
        for layer in self.layers:
            h = layer.forward(h, batch)
        return h

    def backward(self, gradient: Tensor) -> list[Tensor]:
        """Return the gradients (k, ...) by the parameters, which may be overwritten."""
        run_backward(self.layers, gradient, self._batch)
        return [self._batch.gradients[name] for name in self.parameters.tensors]

    def evaluate(self, X: Tensor, networks: slice) -> Tensor:
        """Return unnormalised outputs (k, n, C) in evaluation mode for X (k, n, ...)."""
        tensors = self.parts(networks)
        h = X.flatten(2) if self._flattens else X
        for layer in self.layers:
            h = layer.evaluate(h, tensors)
        return h

    def begin_epoch(
        self,
        first_steps: Sequence[int],
        n_steps: int,
        generators: Sequence[torch.Generator | None],
    ) -> None:
        """Prepare the random numbers of an epoch; ``dropout.begin_step`` selects a step's.

        `first_steps` are the updates that each network has made; its ``nn.Dropout`` layers
        draw from its generator; `n_steps` are the steps of the longest epoch.
        """
        self.dropout.begin_epoch(first_steps, n_steps, generators)
        self._parts.clear()
        if len(self._store) > _MOST_SHAPES:
            self._store.clear()

    def select(self, index: Tensor) -> None:
        """Keep the networks at `index`, in that order."""
        for part in (self.parameters, self.buffers, self.dropout):
            part.select(index)
        self._parts.clear()
        self._store.clear()

    def extend(self, other: "Program") -> None:
        """Append the networks of another program of the same architecture.

        `other` must not be used afterwards.
        """
        has_more = len(other.dropout.names) > len(self.dropout.names)
        self.parameters.extend(other.parameters)
        self.buffers.extend(other.buffers)
        self.dropout.extend(other.dropout)
        self._parts.clear()
        if has_more:
            # The pattern of networks without dropout lacks its layers.
            self._pattern = other._pattern
            self.layers = self._build_layers()

    def memory(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """Return memory for a name and shape, the same at every step, uninitialised."""
        if not self._is_training:
            size = math.prod(shape)
            block = self._store.get(name)
            if block is None or len(block) < size:
                block = self._store[name] = like.new_empty(size)
                # Drop views into the previous, smaller memory.
                self._steps.clear()
            return block[:size].view(shape)
        key = (name, shape)
        block = self._store.get(key)
        if block is None:
            block = self._store[key] = like.new_empty(shape)
        return block

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
        """Fold input scales and shifts, (K, D), into the first layer, or return False."""
        first = self.layers[0]
        if not isinstance(first, Linear) or first.bias is None:
            return False
        tensors = self.parameters.tensors
        shift_input(first, shift, tensors)
        weight = tensors[first.weight]
        tensors[first.weight] = (weight * scale.unsqueeze(1)).to(weight.dtype)
        self._parts.clear()
        self._steps.clear()
        return True

    def only_predict(self) -> None:
        """Replace the layers by layers that only predict; then ``fold_floors`` must follow.

        All shapes of a name share one memory: networks to predict vary in number.
        """
        self._is_training = False
        self._store.clear()
        layers = [
            PredictingLinear(layer) if type(layer) is Linear else layer
            for layer in self.layers
            if not isinstance(layer, Dropout)
        ]
        for first, second, third in list(zip(layers, layers[1:], layers[2:], strict=False)):
            ends = [x for x in (first, third) if isinstance(x, PredictingLinear) and x.bias]
            if len(ends) == 2 and isinstance(second, Activation) and second.is_relu:
                ends[0].following = ends[1]
                layers.remove(second)
        self.layers = layers

    def fold_floors(self) -> None:
        """Turn biases into floors, once, as layers that only predict need them."""
        tensors = self.parameters.tensors
        for layer in self.layers:
            if isinstance(layer, PredictingLinear) and layer.bias and layer.following:
                floor = tensors[layer.bias]
                shift_input(layer.following, floor, tensors)
                tensors[layer.bias] = -floor
        self._parts.clear()
        self._steps.clear()

    def _build_layers(self) -> list[Layer]:
        module, chain, X = self._pattern
        modules = [link.layer(module) for link in chain.links]
        linear = [i for i, layer in enumerate(modules) if isinstance(layer, nn.Linear)]
        layers: list[Layer] = []
        links = list(enumerate(zip(chain.links, modules, strict=True)))
        if chain.reason or isinstance(modules[0], TableInputs):
            layers.append(ModuleLayer(links[0][1][0].name, modules[0], self.dropout, X))
            del links[0]
        is_first = not layers
        if self.members > 1:
            layers.append(Members(self.members, first=is_first))
        for index, (link, layer) in links:
            place, first = f"link {index}", is_first and index == 0
            if link.inside:
                inside = [
                    self._layer(k, k.layer(module), f"{place}.{i}", first=first and i == 0)
                    for i, k in enumerate(link.inside)
                ]
                layers.append(Residual(chained(inside), place, self.memory, first=first))
            elif index < chain.n_images:
                # The next layer also adds these zeros.
                if not is_zero_pad(layer):
                    previous = modules[index - 1] if index else None
                    image_layer = self._image_layer(
                        link, layer, previous, place, first=first
                    )
                    layers.append(image_layer)
            else:
                last = index in linear[-1:]
                layers.append(self._layer(link, layer, place, first=first, last=last))
        return chained(layers)

    def _image_layer(
        self, link: Link, module: Any, before: Any, place: str, *, first: bool
    ) -> Layer:
        geometry = geometry_of(module)
        if geometry is not None:
            if is_zero_pad(before):
                around = before.padding
                added = zip(around[-2::-2], around[::-2], strict=True)
                both = zip(geometry.padding, added, strict=True)
                sides = tuple((a + more, b + after) for (a, b), (more, after) in both)
                geometry = geometry._replace(padding=sides)
            has_bias = module.bias is not None
            return Convolution(link.name, geometry, bias=has_bias, first=first)
        if pool_fits(module):
            return Pooling(module, first=first)
        if type(module) in NORMS.values():
            return ImageNorm(link.name, module.eps, module.momentum)
        return self._layer(link, module, place, first=first)

    def _layer(
        self, link: Link, module: Any, place: str, *, first: bool, last: bool = False
    ) -> Layer:
        """Return the layer of a link; `place` names its memory."""
        name, memory = link.name, self.memory
        mask, number = mask_of(self.dropout, name, module, {}, memory)
        if mask is not None:
            return Dropout(mask, place, memory, seeded=number)
        if isinstance(module, nn.Flatten):
            return Flat(place, memory)
        if isinstance(module, nn.Linear):
            bias = module.bias is not None
            return Linear(name, memory, bias=bias, first=first, last=last)
        if isinstance(module, SharedLinear):
            return MemberLinear(name, self.members, memory, first=first)
        if isinstance(module, SeparateHeads):
            return MemberHead(name, self.members, self.link, memory)
        if isinstance(module, nn.BatchNorm1d):
            return BatchNorm(name, module.eps, module.momentum or 0.0, memory)
        if isinstance(module, nn.LayerNorm):
            return LayerNorm(name, module.eps, memory)
        # Softmax over classes, which here are the last dimension instead of the second.
        over_classes = isinstance(module, OVER_CLASSES)
        return Activation(type(module)(dim=-1) if over_classes else module, place, memory)


class PredictingLinear(Linear):
    """A linear map; its ReLU becomes a floor if a layer `following` corrects for that."""

    def __init__(self, linear: Linear) -> None:
        vars(self).update(vars(linear))
        self.following: PredictingLinear | None = None

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        """Return the output in evaluation mode, with the samples last in memory."""
        return self.bound(x, tensors)(x)

    def bound(self, x: Tensor, tensors: Tensors) -> Step:
        """Return a step from (k, B, D), or (B, D), to (k, B, H), with views prepared."""
        weight = tensors[self.weight]
        out = self.memory(self.out, x, *weight.shape[:2], x.shape[-2])
        multiply, product = torch.bmm, out
        if x.ndim == 2:
            multiply, weight, product = torch.mm, weight.flatten(0, 1), out.flatten(0, 1)
        bias = None if self.bias is None else tensors[self.bias].unsqueeze(2)
        # `baddbmm` would fill the output with the bias and read it again.
        add = torch.add if self.following is None else torch.maximum
        turned = out.mT

        def step(x: Tensor) -> Tensor:
            multiply(weight, x.mT, out=product)
            if bias is not None:
                add(out, bias, out=out)
            return turned

        return step


def shift_input(layer: Linear, shift: Tensor, tensors: Tensors) -> None:
    """Add (K, D) to a layer's inputs by its bias: W (x + s) + b = W x + (W s + b)."""
    weight, bias = tensors[layer.weight], tensors[layer.bias or ""]
    moved = (weight.double() @ shift.double().unsqueeze(2)).squeeze(2)
    tensors[layer.bias or ""] = (bias + moved).to(bias.dtype)
