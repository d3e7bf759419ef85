# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Operations that mix samples of a batch, and what becomes of their targets.

A sample's partner is the one before it in the batch, whose order is random anyway.  A mixed
sample counts as its two samples: the loss of each target, weighted with its share.

Notation: k networks, B samples of a batch, C outputs; a share is that of the sample itself.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor

from sk_tune.augment._images import inside_box
from sk_tune.augment._numbers import SampleNumbers

__all__ = ["cut_and_mixed", "mixed", "mixed_codes", "mixed_targets", "share_quantiles"]

# As fine as shares are drawn.
_N_QUANTILES = 4096


def share_quantiles(alphas: Sequence[float]) -> Tensor:
    """Return the quantiles of Beta(alpha, alpha) from which shares are drawn.

    The result has shape (K, n_quantiles), float64, ascending, for the alphas of K networks.
    """
    middles = (np.arange(_N_QUANTILES) + 0.5) / _N_QUANTILES
    column = np.asarray(alphas)[:, np.newaxis]
    return torch.from_numpy(betaincinv(column, column, middles))


def mixed(X: Tensor, numbers: SampleNumbers, quantiles: Tensor) -> tuple[Tensor, Tensor]:
    """Average each sample with its partner, which has the smaller share.

    Returns new samples of the shape of `X`, (k, B, ...), and the share of each sample
    itself, (k, B), float64. Where one of the two is NaN, which is padding, so is the
    result. `quantiles` come from :func:`share_quantiles`.
    """
    share = _drawn(numbers.uniform().squeeze(-1), quantiles)
    share = share.maximum(1 - share)
    own = share.to(X.dtype).view(*share.shape, *(1,) * (X.ndim - 2))
    return torch.lerp(_partners(X), X, own), share


def cut_and_mixed(
    X: Tensor, numbers: SampleNumbers, quantiles: Tensor
) -> tuple[Tensor, Tensor]:
    """Put a rectangle of its partner into each image.

    Returns new images of the shape of `X`, (k, B, C, H, W), and the share of the area that
    is left of the image, (k, B), float64. `quantiles` come from :func:`share_quantiles`.
    """
    drawn = numbers.uniform(3)
    sizes = torch.tensor(X.shape[3:], device=X.device)
    area = 1 - _drawn(drawn[..., 0], quantiles)
    sides = (area.sqrt().unsqueeze(-1) * sizes).floor_()
    start = (drawn[..., 1:] * sizes).floor_() - (sides / 2).floor()
    box = inside_box(start, start + sides, X.shape[3], X.shape[4])
    share = 1 - box.double().mean(dim=(2, 3))
    return torch.where(box.unsqueeze(2), _partners(X), X), share


def mixed_codes(codes: Tensor, numbers: SampleNumbers, share: Tensor) -> Tensor:
    """Return the categories of mixed samples, (k, B, n), which cannot be averaged.

    A code is the sample's with the probability of its `share`, (k, B), and its partner's
    otherwise: on average the mixture of their indicators. `numbers` are those from which
    shares were drawn.
    """
    # The first number has become the share.
    own = numbers.uniform(1 + codes.shape[2])[..., 1:] < share.unsqueeze(-1)
    return torch.where(own, codes, _partners(codes))


def mixed_targets(
    y: Tensor, weight: Tensor | None, share: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor | None]:
    """Return targets and weights of mixed samples.

    Class indices, (k, B), become (k, 2 B): the classes of the samples, then those of their
    partners, with weights in the same order. Real-valued targets, (k, B, C), are averaged,
    which has the same derivatives. `share`, (k, B), is that of the samples themselves.
    """
    share = share.to(dtype)
    own, other = share, 1 - share
    if weight is not None:
        own, other = own * weight, other * _partners(weight)
    if not y.is_floating_point():
        return torch.cat([y, _partners(y)], dim=1), torch.cat([own, other], dim=1)
    total = own + other
    mean = torch.lerp(_partners(y), y, (own / total).unsqueeze(-1))
    return mean, None if weight is None else total


def _partners(values: Tensor) -> Tensor:
    return values.roll(1, dims=1)


def _drawn(uniform: Tensor, quantiles: Tensor) -> Tensor:
    """Return a share for each of the uniform numbers, (k, B)."""
    return quantiles.gather(1, (uniform * quantiles.shape[1]).long())
