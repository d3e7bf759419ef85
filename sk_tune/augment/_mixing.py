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
    """Return the quantiles of Beta(alpha, alpha), from which shares are drawn.

    Parameters
    ----------
    alphas : sequence of float
        One for each of K networks.

    Returns
    -------
    Tensor of shape (K, n_quantiles) and type float64
        In ascending order.
    """
    middles = (np.arange(_N_QUANTILES) + 0.5) / _N_QUANTILES
    column = np.asarray(alphas)[:, np.newaxis]
    return torch.from_numpy(betaincinv(column, column, middles))


def mixed(X: Tensor, numbers: SampleNumbers, quantiles: Tensor) -> tuple[Tensor, Tensor]:
    """Average each sample with its partner; the larger share is its own.

    Parameters
    ----------
    X : Tensor of shape (k, B, ...)
        Samples.
    numbers : SampleNumbers
        Of these samples.
    quantiles : Tensor of shape (k, n_quantiles)
        From :func:`share_quantiles`.

    Returns
    -------
    X : Tensor of the same shape
        New.  Where one of the two is NaN, which is padding, the result is.
    share : Tensor of shape (k, B) and type float64
        Of the samples themselves.
    """
    share = _drawn(numbers.uniform().squeeze(-1), quantiles)
    share = share.maximum(1 - share)
    own = share.to(X.dtype).view(*share.shape, *(1,) * (X.ndim - 2))
    return torch.lerp(_partners(X), X, own), share


def cut_and_mixed(
    X: Tensor, numbers: SampleNumbers, quantiles: Tensor
) -> tuple[Tensor, Tensor]:
    """Put a rectangle of its partner into each image.

    Parameters
    ----------
    X : Tensor of shape (k, B, C, H, W)
        Images.
    numbers : SampleNumbers
        Of these images.
    quantiles : Tensor of shape (k, n_quantiles)
        From :func:`share_quantiles`.

    Returns
    -------
    X : Tensor of the same shape
        New.
    share : Tensor of shape (k, B) and type float64
        Of the area that is the image's own.
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
    """Return the categories of mixed samples, which cannot be averaged.

    Parameters
    ----------
    codes : Tensor of shape (k, B, n)
        Of the samples.
    numbers : SampleNumbers
        Those from which shares were drawn.
    share : Tensor of shape (k, B)
        Of the samples themselves.

    Returns
    -------
    Tensor of the same shape
        Each code is the sample's own with the probability of its share, and its partner's
        else: on average the mixture of their indicators.
    """
    # The first number has become the share.
    own = numbers.uniform(1 + codes.shape[2])[..., 1:] < share.unsqueeze(-1)
    return torch.where(own, codes, _partners(codes))


def mixed_targets(
    y: Tensor, weight: Tensor | None, share: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor | None]:
    """Return targets and weights of mixed samples.

    Parameters
    ----------
    y : Tensor of shape (k, B) or (k, B, C)
        Class indices, or real-valued targets.
    weight : Tensor of shape (k, B) or None
        Weights.
    share : Tensor of shape (k, B)
        Of the samples themselves.
    dtype : dtype
        Of weights.

    Returns
    -------
    y : Tensor of shape (k, 2 B) or (k, B, C)
        Classes of the samples and then those of their partners; real-valued targets are
        averaged, which has the same derivatives.
    weight : Tensor of shape (k, 2 B) or (k, B) or None
        In the same order.
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
