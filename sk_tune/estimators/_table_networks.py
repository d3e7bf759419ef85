# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How columns of a table become inputs: categories and their codes, bins, embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import nn

from sk_tune._compat import StrOptions
from sk_tune._declaration import parameters
from sk_tune.estimators._network_estimator import NetworkEstimator
from sk_tune.estimators._validation import Number, WholeNumber, category_columns, is_whole
from sk_tune.nets import (
    CategoryEmbedding,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
    TableInputs,
)

Array = npt.NDArray[Any]

_MOST_CODES = 2**16  # A matrix of so many vectors fits into memory many times.
_N_NAMED = 5  # Values that an error message lists.


def categorical_mask(
    given: Any, n_features: int, names: Sequence[str] | None, from_dtype: Sequence[int]
) -> npt.NDArray[np.bool_]:
    """Return which columns hold categories, as the parameter ``categorical_features`` says.

    `from_dtype` are the positions of the columns whose type says so. Raises ValueError if
    the parameter does not fit to the columns.

    >>> categorical_mask(["b"], 3, ["a", "b", "c"], ()).tolist()
    [False, True, False]
    """
    mask = np.zeros(n_features, dtype=bool)
    if isinstance(given, str):
        given = from_dtype
    values = np.asarray([] if given is None else given, dtype=object).ravel().tolist()
    if values and all(isinstance(value, bool | np.bool_) for value in values):
        if len(values) != n_features:
            wanted = f"a mask of {n_features} values, one for each column of X"
            raise ValueError(_message(wanted, f"a mask of {len(values)}"))
        mask[:] = values
    elif all(is_whole(value, 0) for value in values):
        beyond = [value for value in values if value >= n_features]
        if beyond:
            raise ValueError(_message(f"positions below {n_features}", beyond[:_N_NAMED]))
        mask[[int(value) for value in values]] = True
    elif all(isinstance(value, str) for value in values):
        if names is None:
            raise ValueError(_message("positions or a mask where X has no names", values))
        unknown = sorted(set(values).difference(names), key=values.index)
        if unknown:
            raise ValueError(_message("names of columns of X", unknown[:_N_NAMED]))
        mask[:] = np.isin(names, values)
    else:
        wanted = "positions of at least 0, names or a mask"
        raise ValueError(_message(wanted, values[:_N_NAMED]))
    return mask


def check_codes(X: Array, positions: Sequence[int], names: Sequence[Any]) -> None:
    """Raise ValueError, naming column and values, if a category column holds no codes."""
    for position in positions:
        column = _column(X, position)
        wrong = column[(column < 0) | (column != np.floor(column))]
        if len(wrong):
            raise ValueError(
                "Columns of categorical_features must hold codes: integers of at least 0. "
                f"Got {wrong[:_N_NAMED].tolist()} in column {names[position]!r} instead. "
                "sk_tune.prepare.TablePreparer or sklearn.preprocessing.OrdinalEncoder "
                "make codes of categories; scale the other columns only."
            )


def known_codes(
    X: Array, positions: Sequence[int], names: Sequence[Any]
) -> list[npt.NDArray[np.int64]]:
    """Return the codes of each category column, sorted, without repetition.

    Raises ValueError if a code is so large that its column is none of dense codes.
    """
    found = []
    for position in positions:
        codes = np.unique(_column(X, position))
        if codes[-1] >= _MOST_CODES:
            raise ValueError(
                f"Columns of categorical_features must hold codes below {_MOST_CODES}. "
                f"Got {codes[-1]:.0f} in column {names[position]!r}. Number its categories "
                "from 0, for example with sklearn.preprocessing.OrdinalEncoder."
            )
        found.append(codes.astype(np.int64))
    return found


def bin_edges(
    X: Array, positions: Sequence[int], n_bins: int, weight: Array | None = None
) -> list[Array]:
    """Return the rising edges of bins with roughly equally many samples, for each position.

    There are fewer than `n_bins` where many values are equal, and a single edge for a
    constant column; `weight` says how often each sample counts. The edges are quantiles by
    the inverse of the distribution function: unlike those that numpy interpolates, they are
    the same whether a sample has weight 2 or comes twice.

    >>> bin_edges(np.array([[0.0], [1.0], [2.0], [8.0]]), [0], 2)[0].tolist()
    [0.0, 1.0, 8.0]
    """
    # A little less than the shares, so that rounding makes no difference at an edge.
    shares = np.linspace(0, 1, n_bins + 1) * (1 - 1e-12)
    found = []
    X = sparse.csc_array(X) if sparse.issparse(X) else X
    for position in positions:
        column = _column(X, position)
        order = np.argsort(column, kind="stable")
        counts = np.ones(len(column)) if weight is None else weight[order]
        passed = counts.cumsum()
        places = np.searchsorted(passed, shares * passed[-1])
        edges = np.unique(column[order][places])
        # Bins so narrow that their widths have no inverse are left out.
        wide = np.diff(edges.astype(np.float64)) > 4 * np.finfo(X.dtype).tiny
        found.append(edges[np.append(True, wide)])
    return found


def _column(X: Any, position: int) -> Array:
    """Return a column of a table, sparse or not, as an array of shape (n_samples,)."""
    is_sparse = sparse.issparse(X)
    column: Array = X[:, [position]].toarray().ravel() if is_sparse else X[:, position]
    return column


def _message(wanted: str, got: Any) -> str:
    return f"The 'categorical_features' parameter must hold {wanted}. Got {got!r} instead."


# Units of an embedding where they are chosen for the user: those of RealMLP, or fewer
# where no column has as many codes.
_MOST_UNITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLayout:
    """The shapes of a network's inputs, a table of `n_features` columns.

    `categorical` are the positions of the category columns, `n_codes` the vectors for each
    of them, the first for what is not known.
    """

    n_features: int
    categorical: tuple[int, ...]
    n_codes: tuple[int, ...]
    embedding_size: int
    numerical_embedding: str | None
    numerical_embedding_size: int
    n_frequencies: int
    n_bins: int

    @property
    def numerical(self) -> tuple[int, ...]:
        """Positions of the other columns."""
        categorical = set(self.categorical)
        return tuple(i for i in range(self.n_features) if i not in categorical)


def table_inputs(layout: TableLayout, frequency_scale: float = 0.0) -> TableInputs:
    """Return the inputs of a network, freshly initialised, before they saw any samples.

    `frequency_scale` is the standard deviation of the first frequencies.
    """
    categories = None
    if layout.categorical:
        categories = CategoryEmbedding(layout.n_codes, layout.embedding_size)
    n_columns, size = len(layout.numerical), layout.numerical_embedding_size
    numbers: nn.Module | None = None
    if n_columns and layout.numerical_embedding == "periodic":
        numbers = PeriodicEmbedding(
            n_columns,
            n_frequencies=layout.n_frequencies,
            frequency_scale=frequency_scale,
            size=size,
        )
    elif n_columns and layout.numerical_embedding is not None:
        numbers = PiecewiseLinearEmbedding(n_columns, n_bins=layout.n_bins, size=size)
    return TableInputs(
        layout.numerical, layout.categorical, numbers=numbers, categories=categories
    )


@parameters
class TableParameters(NetworkEstimator):
    """How columns of a table become inputs.

    Parameters
    ----------
    categorical_features : array-like, "from_dtype" or None, default="from_dtype"
        Columns that hold categories: a mask, positions, or names of the columns of a
        frame.  "from_dtype" takes the columns of a pandas frame that are of type category;
        None takes none.  They must hold codes, integers of at least 0 as
        ``TablePreparer`` and ``OrdinalEncoder`` make them, and get learned vectors
        (embeddings).  Code 0, and every code that the samples of the first fit lacked,
        counts as unknown; all unknown codes share one vector.
    embedding_size : int or "auto", default="auto"
        Length of the vector of a category.  "auto" takes half of the number of codes of the
        column that has most, rounded up, but 8 at most.
    numerical_embedding : {"periodic", "piecewise_linear"} or None, default=None
        What numbers become before the first layer.  "periodic" takes cosines and sines of
        trained frequencies through a small layer for each column, and asks for scaled
        numbers; "piecewise_linear" bends a line for each unit at quantiles of the first
        rows.  Both let a network of few layers follow jumps and bends, and cost time.
    numerical_embedding_size : int, default=8
        Length of the vector of a number.
    n_frequencies : int, default=16
        Frequencies of each column, with "periodic".
    frequency_scale : float, default=0.1
        Standard deviation of the frequencies that training begins with, in periods per
        unit, with "periodic"; large ones follow small differences and noise.
    n_bins : int, default=16
        Bins of each column, with "piecewise_linear".

    Attributes
    ----------
    is_categorical_ : ndarray of bool of shape (n_features_in_,)
        Which columns hold categories.
    bin_edges_ : list of ndarray
        Edges of the bins of each column of numbers, with "piecewise_linear"; else empty.
    """

    categorical_features: Any = "from_dtype"
    embedding_size: Any = "auto"
    numerical_embedding: str | None = None
    numerical_embedding_size: int = 8
    n_frequencies: int = 16
    frequency_scale: float = 0.1
    n_bins: int = 16

    _allow_codes: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "embedding_size": [WholeNumber(1), StrOptions({"auto"})],
        "numerical_embedding": [StrOptions({"periodic", "piecewise_linear"}), None],
        "numerical_embedding_size": [WholeNumber(1)],
        "n_frequencies": [WholeNumber(1)],
        "frequency_scale": [Number(0, closed="neither")],
        "n_bins": [WholeNumber(1)],
    }

    def _check_X(self, X: Any, *, reset: bool) -> Array:
        typed = category_columns(X)
        checked = super()._check_X(X, reset=reset)
        if reset:
            names = getattr(self, "feature_names_in_", None)
            self.is_categorical_ = categorical_mask(
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
        check_codes(checked, self._categorical, self._column_names())
        return checked

    @property
    def _categorical(self) -> list[int]:
        """Positions of the category columns."""
        return np.flatnonzero(self.is_categorical_).tolist()

    def _column_names(self) -> list[Any]:
        """Return the names of the columns, or their positions."""
        names = getattr(self, "feature_names_in_", np.arange(self.n_features_in_))
        return list(names.tolist())

    def _learn_columns(self, X: Array, weight: Array | None) -> None:
        self._known_codes = known_codes(X, self._categorical, self._column_names())
        has_bins = self.numerical_embedding == "piecewise_linear"
        binned = np.flatnonzero(~self.is_categorical_).tolist() if has_bins else []
        self.bin_edges_ = bin_edges(X, binned, int(self.n_bins), weight)

    def _layout(self) -> TableLayout | None:
        """Return what fixes the shapes of the inputs; None if they are plain numbers."""
        if not (self._categorical or self.numerical_embedding):
            return None
        # Up to the largest code, so that folds agree which lack one of the others.
        n_codes = tuple(int(codes[-1]) + 1 for codes in self._known_codes)
        size = self.embedding_size
        if size == "auto":
            size = min(_MOST_UNITS, -(-max(n_codes, default=1) // 2))
        return TableLayout(
            n_features=self.n_features_in_,
            categorical=tuple(self._categorical),
            n_codes=n_codes,
            embedding_size=int(size),
            numerical_embedding=self.numerical_embedding,
            numerical_embedding_size=int(self.numerical_embedding_size),
            n_frequencies=int(self.n_frequencies),
            n_bins=int(self.n_bins),
        )

    def _build_inputs(self) -> TableInputs | None:
        """Return the inputs of a network; None if they are plain numbers."""
        layout = self._layout()
        if layout is None:
            return None
        inputs = table_inputs(layout, float(self.frequency_scale))
        if inputs.categories is not None:
            inputs.categories.set_known([codes.tolist() for codes in self._known_codes])
        if isinstance(inputs.numbers, PiecewiseLinearEmbedding):
            # Set in the type of the network, which float32 would round.
            inputs.numbers.to(getattr(torch, self.dtype)).set_edges([
                edges.tolist() for edges in self.bin_edges_
            ])
        return inputs
