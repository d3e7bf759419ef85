# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Dropout of many networks: the masks that each network's lone network would draw.

Notation: K networks, L dropout layers, S steps of an epoch.  The masks are those of
``sk_tune.nets.SeededDropout``; see there for a, b and the threshold.
"""

import copy
from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from sk_tune.nets import (
    SeededDropout,
    dropout_coefficients,
    dropout_layer_seeds,
    dropout_positions,
    dropout_threshold,
)
from sk_tune.training import forked_rng

__all__ = [
    "SeededMasks",
    "StackedDropout",
    "TorchDropout",
    "draw_masks",
    "is_torch_dropout",
    "orders_in_memory",
]

# Numbers of a layer that drops nothing.
_NEUTRAL = {"keys": 0, "thresholds": dropout_threshold(0.0), "scales": 1}
_STEPS_AT_ONCE = 64
# Positions are put in order anew when there have been so many shapes of activations.
_MOST_SHAPES = 4


class StackedDropout:
    """The counters from which the masks of K networks with L dropout layers are made."""

    def __init__(
        self,
        probabilities: Sequence[Sequence[float]],
        seeds: Sequence[int],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        layers = len(probabilities[0])
        keys = [dropout_layer_seeds(seed, layers) for seed in seeds]
        thresholds = [[dropout_threshold(p) for p in network] for network in probabilities]
        scales = [[1 / (1 - p) for p in network] for network in probabilities]
        shape = (len(seeds), layers)
        self.keys = torch.tensor(keys, dtype=torch.int64, device=device).view(shape).T
        self.thresholds = (
            torch.tensor(thresholds, dtype=torch.int32, device=device).view(shape).T
        )
        self.scales = torch.tensor(scales, dtype=dtype, device=device).view(shape).T
        self.active = any(p > 0 for network in probabilities for p in network)
        self._first_steps: Sequence[int] = ()
        self._n_steps = 0
        self._found: tuple[Tensor, Tensor] | None = None
        # Numbers that ``mask`` uses, by step and layer. They are made for some steps at
        # once, because a step of few networks is made of short calls.
        self._columns: list[tuple[Tensor, ...]] = []
        self._first_step = 0

    @staticmethod
    def probabilities(module: nn.Module, n_layers: int) -> list[float]:
        """Return one network's dropout probabilities, 0 where it leaves its layers out."""
        found = [m.p for m in module.modules() if isinstance(m, SeededDropout)]
        return found or [0.0] * n_layers

    def select(self, index: Tensor) -> None:
        """Keep the networks at `index`, in the order given."""
        self.keys = self.keys[:, index]
        self.thresholds = self.thresholds[:, index]
        self.scales = self.scales[:, index]

    def extend(self, other: "StackedDropout") -> None:
        """Add networks of another fleet; layers that one side lacks drop nothing there."""
        n_layers = max(len(self.keys), len(other.keys))
        for name, neutral in _NEUTRAL.items():
            parts = [getattr(part, name) for part in (self, other)]
            padded = [F.pad(t, (0, 0, 0, n_layers - len(t)), value=neutral) for t in parts]
            setattr(self, name, torch.cat(padded, dim=1))
        self.active |= other.active

    def begin_epoch(self, first_steps: Sequence[int], n_steps: int) -> None:
        """Prepare an epoch of S steps.

        `first_steps` are the updates of each network before.
        """
        self._first_steps, self._n_steps = first_steps, n_steps
        self._found = None
        self._columns = []

    def _coefficients(self) -> tuple[Tensor, Tensor]:
        """Return a and b of the epoch, of shape (S, L, K)."""
        if self._found is None:
            device = self.keys.device
            first = torch.tensor(self._first_steps, dtype=torch.int64, device=device)
            steps = torch.arange(self._n_steps, device=device).view(-1, 1, 1) + first
            a, b = (n.to(torch.int32) for n in dropout_coefficients(self.keys, steps))
            self._found = a, b
        return self._found

    def _find_columns(self, step: int) -> None:
        """Find what masks of this step and of some more take."""
        self._first_step = step
        a, b = (n[step : step + _STEPS_AT_ONCE] for n in self._coefficients())
        by_layer = [n.unsqueeze(-1).unbind() for n in (self.thresholds, self.scales)]
        self._columns = [
            (*shared_numbers, *(numbers[layer] for numbers in by_layer))
            for at_step in zip(
                a.unsqueeze(-1).unbind(), b.unsqueeze(-1).unbind(), strict=True
            )
            for layer, shared_numbers in enumerate(
                zip(*(n.unbind() for n in at_step), strict=True)
            )
        ]

    def numbers(self, step: int, networks: slice) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return a, b, threshold (integers) and scale of a step's masks, each (L, k)."""
        a, b = self._coefficients()
        return (
            a[step, :, networks],
            b[step, :, networks],
            self.thresholds[:, networks],
            self.scales[:, networks],
        )

    def first_numbers(self) -> tuple[Sequence[int], Tensor, Tensor, Tensor]:
        """Return the updates before an epoch, and key, threshold and scale, each (K, L)."""
        numbers = (self.keys, self.thresholds, self.scales)
        key, threshold, scale = (n.T.contiguous() for n in numbers)
        return self._first_steps, key, threshold, scale

    def mask(self, layer: int, step: int, networks: slice, out: Tensor) -> Tensor:
        """Fill `out`, (k, n), with a layer's factors, 0 and 1 / (1 - p), and return it."""
        positions = dropout_positions(out.shape[1], out.device)
        n_layers = len(self.keys)
        position = (step - self._first_step) * n_layers + layer
        if not 0 <= position < len(self._columns):
            self._find_columns(step)
            position = layer
        columns = self._columns[position]
        if networks.stop - networks.start < len(columns[0]):
            columns = tuple(numbers[networks] for numbers in columns)
        return _fill_mask(out, positions, *columns)


class SeededMasks:
    """Masks of a layer's activations in whatever order these have in memory."""

    def __init__(self) -> None:
        self._positions: dict[Any, Tensor] = {}

    def like(self, x: Tensor, numbers: Sequence[Tensor]) -> Tensor:
        """Return the factors of activations (k, B, ...), in their order in memory."""
        order = sorted(range(x.ndim), key=x.stride, reverse=True)
        sizes = [x.shape[dim] for dim in order]
        outer = order.index(0)
        # A network's elements that lie in one piece: all of them if networks are outermost.
        inner = prod(sizes[outer + 1 :])
        if outer == 0:
            # The networks have the positions in common.
            placed, shape = (1, *x.shape[1:]), (len(x), inner)
            numbers = [n.unsqueeze(1) for n in numbers]
        else:
            # Long runs in memory without a number that changes in between.
            placed, shape = tuple(x.shape), (prod(sizes[:outer]), len(x) * inner)
            numbers = [n.repeat_interleave(inner) for n in numbers]
        key = (*placed, *order)
        if key not in self._positions:
            if len(self._positions) == _MOST_SHAPES:
                self._positions.clear()
            positions = dropout_positions(x[0].numel(), x.device).view(x.shape[1:])
            turned = positions.expand(placed).permute(order)
            self._positions[key] = turned.reshape(-1, shape[1])
        mask = _fill_mask(x.new_empty(shape), self._positions[key], *numbers)
        return mask.view(sizes).permute([order.index(dim) for dim in range(x.ndim)])


def _fill_mask(
    out: Tensor, positions: Tensor, a: Tensor, b: Tensor, threshold: Tensor, scale: Tensor
) -> Tensor:
    """Fill memory with 0 and the scale, by random `positions` in its order; return it."""
    is_single = out.dtype == torch.float32
    # Integers of the same size are made in the memory of the numbers that they become.
    bits = out.view(torch.int32) if is_single else torch.empty_like(out, dtype=torch.int32)
    torch.mul(positions, a, out=bits).add_(b)
    # A number, 1 or 0: masks of type bool cost several times as much.
    bits.ge_(threshold)
    if is_single:
        # The bits of the scale times 1 are the scale, times 0 they are those of 0.
        bits.mul_(scale.view(torch.int32))
        return out
    return torch.mul(bits, scale, out=out)


class TorchDropout(nn.Module):
    """Dropout that draws from one generator for each network; for use under vmap only.

    `orders` are the dimensions of a lone network's activations from the outermost to the
    innermost in memory, by their number: torch draws in that order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.generators: list[torch.Generator | None] = []
        self.orders: dict[int, tuple[int, ...]] = {}
        self._draws: list[tuple[torch.Generator | None, float]] = []

    def begin(self, networks: slice, probabilities: list[float]) -> None:
        """Prepare for a batch of some networks; each drops with its probability."""
        self._draws = list(zip(self.generators[networks], probabilities, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, ...) with elements dropped and the others divided by ``1 - p``."""
        if not self.training:
            return x
        order = self.orders.get(x.ndim, tuple(range(x.ndim)))
        dropped: Tensor
        dropped, _ = _Dropout.apply(x, self._draws, order, False)  # type: ignore[no-untyped-call]
        return dropped


def is_torch_dropout(layer: nn.Module) -> bool:
    """Return whether ``TorchDropout`` does what a layer does.

    Not for one that works in place, which may be called for what it does to its input.
    """
    return type(layer) is nn.Dropout and not layer.inplace


def draw_masks(
    masks: Tensor, draws: Sequence[tuple[torch.Generator | None, float]]
) -> Tensor:
    """Fill masks (k, ...) with 0 and 1 / (1 - p), as torch draws them for each network."""
    for network_mask, (generator, p) in zip(masks, draws, strict=True):
        # torch draws nothing either where nothing, or everything, is dropped.
        if p in {0.0, 1.0}:
            network_mask.fill_(1.0 - p)
        else:
            network_mask.bernoulli_(1 - p, generator=generator)
    kept = masks.new_tensor([1 - p or 1.0 for _, p in draws])
    return masks.div_(kept.view(-1, *(1,) * (masks.ndim - 1)))


def orders_in_memory(
    module: nn.Module, X: Tensor
) -> dict[str, dict[int, tuple[int, ...]]] | None:
    """Return in which order a lone network's dropout layers find their inputs in memory.

    By the name of each layer, as :class:`TorchDropout` takes orders; None if one is called
    with as many dimensions in several orders. Two samples of X are tried.
    """
    lone = copy.deepcopy(module).train()
    found: dict[str, set[tuple[int, ...]]] = {}
    for name, layer in lone.named_modules():
        if is_torch_dropout(layer):
            found[name] = set()
            layer.register_forward_pre_hook(partial(_note_order, found[name]))
    if found:
        # Contiguous, as batches are; a copy, because modules may change their input.
        networks = X[:2].clone(memory_format=torch.contiguous_format)
        with forked_rng(0, str(X.device)), torch.no_grad():
            lone(networks)
    orders = {
        name: {len(order): order for order in layer_orders}
        for name, layer_orders in found.items()
    }
    is_clear = all(
        len(orders[name]) == len(layer_orders) for name, layer_orders in found.items()
    )
    return orders if is_clear else None


def _note_order(known: set[tuple[int, ...]], _: nn.Module, inputs: Any) -> None:
    # The masks that torch draws have this order, also where the input repeats elements.
    like = torch.empty_like(inputs[0])
    # Where a dimension has one element, its place does not matter.
    known.add(tuple(sorted(range(like.ndim), key=like.stride, reverse=True)))


class _Dropout(Function):
    @staticmethod
    def forward(  # type: ignore[override]
        x: Tensor,
        draws: list[Any],
        order: tuple[int, ...],
        by_network: bool,  # noqa: FBT001
    ) -> tuple[Tensor, Tensor]:
        if not by_network:
            raise RuntimeError("Dropout of something that all networks have in common.")
        # The layers before may have left another order in memory than a lone network's.
        moved = x.new_empty(len(x), *(x.shape[1 + dim] for dim in order))
        masks = moved.permute(0, *(1 + order.index(dim) for dim in range(len(order))))
        mask = draw_masks(masks, draws)
        return x * mask, mask

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Any) -> Any:  # type: ignore[override]
        (mask,) = ctx.saved_tensors
        return gradient * mask, None, None, None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: Any,
        x: Tensor,
        draws: list[Any],
        order: tuple[int, ...],
        by_network: bool,  # noqa: FBT001
    ) -> Any:
        # vmap gets here only if x has a network axis.
        batched = x.movedim(in_dims[0], 0)
        return _Dropout.apply(batched, draws, order, True), (0, 0)  # type: ignore[no-untyped-call]
