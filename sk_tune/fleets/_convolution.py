# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Layers of K networks at once whose inputs are signals, images or volumes.

In single precision, the convolutions of K networks are one grouped convolution of oneDNN's
with the channels innermost in memory.  Where oneDNN is missing or slow, or has no kernels
of the type, batched matrix products over columns take its place: windows are copied into
the columns of one matrix for each network ("im2col"; Chellapilla, Puri & Simard 2006).

Images come and go as (K, B, channels, spatial sizes), in whatever order in memory the layer
before has left them: (B, spatial sizes, K, channels) behind a grouped convolution, and
(K, channels, spatial sizes, B) behind one by columns, where copies of windows move long
runs.  So a stack of convolutions, activations and poolings never transposes.  Pooling is
torch's, told that what is innermost are channels, which its kernels make the most of.

Notation: K networks, B samples of a batch, C channels in, O channels out, S the
spatial sizes, P their product behind the convolution, k the kernel's sizes.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache, partial
from itertools import product
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sk_tune._compat.torch_names import convolution_backward
from sk_tune.fleets._layers import Batch, Layer, Memory, Tensors

# Zeros before and behind each spatial size.
Sides = Sequence[tuple[int, int]]

# Elements of columns made at one time.  Many more leave the cache between copy and product;
# many fewer are too little work for one call.
_MAX_COLUMNS = 2**18
# Matrices with at least so many rows are worth one product for each offset.
_LEAST_DEPTH = 16


def convolve_by_columns(
    x: Tensor, padding: Sides, weight: Tensor, bias: Tensor | None
) -> Tensor:
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


def column_weight_gradient(
    x: Tensor, padding: Sides, grad: Tensor, kernel: Sequence[int]
) -> Tensor:
    """Return derivatives (K, O, C, *k) for x (K, C, *S, B) and `grad` (K, O, *S', B)."""
    n_networks, n_in = x.shape[:2]
    n_offsets = _offsets(n_in, kernel)
    found = x.new_zeros(n_networks, n_in, *kernel, grad.shape[1])
    sums = _by_offset(found, n_offsets, 2)
    for part in _parts(x, padding, kernel):
        part.copy_windows()
        gradients = grad[part.networks, :, part.lines].flatten(2).mT
        if n_offsets > 1:
            # A deep product of rows by rows takes twice as long as one of rows by columns.
            gradients = gradients.contiguous()
        for sum_, columns in zip(sums, part.columns, strict=True):
            target = sum_[part.networks]
            target.add_((columns @ gradients).view_as(target))
    return found.movedim(-1, 1)


def column_input_gradient(
    x: Tensor, padding: Sides, grad: Tensor, weight: Tensor
) -> Tensor:
    """Return derivatives like the images (K, C, *S, B) for `grad` (K, O, *S', B)."""
    n_in, *kernel = weight.shape[2:]
    found = torch.zeros_like(x)
    matrices = [m.flatten(2).mT for m in _by_offset(weight, _offsets(n_in, kernel), 3)]
    for part in _parts(found, padding, kernel):
        gradients = grad[part.networks, :, part.lines].flatten(2)
        part.memory.zero_()
        for matrix, columns in zip(matrices, part.columns, strict=True):
            columns.baddbmm_(matrix[part.networks], gradients)
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
        meetings = _meetings(x.shape[2:-1], memory.shape[2:-1], padding, first)
        pairs = [(x[inside], memory[windows]) for inside, windows in meetings]
        for start in range(0, len(x), networks_per_part):
            networks = slice(start, min(start + networks_per_part, len(x)))
            part_memory = memory[: networks.stop - start]
            matrix = part_memory.flatten(1, len(window) + 1).flatten(2)
            spans = [slice(i * run, (i + count) * run) for i in range(n_offsets)]
            columns = [matrix[:, :, span] for span in spans]
            yield _Part(networks, slice(first, first + count), part_memory, columns, pairs)


@lru_cache(maxsize=64)
def _meetings(
    images: Sequence[int], memory: Sequence[int], padding: Sides, first: int
) -> list[tuple[Any, Any]]:
    """Return where images and windows from a line on meet, for each place in a window."""
    dims, found = len(images), []
    window, sizes = memory[:dims], memory[dims:]
    for place in product(*map(range, window)):
        inside, met = [], []
        for dim, offset in enumerate(place):
            # The place of the window's element in the images.
            shift = offset - padding[dim][0] + (0 if dim else first)
            start, stop = max(0, -shift), min(sizes[dim], images[dim] - shift)
            met.append(slice(start, max(start, stop)))
            inside.append(slice(start + shift, max(start, stop) + shift))
        every = (slice(None), slice(None))
        found.append(((*every, *inside), (*every, *place, *met)))
    return found


_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_POOLS: dict[type[nn.Module], int] = {
    getattr(nn, f"{kind}Pool{n}d"): n
    for kind in ("Max", "Avg", "AdaptiveAvg")
    for n in (1, 2, 3)
}
# Channels from which on oneDNN's kernels for AVX2 are faster than columns.
_LEAST_CHANNELS_AVX2 = 4
# Samples from which on torch asks oneDNN for kernels of size 1 in a single thread.
_LEAST_POINTWISE = 16


Form = Callable[[Tensor], Tensor]


class Geometry(NamedTuple):
    """Settings of a convolution; `padding` are zeros on both sides of each spatial axis."""

    stride: tuple[int, ...]
    padding: Sides
    dilation: tuple[int, ...]
    groups: int
    kernel: tuple[int, ...]

    @property
    def is_plain(self) -> bool:
        """Whether columns can do it: stride, dilation and groups are 1."""
        return {*self.stride, *self.dilation, self.groups} == {1}

    @property
    def is_usual(self) -> bool:
        """Whether a grouped convolution can do it.

        Both sides are padded alike, and by less than the kernel: else oneDNN's kernels for
        channels last have read beyond the images, and ended the process.
        """
        sides = zip(self.padding, self.kernel, strict=True)
        return all(before == behind < size for (before, behind), size in sides)


def geometry_of(conv: nn.Module) -> Geometry | None:
    """Return what a layer does, or None if :func:`convolution` does not do the same."""
    if not isinstance(conv, _CONVS) or type(conv) not in _CONVS:
        return None
    # Weight normalisation in its old form makes another tensor of other parameters.
    is_real = isinstance(conv.weight, nn.Parameter) and conv.weight.is_floating_point()
    if not is_real or conv.padding_mode != "zeros":
        return None
    kernel: Any = conv.kernel_size
    spans = zip(kernel, conv.dilation, strict=True)  # type: ignore[arg-type]
    # A kernel of a single place is the same with every dilation.
    dilation = tuple(1 if size == 1 else gap for size, gap in spans)
    found = Geometry(conv.stride, _sides(conv), dilation, conv.groups, kernel)  # type: ignore[arg-type]
    return found if found.is_usual or found.is_plain else None


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry
) -> Tensor:
    """Return the convolutions, (K, B, O, *S'), of images, (K, B, C, *S), of K networks.

    Kernels are (K, O, C / groups, *k), biases (K, O). Raises RuntimeError if a kernel is
    larger than the padded images.
    """
    if _takes_columns(x, geometry):
        images = x.movedim(1, -1).contiguous()
        y = convolve_by_columns(images, geometry.padding, weight, bias).movedim(-1, 1)
    else:
        images, kernels = _with_a_height(_merged(x), weight.flatten(0, 1))
        flat = None if bias is None else bias.flatten()
        found = torch.convolution(images, kernels, flat, *_arguments(len(x), geometry))
        y = _parted(_without_height(found, x), len(x))
    # Torch's batch normalisation under vmap, of one sample with channels innermost, returns
    # wrong derivatives where those of its outputs are in another order.
    return y.clone(memory_format=torch.contiguous_format) if x.shape[1] == 1 else y


def convolution_gradients(
    dy: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, needed: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    """Return the derivatives by x, weight and bias, as `needed`, for dy (K, B, O, *S')."""
    if _takes_columns(x, geometry):
        return _column_gradients(dy, x, weight, geometry.padding, needed)
    images, kernels = _with_a_height(_merged(x), weight.flatten(0, 1))
    outputs = _with_a_height(_merged(dy))[0]
    dx, dweight, dbias = convolution_backward(
        outputs, images, kernels, [len(kernels)], *_arguments(len(x), geometry), [*needed]
    )
    return (
        _parted(_without_height(dx, x), len(x)) if needed[0] else None,
        dweight.reshape(weight.shape) if needed[1] else None,
        dbias.view(len(x), -1) if needed[2] else None,
    )


def _column_gradients(
    dy: Tensor, x: Tensor, weight: Tensor, padding: Sides, needed: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    needs_x, needs_weight, needs_bias = needed
    images, grad = (t.movedim(1, -1).contiguous() for t in (x, dy))
    dx = dweight = None
    if needs_weight:
        # The columns are made again: they are several times as large as what they are
        # made of, and would have left the cache.
        dweight = column_weight_gradient(images, padding, grad, weight.shape[3:])
    if needs_x:
        dx = column_input_gradient(images, padding, grad, weight).movedim(-1, 1)
    return dx, dweight, grad.flatten(2).sum(2) if needs_bias else None


def _takes_columns(x: Tensor, geometry: Geometry) -> bool:
    """Return whether columns are faster than a grouped convolution, or the only way."""
    if not geometry.is_usual:
        return True
    if not geometry.is_plain:
        return False
    if set(geometry.kernel) == {1} and x.shape[1] < _LEAST_POINTWISE:
        return True
    least = _least_channels()
    is_served = x.dtype == torch.float32 and torch.backends.mkldnn.enabled
    return not is_served or least is None or x.shape[2] < least


@cache
def _least_channels() -> int | None:
    """Return how many channels oneDNN's grouped convolutions want; None without them."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    # Other processors have grouped convolutions that go from group to group.
    known = {"AVX512": 1, "AVX2": _LEAST_CHANNELS_AVX2}
    return known.get(torch.backends.cpu.get_cpu_capability())


def _merged(x: Tensor) -> Tensor:
    """Return (K, B, C, *S) as (B, K C, *S) with channels innermost in memory."""
    turned = x.permute(1, *range(3, x.ndim), 0, 2).contiguous()
    return turned.flatten(-2).movedim(-1, 1)


def _parted(x: Tensor, n_networks: int) -> Tensor:
    """Return (B, K C, *S) as (K, B, C, *S)."""
    return _unflatten(x, 1, n_networks).movedim(1, 0)


def _unflatten(x: Tensor, dim: int, size: int) -> Tensor:
    found: Tensor = x.unflatten(dim, (size, -1))  # type: ignore[no-untyped-call]
    return found


def _with_a_height(*tensors: Tensor) -> list[Tensor]:
    """Return signals (., ., length) as images, which torch takes with channels last."""
    return [t.unsqueeze(2) if t.ndim == 3 else t for t in tensors]


def _without_height(found: Tensor, x: Tensor) -> Tensor:
    return found.squeeze(2) if x.ndim == 4 else found


def _arguments(n_networks: int, geometry: Geometry) -> tuple[Any, ...]:
    """Return what torch's convolutions take behind the tensors."""
    missing = 2 - len(geometry.stride)
    stride, dilation = ((1,) * missing + t for t in (geometry.stride, geometry.dilation))
    padding = (0,) * missing + tuple(before for before, _ in geometry.padding)
    no_more = (0,) * len(stride)
    return stride, padding, dilation, False, no_more, n_networks * geometry.groups


def pool_fits(pool: nn.Module, n_dims: int | None = None) -> bool:
    """Return whether a layer is a maximum or mean over windows, of `n_dims` sizes."""
    known = _POOLS.get(type(pool))
    is_asked = known is not None and n_dims in {None, known}
    return is_asked and not getattr(pool, "return_indices", False)


def channels_of_one(x: Tensor) -> tuple[Tensor, Form]:
    """Return the images of all networks, (K, B, C, *S), as the channels of one.

    The second result goes back to that shape. The first is a view, (n, K * C, ...), if the
    images lie in memory as the layers here leave them.
    """
    if x.stride(1) == 1 and x.shape[1] > 1:
        # With the batch innermost, all numbers of a channel are one line of memory.
        turned = x.movedim(1, -1).contiguous()
        return turned.flatten(2).flatten(0, 1).unsqueeze(0), lambda y: y.view(
            turned.shape
        ).movedim(-1, 1)
    return _merged(x), lambda y: _parted(y, len(x))


def pool_forms(x: Tensor) -> tuple[Form, Form]:
    """Return how (K, B, C, *S) become (n, m, *S) for torch's pooling, and back."""
    n_networks = len(x)
    if x.device.type != "cpu" or x.shape[1] == 1:
        return lambda x: x.flatten(0, 1), partial(_unflatten, dim=0, size=n_networks)
    if x.stride(1) == 1:
        # Samples are innermost in memory: torch is told that they are the channels.
        return (
            lambda x: x.transpose(1, 2).flatten(0, 1),
            lambda y: _unflatten(y, 0, n_networks).transpose(1, 2),
        )
    return _merged, partial(_parted, n_networks=n_networks)


def _sides(conv: nn.Module) -> tuple[tuple[int, int], ...]:
    """Return the zeros that a convolution puts before and behind each spatial size."""
    kernel: Any = conv.kernel_size
    padding: Any = conv.padding
    if padding == "valid":
        padding = 0
    if padding == "same":
        # Torch has the odd zero behind.
        spans = [d * (k - 1) for k, d in zip(kernel, conv.dilation, strict=True)]  # type: ignore[arg-type]
        return tuple((span // 2, span - span // 2) for span in spans)
    per_dim = (padding,) * len(kernel) if isinstance(padding, int) else padding
    return tuple((p, p) for p in per_dim)


class Convolution(Layer):
    """A convolution; `first` says that nobody asks for the derivatives by the input."""

    def __init__(self, name: str, geometry: Geometry, *, bias: bool, first: bool) -> None:
        self.weight, self.bias = name + ".weight", name + ".bias" if bias else None
        self.geometry = geometry
        self.first = first

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        needed = (not self.first, True, self.bias is not None)
        weight = batch.tensors[self.weight]
        found = convolution_gradients(dy, self._x, weight, self.geometry, needed)
        dx, dweight, dbias = found
        for name, gradient in ((self.weight, dweight), (self.bias, dbias)):
            if name is not None and gradient is not None:
                batch.found[name] = gradient.contiguous()
        return dy if dx is None else dx

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        bias = None if self.bias is None else tensors[self.bias]
        return convolution(x, tensors[self.weight], bias, self.geometry)


class Pooling(Layer):
    """The maximum or the mean over windows of a layer that ``pool_fits``, by autograd."""

    def __init__(self, module: nn.Module, *, first: bool) -> None:
        self.module = module
        self.first = first
        self._saved: Any = None

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        merge, part = pool_forms(x)
        with torch.enable_grad():
            leaf = merge(x).detach().requires_grad_(not self.first)
            y: Tensor = self.module(leaf)
        # The result itself, of which no view that autograd knows is changed in place.
        self._saved = (leaf, y, merge, part)
        return part(y.detach())

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        assert self._saved is not None  # noqa: S101 - forward came before
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
    """Batch normalisation of each channel, over samples and places, by autograd."""

    def __init__(self, name: str, eps: float, momentum: float) -> None:
        self.name = name
        self.eps = eps
        self.momentum = momentum
        self._saved: Any = None

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        if x[0].numel() == x.shape[2]:
            raise ValueError("Batch normalisation asks for more than one number a channel.")
        images, back = channels_of_one(x)
        weight, bias, mean, variance = self._own(batch.tensors)
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
        batch.found[self.name + ".weight"] = dweight.view(len(x), -1)
        batch.found[self.name + ".bias"] = dbias.view(len(x), -1)
        found: Tensor = back(dx)
        return found

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        images, back = channels_of_one(x)
        weight, bias, mean, variance = self._own(tensors)
        y = functional.batch_norm(images, mean, variance, weight, bias, eps=self.eps)
        return back(y)

    def _own(self, tensors: Tensors) -> list[Tensor]:
        """Return weight, bias, mean and variance of the channels of all networks."""
        names = ("weight", "bias", "running_mean", "running_var")
        return [tensors[f"{self.name}.{name}"].flatten() for name in names]


class Flat(Layer):
    """All numbers of a sample in one line, in the order of a lone network."""

    def __init__(self, name: str, memory: Memory) -> None:
        self.name = name
        self.memory = memory

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        return torch.empty_like(self._x).copy_(dy.reshape(self._x.shape))

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        out = self.memory(self.name, x, *x.shape)
        return out.copy_(x).flatten(2)
