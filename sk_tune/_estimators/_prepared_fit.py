# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A prepared fit, trained as a network of a fleet or by its net's training loop."""

import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from sklearn.base import clone
from skorch.callbacks import EpochTimer, GradientNormClipping, PrintLog
from torch import nn

from sk_tune._augment import kinds_of
from sk_tune._compat import has_hooks
from sk_tune._estimators._net_callbacks import CallbackCourse, clip_of, lost_callbacks
from sk_tune._estimators._net_state import (
    changed_modules,
    load_training_state,
    module_keys,
    training_state,
)
from sk_tune._estimators._training_net import TrainingNet, TrainingOptions
from sk_tune._fleets import (
    FleetNetwork,
    Recipe,
    SeededCourse,
    Settings,
    module_structure,
    plan,
    stacked_loss,
    train_fleet,
)
from sk_tune._nets import CNN, MLP, RNN, unchanged_tensors
from sk_tune._optimizers import OPTIMIZERS
from sk_tune._training import Stream, TensorSet, TrainingState, derive_seed, one_thread
from sk_tune._types import Array
from sk_tune.exceptions import TrainingDivergedError


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedFit:
    """Everything that training for `n_epochs` needs."""

    estimator: Any  # with attributes learnt from the data
    module: nn.Module  # with initial weights, or the weights of `state`
    options: TrainingOptions
    train: TensorSet
    valid: TensorSet | None  # for early stopping
    monitor: TensorSet | None  # without effect on the training
    state: TrainingState | None  # of an earlier training
    n_epochs: int
    predicted: TensorSet | None = None  # by fleets, at the end

    @property
    def loss(self) -> Any:
        """The loss of the task."""
        return self.estimator._task_parts()[0]

    def predictions(self, outputs: Array) -> Array:
        """Return probabilities, or targets in their units, from a network's outputs."""
        predictions: Array = self.estimator._predictions(torch.from_numpy(outputs))
        return predictions

    @cached_property
    def network(self) -> FleetNetwork:
        """The fit's network with its module, ready for a fleet of its recipe."""
        options, estimator = self.options, self.estimator
        state = self.state or TrainingState(seed=options.seed, weights={}, moments={})
        names = (
            *("seed", "learning_rate", "lr_schedule"),
            *("schedule_epochs", "patience", "tol"),
        )
        course = {name: getattr(options, name) for name in names}
        course |= {"stopping": state.stopping, "first_epoch": state.first_epoch}
        make = self._callback_course if estimator.callbacks else SeededCourse
        return FleetNetwork(
            module=self.module,
            course=make(**course),
            settings=Settings(
                momentum=float(estimator.momentum),
                beta_2=OPTIMIZERS[estimator.optimizer].second_moment_decay,
                weight_decay=float(estimator.weight_decay),
            ),
            state=state,
            n_epochs=self.n_epochs,
            train=self.train,
            valid=self.valid,
            monitor=self.monitor,
            predicted=self.predicted,
            learning_rate=options.learning_rate,
            l1=float(options.l1),
            label_smoothing=float(getattr(self.loss, "label_smoothing", 0.0)),
            gradient_clip=options.gradient_clip or clip_of(estimator.callbacks or ()),
            dropout_seed=derive_seed(options.seed, Stream.DROPOUT),
            augmentation=options.augmentation,
            augmentation_seed=derive_seed(options.seed, Stream.AUGMENTATION),
        )

    def _callback_course(self, **course: Any) -> CallbackCourse:
        # Networks of a fleet train at the same time, each with its own callbacks.
        twin = copy.copy(self.estimator)
        twin.callbacks = clone(list(twin.callbacks), safe=False)
        net = twin._make_net(self.options.seed, str(self.train.X.device))
        n_samples = len(self.train)
        return CallbackCourse(
            **course, net=net, n_samples=n_samples, valid=self.valid, state=self.state
        )

    def recipe(self) -> tuple[Recipe, Any]:
        """Return the settings shared by the fits of a fleet, and their hashable key."""
        estimator, options, module = self.estimator, self.options, self.module
        structure: Any = [tuple(p.shape) for p in module.parameters()]
        if isinstance(module, MLP) and module.inputs is not None:
            # The structure has the category columns and their numbers of codes.
            structure = (module_structure(module.inputs), structure[-1])
        elif isinstance(module, MLP | CNN | RNN):
            # Hyperparameters in the key fix all sizes except the data's.
            structure = (structure[0], structure[-1])
        else:
            structure = module_structure(module)
        recipe = Recipe(
            optimizer=estimator.optimizer,
            nesterov=True,
            batch_size=int(estimator.batch_size),
            loss=stacked_loss(self.loss.name, self.loss.options),
            score=options.score,
            draws_globally=options.global_rng,
            layout=options.layout,
            codes=options.codes,
        )
        # Weights may be independent of the length of a sequence or the size of an image.
        shape = tuple(self.train.X.shape[1:])
        return recipe, (recipe, structure, shape, kinds_of(options.augmentation))

    def train_alone(self) -> tuple[TrainingState, Array | None]:
        """Train by the net's loop; return its state and predictions of the monitor."""
        net = self.estimator._make_net(self.options.seed, str(self.train.X.device))
        initial_keys = module_keys(net)
        if self.state is not None:
            load_training_state(net, self.state)
        valid, monitor = (
            None if part is None else part.taken() for part in (self.valid, self.monitor)
        )
        net.train_epochs(self.train.taken(), valid, self.n_epochs, monitor)
        with unchanged_tensors(net.module_):
            outputs = None if monitor is None else net.forward(monitor.X)
        predictions = None if outputs is None else self.predictions(outputs.numpy())
        # The net's loop calls its callbacks from their start.
        course = lost_callbacks(net, (EpochTimer, GradientNormClipping, PrintLog))
        modules = changed_modules(net, initial_keys)
        state = replace(training_state(net), course=course, modules=modules)
        return state, predictions


def train_in_fleet(
    estimator: Any,
    net: TrainingNet,
    train: TensorSet,
    valid: TensorSet | None,
    n_epochs: int,
) -> bool:
    """Train a net as a fleet of size 1, if possible; unchanged if training diverges."""
    if not _is_as_made(estimator, net):
        return False
    module = net.module_
    if net.last_weights_ is not None:
        # Training continues from the last weights, not from the best weights.
        module = copy.deepcopy(module)
        module.load_state_dict(net.last_weights_)
    prepared = PreparedFit(
        estimator=estimator,
        module=module,
        options=net.options,
        train=train,
        valid=valid,
        monitor=None,
        state=training_state(net) if len(net.history) else None,
        n_epochs=n_epochs,
    )
    network, (recipe, _) = prepared.network, prepared.recipe()
    # Without the kernel, a step of a single network is as slow in a fleet as in the net's
    # loop; see docs/adr/0005-how-a-fleet-trains.md.
    if plan(network.module, train.X, network, recipe).way != "kernel":
        return False
    # With more threads, torch's threads would wait between the kernel's calls.
    with one_thread():
        ((_, outcome),) = train_fleet([network], recipe, 1)
    if outcome.message or outcome.state is None:
        raise TrainingDivergedError(outcome.message)
    load_training_state(net, outcome.state)
    return True


def _is_as_made(estimator: Any, net: TrainingNet) -> bool:
    """Return whether a net has no settings that only its own loop supports."""
    module = net.module_
    return (
        type(net) is TrainingNet
        and type(module) in {MLP, CNN, RNN}
        and not net.callbacks_
        and _has_optimizer_as_made(net)
        and net.batch_size == estimator.batch_size
        and all(parameter.requires_grad for parameter in module.parameters())
        and not has_hooks(module)
    )


def _has_optimizer_as_made(net: TrainingNet) -> bool:
    """Return whether the settings of a net's optimizer are unchanged."""
    if net.has_late_optimizer:
        return True
    initial, current = net.optimizer(net.module_.parameters()), net.optimizer_
    # The schedule sets the rate at each step, unless it is constant.
    free = {"initial_lr"} if net.options.lr_schedule == "constant" else {"initial_lr", "lr"}

    def settings(optimizer: Any) -> list[dict[str, Any]]:
        groups = optimizer.state_dict()["param_groups"]
        return [{n: v for n, v in group.items() if n not in free} for group in groups]

    return type(initial) is type(current) and settings(initial) == settings(current)
