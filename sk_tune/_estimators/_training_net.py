# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The skorch net that every estimator holds: skorch's parts with a leaner training loop.

skorch builds the net, records its history, runs its callbacks and predicts.  Its work per
batch (collation, hooks, history entries, moving the loss to the host) costs more than the
arithmetic of a small network.  So this loop runs the batches, and calls batch hooks only if
a callback has them.
"""

import copy
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.utils import ClassifierTags
from skorch.callbacks import Callback, PrintLog
from skorch.dataset import Dataset
from skorch.history import History
from skorch.utils import to_device
from torch import Tensor, nn

from sk_tune._augment import Augmentation, Layout, RowAugmenter
from sk_tune._compat import has_hooks
from sk_tune._estimators._net_state import (
    LateOptimizerNet,
    cloned,
    moved,
    undone_on_failure,
)
from sk_tune._estimators._validation import has_device, naming_monitor
from sk_tune._fleets import NetworkStack
from sk_tune._nets import MLP, by_member, seed_dropout, set_dropout_step, unchanged_tensors
from sk_tune._processes import import_for_optimizers
from sk_tune._schedule import learning_rate_factor
from sk_tune._training import (
    BinaryCrossEntropy,
    CrossEntropy,
    EpochTimer,
    LowestLosses,
    StoppingState,
    Stream,
    TensorBatches,
    TensorSet,
    add_l1_gradient,
    check_time,
    derive_seed,
    forked_rng,
    loss_message,
    one_thread,
    takes_one_thread,
    weights_message,
)
from sk_tune._warnings import is_raised_by_code, warn_user
from sk_tune.exceptions import ParameterWarning, SavingWarning, TrainingDivergedError

# Map from outputs to probabilities, for scoring callbacks.
_PROBABILITIES: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    CrossEntropy: partial(torch.softmax, dim=1),
    BinaryCrossEntropy: torch.sigmoid,
}
# From this number of samples on, building the program takes less time than it saves.
_MANY = 2000
_BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_grad_computed")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """Options of training that skorch does not have."""

    seed: int
    learning_rate: float
    lr_schedule: str
    schedule_epochs: int  # length of the schedule
    gradient_clip: float | None
    l1: float
    augmentation: tuple[Augmentation, ...]
    layout: Layout  # names the axes of a sample
    codes: tuple[int, ...]  # columns of category codes
    patience: int | None  # None disables early stopping
    tol: float
    dtype: str
    n_outputs: int
    score: Callable[[Tensor, Tensor, Tensor | None], Tensor]  # of the history
    global_rng: bool  # the module may draw from torch's global generator


def for_callbacks(rows: TensorSet) -> Dataset:
    """Return samples as skorch's callbacks expect them."""
    dataset = Dataset(rows.X, rows.y)
    dataset.sample_weight = rows.sample_weight
    return dataset


class _StopTraining(Exception):
    pass


# The mean loss of a batch, its outputs, (B, C), and its targets.
_Outcome = tuple[Tensor, Tensor, Any]


class TrainingNet(LateOptimizerNet):
    """A skorch net that trains on tensors, epoch by epoch, and can always be resumed.

    `criterion` takes predictions, targets and optional weights; `sample_work` is the number
    of multiplications for one sample.
    """

    def __init__(
        self,
        module: nn.Module,
        criterion: nn.Module,
        *,
        options: TrainingOptions,
        sample_work: float,
        **kwargs: Any,
    ) -> None:
        self.options = options
        self.sample_work = sample_work
        super().__init__(
            module,
            criterion,
            iterator_train=TensorBatches,
            iterator_train__seed=options.seed,
            iterator_valid=TensorBatches,
            dataset=TensorSet,
            train_split=None,
            predict_nonlinearity=_PROBABILITIES.get(type(criterion)),
            **kwargs,
        )

    def get_default_callbacks(self) -> list[tuple[str, Callback]]:
        """Return skorch's default callbacks, except callbacks that the loop replaces."""
        return [("print_log", PrintLog())] if self.verbose else []

    def initialize(self) -> "TrainingNet":
        """Build all parts and reset the counters of a fit."""
        super().initialize()
        self.n_steps_ = self.first_epoch_ = 0
        self.stopping_ = StoppingState()
        self.last_weights_: dict[str, Tensor] | None = None
        self.best_weights_: dict[str, Tensor] | None = None
        return self

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Call a hook of all callbacks; their KeyboardInterrupt ends the training."""
        is_epoch_end = method_name == "on_epoch_end"
        try:
            with naming_monitor(self) if is_epoch_end else nullcontext():
                super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt as interrupt:
            is_outside = method_name in {"on_train_begin", "on_train_end"}
            if is_outside or not is_raised_by_code(interrupt):
                raise
            raise _StopTraining from None

    def get_loss(
        self,
        y_pred: Tensor,
        y_true: Any,
        X: Any = None,
        training: bool = False,  # noqa: FBT001
    ) -> Tensor:
        """Return the loss of a batch; `y_true` may be a tuple with sample weights."""
        targets = y_true if isinstance(y_true, tuple) else (y_true,)
        of_members = isinstance(self.module_, MLP) and y_pred.ndim == 3
        parts = by_member(y_pred, *targets) if of_members else (y_pred, *targets)
        loss: Tensor = self.criterion_(*parts)
        return loss

    @property
    def classes_(self) -> Any:
        """Encoded labels, for scorers; only classifiers have them."""
        if not isinstance(self.criterion_, CrossEntropy):
            raise AttributeError("classes_")
        return np.arange(self.options.n_outputs)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if isinstance(self.criterion, CrossEntropy):
            tags.estimator_type = "classifier"
            tags.classifier_tags = ClassifierTags()
        return tags

    def predict(self, X: Any) -> Any:
        """Return encoded labels or scaled targets, for scoring callbacks."""
        y_pred = self.predict_proba(X)
        if isinstance(self.criterion_, CrossEntropy):
            return y_pred.argmax(axis=1)
        return y_pred > 0.5 if isinstance(self.criterion_, BinaryCrossEntropy) else y_pred

    def warn_if_nothing_is_learnt(self) -> None:
        """Warn before training if early stopping or the schedule has already ended."""
        schedule, most = self.options.lr_schedule, self.options.schedule_epochs
        if self.stopped_early:
            text = (
                "Early stopping has ended the training, so partial_fit has no effect. "
                "Use early_stopping=False to train on a stream."
            )
        elif schedule != "constant" and len(self.history) - self.first_epoch_ >= most:
            text = (
                f"lr_schedule={schedule!r} has ended after max_epochs={most}, so "
                "partial_fit hardly learns, at a rate of "
                f"{self.optimizer_.param_groups[0]['lr']:.1g}. Use lr_schedule='constant' "
                "to train on a stream."
            )
        else:
            return
        warn_user(text, ParameterWarning)

    @property
    def stopped_early(self) -> bool:
        """Whether early stopping has ended the training."""
        patience = self.options.patience
        return patience is not None and self.stopping_.n_waited >= patience

    def train_epochs(
        self,
        train: TensorSet,
        valid: TensorSet | None,
        n_epochs: int,
        monitor: TensorSet | None = None,
    ) -> None:
        """Train for at most `n_epochs` more epochs, continuing exactly."""
        import_for_optimizers()  # Before the epochs, whose seconds serve as estimates.
        n_samples = min(len(train), self.batch_size) if self.batch_size > 0 else len(train)
        # Three passes: forward, and backward for the weights and for the inputs.
        with self._threads(3 * n_samples), undone_on_failure(self):
            if self.last_weights_ is not None:
                self.module_.load_state_dict(self.last_weights_)
            batches = self.get_iterator(train, training=True)
            # skorch data sets with labels only, as skorch's callbacks expect.
            sets = {
                "dataset_train": for_callbacks(train),
                "dataset_valid": None if valid is None else for_callbacks(valid),
            }
            self.lowest_ = LowestLosses(self.history)
            self.notify("on_train_begin", X=train.X, y=train.y)
            timer = EpochTimer()
            try:
                for done in range(n_epochs):
                    if self.stopped_early or (done and timer.is_late()):
                        break
                    self._run_epoch(batches, valid, monitor, sets)
            except _StopTraining:
                # An incomplete epoch has no duration and does not count.
                if "dur" not in self.history[-1]:
                    del self.history[-1]
            for name, weights in self.module_.named_parameters():
                if not torch.isfinite(weights).all():
                    done, rate = len(self.history), self.options.learning_rate
                    raise TrainingDivergedError(weights_message(name, done, rate))
            if self.options.patience is not None:
                # The best weights predict; training would continue from the last weights.
                self.last_weights_ = cloned(self.module_.state_dict())
                self.module_.load_state_dict(self.best_weights_ or self.last_weights_)
            last = self.history[-1] if self.history else {}
            # skorch's TrainEndCheckpoint reads the last batch.
            last["batches"] = [{}]
            self.notify("on_train_end", X=train.X, y=train.y)
            last["batches"] = []

    def forward(self, X: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the outputs of samples; many go through a program that only predicts."""
        is_many = isinstance(X, Tensor) and len(X) >= _MANY and not (args or kwargs)
        if is_many and type(self.module_) is MLP and not has_hooks(self.module_):
            self._set_training(False)
            X = to_device(X, self.device)
            parts = NetworkStack([self.module_], X).map(X, torch.clone, shared=True)
            return torch.cat(parts, dim=1)[0].cpu()
        with self._threads(min(len(X), self.iterator_valid__batch_size)):
            return super().forward(X, *args, **kwargs)

    def forward_iter(self, X: Any, training: bool = False, device: str = "cpu") -> Any:  # noqa: FBT001 - skorch's
        """Yield the outputs of batches; unlike in skorch, all batches share one mode."""
        self.check_is_fitted()
        self._set_training(training)
        for batch in self.get_iterator(self.get_dataset(X), training=training):
            with torch.set_grad_enabled(training):
                outputs = self.infer(batch[0])
            yield to_device(outputs, device)

    def _threads(self, n_samples: int) -> Any:
        """Return a context with a suitable number of threads for passes over samples."""
        return one_thread(wanted=takes_one_thread(n_samples * self.sample_work))

    def start_from(self, other: "TrainingNet", *, changes: str = "") -> None:
        """Take over the weights in use and the history of another net, for a warm start.

        `changes` are the parameters that differ, for the error of another architecture.
        """
        ours, theirs = self.criterion_, other.criterion_
        if (ours.link, ours.levels) != (theirs.link, theirs.levels):
            raise ValueError(
                "With warm_start=True the loss must keep the scale of its outputs and its "
                f"quantiles. Got {type(ours).__name__} after {type(theirs).__name__}."
            )
        try:
            self.module_.load_state_dict(other.module_.state_dict())
        except RuntimeError as error:
            raise ValueError(
                "With warm_start=True the network must keep its architecture. Got "
                f"{changes or f'another architecture: {error}'}."
            ) from error
        if type(self.optimizer_) is type(other.optimizer_):
            state = copy.deepcopy(other.optimizer_.state_dict()["state"])
            groups = self.optimizer_.state_dict()["param_groups"]
            # With a constant schedule, the rate may have been changed by a callback.
            stays = self.options.lr_schedule == "constant" and bool(other.history)
            for group, old in zip(groups, other.optimizer_.param_groups, strict=True):
                if stays and old["initial_lr"] == group["lr"]:
                    group["lr"] = other.history[-1]["lr"]
            self.optimizer_.load_state_dict({"state": state, "param_groups": groups})
        self.history_: History = History(other.history_)
        self.first_epoch_ = len(self.history)
        self.n_steps_ = other.n_steps_

    def _run_epoch(
        self,
        batches: TensorBatches,
        valid: TensorSet | None,
        monitor: TensorSet | None,
        sets: dict[str, Any],
    ) -> None:
        start = time.perf_counter()
        batches.epoch = len(self.history)
        self.notify("on_epoch_begin", **sets)
        seed = derive_seed(self.options.seed, Stream.MODULE, batches.epoch)
        with forked_rng(seed, self.device) if self.options.global_rng else nullcontext():
            self._train_epoch(batches)
        if valid is not None:
            hooks = self.has_batch_hooks()
            self._record_scores("valid", self._evaluate(valid, hooks=hooks))
            if self.options.patience is not None:
                epoch, loss = len(self.history), self.history[-1]["valid_loss"]
                self.stopping_ = self.stopping_.after(epoch, loss, self.options.tol)
                if self.stopping_.best_epoch == epoch:
                    self.best_weights_ = cloned(self.module_.state_dict())
        if monitor is not None:
            with unchanged_tensors(self.module_):
                outcomes = self._evaluate(monitor, hooks=False)
            self._record_scores("monitor", outcomes)
        self.history.record("lr", self.optimizer_.param_groups[0]["lr"])
        self.history.record("dur", time.perf_counter() - start)
        if not self.history[-1]["batches"]:
            # skorch's Checkpoint reads the last batch.
            self.history.new_batch()
        try:
            self.notify("on_epoch_end", **sets)
        finally:
            # Batch records serve callbacks within the epoch and would bloat pickles.
            self.history[-1]["batches"] = []

    def _train_epoch(self, batches: TensorBatches) -> None:
        hooks = self.has_batch_hooks()
        seed = derive_seed(self.options.seed, Stream.DROPOUT)
        dropouts = seed_dropout(self.module_, seed)
        n_batches = len(batches)
        augmenter = None
        options = self.options
        if options.augmentation:
            # The augmenter of a fleet of one network.
            augmenter = RowAugmenter(
                [options.augmentation],
                [derive_seed(options.seed, Stream.AUGMENTATION)],
                options.layout,
                torch.device(self.device),
                options.codes,
            )
            augmenter.begin_epoch([self.n_steps_], n_batches)
        self._set_training(True)
        outcomes: list[_Outcome] = []
        for index, batch in enumerate(batches):
            check_time()
            if options.lr_schedule != "constant":
                n_epochs = batches.epoch - self.first_epoch_ + index / n_batches
                progress = n_epochs / options.schedule_epochs
                factor = learning_rate_factor(options.lr_schedule, progress)
                for group in self.optimizer_.param_groups:
                    group["lr"] = options.learning_rate * factor
            set_dropout_step(dropouts, self.n_steps_)
            if hooks:
                self.notify("on_batch_begin", batch=batch, training=True)
                # A callback that predicts switches the net to evaluation mode.
                self._set_training(True)
            augmented = batch if augmenter is None else _augmented(augmenter, batch, index)
            loss, y_pred = self._train_batch(batch, augmented, hooks=hooks)
            self.n_steps_ += 1
            outcomes.append((loss, y_pred, batch[1]))
            if hooks:
                self._end_batch("train", batch, loss, y_pred)
        self._record_scores("train", outcomes)

    def has_batch_hooks(self) -> bool:
        """Return whether a callback has hooks for batches."""
        return any(
            getattr(type(callback), hook) is not getattr(Callback, hook)
            for _, callback in self.callbacks_
            for hook in _BATCH_HOOKS
        )

    def _train_batch(
        self, batch: tuple[Any, Any], augmented: tuple[Any, Any], *, hooks: bool
    ) -> tuple[Tensor, Tensor]:
        """Take one step on an augmented batch; hooks get the original batch."""
        optimizer = self.optimizer_
        optimizer.zero_grad()
        y_pred = self.module_(augmented[0])
        # Mixed samples have a target for each of their parts.
        y = augmented[1][0] if isinstance(augmented[1], tuple) else augmented[1]
        n_parts, repeated = len(y) // len(y_pred), y_pred
        if n_parts > 1:
            repeated = y_pred.repeat(n_parts, *(1,) * (y_pred.ndim - 1))
        loss = self.get_loss(repeated, augmented[1])
        loss.backward()  # type: ignore[no-untyped-call]
        options = self.options
        if options.l1:
            add_l1_gradient(self.module_.parameters(), options.l1)
        if hooks:
            parameters = list(self.get_all_learnable_params())
            self.notify(
                "on_grad_computed", named_parameters=parameters, batch=batch, training=True
            )
        if options.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.module_.parameters(), options.gradient_clip)
        optimizer.step()
        outputs = y_pred.detach()
        if isinstance(self.module_, MLP):
            outputs = self.module_.combined(outputs)
        return loss.detach(), outputs

    @torch.no_grad()
    def _evaluate(self, rows: TensorSet, *, hooks: bool) -> list[_Outcome]:
        self._set_training(False)
        outcomes: list[_Outcome] = []
        for batch in self.get_iterator(rows, training=False):
            if hooks:
                self.notify("on_batch_begin", batch=batch, training=False)
            y_pred = self.module_(batch[0])
            loss = self.get_loss(y_pred, batch[1])
            outcomes.append((loss, y_pred, batch[1]))
            if hooks:
                self._end_batch("valid", batch, loss, y_pred)
        return outcomes

    def _record_scores(self, prefix: str, outcomes: list[_Outcome]) -> None:
        """Record an epoch's mean loss over samples, and its score."""
        losses, outputs, targets = zip(*outcomes, strict=True)
        y_pred, weight = torch.cat(outputs), None
        if isinstance(targets[0], tuple):
            y_true, weight = (torch.cat(part) for part in zip(*targets, strict=True))
            sizes = torch.stack([w.sum() for _, w in targets])
        else:
            y_true = torch.cat(targets)
            counts = list(map(len, targets))
            if y_true.ndim == 1 and not y_true.is_floating_point():
                # As in torch, negative labels are ignored by the loss.
                counts = [int((labels >= 0).sum()) for labels in targets]
            sizes = torch.tensor(counts, device=y_pred.device)
        # The loss of a batch without valid labels is NaN; its size is 0.
        finite_losses = torch.stack(losses).where(sizes > 0, 0.0)
        loss = float((finite_losses * sizes).sum() / sizes.sum())
        # Scores have a leading axis of networks, here of length 1.
        parts = [t if t is None else t.unsqueeze(0) for t in (y_pred, y_true, weight)]
        score = float(self.options.score(*parts))  # type: ignore[arg-type]
        if not math.isfinite(loss) and prefix != "monitor":
            rate = self.options.learning_rate
            raise TrainingDivergedError(loss_message(prefix, loss, len(self.history), rate))
        name = prefix + "_loss"
        self.history.record(name, loss)
        self.history.record(name + "_best", self.lowest_.is_lowest(name, loss))
        self.history.record(prefix + "_score", score)

    def _end_batch(
        self, prefix: str, batch: tuple[Any, Any], loss: Tensor, y_pred: Tensor
    ) -> None:
        self.history.record_batch(prefix + "_loss", loss.item())
        self.history.record_batch(prefix + "_batch_size", len(batch[0]))
        X, target = batch
        self.notify(
            "on_batch_end",
            batch=(X, target[0] if isinstance(target, tuple) else target),
            training=prefix == "train",
            loss=loss,
            y_pred=y_pred,
        )

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return state if state["device"] == "cpu" else moved(state, "cpu")

    def __setstate__(self, state: dict[str, Any]) -> None:
        device = state["device"]
        if not has_device(torch.device(device)):
            warn_user(
                f"The network was trained on {device!r}, which is not available here. "
                "It is loaded on the CPU.",
                SavingWarning,
            )
            device = "cpu"
        state = {**state, "device": device}
        self.__dict__.update(state if device == "cpu" else moved(state, device))


def _augmented(
    augmenter: RowAugmenter, batch: tuple[Any, Any], step: int
) -> tuple[Any, Any]:
    """Return a batch, inputs and targets, after augmentation."""
    X, target = batch
    y, weight = target if isinstance(target, tuple) else (target, None)
    weight = None if weight is None else weight.unsqueeze(0)
    augmented = augmenter.augmented(X.unsqueeze(0), y.unsqueeze(0), weight, slice(1), step)
    X, y = augmented.X.squeeze(0), augmented.y.squeeze(0)
    return X, y if augmented.weight is None else (y, augmented.weight.squeeze(0))
