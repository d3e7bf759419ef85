# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Layers of K networks at once for signals, images or volumes.

The convolutions of K networks are one grouped convolution of torch with the channels
innermost in memory, which in single precision is oneDNN's.

Images have the shape (K, B, channels, spatial sizes), in the memory order of the previous
layer's output: (B, spatial sizes, K, channels) behind a convolution.  So a stack of
convolutions, activations and poolings never transposes.  Pooling is torch's; the innermost
axis is declared as channels, for which its kernels are fastest.

Notation: K networks, B samples of a batch, C channels in, O channels out, S the spatial
sizes, k the kernel's sizes.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor, nn
from torch.nn import functional

from sk_tune._compat.torch_names import convolution_backward
from sk_tune._fleets._layers import Batch, Layer, Tensors

# Zeros before and after each spatial axis.
Sides = Sequence[tuple[int, int]]

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_POOLS: dict[type[nn.Module], int] = {
    getattr(nn, f"{kind}Pool{n}d"): n
    for kind in ("Max", "Avg", "AdaptiveAvg")
    for n in (1, 2, 3)
}
_ZERO_PADS: dict[type[nn.Module], int] = {getattr(nn, f"ZeroPad{n}d"): n for n in (1, 2, 3)}

Form = Callable[[Tensor], Tensor]


class Geometry(NamedTuple):
    """Settings of a convolution; `padding` is zeros on both sides of each spatial axis."""

    stride: tuple[int, ...]
    padding: Sides
    dilation: tuple[int, ...]
    groups: int
    kernel: tuple[int, ...]


def geometry_of(conv: nn.Module) -> Geometry | None:
    """Return the settings of a layer, or None if :func:`convolution` differs from it."""
    if not isinstance(conv, _CONVS) or type(conv) not in _CONVS:
        return None
    # Old-style weight normalisation computes the weight from other parameters.
    is_real = isinstance(conv.weight, nn.Parameter) and conv.weight.is_floating_point()
    if not is_real or conv.padding_mode != "zeros":
        return None
    kernel: Any = conv.kernel_size
    gaps: Any = conv.dilation
    padding: Any = 0 if conv.padding == "valid" else conv.padding
    if padding == "same":
        # torch puts the odd zero at the end.
        spans = [gap * (k - 1) for k, gap in zip(kernel, gaps, strict=True)]
        sides = tuple((span // 2, span - span // 2) for span in spans)
    else:
        per_dim = (padding,) * len(kernel) if isinstance(padding, int) else padding
        sides = tuple((p, p) for p in per_dim)
    # A kernel of size 1 is the same with every dilation.
    dilation = tuple(1 if k == 1 else gap for k, gap in zip(kernel, gaps, strict=True))
    return Geometry(conv.stride, sides, dilation, conv.groups, kernel)  # type: ignore[arg-type]


class Windows(NamedTuple):
    """The windows of an output of some `sizes`, as documented in epoch.c."""

    sizes: tuple[int, ...]
    cells: Any = None  # int32, positions in images, as `inner`
    n_run: int = 1
    n_around: int = 1
    inner: Any = None
    counts: Any = None  # float64, divisors of sums


def windows_of_convolution(geometry: Geometry, sizes: Sequence[int]) -> Windows:
    """Return the windows over images of some sizes."""
    around = [n + sum(sides) for n, sides in zip(sizes, geometry.padding, strict=True)]
    places = np.arange(prod(around), dtype=np.int32).reshape(around)
    gaps = zip(geometry.dilation, geometry.kernel, strict=True)
    spans = [gap * (k - 1) + 1 for gap, k in gaps]
    steps = tuple(slice(None, None, n) for n in (*geometry.stride, *geometry.dilation))
    windows = sliding_window_view(places, spans)[steps]
    output_sizes = windows.shape[: len(sizes)]
    # Neighbours along the last axis form one run.
    n_run = geometry.kernel[-1] if geometry.dilation[-1] == 1 else 1
    cells = windows.reshape(prod(output_sizes), -1)[:, ::n_run].copy()
    sides = zip(sizes, geometry.padding, strict=True)
    inner = places[tuple(slice(start, start + n) for n, (start, _) in sides)].copy()
    return Windows(output_sizes, cells, n_run, prod(around), inner)


def windows_of_pool(pool: Any, sizes: Sequence[int]) -> Windows:
    """Return the windows of a layer that passes ``pool_fits``, over images of `sizes`."""
    output_sizes = tuple(pool(torch.zeros(1, 1, *sizes)).shape[2:])
    axes, counts = [], np.ones(1)
    is_mean = not hasattr(pool, "dilation")
    for i, (n, size) in enumerate(zip(output_sizes, sizes, strict=True)):
        places = np.arange(n)
        if hasattr(pool, "output_size"):
            starts, stops = places * size // n, -(-(places + 1) * size // n)
            axis = starts[:, None] + np.arange(max(stops - starts))
            axis[axis >= stops[:, None]] = -1
        else:
            options = (pool.kernel_size, pool.stride, pool.padding)
            k, stride, padding = (o if isinstance(o, int) else o[i] for o in options)
            gap = 1 if is_mean else pool.dilation
            axis = places[:, None] * stride - padding
            axis = axis + np.arange(k) * (gap if isinstance(gap, int) else gap[i])
        inside = (axis >= 0) & (axis < size)
        if getattr(pool, "count_include_pad", False):
            inside = axis < size + padding
        axes.append(axis)
        counts = np.multiply.outer(counts, inside.sum(axis=1)).flatten()
    if getattr(pool, "divisor_override", None):
        counts[:] = pool.divisor_override
    return Windows(output_sizes, _cells(axes, sizes), counts=counts if is_mean else None)


def _cells(axes: Sequence[Any], sizes: Sequence[int]) -> Any:
    """Combine the cells along each axis to windows, (places, cells of a window)."""
    cells = np.zeros((1, 1), np.int32)
    inside = np.ones((1, 1), bool)
    for axis, size in zip(axes, sizes, strict=True):
        shape = (len(cells) * len(axis), -1)
        cells = (cells[:, None, :, None] * size + axis[:, None]).reshape(shape)
        fits = (axis >= 0) & (axis < size)
        inside = (inside[:, None, :, None] & fits[:, None]).reshape(shape)
    if not inside.any(axis=1).all():
        raise ValueError("a window is beyond the images")
    return np.where(inside, cells, -1).astype(np.int32)


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry
) -> Tensor:
    """Return the convolutions, (K, B, O, *S'), of images, (K, B, C, *S), of K networks."""
    x, geometry = _with_zeros(x, geometry)
    images, kernels = _with_a_height(_merged(x), weight.flatten(0, 1))
    flat = None if bias is None else bias.flatten()
    convolved = torch.convolution(images, kernels, flat, *_arguments(len(x), geometry))
    y = _parted(_without_height(convolved, x), len(x))
    # For one sample with channels innermost, torch's batch normalisation under vmap returns
    # wrong derivatives if its outputs' derivatives are in another memory order.
    return y.clone(memory_format=torch.contiguous_format) if x.shape[1] == 1 else y


def convolution_gradients(
    dy: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, needed: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    """Return the gradients of x, weight and bias, as `needed`, for dy (K, B, O, *S')."""
    x, plain = _with_zeros(x, geometry)
    images, kernels = _with_a_height(_merged(x), weight.flatten(0, 1))
    outputs = _with_a_height(_merged(dy))[0]
    dx, dweight, dbias = convolution_backward(
        outputs, images, kernels, [len(kernels)], *_arguments(len(x), plain), [*needed]
    )
    if needed[0]:
        dx = _parted(_without_height(dx, x), len(x))
        if plain is not geometry:
            dx = functional.pad(dx, [-n for n in _zeros(geometry)])
    return (
        dx if needed[0] else None,
        dweight.reshape(weight.shape) if needed[1] else None,
        dbias.view(len(x), -1) if needed[2] else None,
    )


def _with_zeros(x: Tensor, geometry: Geometry) -> tuple[Tensor, Geometry]:
    """Return images with the padding that a grouped convolution cannot add itself.

    It can add padding that is equal on both sides and smaller than the kernel; otherwise
    oneDNN's kernels for channels last have read beyond the images and crashed the process.
    """
    sides = zip(geometry.padding, geometry.kernel, strict=True)
    if all(leading == trailing < size for (leading, trailing), size in sides):
        return x, geometry
    none = ((0, 0),) * len(geometry.padding)
    return functional.pad(x, _zeros(geometry)), geometry._replace(padding=none)


def _zeros(geometry: Geometry) -> list[int]:
    """Return the padding of both sides in torch's order, the last axis first."""
    return [n for sides in reversed(geometry.padding) for n in sides]


def _merged(x: Tensor) -> Tensor:
    """Return (K, B, C, *S) as (B, K C, *S) with channels innermost in memory."""
    turned = x.permute(1, *range(3, x.ndim), 0, 2).contiguous()
    return turned.flatten(-2).movedim(-1, 1)


def _parted(x: Tensor, n_networks: int) -> Tensor:
    """Return (B, K C, *S) as (K, B, C, *S)."""
    return _unflatten(x, 1, n_networks).movedim(1, 0)


def _unflatten(x: Tensor, dim: int, size: int) -> Tensor:
    unflattened: Tensor = x.unflatten(dim, (size, -1))  # type: ignore[no-untyped-call]
    return unflattened


def _with_a_height(*tensors: Tensor) -> list[Tensor]:
    """Return signals (., ., length) as images, for which torch supports channels last."""
    return [t.unsqueeze(2) if t.ndim == 3 else t for t in tensors]


def _without_height(output: Tensor, x: Tensor) -> Tensor:
    return output.squeeze(2) if x.ndim == 4 else output


def _arguments(n_networks: int, geometry: Geometry) -> tuple[Any, ...]:
    """Return the arguments of torch's convolutions after the tensors."""
    missing = 2 - len(geometry.stride)
    stride, dilation = ((1,) * missing + t for t in (geometry.stride, geometry.dilation))
    padding = (0,) * missing + tuple(leading for leading, _ in geometry.padding)
    no_more = (0,) * len(stride)
    return stride, padding, dilation, False, no_more, n_networks * geometry.groups


def is_zero_pad(layer: Any, n_dims: int | None = None) -> bool:
    """Return whether a layer pads images, of `n_dims` axes, with zeros."""
    n_axes = _ZERO_PADS.get(type(layer))
    is_asked = n_axes is not None and n_dims in {None, n_axes}
    return is_asked and min(layer.padding) >= 0


def pool_fits(pool: nn.Module, n_dims: int | None = None) -> bool:
    """Return whether a layer is a maximum or mean over windows, of `n_dims` axes."""
    n_axes = _POOLS.get(type(pool))
    is_asked = n_axes is not None and n_dims in {None, n_axes}
    return is_asked and not getattr(pool, "return_indices", False)


def channels_of_one(x: Tensor) -> tuple[Tensor, Form]:
    """Return images, (K, B, C, *S), as the channels of one network, and their form."""
    if x.stride(1) == 1 and x.shape[1] > 1:
        # With the batch innermost, all numbers of a channel are contiguous.
        turned = x.movedim(1, -1).contiguous()
        channels = turned.flatten(2).flatten(0, 1).unsqueeze(0)
        return channels, lambda y: y.view(turned.shape).movedim(-1, 1)
    return _merged(x), lambda y: _parted(y, len(x))


def pool_forms(x: Tensor) -> tuple[Form, Form]:
    """Return functions that turn (K, B, C, *S) into (n, m, *S) for torch, and back."""
    n_networks = len(x)
    if x.device.type != "cpu" or x.shape[1] == 1:
        return lambda x: x.flatten(0, 1), partial(_unflatten, dim=0, size=n_networks)
    if x.stride(1) == 1:
        # Samples are innermost in memory, so they are declared as channels.
        return (
            lambda x: x.transpose(1, 2).flatten(0, 1),
            lambda y: _unflatten(y, 0, n_networks).transpose(1, 2),
        )
    return _merged, partial(_parted, n_networks=n_networks)


class Convolution(Layer):
    """A convolution; `first` says that the input needs no gradient."""

    def __init__(self, name: str, geometry: Geometry, *, bias: bool, first: bool) -> None:
        self.weight, self.bias = name + ".weight", name + ".bias" if bias else None
        self.geometry = geometry
        self.first = first

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        needed = (not self.first, True, self.bias is not None)
        weight = batch.tensors[self.weight]
        gradients = convolution_gradients(dy, self._x, weight, self.geometry, needed)
        dx, dweight, dbias = gradients
        for name, gradient in ((self.weight, dweight), (self.bias, dbias)):
            if name is not None and gradient is not None:
                batch.gradients[name] = gradient.contiguous()
        return dy if dx is None else dx

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        bias = None if self.bias is None else tensors[self.bias]
        return convolution(x, tensors[self.weight], bias, self.geometry)


class Pooling(Layer):
    """Maximum or mean over windows, for layers that pass ``pool_fits``, by autograd."""

    def __init__(self, module: nn.Module, *, first: bool) -> None:
        self.module = module
        self.first = first
        self._saved: Any = None

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        merge, part = pool_forms(x)
        with torch.enable_grad():
            leaf = merge(x).detach().requires_grad_(not self.first)
            y: Tensor = self.module(leaf)
        # The result itself, because autograd forbids in-place changes of its views.
        self._saved = (leaf, y, merge, part)
        return part(y.detach())

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        leaf, y, merge, part = self._saved
        self._saved = None
        if self.first:
            return dy
        (dx,) = torch.autograd.grad(y, leaf, merge(dy))
        back: Tensor = part(dx)
        return back

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        merge, part = pool_forms(x)
        return part(self.module(merge(x)))


class ImageNorm(Layer):
    """Batch normalisation of each channel, over samples and positions, by autograd."""

    def __init__(self, name: str, eps: float, momentum: float) -> None:
        self.name = name
        self.eps = eps
        self.momentum = momentum
        self._saved: Any = None

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        if x[0].numel() == x.shape[2]:
            raise ValueError("Batch normalisation needs more than one number a channel.")
        images, back = channels_of_one(x)
        weight, bias, mean, variance = self._layer_tensors(batch.tensors)
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_() for t in (images, weight, bias)]
            images, weight, bias = leaves
            y = functional.batch_norm(
                images, mean, variance, weight, bias, True, self.momentum, self.eps
            )
        batch.tensors[self.name + ".num_batches_tracked"].add_(1)
        self._saved = (x, y, leaves, back)
        return back(y.detach())

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        x, y, leaves, back = self._saved
        if dy.stride() != x.stride():
            dy = torch.empty_like(x).copy_(dy)
        outputs, _ = channels_of_one(dy)
        dx, dweight, dbias = torch.autograd.grad(y, leaves, outputs)
        self._saved = None
        batch.gradients[self.name + ".weight"] = dweight.view(len(x), -1)
        batch.gradients[self.name + ".bias"] = dbias.view(len(x), -1)
        restored: Tensor = back(dx)
        return restored

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        images, back = channels_of_one(x)
        weight, bias, mean, variance = self._layer_tensors(tensors)
        y = functional.batch_norm(images, mean, variance, weight, bias, eps=self.eps)
        return back(y)

    def _layer_tensors(self, tensors: Tensors) -> list[Tensor]:
        """Return weight, bias, mean and variance of all networks' channels."""
        names = ("weight", "bias", "running_mean", "running_var")
        return [tensors[f"{self.name}.{name}"].flatten() for name in names]


class Flat(Layer):
    """Flattening of each sample, in the element order of a single network."""

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        return torch.empty_like(self._x).copy_(dy.reshape(self._x.shape))

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        return x.clone(memory_format=torch.contiguous_format).flatten(2)
