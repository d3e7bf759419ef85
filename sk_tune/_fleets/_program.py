# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""K networks of one architecture as one program: stacked tensors and a list of layers.

Autograd would cost a small network as much as its arithmetic, so the derivatives of the
layers are written out.  Any other module is one layer, by ``vmap`` and autograd.
"""

from collections.abc import Sequence
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
from sk_tune._fleets._traced import NORMS, OVER_CLASSES, Chain, Link, chain_of
from sk_tune._nets import MLP, SeparateHeads, SharedLinear, TableInputs


class Program:
    """K networks of one architecture, dropout aside, as one program.

    Tensors have the names of the modules', and are copies; frozen parameters are buffers.
    `dropout_seeds` is None for networks that only predict. `chain` is for tests.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        X: Tensor,
        dropout_seeds: Sequence[int] | None = None,
        chain: Chain | None = None,
    ) -> None:
        # Modules without dropout may lack layers.
        pattern = max(modules, key=lambda module: len(list(module.modules())))
        chain = chain or chain_of(pattern, X, predicts=dropout_seeds is None)
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
        self._parts: dict[tuple[int, int], Tensors] = {}
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
        """Return the unnormalised outputs of a batch, (k, B, C) or (k, B, members, C)."""
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
        first_steps: list[int],
        n_steps: int,
        generators: Sequence[torch.Generator | None],
    ) -> None:
        """Prepare random numbers for `n_steps` after each network's `first_steps`."""
        self.dropout.begin_epoch(first_steps, n_steps, generators)
        self._parts.clear()

    def select(self, index: Tensor) -> None:
        """Keep the networks at `index`, in that order."""
        for part in (self.parameters, self.buffers, self.dropout):
            part.select(index)
        self._parts.clear()

    def extend(self, other: "Program") -> None:
        """Append the networks of a program, which is then unusable."""
        has_more = len(other.dropout.names) > len(self.dropout.names)
        self.parameters.extend(other.parameters)
        self.buffers.extend(other.buffers)
        self.dropout.extend(other.dropout)
        self._parts.clear()
        if has_more:
            # The pattern of networks without dropout lacks its layers.
            self._pattern = other._pattern
            self.layers = self._build_layers()

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
            first = is_first and index == 0
            if link.inside:
                inside = [
                    self._layer(part, part.layer(module), first=first and i == 0)
                    for i, part in enumerate(link.inside)
                ]
                layers.append(Residual(chained(inside), first=first))
            elif index < chain.n_images:
                # The next layer also adds these zeros.
                if not is_zero_pad(layer):
                    previous = modules[index - 1] if index else None
                    layers.append(self._image_layer(link, layer, previous, first=first))
            else:
                last = index in linear[-1:]
                layers.append(self._layer(link, layer, first=first, last=last))
        return chained(layers)

    def _image_layer(self, link: Link, module: Any, previous: Any, *, first: bool) -> Layer:
        geometry = geometry_of(module)
        if geometry is not None:
            if is_zero_pad(previous):
                around = previous.padding
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
        return self._layer(link, module, first=first)

    def _layer(self, link: Link, module: Any, *, first: bool, last: bool = False) -> Layer:
        name = link.name
        mask, number = mask_of(self.dropout, name, module, {})
        if mask is not None:
            return Dropout(mask, number)
        if isinstance(module, nn.Flatten):
            return Flat()
        if isinstance(module, nn.Linear):
            return Linear(name, bias=module.bias is not None, first=first, last=last)
        if isinstance(module, SharedLinear):
            return MemberLinear(name, self.members, first=first)
        if isinstance(module, SeparateHeads):
            return MemberHead(name, self.members, self.link)
        if isinstance(module, nn.BatchNorm1d):
            return BatchNorm(name, module.eps, module.momentum or 0.0)
        if isinstance(module, nn.LayerNorm):
            return LayerNorm(name, module.eps)
        # Softmax over classes, which here are the last dimension instead of the second.
        over_classes = isinstance(module, OVER_CLASSES)
        return Activation(type(module)(dim=-1) if over_classes else module)
