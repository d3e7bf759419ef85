# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How networks are trained, and why no faster way is possible.

A network takes the fastest of four ways that supports it: the kernel, layers with
written-out derivatives, ``torch.func.vmap``, and alone.  Facts about a module and the shape
of its inputs are computed once and cached.
"""

import copy
import logging
import warnings
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Literal

import torch
from torch import Tensor, nn

from sk_tune._compat.torch_names import has_hooks
from sk_tune._fleets._kernel import (
    KernelLayer,
    kernel_layers,
    n_products,
    reason_against_kernel,
)
from sk_tune._fleets._masks import is_torch_dropout, orders_in_memory
from sk_tune._fleets._module_layer import ModuleLayer
from sk_tune._fleets._program import Program
from sk_tune._fleets._recipe import FleetNetwork, Recipe
from sk_tune._fleets._traced import cached, chain_of, module_structure
from sk_tune._nets import CNN, MLP, RNN, added_attributes, loose_state
from sk_tune._training import forked_rng, undone_draws

_LOGGER = logging.getLogger(__name__)
# Samples searched for the pair on which a module is tried.
N_TRIED = 1024
_WORDS = {
    "kernel": "by the kernel",
    "layers": "by layers with written-out derivatives",
    "vmap": "by torch.func.vmap",
    "alone": "alone",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How networks of a signature are trained, and why no faster way is possible.

    >>> print(Plan(way="alone", reason="its module has hooks"))
    alone, because its module has hooks
    """

    way: Literal["kernel", "layers", "vmap", "alone"]
    reason: str = ""
    n_products: int = field(default=0, compare=False)  # of the kernel

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
    """Return the plan for networks with such a module and such inputs.

    Without `network` and `recipe`, the plan ignores the kernel. The module is tried on some
    samples, and is not changed.
    """
    reason = _reason_alone(module, X, predicts=predicts)
    if reason is not None:
        result = Plan(way="alone", reason=reason)
    else:
        chain = chain_of(module, X, predicts=predicts)
        way: Literal["vmap", "layers"] = "vmap" if chain.reason else "layers"
        reason = f"its module is not a chain of known layers ({chain.reason})"
        result = Plan(way=way, reason=chain.reason and reason)
        is_known = not chain.reason or isinstance(module, RNN)
        if network is not None and recipe is not None and is_known:
            layers, reason = cached(_kernel_layers, module, X, predicts=False)
            reason = reason or reason_against_kernel(layers, recipe, [network])
            n = getattr(module, "members", 1) * sum(map(n_products, layers))
            result = Plan(way=way, reason=reason)
            if not reason:
                result = Plan(way="kernel", n_products=n)
    _log(type(module).__name__, tuple(X.shape[1:]), result)
    return result


@cache
def _log(name: str, shape: tuple[int, ...], result: Plan) -> None:
    _LOGGER.debug("%s on samples of shape %s is trained %s.", name, shape, result)


def _kernel_layers(
    module: nn.Module, X: Tensor, *, predicts: bool
) -> tuple[list[KernelLayer], str]:
    """Return the kernel's layers of a module, or why it has none."""
    try:
        return kernel_layers(Program([module], X, [0]), X), ""
    except ValueError as error:
        return [], str(error)


def _reason_alone(module: nn.Module, X: Tensor, *, predicts: bool) -> str | None:
    """Return why modules like this cannot run as one program; None if they can.

    The reason continues "was trained alone because". The module is tried on two samples;
    one contains the least value of the first samples, which may be padding.
    """
    if isinstance(module, MLP):
        return None
    if has_hooks(module):
        return "its module has hooks"
    if any("forward" in vars(layer) for layer in module.modules()):
        return "the forward of a layer of its module was replaced"
    if type(module) is CNN and not chain_of(module, X, predicts=predicts).reason:
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
        # Other samples may behave differently, such as the padding of an embedding.
        content = pair.cpu().view(torch.uint8).numpy().tobytes()
        return cached(_try_batching, module, pair, predicts=predicts, content=content)
    except Exception as error:  # noqa: BLE001 - a user's module may raise anything
        first_line = str(error).strip().partition("\n")[0].partition(". ")[0]
        return f"torch.func.vmap cannot batch its module ({first_line})"
    finally:
        module.train(was_training)


def _try_batching(module: nn.Module, X: Tensor, *, predicts: bool) -> str | None:
    """Return why modules like this cannot run as one program; errors propagate."""
    with warnings.catch_warnings():
        # Without a batching rule, torch warns and computes network by network.
        warnings.filterwarnings("error", message=".*batching rule.*")
        with undone_draws() as names:
            if not predicts and orders_in_memory(module, X) is None:
                return "a dropout layer of its module is called with several memory layouts"
            reason = _difference(module, torch.stack([X] * 2), predicts=predicts)
    # One draw would serve all networks.
    drawn = f"its module draws from the global generator of {' and '.join(names)}"
    return drawn if names else reason


def _difference(module: nn.Module, X: Tensor, *, predicts: bool) -> str | None:
    """Compare two networks in one program with the module alone; errors propagate."""
    copied = copy.deepcopy(module)
    is_own = isinstance(module, CNN | RNN)
    state = None if is_own else loose_state(copied)
    with torch.no_grad():
        alone = copied.eval()(X[0])
        repeated = copied(X[0, [0, 0]])
    if not predicts and not is_own:
        buffers = dict(copied.named_buffers())
        with forked_rng(0, str(X.device)), torch.no_grad():
            copied.train()(X[0])
        after = dict(copied.named_buffers())
        if any(after.get(name) is not tensor for name, tensor in buffers.items()):
            return "its module replaces a buffer instead of changing it in place"
    if not is_own and loose_state(copied) != state:
        return "its module changes its state when it is called"
    seeds = None if predicts else [0, 0]
    program = Program([module, module], X[0], seeds)
    first = program.layers[0]
    pattern = first.pattern if isinstance(first, ModuleLayer) else copied
    if _loose_layers(pattern) != _loose_layers(module):
        return "layers of its module are in a plain list or dict"
    structure = module_structure(pattern)
    program.begin_epoch([0, 0], 1, [torch.Generator(), torch.Generator()])
    outputs = program.evaluate(X, slice(0, 2))
    are_close = partial(torch.allclose, rtol=1e-3, atol=1e-4, equal_nan=True)
    if not are_close(repeated[0], alone[0]):
        return "its outputs depend on other samples of a batch"
    if outputs[0].shape != alone.shape or not are_close(outputs[0], alone):
        return "its module has different outputs when batched over networks"
    program.dropout.begin_step(0)
    gradients = program.backward(torch.ones_like(program.forward(X, slice(0, 2))))
    if not all(map(_are_alike, gradients)):
        return "its module has different derivatives when batched over networks"
    if module_structure(pattern) != structure:
        return "its module changes its state when it is called"
    return None


def _are_alike(gradients: Tensor) -> bool:
    """Return whether two equal networks have equal gradients for equal inputs."""
    one, other = gradients
    size = float(one.abs().nan_to_num().max()) if one.numel() else 0.0
    return torch.allclose(one, other, rtol=1e-3, atol=1e-4 * max(1.0, size), equal_nan=True)


def _loose_layers(module: nn.Module) -> int:
    """Return the number of layers in plain lists or dicts that belong to no module."""
    layer_ids = {id(layer) for layer in module.modules()}
    values = added_attributes(module)
    n_loose = 0
    while values:
        value = values.pop()
        if isinstance(value, dict):
            values.extend(value.values())
        elif isinstance(value, list | tuple):
            values.extend(value)
        elif isinstance(value, nn.Module):
            n_loose += id(value) not in layer_ids
    return n_loose
