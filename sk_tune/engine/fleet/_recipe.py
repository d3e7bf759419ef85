# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What networks of a fleet share, what each asks for, and what comes out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sk_tune.augment import Augmentation, Layout
from sk_tune.engine.fleet._stacked_optimizers import Settings
from sk_tune.training import (
    StoppingState,
    Stream,
    TensorSet,
    TrainingState,
    batch_order,
    derive_seed,
    learning_rate_factor,
)

__all__ = [
    "LOSSES",
    "Course",
    "Outcome",
    "Recipe",
    "Row",
    "RowLoss",
    "SeededCourse",
    "loss_by_autograd",
]


class Course(Protocol):
    """How one row goes through its epochs."""

    stopping: StoppingState
    first_epoch: int

    @property
    def is_foreseen(self) -> bool:
        """Whether the epochs to come do not depend on how those before them end."""

    def order(self, epoch: int, n_samples: int) -> Tensor:
        """Return the order of the samples in an epoch.

        Parameters
        ----------
        epoch : int
            From 0.
        n_samples : int
            Samples of the row.

        Returns
        -------
        Tensor of shape (n_samples,)
            A permutation, on the CPU.
        """

    def generator(self, epoch: int) -> torch.Generator | None:
        """Return what ``nn.Dropout`` draws from in an epoch.

        Parameters
        ----------
        epoch : int
            From 0.

        Returns
        -------
        Generator or None
            In the state of torch's global one at this point of a lone fit.
        """

    def rates(self, epoch: int, n_batches: int) -> Sequence[float]:
        """Return the learning rate of each step of an epoch.

        Parameters
        ----------
        epoch : int
            From 0.
        n_batches : int
            Steps of the epoch.

        Returns
        -------
        sequence of float
            One for each step.
        """

    def improved(
        self, record: dict[str, Any], batch_losses: Tensor, valid_outputs: Tensor | None
    ) -> bool:
        """Take note of a finished epoch, and return whether it is the best so far.

        Parameters
        ----------
        record : dict
            The epoch in the history; it may be changed.
        batch_losses : Tensor of shape (n_batches,)
            Of the training batches.
        valid_outputs : Tensor of shape (n_valid, ...) or None
            Outputs on the validation samples.

        Returns
        -------
        bool
            Whether the weights are to be kept as the best.
        """

    def memory(self) -> dict[str, Any]:
        """Return what the course goes on from between two epochs, as plain values.

        Its stopping is not among them.
        """

    @property
    def uses_best(self) -> bool:
        """Whether the best weights, not the last ones, are the result."""

    @property
    def stopped(self) -> bool:
        """Whether no further epoch shall be trained."""


class SeededCourse:
    """The course of a row that was made from one of sk_tune's estimators.

    Parameters
    ----------
    seed : int
        Of the fit.
    learning_rate : float
        Peak of the schedule.
    lr_schedule : str
        A name of ``LR_SCHEDULES``.
    schedule_epochs : int
        Epochs that the schedule is laid out for.
    patience : int or None
        Epochs without progress before the row ends; None never ends it.
    tol : float
        Fall of the validation loss that counts as progress.
    stopping : StoppingState
        What early stopping remembers.
    first_epoch : int
        Epoch at which the schedule began.
    """

    def __init__(
        self,
        seed: int,
        *,
        learning_rate: float,
        lr_schedule: str,
        schedule_epochs: int,
        patience: int | None,
        tol: float,
        stopping: StoppingState,
        first_epoch: int,
    ) -> None:
        self.seed = seed
        self.learning_rate = learning_rate
        self.lr_schedule = lr_schedule
        self.schedule_epochs = schedule_epochs
        self.patience = patience
        self.tol = tol
        self.stopping = stopping
        self.first_epoch = first_epoch

    @property
    def is_foreseen(self) -> bool:
        """Whether there is no early stopping."""
        return self.patience is None

    def order(self, epoch: int, n_samples: int) -> Tensor:
        """Return the order of the samples in an epoch."""
        return batch_order(n_samples, self.seed, epoch)

    def generator(self, epoch: int) -> torch.Generator:
        """Return what ``nn.Dropout`` draws from in an epoch."""
        generator = torch.Generator()
        generator.manual_seed(derive_seed(self.seed, Stream.MODULE, epoch))
        return generator

    def rates(self, epoch: int, n_batches: int) -> list[float]:
        """Return the learning rate of each step of an epoch."""
        if self.lr_schedule == "constant":
            return [self.learning_rate] * n_batches
        n_epochs = epoch - self.first_epoch
        progress = [
            (n_epochs + index / n_batches) / self.schedule_epochs
            for index in range(n_batches)
        ]
        return [
            self.learning_rate * learning_rate_factor(self.lr_schedule, p) for p in progress
        ]

    def improved(
        self, record: dict[str, Any], batch_losses: Tensor, valid_outputs: Tensor | None
    ) -> bool:
        """Take note of a finished epoch."""
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
        """Whether early stopping has ended the row."""
        return self.patience is not None and bool(self.stopping.n_waited >= self.patience)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What all rows of a fleet have in common, beside their architecture.

    Parameters
    ----------
    optimizer : {"adamw", "adam", "sgd", "rmsprop"}
        Kind of the optimizer.
    nesterov : bool
        Whether SGD looks ahead.
    batch_size : int
        Samples of a batch; -1 takes all at once.
    loss : RowLoss
        What is minimised.
    score : callable
        ``(y_pred (K, n, C), y_true, sample_weight) -> scores (K,)`` for the history.
    draws_globally : bool
        Whether modules may draw from torch's global generator, as ``nn.Dropout`` does.
    joins_last_sample : bool, default=True
        Whether a lone last sample of an epoch joins the batch before it.
    layout : Layout, default="other"
        What the axes of a sample mean to augmentations.
    codes : tuple of int, default=()
        Columns that hold codes of categories.
    """

    optimizer: str
    nesterov: bool
    batch_size: int
    loss: RowLoss
    score: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    draws_globally: bool
    joins_last_sample: bool = True
    layout: Layout = "other"
    codes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """One network to train.

    Parameters
    ----------
    module : Module
        With the weights that it starts from.
    course : Course
        What the row decides for itself between epochs.
    settings : Settings
        Of its optimizer.
    state : TrainingState
        Where it stands: its seed, moments, counters and history.
    n_epochs : int
        Epochs to train now, at most.
    train : TensorSet
        Samples to train on.
    valid : TensorSet or None
        Samples that the course looks at.
    monitor : TensorSet or None
        Samples to be scored on after each epoch, and predicted at the end.
    learning_rate : float
        For messages.
    l1 : float, default=0.0
        Strength of the L1 penalty on weight matrices.
    label_smoothing : float, default=0.0
        Share of each target that is spread over all classes.
    gradient_clip : float or None, default=None
        Largest norm of the gradient.
    dropout_seed : int, default=0
        Of the seeded dropout layers.
    augmentation : tuple of Augmentation, default=()
        What training samples go through; of the same kinds in all rows.
    augmentation_seed : int, default=0
        Of its random numbers.
    checkpoints : sequence of int, default=()
        Epochs after which to keep where the row stands, counted from the first of its
        whole training.
    """

    module: nn.Module
    course: Course
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
class Outcome:
    """What became of a row.

    Parameters
    ----------
    state : TrainingState
        Where the row stands now.
    outputs : ndarray of shape (n_monitor, C) or None
        Outputs on the monitor samples, by the weights in use.
    message : str
        Why the training failed; empty if it did not.
    seconds : float
        Its share of the fleet's time.
    is_cut : bool, default=False
        Whether the time was up before its last epoch.
    checkpoints : tuple of TrainingState, default=()
        Where it stood on its way.
    """

    state: TrainingState
    outputs: npt.NDArray[np.floating] | None
    message: str
    seconds: float
    is_cut: bool = False
    checkpoints: tuple[TrainingState, ...] = ()
