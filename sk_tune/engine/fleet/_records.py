# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What goes into a fleet and what comes out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from sk_tune.augment import Augmentation, Layout
from sk_tune.engine.fleet._course import Course
from sk_tune.engine.fleet._losses import RowLoss
from sk_tune.engine.fleet._optimizers import Settings
from sk_tune.training import TensorSet, TrainingState

__all__ = ["Outcome", "Recipe", "Row"]


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
