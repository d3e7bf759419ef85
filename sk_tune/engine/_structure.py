# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Whether networks that a user's code built can run as one program.

A fleet runs one module for all of its rows, so that everything but weights and dropout
probabilities must be equal in them.
"""

from typing import Any

from torch import nn

from sk_tune.engine.fleet import is_torch_dropout
from sk_tune.nets import attributes_key

__all__ = ["has_hooks", "loose_layers", "module_structure"]

_PRIVATE = frozenset(vars(nn.Module()))
_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_post_accumulate_grad_hooks",
)
# Twins of layers in a fleet hold what belongs to the batch at hand.
_OWN = "sk_tune.engine."


def module_structure(module: nn.Module) -> tuple[Any, ...]:
    """Return a key that is equal for networks that differ in weights and dropout only.

    Types, shapes and attributes of all layers.  Of layers in plain lists, which are not
    trained and not copied with the weights, the values as well.
    """
    known = frozenset(map(id, module.modules()))
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


def has_hooks(module: nn.Module) -> bool:
    """Return whether a network has hooks of layers or parameters, which call other code."""
    parts = [*module.modules(), *module.parameters()]
    return any(getattr(part, name, None) for part in parts for name in _HOOKS)


def loose_layers(module: nn.Module) -> int:
    """Return how many layers are in plain lists or dicts, but no part of a module."""
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
    varies = frozenset({"p"}) if is_torch_dropout(layer) else frozenset()
    return attributes_key(layer, known, varies)
