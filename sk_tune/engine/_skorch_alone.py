# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a plain skorch net lacks where skorch trains it alone: scores, checks and keys."""

from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor

from sk_tune.estimators import module_keys
from sk_tune.exceptions import TrainingDivergedError
from sk_tune.training import (
    EpochTimer,
    TensorSet,
    check_time,
    forked_rng,
    loss_message,
    row_accuracy,
    row_r2,
    weights_message,
)

__all__ = ["Watcher", "check_weights", "sample_score"]


class Watcher(Callback):  # type: ignore[misc]
    """Scores a net on rows that change nothing, not even the state of the generator.

    Ends it when the time is up.  Keeps the keys of its modules before they train.
    """

    def __init__(self, monitor: TensorSet | None) -> None:
        self.monitor = monitor
        self.keys: dict[str, Any] = {}
        self.timer = EpochTimer()

    @classmethod
    def of(cls, net: Any, monitor: TensorSet | None) -> "Watcher":
        """Return one that a net calls before the callbacks that may end the training."""
        watcher = cls(monitor)
        _add_callback(net, watcher)
        return watcher

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Read the modules."""
        self.keys = module_keys(net)
        self.timer = EpochTimer()

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """End the training as skorch's callbacks do, if another epoch would be late."""
        if len(net.history) > 1 and self.timer.is_late():
            del net.history[-1]
            raise KeyboardInterrupt

    def on_batch_begin(self, net: Any, **kwargs: Any) -> None:
        """Look at the time."""
        check_time()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Score the net."""
        if self.monitor is None:
            return
        X, y = self.monitor[:]
        with forked_rng(0, net.device):
            outputs = net.forward(X)
        loss = net.get_loss(outputs.to(net.device), y.to(net.device)).item()
        score = sample_score(outputs.unsqueeze(0), y.unsqueeze(0), None)
        net.history.record("monitor_loss", loss)
        net.history.record("monitor_score", float(score))


def check_weights(net: Any) -> None:
    """Raise ``TrainingDivergedError`` if a weight ended infinite or NaN; skorch goes on."""
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


def sample_score(y_pred: Tensor, y_true: Tensor, sample_weight: Tensor | None) -> Tensor:
    """Return accuracy for class indices, R^2 for targets like the outputs, else NaN."""
    if not y_true.is_floating_point() and y_true.ndim == 2 and y_pred.ndim == 3:
        return row_accuracy(y_pred, y_true, sample_weight)
    if y_true.shape == y_pred.shape and y_true.ndim == 3:
        return row_r2(y_pred, y_true, sample_weight)
    return y_pred.new_full((len(y_pred),), float("nan"))


def _add_callback(net: Any, callback: Callback) -> None:
    """Let a callback be called before those that may end the training."""
    entry = ("sk_tune_watcher", callback)
    if net.callbacks == "disable":
        net.callbacks = [entry]
        net.initialize_callbacks()
        names = [name for name, _ in net.get_default_callbacks()]
        net.set_params(**{f"callbacks__{name}": None for name in names})
    else:
        net.set_params(callbacks=[entry, *(net.callbacks or [])])
