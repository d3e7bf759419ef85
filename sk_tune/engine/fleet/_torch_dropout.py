# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""``nn.Dropout`` of many rows, each with the numbers that its lone network would draw.

Notation: k rows in a batch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

__all__ = ["TorchDropout", "draw_masks", "is_torch_dropout"]


class TorchDropout(nn.Module):
    """Dropout that draws from one generator for each row; for use under vmap only.

    Attributes
    ----------
    generators : list of Generator or None
        One for each row of the fleet.
    """

    def __init__(self) -> None:
        super().__init__()
        self.generators: list[torch.Generator | None] = []
        self._draws: list[tuple[torch.Generator | None, float]] = []

    def begin(self, rows: slice, probabilities: list[float]) -> None:
        """Prepare for a batch.

        Parameters
        ----------
        rows : slice
            Which rows are in it.
        probabilities : list of float
            Of dropping an element, for each of these rows.
        """
        self._draws = list(zip(self.generators[rows], probabilities, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Return the input with elements dropped, or itself in evaluation mode.

        Parameters
        ----------
        x : Tensor of shape (B, ...)
            Any activations.

        Returns
        -------
        Tensor of the same shape
            Kept elements are divided by ``1 - p``.
        """
        if not self.training:
            return x
        dropped: Tensor = _Dropout.apply(x, self._draws, False)[0]  # type: ignore[no-untyped-call]
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
    """Draw what dropout multiplies by, for each row as torch draws it.

    Parameters
    ----------
    masks : Tensor of shape (k, ...)
        Filled with 0 and 1 / (1 - p).
    draws : sequence of (Generator or None, float)
        What each row draws from, and its probability of dropping an element.

    Returns
    -------
    Tensor
        `masks`.
    """
    for own, (generator, p) in zip(masks, draws, strict=True):
        # As torch does: nothing is drawn where nothing, or everything, is dropped.
        if p in {0.0, 1.0}:
            own.fill_(1.0 - p)
        else:
            own.bernoulli_(1 - p, generator=generator)
    kept = masks.new_tensor([1 - p or 1.0 for _, p in draws])
    return masks.div_(kept.view(-1, *(1,) * (masks.ndim - 1)))


class _Dropout(Function):
    @staticmethod
    def forward(  # type: ignore[override]
        x: Tensor,
        draws: list[Any],
        by_row: bool,  # noqa: FBT001
    ) -> tuple[Tensor, Tensor]:
        if not by_row:
            raise RuntimeError("Dropout of something that all networks have in common.")
        mask = draw_masks(torch.empty_like(x), draws)
        return x * mask, mask

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Any) -> Any:  # type: ignore[override]
        (mask,) = ctx.saved_tensors
        return gradient * mask, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, draws: list[Any], by_row: bool) -> Any:  # noqa: FBT001
        # vmap gets here only if x has a row axis.
        batched = x.movedim(in_dims[0], 0)
        return _Dropout.apply(batched, draws, True), (0, 0)  # type: ignore[no-untyped-call]
