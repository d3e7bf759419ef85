# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What is to be trained, up to where training begins: any engine can go on from there.

The steps are those of ``fit``; fits of the same data, as the folds of a search are, share
what is made of it.
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone, is_classifier
from torch import Tensor

from sk_tune.estimators._encoded_data import EncodedData, take_rows, to_tensor
from sk_tune.estimators._net_state import (
    changed_modules,
    module_keys,
    to_tensors,
    training_state,
)
from sk_tune.estimators._network_estimator import NetworkEstimator
from sk_tune.estimators._prepared_fit import PreparedFit
from sk_tune.estimators._validation import LastSeen, check_parameters, resolve_device
from sk_tune.training import TensorSet, TrainingState, seed_of_state

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """One network to train.

    Parameters
    ----------
    estimator : estimator
        One of sk_tune's, or a plain skorch net; its parameters are what is trained.  It is
        not changed.
    X : array-like, frame or tensor of shape (n_samples, ...)
        Features.  Fits that hold the same object share it.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    rows : ndarray of shape (n_train,) or None, default=None
        Positions of the samples to train on; all if None.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Weights of all samples.
    seed : int, bytes or None, default=None
        Source of all random numbers; if None it comes from the estimator's
        ``random_state``.  A plain skorch net may begin with a state of torch's global
        generator instead, as bytes.
    n_epochs : int or None, default=None
        Epochs to train now; the estimator's ``max_epochs`` if None.  The schedule of the
        learning rate is laid out for ``max_epochs`` either way.
    monitor : ndarray of shape (n_monitor,) or None, default=None
        Positions of samples that the network is scored on after each epoch and predicts at
        the end.  They count equally, and change nothing in the training.
    state : TrainingState or None, default=None
        Where an earlier training of the same fit stands, to go on from.
    name : str, default=""
        What messages call the fit, for example "candidate 3, fold 1".
    keeps_checkpoints : bool, default=False
        Whether to return where the fit stood after some of its epochs, as far as there is
        memory.
    checkpoint : TrainingState or None, default=None
        Where this very fit stood after some of its epochs, when it was trained before.  It
        goes on from there, which saves time and changes nothing.
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

    @property
    def seed_number(self) -> int:
        """The seed, or what tells the state of a generator apart."""
        return seed_of_state(seed) if isinstance(seed := self.seed, bytes) else seed or 0


# Parameters that encoded data depend on. Fits that differ in other parameters share them.
DATA_PARAMETERS = (
    *("dtype", "device", "input_shape"),
    *("categorical_features", "numerical_embedding", "n_bins", "n_tokens"),
)


class FitPreparer:
    """Prepares fits one by one and remembers what they can share."""

    def __init__(self) -> None:
        # The objects are kept too, so that no others get their ids.
        self._known: dict[Any, tuple[EncodedData, dict[str, Any], Any]] = {}
        self._monitors: dict[Any, tuple[TensorSet, Any]] = {}
        # The last estimator that was checked, and a copy to copy.
        self._last = LastSeen()
        self._unfitted: NetworkEstimator | None = None

    def prepare(self, fit: Fit) -> PreparedFit:
        """Do all of a fit, of an estimator of sk_tune, but the training.

        What is made of data is shared between fits of the same objects. Raises ValueError
        if a parameter or the data are not what the estimator asks for.
        """
        estimator = fit.estimator
        if self._unfitted is None or not self._last.is_like(estimator):
            check_parameters(estimator)
            # A copy without anything that was learnt.
            self._unfitted = copy.copy(estimator)
            for name in vars(estimator).keys() - estimator.get_params(deep=False):
                delattr(self._unfitted, name)
            self._last.see(estimator)
        twin = copy.copy(self._unfitted)
        device = resolve_device(twin)
        values = [getattr(twin, name, None) for name in DATA_PARAMETERS]
        # Whole lists, for numpy shortens a long array's text.
        texts = [repr(v.tolist() if isinstance(v, np.ndarray) else v) for v in values]
        sources = (fit.X, fit.y, fit.rows, fit.sample_weight)
        key = (type(twin), *map(id, sources), *texts)
        if key not in self._known:
            before = set(vars(twin))
            parts = (twin._whole(fit.X), fit.y, fit.sample_weight)
            X, y, weight = (take_rows(part, fit.rows) for part in parts)
            data = twin._encode(X, y, weight, device, twin.dtype, fresh=True)
            learnt = {n: v for n, v in vars(twin).items() if n not in before}
            self._known[key] = (data, learnt, sources)
        data, learnt, _ = self._known[key]
        twin.__dict__.update(learnt)
        module = twin._seeded_module(fit.seed_number).to(device)
        state = fit.state
        if state is not None:
            weights = state.weights if state.last_weights is None else state.last_weights
            module.load_state_dict(to_tensors(weights))
        options = twin._options(fit.seed_number)
        train, valid = twin._to_sets(
            data, options, batch_size=int(twin.batch_size), module=module
        )
        return PreparedFit(
            estimator=twin,
            module=module,
            options=options,
            train=train,
            valid=valid,
            monitor=self._monitor(twin, key, fit, device),
            state=state,
            n_epochs=fit.n_epochs or int(estimator.max_epochs),
        )

    def _monitor(self, twin: Any, key: Any, fit: Fit, device: str) -> TensorSet | None:
        if fit.monitor is None:
            return None
        key = (key, id(fit.monitor))
        if key not in self._monitors:
            X = twin._check_X(take_rows(twin._whole(fit.X), fit.monitor), reset=False)
            y = twin._check_target(X, take_rows(fit.y, fit.monitor))
            if is_classifier(twin) and not twin._is_multilabel:
                known = np.isin(y, twin.classes_)
                target = twin._encode_target(np.where(known, y, twin.classes_[0]))
                # A class that the training samples lack has no output: it is never
                # predicted, and torch leaves this index out of the loss.
                target = np.where(known, target, -100)
            else:
                target = twin._encode_target(y)
            tensors = (to_tensor(array, twin.dtype, device) for array in (X, target))
            self._monitors[key] = (TensorSet(*tensors), fit.monitor)
        return self._monitors[key][0]


def adopt_training(fit: Fit, state: TrainingState) -> NetworkEstimator:
    """Make an estimator what ``fit`` would have made of it, from a finished training."""
    estimator: NetworkEstimator = fit.estimator
    X, y, weight = (take_rows(p, fit.rows) for p in (fit.X, fit.y, fit.sample_weight))
    return estimator._adopt(X, y, weight, state)


def fit_as_overridden(fit: Fit) -> tuple[TrainingState, Array | None]:
    """Train a copy of an estimator by its ``fit``, for classes that override a part of it.

    Returns where training stands, and predictions of the monitor samples, of which there
    are no curves.
    """
    n_epochs = fit.n_epochs or int(fit.estimator.max_epochs)
    twin = clone(fit.estimator).set_params(
        random_state=fit.seed_number, max_epochs=n_epochs
    )
    X, y, weight = (take_rows(p, fit.rows) for p in (fit.X, fit.y, fit.sample_weight))
    # A derived class may take no weights.
    twin.fit(X, y, **({} if weight is None else {"sample_weight": weight}))
    predictions = None
    if fit.monitor is not None:
        predict = getattr(twin, "predict_proba", twin.predict)
        predictions = predict(take_rows(fit.X, fit.monitor))
    fresh = twin._make_net(twin.net_.options.seed)
    modules = changed_modules(twin.net_, module_keys(fresh))
    return replace(training_state(twin.net_), modules=modules), predictions


def network_inputs(estimator: NetworkEstimator, X: Any) -> Tensor:
    """Return samples as the network of a fitted estimator takes them, on its device."""
    return estimator._inputs(X)
