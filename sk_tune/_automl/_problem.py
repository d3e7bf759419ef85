# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The learning problem: checked X and y, folds and a scorer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from sklearn.preprocessing import scale
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    assert_all_finite,
    check_array,
    check_consistent_length,
    column_or_1d,
    validate_data,
)

from sk_tune._compat import num_samples
from sk_tune._estimators import as_sequences, check_complete, is_dict, warn_of_tokens
from sk_tune._frames import as_pandas, check_in_memory
from sk_tune._prepare import (
    check_table,
    decide_columns,
    read_text,
    with_dropped,
    without_header_rows,
)
from sk_tune._splits import take
from sk_tune._types import Array

DataKind = Literal["table", "image", "sequence"]

# Least number of columns of a wide table.
_MANY_COLUMNS = 200
# The fewest rows and columns of spectra, and the most rows that are examined.
_FEWEST_OF_SPECTRA, _MOST_EXAMINED = 30, 500
# A table is collinear if few principal components have nearly all of the variance.
_NEARLY_ALL, _FEW_COMPONENTS = 0.999, 0.1
# Sums of squares of larger targets may be infinite.
_LARGEST_TARGET = 1e150


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """Samples, folds and scoring of a fit.

    `folds` are positions of training and held-out samples, the same for all models;
    `sample_weight` is for training; `seed` is the source of all random numbers.
    `n_left_out` rows of the data are too many for the time budget.  `groups` are groups of
    samples that no fold divides.  Columns of text become `text_components` each; 0 leaves
    them out.
    """

    X: Any
    y: Array
    kind: DataKind
    is_classification: bool
    folds: Sequence[tuple[Array, Array]]
    scoring: Any
    sample_weight: Array | None
    seed: int
    n_left_out: int = 0
    groups: Array | None = None
    text_components: int = 0

    @property
    def n_train(self) -> int:
        """Number of training samples in the largest fold."""
        return max(len(train) for train, _ in self.folds)

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 in regression."""
        return len(np.unique(self.y)) if self.is_classification else 0

    @property
    def n_values(self) -> int:
        """Number of training values of X in the largest fold."""
        return int(self.n_train * np.prod(self.X.shape[1:]))

    @property
    def share_of_refit(self) -> float:
        """Time of a fit on all rows relative to the fits of the folds; 0 without refits.

        Networks for images and sequences keep the models of their folds, whose average is
        better than a single network.
        """
        if self.kind != "table":
            return 0.0
        return len(self.y) / sum(len(train) for train, _ in self.folds)

    @property
    def n_largest_folds(self) -> float:
        """Number of fits of the largest fold that have as many rows as those of all folds.

        In time order it is smaller than the number of folds.
        """
        return sum(len(train) for train, _ in self.folds) / self.n_train

    @property
    def is_in_time_order(self) -> bool:
        """Whether later folds train on held-out rows of earlier ones, never vice versa."""
        pairs = list(pairwise(self.folds))
        return bool(pairs) and all(
            np.isin(test, later_train).any() and not np.isin(later_test, train).any()
            for (train, test), (later_train, later_test) in pairs
        )

    @property
    def folds_of_refit(self) -> slice:
        """The folds whose models determine how long a refit trains.

        In time order it is the last, because early folds have few rows.
        """
        return slice(-1 if self.is_in_time_order else 0, None)

    @property
    def is_wide(self) -> bool:
        """Whether it is a table with more columns than rows, such as gene expressions."""
        n_rows, n_columns = self.X.shape[:2]
        return self.kind == "table" and n_columns > max(n_rows, _MANY_COLUMNS)

    @property
    def is_collinear(self) -> bool:
        """Whether the columns are numbers with strong correlations, as in spectra."""
        if self.kind != "table" or min(self.X.shape) < _FEWEST_OF_SPECTRA:
            return False
        if not all(map(pd.api.types.is_numeric_dtype, self.X.dtypes)):
            return False
        rows = np.random.default_rng(self.seed).permutation(len(self.X))[:_MOST_EXAMINED]
        values = self.X.iloc[rows].to_numpy(np.float64)
        # Unused columns have no values.
        values = values[:, np.isfinite(values).any(axis=0)]
        values = values[np.isfinite(values).all(axis=1)]
        if len(values):
            values = values[:, np.ptp(values, axis=0) > 0]
        if min(values.shape) < _FEWEST_OF_SPECTRA:
            return False
        values = scale(values)
        # The smaller of both matrices of products has the variances of the components.
        products = min(values @ values.T, values.T @ values, key=len)
        variances = np.cumsum(np.linalg.eigvalsh(products)[::-1])
        n_components = 1 + np.searchsorted(variances, _NEARLY_ALL * variances[-1])
        return bool(n_components <= _FEW_COMPONENTS * len(products))

    def sampled(self, n_rows: int, *, holds_all: bool = True) -> Self:
        """Return the problem with at most `n_rows` training samples in each fold.

        Smaller samples are subsets of larger ones. Held-out samples are the same, or
        without `holds_all` an equal share of them with a minimum.
        """
        if n_rows >= self.n_train:
            return self
        part, least = n_rows / self.n_train, 2 * self.n_classes + 2
        folds = []
        for train, test in self.folds:
            fewer = np.sort(self._in_order(train)[: max(1, round(part * len(train)))])
            if not holds_all:
                test = self._in_order(test)[: max(least, round(part * len(test)))]
            folds.append((fewer, test))
        return replace(self, folds=folds)

    def _in_order(self, rows: Array) -> Array:
        return rows[_sampling_order(self.y[rows], self.is_classification, self.seed)]

    def of_rows(self, X: Any, y: Array, sample_weight: Array | None, rows: Array) -> Self:
        """Return the problem with other rows, for refits; itself without more or refits."""
        if len(rows) == len(self.y) or self.kind != "table":
            return self
        weight = None if sample_weight is None else sample_weight[rows]
        return replace(self, X=take(X, rows), y=y[rows], sample_weight=weight)

    def fit_params(self, estimator: Any) -> dict[str, Any]:
        """Return the ``fit`` parameters of a search over a pipeline."""
        if self.sample_weight is None:
            return {}
        return {f"{estimator.steps[-1][0]}__sample_weight": self.sample_weight}


def _sampling_order(y: Array, is_classification: bool, seed: int) -> Array:  # noqa: FBT001
    """Return all positions, ordered so that each prefix is representative.

    Two samples of each class come first, then classes in proportion to their sizes.
    """
    order = np.random.default_rng(seed).permutation(len(y))
    if not is_classification:
        return order
    _, codes, counts = np.unique(y[order], return_inverse=True, return_counts=True)
    place = np.empty(len(y), dtype=np.intp)
    firsts = np.repeat(np.cumsum(counts) - counts, counts)
    place[np.argsort(codes, kind="stable")] = np.arange(len(y)) - firsts
    quantile = (place + 0.5) / counts[codes]
    return order[np.argsort(np.where(place < 2, place - 2, quantile), kind="stable")]


_FEWEST_ROWS = 2
_KINDS: dict[int, DataKind] = {2: "table", 3: "sequence", 4: "image"}


def as_features(estimator: Any, X: Any, *, reset: bool, shape: Any = None) -> Any:
    """Return checked features.

    The result is a table with text names, or an array with more than two axes; lists of
    sequences are padded. With `reset` the estimator learns names and number of features.
    Without `reset`, columns are matched by position if either table has no names. `shape`
    is the shape of a sample if X is flat but contains images or sequences. Row counters and
    dropped columns are set to missing. So are unreadable cells in numeric or date columns
    that had such cells in ``fit``. Raises ValueError for invalid data, and for data unlike
    the data of ``fit``.
    """
    check_in_memory(X)
    table = as_pandas(X) if hasattr(X, "columns") else None
    if reset:
        estimator.kinds_ = None
    if table is None:
        X = _checked_array(estimator, X, reset=reset, shape=shape)
        if X.ndim > 2:
            return X
        names = pd.Index([str(k) for k in range(X.shape[1])])
        table = pd.DataFrame(X, columns=names, copy=False).infer_objects()
        is_known = False
    else:
        # With `reset`, no column is dropped yet.
        dropped = getattr(estimator.kinds_, "dropped", ())
        table = with_dropped(table, estimator, dropped)
        check_table(table, type(estimator).__name__, _FEWEST_ROWS if reset else 1)
        validate_data(
            estimator, table if dropped else X, reset=reset, skip_check_array=True
        )
        # scikit-learn has compared the names if both tables have names.
        has_names = all(isinstance(name, str) for name in table.columns)
        is_known = has_names == hasattr(estimator, "feature_names_in_")
        # Names with several levels become tuples.
        names = table.columns.to_flat_index().astype(str)
    if not reset and not is_known:
        # scikit-learn has warned: columns are matched by position.
        names = getattr(estimator, "_columns", names)
    if shape is not None:
        numbers = check_array(table, dtype=np.float64, ensure_all_finite="allow-nan")
        return _reshaped(numbers, tuple(shape))
    table = without_header_rows(table.set_axis(names, axis=1).reset_index(drop=True))
    if reset:
        estimator._columns = list(table.columns)
        # Decide from all samples: a fold without unreadable cells could not handle them
        # later.
        table, estimator._formats, estimator.kinds_ = decide_columns(table)
    else:
        table = read_text(table, getattr(estimator, "_formats", {}))
    # Empty the dropped columns, so that preparation drops them in each fold: with fewer
    # rows, a row counter has gaps and texts may look like categories.
    kinds = estimator.kinds_
    if kinds is not None and kinds.used:
        table[list(kinds.dropped)] = np.nan
    return table


def left_out_texts(estimator: Any, X: Any) -> pd.DataFrame:
    """Return the text columns dropped by ``fit``, which differ in almost every row."""
    names = [] if estimator.kinds_ is None else estimator.kinds_.rare_texts
    if not names:
        return pd.DataFrame(index=range(num_samples(X)))
    table: Any = as_pandas(X) if hasattr(X, "columns") else None
    if table is None:
        table = pd.DataFrame(np.asarray(X, dtype=object))
    places = [estimator._columns.index(name) for name in names]
    texts: pd.DataFrame = table.iloc[:, places].set_axis(names, axis=1)
    return texts.reset_index(drop=True)


def _checked_array(estimator: Any, X: Any, *, reset: bool, shape: Any) -> Array:
    """Return an array X in which samples have the given `shape`, if any."""
    if is_dict(X):
        raise ValueError(
            f"X must be one array or table for {type(estimator).__name__}. Got a dict; "
            "NetClassifier and NetRegressor take dicts of arrays."
        )
    row_shape = None if reset else getattr(estimator, "_row_shape", ())
    X = _equally_long(X, row_shape)
    is_text = shape is None and _has_text(X)
    X = validate_data(
        estimator,
        np.array(X, dtype=object) if is_text and isinstance(X, list) else X,
        reset=reset,
        dtype=None if is_text else "numeric",
        allow_nd=not is_text,
        ensure_all_finite=False if is_text else "allow-nan",
        ensure_min_samples=_FEWEST_ROWS if reset else 1,
    )
    return X if shape is None else _reshaped(X, tuple(shape))


def _has_text(X: Any) -> bool:
    """Return whether X is an array or list with two axes of text or objects."""
    try:
        array = np.asarray(X)
    except ValueError:
        # scikit-learn's check describes rows of different lengths.
        return False
    return array.ndim == 2 and array.dtype.kind in "OUT"


def _equally_long(X: Any, row_shape: tuple[int, ...] | None) -> Any:
    """Return sequences as an array (N, T, F), padded with NaN; other data unchanged.

    Sequences to predict are padded to the length of ``fit``, from `row_shape`.
    """
    if row_shape is None:
        warn_of_tokens(X)
        return as_sequences(X)
    if len(row_shape) != 2:
        return X
    n_steps, n_features = row_shape
    X = as_sequences(X, n_features)
    shape = np.shape(X)
    if len(shape) != 3 or shape[1] == n_steps:
        return X
    if shape[1] > n_steps:
        raise ValueError(
            f"Sequences of X must have at most {n_steps} steps, as in fit. Got "
            f"{shape[1]}. Truncate them, or fit on longer sequences."
        )
    padding = ((0, 0), (0, n_steps - shape[1]), (0, 0))
    return np.pad(np.asarray(X, dtype=np.float64), padding, constant_values=np.nan)


def _reshaped(X: Array, shape: tuple[int, ...]) -> Array:
    if len(shape) not in {2, 3} or int(np.prod(shape)) != int(np.prod(X.shape[1:])):
        raise ValueError(
            "The 'input_shape' parameter must be (n_channels, height, width) or (n_steps, "
            f"n_features) and have as many values as a row of X. Got {shape} for "
            f"X.shape={X.shape}."
        )
    row_sizes, sizes = ([n for n in part if n != 1] for part in (X.shape[1:], shape))
    if X.ndim > 2 and row_sizes != sizes:
        raise ValueError(
            "The 'input_shape' parameter must be the shape of a row, unless X is flat. Got "
            f"{shape} for X.shape={X.shape}. Transpose X, for example with numpy.moveaxis, "
            "if its axes are in another order."
        )
    return X.reshape(len(X), *shape)


def as_target(estimator: Any, X: Any, y: Any, *, is_classification: bool) -> Array:
    """Return labels, (n,), or float64 targets, (n,) or (n, n_targets), or ValueError."""
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None."
        )
    check_complete(estimator, y)
    targets: Array = np.asarray(y)
    has_several = targets.ndim == 2 and targets.shape[1] > 1
    if has_several and is_classification:
        raise ValueError(
            f"y must hold one label for each row for {type(estimator).__name__}. Got "
            f"y.shape={targets.shape}. Fit one model for each column, for example with "
            "sklearn.multioutput.MultiOutputClassifier, or search an MLPClassifier, "
            "which accepts multilabel targets."
        )
    if not has_several:
        targets = np.asarray(column_or_1d(y, warn=True))
    check_consistent_length(X, targets)
    if not is_classification:
        targets = targets.astype(np.float64)
        assert_all_finite(targets, input_name="y")
        largest = np.abs(targets).max(initial=0.0)
        if largest > _LARGEST_TARGET:
            raise ValueError(
                f"Targets must be at most {_LARGEST_TARGET:g} in absolute value, so that "
                f"squared errors are finite. Got {largest:.3g}. Use another unit, for "
                "example by dividing y."
            )
        return targets
    if targets.dtype == object:
        # Truth values and integers are objects if other rows had no label.
        targets = pd.Series(targets).infer_objects().to_numpy()
    if pd.api.types.infer_dtype(targets, skipna=False) == "string":
        # numpy finds unique texts faster with a fixed length than as objects.
        targets = targets.astype(np.str_)
    check_classification_targets(targets)
    name, counts = type(estimator).__name__, np.unique(targets, return_counts=True)[1]
    if len(counts) < 2:
        raise ValueError(f"{name} needs at least two classes. Got 1 class.")
    if counts.max() < 2:
        raise ValueError(
            f"Classes in y must recur, because {name} trains on some rows of a class and "
            f"scores others. Got {len(counts)} rows of different classes. To predict "
            "numbers, use AutoRegressor."
        )
    return targets


def kind_of(X: Any) -> DataKind:
    """Return "table", "image" or "sequence" by the number of axes, or raise ValueError."""
    if X.ndim not in _KINDS:
        raise ValueError(
            "X must have 2 axes (a table), 3 (sequences) or 4 (images). Got "
            f"X.shape={X.shape}."
        )
    return _KINDS[X.ndim]
