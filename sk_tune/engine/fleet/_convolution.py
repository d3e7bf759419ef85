# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Convolution and pooling of many networks at once, as batched matrix products.

Under ``torch.func.vmap`` torch makes one grouped convolution of the convolutions of K
networks, which is slow on a CPU.  Here the windows are copied into the columns of one
matrix per network ("im2col"; Chellapilla, Puri & Simard 2006, High performance
convolutional neural networks for document processing), and one batched product does the
work of all networks.  Pooling is torch's own, told that samples are channels, which its
kernels for channels innermost in memory make the most of.

Every result lies in memory as (K, channels, spatial sizes, B), seen as (K, B, channels,
spatial sizes): with the batch innermost, the copies of windows move long runs, and a stack
of convolutions, activations and poolings never transposes.

Notation: K networks ("rows"), B rows of a batch, C channels in, O channels out, S the
spatial sizes, P their product behind the convolution, k the kernel's sizes.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function

__all__ = ["RowConv", "RowPool", "row_conv_fits", "row_pool_fits"]

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_POOLS: dict[type[nn.Module], int] = {
    nn.MaxPool1d: 1,
    nn.MaxPool2d: 2,
    nn.MaxPool3d: 3,
    nn.AvgPool1d: 1,
    nn.AvgPool2d: 2,
    nn.AvgPool3d: 3,
}
# Zeros before and behind each spatial size.
Sides = Sequence[tuple[int, int]]

# Elements of columns made at one time.  Many more leave the cache between copy and product;
# many fewer are too little work for one call.
_MAX_COLUMNS = 2**18
# Rows of the matrices from which on a product for each offset pays.
_LEAST_DEPTH = 16


class RowConv(nn.Module):
    """A convolution that stays fast under ``torch.func.vmap`` over its parameters.

    The gradient is to be taken outside of ``vmap``, or without it.

    Parameters
    ----------
    conv : Conv1d, Conv2d or Conv3d
        A layer that :func:`row_conv_fits`; its parameters are shared, under their names.
    """

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.weight: nn.Parameter = conv.weight  # type: ignore[assignment]
        self.bias: nn.Parameter | None = conv.bias  # type: ignore[assignment]
        self.padding = _sides(conv)

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of a batch.

        Parameters
        ----------
        x : Tensor of shape (B, C, *S)
            Inputs.

        Returns
        -------
        Tensor of shape (B, O, *S')
            As the layer itself returns it, but for the order in memory.
        """
        bias = None if self.bias is None else self.bias.unsqueeze(0)
        # Inputs of the network have the batch outermost; they are turned once.
        x = x.movedim(0, -1).contiguous().movedim(-1, 0).unsqueeze(0)
        weight = self.weight.unsqueeze(0)
        y = _Convolution.apply(x, weight, bias, self.padding)  # type: ignore[no-untyped-call]
        # Not y[0]: the gradient of an index is a copy into zeros, in another order.
        squeezed: Tensor = y.squeeze(0)
        return squeezed

    def extra_repr(self) -> str:
        """Return what ``repr`` shows of the layer."""
        return f"{tuple(self.weight.shape)}, padding={self.padding}"


class RowPool(nn.Module):
    """Pooling that stays fast under ``torch.func.vmap``.

    Parameters
    ----------
    pool : MaxPool or AvgPool of one to three dimensions
        A layer that :func:`row_pool_fits`.
    """

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled batch.

        Parameters
        ----------
        x : Tensor of shape (B, C, *S)
            Inputs; a single sample, (C, *S), will do.

        Returns
        -------
        Tensor of shape (B, C, *S')
            As the layer itself returns it, but for the order in memory.
        """
        pooled: Tensor
        if x.ndim < _POOLS[type(self.pool)] + 2:
            pooled = self.pool(x)
        else:
            pooled = self.pool(x.transpose(0, 1)).transpose(0, 1)
        return pooled


def row_conv_fits(conv: nn.Module) -> bool:
    """Return whether :class:`RowConv` computes what a layer computes.

    Parameters
    ----------
    conv : Module
        Any layer.

    Returns
    -------
    bool
        True for a plain convolution of real numbers: stride, dilation and groups 1, borders
        padded with zeros.
    """
    if not isinstance(conv, _CONVS) or type(conv) not in _CONVS:
        return False
    return (
        set(conv.stride) == {1}
        and set(conv.dilation) == {1}
        and conv.groups == 1
        and conv.padding_mode == "zeros"
        # Weight normalisation in its old form makes another tensor of other parameters.
        and isinstance(conv.weight, nn.Parameter)
        and conv.weight.is_floating_point()
    )


def row_pool_fits(pool: nn.Module) -> bool:
    """Return whether :class:`RowPool` computes what a layer computes.

    Parameters
    ----------
    pool : Module
        Any layer.

    Returns
    -------
    bool
        True for the maximum or the mean over windows.
    """
    return type(pool) in _POOLS and not getattr(pool, "return_indices", False)


class _Convolution(Function):
    """x (K, B, C, *S), weight (K, O, C, *k), bias (K, O) or None -> (K, B, O, *S')."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sides) -> Tensor:
        return _convolve(x.movedim(1, -1), padding, weight, bias).movedim(-1, 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, ctx.padding = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        images, grad = x.movedim(1, -1), grad.movedim(1, -1).contiguous()
        grad_x = grad_weight = None
        if needs_weight:
            # The columns are made again: they are several times as large as what they are
            # made of, and would have left the cache.
            grad_weight = _weight_gradient(images, ctx.padding, grad, weight.shape[3:])
        if needs_x:
            grad_x = _input_gradient(images, ctx.padding, grad, weight).movedim(-1, 1)
        grad_bias = grad.flatten(2).sum(2) if needs_bias else None
        return grad_x, grad_weight, grad_bias, None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[Any, ...],
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        padding: Sides,
    ) -> tuple[Tensor, int]:
        # Rows of rows are rows: the new axis and the one that was there become one.
        tensors = [
            None if tensor is None else _lead(tensor, dim, info.batch_size).flatten(0, 1)
            for tensor, dim in zip((x, weight, bias), in_dims, strict=False)
        ]
        y = _Convolution.apply(*tensors, padding)  # type: ignore[no-untyped-call]
        return y.unflatten(0, (info.batch_size, -1)), 0


def _convolve(x: Tensor, padding: Sides, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the convolution (K, O, *S', B) of x (K, C, *S, B)."""
    n_rows, n_out, n_in, *kernel = weight.shape
    y = x.new_empty(n_rows, n_out, *_output_sizes(x, padding, kernel), x.shape[-1])
    matrices = [m.flatten(2) for m in _by_offset(weight, _offsets(n_in, kernel), 3)]
    for part in _parts(x, padding, kernel):
        part.copy_windows()
        out = y[part.rows, :, part.lines].flatten(2)
        first, *others = zip(matrices, part.columns, strict=True)
        if bias is None:
            torch.bmm(first[0][part.rows], first[1], out=out)
        else:
            shift = bias[part.rows].unsqueeze(-1)
            torch.baddbmm(shift, first[0][part.rows], first[1], out=out)
        for matrix, columns in others:
            out.baddbmm_(matrix[part.rows], columns)
    return y


def _weight_gradient(
    x: Tensor, padding: Sides, grad: Tensor, kernel: Sequence[int]
) -> Tensor:
    """Return the derivative (K, O, C, *k) from that of the outputs (K, O, *S', B)."""
    n_rows, n_in = x.shape[:2]
    n_offsets = _offsets(n_in, kernel)
    found = x.new_zeros(n_rows, n_in, *kernel, grad.shape[1])
    sums = _by_offset(found, n_offsets, 2)
    for part in _parts(x, padding, kernel):
        part.copy_windows()
        own = grad[part.rows, :, part.lines].flatten(2).mT
        if n_offsets > 1:
            # A deep product of rows by rows takes twice as long as one of rows by columns.
            own = own.contiguous()
        for sum_, columns in zip(sums, part.columns, strict=True):
            target = sum_[part.rows]
            target.add_((columns @ own).view_as(target))
    return found.movedim(-1, 1)


def _input_gradient(x: Tensor, padding: Sides, grad: Tensor, weight: Tensor) -> Tensor:
    """Return the derivative (K, C, *S, B) from that of the outputs (K, O, *S', B)."""
    n_in, *kernel = weight.shape[2:]
    found = torch.zeros_like(x)
    matrices = [m.flatten(2).mT for m in _by_offset(weight, _offsets(n_in, kernel), 3)]
    for part in _parts(found, padding, kernel):
        own = grad[part.rows, :, part.lines].flatten(2)
        part.memory.zero_()
        for matrix, columns in zip(matrices, part.columns, strict=True):
            columns.baddbmm_(matrix[part.rows], own)
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
    """The windows of some rows in some lines, which are places along S'[0].

    Windows that are neighbours along the first spatial size overlap.  Where the products
    stay deep enough, they are kept once for all offsets along it, and the matrix of an
    offset is a view of the lines from there on.

    Parameters
    ----------
    rows, lines : slice
        Which.
    memory : Tensor of shape (k, C, *window, lines, *S'[1:], B)
        Of the windows; zero where they reach beyond the images.
    columns : list of Tensor of shape (k, C * window, columns)
        Views of it, one for each offset.
    pairs : list of (Tensor, Tensor)
        Views of the images and of the memory, one for each place in a window.
    """

    rows: slice
    lines: slice
    memory: Tensor
    columns: list[Tensor]
    pairs: list[tuple[Tensor, Tensor]]

    def copy_windows(self) -> None:
        """Copy the images to all windows that they are in."""
        for images, windows in self.pairs:
            windows[: self.memory.shape[0]].copy_(images[self.rows])

    def add_windows(self) -> None:
        """Add all windows to the images in them."""
        for images, windows in self.pairs:
            images[self.rows].add_(windows[: self.memory.shape[0]])


def _parts(x: Tensor, padding: Sides, kernel: Sequence[int]) -> Iterator[_Part]:
    """Yield the parts of the windows of x (K, C, *S, B), which share one memory."""
    n_in, n_batch = x.shape[1], x.shape[-1]
    sizes = _output_sizes(x, padding, kernel)
    n_offsets = _offsets(n_in, kernel)
    window = [kernel[0] if n_offsets == 1 else 1, *kernel[1:]]
    run = prod(sizes[1:]) * n_batch
    line = max(1, n_in * prod(window) * run)
    per_part = max(1, min(sizes[0], _MAX_COLUMNS // line))
    rows_per_part = max(1, _MAX_COLUMNS // (line * (per_part + n_offsets - 1)))
    for first in range(0, sizes[0], per_part):
        count = min(per_part, sizes[0] - first)
        shape = (*window, count + n_offsets - 1, *sizes[1:], n_batch)
        memory = x.new_zeros(min(rows_per_part, len(x)), n_in, *shape)
        pairs = list(_pairs(x, memory, padding, first))
        for start in range(0, len(x), rows_per_part):
            rows = slice(start, min(start + rows_per_part, len(x)))
            own = memory[: rows.stop - start]
            matrix = own.flatten(1, len(window) + 1).flatten(2)
            spans = [slice(i * run, (i + count) * run) for i in range(n_offsets)]
            columns = [matrix[:, :, span] for span in spans]
            yield _Part(rows, slice(first, first + count), own, columns, pairs)


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


def _sides(conv: nn.Module) -> tuple[tuple[int, int], ...]:
    """Return the zeros that a convolution puts before and behind each spatial size."""
    kernel: Any = conv.kernel_size
    padding: Any = conv.padding
    if padding == "valid":
        padding = 0
    if padding == "same":
        # Torch has the odd zero behind.
        return tuple(((k - 1) // 2, k // 2) for k in kernel)
    return tuple((p, p) for p in _per_dim(padding, len(kernel)))


def _per_dim(value: Any, dims: int) -> tuple[int, ...]:
    return (value,) * dims if isinstance(value, int) else tuple(value)


def _lead(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """Return a tensor with the axis of ``vmap`` in front, also where it has none."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
