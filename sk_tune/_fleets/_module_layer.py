# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A module of any kind as one layer of K networks, by ``torch.func.vmap`` and autograd.

One module serves as the pattern.  Layers without a (fast) rule of vmap are replaced by
twins with parameters of the same names.

Notation: K networks of the fleet, k of them in a batch; B samples, C outputs.
"""

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional

from sk_tune._compat.torch_names import normalize_into, normalize_into_backward
from sk_tune._fleets._convolution import Convolution, Pooling, geometry_of, pool_fits
from sk_tune._fleets._layers import Batch, ByNetwork, Dropout, Layer, Tensors
from sk_tune._fleets._masks import StackedDropout, mask_of, orders_in_memory
from sk_tune._fleets._recurrence import StackedRecurrence
from sk_tune._nets import RNN, TableInputs

_ACTIVATIONS = nn.ReLU.__module__
_BATCH_NORMS = frozenset({nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d})


class ModuleLayer(Layer):
    """The layer `name` of a network, or the whole network if that is empty; comes first."""

    # Autograd owns the output.
    reads_output = True

    def __init__(
        self, name: str, module: nn.Module, dropout: StackedDropout, X: Tensor | None
    ) -> None:
        self.module = module
        self.pattern = copy.deepcopy(module)
        # Seed numbers of seeded dropout layers.
        self.seeded: dict[str, int] = {}
        prefix = name + "." if name else ""
        orders = (None if X is None else orders_in_memory(module, X)) or {}
        twins: dict[nn.Module, _LayerTwin] = {}
        for path, layer in self.pattern.named_modules():
            mask, number = mask_of(dropout, prefix + path, layer, orders.get(path, {}))
            if number is not None:
                self.seeded[path] = number
            if mask is not None:
                twins[layer] = _LayerTwin(Dropout(mask), layer)
        self._twins = list(twins.values())
        # sk_tune's networks expect a twin to return outputs only, and to accept lengths.
        _with_twins(self.pattern, twins, stacks_cells=isinstance(module, RNN))
        self._prefix = prefix
        self._trained = [n for n, p in module.named_parameters() if p.requires_grad]
        self._names = [n for n, _ in (*module.named_parameters(), *module.named_buffers())]
        self._vmapped: Any = vmap(partial(functional_call, self.pattern))
        self._saved: Any = None
        # Whether sequences end early; None to check each batch.
        self._is_padded: bool | None = None

    def look_ahead(self, inputs: Sequence[Tensor]) -> None:
        """Check all inputs for padding; a check per batch would wait for the device."""
        if isinstance(self.pattern, RNN):
            self._is_padded = any(bool(torch.isnan(x[..., 0]).any()) for x in inputs)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        self.pattern.train()
        tensors = self._layer_tensors(batch.tensors)
        leaves = {n: tensors[n].detach().requires_grad_() for n in self._trained}
        # At once, not network by network through vmap: twins take all networks together.
        for twin in self._twins:
            twin.batch = batch
        with torch.enable_grad():
            y = self._outputs(tensors | leaves, x)
        self._saved = (y, leaves)
        return y.detach()

    def backward(self, dy: Tensor, batch: Batch, *, keep: bool) -> Tensor:
        """Store the gradients of the parameters; the input needs none."""
        y, leaves = self._saved
        self._saved = None
        gradients = torch.autograd.grad(y, list(leaves.values()), dy.contiguous())
        for name, gradient in zip(leaves, gradients, strict=True):
            batch.gradients[self._prefix + name] = gradient.contiguous()
        return dy

    @torch.no_grad()
    def evaluate(self, x: Tensor, tensors: Tensors) -> Tensor:
        self.pattern.eval()
        return self._outputs(self._layer_tensors(tensors), x)

    def _layer_tensors(self, tensors: Tensors) -> Tensors:
        """Return the layer's tensors by their names in the module."""
        return {name: tensors[self._prefix + name] for name in self._names}

    def _outputs(self, tensors: Tensors, x: Tensor) -> Tensor:
        if isinstance(self.pattern, RNN):
            # Under vmap, a network cannot check whether its sequences end early.
            self.pattern.padded = self._is_padded
            if self._is_padded is None:
                self.pattern.padded = bool(torch.isnan(x[..., 0]).any())
        if len(x) == 1 and isinstance(self.pattern, TableInputs):
            # vmap would take four times as long.
            tensors = {name: tensor[0] for name, tensor in tensors.items()}
            one: Tensor = functional_call(self.pattern, tensors, (x[0],))
            return one.unsqueeze(0)
        y: Tensor = self._vmapped(tensors, (x,))
        if isinstance(self.pattern, RNN):
            self.pattern.padded = None
        return y


class _LayerTwin(nn.Module):
    """A written-out layer under ``vmap``, named "twin", with the tensors of a module."""

    def __init__(self, layer: Layer, module: nn.Module, n_dims: int = 0) -> None:
        super().__init__()
        self.layer = layer
        self.n_dims = n_dims
        self.original = module if n_dims else None
        for name, parameter in module.named_parameters():
            self.register_parameter(name, parameter)
        # Dropout's mask function, which belongs to a step; results of the last call.
        self.batch = Batch({}, slice(0), {})
        self.called: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.original is not None and x.ndim < self.n_dims:
            return self.original(x)  # type: ignore[no-any-return]
        weights = dict(self.named_parameters(recurse=False)).values()
        y: Tensor = _Called.apply(x, self, False, *weights)  # type: ignore[no-untyped-call]
        return y


class _Called(ByNetwork):
    """x (K, B, ...), a twin, whether networks differ, weights (K, ...) -> y (K, B, ...)."""

    @staticmethod
    def forward(
        x: Tensor,
        twin: _LayerTwin,
        by_network: bool,  # noqa: FBT001
        *weights: Tensor,
    ) -> Tensor:
        if not by_network:
            raise RuntimeError("A layer's input is the same for all networks.")
        names = [f"twin.{name}" for name, _ in twin.named_parameters(recurse=False)]
        tensors = dict(zip(names, weights, strict=True))
        if not twin.training:
            return twin.layer.evaluate(x, tensors)
        # A copy stores the results for the derivatives of this call.
        layer = copy.copy(twin.layer)
        batch = Batch(tensors, twin.batch.networks, {})
        twin.called = layer, batch
        y = layer.forward(x, batch)
        return y.clone() if y is x else y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.called, inputs[1].called = inputs[1].called, None
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> tuple[Tensor | None, ...]:
        layer, batch = ctx.called
        if dy is None:
            return (None,) * (3 + len(batch.tensors))
        layer.first = not ctx.needs_input_grad[0]
        dx = layer.backward(dy, batch, keep=True)
        return dx, None, None, *(batch.gradients[name] for name in batch.tensors)

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, *inputs: Any) -> tuple[Any, Any]:
        return super().vmap(info, in_dims, *inputs[:2], True, *inputs[3:])


class _Normalized(ByNetwork):
    """Batch normalisation of x (K, B, C, ...) in training, network by network.

    It also returns mean and inverse deviation of each channel, (K, C).  vmap would merge
    K * C channels, and torch would sum each in an order that depends on their number.
    """

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = x.contiguous()
        y, means = torch.empty_like(x), x.new_empty(2, len(x), x.shape[2])
        parts = zip(x, *map(_each, (weight, bias), (x, x)), y, *means, strict=True)
        for inputs, w, b, out, mean, inverse in parts:
            outputs = {"out": out, "save_mean": mean, "save_invstd": inverse}
            normalize_into(inputs, w, b, None, None, True, 0.0, eps, **outputs)
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
            outputs = {f"out{number}": tensor for number, tensor in enumerate(out)}
            normalize_into_backward(
                d, inputs, w, None, None, m, i, True, ctx.eps, [True] * 3, **outputs
            )
        return (dx, *(sums if weight is not None else (None, None)), None)


def _each(values: Tensor | None, like: Tensor) -> Any:
    """Return the networks' slices of a tensor, or None for each if it is missing."""
    return [None] * len(like) if values is None else values


class _StackedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of each network by itself."""

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
        weight, bias = self.weight, self.bias
        return functional.batch_norm(x, mean, variance, weight, bias, eps=self.eps)

    def _track(self, mean: Tensor, inverse: Tensor, n: int) -> None:
        if n < 2:
            raise ValueError("Batch normalisation needs more than one sample.")
        buffers: list[Any] = [self.running_mean, self.running_var, self.num_batches_tracked]
        if buffers[0] is None:
            return
        buffers[2].add_(1)
        # 1 / buffers[2] would be rounded to torch's default type.
        cumulative = buffers[2].to(mean.dtype).reciprocal()
        share = cumulative if self.momentum is None else self.momentum
        variance = (inverse.square().reciprocal() - self.eps) * (n / (n - 1))
        buffers[0].add_((mean - buffers[0]) * share)
        buffers[1].add_((variance - buffers[1]) * share)


class _TorchRecurrence(StackedRecurrence):
    """A recurrence with the interface of torch's: (B, T, F) to outputs and last states."""

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
        # The last cell state of an LSTM is missing; a module that needs it trains alone.
        return out, ((hidden, None) if self.is_lstm else hidden)


class _PaddedEmbedding(nn.Module):
    """``nn.Embedding`` with `padding_idx`, which vmap applies to the first network only."""

    def __init__(self, layer: nn.Embedding) -> None:
        super().__init__()
        self.weight = layer.weight
        self._padding = int(layer.padding_idx or 0)
        self._options = (layer.max_norm, layer.norm_type)
        self._flags = (layer.scale_grad_by_freq, layer.sparse)

    def forward(self, x: Tensor) -> Tensor:
        networks = functional.embedding(x, self.weight, None, *self._options, *self._flags)
        is_padding = x.eq(self._padding).unsqueeze(-1)
        # The padding vector is used, but never trained.
        return torch.where(is_padding, networks.detach(), networks)


class _StackedGroupNorm(nn.GroupNorm):
    """``nn.GroupNorm`` that does not query the memory layout, which fails under vmap."""

    def __init__(self, layer: nn.GroupNorm) -> None:
        super().__init__(layer.num_groups, layer.num_channels, layer.eps, affine=False)
        self.affine = layer.affine
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(min(2, x.ndim - 1)).contiguous()).view(x.shape)


def _with_twins(
    module: nn.Module, twins: dict[nn.Module, "_LayerTwin"], *, stacks_cells: bool
) -> None:
    """Replace layers of a module by their twins, in place."""
    for name, child in list(module.named_children()):
        twin = twins.get(child) or _twin(child, stacks_cells=stacks_cells)
        if type(child).__module__ == _ACTIVATIONS and getattr(child, "inplace", False):
            # A twin returns a view, and torch forbids in-place operations on it.
            child.inplace = False  # type: ignore[assignment]
        if twin is child:
            _with_twins(child, twins, stacks_cells=stacks_cells)
        else:
            setattr(module, name, twin)


def _twin(layer: nn.Module, *, stacks_cells: bool) -> nn.Module:
    on_cpu = all(p.device.type == "cpu" for p in layer.parameters())
    if isinstance(layer, nn.Embedding) and type(layer).forward is nn.Embedding.forward:
        return layer if layer.padding_idx is None else _PaddedEmbedding(layer)
    if isinstance(layer, nn.RNNBase):
        return StackedRecurrence(layer) if stacks_cells else _TorchRecurrence(layer)
    geometry = geometry_of(layer)
    if on_cpu and geometry is not None:
        has_bias = layer.bias is not None
        return _LayerTwin(Convolution("twin", geometry, bias=has_bias, first=False), layer)
    if on_cpu and pool_fits(layer):
        n_dims = next(n for n in (1, 2, 3) if pool_fits(layer, n))
        return _LayerTwin(Pooling(layer, first=False), layer, n_dims + 2)
    if type(layer) is nn.GroupNorm:
        return _StackedGroupNorm(layer)
    if (
        on_cpu
        and type(layer) in _BATCH_NORMS
        and None not in {normalize_into, normalize_into_backward}
    ):
        return _StackedBatchNorm(layer)
    return layer
