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

from collections.abc import Callable, Sequence
from dataclasses import astuple
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor
from torch.nn import functional as F

from sk_tune._augment._augmentations import (
    Augmentation,
    Brightness,
    Contrast,
    CutMix,
    Cutout,
    Flip,
    Layout,
    Mixup,
    Noise,
    Rotate,
    Saturation,
    Scale,
    Shift,
    TimeMask,
    TimeShift,
)
from sk_tune._nets import dropout_coefficients, dropout_layer_seeds, dropout_positions

# The normal distribution is drawn from 2**16 quantiles, the largest at 4.3 deviations.
_LOG_QUANTILES = 16
# Number of pairs a, b computed at once: few calls for small batches, and little memory.
_NUMBERS_PER_BLOCK = 2**15
_N_SHARES = 4096  # Quantiles from which the share of a mixed sample is drawn.


class _SampleNumbers:
    """Random numbers of a batch's samples, from the coefficients `a` and `b`, (k, B)."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        self._a, self._b = a.unsqueeze(-1), b.unsqueeze(-1)

    def uniform(self, n: int = 1) -> Tensor:
        """Return `n` numbers for each sample, (k, B, n), uniform in [0, 1).

        They are float64 for every type of X, so that integers derived from them agree.
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
    n = 2**_LOG_QUANTILES
    middles = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    quantiles: Tensor = torch.special.ndtri(middles)
    return quantiles.to(dtype=dtype, device=device)


def _flipped(X: Tensor, numbers: _SampleNumbers, p: Tensor) -> Tensor:
    """Mirror images, (k, B, C, H, W), left to right with probability `p`, (k,)."""
    turned = numbers.uniform() < p.view(-1, 1, 1)
    columns = torch.arange(X.shape[-1], device=X.device)
    source = torch.where(turned, columns.flip(0), columns)
    # A gather takes a fifth of the time of torch.where with the mirror image.
    return X.gather(-1, source.view(*turned.shape, 1, -1).expand_as(X))


def _shifted(X: Tensor, numbers: _SampleNumbers, pixels: Tensor) -> Tensor:
    """Move images, (k, B, C, H, W), along both axes by at most `pixels`, (k,).

    Pixels of the edge fill the gap.
    """
    most = int(pixels.max())
    largest = pixels.view(-1, 1, 1)
    distances = (numbers.uniform(2) * (2 * largest + 1)).floor_() - largest
    # Start of the image in the padded image, (k B,) for each axis.
    y_start, x_start = (distances + most).long().flatten(0, 1).unbind(1)
    padded = F.pad(X.flatten(0, 1), (most,) * 4, mode="replicate")
    windows = padded.unfold(2, X.shape[3], 1).unfold(3, X.shape[4], 1)
    images = torch.arange(len(padded), device=X.device)
    return windows[images, :, y_start, x_start].view_as(X)


def _rotated(X: Tensor, numbers: _SampleNumbers, degrees: Tensor) -> Tensor:
    """Rotate images, (k, B, C, H, W), about their centre by at most `degrees`, (k,)."""
    images = X.flatten(0, 1)
    height, width = X.shape[3:]
    turns = (numbers.uniform().squeeze(-1) * 2 - 1) * degrees.unsqueeze(1)
    angles = torch.deg2rad(turns.flatten())
    cos, sin = angles.cos(), angles.sin()
    # Coordinates run from -1 to 1 along each axis, for any size.
    matrix = images.new_zeros(len(images), 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = cos.to(X.dtype)
    matrix[:, 0, 1] = (-sin * (height / width)).to(X.dtype)
    matrix[:, 1, 0] = (sin * (width / height)).to(X.dtype)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    turned = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return turned.view_as(X)


def _cut_out(X: Tensor, numbers: _SampleNumbers, pixels: Tensor) -> Tensor:
    """Set a square of each image, (k, B, C, H, W), to 0; its side is `pixels`, (k,)."""
    sizes = _tensor_of(X.shape[3:], X.device)
    sides = pixels.view(-1, 1, 1)
    start = (numbers.uniform(2) * sizes).floor_() - (sides / 2).floor()
    box = _inside_box(start, start + sides, X.shape[3], X.shape[4])
    return X * (~box).to(X.dtype).unsqueeze(2)


def _inside_box(start: Tensor, stop: Tensor, height: int, width: int) -> Tensor:
    """Return a mask, (k, B, height, width), of the pixels inside a rectangle.

    `start` (inclusive) and `stop` (exclusive), (k, B, 2), are lines and columns, which may
    be outside the image.
    """
    lines = torch.arange(height, device=start.device)
    columns = torch.arange(width, device=start.device)
    in_lines = lines.ge(start[..., :1]) & lines.lt(stop[..., :1])
    in_columns = columns.ge(start[..., 1:]) & columns.lt(stop[..., 1:])
    return in_lines.unsqueeze(-1) & in_columns.unsqueeze(-2)


def _brightened(X: Tensor, numbers: _SampleNumbers, change: Tensor) -> Tensor:
    """Blend images, (k, B, C, H, W), with black; `change`, (k,), limits the factor."""
    return _blended(X, torch.zeros_like(X), numbers, change)


def _contrasted(X: Tensor, numbers: _SampleNumbers, change: Tensor) -> Tensor:
    """Blend images, (k, B, C, H, W), with their mean grey."""
    return _blended(X, _grey(X).mean(dim=(2, 3, 4), keepdim=True), numbers, change)


def _saturated(X: Tensor, numbers: _SampleNumbers, change: Tensor) -> Tensor:
    """Blend images, (k, B, 3, H, W), with the grey of each pixel."""
    return _blended(X, _grey(X), numbers, change)


def _grey(X: Tensor) -> Tensor:
    """Return the luminance of images, (k, B, 1, H, W), with torchvision's weights."""
    if X.shape[2] == 1:
        return X
    red, green, blue = X.unbind(2)
    grey: Tensor = 0.2989 * red + 0.587 * green + 0.114 * blue
    return grey.unsqueeze(2)


def _blended(X: Tensor, other: Tensor, numbers: _SampleNumbers, change: Tensor) -> Tensor:
    """Return factor * X + (1 - factor) * other within [0, 1] or the range of the image."""
    change = change.view(-1, 1, 1)
    least = (1 - change).clamp(min=0)
    factor = least + numbers.uniform() * (1 + change - least)
    mixed = torch.lerp(other.expand_as(X), X, factor.to(X.dtype)[..., None, None])
    axes = (2, 3, 4)
    low, high = X.amin(dim=axes, keepdim=True), X.amax(dim=axes, keepdim=True)
    return mixed.clamp(low.clamp(max=0), high.clamp(min=1))


def _noisy(X: Tensor, numbers: _SampleNumbers, std: Tensor) -> Tensor:
    """Add normal noise of deviation `std`, (k,), to every value of `X`, (k, B, ...)."""
    noise = numbers.normal(X[0, 0].numel(), X.dtype)
    return noise.mul_(std.to(X.dtype).view(-1, 1, 1)).view_as(X).add_(X)


def _scaled(X: Tensor, numbers: _SampleNumbers, std: Tensor) -> Tensor:
    """Multiply each sample of `X` by a number about 1 of deviation `std`, (k,)."""
    factor = 1 + numbers.normal(1, X.dtype) * std.to(X.dtype).view(-1, 1, 1)
    return X * factor.view(*X.shape[:2], *(1,) * (X.ndim - 2))


def _masked_in_time(
    X: Tensor, numbers: _SampleNumbers, share: Tensor, layout: Layout
) -> Tensor:
    """Set consecutive steps of each sequence, at most a `share`, (k,), of them, to 0.

    `layout` says whether `X` has sequences, (k, B, T, F), or signals, (k, B, C, T).
    """
    n_steps = X.shape[_axis(layout)]
    most = (share * n_steps).floor().unsqueeze(1)
    size, place = numbers.uniform(2).unbind(-1)
    size = (size * (most + 1)).floor_()
    start = (place * (n_steps - size + 1)).floor_()
    steps = torch.arange(n_steps, device=X.device)
    mask = steps.lt(start.unsqueeze(-1)) | steps.ge((start + size).unsqueeze(-1))
    return X * _along(mask.to(X.dtype), layout)


def _shifted_in_time(
    X: Tensor, numbers: _SampleNumbers, steps: Tensor, layout: Layout
) -> Tensor:
    """Move each sequence in time by at most `steps`, (k,).

    The first or last step fills the gap. `layout` says whether `X` has sequences,
    (k, B, T, F), or signals, (k, B, C, T).
    """
    n_steps = X.shape[_axis(layout)]
    largest = steps.view(-1, 1, 1)
    distance = ((numbers.uniform() * (2 * largest + 1)).floor_() - largest).long()
    # The source step of each place, (k, B, T).
    place = torch.arange(n_steps, device=X.device).expand(*X.shape[:2], -1)
    source = (place - distance).clamp(min=0)
    if layout == "sequence":
        lengths = n_steps - X[..., 0].isnan().sum(dim=-1, keepdim=True)
        source = torch.where(place < lengths, source.minimum(lengths - 1), place)
    else:
        source = source.clamp(max=n_steps - 1)
    return X.gather(_axis(layout), _along(source, layout).expand_as(X))


def _axis(layout: Layout) -> int:
    return 2 if layout == "sequence" else 3


def _along(values: Tensor, layout: Layout) -> Tensor:
    """Give values of steps, (k, B, T), an axis for the features or channels."""
    return values.unsqueeze(-1 if layout == "sequence" else 2)


def _mixed(X: Tensor, numbers: _SampleNumbers, quantiles: Tensor) -> tuple[Tensor, Tensor]:
    """Average each sample with its partner, which has the smaller share.

    Returns new samples of the shape of `X`, (k, B, ...), and the shares, (k, B), float64.
    NaN, the padding of either sample, remains NaN. `quantiles`, (k, n), are increasing
    quantiles of the share.
    """
    share = _drawn(numbers.uniform().squeeze(-1), quantiles)
    share = share.maximum(1 - share)
    factor = share.to(X.dtype).view(*share.shape, *(1,) * (X.ndim - 2))
    return torch.lerp(_partners(X), X, factor), share


def _cut_and_mixed(
    X: Tensor, numbers: _SampleNumbers, quantiles: Tensor
) -> tuple[Tensor, Tensor]:
    """Replace a rectangle of each image by its partner's.

    Returns new images of the shape of `X`, (k, B, C, H, W), and the shares of the remaining
    area, (k, B), float64. `quantiles`, (k, n), are quantiles of the share.
    """
    drawn = numbers.uniform(3)
    sizes = _tensor_of(X.shape[3:], X.device)
    area = 1 - _drawn(drawn[..., 0], quantiles)
    sides = (area.sqrt().unsqueeze(-1) * sizes).floor_()
    start = (drawn[..., 1:] * sizes).floor_() - (sides / 2).floor()
    box = _inside_box(start, start + sides, X.shape[3], X.shape[4])
    share = 1 - box.double().mean(dim=(2, 3))
    return torch.where(box.unsqueeze(2), _partners(X), X), share


@lru_cache(maxsize=8)
def _tensor_of(numbers: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(numbers, device=device)


def _mixed_targets(
    y: Tensor, weight: Tensor | None, share: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor | None]:
    """Return targets and weights of mixed samples.

    Class indices, (k, B), become (k, 2 B): the classes of the samples, then of their
    partners, with weights in the same order. Real-valued targets, (k, B, C), are averaged,
    which gives the same derivatives.
    """
    first = share.to(dtype)
    second = 1 - first
    if weight is not None:
        first, second = first * weight, second * _partners(weight)
    if not y.is_floating_point():
        return torch.cat([y, _partners(y)], dim=1), torch.cat([first, second], dim=1)
    total = first + second
    mean = torch.lerp(_partners(y), y, (first / total).unsqueeze(-1))
    return mean, None if weight is None else total


def _partners(values: Tensor) -> Tensor:
    """Return the previous samples' values, (k, B, ...), as partners in a random order."""
    return values.roll(1, dims=1)


def _drawn(uniform: Tensor, quantiles: Tensor) -> Tensor:
    return quantiles.gather(1, (uniform * quantiles.shape[1]).long())


# ``(X, numbers, strength (k,)) -> X``.  Operations in time also take the layout.  Mixing
# operations take quantiles (k, n) instead of the strength, and return ``X, share (k, B)``.
_OPERATIONS: dict[type[Augmentation], Callable[..., Any]] = {
    Flip: _flipped,
    Shift: _shifted,
    Rotate: _rotated,
    Cutout: _cut_out,
    Brightness: _brightened,
    Contrast: _contrasted,
    Saturation: _saturated,
    Noise: _noisy,
    Scale: _scaled,
    TimeMask: _masked_in_time,
    TimeShift: _shifted_in_time,
    Mixup: _mixed,
    CutMix: _cut_and_mixed,
}


class AugmentedBatch(NamedTuple):
    """An augmented batch: inputs, (k, B, ...), targets and weights.

    Targets are (k, B) or (k, B, C), or (k, 2 B) for mixed samples: the classes of the
    samples, then of their partners, for the same outputs.
    """

    X: Tensor
    y: Tensor
    weight: Tensor | None


class RowAugmenter:
    """Changes the batches of K networks, each with its strengths and random numbers.

    `augmentations` has a sequence for each network, with the same kinds in the same order.
    `layout` names the axes of a sample. Table columns at `codes` hold codes of categories:
    they get no noise, and a mixed sample gets the codes of one of its two parts, with a
    probability equal to its share.
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
        # For each augmentation, strengths of the networks, (K,), or quantiles, (K, n).
        self._strengths = []
        for same_kind in zip(*augmentations, strict=True):
            values = [astuple(augmentation)[0] for augmentation in same_kind]
            strengths = torch.tensor(values, dtype=torch.float64)
            if same_kind[0].mixes:
                # Increasing quantiles of Beta(alpha, alpha), from which shares are drawn.
                middles = (np.arange(_N_SHARES) + 0.5) / _N_SHARES
                alphas = np.asarray(values)[:, np.newaxis]
                strengths = torch.from_numpy(betaincinv(alphas, alphas, middles))
            self._strengths.append(strengths.to(device))
        keys = [dropout_layer_seeds(seed, len(self.kinds)) for seed in seeds]
        self._keys = torch.tensor(keys, dtype=torch.int64, device=device)
        self._step_keys = self._keys  # (S, K, operations) in an epoch of S steps
        # a and b of several steps, beginning at `_start`: (steps, K, operations, B).
        self._start = 0
        self._coefficients = (self._keys, self._keys)

    def begin_epoch(self, first_steps: Sequence[int], n_steps: int) -> None:
        """Prepare the random numbers of an epoch of at most `n_steps`.

        `first_steps` are the numbers of updates that each network has made already.
        """
        device = self._keys.device
        first = torch.tensor(first_steps, dtype=torch.int64, device=device).view(-1, 1)
        steps = torch.arange(n_steps, device=device).view(-1, 1, 1) + first
        self._step_keys = dropout_coefficients(self._keys, steps)[1]
        self._coefficients = (self._keys[:0], self._keys[:0])

    def augmented(
        self, X: Tensor, y: Tensor, weight: Tensor | None, rows: slice, step: int
    ) -> AugmentedBatch:
        """Return a batch after augmentation; the arguments are not changed.

        X is (k, B, ...), y (k, B) or (k, B, C), and weight (k, B) or None. `rows` selects
        the k networks, `step` is counted within the epoch.
        """
        for position, kind in enumerate(self.kinds):
            numbers = self._numbers(position, rows, step, X.shape[1])
            layout = [self.layout] if kind in {TimeMask, TimeShift} else []
            changed = _OPERATIONS[kind](
                X, numbers, self._strengths[position][rows], *layout
            )
            share = None
            if kind.mixes:
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
                    codes = torch.where(is_kept, codes, _partners(codes))
                changed[..., self.codes] = codes
            X = changed
        return AugmentedBatch(X, y, weight)

    def _numbers(
        self, operation: int, rows: slice, step: int, n_samples: int
    ) -> _SampleNumbers:
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
        return _SampleNumbers(a[place], b[place])
