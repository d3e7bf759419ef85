# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Layers of K networks at once, with derivatives written out.

A layer overwrites its input unless a derivative needs it.

Notation: k networks of the fleet in a batch; B samples, D inputs and H outputs of a layer.
x is a layer's input, y its output; dx and dy are derivatives of the loss.  For m members
that share a matrix W, r and s are the scales of inputs and outputs, z = W (r * x); between
their layers, the samples of all members form one long batch, so that activations, dropout
and normalisation work unchanged.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function

from sk_tune._compat.torch_names import pointwise_linear, tanh_backward, threshold_backward
from sk_tune._nets import mean_of_members

Tensors = dict[str, Tensor]

# From this number of multiplications on, a call per network is faster.
_LEAST_PRODUCT = 2**21
_AMD = "AuthenticAMD"


class Batch(NamedTuple):
    """The current batch, as layers see it."""

    tensors: Tensors  # parameters and buffers, (k, ...)
    networks: slice
    gradients: Tensors  # of parameters, stored by layers


class Layer(ABC):
    """One layer of all networks, with the results of its last batch for the derivatives."""

    in_place = False  # the layer may overwrite its input
    reads_output = False  # the derivative needs the output

    _x: Tensor

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Map (k, B, D) to (k, B, H) in training, and store the needs of ``backward``."""
        self._x = x
        return self.evaluate(x, batch.tensors)

    @abstractmethod
    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        """Return the input's gradient, (k, B, D); overwrites `dy` unless `keep` is set."""

    @abstractmethod
    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        """Map (k, B, D) to (k, B, H) in evaluation mode."""

    def follow(self, previous: "Layer") -> None:
        """Adapt to the previous layer."""
        self.in_place = not previous.reads_output


def chained(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers, after each was told its predecessor."""
    for previous, layer in pairwise(layers):
        layer.follow(previous)
    return list(layers)


def run_backward(layers: Sequence[Layer], dy: Tensor, batch: Batch) -> Tensor:
    """Return the gradient of a chain's input; `dy` stays intact."""
    keep = True
    for layer in reversed(layers):
        dx = layer.backward(dy, batch, keep=keep)
        keep = keep and dx is dy
        dy = dx
    return dy


class ByNetwork(Function):
    """A function of tensors of all networks, (K, ...), which vmap calls once for all."""

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, *inputs: Any) -> tuple[Any, Any]:
        outputs = cls.apply(*networks_first(info, in_dims, inputs))  # type: ignore[no-untyped-call]
        return outputs, 0 if isinstance(outputs, Tensor) else (0,) * len(outputs)


def networks_first(info: Any, in_dims: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
    """Return tensors with the axis of ``vmap`` in front, expanded if they lack it."""
    return [
        value
        if not isinstance(value, Tensor)
        else value.expand(info.batch_size, *value.shape)
        if dim is None
        else value.movedim(dim, 0)
        for value, dim in zip(inputs, in_dims, strict=True)
    ]


class Linear(Layer):
    """A linear map.

    The input of the `first` layer needs no gradient. The few outputs of the `last` layer
    are stored with the samples last: that halves the time of the product, the loss and its
    derivative.
    """

    def __init__(
        self, name: str, *, bias: bool = True, first: bool = False, last: bool = False
    ) -> None:
        self.weight, self.bias = name + ".weight", name + ".bias" if bias else None
        self.first = first
        self.last = last

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        batch.gradients[self.weight] = linear(dy.mT, self._x.mT)
        if self.bias is not None:
            batch.gradients[self.bias] = dy.sum(dim=1)
        return dy if self.first else linear(dy, batch.tensors[self.weight].mT)

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        weight = tensors[self.weight]
        bias = None if self.bias is None else tensors[self.bias]
        if not self.last:
            return linear(x, weight, bias)
        if bias is None:
            return torch.bmm(weight, x.mT).mT
        return torch.baddbmm(bias.unsqueeze(2), weight, x.mT).mT


class Activation(Layer):
    """An activation; derivatives of ReLU and tanh are written out, others by autograd."""

    reads_output = True

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.is_relu = isinstance(module, nn.ReLU)
        self.is_tanh = isinstance(module, nn.Tanh)
        self._saved: Any = None

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        if self.is_relu or self.is_tanh:
            self._saved = self.evaluate(x, batch.tensors)
            return self._saved  # type: ignore[no-any-return]
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            y: Tensor = self.module(leaf)
        self._saved = (leaf, y)
        return y.detach()

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        if self.is_relu or self.is_tanh:
            out = torch.empty_like(dy) if keep else dy
            if self.is_relu:
                threshold_backward(dy, self._saved, 0, grad_input=out)
            else:
                tanh_backward(dy, self._saved, grad_input=out)
            return out
        leaf, y = self._saved
        (dx,) = torch.autograd.grad(y, leaf, dy)
        return dx  # type: ignore[no-any-return]

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        if self.is_relu:
            return x.clamp_min_(0) if self.in_place else x.clamp_min(0)
        if self.is_tanh:
            return x.tanh_() if self.in_place else x.tanh()
        return self.module(x)  # type: ignore[no-any-return]


class Dropout(Layer):
    """Multiplication by factors of ``mask(x, batch)``; `seeded` numbers masks of seeds."""

    # The output may share memory with the input, and the first layer's input is not ours.
    reads_output = True

    def __init__(
        self, mask: Callable[[Tensor, Batch], Tensor | None], seeded: int | None = None
    ) -> None:
        self.mask = mask
        self.seeded = seeded
        self._mask: Tensor | None = None

    def follow(self, previous: Layer) -> None:
        # ReLU's derivative can also be derived from the output after dropout.
        behind_relu = isinstance(previous, Activation) and previous.is_relu
        self.in_place = behind_relu or not previous.reads_output
        # The output may share memory with the input.
        self.reads_output = previous.reads_output

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        mask = self._mask = self.mask(x, batch)
        if mask is None:
            return x
        return x.mul_(mask) if self.in_place else x * mask

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        if self._mask is None:
            return dy
        return dy * self._mask if keep else dy.mul_(self._mask)

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        return x


class Residual(Layer):
    """Layers with their input added to their output."""

    def __init__(self, layers: Sequence[Layer], *, first: bool) -> None:
        self.layers = layers
        self.first = first

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        y = x
        for layer in self.layers:
            y = layer.forward(y, batch)
        return x + y

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        dx = run_backward(self.layers, dy, batch)
        return dx if self.first else dx.add_(dy)

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        y = x
        for layer in self.layers:
            y = layer.evaluate(y, tensors)
        return x + y


class LayerNorm(Layer):
    """Layer normalisation, over the units of each sample."""

    dim = 2

    def __init__(self, name: str, eps: float) -> None:
        self.name = name
        self.eps = eps
        self._saved: Any = None

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        mean = x.mean(dim=self.dim, keepdim=True)
        z = x.sub_(mean) if self.in_place else x - mean
        variance = torch.square(z).mean(dim=self.dim, keepdim=True)
        self._track(mean, variance, x.shape[1], batch.tensors)
        scale = (variance + self.eps).rsqrt_()
        z.mul_(scale)
        self._saved = (z, scale)
        return self._affine(z, batch.tensors)

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        normalized, scale = self._saved
        product = dy * normalized
        batch.gradients[self.name + ".weight"] = product.sum(dim=1)
        batch.gradients[self.name + ".bias"] = dy.sum(dim=1)
        weight = batch.tensors[self.name + ".weight"].unsqueeze(1)
        dz = dy * weight
        along = (product.mul_(weight)).mean(dim=self.dim, keepdim=True)
        dz.sub_(dz.mean(dim=self.dim, keepdim=True))
        return dz.sub_(normalized * along).mul_(scale)

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        z = x - x.mean(dim=2, keepdim=True)
        scale = torch.square(z).mean(dim=2, keepdim=True).add_(self.eps).rsqrt_()
        return self._affine(z.mul_(scale), tensors)

    def _affine(self, z: Tensor, tensors: Tensors) -> Tensor:
        weight, bias = tensors[self.name + ".weight"], tensors[self.name + ".bias"]
        return torch.addcmul(bias.unsqueeze(1), z, weight.unsqueeze(1))

    def _track(self, mean: Tensor, variance: Tensor, n: int, tensors: Tensors) -> None:
        """Update running statistics; layer normalisation has none."""


class BatchNorm(LayerNorm):
    """Batch normalisation; `momentum` is the weight of a batch in running statistics."""

    dim = 1

    def __init__(self, name: str, eps: float, momentum: float) -> None:
        super().__init__(name, eps)
        self.momentum = momentum

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        mean = tensors[self.name + ".running_mean"].unsqueeze(1)
        variance = tensors[self.name + ".running_var"].unsqueeze(1)
        return self._affine((x - mean).mul_((variance + self.eps).rsqrt_()), tensors)

    def _track(self, mean: Tensor, variance: Tensor, n: int, tensors: Tensors) -> None:
        if n < 2:
            raise ValueError("Batch normalisation needs more than one sample.")
        unbiased = variance.squeeze(1) * (n / (n - 1))
        tensors[self.name + ".running_mean"].lerp_(mean.squeeze(1), self.momentum)
        tensors[self.name + ".running_var"].lerp_(unbiased, self.momentum)
        tensors[self.name + ".num_batches_tracked"].add_(1)


class Members(Layer):
    """Repetition of each sample for each of m members."""

    def __init__(self, members: int, *, first: bool) -> None:
        self.members = members
        self.first = first

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        if self.first:
            return dy
        return _by_member(dy, self.members).sum(dim=1)

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        return x.repeat(1, self.members, 1)


class MemberLinear(Layer):
    """A linear map with one matrix for all members."""

    def __init__(self, name: str, members: int, *, first: bool) -> None:
        self.name = name
        self.weight, self.bias = name + ".weight", name + ".bias"
        # Of inputs and outputs.
        self.scales = (name + ".input_scale", name + ".output_scale")
        self.members = members
        self.first = first
        self._saved: tuple[Tensor, ...] = ()

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        weight = batch.tensors[self.weight]
        r, s, b = self._vectors(batch.tensors)
        x = _by_member(x, self.members)
        scaled = (x * r).flatten(1, 2)
        z = _by_member(torch.bmm(scaled, weight.mT), self.members)
        self._saved = (x, scaled, z)
        return torch.addcmul(b, z, s).flatten(1, 2)

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        x, scaled, z = self._saved
        r, s, _ = self._vectors(batch.tensors)
        dy = _by_member(dy, self.members)  # (k, m, B, H)
        dz = (dy * s).flatten(1, 2)
        dscaled = torch.bmm(dz, batch.tensors[self.weight])
        dscaled = _by_member(dscaled, self.members)
        gradients = {
            "bias": dy.sum(dim=2).flatten(1),
            "output_scale": (dy * z).sum(dim=2).flatten(1),
            "weight": torch.bmm(dz.mT, scaled),
            "input_scale": (dscaled * x).sum(dim=2).flatten(1),
        }
        batch.gradients.update({f"{self.name}.{n}": g for n, g in gradients.items()})
        return dy if self.first else dscaled.mul_(r).flatten(1, 2)

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        return self.forward(x, Batch(tensors, slice(0), {}))

    def _vectors(self, tensors: Tensors) -> list[Tensor]:
        """Return r, s and b, each of shape (k, m, 1, D or H)."""
        vectors = (tensors[name] for name in (*self.scales, self.bias))
        return [vector.reshape(len(vector), self.members, 1, -1) for vector in vectors]


class MemberHead(Layer):
    """A linear map for each member, (k, m B, H) to (k, B, m, C), as the last layer."""

    def __init__(self, name: str, members: int, link: str) -> None:
        self.weight, self.bias = name + ".weight", name + ".bias"
        self.members = members
        self.link = link

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        self._x = x
        return self._outputs(x, batch.tensors)

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        k = len(dy)
        dy = dy.transpose(1, 2).flatten(0, 1)  # (k m, B, C)
        x = _by_member(self._x, self.members).flatten(0, 1)
        weight = batch.tensors[self.weight]
        batch.gradients[self.weight] = torch.bmm(dy.mT, x).view(weight.shape)
        batch.gradients[self.bias] = dy.sum(dim=1).view(k, -1)
        return torch.bmm(dy, weight.flatten(0, 1)).view(self._x.shape)

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        return mean_of_members(self._outputs(x, tensors), self.link, dim=2)

    def _outputs(self, x: Tensor, tensors: Tensors) -> Tensor:
        weight = tensors[self.weight].flatten(0, 1)
        bias = tensors[self.bias].view(len(weight), 1, -1)
        inputs = _by_member(x, self.members).flatten(0, 1)
        y = torch.baddbmm(bias, inputs, weight.mT)
        return y.view(len(x), self.members, *y.shape[1:]).transpose(1, 2)


def _by_member(x: Tensor, members: int) -> Tensor:
    """Return (k, m B, D) as (k, m, B, D), a view of contiguous memory."""
    return x.reshape(len(x), members, -1, x.shape[2])


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x W^T + b, (k, B, H), for (k, B, D), (k, H, D) and (k, H)."""
    is_large = x.shape[1] * x.shape[2] * weight.shape[1] >= _LEAST_PRODUCT
    serves = x.dtype == torch.float32 and x.device.type == "cpu"
    multiply = None
    if is_large and serves and bool(torch.backends.mkldnn.enabled):
        multiply = _pointwise_linear()
    if multiply is not None:
        biases = [None] * len(x) if bias is None else bias
        networks = zip(x, weight, biases, strict=True)
        return torch.stack([multiply(a, w, b, "none", [], "") for a, w, b in networks])
    if bias is None:
        return torch.bmm(x, weight.mT)
    return torch.baddbmm(bias.unsqueeze(1), x, weight.mT)


@cache
def _pointwise_linear() -> Any:
    """Return oneDNN's linear layer; None if it is missing, or MKL is as fast."""
    is_wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    has_mkl = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return pointwise_linear if is_wide and has_mkl and _is_of_amd() else None


def _is_of_amd() -> bool:
    try:
        # Linux; Windows has the vendor's name in the environment.
        return _AMD in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return _AMD in os.environ.get("PROCESSOR_IDENTIFIER", "")
