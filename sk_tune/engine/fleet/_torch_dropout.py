# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""``nn.Dropout`` of many rows, each with the numbers that its lone network would draw.

Notation: k rows in a batch.
"""

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from sk_tune.training import forked_rng

__all__ = ["TorchDropout", "draw_masks", "is_torch_dropout", "orders_in_memory"]


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

    def begin(self, rows: slice, probabilities: list[float]) -> None:
        """Prepare for a batch of some networks; each drops with its probability."""
        self._draws = list(zip(self.generators[rows], probabilities, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, (B, ...), with elements dropped, or itself in evaluation mode.

        Kept elements are divided by ``1 - p``.
        """
        if not self.training:
            return x
        order = self.orders.get(x.ndim, tuple(range(x.ndim)))
        dropped: Tensor
        dropped, _ = _Dropout.apply(x, self._draws, order, False)  # type: ignore[no-untyped-call]
        return dropped


def is_torch_dropout(layer: nn.Module) -> bool:
    """Return whether ``TorchDropout`` does what a layer does.

    Parameters
    ----------
    layer : Module
        Any.

    Returns
    -------
    bool
        False for one that works in place, which may be called for what it does to its
        input.
    """
    return type(layer) is nn.Dropout and not layer.inplace


def draw_masks(
    masks: Tensor, draws: Sequence[tuple[torch.Generator | None, float]]
) -> Tensor:
    """Fill masks, (k, ...), with 0 and 1 / (1 - p), for each network as torch draws them.

    `draws` are what each network draws from, and its probability of dropping an element.
    """
    for own, (generator, p) in zip(masks, draws, strict=True):
        # As torch does: nothing is drawn where nothing, or everything, is dropped.
        if p in {0.0, 1.0}:
            own.fill_(1.0 - p)
        else:
            own.bernoulli_(1 - p, generator=generator)
    kept = masks.new_tensor([1 - p or 1.0 for _, p in draws])
    return masks.div_(kept.view(-1, *(1,) * (masks.ndim - 1)))


def orders_in_memory(
    module: nn.Module, X: Tensor
) -> dict[str, dict[int, tuple[int, ...]]] | None:
    """Return in which order a lone network's dropout layers find their inputs in memory.

    Parameters
    ----------
    module : Module
        It is not changed.
    X : Tensor of shape (n_samples, ...)
        Inputs; two of them are tried.

    Returns
    -------
    dict of str to dict, or None
        For each layer, by name, what :class:`TorchDropout` calls orders; None if one is
        called with as many dimensions in several orders.
    """
    lone = copy.deepcopy(module).train()
    found: dict[str, set[tuple[int, ...]]] = {}
    for name, layer in lone.named_modules():
        if is_torch_dropout(layer):
            found[name] = set()
            layer.register_forward_pre_hook(partial(_note_order, found[name]))
    if found:
        # As batches are, and a copy, for modules that work in place on their input.
        rows = X[:2].clone(memory_format=torch.contiguous_format)
        with forked_rng(0, str(X.device)), torch.no_grad():
            lone(rows)
    orders = {name: {len(order): order for order in own} for name, own in found.items()}
    is_clear = all(len(orders[name]) == len(own) for name, own in found.items())
    return orders if is_clear else None


def _note_order(known: set[tuple[int, ...]], _: nn.Module, inputs: Any) -> None:
    # What torch draws has this order, also where the input repeats elements in memory.
    like = torch.empty_like(inputs[0])
    # Where a dimension has one element, its place does not matter.
    known.add(tuple(sorted(range(like.ndim), key=like.stride, reverse=True)))


class _Dropout(Function):
    @staticmethod
    def forward(  # type: ignore[override]
        x: Tensor,
        draws: list[Any],
        order: tuple[int, ...],
        by_row: bool,  # noqa: FBT001
    ) -> tuple[Tensor, Tensor]:
        if not by_row:
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
        by_row: bool,  # noqa: FBT001
    ) -> Any:
        # vmap gets here only if x has a row axis.
        batched = x.movedim(in_dims[0], 0)
        return _Dropout.apply(batched, draws, order, True), (0, 0)  # type: ignore[no-untyped-call]
