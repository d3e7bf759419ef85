# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What networks of a fleet share, what each asks for, and what comes out."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sk_tune.augment import Augmentation, Layout
from sk_tune.fleets._stacked_optimizers import Settings
from sk_tune.schedule import learning_rate_factor
from sk_tune.training import (
    StoppingState,
    Stream,
    TensorSet,
    TrainingState,
    batch_order,
    derive_seed,
)


class TrainingCourse(Protocol):
    """How one network goes through its epochs."""

    stopping: StoppingState
    first_epoch: int

    @property
    def is_foreseen(self) -> bool:
        """Whether the epochs to come do not depend on how those before them end."""

    def order(self, epoch: int, n_samples: int) -> Tensor:
        """Return a permutation of the samples in an epoch, from 0, on the CPU."""

    def generator(self, epoch: int) -> torch.Generator | None:
        """Return what ``nn.Dropout`` draws from in an epoch, from 0, as in a lone fit."""

    def rates(self, epoch: int, n_batches: int) -> Sequence[float]:
        """Return the learning rate of each step of an epoch, from 0."""

    def improved(
        self, record: dict[str, Any], batch_losses: Tensor, valid_outputs: Tensor | None
    ) -> bool:
        """Take note of a finished epoch, whose `record` in the history may be changed.

        Return whether its weights are to be kept as the best.
        """

    def memory(self) -> dict[str, Any]:
        """Return what the course goes on from beside `stopping`, as plain values."""

    @property
    def uses_best(self) -> bool:
        """Whether the best weights, not the last ones, are the result."""

    @property
    def stopped(self) -> bool:
        """Whether no further epoch shall be trained."""


@dataclass
class SeededCourse:
    """The course of a network that was made from one of sk_tune's estimators.

    The schedule of the learning rate is laid out for `schedule_epochs`, and began at
    `first_epoch`; training ends after `patience` epochs without a fall of the validation
    loss by `tol`, or never if that is None.
    """

    seed: int
    _: KW_ONLY
    learning_rate: float
    lr_schedule: str
    schedule_epochs: int
    patience: int | None
    tol: float
    stopping: StoppingState
    first_epoch: int

    @property
    def is_foreseen(self) -> bool:
        """Whether there is no early stopping."""
        return self.patience is None

    def order(self, epoch: int, n_samples: int) -> Tensor:
        return batch_order(n_samples, self.seed, epoch)

    def generator(self, epoch: int) -> torch.Generator:
        generator = torch.Generator()
        generator.manual_seed(derive_seed(self.seed, Stream.MODULE, epoch))
        return generator

    def rates(self, epoch: int, n_batches: int) -> list[float]:
        n_epochs = epoch - self.first_epoch
        factors = _factors(self.lr_schedule, n_epochs, n_batches, self.schedule_epochs)
        return [self.learning_rate * factor for factor in factors]

    def improved(
        self, record: dict[str, Any], batch_losses: Tensor, valid_outputs: Tensor | None
    ) -> bool:
        if self.patience is None:
            return False
        epoch = record["epoch"]
        self.stopping = self.stopping.after(epoch, record["valid_loss"], self.tol)
        return bool(self.stopping.best_epoch == epoch)

    def memory(self) -> dict[str, Any]:
        """Return nothing: all that is drawn follows from the seed and the epoch."""
        return {}

    @property
    def uses_best(self) -> bool:
        """Whether the best weights are the result, as with early stopping."""
        return self.patience is not None

    @property
    def stopped(self) -> bool:
        """Whether early stopping has ended the network."""
        return self.patience is not None and bool(self.stopping.n_waited >= self.patience)


@lru_cache(maxsize=64)
def _factors(
    schedule: str, n_epochs: int, n_batches: int, schedule_epochs: int
) -> list[float]:
    """Return what the learning rate is multiplied with in the steps after some epochs."""
    progress = [(n_epochs + i / n_batches) / schedule_epochs for i in range(n_batches)]
    return [learning_rate_factor(schedule, p) for p in progress]


class StackedLoss(NamedTuple):
    """A loss of K networks at once.

    ``with_gradient(outputs (K, B, C), targets (K, B) or (K, B, C), share (K, B), smoothing
    (K,))`` returns losses (K,) and gradients (K, B, C); the weights `share` sum to 1 in
    each network, None stands for equal ones. ``mean(outputs, targets, weights (K, B) or
    None)`` returns losses (K,) without smoothing.
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
        """Return ``with_gradient`` of the mean of members' losses, (K, B, members, C)."""
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
    # One entry of each sample of the batch; scatter_add_ is several times slower.
    gradient.scatter_(1, index, gradient.gather(1, index) - hit)
    return _weighted(losses, gradient.mT, share)


def _mean_cross_entropy(outputs: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
    log_p = torch.log_softmax(outputs.mT, dim=1)
    index = targets.clamp(min=0).unsqueeze(1)
    losses = log_p.gather(1, index).squeeze(1).neg_()
    if weight is None and int(targets.min()) < 0:
        # A negative target is no class and has no loss, as in torch.
        weight = (targets >= 0).to(losses.dtype)
    return _mean(losses, weight)


def _mean(losses: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None:
        return losses.mean(dim=1)
    return (losses * weight).sum(dim=1) / weight.sum(dim=1)


def _weighted(
    losses: Tensor, gradient: Tensor, share: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the mean losses and its derivatives, from those of single samples."""
    if share is None:
        return losses.mean(dim=1), gradient.mul_(1 / losses.shape[1])
    return (losses * share).sum(dim=1), gradient.mul_(share.unsqueeze(-1))


def _by_number(
    function: Callable[..., Tensor], derivative: Callable[[Tensor, Tensor], Tensor]
) -> StackedLoss:
    """Return the mean over outputs of a function of torch's, given its derivative."""

    def with_gradient(
        outputs: Tensor, targets: Tensor, share: Tensor | None, smoothing: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if smoothing is not None:
            # Only labels, 0 and 1, are smoothed.
            s = smoothing.view(-1, 1, 1)
            targets = targets * (1 - s) + s / 2
        losses = function(outputs, targets, reduction="none").mean(dim=-1)
        gradient = derivative(outputs, targets).mul_(1 / outputs.shape[-1])
        return _weighted(losses, gradient, share)

    def mean(outputs: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
        return _mean(function(outputs, targets, reduction="none").mean(dim=-1), weight)

    return StackedLoss(with_gradient, mean)


LOSSES: dict[str, StackedLoss] = {
    "cross_entropy": StackedLoss(_cross_entropy, _mean_cross_entropy),
    "binary_cross_entropy": _by_number(
        F.binary_cross_entropy_with_logits, lambda o, t: o.sigmoid().sub_(t)
    ),
    "squared_error": _by_number(F.mse_loss, lambda o, t: (o - t).mul_(2)),
    "absolute_error": _by_number(F.l1_loss, lambda o, t: (o - t).sign_()),
    "huber": _by_number(F.huber_loss, lambda o, t: (o - t).clamp_(-1, 1)),
}


def loss_by_autograd(
    criterion: Callable[[Tensor, Tensor], Tensor],
    judged: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> StackedLoss:
    """Return a loss of one network as one of many, without weights and label smoothing.

    `criterion` maps outputs (B, C) and targets to a mean loss, by operations that vmap has
    rules for; `judged` does so for samples that are not trained on, where it is another.
    """
    by_network = torch.func.vmap(criterion)
    judged_by_network = by_network if judged is None else torch.func.vmap(judged)

    def with_gradient(
        outputs: Tensor, targets: Tensor, share: Tensor | None, smoothing: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = outputs.detach().requires_grad_()
            losses: Tensor = by_network(leaf, targets)
        (gradient,) = torch.autograd.grad(losses, leaf, torch.ones_like(losses))
        return losses.detach(), gradient

    return StackedLoss(
        with_gradient, lambda outputs, targets, _: judged_by_network(outputs, targets)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The settings that all networks of a fleet share, beside their architecture.

    A `batch_size` of -1 takes all samples at once. `score` maps predictions (K, n, C),
    targets and weights to scores (K,). Modules may draw from torch's global generator, as
    ``nn.Dropout`` does, if `draws_globally`. `joins_last_sample` says that a lone last
    sample of an epoch joins the batch before it, `layout` what the axes of a sample mean to
    augmentations, `codes` which columns hold codes of categories.
    """

    optimizer: str
    nesterov: bool
    batch_size: int
    loss: StackedLoss
    score: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    draws_globally: bool
    joins_last_sample: bool = True
    layout: Layout = "other"
    codes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FleetNetwork:
    """One network to train, for at most `n_epochs` from where `state` stands.

    `module` has the weights that it starts from; `course` decides between epochs, and looks
    at the samples `valid`; the network is scored on `monitor` after each epoch, and
    predicts it at the end. `learning_rate` is for messages. `augmentation` is of the same
    kinds in all networks. `checkpoints` are the epochs after which to keep the state,
    counted from the first of its whole training.
    """

    module: nn.Module
    course: TrainingCourse
    settings: Settings
    state: TrainingState
    n_epochs: int
    train: TensorSet
    valid: TensorSet | None
    monitor: TensorSet | None
    learning_rate: float
    l1: float = 0.0
    label_smoothing: float = 0.0
    gradient_clip: float | None = None
    dropout_seed: int = 0
    augmentation: tuple[Augmentation, ...] = ()
    augmentation_seed: int = 0
    checkpoints: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkOutcome:
    """Result of a network: its state, and `outputs` (n_monitor, C) on monitor samples.

    `message` says why the training failed, or is empty; `seconds` are the network's share
    of the fleet's time; `is_cut` says that the time was up before its last epoch.
    """

    state: TrainingState
    outputs: npt.NDArray[np.floating] | None
    message: str
    seconds: float
    is_cut: bool = False
    checkpoints: tuple[TrainingState, ...] = ()
