# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A plain skorch net as a network of a fleet, and alone.

The net is initialised as ``fit`` does it, and keeps the history.  Between epochs its
callbacks are called as skorch calls them; the fleet only takes the steps.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.dataset import Dataset
from skorch.history import History
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import Subset

from sk_tune._engine._skorch._net_adoption import (
    batch_sizes_of,
    generator_after,
    net_memory,
    rows_digest,
)
from sk_tune._engine._skorch._net_reasons import (
    OPTIMIZER_NAMES,
    named_inputs,
    reason_against_callbacks,
    reason_in_criterion,
)
from sk_tune._estimators import (
    Fit,
    NetCallbacks,
    changed_modules,
    clip_of,
    module_keys,
    net_arrays,
    recall_callbacks,
    silenced,
    take_rows,
)
from sk_tune._fleets import (
    FleetNetwork,
    Recipe,
    Settings,
    StackedLoss,
    loss_by_autograd,
    module_structure,
    stacked_loss,
)
from sk_tune._nets import (
    NamedInput,
    pack_inputs,
    reading_one_tensor,
    split_inputs,
    tensor_values,
    unchanged_tensors,
)
from sk_tune._processes import import_for_optimizers, passing_interrupts
from sk_tune._training import (
    EpochTimer,
    StoppingState,
    TensorSet,
    TrainingState,
    check_time,
    forked_rng,
    loss_message,
    usual_score,
    weights_message,
)
from sk_tune._types import Array
from sk_tune.exceptions import TrainingDivergedError


class Watcher(Callback):  # type: ignore[misc]
    """Scores a net on monitor samples without side effects, and checks the time limit."""

    def __init__(self, monitor: TensorSet | None, inputs: Sequence[NamedInput]) -> None:
        self.monitor = monitor
        self.inputs = inputs

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Compute the keys of the net's modules before the training."""
        self.keys = module_keys(net)
        self.timer = EpochTimer()

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """End the training, as skorch's callbacks do, if another epoch would be late."""
        if len(net.history) > 1 and self.timer.is_late():
            del net.history[-1]
            raise KeyboardInterrupt

    def on_batch_begin(self, net: Any, **kwargs: Any) -> None:
        """Check the time limit."""
        check_time()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Score the net."""
        if self.monitor is None:
            return
        X, y = self.monitor[:]
        with forked_rng(0, net.device), unchanged_tensors(net.module_):
            outputs = net.forward(as_net_takes(X, self.inputs))
        loss = net.get_loss(outputs.to(net.device), y.to(net.device)).item()
        score = usual_score(outputs.unsqueeze(0), y.unsqueeze(0), None)
        net.history.record("monitor_loss", loss)
        net.history.record("monitor_score", float(score))


def check_weights(net: Any) -> None:
    """Raise ``TrainingDivergedError`` for infinite or NaN weights, which skorch accepts."""
    weights = net.module_.named_parameters()
    wrong = next((name for name, w in weights if not torch.isfinite(w).all()), None)
    if wrong is None:
        return
    for record in net.history:
        for prefix in ("train", "valid"):
            loss = float(record.get(f"{prefix}_loss", 0.0))
            if not np.isfinite(loss):
                epoch = record["epoch"]
                raise TrainingDivergedError(loss_message(prefix, loss, epoch, net.lr))
    raise TrainingDivergedError(weights_message(wrong, len(net.history), net.lr))


class NoFleetError(ValueError):
    """A fleet cannot carry an initialised net; skorch can train it."""


class SkorchFit:
    """A fit of a plain skorch net, with a seed and a number of epochs.

    Raises ValueError if the fit has sample weights, which skorch does not support, or if it
    resumes from the state of another kind of network.
    """

    def __init__(self, fit: Fit) -> None:
        is_unknown = fit.state is not None and not fit.state.course
        if is_unknown or fit.sample_weight is not None:
            raise ValueError(
                "A plain skorch net takes neither a state to continue from nor "
                "sample_weight. Use one of sk_tune's estimators."
            )
        import_for_optimizers()
        self.fit = fit
        self.begin, self.seed = fit.seed or 0, fit.seed_number
        self.generator = torch.Generator()
        self.n_epochs = fit.epochs
        self.X, self.y = (take_rows(part, fit.rows) for part in (fit.X, fit.y))
        self.inputs = named_inputs(self.X)
        self.net: Any = None
        # Of training and of validation, as the net splits its samples.
        self.datasets: tuple[Any, Any] = (None, None)

    # Built once: the net's callbacks and history hold its course.
    @cached_property
    def network(self) -> FleetNetwork:
        """The fit's network for a fleet with its recipe."""
        net = self._start()
        train, valid = self.datasets
        course = _SkorchCourse(self, (train, valid))
        group = net.optimizer_.param_groups[0]
        rate = float(group["lr"])
        state, n_epochs = self.fit.state, self.n_epochs
        if state is not None and not course.recall(state):
            n_epochs += len(state.history)
            state = None
        betas = group.get("betas", (group.get("momentum", 0.0), group.get("alpha", 0.0)))
        module, inputs = net.module_, self.inputs
        return FleetNetwork(
            module=reading_one_tensor(module, inputs) if inputs else module,
            course=course,
            settings=Settings(
                momentum=float(betas[0]),
                beta_2=float(betas[1]),
                eps=float(group.get("eps", 1e-8)),
                weight_decay=float(group["weight_decay"]),
            ),
            state=state or TrainingState(seed=self.seed, weights={}, moments={}),
            n_epochs=n_epochs,
            train=_to_set(train, net.device, inputs),
            valid=None if valid is None else _to_set(valid, net.device, inputs),
            monitor=self._monitor(net.device),
            learning_rate=rate,
            gradient_clip=clip_of(net.callbacks_),
        )

    def recipe(self) -> tuple[Recipe, Any]:
        """Return the settings that a fleet shares, and their key, as a PreparedFit does.

        Raises NoFleetError if no fleet can carry the net.
        """
        net = self._start()
        batch_size = net.get_params_for("iterator_train").get("batch_size", net.batch_size)
        group = net.optimizer_.param_groups[0]
        recipe = Recipe(
            optimizer=OPTIMIZER_NAMES[net.optimizer],
            nesterov=bool(group.get("nesterov", False)),
            batch_size=int(batch_size),
            loss=_loss(net, self.y),
            score=usual_score,
            draws_globally=True,
            joins_last_sample=False,
        )
        if any(p.requires_grad for p in net.criterion_.parameters()):
            raise NoFleetError("its criterion has trainable parameters")
        if any(map(is_lazy, net.module_.parameters())):
            raise NoFleetError("its module has lazy layers")
        reason = reason_against_callbacks(callback for _, callback in net.callbacks_)
        if reason := reason or reason_in_criterion(net, self.X, self.y):
            raise NoFleetError(reason)
        y_form = np.shape(self.y)[1:], str(self.y.dtype)
        shapes = (self.inputs or np.shape(self.X)[1:], y_form)
        structure = (module_structure(net.module_), module_structure(net.criterion_))
        fixed = (type(net), recipe.optimizer, recipe.nesterov, recipe.batch_size)
        # The first network's loss, with its class weights, trains all networks.
        loss = tensor_values(net.criterion_)
        return recipe, (fixed, shapes, structure, loss, net.device)

    def predictions(self, outputs: Array) -> Array:
        """Return the net's ``predict_proba`` for given outputs of its module."""
        net = self.net
        # Only ``predict_proba`` knows the net's nonlinearity.
        vars(net)["forward_iter"] = lambda X, training=False: iter([X])
        try:
            predicted: Array = NeuralNet.predict_proba(net, torch.from_numpy(outputs))
        finally:
            del vars(net)["forward_iter"]
        return predicted

    def train_alone(self) -> tuple[TrainingState, Array | None]:
        """Train by skorch's ``fit``; return its state, and predictions for the monitor."""
        # skorch's loop cannot continue an unfinished training, so it starts again.
        state, n_epochs = self.fit.state, self.n_epochs
        n_epochs += 0 if state is None else len(state.history)
        # Messages are printed when a net adopts the training.
        net = silenced(clone(self.fit.estimator).set_params(max_epochs=n_epochs))
        monitor = self._monitor("cpu")
        watcher = Watcher(monitor, self.inputs)
        # It precedes callbacks that may end the training.
        entry = ("sk_tune_watcher", watcher)
        if net.callbacks == "disable":
            net.callbacks = [entry]
            net.initialize_callbacks()
            names = [name for name, _ in net.get_default_callbacks()]
            net.set_params(**{f"callbacks__{name}": None for name in names})
        else:
            net.set_params(callbacks=[entry, *(net.callbacks or [])])
        with forked_rng(self.begin, net.device), passing_interrupts():
            net.fit(self.X, self.y)
            self.generator.set_state(torch.get_rng_state())
        check_weights(net)
        self.net = net
        predictions = None
        if monitor is not None:
            with forked_rng(self.seed, net.device), unchanged_tensors(net.module_):
                predictions = net.predict_proba(as_net_takes(monitor.X, self.inputs))
        batches = (batch for record in net.history for batch in record["batches"])
        state = TrainingState(
            seed=self.seed,
            n_steps=sum("train_loss" in batch for batch in batches),
            modules=changed_modules(net, watcher.keys),
            course=net_memory(net, self.begin, self.generator, ()),
            **net_arrays(net),
        )
        return state, predictions

    def _start(self) -> Any:
        """Return the net as initialised by ``fit``, which draws from `generator` next."""
        if self.net is None:
            net = silenced(clone(self.fit.estimator))
            with forked_rng(self.begin, net.device):
                net.initialize()
                net.check_data(self.X, self.y)
                net.check_training_readiness()
                self.datasets = net.get_split_datasets(self.X, self.y)
                self.generator.set_state(torch.get_rng_state())
            self.net = net
        return self.net

    def _monitor(self, device: str) -> TensorSet | None:
        if self.fit.monitor is None:
            return None
        X, y = (take_rows(part, self.fit.monitor) for part in (self.fit.X, self.fit.y))
        return _to_set(Dataset(X, y), device, self.inputs)


class _SkorchCourse:
    """The course of a network: skorch's data loader, callbacks and history."""

    # Callbacks inspect each epoch.
    is_foreseen = False
    first_epoch = 0

    def __init__(self, fit: SkorchFit, datasets: Sequence[Any]) -> None:
        self._fit, self.net, self._generator = fit, fit.net, fit.generator
        self.stopping = StoppingState()
        self._train, self._valid = datasets
        self._callbacks = NetCallbacks(
            self.net, dataset_train=self._train, dataset_valid=self._valid
        )
        self.uses_best = self._callbacks.loads_best

    @property
    def stopped(self) -> bool:
        """Whether a callback has ended the training."""
        return self._callbacks.stopped

    def recall(self, state: TrainingState) -> bool:
        """Continue from the state of another net, except its optimizer's moments.

        Returns whether that was possible. The net stays at its start if the state is
        incomplete, or of another validation set, as by a ``ValidSplit`` without a seed.
        """
        memory, net = state.course, self.net
        rows = rows_digest((self._train, self._valid))
        if "options" not in memory or memory["rows"] != rows:
            return False
        weights = state.weights if state.last_weights is None else state.last_weights
        arrays = {name: np.array(array) for name, array in weights.items()}
        net.module_.load_state_dict({n: torch.from_numpy(a) for n, a in arrays.items()})
        self._generator.set_state(generator_after(state))
        net.history_ = History(map(dict, state.history))
        recall_callbacks(net, memory)
        self._callbacks.stopped = memory.get("stopped", False)
        return True

    def order(self, epoch: int, train: TensorSet) -> Tensor:
        """Return the order of the samples, drawn like a DataLoader."""
        self._draw()
        if not self.net.get_params_for("iterator_train").get("shuffle", False):
            return torch.arange(len(train))
        generator = torch.Generator()
        generator.manual_seed(self._draw())
        return torch.randperm(len(train), generator=generator)

    def generator(self, epoch: int) -> torch.Generator:
        """Return the generator of ``nn.Dropout``: one stream for the whole fit."""
        return self._generator

    def rates(self, epoch: int, n_batches: int) -> list[float]:
        """Begin an epoch and return the learning rate of each of its steps."""
        return self._callbacks.begin_epoch(n_batches)

    def improved(
        self, record: dict[str, Any], batch_losses: Tensor, valid_outputs: Tensor | None
    ) -> bool:
        """End an epoch: fill the history and call the callbacks."""
        history = self.net.history
        sizes = batch_sizes_of(self.net, "train", len(self._train))
        self._callbacks.note_batches(batch_losses, sizes)
        history.record("train_batch_count", len(sizes))
        if valid_outputs is not None:
            self._note_validation(valid_outputs)
        for name in ("monitor_loss", "monitor_score"):
            if name in record:
                history.record(name, record[name])
        return self._callbacks.end_epoch(record)

    def memory(self) -> dict[str, Any]:
        """Return the state of the net and its generator."""
        datasets = (self._train, self._valid)
        memory = net_memory(self.net, self._fit.begin, self._generator, datasets)
        return memory | self._callbacks.end_state()

    def _note_validation(self, outputs: Tensor) -> None:
        net = self.net
        self._draw()
        sizes = batch_sizes_of(net, "valid", len(self._valid))
        inputs = self._fit.inputs
        samples = _to_set(self._valid, net.device, inputs)
        start = 0
        for size in sizes:
            columns, y = samples[start : start + size]
            X = as_net_takes(columns, inputs)
            y_pred = outputs[start : start + size]
            with _evaluating(net.criterion_):
                loss = net.get_loss(y_pred, y, X=X, training=False)
            self._callbacks.note_validation(X, y, y_pred, loss)
            start += size
        net.history.record("valid_batch_count", len(sizes))

    def _draw(self) -> int:
        drawn = torch.empty((), dtype=torch.int64).random_(generator=self._generator)
        return int(drawn.item())


def _loss(net: Any, y: Any) -> StackedLoss:
    """Return the loss of a net; for cross entropy with explicit derivatives."""
    criterion, classes = net.criterion_, torch.as_tensor(y)
    if (
        type(criterion) is nn.CrossEntropyLoss
        and module_structure(criterion) == module_structure(nn.CrossEntropyLoss())
        and classes.ndim == 1
        and classes.dtype == torch.int64
        # Torch ignores some negative class numbers.
        and int(classes.min()) >= 0
    ):
        return stacked_loss("cross_entropy")

    def judged(y_pred: Tensor, y_true: Tensor) -> Tensor:
        with _evaluating(criterion):
            loss: Tensor = net.get_loss(y_pred, y_true)
        return loss

    return loss_by_autograd(net.get_loss, judged)


@contextmanager
def _evaluating(criterion: nn.Module) -> Iterator[None]:
    """Set a criterion to evaluation mode, as skorch does in validation."""
    criterion.eval()
    try:
        yield
    finally:
        criterion.train()


def as_net_takes(X: Tensor, inputs: Sequence[NamedInput]) -> Any:
    """Convert samples of a fleet to the input of a skorch net."""
    return split_inputs(X, inputs) if inputs else X


def _to_set(dataset: Any, device: str, inputs: Sequence[NamedInput]) -> TensorSet:
    index = None
    while isinstance(dataset, Subset):
        positions = torch.as_tensor(np.asarray(dataset.indices))
        index = positions if index is None else positions[index]
        dataset = dataset.dataset
    if type(dataset) is not Dataset:
        raise NoFleetError(f"its data come from a {type(dataset).__name__}")
    X = dataset.X
    if inputs:
        arrays = {name: np.asarray(values) for name, values in X.items()}
        try:
            X = pack_inputs(arrays, inputs, "float64")
        except ValueError as error:
            raise NoFleetError(str(error)) from None
    X, y = (torch.as_tensor(part).to(device) for part in (X, dataset.y))
    return TensorSet(X, y, index=None if index is None else index.to(device))
