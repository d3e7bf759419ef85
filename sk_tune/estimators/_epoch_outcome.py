# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Loss and score of an epoch from those of its batches."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["EpochOutcome"]


class EpochOutcome:
    """Losses and outputs of an epoch's batches, kept on the device until its end."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.targets: list[Any] = []

    def add(self, loss: Tensor, y_pred: Tensor, target: Any) -> None:
        """Keep the mean loss of a batch, its outputs, (B, C), and targets."""
        self.losses.append(loss)
        self.outputs.append(y_pred)
        self.targets.append(target)

    def loss_and_score(self, score: Callable[..., float]) -> tuple[float, float]:
        """Return the mean loss over the epoch's samples, and their score.

        A short batch counts for what it is; `score` maps ``(y_pred, y_true, weight)``.
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
        # Of nothing there is no mean, and it counts for nothing.
        loss = (losses.where(sizes > 0, 0.0) * sizes).sum() / sizes.sum()
        return float(loss), score(y_pred, y_true, weight)


def _n_known(targets: Tensor) -> int:
    """Return how many targets have a loss: as in torch, negative numbers are no class."""
    if targets.is_floating_point() or targets.ndim > 1:
        return len(targets)
    return int((targets >= 0).sum())
