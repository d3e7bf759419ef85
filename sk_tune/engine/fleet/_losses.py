# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Losses by row, with their derivatives by the outputs.

Notation: K rows, B rows of data in a batch, C outputs; s is the label smoothing of a row of
the fleet, w the weights of its data.  Every loss is a weighted mean over the batch, as in
``sk_tune.training``, whose classes are the single-network form of these functions.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["LOSSES", "RowLoss", "loss_by_autograd"]


class RowLoss(NamedTuple):
    """A loss as the fleet needs it.

    Parameters
    ----------
    with_gradient : callable
        ``(outputs (K, B, C), targets (K, B) or (K, B, C), share (K, B), smoothing (K,)) ->
        (losses (K,), gradients (K, B, C))``.  The weights `share` sum to 1 in each row;
        None stands for equal ones.
    mean : callable
        ``(outputs, targets, weights (K, B) or None) -> losses (K,)``, without smoothing.
    """

    with_gradient: Callable[
        [Tensor, Tensor, Tensor | None, Tensor | None], tuple[Tensor, Tensor]
    ]
    mean: Callable[[Tensor, Tensor, Tensor | None], Tensor]

    def of_members(
        self,
        outputs: Tensor,
        targets: Tensor,
        share: Tensor | None,
        smoothing: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Return what ``with_gradient`` does, of the mean of several members' losses.

        Parameters
        ----------
        outputs : Tensor of shape (K, B, members, C)
            Unnormalised outputs.
        targets : Tensor of shape (K, B) or (K, B, C)
            Encoded targets.
        share : Tensor of shape (K, B) or None
            Weights.
        smoothing : Tensor of shape (K,) or None
            Label smoothing.

        Returns
        -------
        losses : Tensor of shape (K,)
            Of each row.
        gradients : Tensor
            Derivatives, of the shape of `outputs`.
        """
        m = outputs.shape[2]
        if share is not None:
            share = share.repeat_interleave(m, dim=1) / m
        losses, gradient = self.with_gradient(
            outputs.flatten(1, 2), targets.repeat_interleave(m, dim=1), share, smoothing
        )
        return losses, gradient.reshape(outputs.shape)


def _cross_entropy(
    outputs: Tensor, targets: Tensor, share: Tensor | None, smoothing: Tensor | None
) -> tuple[Tensor, Tensor]:
    # Classes before samples: over a short last dimension the kernel is many times slower.
    log_p = torch.log_softmax(outputs.mT, dim=1)
    index = targets.unsqueeze(1)
    losses = log_p.gather(1, index).squeeze(1).neg_()
    hit: Tensor | float
    if smoothing is None:
        gradient, hit = log_p.exp_(), 1
    else:
        s = smoothing.view(-1, 1, 1)
        losses = torch.lerp(losses, -log_p.mean(dim=1), s.squeeze(-1))
        gradient, hit = log_p.exp_().sub_(s / outputs.shape[-1]), 1 - s
    # One entry of each row of the batch; scatter_add_ is several times slower.
    gradient.scatter_(1, index, gradient.gather(1, index) - hit)
    return _weighted(losses, gradient.mT, share)


def _mean_cross_entropy(outputs: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
    log_p = torch.log_softmax(outputs.mT, dim=1)
    index = targets.clamp(min=0).unsqueeze(1)
    losses = log_p.gather(1, index).squeeze(1).neg_()
    if weight is None and int(targets.min()) < 0:
        # As in torch, a negative target is no class and has no loss.
        weight = (targets >= 0).to(losses.dtype)
    if weight is None:
        return losses.mean(dim=1)
    return (losses * weight).sum(dim=1) / weight.sum(dim=1)


def _binary_cross_entropy(
    outputs: Tensor, targets: Tensor, share: Tensor | None, smoothing: Tensor | None
) -> tuple[Tensor, Tensor]:
    if smoothing is not None:
        s = smoothing.view(-1, 1, 1)
        targets = targets * (1 - s) + s / 2
    losses = _per_sample(F.binary_cross_entropy_with_logits, outputs, targets)
    gradient = (outputs.sigmoid() - targets).mul_(1 / outputs.shape[-1])
    return _weighted(losses, gradient, share)


def _squared_error(
    outputs: Tensor, targets: Tensor, share: Tensor | None, smoothing: Tensor | None
) -> tuple[Tensor, Tensor]:
    difference = outputs - targets
    losses = torch.square(difference).mean(dim=-1)
    gradient = difference.mul_(2 / outputs.shape[-1])
    return _weighted(losses, gradient, share)


def _absolute_error(
    outputs: Tensor, targets: Tensor, share: Tensor | None, smoothing: Tensor | None
) -> tuple[Tensor, Tensor]:
    difference = outputs - targets
    losses = difference.abs().mean(dim=-1)
    gradient = difference.sign_().mul_(1 / outputs.shape[-1])
    return _weighted(losses, gradient, share)


def _huber(
    outputs: Tensor, targets: Tensor, share: Tensor | None, smoothing: Tensor | None
) -> tuple[Tensor, Tensor]:
    losses = _per_sample(F.huber_loss, outputs, targets)
    gradient = (outputs - targets).clamp_(-1, 1).mul_(1 / outputs.shape[-1])
    return _weighted(losses, gradient, share)


def _per_sample(
    function: Callable[..., Tensor], outputs: Tensor, targets: Tensor
) -> Tensor:
    return function(outputs, targets, reduction="none").mean(dim=-1)


def _weighted(
    losses: Tensor, gradient: Tensor, share: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the mean losses and its derivatives, from those of single samples."""
    if share is None:
        return losses.mean(dim=1), gradient.mul_(1 / losses.shape[1])
    return (losses * share).sum(dim=1), gradient.mul_(share.unsqueeze(-1))


def _mean_of(
    function: Callable[..., Tensor],
) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    return partial(_weighted_mean, function)


def _weighted_mean(
    function: Callable[..., Tensor],
    outputs: Tensor,
    targets: Tensor,
    weight: Tensor | None,
) -> Tensor:
    losses = _per_sample(function, outputs, targets)
    if weight is None:
        return losses.mean(dim=1)
    return (losses * weight).sum(dim=1) / weight.sum(dim=1)


LOSSES: dict[str, RowLoss] = {
    "cross_entropy": RowLoss(_cross_entropy, _mean_cross_entropy),
    "binary_cross_entropy": RowLoss(
        _binary_cross_entropy, _mean_of(F.binary_cross_entropy_with_logits)
    ),
    "squared_error": RowLoss(_squared_error, _mean_of(F.mse_loss)),
    "absolute_error": RowLoss(_absolute_error, _mean_of(F.l1_loss)),
    "huber": RowLoss(_huber, _mean_of(F.huber_loss)),
}


def loss_by_autograd(
    criterion: Callable[[Tensor, Tensor], Tensor],
    judged: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> RowLoss:
    """Return a loss of one network as one of many.

    Parameters
    ----------
    criterion : callable
        ``(outputs (B, C), targets) -> mean loss``, of operations that vmap has rules for.
    judged : callable or None, default=None
        The same for rows that are not trained on, where it is another; the same if None.

    Returns
    -------
    RowLoss
        Without weights and label smoothing.
    """
    by_row = torch.func.vmap(criterion)
    judged_by_row = by_row if judged is None else torch.func.vmap(judged)

    def with_gradient(
        outputs: Tensor, targets: Tensor, share: Tensor | None, smoothing: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = outputs.detach().requires_grad_()
            losses: Tensor = by_row(leaf, targets)
        (gradient,) = torch.autograd.grad(losses, leaf, torch.ones_like(losses))
        return losses.detach(), gradient

    return RowLoss(
        with_gradient, lambda outputs, targets, _: judged_by_row(outputs, targets)
    )
