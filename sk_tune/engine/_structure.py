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

__all__ = ["has_hooks", "loose_layers", "module_structure", "tensor_values"]

# What torch keeps for itself; recurrent layers hold their weights a second time.
_PRIVATE = frozenset(vars(nn.Module())) | {"_flat_weights", "_flat_weight_refs"}
_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_post_accumulate_grad_hooks",
)
# Twins of layers in a fleet hold what belongs to the batch at hand.
_OWN = "sk_tune.engine."


def module_structure(
    module: nn.Module, known: frozenset[int] = frozenset()
) -> tuple[Any, ...]:
    """Return a key that is equal for networks that differ in weights and dropout only.

    Parameters
    ----------
    module : Module
        Any.
    known : frozenset of int, default=frozenset()
        Identities of modules that are told already.

    Returns
    -------
    tuple
        Hashable; types, shapes and attributes of all layers.  Of layers in plain lists,
        which are not trained and not copied with the weights, the values as well.
    """
    known = known | {id(layer) for layer in module.modules()}
    layers = tuple(
        (name, type(layer), _attributes(layer, known))
        for name, layer in module.named_modules()
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


def loose_layers(module: nn.Module) -> int:
    """Return how many layers are in plain lists or dicts, but no part of a module.

    Parameters
    ----------
    module : Module
        Any.

    Returns
    -------
    int
        Of all layers' attributes.
    """
    known = {id(layer) for layer in module.modules()}
    values = [v for m in module.modules() for n, v in vars(m).items() if n not in _PRIVATE]
    found = 0
    while values:
        value = values.pop()
        if isinstance(value, dict):
            values.extend(value.values())
        elif isinstance(value, list | tuple):
            values.extend(value)
        elif isinstance(value, nn.Module):
            found += id(value) not in known
    return found


def _attributes(layer: nn.Module, known: frozenset[int]) -> tuple[Any, ...]:
    if type(layer).__module__.startswith(_OWN):
        return ()
    varies = {"p"} if is_torch_dropout(layer) else set()
    return tuple(
        (name, _key(value, known))
        for name, value in sorted(vars(layer).items())
        if name not in _PRIVATE and name not in varies
    )


def _key(value: Any, known: frozenset[int] = frozenset()) -> Any:
    """Return something hashable that is equal for equal values."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().contiguous()
        # As bytes, because numpy lacks some of torch's types.
        own = (
            value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
        )
        return (tuple(value.shape), str(value.dtype), hashlib.sha256(own).hexdigest())
    if isinstance(value, np.ndarray):
        data = np.ascontiguousarray(value).tobytes()
        return (value.shape, value.dtype.str, hashlib.sha256(data).hexdigest())
    if isinstance(value, list | tuple):
        return (type(value), *(_key(own, known) for own in value))
    if isinstance(value, dict):
        return (dict, *((key, _key(own, known)) for key, own in value.items()))
    if isinstance(value, nn.Module) and id(value) not in known:
        return (type(value), module_structure(value, known), tensor_values(value))
    if isinstance(value, nn.Module | torch.Generator):
        return type(value)
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value
