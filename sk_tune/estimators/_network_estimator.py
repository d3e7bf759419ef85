# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The base of all estimators: the course of a fit, the same for every network and task.

Checked arrays are encoded, split, weighted and put on the device; then the skorch net
trains.  What depends on the task is in ``_tasks``, what depends on the network in one
module each.
"""

import copy
import math
from abc import ABC, abstractmethod
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_consistent_length, check_is_fitted
from torch import Tensor, nn

from sk_tune._compat import EstimatorBase
from sk_tune._declaration import Documented, name_hint, parameters
from sk_tune.adoption import adopted_state
from sk_tune.augment import Layout, as_augmentations, check_row_shape
from sk_tune.estimators._encoded_data import (
    EncodedData,
    Samples,
    merge_equal_samples,
    repeat_by_weight,
    samples_that_count,
    to_set,
    to_tensor,
)
from sk_tune.estimators._net_state import load_training_state
from sk_tune.estimators._parameters import SCIKIT_LEARN_NAMES, TrainingParameters
from sk_tune.estimators._persistence import Persistence
from sk_tune.estimators._prepared_fit import train_in_fleet
from sk_tune.estimators._training_net import TrainingNet, TrainingOptions
from sk_tune.estimators._validation import (
    as_array,
    check_complete,
    check_features,
    check_parameters,
    check_weights,
    is_whole,
    resolve_device,
    resolve_seed,
)
from sk_tune.training import (
    Stream,
    TensorSet,
    TrainingState,
    build_optimizer,
    derive_seed,
    forked_rng,
    n_weights,
)

Array = npt.NDArray[Any]

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_OPTIMIZER = ("learning_rate", "momentum", "nesterovs_momentum", "weight_decay")
# Enough samples for the arithmetic to outweigh the calls, few enough for the cache.
_PREDICT_ROWS = 1024
# Meanings of a sample's axes, by the number of axes.
_LAYOUTS: dict[int, Layout] = {1: "table", 2: "sequence", 3: "image", 4: "volume"}

# Hooks: methods that a derived class may override to change how data are read, how a
# network is trained, and how it predicts and scores.
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
    """Return whether an estimator trains as its class in sk_tune does."""
    return _has_hooks_of(type(estimator), _TRAINING_HOOKS, ("sk_tune.",))


def predicts_unchanged(estimator: BaseEstimator) -> bool:
    """Return whether an estimator predicts and scores as its class in sk_tune does."""
    # Scores come from scikit-learn's mixins.
    packages = ("sk_tune.", "sklearn.")
    has_hooks = _has_hooks_of(type(estimator), _PREDICTING_HOOKS, packages)
    return has_hooks and not hasattr(estimator, "decision_function")


def _has_hooks_of(cls: type, names: tuple[str, ...], packages: tuple[str, ...]) -> bool:
    # The class that has a method is asked, for a wrapper names the module that it wraps.
    found = [next((b for b in cls.__mro__ if name in vars(b)), None) for name in names]
    return all(base is None or base.__module__.startswith(packages) for base in found)


@parameters
class NetworkEstimator(TrainingParameters, Persistence, Documented, EstimatorBase, ABC):
    """Base of all estimators: a scikit-learn estimator that holds a skorch net.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained net; ``net_.module_`` is the torch module.
    history_ : skorch.history.History
        One entry for each epoch: ``train_loss`` and ``train_score``, with early stopping
        ``valid_loss`` and ``valid_score``; ``lr`` at its end and ``dur`` in seconds.
        Losses are in nats, or of the target in its standard deviations; scores are
        accuracy or R^2.  Those of training are taken while the epoch runs.
    n_epochs_ : int
        Epochs trained so far.
    best_epoch_ : int
        The epoch whose weights are used, from 1.
    n_features_in_ : int
        Size of the second axis of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, if X had any.
    input_shape_ : tuple of int
        Shape of one sample as the network sees it.
    n_outputs_ : int
        Outputs of the network.
    """

    # Forms of X that are allowed: more than two dimensions, NaN, codes of categories,
    # sparse.
    _allow_nd: ClassVar[bool] = False
    _allow_nan: ClassVar[bool] = False
    _allow_codes: ClassVar[bool] = False
    _allow_sparse: ClassVar[bool] = False
    # Whether the module may draw from torch's global generator.
    _global_rng: ClassVar[bool] = False
    # Whether samples of two axes are (channels, steps), not (steps, features).
    _time_is_last: ClassVar[bool] = False

    # What to use instead of parameters of other estimators, by their names.
    _other_names: ClassVar[dict[str, str]] = SCIKIT_LEARN_NAMES

    # Learnt by classifiers: whether each column of y is a label that applies or does not.
    _is_multilabel = False

    @abstractmethod
    def _shape_input(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape in which the network sees a sample of shape `shape`."""

    @abstractmethod
    def _build_module(self, n_outputs: int) -> nn.Module:
        """Return a network for ``input_shape_``, freshly initialised."""

    def _count_multiplications(self, module: nn.Module) -> float:
        """Return how many multiplications a module takes to compute one sample."""
        return n_weights(module)

    @abstractmethod
    def _start_target(self, y: Array, weight: Array | None, classes: Any) -> None:
        """Learn from the first targets how targets are encoded."""

    @abstractmethod
    def _encode_target(self, y: Array) -> Array:
        """Return targets as the loss takes them."""

    @abstractmethod
    def _target_array(self, y: Any) -> Any:
        """Return y as an array of its task's type, or refuse it."""

    @abstractmethod
    def _task_parts(self) -> tuple[nn.Module, Any]:
        """Return the loss and the score of the history."""

    @abstractmethod
    def _predictions(self, outputs: Tensor) -> Array:
        """Return probabilities, or targets in their units, from a network's outputs."""

    def set_params(self, **params: Any) -> Self:
        """Set parameters.

        Parameters
        ----------
        **params : dict
            Names and values.

        Returns
        -------
        self
            The estimator.
        """
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
        """Return the labels that a split for early stopping keeps the shares of, if any."""
        return None

    def _weigh_samples(
        self, y: Array, weight: Array | None, train: Array | slice
    ) -> Array | None:
        """Return the weights of all samples, given which of them are trained on."""
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
        """Return the positions of the samples to train on and to validate on."""
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
            Features; networks for sequences and images take more dimensions, MLPs take
            sparse tables.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the loss, which is a weighted mean over each batch;
            in batches of few samples weights therefore tell less.  A sample of weight 0
            counts as absent.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter, X, y or `sample_weight` is not what is asked for.
        TrainingDivergedError
            If the loss or a weight becomes infinite or NaN.
        """
        fresh = not (self.warm_start and hasattr(self, "net_"))
        # A derived class with hooks of its making must run them: it adopts no training.
        if fresh and is_unchanged(self):
            state = adopted_state(self, X, y, sample_weight)
            if state is not None:
                return self._adopt(X, y, sample_weight, state)
        return self._fit(X, y, sample_weight, fresh=fresh, n_epochs=None)

    def _partial_fit(
        self, X: Any, y: Any, sample_weight: Any, n_epochs: int, classes: Any = None
    ) -> Self:
        if not is_whole(n_epochs, 1):
            raise ValueError(
                f"n_epochs must be an integer of at least 1. Got {n_epochs!r}."
            )
        fresh = not hasattr(self, "net_")
        if not fresh:
            self.net_.warn_if_nothing_is_learnt()
        return self._fit(
            X, y, sample_weight, fresh=fresh, n_epochs=n_epochs, classes=classes
        )

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        fresh: bool,
        n_epochs: int | None,
        classes: Any = None,
    ) -> Self:
        check_parameters(self)
        if fresh:
            # An interrupted fit must not leave an old network beside new attributes.
            self.__dict__.pop("net_", None)
        goes_on = not fresh and n_epochs is not None
        # A warm start makes a new network, by the parameters of now.
        device = self.net_.device if goes_on else resolve_device(self)
        dtype = self.net_.options.dtype if goes_on else self.dtype
        data = self._encode(
            X, y, sample_weight, device, dtype, fresh=fresh, classes=classes
        )
        net: TrainingNet
        if fresh:
            net = self._make_net(resolve_seed(self.random_state), device)
        elif goes_on:
            net = self.net_
        else:
            net = self._make_net(self.net_.options.seed, device)
            net.start_from(self.net_)
        train, valid = self._to_sets(
            data, net.options, batch_size=net.batch_size, module=net.module_
        )
        n_epochs_now = self.max_epochs if n_epochs is None else n_epochs
        made_by = self
        if goes_on:
            # With the parameters that the network was made with.
            made_by = copy.copy(self)
            made_by.__dict__.update(self._fitted_params)
        if not (
            is_unchanged(self) and train_in_fleet(made_by, net, train, valid, n_epochs_now)
        ):
            valid = None if valid is None else valid.taken()
            net.train_epochs(train.taken(), valid, n_epochs_now)
        self._keep(net, refitted=fresh or n_epochs is None)
        return self

    def _adopt(self, X: Any, y: Any, sample_weight: Any, state: TrainingState) -> Self:
        """Become what ``fit`` would have made, from a training that ran elsewhere.

        The parameters were checked where it ran.
        """
        self.__dict__.pop("net_", None)
        self._learn(X, y, sample_weight, fresh=True, classes=None)
        net = self._make_net(state.seed, resolve_device(self))
        load_training_state(net, state)
        self._keep(net, refitted=True)
        return self

    def _keep(self, net: TrainingNet, *, refitted: bool) -> None:
        self.net_: TrainingNet = net
        if refitted:
            # The network was made with these, should a parameter be set afterwards.
            self._fitted_params = self.get_params(deep=False)

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
        """Check and encode data; learn from them what a fresh fit learns."""
        X, y, weight = self._learn(X, y, sample_weight, fresh=fresh, classes=classes)
        rows = Samples(X, self._encode_target(y), weight)
        tensors = (to_tensor(a, dtype, device) for a in (X, rows.target))
        return EncodedData(rows, y, *tensors)

    def _learn(
        self, X: Any, y: Any, sample_weight: Any, *, fresh: bool, classes: Any
    ) -> tuple[Array, Array, Array | None]:
        """Check data, learn what a fresh fit learns, and return the samples that count."""
        X = self._check_X(X, reset=fresh)
        y = self._check_target(X, y)
        weight = check_weights(sample_weight, X)
        if weight is not None and not weight.all():
            X, y, weight = (a[weight > 0] for a in (X, y, weight))
        if fresh:
            self._learn_columns(X, weight)
            self._start_target(y, weight, classes)
        return X, y, weight

    def _learn_columns(self, X: Array, weight: Array | None) -> None:
        """Learn from the first samples what the network must know of their columns."""

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
        module = self._seeded_module(seed)
        net = TrainingNet(
            module,
            criterion,
            options=self._options(seed),
            sample_work=self._count_multiplications(module),
            optimizer=partial(
                build_optimizer, self.optimizer, **self._arguments(*_OPTIMIZER)
            ),
            lr=self.learning_rate,
            max_epochs=self.max_epochs,
            batch_size=int(self.batch_size),
            iterator_valid__batch_size=_PREDICT_ROWS,
            # A copy is made, because a user's module may work in place, and X is the
            # user's.
            iterator_valid__copy=self._global_rng,
            callbacks=None if self.callbacks is None else list(self.callbacks),
            device=device or resolve_device(self),
            verbose=self.verbose,
        )
        return net.initialize()

    def _arguments(self, *names: str) -> dict[str, Any]:
        """Return parameters for torch, which refuses numpy's scalars."""
        values = ((name, getattr(self, name)) for name in names)
        return {n: v.item() if isinstance(v, np.generic) else v for n, v in values}

    def _options(self, seed: int) -> TrainingOptions:
        """Return how a net is trained; refuse augmentations of samples of other forms."""
        shape = self.input_shape_
        layout: Layout = _LAYOUTS.get(len(shape), "other")
        if layout == "sequence" and self._time_is_last:
            layout = "signal"
        augmentation = as_augmentations(self.augmentation)
        check_row_shape(augmentation, shape, layout, type(self).__name__)
        codes = np.flatnonzero(getattr(self, "is_categorical_", ())).tolist()
        return TrainingOptions(
            seed=seed,
            schedule_epochs=self.max_epochs,
            dtype=self.dtype,
            n_outputs=self.n_outputs_,
            **self._arguments("learning_rate", "lr_schedule", "gradient_clip", "l1"),
            augmentation=augmentation,
            layout=layout,
            codes=tuple(codes),
            patience=self.patience if self.early_stopping else None,
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
        """Return the samples to train on, and those to validate on with early stopping.

        Sets of the same data share its tensors and differ in their index.
        """
        chosen = held_out = None
        if options.patience is not None:
            split_seed = derive_seed(options.seed, Stream.VALIDATION_SPLIT) % 2**32
            chosen, held_out = self._split_validation(data.y, split_seed)
        weight = self._weigh_samples(
            data.y, data.rows.weight, slice(None) if chosen is None else chosen
        )
        rows = data.rows._replace(weight=weight)
        chosen = samples_that_count(weight, chosen)
        n_samples = rows.X.shape[0] if chosen is None else len(chosen)
        # Whether a sample's output depends on its batch.
        looks_across = any(isinstance(layer, _BATCH_NORMS) for layer in module.modules())
        if batch_size == -1 or n_samples <= batch_size:
            taken = rows if chosen is None else rows.take(chosen)
            merged = merge_equal_samples(taken)
            # Batch normalisation counts samples, not weights.
            if looks_across:
                merged = repeat_by_weight(merged) or taken
            dtype = str(data.X.dtype).removeprefix("torch.")
            X, target = (to_tensor(a, dtype, data.X.device) for a in merged[:2])
            train = to_set(X, target, merged.weight, None)
        else:
            train = to_set(data.X, data.target, weight, chosen)
        if looks_across and 1 in {len(train), batch_size}:
            raise ValueError(
                "Batch normalisation needs at least 2 rows in a batch. Got n_samples="
                f"{len(train)} to train on and batch_size={batch_size}."
            )
        if held_out is None:
            return train, None
        held_out = samples_that_count(weight, held_out)
        return train, to_set(data.X, data.target, weight, held_out)

    def _whole(self, X: Any) -> Any:
        """Return data so that fits on parts of them see samples of one shape."""
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
        # Sparse tables have two axes, as the networks that take them.
        shaped: Array = X if sparse.issparse(X) else X.reshape(len(X), *self.input_shape_)
        return shaped

    def _forward(self, X: Any) -> Tensor:
        check_is_fitted(self)
        outputs: Tensor = self.net_.forward(self._inputs(X))
        return outputs

    def _inputs(self, X: Any) -> Tensor:
        X = self._check_X(X, reset=False)
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
        """The epoch whose weights are used, counted from 1."""
        return self.net_.stopping_.best_epoch or self.n_epochs_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = self._allow_nd
        tags.input_tags.sparse = self._allow_sparse
        return tags
