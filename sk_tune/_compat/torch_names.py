# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""torch: undocumented operators and attributes, each tried once at import.

If a release changes one of them, documented functions compute the same more slowly, and a
warning says so.  Operators without such a function are then None, and callers take
another path.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sk_tune._warnings import warn_user
from sk_tune.exceptions import ReleaseWarning

_HOOKS = (
    *("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"),
    "_post_accumulate_grad_hooks",
)


def has_hooks(module: nn.Module) -> bool:
    """Return whether layers or parameters of a network have hooks."""
    parts = [*module.modules(), *module.parameters()]
    return any(getattr(part, name, None) for part in parts for name in _HOOKS)


def _named(operators: Any, name: str, overload: str) -> Any:
    """Return an operator of torch by name; None if it does not exist."""
    return getattr(getattr(operators, name, None), overload, None)


def _found(
    name: str, overload: str, instead: Callable[..., Any], *args: Any, **options: Any
) -> Callable[..., Any]:
    """Return an operator of torch if it takes the arguments, else `instead`."""
    try:
        operator: Callable[..., Any] = _named(torch.ops.aten, name, overload)
        operator(*args, **options)
    except (RuntimeError, TypeError) as error:
        warn_user(
            f"torch {torch.__version__} changed {name} ({error}). Some networks train "
            "more slowly.",
            ReleaseWarning,
        )
        return instead
    return operator


def _convolution_backward(
    dy: Tensor, x: Tensor, weight: Tensor, bias_sizes: list[int], *geometry: Any
) -> list[Tensor | None]:
    """Return the requested derivatives of x, weight and bias, by autograd."""
    *settings, mask = geometry
    with torch.enable_grad():
        inputs = (x, weight, x.new_zeros(bias_sizes))
        leaves: list[Any] = [tensor.detach().requires_grad_() for tensor in inputs]
        y = torch.convolution(*leaves, *settings)
    requested = [leaf for leaf, needed in zip(leaves, mask, strict=True) if needed]
    gradients = iter(torch.autograd.grad(y, requested, dy))
    return [next(gradients) if needed else None for needed in mask]


_ONE = torch.ones(1, device="cpu")
_ARGUMENTS: dict[str, Any] = {"grad_input": _ONE.clone()}
tanh_backward = _found(
    "tanh_backward",
    "grad_input",
    lambda grad, y, *, grad_input: torch.mul(grad, 1 - y * y, out=grad_input),
    *(_ONE, _ONE),
    **_ARGUMENTS,
)
sigmoid_backward = _found(
    "sigmoid_backward",
    "grad_input",
    lambda grad, y, *, grad_input: torch.mul(grad, y * (1 - y), out=grad_input),
    *(_ONE, _ONE),
    **_ARGUMENTS,
)
threshold_backward = _found(
    "threshold_backward",
    "grad_input",
    lambda grad, x, least, *, grad_input: torch.mul(grad, x > least, out=grad_input),
    *(_ONE, _ONE, 0),
    **_ARGUMENTS,
)
_KERNELS = _ONE.view(1, 1, 1, 1)
convolution_backward = _found(
    "convolution_backward",
    "default",
    _convolution_backward,
    # One sample, because two would start torch's threads at import.
    *(_KERNELS, _KERNELS, _KERNELS, [1]),
    *([1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True] * 3),
)
# These write into existing tensors.
normalize_into = _named(torch.ops.aten, "native_batch_norm", "out")
normalize_into_backward = _named(torch.ops.aten, "native_batch_norm_backward", "out")
# Optimizer steps with one pass over memory; the tensor form needs eight.
fused_steps: dict[str, Any] = {
    name: getattr(torch, f"_fused_{name}_", None) for name in ("adam", "adamw")
}
# oneDNN's linear layer.
pointwise_linear = _named(torch.ops.mkldnn, "_linear_pointwise", "default")
