# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Preparation of fits up to the start of training, from which any engine can continue.

The steps are the same as in ``fit``.  Fits of the same data, such as the folds of a search,
share the encoded data.
"""

import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.base import clone, is_classifier
from torch import Tensor

from sk_tune._compat import num_samples
from sk_tune._epochs import epochs_of
from sk_tune._estimators._encoded_data import (
    LARGE,
    EncodedData,
    Samples,
    placed,
    take_rows,
    to_tensor,
)
from sk_tune._estimators._net_state import (
    changed_modules,
    module_keys,
    to_tensors,
    training_state,
)
from sk_tune._estimators._network_estimator import NetworkEstimator
from sk_tune._estimators._prepared_fit import PreparedFit
from sk_tune._estimators._validation import LastSeen, check_parameters, resolve_device
from sk_tune._training import TensorSet, TrainingState, seed_of_state
from sk_tune._types import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """One network to train.

    Parameters
    ----------
    estimator : estimator
        An estimator of sk_tune or a plain skorch net, with the parameters to train.  It is
        not changed.
    X : array-like, frame or tensor of shape (n_samples, ...)
        Features.  Fits that refer to the same object share its encoding.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    rows : ndarray of shape (n_train,) or None, default=None
        Positions of the samples to train on; all if None.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Weights of all samples.
    seed : int, bytes or None, default=None
        Seed of all random numbers; if None, from the estimator's ``random_state``.  For a
        plain skorch net, it may be the state of torch's global generator as bytes.
    n_epochs : int or None, default=None
        Epochs to train now; the estimator's ``max_epochs`` if None.  The learning-rate
        schedule always spans ``max_epochs``.
    monitor : ndarray of shape (n_monitor,) or None, default=None
        Positions of samples for scores after each epoch and predictions at the end.  They
        have equal weights and do not affect the training.
    state : TrainingState or None, default=None
        State of an earlier training of the same fit to continue from.
    name : str, default=""
        Name of the fit in messages, for example "candidate 3, fold 1".
    keeps_checkpoints : bool, default=False
        Whether to return checkpoints after some of its epochs, if memory allows.
    checkpoint : TrainingState or None, default=None
        Checkpoint of this same fit from an earlier training.  Continuing from it saves time
        and does not change the result.
    predicts_train : bool, default=False
        Whether a fleet predicts the training samples, too, at the end.
    """

    estimator: Any
    X: Any
    y: Any
    rows: Array | None = None
    sample_weight: Any = None
    seed: int | bytes | None = None
    n_epochs: int | None = None
    monitor: Array | None = None
    state: TrainingState | None = None
    name: str = ""
    keeps_checkpoints: bool = False
    checkpoint: TrainingState | None = None
    predicts_train: bool = False

    @property
    def epochs(self) -> int:
        """Epochs to train, by the samples with a weight if they are left to the data."""
        if self.n_epochs:
            return self.n_epochs
        if self.estimator.max_epochs != "auto":
            return int(self.estimator.max_epochs)
        rows = slice(None) if self.rows is None else self.rows
        counted = num_samples(self.y) if self.rows is None else len(self.rows)
        if self.sample_weight is not None:
            counted = np.count_nonzero(np.asarray(self.sample_weight)[rows])
        return epochs_of(self.estimator, int(counted))

    @property
    def seed_number(self) -> int:
        """The seed, or a number that identifies the state of a generator."""
        return seed_of_state(seed) if isinstance(seed := self.seed, bytes) else seed or 0


# Parameters that affect encoded data. Fits that differ only in others share the data.
DATA_PARAMETERS = (
    *("dtype", "device", "input_shape"),
    *("categorical_features", "numerical_embedding", "n_tokens", "loss", "quantiles"),
)
# Parameters with which a network learns from the values of columns.
_OF_COLUMNS = ("categorical_features", "numerical_embedding", "n_tokens")


class FitPreparer:
    """Prepares fits and caches the data that they share."""

    def __init__(self) -> None:
        # References to the objects keep their ids from being reused.
        self._cache: dict[Any, tuple[EncodedData, dict[str, Any], Any]] = {}
        self._monitors: dict[Any, tuple[TensorSet, Any]] = {}
        # Tensors of the samples of all folds, with their arrays.
        self._wholes: dict[Any, tuple[Tensor, Any]] = {}
        # The last estimator that was checked, and its unfitted copy.
        self._last = LastSeen()
        self._unfitted: NetworkEstimator | None = None

    def prepare(self, fit: Fit) -> PreparedFit:
        """Do all steps of a fit of an estimator of sk_tune except training."""
        estimator = fit.estimator
        if self._unfitted is None or not self._last.is_like(estimator):
            check_parameters(estimator)
            # A copy without learnt attributes.
            self._unfitted = copy.copy(estimator)
            for name in vars(estimator).keys() - estimator.get_params(deep=False):
                delattr(self._unfitted, name)
            self._last.see(estimator)
        twin = copy.copy(self._unfitted)
        device = resolve_device(twin)
        values = [getattr(twin, name, None) for name in DATA_PARAMETERS]
        # Lists, because numpy abbreviates the text of long arrays.
        texts = [repr(v.tolist() if isinstance(v, np.ndarray) else v) for v in values]
        sources = (fit.X, fit.y, fit.rows, fit.sample_weight)
        is_whole = shares_samples(twin, fit)
        key = (type(twin), is_whole, *map(id, sources), *texts)
        if key not in self._cache:
            old_names = set(vars(twin))
            data = _encoded(twin, fit, device, is_whole=is_whole)
            if is_whole:
                data = self._in_whole(data, fit)
            learnt = {n: v for n, v in vars(twin).items() if n not in old_names}
            self._cache[key] = (data, learnt, sources)
        data, learnt, _ = self._cache[key]
        twin.__dict__.update(learnt)
        module = twin._seeded_module(fit.seed_number).to(device)
        state = fit.state
        if state is not None:
            weights = state.weights if state.last_weights is None else state.last_weights
            module.load_state_dict(to_tensors(weights))
        options = twin._options(fit.seed_number)
        size = int(twin.batch_size)
        train, valid = twin._to_sets(data, options, batch_size=size, module=module)
        scored = partial(self._scored, twin, key, fit, device)
        return PreparedFit(
            estimator=twin,
            module=module,
            options=options,
            train=train,
            valid=valid,
            monitor=None if fit.monitor is None else scored(fit.monitor),
            predicted=scored(fit.rows) if fit.predicts_train else None,
            state=state,
            n_epochs=fit.n_epochs or options.schedule_epochs,
        )

    def _whole(self, fit: Fit, like: Tensor) -> Tensor:
        """Return X of all folds as a tensor with the dtype and device of `like`."""
        key = (id(fit.X), like.dtype, like.device)
        if key not in self._wholes:
            X = fit.X.reshape(len(fit.X), *like.shape[1:])
            dtype = str(like.dtype).removeprefix("torch.")
            self._wholes[key] = (to_tensor(X, dtype, like.device), fit.X)
        return self._wholes[key][0]

    def _in_whole(self, data: EncodedData, fit: Fit) -> EncodedData:
        """Return the data of a fold as places in X of all folds, which they share."""
        X = self._whole(fit, data.X)
        rows = np.ascontiguousarray(fit.rows)
        if len(data.y) < len(rows):
            # Samples of weight 0 were dropped.
            rows = rows[np.asarray(fit.sample_weight)[rows] > 0]
        places = torch.from_numpy(rows).to(X.device)
        target = placed(data.target, places, len(X))
        return EncodedData(data.rows._replace(X=fit.X), data.y, X, target, places)

    def _scored(
        self, twin: Any, key: Any, fit: Fit, device: str, rows: Array | None
    ) -> TensorSet:
        """Return samples of a fit that its network predicts."""
        key = (key, id(rows))
        if key not in self._monitors:
            is_whole = shares_samples(twin, fit)
            X = _checked(twin, fit, rows, reset=False, is_whole=is_whole)
            X = twin._check_X(X, reset=False)
            y = twin._check_target(X, take_rows(fit.y, rows))
            if is_classifier(twin) and not twin._is_multilabel:
                has_class = np.isin(y, twin.classes_)
                target = twin._encode_target(np.where(has_class, y, twin.classes_[0]))
                # A class missing from the training samples has no output: it is never
                # predicted, and torch's loss ignores this index.
                target = np.where(has_class, target, -100)
            else:
                target = twin._encode_target(y)
            X = X[:1] if is_whole else X
            X, target = (to_tensor(array, twin.dtype, device) for array in (X, target))
            index = None
            if is_whole:
                index = torch.from_numpy(np.ascontiguousarray(rows)).to(X.device)
                X = self._whole(fit, X)
                target = placed(target, index, len(X))
            self._monitors[key] = (TensorSet(X, target, index=index), rows)
        return self._monitors[key][0]


def _encoded(twin: Any, fit: Fit, device: str, *, is_whole: bool) -> EncodedData:
    """Return the encoded training samples of a fit; without X if folds share it."""
    y, weight = (take_rows(part, fit.rows) for part in (fit.y, fit.sample_weight))
    X = _checked(twin, fit, fit.rows, reset=True, is_whole=is_whole)
    if not is_whole:
        data: EncodedData = twin._encode(X, y, weight, device, twin.dtype, fresh=True)
        return data
    X, y, weight = twin._learn(X, y, weight, fresh=True, classes=None)
    rows = Samples(X, twin._encode_target(y), weight)
    tensors = (to_tensor(a, twin.dtype, device) for a in (X[:1], rows.target))
    return EncodedData(rows, y, *tensors)


def _checked(
    twin: Any, fit: Fit, rows: Array | None, *, reset: bool, is_whole: bool
) -> Any:
    """Return samples of a fit; if folds share them, checked in parts, as views of one."""
    if not is_whole or learns_columns(twin):
        return take_rows(twin._with_uniform_shape(fit.X), rows)
    rows = np.ascontiguousarray(rows)
    n_in_part = max(1, LARGE // max(1, fit.X[:1].nbytes))
    for start in range(0, len(rows), n_in_part):
        twin._check_X(fit.X[rows[start : start + n_in_part]], reset=reset)
    return np.broadcast_to(fit.X[rows[:1]], (len(rows), *fit.X.shape[1:]))


def learns_columns(estimator: Any) -> bool:
    """Return whether a network learns from values of an array's columns before training."""
    # The dtype of an array names no categories.
    nothing = (None, "from_dtype")
    values = (getattr(estimator, name, None) for name in _OF_COLUMNS)
    return any(not isinstance(v, str | None) or v not in nothing for v in values)


def shares_samples(estimator: Any, fit: Fit) -> bool:
    """Return whether folds share X instead of copying samples: in batches of large X."""
    X, rows = fit.X, fit.rows
    is_plain = isinstance(X, np.ndarray) and X.dtype.kind == "f" and X.ndim > 1
    if not is_plain or rows is None or X.nbytes < LARGE:
        return False
    is_same = estimator._with_uniform_shape(X) is X
    return is_same and 0 < int(estimator.batch_size) < len(rows)


def adopt_training(fit: Fit, state: TrainingState) -> NetworkEstimator:
    """Return the estimator with a finished training, as if ``fit`` had run."""
    estimator: NetworkEstimator = fit.estimator
    X, y, weight = (take_rows(p, fit.rows) for p in (fit.X, fit.y, fit.sample_weight))
    return estimator._adopt(X, y, weight, state)


def fit_as_overridden(fit: Fit) -> tuple[TrainingState, Array | None]:
    """Train a copy of an estimator by its own ``fit``, if it overrides hooks."""
    params = {"random_state": fit.seed_number, "max_epochs": fit.epochs}
    twin = clone(fit.estimator).set_params(**params)
    X, y, weight = (take_rows(p, fit.rows) for p in (fit.X, fit.y, fit.sample_weight))
    # The fit of a subclass may lack sample_weight.
    twin.fit(X, y, **({} if weight is None else {"sample_weight": weight}))
    predictions = None
    if fit.monitor is not None:
        predict = getattr(twin, "predict_proba", twin.predict)
        predictions = predict(take_rows(fit.X, fit.monitor))
    fresh = twin._make_net(twin.net_.options.seed)
    modules = changed_modules(twin.net_, module_keys(fresh))
    return replace(training_state(twin.net_), modules=modules), predictions
