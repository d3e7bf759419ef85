# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Random numbers that are a function of (seed, operation, step, sample, position).

No generator is involved, so that a row of a fleet draws what its lone network would draw,
also after a pause or on another machine.

Notation: k networks, B samples of a batch, n numbers of each sample.  As in the dropout of
``sk_tune.nets``, a number is a t_j + b mod 2**32, where t_j is fixed for position j; a
(odd) and b belong to one sample at one step of one operation of one network.  Two numbers
of a sample are independent, and so are those of different samples.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from sk_tune.nets import dropout_coefficients, dropout_layer_seeds, dropout_positions

__all__ = ["SampleNumbers", "StepNumbers"]

# As fine as the normal distribution is drawn; the largest number is 4.3 deviations.
_LOG_QUANTILES = 16
# Of a and b, computed at once: few calls for small batches, and no memory to speak of.
_NUMBERS_PER_BLOCK = 2**15


class StepNumbers:
    """Random numbers of K networks for each operation at each step of an epoch."""

    def __init__(
        self, seeds: Sequence[int], n_operations: int, device: torch.device
    ) -> None:
        keys = [dropout_layer_seeds(seed, n_operations) for seed in seeds]
        self._keys = torch.tensor(keys, dtype=torch.int64, device=device)
        self._of_steps = self._keys
        self._start = 0
        self._coefficients = (self._keys, self._keys)

    def begin_epoch(self, first_steps: Sequence[int], n_steps: int) -> None:
        """Prepare the steps of an epoch, which has `n_steps` for the network with the most.

        `first_steps` are the updates that each network has made before.
        """
        device = self._keys.device
        first = torch.tensor(first_steps, dtype=torch.int64, device=device).view(-1, 1)
        steps = torch.arange(n_steps, device=device).view(-1, 1, 1) + first
        # Of shape (S, K, operations).
        self._of_steps = dropout_coefficients(self._keys, steps)[1]
        self._coefficients = (self._keys[:0], self._keys[:0])

    def numbers(
        self, operation: int, rows: slice, step: int, n_samples: int
    ) -> "SampleNumbers":
        """Return the numbers of an operation on a batch of `n_samples`.

        Asked again, they are the same. `rows` selects the networks, `step` is counted
        within the epoch.
        """
        place = step - self._start
        known = self._coefficients[0]
        if not (0 <= place < len(known) and n_samples <= known.shape[-1]):
            self._compute(step, n_samples)
            place = 0
        a, b = self._coefficients
        return SampleNumbers(
            a[place, rows, operation, :n_samples], b[place, rows, operation, :n_samples]
        )

    def _compute(self, step: int, n_samples: int) -> None:
        """Compute a and b for some steps at once, since the calls cost the most."""
        per_step = max(1, self._keys.numel() * n_samples)
        n_steps = max(1, _NUMBERS_PER_BLOCK // per_step)
        keys = self._of_steps[step : step + n_steps].unsqueeze(-1)
        samples = torch.arange(n_samples, device=keys.device)
        a, b = dropout_coefficients(keys, samples)
        # Of shape (steps, K, operations, B).
        self._start, self._coefficients = step, (a.to(torch.int32), b.to(torch.int32))


class SampleNumbers:
    """Random numbers of the samples of a batch, from the counters `a` and `b`, (k, B)."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        self._a, self._b = a.unsqueeze(-1), b.unsqueeze(-1)

    def uniform(self, n: int = 1) -> Tensor:
        """Return `n` numbers for each sample, (k, B, n), uniform in [0, 1).

        They are float64 whatever the type of X, so that whole numbers made of them are the
        same.
        """
        return self._bits(n).double().add_(2.0**31).mul_(2.0**-32)

    def normal(self, n: int, dtype: torch.dtype) -> Tensor:
        """Return `n` standard normal numbers for each sample, (k, B, n)."""
        bits = self._bits(n)
        table = _normal_quantiles(dtype, bits.device)
        index = (bits >> (32 - _LOG_QUANTILES)).add_(2 ** (_LOG_QUANTILES - 1))
        return table.index_select(0, index.view(-1)).view(index.shape)

    def _bits(self, n: int) -> Tensor:
        return dropout_positions(n, self._a.device) * self._a + self._b


@lru_cache(maxsize=8)
def _normal_quantiles(dtype: torch.dtype, device: torch.device) -> Tensor:
    middles = (torch.arange(2**_LOG_QUANTILES, dtype=torch.float64) + 0.5).mul_(
        2.0**-_LOG_QUANTILES
    )
    quantiles: Tensor = torch.special.ndtri(middles)
    return quantiles.to(dtype=dtype, device=device)
