# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How a net is trained, in one record."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from sk_tune.augment import Augmentation, Layout

__all__ = ["TrainingOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """How a net is trained, beyond what skorch has parameters for.

    Parameters
    ----------
    seed : int
        Source of all random numbers of the fit.
    learning_rate : float
        Peak of the schedule.
    lr_schedule : str
        A name of ``LR_SCHEDULES``, pinned to `schedule_epochs`.
    schedule_epochs : int
        Epochs that the schedule is laid out for.
    gradient_clip : float or None
        Largest norm of the gradient.
    l1 : float
        Strength of the L1 penalty.
    augmentation : tuple of Augmentation
        What training rows go through, in this order.
    layout : Layout
        What the axes of a row mean.
    codes : tuple of int
        Columns of a table that hold codes of categories.
    patience : int or None
        Epochs without progress before training stops; None trains to the end.
    tol : float
        Fall of the validation loss that counts as progress.
    dtype : str
        Of the module's weights.
    n_outputs : int
        Outputs of the module.
    score : callable
        ``(y_pred, y_true, sample_weight) -> float``, for the history.
    global_rng : bool
        The module may draw from torch's global generator, which is then seeded for each
        epoch and restored.
    """

    seed: int
    learning_rate: float
    lr_schedule: str
    schedule_epochs: int
    gradient_clip: float | None
    l1: float
    augmentation: tuple[Augmentation, ...]
    layout: Layout
    codes: tuple[int, ...]
    patience: int | None
    tol: float
    dtype: str
    n_outputs: int
    score: Callable[[Tensor, Tensor, Tensor | None], float]
    global_rng: bool
