# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Which way networks are trained, and why no faster one.

Of four ways, the fastest that can carry a network is taken: the kernel, layers with
derivatives written out, ``torch.func.vmap``, and alone.  What follows from a module and
the shape of its inputs is found once and remembered.
"""

import copy
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sk_tune._compat.torch_names import has_hooks
from sk_tune.fleets._kernel import carried_layers, n_products
from sk_tune.fleets._masks import is_torch_dropout, orders_in_memory
from sk_tune.fleets._module_layer import ModuleLayer
from sk_tune.fleets._program import Program
from sk_tune.fleets._recipe import FleetNetwork, Recipe
from sk_tune.fleets._traced import Chain, chain_of
from sk_tune.nets import (
    CNN,
    MLP,
    RNN,
    SeededDropout,
    added_attributes,
    attributes_key,
    loose_state,
)
from sk_tune.training import forked_rng

_LOGGER = logging.getLogger(__name__)
# Samples among which to look for two on which a module is tried.
N_TRIED = 1024
# Signatures that are remembered.
_MOST_KNOWN = 256
_WORDS = {
    "kernel": "by the kernel",
    "layers": "by layers with derivatives written out",
    "vmap": "by torch.func.vmap",
    "alone": "alone",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which way networks like one are trained, and why no faster one.

    `n_products` are the multiplications by weights, forward, of a sample; the kernel's are
    known.

    >>> print(Plan(way="alone", reason="its module has hooks"))
    alone, because its module has hooks
    """

    way: Literal["kernel", "layers", "vmap", "alone"]
    reason: str = ""
    n_products: int = field(default=0, compare=False)

    def __str__(self) -> str:
        because = f", because {self.reason}" if self.reason else ""
        return _WORDS[self.way] + because


def plan(
    module: nn.Module,
    X: Tensor,
    network: FleetNetwork | None = None,
    recipe: Recipe | None = None,
    *,
    predicts: bool = False,
) -> Plan:
    """Return which way networks with such a module and such inputs are trained.

    Whether the kernel carries them depends on the data and the settings of `network`, and
    on its `recipe`, too; without them, nothing is said of it. `predicts` says that the
    networks only predict. The module, which is tried on some samples, is not changed.
    """
    refusal = _refusal(module, X, predicts=predicts)
    if refusal is not None:
        found = Plan(way="alone", reason=refusal)
    else:
        chain = _known_chain(module, X, predicts=predicts)
        way: Literal["vmap", "layers"] = "vmap" if chain.reason else "layers"
        reason = f"its module is no chain of known layers ({chain.reason})"
        is_known = not chain.reason or isinstance(module, RNN)
        if network is None or recipe is None or not is_known:
            found = Plan(way=way, reason=chain.reason and reason)
        else:
            program = build_program([network])
            try:
                layers = carried_layers(program, recipe, [network])
                n = program.members * sum(map(n_products, layers))
                found = Plan(way="kernel", n_products=n)
            except ValueError as error:
                found = Plan(way=way, reason=str(error))
    _tell(type(module).__name__, tuple(X.shape[1:]), found)
    return found


@cache
def _tell(name: str, shape: tuple[int, ...], found: Plan) -> None:
    _LOGGER.debug("%s on samples of shape %s is trained %s.", name, shape, found)


def build_program(networks: Sequence[FleetNetwork]) -> Program:
    """Return networks to train as one program; their weights are copied."""
    modules = [network.module for network in networks]
    seeds = [network.dropout_seed for network in networks]
    return stacked_program(modules, networks[0].train.X, seeds)


def stacked_program(
    modules: Sequence[nn.Module], X: Tensor, dropout_seeds: Sequence[int] | None = None
) -> Program:
    """Return networks, equal but for dropout, as one; weights are copied.

    `dropout_seeds` are None for networks that are not trained.
    """
    pattern = max(modules, key=lambda module: sum(1 for _ in module.modules()))
    chain = _known_chain(pattern, X, predicts=dropout_seeds is None)
    return Program(modules, pattern, chain, X, dropout_seeds)


_KNOWN: dict[Any, Any] = {}


def _remembered(
    make: Any, module: nn.Module, X: Tensor, *, predicts: bool, content: bytes = b""
) -> Any:
    """Return what a function makes of a module and inputs, made once for all like them."""
    like = (X.shape[1:], X.dtype, str(X.device), content)
    key = (make, type(module), module_structure(module), like, predicts)
    if key not in _KNOWN:
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        _KNOWN[key] = make(module, X, predicts=predicts)
    return _KNOWN[key]


def _known_chain(module: nn.Module, X: Tensor, *, predicts: bool) -> Chain:
    if isinstance(module, MLP):
        # To ask takes less time than to tell whether it was asked before.
        return chain_of(module, X)
    found: Chain = _remembered(chain_of, module, X, predicts=predicts)
    return found


def _refusal(module: nn.Module, X: Tensor, *, predicts: bool) -> str | None:
    """Return why modules like one cannot run as one program; None if they can.

    The reason continues "was trained alone because". Two samples are tried, one of which
    has the least value of some, which may be padding.
    """
    if isinstance(module, MLP):
        return None
    if has_hooks(module):
        return "its module has hooks"
    if any("forward" in vars(layer) for layer in module.modules()):
        return "a layer of its module has a forward that its class does not have"
    if type(module) is CNN and not _known_chain(module, X, predicts=predicts).reason:
        return None
    X = X[:N_TRIED]
    draws_there = X.device.type != "cpu" and not predicts
    if draws_there and any(map(is_torch_dropout, module.modules())):
        return "torch draws the masks of its dropout on the device"
    names = {n for n, _ in [*module.named_parameters(), *module.named_buffers()]}
    if not names.issuperset(module.state_dict()):
        return "layers of its module share weights"
    was_training = module.training
    try:
        least = int(X.reshape(len(X), -1).amin(dim=1).double().argmin())
        pair = X[[least, 0 if least else -1]].contiguous()
        # Other samples may show what these do not, as an embedding's padding.
        content = pair.cpu().view(torch.uint8).numpy().tobytes()
        found: str | None = _remembered(
            _tried, module, pair, predicts=predicts, content=content
        )
    except Exception as error:  # noqa: BLE001 - whatever a user's module raises
        first_line = str(error).strip().partition("\n")[0].partition(". ")[0]
        return f"torch.func.vmap cannot carry its module ({first_line})"
    else:
        return found
    finally:
        module.train(was_training)


def _tried(module: nn.Module, X: Tensor, *, predicts: bool) -> str | None:
    """Return why modules like one cannot run as one program; errors are the caller's."""
    with warnings.catch_warnings():
        # Torch computes network by network, and says so, where vmap has no rule.
        warnings.filterwarnings("error", message=".*batching rule.*")
        if not predicts and orders_in_memory(module, X) is None:
            return "a dropout layer of its module is called in several orders of memory"
        return _difference(module, torch.stack([X] * 2), predicts=predicts)


def _difference(module: nn.Module, X: Tensor, *, predicts: bool) -> str | None:
    """Compute two networks as one and compare; errors are the caller's."""
    lone = copy.deepcopy(module)
    is_own = isinstance(module, CNN | RNN)
    state = None if is_own else loose_state(lone)
    with torch.no_grad():
        alone = lone.eval()(X[0])
        others = lone(X[0, [0, 0]])
    if not predicts and not is_own:
        buffers = dict(lone.named_buffers())
        with forked_rng(0, str(X.device)), torch.no_grad():
            lone.train()(X[0])
        after = dict(lone.named_buffers())
        if any(after.get(name) is not tensor for name, tensor in buffers.items()):
            return "its module replaces a buffer when it is called, instead of changing it"
    if not is_own and loose_state(lone) != state:
        return "its module changes itself when it is called"
    seeds = None if predicts else [0, 0]
    program = stacked_program([module, module], X[0], seeds)
    first = program.layers[0]
    pattern = first.pattern if isinstance(first, ModuleLayer) else lone
    if _loose_layers(pattern) != _loose_layers(module):
        return "layers of its module are in a list beside it"
    before = module_structure(pattern)
    program.begin_epoch([0, 0], 1, [torch.Generator(), torch.Generator()])
    outputs = program.evaluate(X, slice(0, 2))
    if not torch.allclose(others[0], alone[0], rtol=1e-3, atol=1e-4, equal_nan=True):
        return "its outputs depend on the other samples of a batch"
    is_of_shape = outputs[0].shape == alone.shape
    if not is_of_shape or not torch.allclose(
        outputs[0], alone, rtol=1e-3, atol=1e-4, equal_nan=True
    ):
        return "its module gives other outputs when it is batched over networks"
    program.dropout.begin_step(0)
    gradients = program.backward(torch.ones_like(program.forward(X, slice(0, 2))))
    if not all(map(_are_alike, gradients)):
        return "its module gives other derivatives when it is batched over networks"
    if module_structure(pattern) != before:
        return "its module changes itself when it is called"
    return None


def _are_alike(gradients: Tensor) -> bool:
    """Return whether two equal networks have equal derivatives at equal inputs."""
    one, other = gradients
    size = float(one.abs().nan_to_num().max()) if one.numel() else 0.0
    return torch.allclose(one, other, rtol=1e-3, atol=1e-4 * max(1.0, size), equal_nan=True)


def module_structure(module: nn.Module) -> tuple[Any, ...]:
    """Return a key that is equal for networks that differ in weights and dropout only.

    Types, attributes, shapes and orders in memory of all layers.  Of layers in plain lists,
    which are not trained and not copied with the weights, the values as well.
    """
    known = frozenset(map(id, module.modules()))
    layers = []
    for name, layer in module.named_modules():
        attributes: tuple[Any, ...] = ()
        # Twins of layers in a fleet hold what belongs to the batch at hand.
        if not type(layer).__module__.startswith("sk_tune.fleets."):
            is_dropout = isinstance(layer, SeededDropout) or is_torch_dropout(layer)
            varies = frozenset({"p", "seed", "step"} if is_dropout else ())
            attributes = attributes_key(layer, known, varies)
        layers.append((name, type(layer), attributes))
    tensors = tuple(
        (name, tuple(t.shape), t.stride(), t.dtype, t.requires_grad)
        for part in (module.named_parameters(), module.named_buffers())
        for name, t in part
    )
    return tuple(layers), tensors


def _loose_layers(module: nn.Module) -> int:
    """Return how many layers are in plain lists or dicts, but no part of a module."""
    known = {id(layer) for layer in module.modules()}
    values = added_attributes(module)
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
