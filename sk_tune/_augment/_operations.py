# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Operations on batches of many networks, X of shape (k, B, ...), and their random numbers.

Each sample has its own random numbers, each network its own strengths, of shape (k,).  A
number is a function of (seed, operation, step, sample, position), without a generator, so a
network of a fleet draws the same numbers as alone, after a pause, or on another machine.
As in the dropout of ``sk_tune._nets``, a number is a t_j + b mod 2**32, where t_j is fixed
for position j; a (odd) and b belong to one sample at one step of one operation of one
network.  The numbers of a sample are pairwise independent, and independent of the numbers
of other samples.

Notation: k networks, B samples of a batch, n numbers of each sample, C outputs or channels;
a share is the weight of the sample itself, not of its partner.
"""

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from sk_tune._nets import dropout_positions

# Axes of a sample: (features,), (steps, features), (channels, steps),
# (channels, height, width), (channels, depth, height, width), or anything.
Layout = Literal["table", "sequence", "signal", "image", "volume", "other"]

# The normal distribution is drawn from 2**16 quantiles, the largest at 4.3 deviations.
_LOG_QUANTILES = 16


class SampleNumbers:
    """Random numbers of a batch's samples, from the coefficients `a` and `b`, (k, B)."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        self._a, self._b = a.unsqueeze(-1), b.unsqueeze(-1)

    def of_network(self, network: int) -> "SampleNumbers":
        """Return the numbers of one network, without the axis k."""
        return SampleNumbers(self._a[network].squeeze(-1), self._b[network].squeeze(-1))

    def uniform(self, n: int = 1) -> Tensor:
        """Return `n` numbers for each sample, (k, B, n), uniform in [0, 1), as float64."""
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
    n = 2**_LOG_QUANTILES
    middles = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    quantiles: Tensor = torch.special.ndtri(middles)
    return quantiles.to(dtype=dtype, device=device)


def inside_box(start: Tensor, stop: Tensor, height: int, width: int) -> Tensor:
    """Return a mask, (k, B, height, width), of pixels in a box; `stop` is exclusive."""
    lines = torch.arange(height, device=start.device)
    columns = torch.arange(width, device=start.device)
    in_lines = lines.ge(start[..., :1]) & lines.lt(stop[..., :1])
    in_columns = columns.ge(start[..., 1:]) & columns.lt(stop[..., 1:])
    return in_lines.unsqueeze(-1) & in_columns.unsqueeze(-2)


def grey(X: Tensor) -> Tensor:
    """Return the luminance of images, (k, B, 1, H, W), with torchvision's weights."""
    if X.shape[2] == 1:
        return X
    red, green, blue = X.unbind(2)
    grey: Tensor = 0.2989 * red + 0.587 * green + 0.114 * blue
    return grey.unsqueeze(2)


def blended(X: Tensor, other: Tensor, numbers: SampleNumbers, change: Tensor) -> Tensor:
    """Return factor * X + (1 - factor) * other within [0, 1] or the range of the image."""
    change = change.view(-1, 1, 1)
    least = (1 - change).clamp(min=0)
    factor = least + numbers.uniform() * (1 + change - least)
    mixed = torch.lerp(other.expand_as(X), X, factor.to(X.dtype)[..., None, None])
    axes = (2, 3, 4)
    low, high = X.amin(dim=axes, keepdim=True), X.amax(dim=axes, keepdim=True)
    return mixed.clamp(low.clamp(max=0), high.clamp(min=1))


@lru_cache(maxsize=8)
def tensor_of(numbers: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(numbers, device=device)


def partners(values: Tensor) -> Tensor:
    """Return the previous samples' values, (k, B, ...), as partners in a random order."""
    return values.roll(1, dims=1)


def drawn_shares(uniform: Tensor, quantiles: Tensor) -> Tensor:
    return quantiles.gather(1, (uniform * quantiles.shape[1]).long())
