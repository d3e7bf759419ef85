# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""K multi-layer perceptrons as one, with derivatives written out.

Autograd would cost a small network as much as its arithmetic, and would allocate every
intermediate result anew; here each has its memory for the whole training.

Notation: K rows of the fleet, k of them in a batch; B samples, D inputs, H units of a
hidden layer, C outputs.  z is a hidden layer before its activation, h its output, and dz
stands for the derivative of the loss by z.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sk_tune.engine.fleet._dropout import RowDropout
from sk_tune.engine.fleet._program import Program, stacked_parts
from sk_tune.nets import MLP

__all__ = ["MLPProgram"]

# By overload: to find it anew takes as long as the operation on a small network.
_threshold_backward: Any = torch.ops.aten.threshold_backward.grad_input
_tanh_backward: Any = torch.ops.aten.tanh_backward.grad_input

Memory = Callable[..., Tensor]
Tensors = dict[str, Tensor]


class MLPProgram(Program):
    """K networks ``sk_tune.nets.MLP``.

    Parameters
    ----------
    modules : sequence of MLP
        Of one architecture, dropout probabilities aside.
    dropout : RowDropout
        One layer for each hidden layer.
    """

    def __init__(self, modules: Sequence[MLP], dropout: RowDropout) -> None:
        super().__init__(*stacked_parts(modules), dropout)
        hidden: Any = modules[0].hidden
        self.layers = [
            _HiddenLayer(index, layer, self._memory) for index, layer in enumerate(hidden)
        ]
        self._store: dict[Any, Tensor] = {}
        self._batch: Any = None

    def forward(self, X: Tensor, rows: slice, step: int) -> Tensor:
        """Return the outputs for a batch to train on, and keep what ``backward`` needs."""
        tensors = self.parts(rows)
        h = X
        for index, layer in enumerate(self.layers):
            mask = self._mask(index, step, rows, h, layer) if self.dropout.active else None
            h = layer.forward(h, tensors, mask)
        self._batch = (h, tensors)
        return self._output(h, tensors)

    def backward(self, gradient: Tensor) -> list[Tensor]:
        """Return the derivatives by the parameters at the last batch."""
        h, tensors = self._batch
        found: dict[str, Tensor] = {}
        self._linear_backward(found, "output", gradient, h)
        if self.layers:
            dh = self._input_backward("output", gradient, tensors)
        for layer in reversed(self.layers):
            dz = layer.backward(dh, tensors, found)
            self._linear_backward(found, layer.linear, dz, layer.x)
            if layer.index:
                dx = self._input_backward(layer.linear, dz, tensors)
                dh = dx.add_(dh) if layer.residual else dx
        return [found[name] for name in self.parameters.tensors]

    def evaluate(self, X: Tensor, rows: slice) -> Tensor:
        """Return the outputs in evaluation mode."""
        tensors = self.parts(rows)
        h = X
        for layer in self.layers:
            h = layer.evaluate(h, tensors)
        return self._output(h, tensors)

    def begin_epoch(
        self,
        first_steps: Sequence[int],
        n_steps: int,
        generators: Sequence[torch.Generator | None],
    ) -> None:
        """Prepare the random numbers of an epoch."""
        super().begin_epoch(first_steps, n_steps, generators)
        if len(self._store) > _MOST_SHAPES:
            self._store.clear()

    def select(self, index: Tensor) -> None:
        """Keep some rows, in the order given."""
        super().select(index)
        self._store.clear()

    def _memory(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """Return memory of a name and shape, the same at every step."""
        key = (name, shape)
        found = self._store.get(key)
        if found is None:
            found = self._store[key] = like.new_empty(shape)
        return found

    def _output(self, h: Tensor, tensors: Tensors) -> Tensor:
        """Return the outputs, which lie in memory with the samples last.

        For few outputs this product takes half as long as the other way round, and so do
        the loss and its derivative.
        """
        weight, bias = tensors["output.weight"], tensors["output.bias"]
        out = self._memory("output.out", h, h.shape[0], weight.shape[1], h.shape[1])
        return torch.baddbmm(bias.unsqueeze(2), weight, h.mT, out=out).mT

    def _mask(
        self, index: int, step: int, rows: slice, x: Tensor, layer: "_HiddenLayer"
    ) -> Tensor:
        k, n = x.shape[0], x.shape[1] * layer.size
        key = ("bits", k, n)
        if key not in self._store:
            self._store[key] = torch.empty(k, n, dtype=torch.int32, device=x.device)
        out = self._memory(f"mask{index}", x, k, n)
        mask = self.dropout.mask(index, step, rows, self._store[key], out)
        return mask.view(k, x.shape[1], layer.size)

    def _linear_backward(
        self, found: dict[str, Tensor], name: str, dz: Tensor, x: Tensor
    ) -> None:
        k, _, n_out = dz.shape
        weight = self._memory(name + ".weight", dz, k, n_out, x.shape[2])
        found[name + ".weight"] = torch.bmm(dz.mT, x, out=weight)
        bias = self._memory(name + ".bias", dz, k, n_out)
        found[name + ".bias"] = torch.sum(dz, dim=1, out=bias)

    def _input_backward(self, name: str, dz: Tensor, tensors: Tensors) -> Tensor:
        weight = tensors[name + ".weight"]
        dx = self._memory(f"{name}.dx", dz, *dz.shape[:2], weight.shape[2])
        return torch.bmm(dz, weight, out=dx)


# Memory is made anew when a fleet has had this many shapes of batches and layers.
_MOST_SHAPES = 256


def _linear(x: Tensor, tensors: Tensors, name: str, memory: Memory) -> Tensor:
    weight, bias = tensors[name + ".weight"], tensors[name + ".bias"]
    out = memory(f"{name}.out", x, *x.shape[:2], weight.shape[1])
    return torch.baddbmm(bias.unsqueeze(1), x, weight.mT, out=out)


class _HiddenLayer:
    """One hidden layer of all rows, and what its last batch left for the derivatives."""

    def __init__(self, index: int, layer: Any, memory: Memory) -> None:
        self.index = index
        self.linear = f"hidden.{index}.linear"
        self.size: int = layer.linear.out_features
        self.residual: bool = layer.residual
        self.activation: nn.Module = layer.activation
        self.norm = _norm(f"hidden.{index}.norm", layer.norm, memory)
        self.memory = memory
        self.x = torch.empty(0)
        self._mask: Tensor | None = None
        self._saved: Any = None

    def forward(self, x: Tensor, tensors: Tensors, mask: Tensor | None) -> Tensor:
        self.x, self._mask = x, mask
        z = _linear(x, tensors, self.linear, self.memory)
        if self.norm is not None:
            z = self.norm.forward(z, tensors)
        a, self._saved = _activate(self.activation, z)
        if mask is not None:
            # ReLU's derivative is as well read off what dropout left of its output.
            in_place = isinstance(self.activation, nn.ReLU)
            out = a if in_place else self.memory(f"{self.linear}.h", a, *a.shape)
            a = torch.mul(a, mask, out=out)
        if not self.residual:
            return a
        return torch.add(x, a, out=self.memory(f"{self.linear}.sum", a, *a.shape))

    def backward(self, dh: Tensor, tensors: Tensors, found: dict[str, Tensor]) -> Tensor:
        if self._mask is not None:
            out = self.memory(f"{self.linear}.dh", dh, *dh.shape) if self.residual else dh
            dh = torch.mul(dh, self._mask, out=out)
        # In place, but where what comes from behind is still to be added to the input's.
        own = self._mask is None and self.residual
        out = self.memory(f"{self.linear}.dz", dh, *dh.shape) if own else dh
        dz = _activate_backward(self.activation, dh, self._saved, out)
        return dz if self.norm is None else self.norm.backward(dz, tensors, found)

    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        z = _linear(x, tensors, self.linear, self.memory)
        if self.norm is not None:
            z = self.norm.evaluate(z, tensors)
        a = z.clamp_min_(0) if isinstance(self.activation, nn.ReLU) else self.activation(z)
        return x + a if self.residual else a


def _activate(activation: nn.Module, z: Tensor) -> tuple[Tensor, Any]:
    """Return an activation and what its derivative needs; z may be overwritten."""
    if isinstance(activation, nn.ReLU):
        a = z.clamp_min_(0)
        return a, a
    if isinstance(activation, nn.Tanh):
        a = z.tanh_()
        return a, a
    if isinstance(activation, nn.Identity):
        return z, None
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        a = activation(leaf)
    return a.detach(), (leaf, a)


def _activate_backward(
    activation: nn.Module, da: Tensor, saved: Any, out: Tensor
) -> Tensor:
    if isinstance(activation, nn.ReLU):
        _threshold_backward(da, saved, 0, grad_input=out)
        return out
    if isinstance(activation, nn.Tanh):
        _tanh_backward(da, saved, grad_input=out)
        return out
    if isinstance(activation, nn.Identity):
        return da
    leaf, a = saved
    (dz,) = torch.autograd.grad(a, leaf, da)
    return dz  # type: ignore[no-any-return]


class _Norm:
    """Layer normalisation, over the units of each sample."""

    dim = 2

    def __init__(self, name: str, eps: float, memory: Memory) -> None:
        self.name = name
        self.eps = eps
        self.memory = memory
        self._saved: Any = None

    def forward(self, z: Tensor, tensors: Tensors) -> Tensor:
        mean = z.mean(dim=self.dim, keepdim=True)
        z.sub_(mean)
        variance = torch.square(z).mean(dim=self.dim, keepdim=True)
        self._track(mean, variance, z.shape[1], tensors)
        scale = (variance + self.eps).rsqrt_()
        z.mul_(scale)
        self._saved = (z, scale)
        return self._affine(z, tensors)

    def backward(self, dz: Tensor, tensors: Tensors, found: dict[str, Tensor]) -> Tensor:
        normalized, scale = self._saved
        product = dz * normalized
        for part, values in (("weight", product), ("bias", dz)):
            out = self.memory(f"{self.name}.{part}", dz, dz.shape[0], dz.shape[2])
            found[f"{self.name}.{part}"] = torch.sum(values, dim=1, out=out)
        weight = tensors[self.name + ".weight"].unsqueeze(1)
        dz = dz * weight
        along = (product.mul_(weight)).mean(dim=self.dim, keepdim=True)
        dz.sub_(dz.mean(dim=self.dim, keepdim=True))
        return dz.sub_(normalized * along).mul_(scale)

    def evaluate(self, z: Tensor, tensors: Tensors) -> Tensor:
        z = z - z.mean(dim=2, keepdim=True)
        scale = torch.square(z).mean(dim=2, keepdim=True).add_(self.eps).rsqrt_()
        return self._affine(z.mul_(scale), tensors)

    def _affine(self, z: Tensor, tensors: Tensors) -> Tensor:
        weight, bias = tensors[self.name + ".weight"], tensors[self.name + ".bias"]
        return torch.addcmul(bias.unsqueeze(1), z, weight.unsqueeze(1))

    def _track(self, mean: Tensor, variance: Tensor, n: int, tensors: Tensors) -> None:
        """Note the statistics of a batch; layer normalisation keeps none."""


class _BatchNorm(_Norm):
    """Batch normalisation, over the samples of each row's batch."""

    dim = 1

    def __init__(self, name: str, eps: float, momentum: float, memory: Memory) -> None:
        super().__init__(name, eps, memory)
        self.momentum = momentum

    def evaluate(self, z: Tensor, tensors: Tensors) -> Tensor:
        mean = tensors[self.name + ".running_mean"].unsqueeze(1)
        variance = tensors[self.name + ".running_var"].unsqueeze(1)
        return self._affine((z - mean).mul_((variance + self.eps).rsqrt_()), tensors)

    def _track(self, mean: Tensor, variance: Tensor, n: int, tensors: Tensors) -> None:
        unbiased = variance.squeeze(1) * (n / (n - 1))
        tensors[self.name + ".running_mean"].lerp_(mean.squeeze(1), self.momentum)
        tensors[self.name + ".running_var"].lerp_(unbiased, self.momentum)
        tensors[self.name + ".num_batches_tracked"].add_(1)


def _norm(name: str, norm: Any, memory: Memory) -> _Norm | None:
    if norm is None:
        return None
    if isinstance(norm, nn.BatchNorm1d):
        return _BatchNorm(name, norm.eps, norm.momentum or 0.0, memory)
    return _Norm(name, norm.eps, memory)
