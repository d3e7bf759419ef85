# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Convolutions of many networks by batched matrix products, on any processor, in any type.

The windows are copied into the columns of one matrix per network ("im2col"; Chellapilla,
Puri & Simard 2006, High performance convolutional neural networks for document processing),
and one batched product does the work of all networks.

Images lie in memory as (K, channels, spatial sizes, B): with the batch innermost, the
copies of windows move long runs.

Notation: K networks, B samples of a batch, C channels in, O channels out, S the
spatial sizes, P their product behind the convolution, k the kernel's sizes.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Sides"]

# Zeros before and behind each spatial size.
Sides = Sequence[tuple[int, int]]

# Elements of columns made at one time.  Many more leave the cache between copy and product;
# many fewer are too little work for one call.
_MAX_COLUMNS = 2**18
# Rows of the matrices from which on a product for each offset pays.
_LEAST_DEPTH = 16


def convolve(x: Tensor, padding: Sides, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the convolution, (K, O, *S', B), of images, (K, C, *S, B).

    `padding` are the zeros before and behind each spatial size; `weight` has the shape (K,
    O, C, *k), `bias` (K, O). Raises RuntimeError if the kernel is larger than the padded
    images.
    """
    n_networks, n_out, n_in, *kernel = weight.shape
    y = x.new_empty(n_networks, n_out, *_output_sizes(x, padding, kernel), x.shape[-1])
    matrices = [m.flatten(2) for m in _by_offset(weight, _offsets(n_in, kernel), 3)]
    for part in _parts(x, padding, kernel):
        part.copy_windows()
        out = y[part.networks, :, part.lines].flatten(2)
        first, *others = zip(matrices, part.columns, strict=True)
        if bias is None:
            torch.bmm(first[0][part.networks], first[1], out=out)
        else:
            shift = bias[part.networks].unsqueeze(-1)
            torch.baddbmm(shift, first[0][part.networks], first[1], out=out)
        for matrix, columns in others:
            out.baddbmm_(matrix[part.networks], columns)
    return y


def weight_gradient(
    x: Tensor, padding: Sides, grad: Tensor, kernel: Sequence[int]
) -> Tensor:
    """Return derivatives (K, O, C, *k) for x (K, C, *S, B) and `grad` (K, O, *S', B)."""
    n_networks, n_in = x.shape[:2]
    n_offsets = _offsets(n_in, kernel)
    found = x.new_zeros(n_networks, n_in, *kernel, grad.shape[1])
    sums = _by_offset(found, n_offsets, 2)
    for part in _parts(x, padding, kernel):
        part.copy_windows()
        own = grad[part.networks, :, part.lines].flatten(2).mT
        if n_offsets > 1:
            # A deep product of rows by rows takes twice as long as one of rows by columns.
            own = own.contiguous()
        for sum_, columns in zip(sums, part.columns, strict=True):
            target = sum_[part.networks]
            target.add_((columns @ own).view_as(target))
    return found.movedim(-1, 1)


def input_gradient(x: Tensor, padding: Sides, grad: Tensor, weight: Tensor) -> Tensor:
    """Return derivatives like the images (K, C, *S, B) for `grad` (K, O, *S', B)."""
    n_in, *kernel = weight.shape[2:]
    found = torch.zeros_like(x)
    matrices = [m.flatten(2).mT for m in _by_offset(weight, _offsets(n_in, kernel), 3)]
    for part in _parts(found, padding, kernel):
        own = grad[part.networks, :, part.lines].flatten(2)
        part.memory.zero_()
        for matrix, columns in zip(matrices, part.columns, strict=True):
            columns.baddbmm_(matrix[part.networks], own)
        part.add_windows()
    return found


def _by_offset(weight: Tensor, n_offsets: int, dim: int) -> list[Tensor]:
    """Return weights, with the first size of the kernel in `dim`, for each offset."""
    return list(weight.unbind(dim)) if n_offsets > 1 else [weight]


def _offsets(n_in: int, kernel: Sequence[int]) -> int:
    """Return the matrices that are made of the windows at one place."""
    return kernel[0] if n_in * prod(kernel[1:]) >= _LEAST_DEPTH else 1


def _output_sizes(x: Tensor, padding: Sides, kernel: Sequence[int]) -> list[int]:
    spans = zip(x.shape[2:-1], padding, kernel, strict=True)
    sizes = [size + sum(sides) - k + 1 for size, sides, k in spans]
    if min(sizes) < 1:
        raise RuntimeError(
            f"The kernel must not be larger than the padded input; got a kernel of "
            f"{tuple(kernel)} over inputs of {tuple(x.shape[2:-1])}."
        )
    return sizes


class _Part(NamedTuple):
    """The windows of some networks in some lines, which are places along S'[0].

    Windows that are neighbours along the first spatial size overlap. Where the products
    stay deep enough, they are kept once for all offsets along it, and the matrix of an
    offset is a view of the lines from there on.

    `memory`, (k, C, *window, lines, *S'[1:], B), holds the windows, zero where they reach
    beyond the images; `columns` are views of it, (k, C * window, columns), one for each
    offset; `pairs` are views of the images and of the memory, one for each place in a
    window.
    """

    networks: slice
    lines: slice
    memory: Tensor
    columns: list[Tensor]
    pairs: list[tuple[Tensor, Tensor]]

    def copy_windows(self) -> None:
        """Copy the images to all windows that they are in."""
        for images, windows in self.pairs:
            windows[: self.memory.shape[0]].copy_(images[self.networks])

    def add_windows(self) -> None:
        """Add all windows to the images in them."""
        for images, windows in self.pairs:
            images[self.networks].add_(windows[: self.memory.shape[0]])


def _parts(x: Tensor, padding: Sides, kernel: Sequence[int]) -> Iterator[_Part]:
    """Yield the parts of the windows of x (K, C, *S, B), which share one memory."""
    n_in, n_batch = x.shape[1], x.shape[-1]
    sizes = _output_sizes(x, padding, kernel)
    n_offsets = _offsets(n_in, kernel)
    window = [kernel[0] if n_offsets == 1 else 1, *kernel[1:]]
    run = prod(sizes[1:]) * n_batch
    line = max(1, n_in * prod(window) * run)
    per_part = max(1, min(sizes[0], _MAX_COLUMNS // line))
    networks_per_part = max(1, _MAX_COLUMNS // (line * (per_part + n_offsets - 1)))
    for first in range(0, sizes[0], per_part):
        count = min(per_part, sizes[0] - first)
        shape = (*window, count + n_offsets - 1, *sizes[1:], n_batch)
        memory = x.new_zeros(min(networks_per_part, len(x)), n_in, *shape)
        pairs = list(_pairs(x, memory, padding, first))
        for start in range(0, len(x), networks_per_part):
            networks = slice(start, min(start + networks_per_part, len(x)))
            own = memory[: networks.stop - start]
            matrix = own.flatten(1, len(window) + 1).flatten(2)
            spans = [slice(i * run, (i + count) * run) for i in range(n_offsets)]
            columns = [matrix[:, :, span] for span in spans]
            yield _Part(networks, slice(first, first + count), own, columns, pairs)


def _pairs(
    x: Tensor, memory: Tensor, padding: Sides, first: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the views in which images and windows from a line on meet."""
    for inside, windows in _meetings(x.shape[2:-1], memory.shape[2:-1], padding, first):
        yield x[inside], memory[windows]


@lru_cache(maxsize=64)
def _meetings(
    images: Sequence[int], memory: Sequence[int], padding: Sides, first: int
) -> list[tuple[Any, Any]]:
    """Return where images and windows meet, as indices, for each place in a window."""
    dims, found = len(images), []
    window, sizes = memory[:dims], memory[dims:]
    for place in product(*map(range, window)):
        inside, met = [], []
        for dim, offset in enumerate(place):
            # Of a window, the place in the images.
            shift = offset - padding[dim][0] + (0 if dim else first)
            start, stop = max(0, -shift), min(sizes[dim], images[dim] - shift)
            met.append(slice(start, max(start, stop)))
            inside.append(slice(start + shift, max(start, stop) + shift))
        every = (slice(None), slice(None))
        found.append(((*every, *inside), (*every, *place, *met)))
    return found
