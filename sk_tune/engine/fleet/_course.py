# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a row decides between epochs: order, learning rates, when to end.

A course is plain Python and knows one row only, so that rows cannot influence each other.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from sk_tune.training import (
    StoppingState,
    Stream,
    batch_order,
    derive_seed,
    learning_rate_factor,
)

__all__ = ["Course", "SeededCourse"]


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
