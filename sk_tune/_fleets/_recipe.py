# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Settings that the networks of a fleet share, single networks, and their outcomes."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cache, lru_cache, partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from sk_tune._augment import Augmentation, Layout
from sk_tune._fleets._stacked_optimizers import Settings
from sk_tune._schedule import learning_rate_factor
from sk_tune._training import (
    ELEMENTWISE,
    StoppingState,
    Stream,
    TensorSet,
    TrainingState,
    batch_order,
    derive_seed,
    levels_above_half,
)
from sk_tune._types import Array


class TrainingCourse(Protocol):
    """How one network goes through its epochs."""

    stopping: StoppingState
    first_epoch: int

    @property
    def is_foreseen(self) -> bool:
        """Whether the next epochs are independent of the results of earlier epochs."""

    def order(self, epoch: int, train: TensorSet) -> Tensor:
        """Return a permutation of the samples for an epoch, from 0, on the CPU."""

    def generator(self, epoch: int) -> torch.Generator | None:
        """Return the generator of ``nn.Dropout`` in an epoch, from 0, as trained alone."""

    def rates(self, epoch: int, n_batches: int) -> Sequence[float]:
        """Return the learning rate of each step of an epoch, from 0."""

    def improved(
        self, record: dict[str, Any], batch_losses: Tensor, valid_outputs: Tensor | None
    ) -> bool:
        """Process an epoch and its `record`; return whether its weights are the best."""

    def memory(self) -> dict[str, Any]:
        """Return the state of the course, without `stopping`, as plain values."""

    @property
    def uses_best(self) -> bool:
        """Whether the best instead of the last weights are the result."""

    @property
    def stopped(self) -> bool:
        """Whether training ends before the next epoch."""


@dataclass
class SeededCourse:
    """The course of a network from one of sk_tune's estimators."""

    seed: int
    _: KW_ONLY
    learning_rate: float
    lr_schedule: str
    schedule_epochs: int  # length of the schedule from `first_epoch` on
    patience: int | None  # epochs without a fall of the validation loss by `tol`
    tol: float
    stopping: StoppingState
    first_epoch: int

    @property
    def is_foreseen(self) -> bool:
        return self.patience is None

    def order(self, epoch: int, train: TensorSet) -> Tensor:
        return batch_order(len(train), self.seed, epoch, train.n_in_block)

    def generator(self, epoch: int) -> torch.Generator:
        seed = derive_seed(self.seed, Stream.MODULE, epoch)
        return torch.Generator().manual_seed(seed)

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
        # Random numbers follow from the seed and the epoch.
        return {}

    @property
    def uses_best(self) -> bool:
        return self.patience is not None

    @property
    def stopped(self) -> bool:
        return self.patience is not None and bool(self.stopping.n_waited >= self.patience)


@lru_cache(maxsize=64)
def _factors(
    schedule: str, n_epochs: int, n_batches: int, schedule_epochs: int
) -> list[float]:
    """Return the learning rate factors of the steps of the epoch after `n_epochs`."""
    progress = [(n_epochs + i / n_batches) / schedule_epochs for i in range(n_batches)]
    return [learning_rate_factor(schedule, p) for p in progress]


class StackedLoss(NamedTuple):
    """A loss of K networks at once.

    ``with_gradient(outputs (K, B, C), targets (K, B) or (K, B, C), share (K, B), smoothing
    (K,))`` returns losses (K,) and gradients (K, B, C); the weights `share` sum to 1 in
    each network, and None means equal weights. ``mean(outputs, targets, weights (K, B) or
    None)`` returns losses (K,) without smoothing. The kernel has losses with a `name` and
    their `options`.
    """

    with_gradient: Callable[..., tuple[Tensor, Tensor]]
    mean: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    name: str = ""
    options: tuple[float, ...] = ()

    def of_members(
        self, outputs: Tensor, targets: Tensor, share: Tensor | None, *smoothing: Any
    ) -> tuple[Tensor, Tensor]:
        """Return ``with_gradient`` for the mean loss of members, (K, B, members, C)."""
        m = outputs.shape[2]
        if share is not None:
            share = share.repeat_interleave(m, dim=1) / m
        losses, gradient = self.with_gradient(
            outputs.flatten(1, 2), targets.repeat_interleave(m, dim=1), share, *smoothing
        )
        return losses, gradient.reshape(outputs.shape)


def _cross_entropy(
    outputs: Tensor, targets: Tensor, share: Tensor | None, smoothing: Tensor | None
) -> tuple[Tensor, Tensor]:
    # Classes before samples: torch is many times slower over a short last dimension.
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
    # One entry per sample of the batch; scatter_add_ is several times slower.
    gradient.scatter_(1, index, gradient.gather(1, index) - hit)
    return _weighted(losses, gradient.mT, share)


def _mean_cross_entropy(outputs: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
    log_p = torch.log_softmax(outputs.mT, dim=1)
    index = targets.clamp(min=0).unsqueeze(1)
    losses = log_p.gather(1, index).squeeze(1).neg_()
    if weight is None and int(targets.min()) < 0:
        # A negative target is not a class and has no loss, as in torch.
        weight = (targets >= 0).to(losses.dtype)
    return _mean(losses, weight)


def _soft_cross_entropy(
    outputs: Tensor, targets: Tensor, share: Tensor | None, smoothing: Tensor | None
) -> tuple[Tensor, Tensor]:
    log_p, p = torch.log_softmax(outputs.mT, dim=1), targets.mT
    if smoothing is not None:
        p = torch.lerp(p, torch.full_like(p, 1 / p.shape[1]), smoothing.view(-1, 1, 1))
    losses = (log_p * p).sum(dim=1).neg_()
    return _weighted(losses, log_p.exp_().sub_(p).mT, share)


def _mean_soft_cross_entropy(
    outputs: Tensor, targets: Tensor, weight: Tensor | None
) -> Tensor:
    log_p = torch.log_softmax(outputs.mT, dim=1)
    return _mean((log_p * targets.mT).sum(dim=1).neg_(), weight)


def _mean(losses: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None:
        return losses.mean(dim=1)
    return (losses * weight).sum(dim=1) / weight.sum(dim=1)


def _weighted(
    losses: Tensor, gradient: Tensor, share: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return mean losses and their gradients, from the losses and gradients of samples."""
    if share is None:
        return losses.mean(dim=1), gradient.mul_(1 / losses.shape[1])
    return (losses * share).sum(dim=1), gradient.mul_(share.unsqueeze(-1))


def _by_number(
    name: str, options: tuple[float, ...], derivative: Callable[[Tensor, Tensor], Tensor]
) -> StackedLoss:
    """Return the mean over outputs of an elementwise loss, given its derivative."""

    def losses_of(outputs: Tensor, targets: Tensor) -> Tensor:
        return ELEMENTWISE[name](outputs, targets, *options).mean(dim=-1)

    def with_gradient(
        outputs: Tensor, targets: Tensor, share: Tensor | None, smoothing: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if smoothing is not None:
            # Only labels, 0 and 1, are smoothed.
            s = smoothing.view(-1, 1, 1)
            targets = targets * (1 - s) + s / 2
        gradient = derivative(outputs, targets).mul_(1 / outputs.shape[-1])
        return _weighted(losses_of(outputs, targets), gradient, share)

    def mean(outputs: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
        return _mean(losses_of(outputs, targets), weight)

    return StackedLoss(with_gradient, mean, name, options)


@cache
def stacked_loss(name: str, options: tuple[float, ...] = ()) -> StackedLoss:
    """Return a loss of sk_tune's estimators for K networks, cached."""
    if name == "cross_entropy":
        return StackedLoss(_cross_entropy, _mean_cross_entropy, name)
    if name == "soft_cross_entropy":
        return StackedLoss(_soft_cross_entropy, _mean_soft_cross_entropy, name)
    return _by_number(name, options, partial(_DERIVATIVES[name], *options))


def _pinball_derivative(*levels_and_tensors: Any) -> Tensor:
    *levels, outputs, targets = levels_and_tensors
    halves: Tensor = (outputs - targets).sign_().div_(2)
    return halves.sub_(levels_above_half((*levels,), outputs.dtype, outputs.device))


def _deviance_derivative(power: float, outputs: Tensor, targets: Tensor) -> Tensor:
    rise = ((2 - power) * outputs).exp_()
    return rise.sub_(targets * ((1 - power) * outputs).exp_()).mul_(2)


# Derivatives of the elementwise losses by the outputs, (K, B, C).
_DERIVATIVES: dict[str, Callable[..., Tensor]] = {
    "binary_cross_entropy": lambda o, t: o.sigmoid().sub_(t),
    "squared_error": lambda o, t: (o - t).mul_(2),
    "absolute_error": lambda o, t: (o - t).sign_(),
    "huber": lambda o, t: (o - t).clamp_(-1, 1),
    "pinball": _pinball_derivative,
    "deviance": _deviance_derivative,
}


def loss_by_autograd(
    criterion: Callable[[Tensor, Tensor], Tensor],
    evaluation: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> StackedLoss:
    """Return a loss of one network for K networks, without weights and label smoothing.

    `criterion` maps outputs (B, C) and targets to a mean loss, by operations with vmap
    rules; `evaluation` does so in evaluation mode, if that is a different loss.
    """
    by_network = torch.func.vmap(criterion)
    evaluation_by_network = torch.func.vmap(evaluation or criterion)

    def with_gradient(
        outputs: Tensor, targets: Tensor, share: Tensor | None, smoothing: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = outputs.detach().requires_grad_()
            losses: Tensor = by_network(leaf, targets)
        (gradient,) = torch.autograd.grad(losses, leaf, torch.ones_like(losses))
        return losses.detach(), gradient

    return StackedLoss(
        with_gradient, lambda outputs, targets, _: evaluation_by_network(outputs, targets)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The settings that all networks of a fleet share, except for their architecture."""

    optimizer: str
    nesterov: bool
    batch_size: int  # -1 for all samples
    loss: StackedLoss
    score: Callable[[Tensor, Tensor, Tensor | None], Tensor]  # by network
    draws_globally: bool  # modules may draw from torch's generator
    joins_last_sample: bool = True  # to the previous batch
    layout: Layout = "other"  # of a sample, for augmentations
    codes: tuple[int, ...] = ()  # columns of category codes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FleetNetwork:
    """One network to train, for at most `n_epochs` from `state`."""

    module: nn.Module  # has the initial weights
    course: TrainingCourse  # decides between epochs
    settings: Settings
    state: TrainingState
    n_epochs: int
    train: TensorSet
    valid: TensorSet | None  # used by the course
    monitor: TensorSet | None  # scored after each epoch, predicted at the end
    learning_rate: float  # for messages
    l1: float = 0.0
    label_smoothing: float = 0.0
    gradient_clip: float | None = None
    dropout_seed: int = 0
    augmentation: tuple[Augmentation, ...] = ()  # equal kinds in a fleet
    augmentation_seed: int = 0
    checkpoints: Sequence[int] = ()  # epochs of the whole training
    predicted: TensorSet | None = None  # at the end


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkOutcome:
    """Result of a network."""

    state: TrainingState | None = None
    predictions: Array | None = None  # of a fleet, outputs (n_monitor, C)
    train_predictions: Array | None = None
    message: str = ""  # reason of a failure
    seconds: float  # share of the fleet's time
    is_cut: bool = False  # by the time limit
    checkpoints: tuple[TrainingState, ...] = ()
