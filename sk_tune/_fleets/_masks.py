# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Dropout of many networks, with the masks of each network trained alone.

sk_tune's layers compute masks from counters; ``nn.Dropout`` draws them from a generator.

Notation: K networks, k of them in a batch; L dropout layers, S steps of an epoch.  See
``sk_tune._nets.SeededDropout`` for a, b and the threshold.
"""

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sk_tune._nets import (
    SeededDropout,
    dropout_coefficients,
    dropout_layer_seeds,
    dropout_positions,
    dropout_threshold,
)
from sk_tune._training import forked_rng

# Numbers of an inactive layer.
_NEUTRAL = {"keys": 0, "thresholds": dropout_threshold(0.0), "scales": 1}
# Positions are sorted again after this number of shapes of activations.
_MOST_SHAPES = 16


class StackedDropout:
    """The dropout layers of K networks, some of which may be inactive.

    `names` are sk_tune's layers, in the order of the modules; `drawn` are torch's. Without
    `seeds`, the networks only predict.
    """

    def __init__(self, modules: Sequence[nn.Module], seeds: Sequence[int] | None) -> None:
        layers = [dict(module.named_modules()) for module in modules]
        seeded = [
            {n: m.p for n, m in named.items() if isinstance(m, SeededDropout)}
            for named in layers
        ]
        self.names = max(map(list, seeded), key=len)
        self.drawn = [n for n, m in layers[0].items() if is_torch_dropout(m)]
        # Dropout probabilities of torch's layers, by network.
        self._drawn = [[named[name].p for name in self.drawn] for named in layers]
        self._generators: Sequence[torch.Generator | None] = ()
        probabilities = [list(p.values()) or [0.0] * len(self.names) for p in seeded]
        self.active = any(map(any, probabilities))
        shape, like = (len(modules), len(self.names)), next(modules[0].parameters())

        def by_layer(values: list[list[Any]], dtype: torch.dtype) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=like.device).view(shape).T

        keys = [dropout_layer_seeds(s, shape[1]) for s in seeds or [0] * len(modules)]
        self.keys = by_layer(keys, torch.int64)
        thresholds = [list(map(dropout_threshold, p)) for p in probabilities]
        self.thresholds = by_layer(thresholds, torch.int32)
        scales = [[1 / (1 - p) for p in of_network] for of_network in probabilities]
        self.scales = by_layer(scales, like.dtype)
        # Updates of each network before the epoch, and steps of the epoch.
        self.first_steps: list[int] = []
        self._n_steps = 0
        # a and b of an epoch, (S, 2, L, K).
        self._epoch: Tensor | None = None
        # Numbers from which the masks of a step are computed, each (K, 1), by layer.
        self._columns: list[tuple[Tensor, ...]] = []
        self._positions: dict[Any, Tensor] = {}

    def select(self, index: Tensor) -> None:
        """Select the networks at `index`, in this order."""
        for name in _NEUTRAL:
            setattr(self, name, getattr(self, name)[:, index])
        self._drawn = [self._drawn[i] for i in index.tolist()]

    def extend(self, other: "StackedDropout") -> None:
        """Append networks of another fleet; layers missing on one side are inactive."""
        n_layers = max(len(self.keys), len(other.keys))
        for name, neutral in _NEUTRAL.items():
            parts = [getattr(part, name) for part in (self, other)]
            padded = [F.pad(t, (0, 0, 0, n_layers - len(t)), value=neutral) for t in parts]
            setattr(self, name, torch.cat(padded, dim=1))
        self.names = max(self.names, other.names, key=len)
        self.active |= other.active
        self._drawn += other._drawn

    def begin_epoch(
        self,
        first_steps: list[int],
        n_steps: int,
        generators: Sequence[torch.Generator | None],
    ) -> None:
        """Prepare an epoch, given updates before it and generators of torch's layers."""
        self.first_steps, self._n_steps = first_steps, n_steps
        self._generators = generators
        self._epoch = None

    def begin_step(self, step: int) -> None:
        """Select the numbers of a step of the epoch."""
        if not (self.active and len(self.keys)):
            return
        if self._epoch is None:
            device = self.keys.device
            first = torch.tensor(self.first_steps, dtype=torch.int64, device=device)
            steps = torch.arange(self._n_steps, device=device).view(-1, 1, 1) + first
            numbers = dropout_coefficients(self.keys, steps)
            self._epoch = torch.stack([n.to(torch.int32) for n in numbers], dim=1)
        parts = (*self._epoch[step], self.thresholds, self.scales)
        self._columns = list(zip(*(n.unsqueeze(-1) for n in parts), strict=True))

    def mask(self, layer: int, x: Tensor, networks: slice) -> Tensor | None:
        """Return factors of activations (k, B, ...); None if all are 1."""
        if not self.active:
            return None
        columns = self._columns[layer]
        if networks.stop - networks.start < len(columns[0]):
            columns = tuple(numbers[networks] for numbers in columns)
        if x.ndim > 3:
            return self._mask_like(x, columns)
        out = x.new_empty(len(x), x.shape[1] * x.shape[2])
        positions = dropout_positions(out.shape[1], out.device)
        return _fill_mask(out, positions, *columns).view(x.shape)

    def drawn_mask(
        self, layer: int, x: Tensor, networks: slice, order: Sequence[int] | None = None
    ) -> Tensor | None:
        """Return a torch layer's factors as drawn alone, in the memory `order` of axes."""
        probabilities = [p[layer] for p in self._drawn[networks]]
        if not any(probabilities):
            return None
        order = range(x.ndim - 1) if order is None else order
        moved = x.new_empty(len(x), *(x.shape[1 + dim] for dim in order))
        masks = moved.permute(0, *(1 + order.index(dim) for dim in range(len(order))))
        draws = zip(masks, self._generators[networks], probabilities, strict=True)
        for mask, generator, p in draws:
            # torch draws no numbers either if p is 0 or 1.
            if p in {0.0, 1.0}:
                mask.fill_(1.0 - p)
            else:
                mask.bernoulli_(1 - p, generator=generator)
        keep_rates = masks.new_tensor([1 - p or 1.0 for p in probabilities])
        masks.div_(keep_rates.view(-1, *(1,) * (masks.ndim - 1)))
        # Previous layers may have left another memory order than in a network alone.
        return masks if x.ndim == 3 else torch.empty_like(x).copy_(masks)

    def _mask_like(self, x: Tensor, numbers: Sequence[Tensor]) -> Tensor:
        """Return the factors of activations (k, B, ...), in their memory order."""
        order = sorted(range(x.ndim), key=x.stride, reverse=True)
        sizes = [x.shape[dim] for dim in order]
        outer = order.index(0)
        # A network's contiguous elements: all of them if networks are outermost.
        inner = prod(sizes[outer + 1 :])
        if outer == 0:
            # The networks share positions.
            placed, shape = (1, *x.shape[1:]), (len(x), inner)
        else:
            # Long contiguous runs without a change of the network's numbers.
            placed, shape = tuple(x.shape), (prod(sizes[:outer]), len(x) * inner)
            numbers = [n.flatten().repeat_interleave(inner) for n in numbers]
        key = (*placed, *order)
        if key not in self._positions:
            if len(self._positions) == _MOST_SHAPES:
                self._positions.clear()
            positions = dropout_positions(x[0].numel(), x.device).view(x.shape[1:])
            turned = positions.expand(placed).permute(order)
            self._positions[key] = turned.reshape(-1, shape[1])
        mask = _fill_mask(x.new_empty(shape), self._positions[key], *numbers)
        return mask.view(sizes).permute([order.index(dim) for dim in range(x.ndim)])


def mask_of(
    dropout: StackedDropout,
    name: str,
    layer: nn.Module,
    orders: Mapping[int, Sequence[int]],
) -> tuple[Any, int | None]:
    """Return a dropout layer's function ``(x, batch)`` to factors, and its seed number."""
    if isinstance(layer, SeededDropout):
        number = dropout.names.index(name)
        return lambda x, batch: dropout.mask(number, x, batch.networks), number
    if is_torch_dropout(layer):
        number = dropout.drawn.index(name)
        return lambda x, batch: dropout.drawn_mask(
            number, x, batch.networks, orders.get(x.ndim - 1)
        ), None
    return None, None


def _fill_mask(
    out: Tensor, positions: Tensor, a: Tensor, b: Tensor, threshold: Tensor, scale: Tensor
) -> Tensor:
    """Fill memory, in its order, with 0 and the scale by random `positions`; return it."""
    is_single = out.dtype == torch.float32
    # Integers of the same size are computed in the memory of the final floats.
    bits = out.view(torch.int32) if is_single else torch.empty_like(out, dtype=torch.int32)
    torch.mul(positions, a, out=bits).add_(b)
    # Numbers 1 or 0: masks of type bool cost several times as much.
    bits.ge_(threshold)
    if is_single:
        # The bits of the scale times 1 are the scale; times 0 they are the bits of 0.
        bits.mul_(scale.view(torch.int32))
        return out
    return torch.mul(bits, scale, out=out)


def is_torch_dropout(layer: nn.Module) -> bool:
    """Return whether ``StackedDropout.drawn_mask`` reproduces a layer."""
    return type(layer) is nn.Dropout and not layer.inplace


def orders_in_memory(
    module: nn.Module, X: Tensor
) -> dict[str, dict[int, tuple[int, ...]]] | None:
    """Return the memory orders of dropout layers' inputs, by name; None if they vary."""
    copied = copy.deepcopy(module).train()
    orders: dict[str, dict[int, tuple[int, ...]]] = {}
    is_clear = [True]

    def note(_: nn.Module, inputs: Any, *, name: str) -> None:
        # torch's masks have this order, also where the input repeats elements.
        like = torch.empty_like(inputs[0])
        # The position of a dimension of size 1 does not matter.
        order = tuple(sorted(range(like.ndim), key=like.stride, reverse=True))
        is_clear.append(order == orders[name].setdefault(like.ndim, order))

    for name, layer in copied.named_modules():
        if is_torch_dropout(layer):
            orders[name] = {}
            layer.register_forward_pre_hook(partial(note, name=name))
    if orders:
        # Contiguous, as batches are; a copy, because modules may change their input.
        networks = X[:2].clone(memory_format=torch.contiguous_format)
        with forked_rng(0, str(X.device)), torch.no_grad():
            copied(networks)
    return orders if all(is_clear) else None
