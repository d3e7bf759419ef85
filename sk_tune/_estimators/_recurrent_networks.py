# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Recurrent networks for sequences of numbers or tokens, possibly of unequal length."""

import copy
from typing import Annotated, Any, ClassVar

import numpy as np
from torch import nn

from sk_tune._augment import TimeShift
from sk_tune._compat import StrOptions
from sk_tune._declaration import WholeNumber, parameters
from sk_tune._estimators._network_estimator import NetworkEstimator
from sk_tune._estimators._parameters import (
    ARCHITECTURE,
    OTHER_NAMES,
    ArchitectureParameters,
    InputShape,
)
from sk_tune._estimators._tasks import NetworkClassifier, NetworkRegressor
from sk_tune._estimators._training_net import TrainingOptions
from sk_tune._estimators._validation import as_array, requested_shape
from sk_tune._nets import RNN, CategoryEmbedding
from sk_tune._training import n_weights, shape_of
from sk_tune._types import Array, Bools
from sk_tune._warnings import warn_user
from sk_tune.exceptions import DataWarning


def as_sequences(X: Any, n_features: int | None = None) -> Any:
    """Return a list of sequences as an array, (N, T, F), padded with NaN at the end.

    Sequences of equal length stay as they are, unless they are numbers for a fitted network
    of `n_features` 1.

    >>> as_sequences([[1.0, 2.0, 3.0], [4.0]])[:, :, 0].tolist()
    [[1.0, 2.0, 3.0], [4.0, nan, nan]]
    """
    is_objects = isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1
    if not (is_objects or isinstance(X, list | tuple)) or not len(X):
        return X
    samples = [as_array(sample) for sample in X]
    if not all(hasattr(s, "__len__") and not isinstance(s, str) for s in samples):
        return X
    lengths = set(map(len, samples))
    widths = {np.shape(sample)[1] for sample in samples if np.ndim(sample) == 2}
    if len(widths) > 1:
        hint = (
            " If they are (n_channels, n_steps), as in aeon, transpose each, for example "
            "by [row.T for row in X]."
        )
        raise ValueError(
            "All sequences of X must have the same number of features, in arrays of shape "
            f"(n_steps, n_features). Got from {min(widths)} to {max(widths)}."
            f"{hint if len(lengths) == 1 else ''}"
        )
    is_series = n_features == 1 and all(np.ndim(sample) == 1 for sample in samples)
    if len(lengths) == 1 and not (is_objects or is_series):
        return X
    try:
        steps = [np.asarray(sample, dtype=np.float64) for sample in samples]
    except ValueError as error:
        raise ValueError(
            f"Sequences of X must hold numbers: {error}. Split text into tokens, number "
            "these from 0, and use RNNClassifier or RNNRegressor with n_tokens=."
        ) from error
    steps = [values[:, np.newaxis] if values.ndim == 1 else values for values in steps]
    padded = np.full((len(steps), max(lengths), *steps[0].shape[1:]), np.nan)
    for place, values in zip(padded, steps, strict=True):
        place[: len(values)] = values
    return padded


_SHAPE = ("cell", "n_layers", "hidden_size", "bidirectional")
_MOST_UNITS = 32  # Largest automatic length of a token's vector.
# At this ratio of features to steps, the axes are likely to be swapped.
_LIKELY_CHANNELS = 8


@parameters
class _RNNEstimator(ArchitectureParameters, NetworkEstimator):
    """Architecture of a recurrent network.

    X contains sequences.  It is an array of shape (n_samples, n_steps, n_features), a flat
    array, or a list of arrays, possibly of unequal length.  In an array, shorter sequences
    are padded with NaN at the end, which the network ignores.  Sequences to predict may be
    longer or shorter than in ``fit``, except in a flat array.

    Parameters
    ----------
    cell : {"gru", "lstm", "rnn"}, default="gru"
        Kind of the recurrent layers.  Only an "rnn" cell uses `activation`, "relu" or
        "tanh".
    n_layers : int, default=1
        Number of recurrent layers.
    hidden_size : int, default=64
        Units of each layer in each direction.
    bidirectional : bool, default=False
        Whether to read the sequences in both directions.
    n_tokens : int, default=None
        Size of the vocabulary, if sequences contain ids of tokens such as words, from 0 to
        ``n_tokens - 1``.  The network learns a vector for each id.  Larger ids, and ids
        that did not occur in ``fit``, share one vector, initially 0.  If None, X contains
        ordinary numbers.
    embedding_size : int or "auto", default="auto"
        Length of a token's vector; "auto" is half of `n_tokens`, at most 32.
    input_shape : tuple of int, default=None
        (n_steps, n_features) of one sequence, for flat X.  If None, X has shape
        (n_samples, n_steps, n_features), or is flat with one feature per step, or is a list
        of arrays of shape (n_steps,) or (n_steps, n_features).

    Notes
    -----
    Recurrent networks learn slowly and their gradients can explode, so some defaults
    differ: ``learning_rate=0.01``, ``batch_size=32``, ``max_epochs="auto"``,
    ``gradient_clip=1.0`` and ``activation="tanh"``.
    """

    cell: Annotated[str, StrOptions({"gru", "lstm", "rnn"})] = "gru"
    n_layers: Annotated[int, WholeNumber(1)] = 1
    hidden_size: Annotated[int, WholeNumber(1)] = 64
    bidirectional: Annotated[bool, "boolean"] = False
    n_tokens: Annotated[int | None, WholeNumber(1), None] = None
    embedding_size: Annotated[int | str, WholeNumber(1), StrOptions({"auto"})] = "auto"
    input_shape: InputShape = None
    learning_rate: float = 1e-2
    batch_size: int = 32
    max_epochs: int | str = "auto"
    gradient_clip: float | None = 1.0
    activation: str = "tanh"

    _allow_nd: ClassVar[bool] = True
    _allow_nan: ClassVar[bool] = True
    _other_names: ClassVar[dict[str, str]] = {
        **OTHER_NAMES,
        "width": "Use 'hidden_size'.",
        "n_channels": "Use 'hidden_size'.",
        "hidden_layer_sizes": "Use 'hidden_size' and 'n_layers'.",
    }

    def _shape_input(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        requested = requested_shape(
            self, shape, most=2, completed=lambda s: s if len(s) == 2 else (*s, 1)
        )
        if requested is not None:
            return requested
        if len(shape) > 2:
            raise ValueError(
                f"X must have shape (n_samples, n_steps, n_features) for "
                f"{type(self).__name__}. Got {1 + len(shape)} dimensions."
            )
        return shape if len(shape) == 2 else (*shape, 1)

    def _with_uniform_shape(self, X: Any, n_features: int | None = None) -> Any:
        first = X
        for _ in range(2):
            first = first[0] if isinstance(first, list | tuple) and len(first) else first
        if isinstance(first, str):
            raise ValueError(
                f"X must hold numbers for {type(self).__name__}. Got text, {first!r}. "
                "Split it into tokens, number these from 0, and set 'n_tokens'."
            )
        if self.n_tokens is None and n_features is None:
            warn_of_tokens(X)
        return as_sequences(X, n_features)

    def _check_X(self, X: Any, *, reset: bool) -> Array:
        X = self._with_uniform_shape(X, None if reset else self.input_shape_[1])
        reader: Any = self
        shape = shape_of(X)
        if len(shape) == 3 and reset and self.input_shape is None:
            _ask_for_time(self, shape)
        elif len(shape) == 3 and not reset:
            n_features = self.input_shape_[1]
            if shape[2] != n_features:
                raise ValueError(
                    f"X must have shape (n_samples, n_steps, {n_features}) for "
                    f"{type(self).__name__}, as in fit. Got X.shape={tuple(shape)} instead."
                )
            # A copy that allows sequences of any length.
            reader, reset = copy.copy(self), True
            reader.input_shape = None
        elif len(shape) == 2 and not reset:
            _check_flat(self, shape)
        shaped = super(_RNNEstimator, reader)._check_X(X, reset=reset)
        missing = np.isnan(shaped)
        if missing.any() or not missing.size:
            _check_padding(missing)
        if self.n_tokens is not None:
            _check_tokens(type(self).__name__, shaped)
        return shaped

    def _learn_columns(self, X: Array, weight: Array | None) -> None:
        if self.n_tokens is not None:
            ids = np.unique(X[self.n_tokens > X])  # The comparison drops NaN, the padding.
            self._known_codes = [1 + ids.astype(np.int64)]

    def _options(self, seed: int) -> TrainingOptions:
        options = super()._options(seed)
        invalid = [a for a in options.augmentation if not isinstance(a, TimeShift)]
        if self.n_tokens is not None and invalid:
            raise ValueError(
                f"The 'augmentation' parameter of {type(self).__name__} must be TimeShift "
                f"or None with 'n_tokens'. Got {invalid[0]!r}, which changes token ids."
            )
        return options

    def _count_multiplications(self, module: nn.Module) -> float:
        # Each step uses the weights of the recurrent layers.
        tokens = getattr(module, "tokens", None)
        n_used = n_weights(module) - (0 if tokens is None else n_weights(tokens))
        return n_used * self.input_shape_[0]

    def _build_module(self, n_outputs: int) -> nn.Module:
        if self.cell == "rnn" and self.activation not in {"relu", "tanh"}:
            raise ValueError(
                f"The 'activation' parameter of {type(self).__name__} must be 'relu' or "
                f"'tanh' with cell='rnn'. Got {self.activation!r} instead."
            )
        tokens = None
        if self.n_tokens is not None:
            size = self.embedding_size
            if size == "auto":
                size = min(_MOST_UNITS, -(-self.n_tokens // 2))
            tokens = CategoryEmbedding([self.n_tokens + 1], int(size))
            tokens.set_known([codes.tolist() for codes in self._known_codes])
        return RNN(
            self.input_shape_[1],
            n_outputs,
            **self._arguments(*ARCHITECTURE, *_SHAPE),
            tokens=tokens,
        )


def warn_of_tokens(X: Any) -> None:
    """Warn that sequences of integers are read as magnitudes."""
    is_array = isinstance(X, np.ndarray)
    is_list = X.dtype.kind == "O" if is_array else isinstance(X, list | tuple)
    samples = [np.asarray(as_array(sample)) for sample in X] if is_list else []
    are_whole = all(sample.ndim == 1 and sample.dtype.kind in "iu" for sample in samples)
    if are_whole and len(set(map(len, samples))) > 1:
        warn_user(
            "Sequences of integers are read as magnitudes. If they are ids of tokens, use "
            "RNNClassifier or RNNRegressor with n_tokens=, which learn a vector for each "
            "token; if not, convert them to floats.",
            DataWarning,
        )


def _check_tokens(name: str, X: Array) -> None:
    """Raise ValueError unless each step of X, (N, T, F), holds the id of a token."""
    if X.shape[2] != 1:
        raise ValueError(
            f"X must hold one id in each step for {name} with 'n_tokens'. Got "
            f"{X.shape[2]} features in each step."
        )
    wrong = X[(X < 0) | (X % 1 != 0) & ~np.isnan(X)]
    if len(wrong):
        raise ValueError(
            f"X must hold ids of tokens, integers of at least 0, for {name} with "
            f"'n_tokens'. Got {wrong[0]}. Number the tokens from 0."
        )


def _ask_for_time(estimator: Any, shape: tuple[int, ...]) -> None:
    """Raise or warn if samples are likely to have channels before steps."""
    _, n_steps, n_features = shape
    question = (
        f"X of shape {tuple(shape)} has {n_steps} step(s) of {n_features} features for "
        f"{type(estimator).__name__}, which takes (n_samples, n_steps, n_features). If it "
        "is (n_samples, n_channels, n_steps), as in aeon and sktime, use "
        f"X.swapaxes(1, 2); if not, confirm it with input_shape=({n_steps}, {n_features})."
    )
    if n_steps == 1 and n_features > 1:
        raise ValueError(question)
    if n_steps * _LIKELY_CHANNELS < n_features:
        warn_user(question, DataWarning)


def _check_flat(estimator: Any, shape: tuple[int, ...]) -> None:
    """Raise ValueError if flat X to predict looks like one sequence."""
    n_steps, n_features = estimator.input_shape_
    if shape[1] == n_features > 1 < n_steps:
        raise ValueError(
            f"X must have shape (n_samples, n_steps, {n_features}) for "
            f"{type(estimator).__name__}, as in fit. Got X.shape={tuple(shape)}, which "
            "looks like one sequence: use X[numpy.newaxis]."
        )


def _check_padding(missing: Bools) -> None:
    """Raise ValueError for NaN before the end of a sequence, and for empty sequences.

    `missing` is (N, T, F).
    """
    lengths = (~missing.any(axis=2)).sum(axis=1)
    padding = np.arange(missing.shape[1]) >= lengths[:, np.newaxis]
    is_wrong = (missing != padding[:, :, np.newaxis]).any(axis=(1, 2))
    if len(bad := np.flatnonzero(is_wrong)):
        raise ValueError(
            "Input X contains NaN. Sequences may be padded with NaN in all features of "
            "their last steps. Got NaN elsewhere in "
            f"{len(bad)} of {len(missing)} sequences, the first at row {bad[0]}."
        )
    if len(empty := np.flatnonzero(lengths == 0)):
        raise ValueError(
            "Sequences of X must have at least one step. Got no step without NaN in "
            f"{len(empty)} of {len(missing)} sequences, the first at row {empty[0]}."
        )


@parameters
class RNNClassifier(_RNNEstimator, NetworkClassifier):
    """Recurrent network classifier.

    {description}

    {parameters and attributes}

    See Also
    --------
    RNNRegressor : The same network for real-valued targets.
    NetClassifier : Your own torch module as a classifier.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_tune import RNNClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(rng.integers(3, 9), 2)).cumsum(axis=0) for _ in range(60)]
    >>> y = ["up" if sequence[2, 0] > 0 else "down" for sequence in X]
    >>> net = RNNClassifier(random_state=0).fit(X, y)
    >>> net.predict(rng.normal(size=(3, 20, 2))).shape
    (3,)
    """


@parameters
class RNNRegressor(_RNNEstimator, NetworkRegressor):
    """Recurrent network regressor.

    {description}

    {parameters and attributes}

    See Also
    --------
    RNNClassifier : The same network for classes.
    NetRegressor : Your own torch module as a regressor.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_tune import RNNRegressor
    >>> X = np.random.default_rng(0).normal(size=(60, 5, 2))
    >>> net = RNNRegressor(max_epochs=5, random_state=0).fit(X, X[:, :, 0].sum(axis=1))
    >>> net.predict(X[:3]).shape
    (3,)
    """
