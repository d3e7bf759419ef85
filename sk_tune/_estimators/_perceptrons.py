# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Multi-layer perceptrons for tables, and the conversion of columns to inputs."""

import math
import os
from collections.abc import Sequence
from dataclasses import field
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from sklearn.base import is_classifier
from torch import nn

from sk_tune._compat import StrOptions
from sk_tune._declaration import WholeNumber, parameters
from sk_tune._estimators._network_estimator import NetworkEstimator
from sk_tune._estimators._parameters import (
    ARCHITECTURE,
    OTHER_NAMES,
    ArchitectureParameters,
)
from sk_tune._estimators._tasks import NetworkClassifier, NetworkRegressor
from sk_tune._estimators._validation import category_columns, is_whole
from sk_tune._nets import (
    MLP,
    NUMBER_EMBEDDINGS,
    CategoryEmbedding,
    PiecewiseLinearEmbedding,
    TableInputs,
)
from sk_tune._numerical_embedding import (
    EMBEDDINGS,
    NumericalEmbedding,
    as_embedding,
    with_params,
)
from sk_tune._types import Array, Bools

_NESTED = "numerical_embedding__"
_COPIES = 4  # The weights, their derivatives, and two moments.
_MOST_CODES = 2**16  # An embedding matrix of this size easily fits into memory.
_N_NAMED = 5  # Values that an error message lists.
# Largest automatic size of an embedding, as in RealMLP; smaller if no column has as large
# a number of codes.
_MOST_UNITS = 8


@parameters
class _TableParameters(NetworkEstimator):
    """Parameters of table inputs.

    Parameters
    ----------
    categorical_features : array-like, "from_dtype" or None, default="from_dtype"
        Columns of categories: a mask, positions, or column names of a frame.  "from_dtype"
        selects the columns of a pandas frame with dtype category; None selects no columns.
        They must contain codes, which are integers of at least 0, as returned by
        ``TablePreparer`` and ``OrdinalEncoder``.  The network learns a vector for each code
        (embedding).  Code 0 and codes that did not occur in the first fit share one vector.
    embedding_size : int or "auto", default="auto"
        Length of a category's vector.  "auto" is half of the largest number of codes in a
        column, rounded up, and at most 8.
    numerical_embedding : PiecewiseLinear, Periodic, their short forms \
            "piecewise_linear" and "periodic", or None, default=None
        Embedding of numbers. :class:`PiecewiseLinear` is a piecewise linear function with
        knots at quantiles of the first samples. :class:`Periodic` passes cosines and sines
        of trained frequencies through a small layer for each column, and requires scaled
        numbers.  Both help shallow networks fit jumps and bends, but take time.  Columns
        with at most two values, such as one-hot columns, are not embedded.  To search over
        parameters of an embedding, use names such as ``numerical_embedding__n_bins``.

    Attributes
    ----------
    is_categorical_ : ndarray of bool of shape (n_features_in_,)
        Mask of the category columns.
    is_embedded_ : ndarray of bool of shape (n_features_in_,)
        Mask of the columns of numbers that `numerical_embedding` embeds.
    bin_edges_ : list of ndarray
        Edges of the bins of each embedded column, with "piecewise_linear"; else empty.
    """

    categorical_features: Annotated[
        npt.ArrayLike | None, "array-like", StrOptions({"from_dtype"}), None
    ] = "from_dtype"
    embedding_size: Annotated[int | str, WholeNumber(1), StrOptions({"auto"})] = "auto"
    numerical_embedding: Annotated[
        NumericalEmbedding | str | None,
        StrOptions(set(EMBEDDINGS)),
        NumericalEmbedding,
        None,
    ] = None

    _allow_codes: ClassVar[bool] = True

    def set_params(self, **params: Any) -> Self:
        """Set parameters, including the parameters of `numerical_embedding`."""
        nested = {n: params.pop(n) for n in [*params] if n.startswith(_NESTED)}
        super().set_params(**params)
        if nested:
            changes = {name.removeprefix(_NESTED): v for name, v in nested.items()}
            self.numerical_embedding = with_params(self.numerical_embedding, changes)
        return self

    def _check_X(self, X: Any, *, reset: bool) -> Array:
        typed = category_columns(X)
        checked = super()._check_X(X, reset=reset)
        if reset:
            names = getattr(self, "feature_names_in_", None)
            self.is_categorical_ = _categorical_mask(
                self.categorical_features,
                self.n_features_in_,
                None if names is None else names.tolist(),
                typed,
            )
        unnamed = [i for i in typed if not self.is_categorical_[i]]
        if unnamed:
            raise ValueError(
                "Columns of X that are not in categorical_features must be numeric for "
                f"{type(self).__name__}. Got column {X.columns[unnamed[0]]!r} of type "
                "category instead."
            )
        for position in self._categorical:
            column = _column(checked, position)
            wrong = column[(column < 0) | (column != np.floor(column))]
            if len(wrong):
                raise ValueError(
                    "Columns of categorical_features must hold codes: integers of at least "
                    f"0. Got {wrong[:_N_NAMED].tolist()} in column "
                    f"{self._name(position)!r} instead. sk_tune.TablePreparer or "
                    "sklearn.preprocessing.OrdinalEncoder make codes of categories; scale "
                    "the other columns only."
                )
        return checked

    @property
    def _categorical(self) -> list[int]:
        return np.flatnonzero(self.is_categorical_).tolist()

    def _name(self, position: int) -> Any:
        names = getattr(self, "feature_names_in_", np.arange(self.n_features_in_))
        return names.tolist()[position]

    def _learn_columns(self, X: Array, weight: Array | None) -> None:
        # The codes of each category column, sorted.
        self._known_codes = []
        for position in self._categorical:
            codes = np.unique(_column(X, position))
            if codes[-1] >= _MOST_CODES:
                raise ValueError(
                    f"Columns of categorical_features must hold codes below {_MOST_CODES}. "
                    f"Got {codes[-1]:.0f} in column {self._name(position)!r}. Number its "
                    "categories from 0, for example with "
                    "sklearn.preprocessing.OrdinalEncoder."
                )
            self._known_codes.append(codes.astype(np.int64))
        embedding, self.bin_edges_ = as_embedding(self.numerical_embedding), []
        self.is_embedded_ = np.zeros(self.n_features_in_, dtype=bool)
        if embedding is not None:
            self.is_embedded_ = _has_several_values(X, weight) & ~self.is_categorical_
            embedded = np.flatnonzero(self.is_embedded_).tolist()
            if (n_bins := self._params_of_numbers(embedding).get("n_bins")) is not None:
                self.bin_edges_ = _bin_edges(X, embedded, n_bins, weight)

    def _params_of_numbers(self, embedding: NumericalEmbedding) -> dict[str, Any]:
        """Return the parameters of the module that embeds numbers."""
        return embedding.for_table(
            int(self.is_embedded_.sum()),
            self.n_samples_fit_,
            is_classification=is_classifier(self),
        )

    def _build_inputs(self) -> TableInputs | None:
        """Return the inputs of a network; None if they are plain numbers."""
        categorical, embedding = self._categorical, as_embedding(self.numerical_embedding)
        embedded = np.flatnonzero(self.is_embedded_).tolist()
        if not categorical and not embedded:
            return None
        categories = None
        if categorical:
            # Up to the largest code, so that sizes agree between folds that lack a code.
            n_codes = [int(codes[-1]) + 1 for codes in self._known_codes]
            size = self.embedding_size
            if size == "auto":
                size = min(_MOST_UNITS, -(-max(n_codes) // 2))
            categories = CategoryEmbedding(n_codes, int(size))
            categories.set_known([codes.tolist() for codes in self._known_codes])
        plain = np.flatnonzero(~(self.is_embedded_ | self.is_categorical_)).tolist()
        numbers = None
        if embedding is not None and embedded:
            params = self._params_of_numbers(embedding)
            numbers = NUMBER_EMBEDDINGS[embedding.name](len(embedded), **params)
        if self.bin_edges_ and isinstance(numbers, PiecewiseLinearEmbedding):
            # Edges are set in the network's dtype, because float32 would round float64.
            edges = [edges_of_column.tolist() for edges_of_column in self.bin_edges_]
            numbers.to(getattr(torch, self.dtype)).set_edges(edges)
        return TableInputs(
            plain, categorical, embedded=embedded, numbers=numbers, categories=categories
        )


def _categorical_mask(
    features: Any, n_features: int, names: Sequence[str] | None, from_dtype: Sequence[int]
) -> Bools:
    """Return the mask of category columns that ``categorical_features`` specifies.

    `from_dtype` are the positions of the columns with dtype category. Raises ValueError if
    the parameter does not match the columns.

    >>> _categorical_mask(["b"], 3, ["a", "b", "c"], ()).tolist()
    [False, True, False]
    """
    features = from_dtype if isinstance(features, str) else features
    values = np.asarray([] if features is None else features, dtype=object).ravel().tolist()
    mask, wrong = np.zeros(n_features, dtype=bool), values
    if values and all(isinstance(value, bool | np.bool_) for value in values):
        requirement = f"a mask of {n_features} values, one for each column of X"
        if len(values) == n_features:
            return np.array(values, dtype=bool)
    elif all(is_whole(value, 0) for value in values):
        requirement = f"positions below {n_features}"
        wrong = [value for value in values if value >= n_features]
        mask[[int(value) for value in values if value < n_features]] = True
    elif not all(isinstance(value, str) for value in values):
        requirement = "positions of at least 0, names or a mask"
    elif names is None:
        requirement = "positions or a mask where X has no names"
    else:
        requirement = "names of columns of X"
        wrong = [value for value in dict.fromkeys(values) if value not in names]
        mask[:] = np.isin(names, values)
    if wrong:
        raise ValueError(
            f"The 'categorical_features' parameter must hold {requirement}. Got "
            f"{wrong[:_N_NAMED]!r} instead."
        )
    return mask


def _has_several_values(X: Any, weight: Array | None) -> Bools:
    """Return the mask of columns with at least three values in samples with a weight.

    >>> _has_several_values(np.array([[0, 0], [1, 1], [1, 2]]), None).tolist()
    [False, True]
    """
    X = X if weight is None or weight.all() else X[weight > 0]
    if not sparse.issparse(X):
        between = (X.min(axis=0) < X) & (X.max(axis=0) > X)
        return np.asarray(between.any(axis=0))
    X = sparse.csc_array(X)
    n_values = [len(np.unique(_column(X, position))) for position in range(X.shape[1])]
    return np.array(n_values) > 2


def _bin_edges(
    X: Array, positions: Sequence[int], n_bins: int, weight: Array | None = None
) -> list[Array]:
    """Return, for each position, increasing edges of bins with about equal sample counts.

    There are fewer than `n_bins` bins where values repeat, and a single edge for a constant
    column. `weight` counts repetitions of the samples. The edges are quantiles by the
    inverse distribution function, without interpolation, so that they are the same whether
    a sample has weight 2 or occurs twice.

    >>> _bin_edges(np.array([[0.0], [1.0], [2.0], [8.0]]), [0], 2)[0].tolist()
    [0.0, 1.0, 8.0]
    """
    # Slightly smaller shares, so that rounding does not matter at an edge.
    shares = np.linspace(0, 1, n_bins + 1) * (1 - 1e-12)
    edges_by_column = []
    X = sparse.csc_array(X) if sparse.issparse(X) else X
    for position in positions:
        column = _column(X, position)
        order = np.argsort(column, kind="stable")
        counts = np.ones(len(column)) if weight is None else weight[order]
        passed = counts.cumsum()
        places = np.searchsorted(passed, shares * passed[-1])
        edges = np.unique(column[order][places])
        # Drop bins that are too narrow for a finite inverse width.
        wide = np.diff(edges.astype(np.float64)) > 4 * np.finfo(X.dtype).tiny
        edges_by_column.append(edges[np.append(True, wide)])
    return edges_by_column


def _column(X: Any, position: int) -> Array:
    """Return a column of a dense or sparse table as an array of shape (n_samples,)."""
    is_sparse = sparse.issparse(X)
    column: Array = X[:, [position]].toarray().ravel() if is_sparse else X[:, position]
    return column


@parameters
class _MLPEstimator(ArchitectureParameters, _TableParameters, NetworkEstimator):
    """Architecture of a multi-layer perceptron.

    Parameters
    ----------
    n_layers : int, default=2
        Number of hidden layers; 0 gives a linear model.
    width : int, default=64
        Units of each hidden layer.
    hidden_layer_sizes : int or sequence of int, default=None
        Units of each hidden layer; if set, `n_layers` and `width` have no effect.
    members : int, default=4
        Number of networks that share the weight matrices and are averaged (TabM).  Each has
        its own scales, biases, last layer and loss; predictions are means of probabilities
        or targets.  Several members usually predict better than one network, and train
        faster than the same number of separate networks; 1 gives an ordinary network.
        `train_loss` is the mean of the members' losses, `valid_loss` the loss of the mean
        prediction, which is lower.
    max_epochs : int or "auto", default="auto"
        Passes over the training samples.  "auto" aims at 3,000 steps, within 20 to 200
        passes; without early stopping at 400, within 20 to 50 passes in classification and
        20 to 100 in regression.
    """

    n_layers: Annotated[int, WholeNumber(0)] = 2
    width: Annotated[int, WholeNumber(1)] = 64
    hidden_layer_sizes: Annotated[
        int | Sequence[int] | Array | None, "array-like", WholeNumber(1), None
    ] = field(default=None, kw_only=False)
    members: Annotated[int, WholeNumber(1)] = 4
    max_epochs: int | str = "auto"

    _allow_sparse: ClassVar[bool] = True
    _other_names: ClassVar[dict[str, str]] = {
        **OTHER_NAMES,
        "hidden_size": "Use 'width'.",
        "n_channels": "Use 'width'.",
        "input_shape": "MLPs take flat samples, (n_samples, n_features).",
    }

    def _shape_input(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def _build_module(self, n_outputs: int) -> nn.Module:
        sizes = [self.width] * self.n_layers
        if self.hidden_layer_sizes is not None:
            layer_sizes = np.atleast_1d(np.asarray(self.hidden_layer_sizes, dtype=object))
            if not all(is_whole(size, 1) for size in layer_sizes.tolist()):
                raise ValueError(
                    f"The 'hidden_layer_sizes' parameter of {type(self).__name__} must "
                    f"hold integers of at least 1. Got {self.hidden_layer_sizes!r} instead."
                )
            sizes = [int(size) for size in layer_sizes]
        self._check_bytes((self.input_shape_[0], *sizes, n_outputs))
        return MLP(
            self.input_shape_[0],
            n_outputs,
            hidden_layer_sizes=sizes,
            **self._arguments(*ARCHITECTURE, "members"),
            link=self._task_parts()[0].link,
            inputs=self._build_inputs(),
        )

    def _count_multiplications(self, module: nn.Module) -> float:
        return super()._count_multiplications(module) * self.members

    def _check_bytes(self, sizes: Sequence[int]) -> None:
        """Refuse a network that exceeds this machine's memory, before building it."""
        n_weights = sum((n + 1) * m for n, m in pairwise(sizes))
        needed = n_weights * _COPIES * np.dtype(self.dtype).itemsize
        try:
            memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        except (AttributeError, ValueError, OSError):
            # The size of memory is not available.
            memory = math.inf
        if needed > memory:
            raise ValueError(
                f"The layers of {type(self).__name__} must fit into memory. Got sizes "
                f"{tuple(sizes)}, with {n_weights:,} weights, which take "
                f"{needed / 1e9:,.0f} GB with derivatives and moments; this machine has "
                f"{memory / 1e9:,.0f} GB. Make hidden_layer_sizes, or width and n_layers, "
                "smaller."
            )


@parameters
class MLPClassifier(_MLPEstimator, NetworkClassifier):
    """Multi-layer perceptron classifier.

    X is a numeric table.  Scale its columns in a pipeline, so that each fold fits the
    scaler on its own training samples.  Sparse tables are supported; large sparse tables
    are converted to dense arrays batch by batch.

    {parameters and attributes}

    See Also
    --------
    MLPRegressor : The same network for real-valued targets.
    NetClassifier : Your own torch module as a classifier.
    sklearn.neural_network.MLPClassifier : Scikit-learn's MLP, without dropout and
        normalisation.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sk_tune import MLPClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> net = make_pipeline(StandardScaler(), MLPClassifier(max_epochs=20, random_state=0))
    >>> bool(cross_val_score(net, X, y, cv=5).mean() > 0.95)
    True
    """


@parameters
class MLPRegressor(_MLPEstimator, NetworkRegressor):
    """Multi-layer perceptron regressor.

    X is a numeric table.  Scale its columns in a pipeline; the target is scaled internally.
    Sparse tables are supported; large sparse tables are converted to dense arrays batch by
    batch.

    {parameters and attributes}

    See Also
    --------
    MLPClassifier : The same network for classes.
    NetRegressor : Your own torch module as a regressor.
    sklearn.neural_network.MLPRegressor : Scikit-learn's MLP, without dropout and
        normalisation.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_tune import MLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = MLPRegressor(max_epochs=20, random_state=0).fit(X, y)
    >>> net.predict(X[:2]).shape
    (2,)
    """
