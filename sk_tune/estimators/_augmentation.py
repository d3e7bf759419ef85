# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The parameter ``augmentation``: checked, and carried out in the training of one net."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sk_tune._compat import StrOptions
from sk_tune.augment import (
    AUGMENTATIONS,
    Layout,
    RowAugmenter,
    as_augmentations,
    check_row_shape,
)
from sk_tune.estimators._training_options import TrainingOptions
from sk_tune.training import Stream, derive_seed

__all__ = ["AugmentationNames", "BatchAugmenter", "augmentation_options", "with_targets"]

_ONLY = slice(0, 1)
# What the axes of a row mean, by their number.
_LAYOUTS: dict[int, Layout] = {1: "table", 2: "sequence", 3: "image", 4: "volume"}


class AugmentationNames(StrOptions):  # type: ignore[misc]
    """Constraint: a name or instance of an augmentation, or a list or tuple of these."""

    def __init__(self) -> None:
        super().__init__(set(AUGMENTATIONS))

    def is_satisfied_by(self, val: Any) -> bool:
        """Return whether a value stands for augmentations, of which one mixes at most."""
        try:
            as_augmentations(val)
        except ValueError:
            return False
        return val is not None

    def __str__(self) -> str:
        return (
            f"{super().__str__()}, an instance of a class of sk_tune.augment, a list or "
            "tuple of these with one that mixes rows at most"
        )


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
    codes = np.flatnonzero(getattr(estimator, "is_categorical_", ()))
    return {
        "augmentation": augmentations,
        "layout": layout,
        "codes": tuple(codes.tolist()),
    }


class BatchAugmenter:
    """Changes the batches of one net by at least one augmentation."""

    def __init__(self, options: TrainingOptions, device: torch.device | str) -> None:
        seed = derive_seed(options.seed, Stream.AUGMENTATION)
        self._rows = RowAugmenter(
            [options.augmentation],
            [seed],
            options.layout,
            torch.device(device),
            options.codes,
        )

    @classmethod
    def of(
        cls, options: TrainingOptions, device: torch.device | str
    ) -> "BatchAugmenter | None":
        """Return what changes batches, or None without augmentations."""
        return cls(options, device) if options.augmentation else None

    def begin_epoch(self, first_step: int, n_steps: int) -> None:
        """Prepare the random numbers of an epoch, after `first_step` updates."""
        self._rows.begin_epoch([first_step], n_steps)

    def augmented(self, batch: tuple[Any, Any], step: int) -> tuple[Any, Any]:
        """Return a batch, inputs and targets, as the network sees it."""
        X, target = batch
        y, weight = target if isinstance(target, tuple) else (target, None)
        own = None if weight is None else weight.unsqueeze(0)
        seen = self._rows.augmented(X.unsqueeze(0), y.unsqueeze(0), own, _ONLY, step)
        X, y = seen.X.squeeze(0), seen.y.squeeze(0)
        return X, y if seen.weight is None else (y, seen.weight.squeeze(0))


def with_targets(outputs: Tensor, target: Any) -> Tensor:
    """Return outputs, (B, ...), as often as there are targets for them, (n B, ...).

    Samples that were mixed have a target for each of their parts.
    """
    y = target[0] if isinstance(target, tuple) else target
    n = len(y) // len(outputs)
    return outputs if n == 1 else outputs.repeat(n, *(1,) * (outputs.ndim - 1))
