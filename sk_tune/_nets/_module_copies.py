# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Copies of modules, and keys that detect changes of modules.

A ``state_dict`` lacks non-persistent buffers, counters, arrays, random generators and any
other attributes that code sets on a module or its objects.
"""

import copy
import hashlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from sk_tune._nets._cnn import CNN
from sk_tune._nets._mlp import MLP
from sk_tune._nets._rnn import RNN

# Attributes of every torch module; recurrent layers also store weights in attributes.
_PRIVATE = frozenset(vars(nn.Module())) | {"_flat_weights", "_flat_weight_refs"}
_PLAIN = (bool, int, float, complex, str, bytes, type, ModuleType, BuiltinFunctionType)
# Number of objects that a key reads in depth; further objects count by identity.
_MOST_OBJECTS = 10_000


def loose_state(module: nn.Module) -> tuple[Any, ...]:
    """Return a key of the attributes and non-persistent buffers of all layers."""
    saved = module.state_dict(keep_vars=True)
    keyed_ids = frozenset(map(id, [*module.modules(), *saved.values()]))
    # Python warns that iterators will no longer be copyable.
    with warnings.catch_warnings(action="ignore"):
        layers = tuple(
            (name, type(layer), attributes_key(layer, keyed_ids))
            for name, layer in module.named_modules()
        )
        buffers = tuple(
            (name, _tensor_key(buffer))
            for name, buffer in module.named_buffers()
            if name not in saved
        )
    return layers, buffers


def attributes_key(
    layer: nn.Module, known: frozenset[int], without: frozenset[str] = frozenset()
) -> tuple[Any, ...]:
    """Return a key of the attributes that code has set on a layer, without its sublayers.

    Objects with ids in `known` count by type only, because another key has their content.
    """
    keys = []
    for name, value in sorted(vars(layer).items()):
        if name not in _PRIVATE and name not in without:
            try:
                key = _AttributeReader(known).key(value)
            except RecursionError:
                # The value is too deeply nested.
                key = _identity(value)
            keys.append((name, key))
    return tuple(keys)


def tensor_values(module: nn.Module) -> tuple[Any, ...]:
    """Return a key that is equal for modules with equal buffers and parameters."""
    return tuple(
        (name, _tensor_key(tensor))
        for part in (module.named_parameters(), module.named_buffers())
        for name, tensor in part
    )


def independent_copy(module: nn.Module) -> nn.Module:
    """Return a copy on the CPU, without graphs and uncopiable attributes."""
    results = {
        id(value): value.detach().clone()
        for value in added_attributes(module)
        if isinstance(value, Tensor) and value.grad_fn is not None
    }
    try:
        return copy.deepcopy(module, dict(results)).cpu()
    except Exception:  # noqa: BLE001 - any error of an object that cannot be copied
        placeholders = {
            id(v): _Missing for v in added_attributes(module) if not _is_copyable(v)
        }
        return copy.deepcopy(module, {**placeholders, **results}).cpu()


@contextmanager
def unchanged_tensors(module: nn.Module) -> Iterator[None]:
    """Undo changes by forward passes, such as ``nn.Embedding(max_norm=...)`` makes."""
    if isinstance(module, MLP | CNN | RNN):
        # In evaluation mode their forward pass has no side effects.
        yield
        return
    values = [
        (layer, name, tensor, tensor.detach().clone())
        for layer in module.modules()
        for part in (layer.named_parameters, layer.named_buffers)
        for name, tensor in part(recurse=False)
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for layer, name, tensor, value in values:
                tensor.copy_(value)
                if getattr(layer, name) is not tensor:
                    setattr(layer, name, tensor)


def with_parameters_of(fresh: nn.Module, trained: nn.Module) -> nn.Module:
    """Return a copy of a trained module that uses the parameter objects of a fresh module.

    An optimizer built for `fresh` thus refers to the trained values. Attributes that could
    not be copied come from `fresh`, as does the device.
    """
    parameters = dict(fresh.named_parameters())
    memo: dict[int, Any] = {}
    for name, p in trained.named_parameters():
        if name not in parameters:
            continue
        twin = memo[id(p)] = parameters[name]
        if isinstance(twin, UninitializedParameter):
            # Changed in place, because the optimizer of the fresh module refers to it.
            twin.materialize(p.shape)
    copied = copy.deepcopy(trained, memo)
    layers = dict(fresh.named_modules())
    for name, layer in copied.named_modules():
        for attribute, value in vars(layer).items():
            if value is _Missing:
                vars(layer)[attribute] = getattr(layers.get(name), attribute, None)
    copied.load_state_dict(trained.state_dict())
    return copied.to(next((p.device for p in parameters.values()), None))


class _Missing:
    """Placeholder of an attribute that a copy lacks; deepcopy keeps classes unchanged."""


def added_attributes(module: nn.Module) -> list[Any]:
    """Return the values of attributes that code has set on layers."""
    return [
        value
        for layer in module.modules()
        for name, value in vars(layer).items()
        if name not in _PRIVATE
    ]


def _is_copyable(value: Any) -> bool:
    try:
        copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - any error of its class
        return False
    return True


class _AttributeReader:
    """Makes a key of a value and, recursively, of its readable contents."""

    def __init__(self, keyed_ids: frozenset[int]) -> None:
        self._keyed_ids = keyed_ids
        self._parents: set[int] = set()
        self._n_left = _MOST_OBJECTS

    def key(self, value: Any) -> Any:
        kind: Any = type(value)
        if value is None or isinstance(value, _PLAIN):
            return value
        if id(value) in self._keyed_ids or id(value) in self._parents:
            return kind
        if isinstance(value, Tensor):
            return _tensor_key(value)
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return (value.shape, value.dtype.str, _digest(value))
        if isinstance(value, torch.Generator):
            return (kind, value.get_state().numpy().tobytes())
        if self._n_left < 1:
            return _identity(value)
        self._n_left -= 1
        self._parents.add(id(value))
        try:
            return self._parts(value, kind)
        finally:
            self._parents.discard(id(value))

    def _parts(self, value: Any, kind: Any) -> Any:
        if isinstance(value, list | tuple):
            return (kind, *map(self.key, value))
        if isinstance(value, Mapping):
            return (kind, *((name, self.key(item)) for name, item in value.items()))
        if isinstance(value, set | frozenset):
            return (kind, frozenset(map(self.key, value)))
        if isinstance(value, FunctionType):
            content: list[Any] = [value.__defaults__, value.__kwdefaults__, vars(value)]
            for cell in value.__closure__ or ():
                with suppress(ValueError):  # The cell is empty.
                    content.append(cell.cell_contents)
            return (kind, value.__code__, *map(self.key, content))
        if isinstance(value, nn.Module):
            return (kind, loose_state(value), tensor_values(value))
        try:
            parts = value.__reduce_ex__(4)
        except Exception:  # noqa: BLE001 - a lock, a file, any error of a class
            return _identity(value)
        if isinstance(parts, str):
            return _identity(value)
        make, arguments, state, *items = (*parts, None)[:5]
        content = [list(part) for part in items if part is not None]
        return (kind, *map(self.key, (make, arguments, state, content)))


def _tensor_key(tensor: Tensor) -> Any:
    if tensor.grad_fn is not None:
        # A result of a forward pass, with a graph: only its form counts.
        return (tuple(tensor.shape), str(tensor.dtype))
    tensor = tensor.detach().cpu().contiguous()
    # As bytes, because numpy lacks some of torch's types.
    data = tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else np.empty(0)
    return (tuple(tensor.shape), str(tensor.dtype), _digest(data))


def _digest(array: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _identity(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value
