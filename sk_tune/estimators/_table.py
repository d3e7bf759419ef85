# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a network for tables makes of the columns before its first layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sk_tune._compat import StrOptions
from sk_tune.estimators._base import NetworkEstimator
from sk_tune.estimators._columns import categorical_mask, check_codes, known_codes
from sk_tune.estimators._parameters import parameters
from sk_tune.estimators._validation import WholeNumber, category_columns
from sk_tune.nets import CategoryEmbedding, TableInputs

__all__ = ["TableLayout", "TableParameters", "table_inputs"]

Array = npt.NDArray[Any]

# Units of an embedding where they are chosen for the user: those of RealMLP, or fewer
# where no column has as many codes.
_MOST_UNITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLayout:
    """What fixes the shapes of a network's inputs.

    Parameters
    ----------
    n_features : int
        Columns.
    categorical : tuple of int
        Positions of the category columns.
    n_codes : tuple of int
        Vectors for each of them, the first for what is not known.
    embedding_size : int
        Units of a vector.
    """

    n_features: int
    categorical: tuple[int, ...]
    n_codes: tuple[int, ...]
    embedding_size: int

    @property
    def numerical(self) -> tuple[int, ...]:
        """Positions of the other columns."""
        categorical = set(self.categorical)
        return tuple(i for i in range(self.n_features) if i not in categorical)


def table_inputs(layout: TableLayout) -> TableInputs:
    """Return the inputs of a network, freshly initialised.

    Parameters
    ----------
    layout : TableLayout
        Of which there is more than plain numbers.

    Returns
    -------
    TableInputs
        It does not know yet what was learnt from the rows.
    """
    categories = None
    if layout.categorical:
        categories = CategoryEmbedding(layout.n_codes, layout.embedding_size)
    return TableInputs(
        layout.numerical, layout.categorical, numbers=None, categories=categories
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
        (embeddings).  Code 0, and every code that was not in the rows of the first fit,
        counts as unknown; all unknown codes share one vector.
    embedding_size : int or "auto", default="auto"
        Length of the vector of a category.  "auto" takes half of the number of codes of the
        column that has most, rounded up, but 8 at most.

    Attributes
    ----------
    is_categorical_ : ndarray of bool of shape (n_features_in_,)
        Which columns hold categories.
    """

    categorical_features: Any = "from_dtype"
    embedding_size: Any = "auto"

    _allow_codes: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "embedding_size": [WholeNumber(1), StrOptions({"auto"})],
    }

    def _check_X(self, X: Any, *, reset: bool) -> Array:
        typed = category_columns(X)
        checked = super()._check_X(X, reset=reset)
        names = self._column_names()
        if reset:
            self.is_categorical_ = categorical_mask(
                self.categorical_features, self.n_features_in_, names, typed
            )
        unnamed = [i for i in typed if not self.is_categorical_[i]]
        if unnamed:
            raise ValueError(
                "Columns of X that are not in categorical_features must be numeric for "
                f"{type(self).__name__}. Got column {X.columns[unnamed[0]]!r} of type "
                "category instead."
            )
        check_codes(checked, self._categorical, names)
        return checked

    @property
    def _categorical(self) -> list[int]:
        """Positions of the category columns."""
        return np.flatnonzero(self.is_categorical_).tolist()

    def _column_names(self) -> Sequence[str] | None:
        names = getattr(self, "feature_names_in_", None)
        return None if names is None else names.tolist()

    def _learn_columns(self, X: Array) -> None:
        self._known_codes = known_codes(X, self._categorical, self._column_names())

    def _layout(self) -> TableLayout | None:
        """Return what fixes the shapes of the inputs; None if they are plain numbers."""
        if not self._categorical:
            return None
        # Up to the largest code, so that folds agree which lack one of the others.
        n_codes = tuple(int(codes[-1]) + 1 for codes in self._known_codes)
        size = self.embedding_size
        if size == "auto":
            size = min(_MOST_UNITS, -(-max(n_codes) // 2))
        return TableLayout(
            n_features=self.n_features_in_,
            categorical=tuple(self._categorical),
            n_codes=n_codes,
            embedding_size=int(size),
        )

    def _build_inputs(self) -> TableInputs | None:
        """Return the inputs of a network; None if they are plain numbers."""
        layout = self._layout()
        if layout is None:
            return None
        inputs = table_inputs(layout)
        if inputs.categories is not None:
            inputs.categories.set_known([codes.tolist() for codes in self._known_codes])
        return inputs
