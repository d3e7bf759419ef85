# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The base of all estimators: the steps of a fit, the same for every network and task.

Checked arrays are encoded, split, weighted and moved to the device; then the skorch net
trains.  ``_tasks`` holds task-specific methods; each kind of network has its own module.
"""

import copy
import math
from abc import ABC, abstractmethod
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_consistent_length, check_is_fitted
from torch import Tensor, nn

from sk_tune._adoption import adopted_state, decline
from sk_tune._augment import Layout, as_augmentations, check_row_shape
from sk_tune._compat import EstimatorBase
from sk_tune._declaration import Documented, name_hint, parameters
from sk_tune._epochs import epochs_of, stops_early
from sk_tune._estimators._encoded_data import (
    EncodedData,
    Samples,
    memory_of_fit,
    merge_equal_samples,
    repeat_by_weight,
    samples_that_count,
    to_set,
    to_tensor,
)
from sk_tune._estimators._net_callbacks import adopt_callbacks, reason_in_custom_callbacks
from sk_tune._estimators._net_state import load_training_state
from sk_tune._estimators._parameters import OTHER_NAMES, TrainingParameters
from sk_tune._estimators._persistence import Persistence
from sk_tune._estimators._prepared_fit import train_in_fleet
from sk_tune._estimators._training_net import TrainingNet, TrainingOptions
from sk_tune._estimators._validation import (
    as_array,
    check_complete,
    check_features,
    check_parameters,
    check_weights,
    is_whole,
    resolve_device,
    resolve_seed,
)
from sk_tune._training import (
    Stream,
    TensorSet,
    TrainingState,
    build_optimizer,
    derive_seed,
    forked_rng,
    n_weights,
    report_memory,
    samples_in_block,
)
from sk_tune._types import Array

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_OPTIMIZER = ("learning_rate", "momentum", "weight_decay")
# Enough samples for arithmetic to dominate call overhead, few enough for the cache.
_PREDICT_ROWS = 512
# Layout of a sample by its number of axes.
_LAYOUTS: dict[int, Layout] = {1: "table", 2: "sequence", 3: "image", 4: "volume"}

# Hooks: methods that a subclass may override to change how data are read, and how a
# network is trained, predicts and is scored.
_DATA_HOOKS = ("_check_X", "_check_target", "_start_target", "_encode_target")
_TRAINING_HOOKS = (
    *_DATA_HOOKS,
    *("fit", "_fit", "_encode", "_learn", "_learn_columns", "_make_net"),
    *("_seeded_module", "_to_sets", "_options", "_predictions"),
)
_PREDICTING_HOOKS = (
    *_DATA_HOOKS,
    *("predict", "predict_proba", "predict_log_proba", "score"),
    *("_predictions", "_forward", "_inputs"),
)


def is_unchanged(estimator: BaseEstimator) -> bool:
    """Return whether no subclass outside sk_tune overrides an estimator's training."""
    return _has_hooks_of(type(estimator), _TRAINING_HOOKS, ("sk_tune.",))


def predicts_unchanged(estimator: BaseEstimator) -> bool:
    """Return whether no subclass outside sk_tune overrides predictions and scores."""
    # Scores come from scikit-learn's mixins.
    packages = ("sk_tune.", "sklearn.")
    has_hooks = _has_hooks_of(type(estimator), _PREDICTING_HOOKS, packages)
    return has_hooks and not hasattr(estimator, "decision_function")


def _has_hooks_of(cls: type, names: tuple[str, ...], packages: tuple[str, ...]) -> bool:
    if cls.__module__.startswith("sk_tune."):
        return True
    # Check the module of the defining class: a decorated function names the wrapped one's.
    owners = [next((b for b in cls.__mro__ if name in vars(b)), None) for name in names]
    return all(base is None or base.__module__.startswith(packages) for base in owners)


@parameters
class NetworkEstimator(TrainingParameters, Persistence, Documented, EstimatorBase, ABC):
    """Base of all estimators: a scikit-learn estimator that holds a skorch net.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained net; ``net_.module_`` is the torch module.
    history_ : skorch.history.History
        One entry for each epoch: ``train_loss`` and ``train_score``; with early stopping
        ``valid_loss`` and ``valid_score``; ``lr``, the rate at its end; ``dur`` in seconds.
        Cross-entropy is in nats; regression losses refer to the standardised target, and
        deviances to the target divided by its mean; scores are accuracy or R^2.  Training
        losses and scores are averages during the epoch.
    n_epochs_ : int
        Epochs trained so far.
    best_epoch_ : int
        Epoch, from 1, with the weights in use.
    n_features_in_ : int
        Size of the second axis of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, if X had column names.
    input_shape_ : tuple of int
        Shape of one sample as input of the network.
    n_outputs_ : int
        Number of outputs of the network.
    """

    # Accepted forms of X: more than two dimensions, NaN, codes of categories, sparse.
    _allow_nd: ClassVar[bool] = False
    _allow_nan: ClassVar[bool] = False
    _allow_codes: ClassVar[bool] = False
    _allow_sparse: ClassVar[bool] = False
    # Whether the module may draw from torch's global generator.
    _global_rng: ClassVar[bool] = False
    # Whether two-dimensional samples are (channels, steps) instead of (steps, features).
    _time_is_last: ClassVar[bool] = False

    # Advice for parameter names of other estimators.
    _other_names: ClassVar[dict[str, str]] = OTHER_NAMES

    # Whether partial_fit built the network.
    _is_streamed = False
    # Learnt by classifiers: whether each column of y is a binary label.
    _is_multilabel = False

    @property
    def _categorical(self) -> list[int]:
        """Columns of codes, which augmentations must not change into other numbers."""
        return []

    @abstractmethod
    def _shape_input(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape that the network receives for a sample of shape `shape`."""

    @abstractmethod
    def _build_module(self, n_outputs: int) -> nn.Module:
        """Return a network for ``input_shape_``, freshly initialised."""

    def _count_multiplications(self, module: nn.Module) -> float:
        """Return the number of multiplications of a forward pass for one sample."""
        return n_weights(module)

    @abstractmethod
    def _start_target(self, y: Array, weight: Array | None, classes: Any) -> None:
        """Learn the encoding of targets from the first targets."""

    @abstractmethod
    def _encode_target(self, y: Array) -> Array:
        """Return targets in the encoding of the loss."""

    @abstractmethod
    def _target_array(self, y: Any) -> Any:
        """Return y as an array of the task's type; ValueError if it does not fit."""

    @abstractmethod
    def _task_parts(self) -> tuple[Any, Any]:
        """Return the loss, and the score recorded in the history."""

    @abstractmethod
    def _predictions(self, outputs: Tensor) -> Array:
        """Return probabilities, or targets in their units, from a network's outputs."""

    def set_params(self, **params: Any) -> Self:
        """Set parameters."""
        try:
            super().set_params(**params)
        except ValueError as error:
            names = self.get_params(deep=False)
            unknown = next((name for name in params if name not in names), "")
            hint = name_hint(type(self), unknown, names)
            if not hint:
                raise
            raise ValueError(f"{error}{hint}") from None
        return self

    def _strata(self, y: Array) -> Array | None:
        """Return labels for a stratified early-stopping split, if any."""
        return None

    def _weigh_samples(
        self, y: Array, weight: Array | None, train: Array | slice
    ) -> Array | None:
        """Return the weights of all samples; `train` holds the training samples."""
        return weight

    def _check_target(self, X: Array, y: Any) -> Array:
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        y = as_array(y)
        check_complete(self, y)
        y = self._target_array(y)
        check_consistent_length(X, y)
        return np.asarray(y)

    def _split_validation(self, y: Array, seed: int) -> tuple[Array, Array]:
        """Return the positions of training and validation samples."""
        n_valid = math.ceil(self.validation_fraction * len(y))
        strata = self._strata(y)
        if n_valid >= len(y):
            raise ValueError(
                "The 'validation_fraction' parameter must leave rows to train on. Got "
                f"{self.validation_fraction} of {len(y)} rows, which leaves none."
            )
        train, valid = train_test_split(
            np.arange(len(y)), test_size=n_valid, random_state=seed, stratify=strata
        )
        return train, valid

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like, frame or tensor of shape (n_samples, n_features)
            Features.  RNNs and CNNs take more dimensions; MLPs take sparse tables.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the loss, which is a weighted mean over each batch;
            weights therefore have less effect in small batches.  Samples of weight 0 are
            ignored.

        Raises
        ------
        ValueError
            If a parameter, X, y or `sample_weight` is invalid.
        TrainingDivergedError
            If the loss or a weight becomes infinite or NaN.
        """
        reason = ""
        if not is_unchanged(self):
            # Its hooks must run, so it never adopts a finished training.
            reason = f"{type(self).__name__} overrides a training method"
        elif self.warm_start and hasattr(self, "net_"):
            reason = "it continues from an earlier fit (warm_start=True)"
        can_adopt = not reason
        if can_adopt and isinstance(self.callbacks, list | tuple):
            reason = reason_in_custom_callbacks(self.callbacks)
        if reason and decline(reason):
            can_adopt = False
        state = adopted_state(self, X, y, sample_weight) if can_adopt else None
        if state is None:
            return self._fit(X, y, sample_weight)
        return self._adopt(X, y, sample_weight, state)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        is_partial: bool = False,
        n_epochs: Any = None,
        classes: Any = None,
    ) -> Self:
        """Do the work of ``fit`` or ``partial_fit``."""
        if is_partial and not is_whole(n_epochs, 1):
            raise ValueError(
                f"n_epochs must be an integer of at least 1. Got {n_epochs!r}."
            )
        fresh = not hasattr(self, "net_") or not (is_partial or self.warm_start)
        continues = is_partial and not fresh
        if is_partial:
            decline("partial_fit trains it")
        if continues:
            self.net_.warn_if_nothing_is_learnt()
        check_parameters(self)
        if fresh:
            # An interrupted fit must not leave an old network next to new attributes.
            self.__dict__.pop("net_", None)
        if not continues:
            self._is_streamed = is_partial
        # A warm start builds a network from the current parameters.
        device = self.net_.device if continues else resolve_device(self)
        dtype = self.net_.options.dtype if continues else self.dtype
        if not is_partial:
            need = memory_of_fit(self, X, dtype)
            remedy = "use fewer rows, or X in the dtype of the network."
            report_memory("The fit", need, prints=bool(self.verbose), remedy=remedy)
        source = self._as_fitted() if continues else self
        data = source._encode(
            X, y, sample_weight, device, dtype, fresh=fresh, classes=classes
        )
        if continues:
            net = self.net_
        elif fresh:
            net = self._make_net(resolve_seed(self.random_state), device)
        else:
            net = self._make_net(self.net_.options.seed, device)
            params, old = self.get_params(deep=False), self._fitted_params
            changed = [
                f"{name}={value!r} instead of {old[name]!r}"
                for name, value in params.items()
                if repr(value) != repr(old.get(name))
            ]
            net.start_from(self.net_, changes=", ".join(changed))
        train, valid = self._to_sets(
            data, net.options, batch_size=net.batch_size, module=net.module_
        )
        n_epochs = n_epochs or net.max_epochs
        if not (is_unchanged(self) and train_in_fleet(source, net, train, valid, n_epochs)):
            valid = None if valid is None else valid.taken()
            net.train_epochs(train.taken(), valid, n_epochs)
        self._set_net(net, is_new=not continues)
        return self

    def _adopt(self, X: Any, y: Any, sample_weight: Any, state: TrainingState) -> Self:
        """Take the result of a training that ran elsewhere, as if ``fit`` had run."""
        self.__dict__.pop("net_", None)
        self._is_streamed = False
        self._learn(X, y, sample_weight, fresh=True, classes=None)
        net = self._make_net(state.seed, resolve_device(self))
        load_training_state(net, state)
        if net.options.patience is None:
            # An EarlyStopping callback that loads the best weights keeps no others.
            net.last_weights_ = net.best_weights_ = None
        adopt_callbacks(net, state.course)
        self._set_net(net)
        return self

    def _set_net(self, net: TrainingNet, *, is_new: bool = True) -> None:
        self.net_: TrainingNet = net
        if is_new:
            # Parameters of the network, in case they are set to other values after the fit.
            self._fitted_params = self.get_params(deep=False)

    def _as_fitted(self) -> Self:
        """Return a copy with the parameters that the network was built with."""
        fitted = copy.copy(self)
        fitted.__dict__.update(self._fitted_params)
        return fitted

    def _encode(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        device: str,
        dtype: str,
        *,
        fresh: bool,
        classes: Any = None,
    ) -> EncodedData:
        """Check and encode data, and learn data-dependent attributes in a fresh fit."""
        X, y, weight = self._learn(X, y, sample_weight, fresh=fresh, classes=classes)
        rows = Samples(X, self._encode_target(y), weight)
        tensors = (to_tensor(a, dtype, device) for a in (X, rows.target))
        return EncodedData(rows, y, *tensors)

    def _learn(
        self, X: Any, y: Any, sample_weight: Any, *, fresh: bool, classes: Any
    ) -> tuple[Array, Array, Array | None]:
        """Check data, learn attributes in a fresh fit, drop samples of weight 0."""
        X = self._check_X(X, reset=fresh)
        y = self._check_target(X, y)
        weight = check_weights(sample_weight, X)
        if weight is not None and not weight.all():
            X, y, weight = (a[weight > 0] for a in (X, y, weight))
        self._check_range(y, is_first=fresh)
        if fresh:
            self.n_samples_fit_ = X.shape[0]
            self._learn_columns(X, weight)
            self._start_target(y, weight, classes)
        return X, y, weight

    def _check_range(self, y: Array, *, is_first: bool) -> None:
        """Raise ValueError for targets that the loss cannot be trained on."""

    def _learn_columns(self, X: Array, weight: Array | None) -> None:
        """Learn properties of the columns, such as categories, from the first samples."""

    def _seeded_module(self, seed: int) -> nn.Module:
        """Return an untrained module for ``input_shape_`` and ``n_outputs_``."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        try:
            with forked_rng(derive_seed(seed, Stream.WEIGHTS)):
                return self._build_module(self.n_outputs_).to(dtype=dtype)
        except RuntimeError as error:
            if "allocate" not in str(error):
                raise
            raise MemoryError(
                f"The network of {self!r} does not fit into memory. Make it smaller. "
                f"Torch says: {error}"
            ) from error

    def _make_net(self, seed: int, device: str | None = None) -> TrainingNet:
        criterion, _ = self._task_parts()
        module, options = self._seeded_module(seed), self._options(seed)
        optimizer = partial(build_optimizer, self.optimizer, **self._arguments(*_OPTIMIZER))
        net = TrainingNet(
            module,
            criterion,
            options=options,
            sample_work=self._count_multiplications(module),
            optimizer=optimizer,
            lr=self.learning_rate,
            max_epochs=options.schedule_epochs,
            batch_size=int(self.batch_size),
            iterator_valid__batch_size=_PREDICT_ROWS,
            # A user's module may modify its input in place, so it gets a copy of X.
            iterator_valid__copy=self._global_rng,
            callbacks=None if self.callbacks is None else list(self.callbacks),
            device=device or resolve_device(self),
            verbose=self.verbose,
        )
        return net.initialize()

    def _arguments(self, *names: str) -> dict[str, Any]:
        """Return parameters by name, with numpy scalars as Python numbers for torch."""
        values = [getattr(self, name) for name in names]
        plain = [v.item() if isinstance(v, np.generic) else v for v in values]
        return dict(zip(names, plain, strict=True))

    def _options(self, seed: int) -> TrainingOptions:
        """Return the training options; ValueError if an augmentation does not fit X."""
        shape = self.input_shape_
        layout: Layout = _LAYOUTS.get(len(shape), "other")
        if layout == "sequence" and self._time_is_last:
            layout = "signal"
        augmentation = as_augmentations(self.augmentation)
        check_row_shape(augmentation, shape, layout, type(self).__name__)
        has_patience = stops_early(self, self.n_samples_fit_)
        return TrainingOptions(
            seed=seed,
            schedule_epochs=epochs_of(self, self.n_samples_fit_),
            dtype=self.dtype,
            n_outputs=self.n_outputs_,
            **self._arguments("learning_rate", "lr_schedule", "gradient_clip", "l1"),
            augmentation=augmentation,
            layout=layout,
            codes=tuple(self._categorical),
            patience=self.n_iter_no_change if has_patience else None,
            tol=self.tol,
            score=self._task_parts()[1],
            global_rng=self._global_rng,
        )

    def _to_sets(
        self,
        data: EncodedData,
        options: TrainingOptions,
        *,
        batch_size: int,
        module: nn.Module,
    ) -> tuple[TensorSet, TensorSet | None]:
        """Return the training samples, and with early stopping the validation samples."""
        train_rows = valid_rows = None
        if options.patience is not None:
            split_seed = derive_seed(options.seed, Stream.VALIDATION_SPLIT) % 2**32
            train_rows, valid_rows = self._split_validation(data.y, split_seed)
        weight = self._weigh_samples(
            data.y, data.rows.weight, slice(None) if train_rows is None else train_rows
        )
        rows = data.rows._replace(weight=weight)
        train_rows = samples_that_count(weight, train_rows)
        n_samples = len(data.y) if train_rows is None else len(train_rows)
        if train_rows is not None and samples_in_block(n_samples, data.X) > 1:
            train_rows = np.sort(train_rows)
        # Whether the output of a sample depends on its batch.
        looks_across = any(isinstance(layer, _BATCH_NORMS) for layer in module.modules())
        is_full = batch_size == -1 or n_samples <= batch_size
        # Augmentations change equal samples differently.
        if is_full and not options.augmentation:
            samples = rows if train_rows is None else rows.take(train_rows)
            merged = merge_equal_samples(samples)
            # Batch normalisation ignores sample weights.
            if looks_across:
                merged = repeat_by_weight(merged) or samples
            dtype = str(data.X.dtype).removeprefix("torch.")
            X, target = (to_tensor(a, dtype, data.X.device) for a in merged[:2])
            train = to_set(X, target, merged.weight, None)
        else:
            train = to_set(data.X, data.target, weight, train_rows, data.places)
        if looks_across and 1 in {len(train), batch_size}:
            raise ValueError(
                "Batch normalisation needs at least 2 rows in a batch. Got n_samples="
                f"{len(train)} to train on and batch_size={batch_size}."
            )
        if valid_rows is None:
            return train, None
        valid_rows = samples_that_count(weight, valid_rows)
        return train, to_set(data.X, data.target, weight, valid_rows, data.places)

    def _with_uniform_shape(self, X: Any) -> Any:
        """Return X so that all fits on its parts have samples of one shape."""
        return X

    def _check_X(self, X: Any, *, reset: bool) -> Array:
        X = check_features(self, X, reset=reset)
        if reset:
            self.input_shape_ = self._shape_input(X.shape[1:])
        elif self._shape_input(X.shape[1:]) != self.input_shape_:
            raise ValueError(
                f"X must have rows of shape {self.input_shape_}, as in fit. Got "
                f"X.shape={X.shape} instead."
            )
        # Only networks of flat samples take sparse tables.
        shaped: Array = X if sparse.issparse(X) else X.reshape(len(X), *self.input_shape_)
        return shaped

    def _forward(self, X: Any) -> Tensor:
        check_is_fitted(self)
        outputs: Tensor = self.net_.forward(self._inputs(X))
        return outputs

    def _inputs(self, X: Any) -> Tensor:
        X = self._as_fitted()._check_X(X, reset=False)
        return to_tensor(X, self.net_.options.dtype, self.net_.device)

    @property
    def history_(self) -> Any:
        """Skorch's history of the training, one entry for each epoch."""
        return self.net_.history_

    @property
    def n_epochs_(self) -> int:
        """Number of epochs trained so far."""
        return len(self.net_.history_)

    @property
    def best_epoch_(self) -> int:
        """The epoch of the weights in use, counted from 1."""
        return self.net_.stopping_.best_epoch or self.n_epochs_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = self._allow_nd
        tags.input_tags.sparse = self._allow_sparse
        return tags
