# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Fits of the package's estimators as networks of a fleet."""

import copy
import warnings
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from sk_tune.augment import kinds_of
from sk_tune.engine._fits import Fit
from sk_tune.estimators import FitPreparer, has_hooks
from sk_tune.fleets import (
    FleetNetwork,
    ModuleProgram,
    Recipe,
    is_torch_dropout,
    orders_in_memory,
    stacked_program,
)
from sk_tune.nets import CNN, MLP, RNN, attributes_key, loose_state
from sk_tune.training import (
    TrainingState,
    forked_rng,
)

__all__ = ["N_TRIED", "EstimatorFit", "module_structure", "reason_in_module"]

_PRIVATE = frozenset(vars(nn.Module()))
# Twins of layers in a fleet hold what belongs to the batch at hand.
_OWN = "sk_tune.fleets."


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


# Number of samples among which to look for two on which a module is tried.
N_TRIED = 1024

Array = npt.NDArray[Any]


class EstimatorFit:
    """A fit of one of sk_tune's estimators; ValueError for wrong parameters or data."""

    def __init__(self, fit: Fit, preparer: FitPreparer) -> None:
        self.n_epochs = fit.n_epochs or int(fit.estimator.max_epochs)
        self.prepared = preparer.prepare(
            fit.estimator,
            fit.X,
            fit.y,
            seed=fit.seed_number,
            rows=fit.rows,
            sample_weight=fit.sample_weight,
            monitor=fit.monitor,
            state=fit.state,
        )

    def network(self) -> FleetNetwork:
        """Return the fit's network, with its module, for a fleet of its recipe."""
        return self.prepared.network(self.n_epochs)

    def recipe(self) -> tuple[Recipe, Any]:
        """Return what fits of one fleet share, and a hashable key of it."""
        prepared, recipe = self.prepared, self.prepared.recipe()
        module = prepared.module
        structure: Any = [tuple(p.shape) for p in module.parameters()]
        if isinstance(module, MLP) and module.inputs is not None:
            # The structure says which columns are categories, and how many codes they have.
            structure = (module_structure(module.inputs), structure[-1])
        elif isinstance(module, MLP | CNN | RNN):
            # The estimator's parameters say all but the sizes that come from the data.
            structure = (structure[0], structure[-1])
        else:
            structure = module_structure(module)
        # Weights need not tell the length of a sequence or the size of an image.
        shape = tuple(prepared.train.X.shape[1:])
        kinds = kinds_of(prepared.options.augmentation)
        return recipe, (recipe, structure, shape, kinds)

    def predictions(self, outputs: Array) -> Array:
        """Return probabilities, or targets in their units, for outputs, (n, C)."""
        return self.prepared.predictions(outputs)

    def train_alone(self) -> tuple[TrainingState, Array | None]:
        """Train through skorch.

        Return the state of training, and the monitor's predictions.
        """
        return self.prepared.train_alone(self.n_epochs)


def reason_in_module(module: nn.Module, X: Tensor, *, predicts: bool = False) -> str | None:
    """Return why modules like one cannot run as one program, after trying it.

    The reason continues "was trained alone because"; None if they can. Two samples of `X`
    are tried, one of which has the least value of all, which may be padding. `predicts`
    says that the networks only predict, with which dropout has nothing to do. The module is
    not changed.
    """
    if isinstance(module, MLP):
        return None
    if has_hooks(module):
        return "its module has hooks"
    draws_there = X.device.type != "cpu" and not predicts
    if draws_there and any(map(is_torch_dropout, module.modules())):
        return "torch draws the masks of its dropout on the device"
    names = {n for n, _ in [*module.named_parameters(), *module.named_buffers()]}
    if not names.issuperset(module.state_dict()):
        return "layers of its module share weights"
    was_training = module.training
    try:
        least = int(X.reshape(len(X), -1).amin(dim=1).double().argmin())
        pair = torch.stack([X[[least, 0 if least else -1]]] * 2)
        with warnings.catch_warnings():
            # Torch computes network by network, and says so, where vmap has no rule.
            warnings.filterwarnings("error", message=".*batching rule.*")
            if not predicts and orders_in_memory(module, pair[0]) is None:
                return "a dropout layer of its module is called in several orders of memory"
            return _difference(module, pair, predicts=predicts)
    except Exception as error:  # noqa: BLE001 - whatever a user's module raises
        first_line = str(error).strip().partition("\n")[0].partition(". ")[0]
        return f"torch.func.vmap cannot carry its module ({first_line})"
    finally:
        module.train(was_training)


def _difference(module: nn.Module, X: Tensor, *, predicts: bool) -> str | None:
    """Compute two networks as one and compare; errors are the caller's."""
    lone = copy.deepcopy(module)
    is_own = isinstance(module, CNN | RNN)
    state = None if is_own else loose_state(lone)
    with torch.no_grad():
        alone = lone.eval()(X[0])
        others = lone(X[0, [0, 0]])
    if not predicts and not is_own and _replaces_buffers(lone, X[0]):
        return "its module replaces a buffer when it is called, instead of changing it"
    if not is_own and loose_state(lone) != state:
        return "its module changes itself when it is called"
    seeds = None if predicts else [0, 0]
    padded = isinstance(module, RNN) and bool(torch.isnan(X[..., 0]).any())
    program = stacked_program([module, module], X[0], dropout_seeds=seeds, padded=padded)
    pattern = program.pattern if isinstance(program, ModuleProgram) else lone
    if loose_layers(pattern) != loose_layers(module):
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
    gradients = program.backward(torch.ones_like(program.forward(X, slice(0, 2), 0)))
    if not all(map(_are_alike, gradients)):
        return "its module gives other derivatives when it is batched over networks"
    if module_structure(pattern) != before:
        return "its module changes itself when it is called"
    return None


def _replaces_buffers(module: nn.Module, X: Tensor) -> bool:
    """Return whether a call in training gives a module other tensors as buffers."""
    before = dict(module.named_buffers())
    with forked_rng(0, str(X.device)), torch.no_grad():
        module.train()(X)
    after = dict(module.named_buffers())
    return any(after.get(name) is not tensor for name, tensor in before.items())


def _are_alike(gradients: Tensor) -> bool:
    """Return whether two equal networks have equal derivatives at equal inputs."""
    one, other = gradients
    size = float(one.abs().nan_to_num().max()) if one.numel() else 0.0
    return torch.allclose(one, other, rtol=1e-3, atol=1e-4 * max(1.0, size), equal_nan=True)
