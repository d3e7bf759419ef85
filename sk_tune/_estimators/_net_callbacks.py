# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""skorch's callbacks of a network in a fleet: between epochs they run as in a net's loop.

The net of the callbacks keeps the history; the fleet takes the steps and keeps the weights.
Output of callbacks is printed when an estimator or net adopts the training.
"""

import warnings
from dataclasses import dataclass
from inspect import signature
from typing import Any

from skorch import NeuralNet
from skorch.callbacks import (
    Callback,
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    GradientNormClipping,
    LRScheduler,
    PassthroughScoring,
    PrintLog,
)
from skorch.history import History
from skorch.utils import noop
from torch import Tensor

from sk_tune._estimators._training_net import TrainingNet, for_callbacks
from sk_tune._estimators._validation import naming_monitor
from sk_tune._fleets import SeededCourse
from sk_tune._json_values import decode, encode
from sk_tune._text import error_text
from sk_tune._training import TensorSet, TrainingState, batch_sizes
from sk_tune._warnings import is_raised_by_code, warn_user
from sk_tune.exceptions import ParameterWarning

# Attributes that callbacks carry between epochs; timers, clipping and logs carry none.
_CARRIED: dict[type, tuple[str, ...]] = {
    EarlyStopping: ("misses_", "dynamic_threshold_", "best_epoch_"),
    EpochScoring: ("best_score_",),
    PassthroughScoring: ("best_score_",),
    LRScheduler: ("batch_idx_",),
}
# Callbacks whose state between epochs is known.
KNOWN_CALLBACKS = (*_CARRIED, EpochTimer, GradientNormClipping, PrintLog)


class NetCallbacks:
    """The callbacks of an initialised net that trains in a fleet."""

    def __init__(self, net: Any, **datasets: Any) -> None:
        self._net = net
        self._datasets = datasets
        callbacks = [callback for _, callback in net.callbacks_]
        stoppers = [c for c in callbacks if isinstance(c, EarlyStopping)]
        self._stopper: Any = stoppers[0] if stoppers else None
        # The fleet keeps the best weights; the net's own weights never change.
        self.loads_best = self._stopper is not None and self._stopper.load_best
        if self._stopper is not None:
            self._stopper.load_best = False
        self._schedulers = [c for c in callbacks if isinstance(c, LRScheduler)]
        # Its only effect is its output, which is printed on adoption.
        net.callbacks_ = [(n, c) for n, c in net.callbacks_ if type(c) is not PrintLog]
        self.stopped = False
        net.notify("on_train_begin", X=datasets["dataset_train"], y=None)

    def begin_epoch(self, n_batches: int) -> list[float]:
        """Begin an epoch and return the optimizer's rate in each of its steps."""
        net = self._net
        net.notify("on_epoch_begin", **self._datasets)
        rates = []
        for _ in range(n_batches):
            rates.append(float(net.optimizer_.param_groups[0]["lr"]))
            net.history.new_batch()
            with _no_order_warning():
                for scheduler in self._schedulers:
                    scheduler.on_batch_end(net, training=True)
        return rates

    def note_batches(self, losses: Tensor, sizes: list[int]) -> None:
        """Record the training batches of an epoch in the history."""
        batches = self._net.history[-1]["batches"]
        for batch, loss, size in zip(batches, losses.tolist(), sizes, strict=True):
            batch |= {"train_loss": loss, "train_batch_size": size}

    def note_validation(self, X: Any, y: Any, y_pred: Tensor, loss: Tensor) -> None:
        """Pass a validation batch to the callbacks as if the net had computed it."""
        net = self._net
        net.notify("on_batch_begin", batch=(X, y), training=False)
        net.history.record_batch("valid_loss", loss.item())
        net.history.record_batch("valid_batch_size", len(y_pred))
        net.notify("on_batch_end", batch=(X, y), training=False, loss=loss, y_pred=y_pred)

    def end_epoch(self, record: dict[str, Any]) -> bool:
        """End an epoch and return whether its weights are the best so far."""
        net = self._net
        try:
            with _no_order_warning(), naming_monitor(net):
                NeuralNet.notify(net, "on_epoch_end", **self._datasets)
        except KeyboardInterrupt as interrupt:
            if not is_raised_by_code(interrupt):
                raise
            self.stopped = True
        if "dur" in net.history[-1]:
            net.history.record("dur", record["dur"])
        epoch = record["epoch"]
        record.clear()
        record.update(net.history[-1])
        return self.loads_best and bool(self._stopper.best_epoch_ == epoch)

    def end_state(self) -> dict[str, bool]:
        """Return whether a callback has ended the training, as part of its state."""
        return {"stopped": True} if self.stopped else {}


def _no_order_warning() -> warnings.catch_warnings:
    """Silence torch's warning that the optimizer has not stepped: the fleet steps."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)


@dataclass
class CallbackCourse(SeededCourse):
    """The course of a network of an estimator with callbacks; `net` is its own net."""

    net: TrainingNet
    n_samples: int
    valid: TensorSet | None
    state: TrainingState | None

    def __post_init__(self) -> None:
        valid = None if self.valid is None else for_callbacks(self.valid.taken())
        net = silenced(self.net)
        self._callbacks = NetCallbacks(net, dataset_train=None, dataset_valid=valid)
        if self.state is not None:
            net.history_ = History(map(dict, self.state.history))
            recall_callbacks(net, self.state.course)
            self._callbacks.stopped = self.state.course.get("stopped", False)

    @property
    def is_foreseen(self) -> bool:
        """False, because callbacks inspect each epoch."""
        return False

    def rates(self, epoch: int, n_batches: int) -> list[float]:
        rates = self._callbacks.begin_epoch(n_batches)
        # A net with a schedule has no LRScheduler.
        is_constant = self.lr_schedule == "constant"
        return rates if is_constant else super().rates(epoch, n_batches)

    def improved(
        self, record: dict[str, Any], batch_losses: Tensor, valid_outputs: Tensor | None
    ) -> bool:
        is_best = super().improved(record, batch_losses, valid_outputs)
        net, history = self.net, self.net.history
        for name, value in record.items():
            if name != "batches":
                history.record(name, value)
        if self.lr_schedule == "constant":
            # A scheduler has changed it after the last batch.
            history.record("lr", net.optimizer_.param_groups[0]["lr"])
        if net.has_batch_hooks():
            size = self.n_samples if net.batch_size == -1 else net.batch_size
            sizes = batch_sizes(self.n_samples, size, shuffled=True)
            self._callbacks.note_batches(batch_losses, sizes)
            if valid_outputs is not None:
                self._note_validation(valid_outputs)
        else:
            history[-1]["batches"] = [{}]
        is_best |= self._callbacks.end_epoch(record)
        history[-1]["batches"] = record["batches"] = []
        return is_best

    def _note_validation(self, outputs: Tensor) -> None:
        start = 0
        for X, target in self.net.get_iterator(self.valid, training=False):
            y_pred = outputs[start : start + len(X)]
            loss = self.net.get_loss(y_pred, target)
            y = target[0] if isinstance(target, tuple) else target
            self._callbacks.note_validation(X, y, y_pred, loss)
            start += len(X)

    def memory(self) -> dict[str, Any]:
        return callback_memory(self.net) | self._callbacks.end_state()

    @property
    def uses_best(self) -> bool:
        return super().uses_best or self._callbacks.loads_best

    @property
    def stopped(self) -> bool:
        return super().stopped or self._callbacks.stopped


def reason_in_custom_callbacks(entries: Any) -> str:
    """Return why callbacks must run on the estimator's own objects; empty if not.

    Such callbacks may keep attributes, which only they can hold.
    """
    callbacks = [e[1] if isinstance(e, tuple) else e for e in entries]
    kinds = [c if isinstance(c, type) else type(c) for c in callbacks]
    custom = next((kind for kind in kinds if kind not in KNOWN_CALLBACKS), None)
    return "" if custom is None else f"it has callbacks ({custom.__name__})"


def lost_callbacks(net: Any, stored: tuple[type, ...]) -> dict[str, Any]:
    """Return the names of callbacks, except of `stored` types, whose state is lost.

    Such a callback has attributes that are not parameters, or a hook for the begin of a
    training, which a continued training would call again.
    """
    names = {
        type(callback).__name__
        for _, callback in net.callbacks_
        if type(callback) not in stored
        and not type(callback).__module__.startswith("sk_tune.")
        and (
            not vars(callback).keys() <= signature(type(callback)).parameters.keys()
            or type(callback).on_train_begin is not Callback.on_train_begin
        )
    }
    return {"lost": sorted(names)} if names else {}


def callback_memory(net: Any) -> dict[str, Any]:
    """Return the state of optimizer and callbacks; under "unstorable" why not."""
    lost = lost_callbacks(net, KNOWN_CALLBACKS)
    try:
        memory: dict[str, Any] = {
            "options": _options(net),
            "callbacks": {
                name: {part: getattr(c, part) for part in _CARRIED.get(type(c), ())}
                for name, c in net.callbacks_
            },
            "schedulers": {name: s.state_dict() for name, s in _schedulers(net)},
        }
        return {**decode(encode(memory)), **lost}
    except Exception as error:  # noqa: BLE001 - a user's scheduler may raise anything
        return {"unstorable": error_text(error), **lost}


def recall_callbacks(net: Any, memory: dict[str, Any]) -> None:
    """Restore the optimizer's options, callbacks and schedulers of a net."""
    if "options" not in memory:
        return
    group = net.optimizer_.param_groups[0]
    group.update(_changed(_options(net), memory["options"]))
    for name, callback in net.callbacks_:
        for attribute in _CARRIED.get(type(callback), ()):
            setattr(callback, attribute, memory["callbacks"][name][attribute])
    for name, scheduler in _schedulers(net):
        stored = memory["schedulers"][name]
        scheduler.load_state_dict(_changed(scheduler.state_dict(), stored))


def adopt_callbacks(net: Any, memory: dict[str, Any]) -> None:
    """Give the callbacks of a net their state after training, and print their output."""
    if reason := memory.get("unstorable"):
        warn_user(
            f"The state of the callbacks cannot be stored ({reason}), so partial_fit "
            "restarts their schedules. The state_dict of a scheduler must hold numbers, "
            "strings, lists, tuples and dicts only.",
            ParameterWarning,
            about="callbacks",
        )
    known_names = {kind.__name__ for kind in KNOWN_CALLBACKS}
    if custom := [name for name in memory.get("lost", ()) if name not in known_names]:
        warn_user(
            "Attributes that callbacks set in training are kept only by the estimator's "
            f"own fit. Got {', '.join(custom)} in a search, so partial_fit starts without "
            "its attributes. Clone and fit the estimator to keep them.",
            ParameterWarning,
            about="callbacks",
        )
    if memory.keys() - {"lost"}:
        # Schedulers start at the first epoch.
        history, net.history_ = net.history, History()
        for _, callback in net.callbacks_:
            if type(callback) in _CARRIED:
                callback.on_train_begin(net, X=None, y=None)
        net.history_ = history
        recall_callbacks(net, memory)
        _print_epochs(net)


def clip_of(entries: Any) -> float | None:
    """Return the largest gradient norm that callbacks allow; None without a limit."""
    for entry in entries:
        callback = entry[1] if isinstance(entry, tuple) else entry
        if isinstance(callback, GradientNormClipping):
            return callback.gradient_clip_value  # type: ignore[no-any-return]
    return None


def _options(net: Any) -> dict[str, Any]:
    (group,) = net.optimizer_.param_groups
    return {name: value for name, value in group.items() if name != "params"}


def _schedulers(net: Any) -> list[tuple[str, Any]]:
    return [(n, c.lr_scheduler_) for n, c in net.callbacks_ if isinstance(c, LRScheduler)]


def _changed(current: Any, stored: Any) -> Any:
    """Return `current` with the values of `stored` where they differ.

    Unchanged values stay the same objects: the milestones of torch's ``MultiStepLR`` are a
    ``Counter``, but are stored as a dict.
    """
    if type(current) is type(stored) is dict:
        return current | {n: _changed(current.get(n, v), v) for n, v in stored.items()}
    if type(current) is type(stored) is list and len(current) == len(stored):
        return [_changed(*pair) for pair in zip(current, stored, strict=True)]
    return current if encode(current) == encode(stored) else stored


def silenced(net: Any) -> Any:
    """Suppress all output of a net's own callbacks."""
    net.verbose = 0
    for entry in () if net.callbacks == "disable" else net.callbacks or ():
        callback = entry[1] if isinstance(entry, tuple) else entry
        if isinstance(callback, EarlyStopping | PrintLog):
            callback.sink = noop
    return net


def _print_epochs(net: Any) -> None:
    """Print the output of callbacks in a training, from its history."""
    printing = [c for _, c in net.callbacks_ if isinstance(c, EarlyStopping | PrintLog)]
    if not net.verbose and all(callback.sink is print for callback in printing):
        return
    history, stoppers = net.history, [c for c in printing if isinstance(c, EarlyStopping)]
    loads_best = [stopper.load_best for stopper in stoppers]
    for stopper in stoppers:
        # The net has the best weights already.
        stopper.load_best = False
        stopper.on_train_begin(net)
    try:
        for n in range(1, len(history) + 1):
            net.history_ = History(history[:n])
            for callback in printing:
                callback.on_epoch_end(net)
    except KeyboardInterrupt:
        # Raised by a callback to end a training.
        pass
    finally:
        net.history_ = history
    for stopper, load_best in zip(stoppers, loads_best, strict=True):
        stopper.load_best = load_best
        if load_best:
            stopper.best_model_weights_ = net.module_.state_dict()
        stopper.on_train_end(net)
