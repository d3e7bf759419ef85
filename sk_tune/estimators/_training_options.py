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

    The schedule is laid out for `schedule_epochs`. `layout` says what the axes of a sample
    mean, `codes` which columns hold codes of categories. With `patience` None training goes
    to the end. `score` maps ``(y_pred, y_true, sample_weight)`` to a number, for the
    history. `global_rng` says that the module may draw from torch's global generator, which
    is then seeded for each epoch and restored.
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
