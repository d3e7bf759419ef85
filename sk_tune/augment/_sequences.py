# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Operations on values and on sequences of many networks: X of shape (k, B, ...).

Each sample has its own random numbers; each network its own strengths, of shape (k,).
Padding, which is NaN, stays padding.
"""

import torch
from torch import Tensor

from sk_tune.augment._numbers import SampleNumbers
from sk_tune.augment._records import Layout

__all__ = ["masked_in_time", "noisy", "scaled", "shifted_in_time"]


def noisy(X: Tensor, numbers: SampleNumbers, std: Tensor) -> Tensor:
    """Add normal noise to every value of `X`, (k, B, ...).

    `std`, (k,), is its deviation.
    """
    noise = numbers.normal(X[0, 0].numel(), X.dtype)
    return noise.mul_(std.to(X.dtype).view(-1, 1, 1)).view_as(X).add_(X)


def scaled(X: Tensor, numbers: SampleNumbers, std: Tensor) -> Tensor:
    """Multiply each sample of `X`, (k, B, ...), by a number about 1.

    `std`, (k,), is the number's standard deviation.
    """
    factor = 1 + numbers.normal(1, X.dtype) * std.to(X.dtype).view(-1, 1, 1)
    return X * factor.view(*X.shape[:2], *(1,) * (X.ndim - 2))


def masked_in_time(
    X: Tensor, numbers: SampleNumbers, share: Tensor, layout: Layout
) -> Tensor:
    """Set consecutive steps of each sequence, at most a `share`, (k,), of them, to 0.

    `X` holds sequences, (k, B, T, F), or signals, (k, B, C, T), as `layout` says.
    """
    n_steps = X.shape[_axis(layout)]
    most = (share * n_steps).floor().unsqueeze(1)
    size, place = numbers.uniform(2).unbind(-1)
    size = (size * (most + 1)).floor_()
    start = (place * (n_steps - size + 1)).floor_()
    steps = torch.arange(n_steps, device=X.device)
    kept = steps.lt(start.unsqueeze(-1)) | steps.ge((start + size).unsqueeze(-1))
    return X * _along(kept.to(X.dtype), layout)


def shifted_in_time(
    X: Tensor, numbers: SampleNumbers, steps: Tensor, layout: Layout
) -> Tensor:
    """Move each sequence in time by at most `steps`, (k,).

    Its first or last step fills the gap. `X` holds sequences, (k, B, T, F), or signals, (k,
    B, C, T), as `layout` says.
    """
    n_steps = X.shape[_axis(layout)]
    largest = steps.view(-1, 1, 1)
    distance = ((numbers.uniform() * (2 * largest + 1)).floor_() - largest).long()
    # Of shape (k, B, T): which step comes to each place.
    place = torch.arange(n_steps, device=X.device).expand(*X.shape[:2], -1)
    source = (place - distance).clamp(min=0)
    if layout == "sequence":
        lengths = n_steps - X[..., 0].isnan().sum(dim=-1, keepdim=True)
        source = torch.where(place < lengths, source.minimum(lengths - 1), place)
    else:
        source = source.clamp(max=n_steps - 1)
    return X.gather(_axis(layout), _along(source, layout).expand_as(X))


def _axis(layout: Layout) -> int:
    """Return the axis of X that is time."""
    return 2 if layout == "sequence" else 3


def _along(values: Tensor, layout: Layout) -> Tensor:
    """Give values of steps, (k, B, T), an axis for the features or channels."""
    return values.unsqueeze(-1 if layout == "sequence" else 2)
