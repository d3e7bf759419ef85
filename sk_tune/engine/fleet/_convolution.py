# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Convolution and pooling of many networks at once, as batched matrix products.

Under ``torch.func.vmap`` torch makes one grouped convolution of the convolutions of K
networks, which is slow on a CPU, and its max pooling is slower still.  Here the windows are
copied into the columns of one matrix per network ("im2col"; Chellapilla, Puri & Simard
2006, High performance convolutional neural networks for document processing), and one
batched product does the work of all networks.

Every result lies in memory as (K, channels, spatial sizes, B), seen as (K, B, channels,
spatial sizes): with the batch innermost, the copies of windows move long runs, and a stack
of convolutions, activations and poolings never transposes.

Notation: K networks ("rows"), B rows of a batch, C channels in, O channels out, S the
spatial sizes, P their product behind the convolution, k the kernel's sizes.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

__all__ = ["RowConv", "RowPool", "row_conv_fits", "row_pool_fits"]

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_MAX_POOLS: dict[type[nn.Module], int] = {nn.MaxPool1d: 1, nn.MaxPool2d: 2, nn.MaxPool3d: 3}
_AVG_POOLS: dict[type[nn.Module], int] = {nn.AvgPool1d: 1, nn.AvgPool2d: 2, nn.AvgPool3d: 3}
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
        x, weight = x.unsqueeze(0), self.weight.unsqueeze(0)
        y = _Convolution.apply(x, weight, bias, self.padding)  # type: ignore[no-untyped-call]
        # Not y[0]: the gradient of an index is a copy into zeros, in another order.
        squeezed: Tensor = y.squeeze(0)
        return squeezed

    def extra_repr(self) -> str:
        """Return what ``repr`` shows of the layer."""
        return f"{tuple(self.weight.shape)}, padding={self.padding}"


class RowPool(nn.Module):
    """Pooling over windows side by side that stays fast under ``torch.func.vmap``.

    Parameters
    ----------
    pool : MaxPool or AvgPool of one to three dimensions
        A layer that :func:`row_pool_fits`.
    """

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        dims = {**_MAX_POOLS, **_AVG_POOLS}[type(pool)]
        self.window = _per_dim(pool.kernel_size, dims)
        self._pool = _MaxPooling if type(pool) in _MAX_POOLS else _AvgPooling

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled batch.

        Parameters
        ----------
        x : Tensor of shape (..., *S)
            Inputs; what does not fill a window at the end of a spatial size is left out.

        Returns
        -------
        Tensor of shape (..., *S')
            One value for each window.
        """
        y: Tensor = self._pool.apply(x, self.window)  # type: ignore[no-untyped-call]
        return y

    def extra_repr(self) -> str:
        """Return what ``repr`` shows of the layer."""
        return f"{self._pool.__name__}, window={self.window}"


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
        True for the maximum or the mean over windows that touch, without padding.
    """
    dims = {**_MAX_POOLS, **_AVG_POOLS}.get(type(pool))
    if dims is None or pool.ceil_mode:
        return False
    return (
        _per_dim(pool.stride, dims) == _per_dim(pool.kernel_size, dims)
        and set(_per_dim(pool.padding, dims)) == {0}
        and set(_per_dim(getattr(pool, "dilation", 1), dims)) == {1}
        and not getattr(pool, "return_indices", False)
        and getattr(pool, "divisor_override", None) is None
    )


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
        kernel = weight.shape[3:]
        grad = grad.movedim(1, -1)
        grad_x = grad_weight = None
        if needs_weight:
            # The columns are made again: that takes a tenth of a product, and they are
            # several times as large as what they are made of.
            images = x.movedim(1, -1)
            grad_weight = _weight_gradient(images, ctx.padding, grad.flatten(3), kernel)
        if needs_x:
            # Each input counts where the turned kernel, over the outputs, meets it.
            turned = weight.flip([*range(3, weight.dim())]).transpose(1, 2)
            sides = [
                (k - 1 - before, k - 1 - after)
                for k, (before, after) in zip(kernel, ctx.padding, strict=True)
            ]
            grad_x = _convolve(grad, sides, turned, None).movedim(-1, 1)
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
    spans = zip(_padded_sizes(x, padding), kernel, strict=True)
    y = x.new_empty(n_rows, n_out, *(s - k + 1 for s, k in spans), x.shape[-1])
    matrices = [m.flatten(2) for m in _by_offset(weight, _offsets(n_in, kernel))]
    for rows, lines, columns in _columns(x, padding, kernel):
        out = y[rows, :, lines].flatten(2)
        if bias is None:
            torch.bmm(matrices[0][rows], columns[0], out=out)
        else:
            shift = bias[rows].unsqueeze(-1)
            torch.baddbmm(shift, matrices[0][rows], columns[0], out=out)
        for matrix, column in zip(matrices[1:], columns[1:], strict=True):
            out.baddbmm_(matrix[rows], column)
    return y


def _weight_gradient(
    x: Tensor, padding: Sides, lines: Tensor, kernel: Sequence[int]
) -> Tensor:
    """Return the derivative (K, O, C, *k) from that of the outputs (K, O, S'[0], ...)."""
    n_rows, n_in = x.shape[:2]
    found = x.new_zeros(n_rows, lines.shape[1], n_in, *kernel)
    parts = _by_offset(found, _offsets(n_in, kernel))
    for rows, own_lines, columns in _columns(x, padding, kernel):
        own = lines[rows, :, own_lines].flatten(2)
        for part, column in zip(parts, columns, strict=True):
            sums = own @ column.transpose(1, 2)
            part[rows].add_(sums.view_as(part[rows]))
    return found


def _by_offset(weight: Tensor, n_offsets: int) -> list[Tensor]:
    """Return weights (K, O, C, *k) as they belong to ``_columns``."""
    return list(weight.unbind(3)) if n_offsets > 1 else [weight]


def _offsets(n_in: int, kernel: Sequence[int]) -> int:
    """Return the matrices that ``_columns`` makes of the windows at one place."""
    return kernel[0] if n_in * prod(kernel[1:]) >= _LEAST_DEPTH else 1


def _columns(
    x: Tensor, padding: Sides, kernel: Sequence[int]
) -> Iterator[tuple[slice, slice, list[Tensor]]]:
    """Yield slices of K, slices of S'[0], and the windows in them as matrices.

    Windows that are neighbours along the first spatial size overlap.  Where the products
    stay deep enough, they are copied once for all offsets along it, and the matrix of an
    offset is a view of the lines from there on.
    """
    n_rows, n_in = x.shape[:2]
    sizes = _padded_sizes(x, padding)
    n_offsets = _offsets(n_in, kernel)
    n_lines = sizes[0] - kernel[0] + 1
    # Of the windows' columns: samples and places behind one line, and all of a line.
    spans = zip(sizes[1:], kernel[1:], strict=True)
    run = prod(s - k + 1 for s, k in spans) * x.shape[-1]
    line = max(1, n_in * prod(kernel[1:]) * run * (kernel[0] if n_offsets == 1 else 1))
    per_tile = max(1, min(n_lines, _MAX_COLUMNS // line))
    lines_per_row = max(1, n_lines + n_offsets - 1)
    rows_per_tile = max(1, _MAX_COLUMNS // (line * lines_per_row))
    for rows, padded in _padded(x, padding, rows_per_tile):
        windows = _windows(padded, kernel if n_offsets == 1 else [1, *kernel[1:]])
        axis = windows.dim() // 2 + 1
        for first in range(0, n_lines, per_tile):
            count = min(per_tile, n_lines - first)
            window = windows.narrow(axis, first, count + n_offsets - 1)
            matrix = window.flatten(1, axis - 1).flatten(2)
            views = [matrix[:, :, i * run : (i + count) * run] for i in range(n_offsets)]
            yield rows, slice(first, first + count), views


class _MaxPooling(Function):
    """x (..., *S) -> (..., *S'), the maxima of windows."""

    @staticmethod
    def forward(x: Tensor, window: Sequence[int]) -> Tensor:
        first, *others = _window_slices(x, window)
        y = first.clone()
        for other in others:
            torch.maximum(y, other, out=y)
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.window = inputs
        ctx.save_for_backward(x, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, y = ctx.saved_tensors
        grad_x = _unwritten(x, ctx.window)
        if grad.stride() != y.stride():
            # What a dense layer sends back has another order; once is enough to pay for it.
            grad = torch.empty_like(y).copy_(grad)
        *sources, _ = _window_slices(x, ctx.window)
        *targets, last = _window_slices(grad_x, ctx.window)
        for source, target in zip(sources, targets, strict=True):
            # In numbers, not in bools: torch's comparisons that make bools, and `where`,
            # take up to twenty times as long.
            target.copy_(source).eq_(y).mul_(grad)
            # The first maximum has it all, as in torch; the others find nothing left.
            grad = grad - target
        last.copy_(grad)
        return grad_x, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], x: Tensor, window: Sequence[int]
    ) -> tuple[Tensor, int]:
        batched = _lead(x, in_dims[0], info.batch_size)
        return _MaxPooling.apply(batched, window), 0  # type: ignore[no-untyped-call]


class _AvgPooling(Function):
    """x (..., *S) -> (..., *S'), the means of windows."""

    @staticmethod
    def forward(x: Tensor, window: Sequence[int]) -> Tensor:
        first, *others = _window_slices(x, window)
        y = first.clone()
        for other in others:
            y += other
        return y.div_(prod(window))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.window = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        grad_x, share = _unwritten(x, ctx.window), grad / prod(ctx.window)
        for target in _window_slices(grad_x, ctx.window):
            target.copy_(share)
        return grad_x, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], x: Tensor, window: Sequence[int]
    ) -> tuple[Tensor, int]:
        batched = _lead(x, in_dims[0], info.batch_size)
        return _AvgPooling.apply(batched, window), 0  # type: ignore[no-untyped-call]


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


def _padded_sizes(x: Tensor, padding: Sides) -> list[int]:
    """Return the spatial sizes of x (K, C, *S, B) between zeros."""
    spans = zip(x.shape[2:-1], padding, strict=True)
    return [size + sum(sides) for size, sides in spans]


def _padded(x: Tensor, padding: Sides, n: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield slices of K, and x (K, C, *S, B) in them between zeros, contiguous.

    All slices share one memory, whose zeros are written once and which stays in the cache.
    Where a side is negative, so much is cut off.
    """
    spans = list(zip(padding, x.shape[2:-1], strict=True))
    index: Any = (..., *(_kept(*sides, size) for sides, size in spans), slice(None))
    kept = x[index]
    sizes = _padded_sizes(x, padding)
    slices = [slice(start, start + n) for start in range(0, len(x), n)]
    if sizes == list(kept.shape[2:-1]):
        for rows in slices:
            yield rows, kept[rows].contiguous()
        return
    padded = x.new_zeros(min(n, len(x)), x.shape[1], *sizes, x.shape[-1])
    target: Any = (
        ...,
        *(_kept(-b, -a, size) for (b, a), size in zip(padding, sizes, strict=True)),
        slice(None),
    )
    inner = padded[target]
    for rows in slices:
        own = kept[rows]
        inner[: len(own)].copy_(own)
        yield rows, padded[: len(own)]


def _kept(before: int, after: int, size: int) -> slice:
    return slice(max(0, -before), size - max(0, -after))


def _windows(padded: Tensor, kernel: Sequence[int]) -> Tensor:
    """Return the view (K, C, *k, *S', B) of the windows of padded (K, C, *S, B)."""
    windows, dims = padded, len(kernel)
    for dim, size in enumerate(kernel, start=2):
        windows = windows.unfold(dim, size, 1)
    order = [0, 1, *range(dims + 3, 2 * dims + 3), *range(2, dims + 3)]
    return windows.permute(order)


def _unwritten(x: Tensor, window: Sequence[int]) -> Tensor:
    """Return memory for the gradient of x, with zeros if windows leave a rest."""
    sizes = x.shape[-len(window) :]
    rest = any(s % w for s, w in zip(sizes, window, strict=True))
    return torch.zeros_like(x) if rest else torch.empty_like(x)


def _window_slices(x: Tensor, window: Sequence[int]) -> Iterator[Tensor]:
    """Yield views of x (..., *S), each with one element of every window, in scan order."""
    ends = [s // w * w for s, w in zip(x.shape[-len(window) :], window, strict=True)]
    for offset in product(*map(range, window)):
        spans = zip(offset, ends, window, strict=True)
        index: Any = (..., *(slice(*span) for span in spans))
        yield x[index]
