# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Networks like another, which is faster than to build them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

__all__ = ["empty_copy", "fresh_copy"]

_COPIED = (dict, set)


def empty_copy(module: nn.Module, device: str) -> nn.Module:
    """Return a network like another, for whoever loads weights into it.

    Several times as fast as building one: no layer draws weights, nor checks its arguments.

    Parameters
    ----------
    module : Module
        Of layers that hold their tensors and layers as torch registers them, and nothing
        else that may change but numbers.  It may be on torch's "meta" device.
    device : str
        Of the copy.

    Returns
    -------
    Module
        Its parameters and buffers hold any numbers.
    """
    twin = object.__new__(type(module))
    # Hooks and registers are dicts and sets; a shared one would bind the two.
    own: dict[str, Any] = {
        name: value.copy() if isinstance(value, _COPIED) else value
        for name, value in vars(module).items()
    }
    vars(twin).update(own)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            own["_parameters"][name] = nn.Parameter(
                _empty_like(parameter, device), parameter.requires_grad
            )
    for name, buffer in module._buffers.items():
        if buffer is not None:
            own["_buffers"][name] = _empty_like(buffer, device)
    for name, layer in module._modules.items():
        if layer is not None:
            own["_modules"][name] = empty_copy(layer, device)
    return twin


def fresh_copy(module: nn.Module) -> nn.Module:
    """Return a network like another, with weights as if it had just been built.

    Parameters
    ----------
    module : Module
        As for :func:`empty_copy`, of layers that draw all of their weights in
        ``reset_parameters``, in the order in which they were made.

    Returns
    -------
    Module
        On the CPU.
    """
    twin = empty_copy(module, "cpu")
    for layer in twin.modules():
        draw: Callable[[nn.Module], object] | None = getattr(
            type(layer), "reset_parameters", None
        )
        if draw is not None:
            draw(layer)
    return twin


def _empty_like(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """Return ``torch.empty_like``, which of a meta tensor imports sympy first."""
    return torch.empty_strided(
        tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device
    )
