# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The parts of an epoch of one net: its options, augmented batches, loss and score."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sk_tune.augment import (
    Augmentation,
    Layout,
    RowAugmenter,
    as_augmentations,
    check_row_shape,
)
from sk_tune.training import Stream, derive_seed


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
    score: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    global_rng: bool


# Meanings of a sample's axes, by the number of axes.
_LAYOUTS: dict[int, Layout] = {1: "table", 2: "sequence", 3: "image", 4: "volume"}


def augmentation_options(estimator: Any) -> dict[str, Any]:
    """Return what ``TrainingOptions`` takes of augmentation, for an estimator that knows X.

    These are ``augmentation``, a tuple; ``layout``, what the axes of a sample mean to them;
    ``codes``, the columns that hold codes of categories. Raises ValueError if there is one
    that samples of this form do not have.
    """
    shape = estimator.input_shape_
    layout: Layout = _LAYOUTS.get(len(shape), "other")
    if layout == "sequence" and estimator._time_is_last:
        layout = "signal"
    augmentations = as_augmentations(estimator.augmentation)
    check_row_shape(augmentations, shape, layout, type(estimator).__name__)
    codes = tuple(np.flatnonzero(getattr(estimator, "is_categorical_", ())).tolist())
    return {"augmentation": augmentations, "layout": layout, "codes": codes}


class BatchAugmenter:
    """Augments the batches of one net in an epoch that begins after some updates."""

    def __init__(
        self, options: TrainingOptions, device: Any, first_step: int, n_steps: int
    ) -> None:
        seed = derive_seed(options.seed, Stream.AUGMENTATION)
        self._fleet = RowAugmenter(
            [options.augmentation],
            [seed],
            options.layout,
            torch.device(device),
            options.codes,
        )
        self._fleet.begin_epoch([first_step], n_steps)

    def augmented(self, batch: tuple[Any, Any], step: int) -> tuple[Any, Any]:
        """Return a batch, inputs and targets, as the network sees it."""
        X, target = batch
        y, weight = target if isinstance(target, tuple) else (target, None)
        weight = None if weight is None else weight.unsqueeze(0)
        # A fleet of one network.
        seen = self._fleet.augmented(X.unsqueeze(0), y.unsqueeze(0), weight, slice(1), step)
        X, y = seen.X.squeeze(0), seen.y.squeeze(0)
        return X, y if seen.weight is None else (y, seen.weight.squeeze(0))


def with_targets(outputs: Tensor, target: Any) -> Tensor:
    """Return outputs, (B, ...), as often as there are targets for them, (n B, ...).

    Samples that were mixed have a target for each of their parts.
    """
    y = target[0] if isinstance(target, tuple) else target
    n = len(y) // len(outputs)
    return outputs if n == 1 else outputs.repeat(n, *(1,) * (outputs.ndim - 1))


class EpochOutcome:
    """The losses and outputs of an epoch's batches, kept on the device until its end."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.targets: list[Any] = []

    def add(self, loss: Tensor, y_pred: Tensor, target: Any) -> None:
        """Keep the mean loss of a batch, its outputs, (B, C), and targets."""
        self.losses.append(loss)
        self.outputs.append(y_pred)
        self.targets.append(target)

    def loss_and_score(self, score: Callable[..., Tensor]) -> tuple[float, float]:
        """Return the mean loss over the epoch's samples, and their score.

        `score` maps ``(y_pred, y_true, weight)`` of networks, here of one.
        """
        y_pred = torch.cat(self.outputs)
        if isinstance(self.targets[0], tuple):
            parts = zip(*self.targets, strict=True)
            y_true, weight = (torch.cat(part) for part in parts)
            sizes = torch.stack([w.sum() for _, w in self.targets])
        else:
            y_true, weight = torch.cat(self.targets), None
            sizes = torch.tensor(list(map(_n_known, self.targets)), device=y_pred.device)
        losses = torch.stack(self.losses)
        # A batch without known targets has no mean loss, and counts for nothing.
        loss = (losses.where(sizes > 0, 0.0) * sizes).sum() / sizes.sum()
        own = [t if t is None else t.unsqueeze(0) for t in (y_pred, y_true, weight)]
        return float(loss), float(score(*own))


def _n_known(targets: Tensor) -> int:
    """Return how many targets have a loss: as in torch, negative numbers are no class."""
    if targets.is_floating_point() or targets.ndim > 1:
        return len(targets)
    return int((targets >= 0).sum())
