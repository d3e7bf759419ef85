# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Batches of many networks through their augmentations, one after the other.

A network that trains alone is a fleet of one, so that both give the same.

Notation: K networks of a fleet, k neighbours of them, B samples of a batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import astuple
from typing import NamedTuple

import torch
from torch import Tensor

from sk_tune.augment._augmentations import (
    Augmentation,
    CutMix,
    Cutout,
    Flip,
    Layout,
    Mixup,
    Noise,
    Rotate,
    Scale,
    Shift,
    TimeMask,
    TimeShift,
)
from sk_tune.augment._operations import (
    SampleNumbers,
    StepNumbers,
    cut_and_mixed,
    cut_out,
    flipped,
    masked_in_time,
    mixed,
    mixed_codes,
    mixed_targets,
    noisy,
    rotated,
    scaled,
    share_quantiles,
    shifted,
    shifted_in_time,
)

__all__ = ["AugmentedBatch", "RowAugmenter"]

# ``(X, numbers, strength (k,)) -> X``
_Operation = Callable[[Tensor, SampleNumbers, Tensor], Tensor]
_OPERATIONS: dict[type[Augmentation], _Operation] = {
    Flip: flipped,
    Shift: shifted,
    Rotate: rotated,
    Cutout: cut_out,
    Noise: noisy,
    Scale: scaled,
}
# ``(X, numbers, strength (k,), layout) -> X``
_IN_TIME: dict[type[Augmentation], Callable[..., Tensor]] = {
    TimeMask: masked_in_time,
    TimeShift: shifted_in_time,
}
# ``(X, numbers, quantiles (k, n)) -> X, share (k, B)``
_MIXING: dict[type[Augmentation], Callable[..., tuple[Tensor, Tensor]]] = {
    Mixup: mixed,
    CutMix: cut_and_mixed,
}


class AugmentedBatch(NamedTuple):
    """A batch as it is trained on: inputs, (k, B, ...), their targets and weights.

    Targets are (k, B) or (k, B, C), or (k, 2 B) for mixed samples: the classes of their
    first and then those of their second parts, for the same outputs.
    """

    X: Tensor
    y: Tensor
    weight: Tensor | None


class RowAugmenter:
    """Changes the batches of K networks, each with its strengths and random numbers.

    `augmentations` are those of each network, the same kinds in the same order; `layout`
    says what the axes of a sample mean. Columns of a table at `codes` hold codes of
    categories: they get no noise, and of mixed samples they are those of one of the two,
    with the probability of its share.
    """

    def __init__(
        self,
        augmentations: Sequence[Sequence[Augmentation]],
        seeds: Sequence[int],
        layout: Layout,
        device: torch.device,
        codes: Sequence[int] = (),
    ) -> None:
        self.kinds = [type(augmentation) for augmentation in augmentations[0]]
        self.layout = layout
        self.codes = list(codes)
        # Each augmentation has the strengths of the networks, (K,), or quantiles, (K, n).
        self._strengths = []
        for same_kind in zip(*augmentations, strict=True):
            values = [astuple(augmentation)[0] for augmentation in same_kind]
            strengths = torch.tensor(values, dtype=torch.float64)
            if same_kind[0].mixes:
                strengths = share_quantiles(values)
            self._strengths.append(strengths.to(device))
        self._numbers = StepNumbers(seeds, len(self.kinds), device)

    def begin_epoch(self, first_steps: Sequence[int], n_steps: int) -> None:
        """Prepare the random numbers of an epoch of at most `n_steps`.

        `first_steps` are the updates that each network has made before.
        """
        self._numbers.begin_epoch(first_steps, n_steps)

    def augmented(
        self, X: Tensor, y: Tensor, weight: Tensor | None, rows: slice, step: int
    ) -> AugmentedBatch:
        """Return a batch as it is trained on; what is passed is not changed.

        X is (k, B, ...), y (k, B) or (k, B, C), and weight (k, B) or None. `rows` selects
        the k networks, `step` is counted within the epoch.
        """
        for position, kind in enumerate(self.kinds):
            numbers = self._numbers.numbers(position, rows, step, X.shape[1])
            strength = self._strengths[position][rows]
            share = None
            if kind in _MIXING:
                changed, share = _MIXING[kind](X, numbers, strength)
                y, weight = mixed_targets(y, weight, share, X.dtype)
            elif kind in _IN_TIME:
                changed = _IN_TIME[kind](X, numbers, strength, self.layout)
            else:
                changed = _OPERATIONS[kind](X, numbers, strength)
            if self.codes:
                codes = X[..., self.codes]
                changed[..., self.codes] = (
                    codes if share is None else mixed_codes(codes, numbers, share)
                )
            X = changed
        return AugmentedBatch(X, y, weight)
