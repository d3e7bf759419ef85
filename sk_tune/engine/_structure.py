# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Whether networks that a user's code built can run as one program.

A fleet runs one module for all of its rows, so that everything but weights and dropout
probabilities must be equal in them.
"""

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sk_tune.engine.fleet import is_torch_dropout

__all__ = ["has_hooks", "module_structure", "tensor_values"]

# What torch keeps for itself; recurrent layers hold their weights a second time.
_PRIVATE = frozenset(vars(nn.Module())) | {"_flat_weights", "_flat_weight_refs"}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
# Twins of layers in a fleet hold what belongs to the batch at hand.
_OWN = "sk_tune.engine."


def module_structure(module: nn.Module) -> tuple[Any, ...]:
    """Return a key that is equal for networks that differ in weights and dropout only.

    Parameters
    ----------
    module : Module
        Any.

    Returns
    -------
    tuple
        Hashable; types, shapes and attributes of all layers.
    """
    layers = tuple(
        (name, type(layer), _attributes(layer)) for name, layer in module.named_modules()
    )
    tensors = tuple(
        (name, tuple(t.shape), t.dtype, t.requires_grad)
        for part in (module.named_parameters(), module.named_buffers())
        for name, t in part
    )
    return layers, tensors


def tensor_values(module: nn.Module) -> tuple[Any, ...]:
    """Return a key that is equal for modules whose buffers and parameters are equal.

    Parameters
    ----------
    module : Module
        Any.

    Returns
    -------
    tuple
        Hashable; names and values.
    """
    return tuple(
        (name, _key(tensor))
        for part in (module.named_parameters(), module.named_buffers())
        for name, tensor in part
    )


def has_hooks(module: nn.Module) -> bool:
    """Return whether code of others is called when a network runs.

    Parameters
    ----------
    module : Module
        Any.

    Returns
    -------
    bool
        True for hooks of layers and of parameters.
    """
    parts = [*module.modules(), *module.parameters()]
    return any(getattr(part, name, None) for part in parts for name in _HOOKS)


def _attributes(layer: nn.Module) -> tuple[Any, ...]:
    if type(layer).__module__.startswith(_OWN):
        return ()
    varies = {"p"} if is_torch_dropout(layer) else set()
    return tuple(
        (name, _key(value))
        for name, value in sorted(vars(layer).items())
        if name not in _PRIVATE and name not in varies
    )


def _key(value: Any) -> Any:
    """Return something hashable that is equal for equal values."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        data = np.ascontiguousarray(value).tobytes()
        return (value.shape, value.dtype.str, hashlib.sha256(data).hexdigest())
    if isinstance(value, list | tuple):
        return (type(value), *map(_key, value))
    if isinstance(value, dict):
        return (dict, *((key, _key(own)) for key, own in value.items()))
    if isinstance(value, nn.Module | torch.Generator):
        return type(value)
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value
