# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A fit up to where training begins, so that any engine can take over from there.

The steps are those of ``fit``; fits of the same data, as the folds of a search are, share
what is made of it.
"""

import copy
from dataclasses import replace
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
from sk_tune.estimators._validation import (
    LastSeen,
    check_parameters,
    resolve_device,
)
from sk_tune.training import TensorSet, TrainingState

Array = npt.NDArray[Any]

# Parameters that change what an estimator makes of its data.
_DATA_PARAMETERS = (
    *("dtype", "device", "input_shape"),
    *("categorical_features", "numerical_embedding", "n_bins"),
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

    def prepare(
        self,
        estimator: NetworkEstimator,
        X: Any,
        y: Any,
        *,
        seed: int,
        rows: Array | None = None,
        sample_weight: Any = None,
        monitor: Array | None = None,
        state: TrainingState | None = None,
    ) -> PreparedFit:
        """Do all of a fit but the training; the caller's estimator is not changed.

        `rows` are positions of the samples to train on, all if None, `monitor` of those to
        look at. What is made of data is shared between fits that pass the same objects.
        `state` is where an earlier training of this fit stands. Raises ValueError if a
        parameter or the data are not what the estimator asks for.
        """
        twin = self._twin(estimator)
        device = resolve_device(twin)
        values = [getattr(twin, name, None) for name in _DATA_PARAMETERS]
        sources = (X, y, rows, sample_weight)
        key = (type(twin), *map(id, sources), *map(_key, values))
        if key not in self._known:
            before = set(vars(twin))
            parts = (twin._whole(X), y, sample_weight)
            X_taken, y_taken, weight = (take_rows(part, rows) for part in parts)
            data = twin._encode(X_taken, y_taken, weight, device, twin.dtype, fresh=True)
            learnt = {n: v for n, v in vars(twin).items() if n not in before}
            self._known[key] = (data, learnt, sources)
        data, learnt, _ = self._known[key]
        twin.__dict__.update(learnt)
        module = twin._seeded_module(seed).to(device)
        if state is not None:
            weights = state.weights if state.last_weights is None else state.last_weights
            module.load_state_dict(to_tensors(weights))
        options = twin._options(seed)
        train, valid = twin._to_sets(
            data, options, batch_size=int(twin.batch_size), module=module
        )
        return PreparedFit(
            estimator=twin,
            module=module,
            options=options,
            train=train,
            valid=valid,
            monitor=self._monitor(twin, key, X, y, monitor, device),
            state=state,
        )

    def _twin(self, estimator: NetworkEstimator) -> NetworkEstimator:
        """Return a copy of checked parameters, without anything that was learnt."""
        if self._unfitted is None or not self._last.is_like(estimator):
            check_parameters(estimator)
            self._unfitted = copy.copy(estimator)
            for name in vars(estimator).keys() - estimator.get_params(deep=False):
                delattr(self._unfitted, name)
            self._last.see(estimator)
        return copy.copy(self._unfitted)

    def _monitor(
        self, twin: Any, key: Any, X: Any, y: Any, monitor: Array | None, device: str
    ) -> TensorSet | None:
        if monitor is None:
            return None
        key = (key, id(monitor))
        if key not in self._monitors:
            X = twin._check_X(take_rows(twin._whole(X), monitor), reset=False)
            y = twin._check_target(X, take_rows(y, monitor))
            if is_classifier(twin) and not twin._is_multilabel:
                known = np.isin(y, twin.classes_)
                target = twin._encode_target(np.where(known, y, twin.classes_[0]))
                # A class that the training samples lack has no output: it is never
                # predicted, and torch leaves this index out of the loss.
                target = np.where(known, target, -100)
            else:
                target = twin._encode_target(y)
            tensors = (to_tensor(array, twin.dtype, device) for array in (X, target))
            self._monitors[key] = (TensorSet(*tensors), monitor)
        return self._monitors[key][0]


def adopt_training(
    estimator: NetworkEstimator,
    X: Any,
    y: Any,
    state: TrainingState,
    *,
    rows: Array | None = None,
    sample_weight: Any = None,
) -> NetworkEstimator:
    """Make an estimator what ``fit`` would have made of it, from a finished training.

    `X`, `y` and `sample_weight` are the data of the training, `rows` the positions of its
    samples, all if None.
    """
    X, y, sample_weight = (take_rows(part, rows) for part in (X, y, sample_weight))
    return estimator._adopt(X, y, sample_weight, state)


def fit_as_overridden(
    estimator: NetworkEstimator,
    X: Any,
    y: Any,
    *,
    seed: int,
    n_epochs: int,
    rows: Array | None = None,
    sample_weight: Any = None,
    monitor: Array | None = None,
) -> tuple[TrainingState, Array | None]:
    """Train a copy of an estimator by its ``fit``, for classes that override a part of it.

    Returns where training stands, and predictions of the `monitor` samples, of which there
    are no curves.
    """
    twin = clone(estimator).set_params(random_state=seed, max_epochs=n_epochs)
    # A derived class may take no weights.
    weight = {"sample_weight": take_rows(sample_weight, rows)}
    weight = {} if sample_weight is None else weight
    twin.fit(take_rows(X, rows), take_rows(y, rows), **weight)
    predictions = None
    if monitor is not None:
        predict = getattr(twin, "predict_proba", twin.predict)
        predictions = predict(take_rows(X, monitor))
    fresh = twin._make_net(twin.net_.options.seed)
    modules = changed_modules(twin.net_, module_keys(fresh))
    return replace(training_state(twin.net_), modules=modules), predictions


def network_inputs(estimator: NetworkEstimator, X: Any) -> Tensor:
    """Return samples as the network of a fitted estimator takes them, on its device."""
    return estimator._inputs(X)


def _key(value: Any) -> str:
    """Return text that is equal for equal values; numpy shortens a long array's."""
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)
