# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Recurrent layers with different weights, run through time together.

Under ``vmap``, K networks call :class:`StackedRecurrence` once; their steps then become
batched matrix products over K networks, where torch's layers have no batching rule.
Forward and backward are loops over time without autograd, over buffers with

- time outermost, so that each step reads and writes contiguous memory, and
- the batch innermost, so that a gate of all units is contiguous and one product,
  ``weight @ step``, computes all gates of a step.

A step is ``[x; 1; h]``, with the state before the step, and a row of 1 for the biases.
After the end of its sequence, a state is multiplied by zero; that also makes a backward
direction start at the last step of each sequence.

Cells are those of ``torch.nn.GRU``, ``LSTM`` and ``RNN``, equation for equation.

Notation: K networks, B sequences of a network's batch, T steps, F features, H units, N
gates of a step, D = F + 1 + H.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sk_tune._compat.torch_names import sigmoid_backward, tanh_backward, threshold_backward
from sk_tune._fleets._layers import networks_first

# A tensor, because a Python number would be converted in each call.
_MINUS_ONE = torch.tensor(-1.0, device="cpu")


class StackedRecurrence(nn.Module):
    """A recurrent layer that ``torch.func.vmap`` can batch over its weights.

    It shares the parameters, and their names, of a GRU, LSTM or RNN of one layer, in one or
    two directions, with biases and with ``batch_first=True``; ValueError for others.

    Gradients must be taken outside of ``vmap``, as in
    ``torch.autograd.grad(vmap(loss)(parameters, x, y).sum(), parameters.values())``; inside
    of it, and for second derivatives, they are not supported.
    """

    def __init__(self, recurrence: nn.RNNBase) -> None:
        super().__init__()
        self.cell = _check_cell(recurrence)
        self.suffixes = ("", "_reverse") if recurrence.bidirectional else ("",)
        for name, parameter in recurrence.named_parameters():
            self.register_parameter(name, parameter)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Map sequences, (B, T, F), to the states of all steps, (B, T, H) or (B, T, 2H).

        States after the end of a sequence, at `lengths`, (B,), are zero. Do not change the
        result in place: the backward pass reads it, too.
        """
        # The second direction is one more network, which reads its sequences backwards.
        is_two = len(self.suffixes) == 2
        xs, masks = torch.stack([x, x.flip(1)]) if is_two else x.unsqueeze(0), None
        if lengths is not None:
            steps = torch.arange(x.shape[1], device=x.device)
            mask = (steps < lengths.unsqueeze(1)).to(x.dtype)
            masks = torch.stack([mask, mask.flip(1)]) if is_two else mask.unsqueeze(0)
        weights = (
            torch.stack([getattr(self, f"{name}_l0{suffix}") for suffix in self.suffixes])
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        h: Tensor = _Recurrence.apply(self.cell, xs, masks, *weights)[0]  # type: ignore[no-untyped-call]
        states = h[:, 0]
        if is_two:
            states = torch.cat([states, h[:, 1].flip(0)], dim=1)
        return states.permute(2, 0, 1)


def _check_cell(recurrence: nn.RNNBase) -> "type[_Cell]":
    """Return the cell of a layer; raise ValueError without an equivalent here."""
    required = {"num_layers": 1, "batch_first": True, "proj_size": 0, "bias": True}
    for name, value in {**required, "dropout": 0}.items():
        if getattr(recurrence, name) != value:
            raise ValueError(
                f"The recurrence must have {name}={value!r}; got "
                f"{name}={getattr(recurrence, name)!r}."
            )
    return _CELLS[recurrence.mode]


class _Recurrence(torch.autograd.Function):
    """States (T, K, H, B) of K networks, and tensors for backward.

    Takes a cell, x (K, B, T, F), a mask (K, B, T) or None, and torch's parameters with a
    leading K.
    """

    @staticmethod
    def forward(
        cell: "type[_Cell]",
        x: Tensor,
        mask: Tensor | None,
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Tensor,
        b_hh: Tensor,
    ) -> tuple[Tensor, ...]:
        n_networks, n_batch, n_steps, n_features = x.shape
        n_units = w_hh.shape[2]
        weight = _pack(cell, w_ih, w_hh, b_ih, b_hh)
        shape = (n_networks, n_units, n_batch)
        gates = x.new_empty(n_steps, n_networks, cell.n_blocks, n_units, n_batch)
        states = x.new_empty(cell.n_states, n_steps + 1, *shape)
        states[:, 0] = 0
        steps = x.new_empty(n_steps + 1, n_networks, weight.shape[2], n_batch)
        steps[:-1, :, :n_features] = x.permute(2, 0, 3, 1)
        steps[:, :, n_features] = 1
        hidden = steps[:, :, n_features + 1 :]
        hidden[0] = 0
        run = cell(hidden, gates, states, mask)
        products = gates.flatten(2, 3).unbind()
        for t, (step, product) in enumerate(zip(steps, products, strict=False)):
            torch.bmm(weight, step, out=product)
            run.forward(t)
        return hidden[1:], weight, steps, gates, states

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]
    ) -> None:
        cell, x, mask, *_ = inputs
        ctx.cell, ctx.n_features = cell, x.shape[3]
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(mask, *output[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * len(ctx.needs_input_grad)
        mask, weight, steps, gates, states = ctx.saved_tensors
        cell, n_features = ctx.cell, ctx.n_features
        n_steps, n_networks, _blocks, n_units, n_batch = gates.shape
        run = cell(steps[:, :, n_features + 1 :], gates, states, mask)
        grad_weight = torch.zeros_like(weight)
        n_hidden = len(cell.hidden_blocks) * n_units
        to_h = weight[:, :n_hidden, n_features + 1 :].mT
        to_x = weight[:, :, :n_features].mT
        grad_x = None
        if ctx.needs_input_grad[1]:
            grad_x = grad.new_empty(n_steps, n_networks, n_features, n_batch)
        # Incoming gradients: of the states before the steps, and of the last state.
        outside = (grad.new_zeros(()), *grad.unbind())
        after, previous = grad.new_empty(2, n_networks, n_units, n_batch).unbind()
        after.copy_(outside[-1])
        product, rights = run.grad.flatten(1, 2), steps.mT.unbind()
        hidden_product = product[:, :n_hidden]
        for t in reversed(range(n_steps)):
            run.backward(t, after, previous.copy_(outside[t]))
            previous.baddbmm_(to_h, hidden_product)
            after, previous = previous, after
            grad_weight.baddbmm_(product, rights[t])
            if grad_x is not None:
                torch.bmm(to_x, product, out=grad_x[t])
        if grad_x is not None:
            grad_x = grad_x.permute(1, 3, 0, 2)
        return None, grad_x, None, *_unpack(cell, grad_weight, n_features)

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        cell: "type[_Cell]",
        *tensors: Tensor | None,
    ) -> tuple[tuple[Tensor, ...], tuple[int | None, ...]]:
        """Merge the mapped dimension into K."""
        leading = [
            None if tensor is None else tensor.flatten(0, 1)
            for tensor in networks_first(info, in_dims[1:], tensors)
        ]
        h, *saved = _Recurrence.apply(cell, *leading)  # type: ignore[no-untyped-call]
        # The caller uses the states only; saved tensors belong to the call above.
        h = h.view(len(h), info.batch_size, -1, *h.shape[2:])
        return (h, *saved), (1, *(None for _ in saved))


def _pack(
    cell: "type[_Cell]", w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> Tensor:
    """Return the matrices (K, N * H, D) that map a step to its gates."""
    n_networks, _, n_features = w_ih.shape
    n_units = w_hh.shape[2]
    weight = w_ih.new_zeros(n_networks, cell.n_blocks, n_units, n_features + 1 + n_units)
    gates = (n_networks, -1, n_units)
    weight[:, cell.input_blocks, :, :n_features] = w_ih.reshape(*gates, n_features)
    weight[:, cell.input_blocks, :, n_features] = b_ih.reshape(gates)
    weight[:, cell.hidden_blocks, :, n_features] += b_hh.reshape(gates)
    weight[:, cell.hidden_blocks, :, n_features + 1 :] = w_hh.reshape(*gates, n_units)
    return weight.flatten(1, 2)


def _unpack(cell: "type[_Cell]", grad: Tensor, n_features: int) -> tuple[Tensor, ...]:
    """Return the gradients of the arguments of :func:`_pack`, given its result's."""
    grad = grad.view(len(grad), cell.n_blocks, -1, grad.shape[2])
    by_input, by_hidden = grad[:, cell.input_blocks], grad[:, cell.hidden_blocks]
    return (
        by_input[..., :n_features].flatten(1, 2),
        by_hidden[..., n_features + 1 :].flatten(1, 2),
        by_input[..., n_features].flatten(1, 2),
        by_hidden[..., n_features].flatten(1, 2),
    )


class _Cell:
    """Computes the gates of a step and the state after it, forward and backward.

    `hidden`, (T + 1, K, H, B), are the states before and after each step; `gates`, (T, K,
    N, H, B), products of the steps, which become the gates in place; `states`, (n_states, T
    + 1, K, H, B), further states of a cell; `mask`, (K, B, T), zero after the end of a
    sequence; `grad`, (K, N, H, B), the gradient of the products of the last step passed to
    :meth:`backward`.
    """

    n_blocks: ClassVar[int]
    n_states: ClassVar[int] = 0
    # Positions of the input's and the state's block for each of torch's gates; the blocks
    # of the state come first.
    input_blocks: ClassVar[list[int]]
    hidden_blocks: ClassVar[list[int]]

    def __init__(
        self, hidden: Tensor, gates: Tensor, states: Tensor, mask: Tensor | None
    ) -> None:
        self.hidden = hidden.unbind()
        self.masks: tuple[Tensor, ...] | None = None
        if mask is not None:
            self.masks = mask.permute(2, 0, 1).unsqueeze(2).contiguous().unbind()
        self.grad = gates.new_empty(gates.shape[1:])
        self.blocks = self.grad.unbind(1)
        self.take(gates, states)

    def take(self, gates: Tensor, states: Tensor) -> None:
        """Make the views that the steps use."""
        raise NotImplementedError

    def mask(self, values: Tensor, t: int) -> None:
        """Zero values, (K, H, B), of sequences that end before step `t`."""
        if self.masks is not None:
            values.mul_(self.masks[t])

    def forward(self, t: int) -> None:
        """Advance step `t` from its products to the next state."""
        raise NotImplementedError

    def backward(self, t: int, grad: Tensor, grad_before: Tensor) -> None:
        """Set `self.grad`, and add to `grad_before` the gradient that bypasses it.

        Steps t run from the last to the first. `grad`, (K, H, B), is the gradient of the
        state after the step, and may be overwritten; `grad_before` of the state before it.
        """
        raise NotImplementedError


class _GRU(_Cell):
    """n = tanh(x_n + r * h_n), h' = n + z * (h - n), with blocks h_n, r, z, x_n."""

    n_blocks = 4
    input_blocks: ClassVar = [1, 2, 3]
    hidden_blocks: ClassVar = [1, 2, 0]

    def take(self, gates: Tensor, states: Tensor) -> None:
        self.h_n, self.r, self.z, self.n = (block.unbind() for block in gates.unbind(2))
        self.rz = gates[:, :, 1:3].unbind()
        self.grad_rz = self.grad[:, 1:3]

    def forward(self, t: int) -> None:
        self.rz[t].sigmoid_()
        n = self.n[t].addcmul_(self.r[t], self.h_n[t])
        _tanh(n, out=n)
        h = torch.lerp(n, self.hidden[t], self.z[t], out=self.hidden[t + 1])
        self.mask(h, t)

    def backward(self, t: int, grad: Tensor, grad_before: Tensor) -> None:
        z, n, rz = self.z[t], self.n[t], self.rz[t]
        d_h_n, d_r, d_z, d_n = self.blocks
        self.mask(grad, t)
        grad_before.addcmul_(grad, z)
        torch.sub(self.hidden[t], n, out=d_z).mul_(grad)
        torch.addcmul(grad, grad, z, value=-1, out=d_n)
        tanh_backward(d_n, n, grad_input=d_n)
        torch.mul(d_n, self.r[t], out=d_h_n)
        torch.mul(d_n, self.h_n[t], out=d_r)
        sigmoid_backward(self.grad_rz, rz, grad_input=self.grad_rz)


class _LSTM(_Cell):
    """c' = f * c + i * g, h' = o * tanh(c'), blocks g, i, f, o, states c, tanh(c)."""

    n_blocks = 4
    n_states = 2
    input_blocks: ClassVar = [1, 2, 0, 3]
    hidden_blocks: ClassVar = [1, 2, 0, 3]

    def take(self, gates: Tensor, states: Tensor) -> None:
        self.g, self.i, self.f, self.o = (block.unbind() for block in gates.unbind(2))
        self.ifo = gates[:, :, 1:].unbind()
        self.c, self.tanh_c = (state.unbind() for state in states)
        self.grad_ifo = self.grad[:, 1:]
        self.grad_c = torch.zeros_like(self.c[0])

    def forward(self, t: int) -> None:
        self.ifo[t].sigmoid_()
        c = torch.mul(self.f[t], self.c[t], out=self.c[t + 1])
        c.addcmul_(self.i[t], _tanh(self.g[t], out=self.g[t]))
        self.mask(c, t)
        _tanh(c, out=self.tanh_c[t + 1])
        torch.mul(self.o[t], self.tanh_c[t + 1], out=self.hidden[t + 1])

    def backward(self, t: int, grad: Tensor, grad_before: Tensor) -> None:
        g, tanh_c, grad_c = self.g[t], self.tanh_c[t + 1], self.grad_c
        d_g, d_i, d_f, d_o = self.blocks
        torch.mul(grad, tanh_c, out=d_o)
        grad_c.add_(tanh_backward(grad.mul_(self.o[t]), tanh_c, grad_input=grad))
        self.mask(grad_c, t)
        torch.mul(grad_c, g, out=d_i)
        torch.mul(grad_c, self.c[t], out=d_f)
        sigmoid_backward(self.grad_ifo, self.ifo[t], grad_input=self.grad_ifo)
        torch.mul(grad_c, self.i[t], out=d_g)
        tanh_backward(d_g, g, grad_input=d_g)
        grad_c.mul_(self.f[t])


class _TanhRNN(_Cell):
    """h' = tanh(a)."""

    n_blocks = 1
    input_blocks: ClassVar = [0]
    hidden_blocks: ClassVar = [0]

    def take(self, gates: Tensor, states: Tensor) -> None:
        self.a = gates[:, :, 0].unbind()

    def forward(self, t: int) -> None:
        self.mask(_tanh(self.a[t], out=self.hidden[t + 1]), t)

    def backward(self, t: int, grad: Tensor, grad_before: Tensor) -> None:
        self.mask(grad, t)
        tanh_backward(grad, self.hidden[t + 1], grad_input=self.blocks[0])


class _ReluRNN(_TanhRNN):
    """h' = max(a, 0)."""

    def forward(self, t: int) -> None:
        self.mask(torch.clamp_min(self.a[t], 0, out=self.hidden[t + 1]), t)

    def backward(self, t: int, grad: Tensor, grad_before: Tensor) -> None:
        self.mask(grad, t)
        threshold_backward(grad, self.hidden[t + 1], 0, grad_input=self.blocks[0])


def _tanh(a: Tensor, out: Tensor) -> Tensor:
    """Write tanh(a) to `out`, which may be `a`, and return it."""
    if not a.is_cpu:
        return torch.tanh(a, out=out)
    # 2 sigmoid(2a) - 1, within rounding of 1: torch's tanh takes twice as long.
    torch.add(a, a, out=out).sigmoid_()
    return torch.add(_MINUS_ONE, out, alpha=2, out=out)


_CELLS: dict[str, type[_Cell]] = {
    "GRU": _GRU,
    "LSTM": _LSTM,
    "RNN_TANH": _TanhRNN,
    "RNN_RELU": _ReluRNN,
}
