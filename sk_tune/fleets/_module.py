# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""K networks of any architecture as one, by ``torch.func.vmap`` and autograd.

One module serves as the pattern; its layers that vmap has no rule for, or a slow one, are
replaced by twins over parameters of the same names.

Notation: K networks of the fleet, k of them in a batch; B samples, C outputs, L dropout
layers.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.func import functional_call, vmap
from torch.nn import functional

from sk_tune.fleets._chain import Program, stacked_parts
from sk_tune.fleets._convolution import StackedConv, StackedPool, conv_fits, pool_fits
from sk_tune.fleets._masks import (
    SeededMasks,
    StackedDropout,
    TorchDropout,
    is_torch_dropout,
    orders_in_memory,
)
from sk_tune.fleets._recurrence import StackedRecurrence
from sk_tune.nets import RNN, SeededDropout

__all__ = ["ModuleProgram"]

_ACTIVATIONS = nn.ReLU.__module__
# These run torch's batch normalisation and its derivatives, into memory that is there.
_NORMALIZE: Any = getattr(torch.ops.aten.native_batch_norm, "out", None)
_DERIVATIVES: Any = getattr(torch.ops.aten.native_batch_norm_backward, "out", None)
_BATCH_NORMS = frozenset({nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d})


class ModuleProgram(Program):
    """K networks of one architecture, by vmap and autograd.

    `padded` says that sequences may end early, which sk_tune's RNN asks. X are inputs such
    as the networks train on; None if they only predict.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        dropout: StackedDropout,
        *,
        padded: bool,
        X: Tensor | None = None,
    ) -> None:
        super().__init__(*stacked_parts(modules), dropout)
        # The one with most layers: a network without dropout leaves the layers out.
        pattern = max(modules, key=lambda m: sum(1 for _ in m.modules()))
        # Networks of sk_tune ask a twin for the outputs alone, and with lengths.
        self.pattern = _with_twins(copy.deepcopy(pattern), own=isinstance(pattern, RNN))
        if isinstance(self.pattern, RNN):
            self.pattern.padded = padded
        self._seeded = [m for m in self.pattern.modules() if isinstance(m, _SeededTwin)]
        orders = (None if X is None else orders_in_memory(pattern, X)) or {}
        self._torch: list[TorchDropout] = []
        for name, layer in self.pattern.named_modules():
            if isinstance(layer, TorchDropout):
                layer.orders = orders.get(name, {})
                self._torch.append(layer)
        self.padded = padded
        self.probabilities = [_torch_probabilities(m) for m in modules]
        self._vmapped: Any = vmap(self._call)
        self._batch: Any = None

    def forward(self, X: Tensor, networks: slice, step: int) -> Tensor:
        self.pattern.train()
        parameters = {
            n: t[networks].detach().requires_grad_()
            for n, t in self.parameters.tensors.items()
        }
        buffers = {n: t[networks] for n, t in self.buffers.tensors.items()}
        if self._seeded:
            # Whole, and not network by network through vmap: the twins take all networks at
            # once.
            numbers = zip(*self.dropout.numbers(step, networks), strict=True)
            for twin, layer_numbers in zip(self._seeded, numbers, strict=False):
                twin.numbers = layer_numbers
        for position, layer in enumerate(self._torch):
            layer.begin(networks, [p[position] for p in self.probabilities[networks]])
        with torch.enable_grad():
            outputs: Tensor = self._vmapped(parameters, buffers, X)
        self._batch = (outputs, list(parameters.values()))
        return outputs.detach()

    def backward(self, gradient: Tensor) -> Sequence[Tensor]:
        outputs, parameters = self._batch
        self._batch = None
        found = torch.autograd.grad(outputs, parameters, gradient.contiguous())
        return [g.contiguous() for g in found]

    def evaluate(self, X: Tensor, networks: slice) -> Tensor:
        self.pattern.eval()
        parameters, buffers = (
            {n: t[networks] for n, t in part.tensors.items()}
            for part in (self.parameters, self.buffers)
        )
        with torch.no_grad():
            outputs: Tensor = self._vmapped(parameters, buffers, X)
        return outputs

    def begin_epoch(
        self,
        first_steps: Sequence[int],
        n_steps: int,
        generators: Sequence[torch.Generator | None],
    ) -> None:
        super().begin_epoch(first_steps, n_steps, generators)
        for layer in self._torch:
            layer.generators = list(generators)

    def select(self, index: Tensor) -> None:
        super().select(index)
        self.probabilities = [self.probabilities[i] for i in index.tolist()]

    def extend(self, other: Program) -> None:
        super().extend(other)
        assert isinstance(other, ModuleProgram)  # noqa: S101 - of one architecture
        self.probabilities.extend(other.probabilities)
        if len(other._seeded) > len(self._seeded):
            self.pattern, self._seeded = other.pattern, other._seeded
        if isinstance(self.pattern, RNN):
            self.pattern.padded = self.padded = self.padded or other.padded

    def _call(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], X: Tensor
    ) -> Tensor:
        """Return the outputs of one network; vmap makes it K."""
        outputs: Tensor = functional_call(self.pattern, (parameters, buffers), (X,))
        return outputs


class _SeededTwin(nn.Module):
    """``SeededDropout`` of all networks, whose numbers of the step come from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: tuple[Tensor, ...] = ()
        self._masks = SeededMasks()

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        y: Tensor = _Masked.apply(x, self)[0]  # type: ignore[no-untyped-call]
        return y

    def mask(self, x: Tensor) -> Tensor:
        """Return the factors of activations (K, B, ...), in their order in memory."""
        return self._masks.like(x, self.numbers)


class _Masked(Function):
    """x (K, B, ...) and a twin -> x times its mask, and the mask; under ``vmap`` only."""

    @staticmethod
    def forward(x: Tensor, twin: _SeededTwin) -> tuple[Tensor, Tensor]:
        mask = twin.mask(x)
        return x * mask, mask

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]
    ) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, None]:
        (mask,) = ctx.saved_tensors
        # The product has the order in memory of its first factor, that of the layer before.
        return (None if grad is None else mask * grad), None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, twin: _SeededTwin
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        dim = in_dims[0]
        networks = x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
        return _Masked.apply(networks, twin), (0, 0)  # type: ignore[no-untyped-call]


class _Normalized(Function):
    """x (K, B, C, ...) to its batch normalisation in training, network by network.

    Returns also mean and inverse deviation of each channel, (K, C).  Under ``vmap`` only,
    which would make K * C channels of one network, of which torch sums up each in an order
    that depends on their number.
    """

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = x.contiguous()
        y, means = torch.empty_like(x), x.new_empty(2, len(x), x.shape[2])
        parts = zip(x, *map(_each, (weight, bias), (x, x)), y, *means, strict=True)
        for inputs, w, b, out, mean, inverse in parts:
            made = {"out": out, "save_mean": mean, "save_invstd": inverse}
            _NORMALIZE(inputs, w, b, None, None, True, 0.0, eps, **made)
        return y, means[0], means[1]

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]
    ) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.eps = inputs[3]
        ctx.save_for_backward(inputs[0], inputs[1], *output[1:])

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if dy is None:
            return (None,) * 4
        x, weight, mean, inverse = ctx.saved_tensors
        x, dy = x.contiguous(), dy.contiguous()
        dx, sums = torch.empty_like(x), x.new_empty(2, *mean.shape)
        parts = zip(dy, x, _each(weight, x), mean, inverse, dx, *sums, strict=True)
        for d, inputs, w, m, i, *out in parts:
            made = {f"out{number}": tensor for number, tensor in enumerate(out)}
            _DERIVATIVES(d, inputs, w, None, None, m, i, True, ctx.eps, [True] * 3, **made)
        return (dx, *(sums if weight is not None else (None, None)), None)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], *inputs: Any
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        networks = [
            value
            if not isinstance(value, Tensor)
            else value.expand(info.batch_size, *value.shape)
            if dim is None
            else value.movedim(dim, 0)
            for value, dim in zip(inputs, in_dims, strict=True)
        ]
        return _Normalized.apply(*networks), (0,) * 3  # type: ignore[no-untyped-call]


def _each(values: Tensor | None, like: Tensor) -> Any:
    """Return what each network has of a tensor that may be missing."""
    return [None] * len(like) if values is None else values


class _StackedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation whose numbers do not depend on the networks beside it."""

    def __init__(self, layer: Any) -> None:
        options = (layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        super().__init__(layer.num_features, *options)
        self.weight, self.bias = layer.weight, layer.bias
        for name, buffer in layer.named_buffers():
            setattr(self, name, buffer)

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.running_mean, self.running_var
        if self.training or mean is None or variance is None:
            arguments = (x, self.weight, self.bias, self.eps)
            y, own_mean, inverse = _Normalized.apply(*arguments)  # type: ignore[no-untyped-call]
            if self.training:
                self._track(own_mean, inverse, x.numel() // x.shape[1])
            return y  # type: ignore[no-any-return]
        shape = (-1, *(1,) * (x.ndim - 2))
        scale = (variance + self.eps).rsqrt()
        z = (x - mean.view(shape)) * scale.view(shape)
        if not self.affine:
            return z
        return z * self.weight.view(shape) + self.bias.view(shape)

    def _track(self, mean: Tensor, inverse: Tensor, n: int) -> None:
        if n < 2:
            raise ValueError("Batch normalisation asks for more than one sample.")
        kept: list[Any] = [self.running_mean, self.running_var, self.num_batches_tracked]
        if kept[0] is None:
            return
        kept[2].add_(1)
        # 1 / kept[2] would be rounded to torch's default type.
        cumulative = kept[2].to(mean.dtype).reciprocal()
        share = cumulative if self.momentum is None else self.momentum
        variance = (inverse.square().reciprocal() - self.eps) * (n / (n - 1))
        kept[0].add_((mean - kept[0]) * share)
        kept[1].add_((variance - kept[1]) * share)


class _TorchRecurrence(StackedRecurrence):
    """A recurrence that is called as torch's are: (B, T, F) to outputs and last states."""

    def __init__(self, recurrence: nn.RNNBase) -> None:
        super().__init__(recurrence)
        self.hidden_size = recurrence.hidden_size
        self.is_lstm = isinstance(recurrence, nn.LSTM)

    def forward(self, x: Tensor, states: Any = None) -> Any:  # type: ignore[override]
        if states is not None:
            raise NotImplementedError("A fleet's recurrence begins at 0.")
        out = super().forward(x, None)
        last = [out[:, -1, : self.hidden_size]]
        if out.shape[-1] > self.hidden_size:
            last.append(out[:, 0, self.hidden_size :])
        hidden = torch.stack(last)
        # The last cell state of an LSTM is not kept; who uses it fails, and is left alone.
        return out, ((hidden, None) if self.is_lstm else hidden)


class _PaddedEmbedding(nn.Module):
    """``nn.Embedding`` with `padding_idx`, which vmap minds in the first network only."""

    def __init__(self, layer: nn.Embedding) -> None:
        super().__init__()
        self.weight = layer.weight
        self._padding = int(layer.padding_idx or 0)
        self._options = (layer.max_norm, layer.norm_type)
        self._flags = (layer.scale_grad_by_freq, layer.sparse)

    def forward(self, x: Tensor) -> Tensor:
        networks = functional.embedding(x, self.weight, None, *self._options, *self._flags)
        is_padding = x.eq(self._padding).unsqueeze(-1)
        # The vector of the padding is used, and never trained.
        return torch.where(is_padding, networks.detach(), networks)


class _StackedGroupNorm(nn.GroupNorm):
    """``nn.GroupNorm``, which under vmap takes inputs in one order in memory only."""

    def __init__(self, layer: nn.GroupNorm) -> None:
        super().__init__(layer.num_groups, layer.num_channels, layer.eps, affine=False)
        self.affine = layer.affine
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.contiguous())


def _with_twins(module: nn.Module, *, own: bool) -> nn.Module:
    """Replace the layers of a module that need another form, in place."""
    for name, child in module.named_children():
        twin = _twin(child, own=own)
        if type(child).__module__ == _ACTIVATIONS and getattr(child, "inplace", False):
            # A twin returns a view, in which torch lets nothing work in place.
            child.inplace = False  # type: ignore[assignment]
        if twin is child:
            _with_twins(child, own=own)
        else:
            setattr(module, name, twin)
    return module


def _twin(layer: nn.Module, *, own: bool) -> nn.Module:
    on_cpu = all(p.device.type == "cpu" for p in layer.parameters())
    if isinstance(layer, SeededDropout):
        return _SeededTwin()
    if is_torch_dropout(layer):
        return TorchDropout()
    if isinstance(layer, nn.Embedding) and type(layer).forward is nn.Embedding.forward:
        return layer if layer.padding_idx is None else _PaddedEmbedding(layer)
    if isinstance(layer, nn.RNNBase):
        return StackedRecurrence(layer) if own else _TorchRecurrence(layer)
    if on_cpu and conv_fits(layer):
        return StackedConv(layer)
    if on_cpu and pool_fits(layer):
        return StackedPool(layer)
    if type(layer) is nn.GroupNorm:
        return _StackedGroupNorm(layer)
    if on_cpu and type(layer) in _BATCH_NORMS and None not in {_NORMALIZE, _DERIVATIVES}:
        return _StackedBatchNorm(layer)
    return layer


def _torch_probabilities(module: nn.Module) -> list[float]:
    return [m.p for m in module.modules() if is_torch_dropout(m)]  # type: ignore[misc]
