# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The augmented batches of many networks; notation as in ``_operations``."""

from collections.abc import Sequence
from dataclasses import astuple
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor

from sk_tune._augment._augmentations import Augmentation, TimeMask, TimeShift
from sk_tune._augment._operations import Layout, SampleNumbers, partners
from sk_tune._nets import dropout_coefficients, dropout_layer_seeds

# Number of pairs a, b computed at once: few calls for small batches, and little memory.
_NUMBERS_PER_BLOCK = 2**15
_N_SHARES = 4096  # Quantiles from which the share of a mixed sample is drawn.


def _mixed_targets(
    y: Tensor, weight: Tensor | None, share: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor | None]:
    """Return targets and weights of mixed samples.

    Class indices, (k, B), become (k, 2 B): the classes of the samples, then of their
    partners. Real-valued targets, (k, B, C), are averaged, which gives the same
    derivatives.
    """
    first = share.to(dtype)
    second = 1 - first
    if weight is not None:
        first, second = first * weight, second * partners(weight)
    if not y.is_floating_point():
        return torch.cat([y, partners(y)], dim=1), torch.cat([first, second], dim=1)
    total = first + second
    mean = torch.lerp(partners(y), y, (first / total).unsqueeze(-1))
    return mean, None if weight is None else total


def _strengths(same_kind: Sequence[Augmentation], device: torch.device) -> Tensor:
    """Return the strengths of K networks, (K,), or quantiles of their shares, (K, n)."""
    if same_kind[0]._operation is None:
        return torch.empty(len(same_kind))
    values = [astuple(augmentation)[0] for augmentation in same_kind]
    strengths = torch.tensor(values, dtype=torch.float64)
    if same_kind[0].mixes:
        # Increasing quantiles of Beta(alpha, alpha), from which shares are drawn.
        middles = (np.arange(_N_SHARES) + 0.5) / _N_SHARES
        alphas = np.asarray(values)[:, np.newaxis]
        strengths = torch.from_numpy(betaincinv(alphas, alphas, middles))
    return strengths.to(device)


class AugmentedBatch(NamedTuple):
    """An augmented batch."""

    X: Tensor  # (k, B, ...)
    y: Tensor  # (k, B) or (k, B, C); (k, 2 B) for mixed classes, partners last
    weight: Tensor | None


class RowAugmenter:
    """Changes the batches of K networks, each with its strengths and random numbers.

    `augmentations` has a sequence for each network, with the same kinds in the same order.
    Table columns at `codes` hold codes of categories: they get no noise, and a mixed sample
    gets the codes of one of its two parts, with a probability equal to its share.
    """

    def __init__(
        self,
        augmentations: Sequence[Sequence[Augmentation]],
        seeds: Sequence[int],
        layout: Layout,
        device: torch.device,
        codes: Sequence[int] = (),
    ) -> None:
        self.layout = layout
        self.codes = list(codes)
        # For each place in the chain: the augmentations of all networks, and strengths of
        # the networks, (K,), or quantiles, (K, n).
        self._chain = [(a, _strengths(a, device)) for a in zip(*augmentations, strict=True)]
        keys = [dropout_layer_seeds(seed, len(self._chain)) for seed in seeds]
        self._keys = torch.tensor(keys, dtype=torch.int64, device=device)
        self._step_keys = self._keys  # (S, K, operations) in an epoch of S steps
        # a and b of several steps, beginning at `_start`: (steps, K, operations, B).
        self._start = 0
        self._coefficients = (self._keys, self._keys)

    def begin_epoch(self, first_steps: Sequence[int], n_steps: int) -> None:
        """Prepare random numbers for `n_steps` after each network's `first_steps`."""
        device = self._keys.device
        first = torch.tensor(first_steps, dtype=torch.int64, device=device).view(-1, 1)
        steps = torch.arange(n_steps, device=device).view(-1, 1, 1) + first
        self._step_keys = dropout_coefficients(self._keys, steps)[1]
        self._coefficients = (self._keys[:0], self._keys[:0])

    def augmented(
        self, X: Tensor, y: Tensor, weight: Tensor | None, rows: slice, step: int
    ) -> AugmentedBatch:
        """Return a batch of the networks at `rows` after augmentation, at a step."""
        for position, (same_kind, strengths) in enumerate(self._chain):
            numbers, share = self._numbers(position, rows, step, X.shape[1]), None
            first, operation = same_kind[0], same_kind[0]._operation
            if operation is None:
                networks = enumerate(zip(same_kind[rows], X, strict=True))
                changed = torch.stack([
                    change.augment(samples, numbers.of_network(i))
                    for i, (change, samples) in networks
                ])
            elif self.layout == "sequence" and isinstance(first, TimeMask | TimeShift):
                changed = operation(X.mT, numbers, strengths[rows]).mT.contiguous()
            else:
                changed = operation(X, numbers, strengths[rows])
            if first.mixes:
                changed, share = changed
                y, weight = _mixed_targets(y, weight, share, X.dtype)
            if self.codes:
                codes = X[..., self.codes]
                if share is not None:
                    # A mixed code is the sample's with the probability of its share, else
                    # its partner's: on average the mixture of their indicators. The first
                    # random number was used for the share.
                    drawn = numbers.uniform(1 + codes.shape[2])[..., 1:]
                    is_kept = drawn < share.unsqueeze(-1)
                    codes = torch.where(is_kept, codes, partners(codes))
                changed[..., self.codes] = codes
            X = changed
        return AugmentedBatch(X, y, weight)

    def _numbers(
        self, operation: int, rows: slice, step: int, n_samples: int
    ) -> SampleNumbers:
        """Return the numbers of an operation for some networks at a step of the epoch."""
        coefficients = self._coefficients[0]
        if not (
            0 <= step - self._start < len(coefficients)
            and n_samples <= coefficients.shape[-1]
        ):
            # Computed for several steps at once, because calls dominate the cost.
            n_steps = max(1, _NUMBERS_PER_BLOCK // max(1, self._keys.numel() * n_samples))
            keys = self._step_keys[step : step + n_steps].unsqueeze(-1)
            samples = torch.arange(n_samples, device=keys.device)
            a, b = dropout_coefficients(keys, samples)
            self._start, self._coefficients = step, (a.to(torch.int32), b.to(torch.int32))
        place = (step - self._start, rows, operation, slice(n_samples))
        a, b = self._coefficients
        return SampleNumbers(a[place], b[place])
