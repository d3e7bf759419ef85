# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The structure of a module: everything except weights, and facts that follow from it."""

from typing import Any

from torch import Tensor, nn

from sk_tune._fleets._masks import is_torch_dropout
from sk_tune._nets import SeededDropout, attributes_key

# Most structures in the cache.
_MOST_CACHED = 256
_CACHE: dict[Any, Any] = {}


def cached(
    make: Any, module: nn.Module, X: Tensor, *, predicts: bool, content: bytes = b""
) -> Any:
    """Return ``make(module, X, predicts=...)``, computed once for each structure."""
    like = (X.shape[1:], X.dtype, str(X.device), content)
    key = (make, type(module), module_structure(module), like, predicts)
    if key not in _CACHE:
        if len(_CACHE) >= _MOST_CACHED:
            _CACHE.clear()
        _CACHE[key] = make(module, X, predicts=predicts)
    return _CACHE[key]


def module_structure(module: nn.Module) -> tuple[Any, ...]:
    """Return a key that is equal for networks that differ only in weights and dropout."""
    layer_ids = frozenset(map(id, module.modules()))
    layers = []
    for name, layer in module.named_modules():
        attributes: tuple[Any, ...] = ()
        # Replacements of layers in a fleet hold the state of the current batch.
        if not type(layer).__module__.startswith("sk_tune._fleets."):
            is_dropout = isinstance(layer, SeededDropout) or is_torch_dropout(layer)
            varies = frozenset({"p", "seed", "step"} if is_dropout else ())
            attributes = attributes_key(layer, layer_ids, varies)
        layers.append((name, type(layer), attributes))
    tensors = tuple(
        (name, tuple(t.shape), t.stride(), t.dtype, t.requires_grad)
        for part in (module.named_parameters(), module.named_buffers())
        for name, t in part
    )
    return tuple(layers), tensors
