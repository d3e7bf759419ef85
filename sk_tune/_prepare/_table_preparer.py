# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Transformers that convert a whole table, or columns of a table, to numbers.

Numbers are prepared as in RealMLP, Holzmüller et al. (2024), section 3: x is a value, q_p
its column's quantile of order p, s the column's scale and f(x) = x / sqrt(1 + (x / 3)^2)
the smooth clipping.  A position in the year, the week or the day is the sine and cosine of
a point on a circle, so that December is next to January and Sunday next to Monday.
"""

import warnings
from itertools import count
from numbers import Integral
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    QuantileTransformer,
    StandardScaler,
)
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.validation import check_is_fitted, validate_data

from sk_tune._cell_formats import Unread, read_values, warn_of_unread
from sk_tune._compat import Interval, StrOptions, check_feature_names_in, output_container
from sk_tune._declaration import COUNT, Documented, parameters, with_inherited_docs
from sk_tune._frames import as_pandas
from sk_tune._plain_numbers import PlainNumbers, different_values, percentiles
from sk_tune._prepare._column_kinds import (
    check_table,
    check_used,
    kinds_and_values,
    least_frequency,
    with_dropped,
    without_header_rows,
)
from sk_tune._prepare._target_features import (
    cross_names,
    order_by_correlation,
    pair_crosses,
    target_means,
)
from sk_tune._prepare._text_components import TextComponents
from sk_tune._types import Array, Floats


@with_inherited_docs
class CategoryCodes(Documented, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Give each frequent category a code from 1 on, and all others the code 0.

    Parameters
    ----------
    min_frequency : int
        Minimum number of samples of a frequent category.
    max_codes : int
        Maximum number of codes of a column, including 0.

    Attributes
    ----------
    encoder_ : sklearn.preprocessing.OrdinalEncoder
        The fitted encoder.
    n_categories_ : list of int
        Number of codes of each column, including 0.
    n_features_in_ : int
        Number of columns in ``fit``.
    feature_names_in_ : ndarray of str
        Names of the columns, if X had any.

    See Also
    --------
    TablePreparer : Uses it for columns of many categories, with ``embeddings=True``.

    Examples
    --------
    >>> import pandas as pd
    >>> from sk_tune import CategoryCodes
    >>> X = pd.DataFrame({"town": ["Bern", "Bern", "Ulm"]})
    >>> CategoryCodes(min_frequency=2, max_codes=10).fit_transform(X).ravel().tolist()
    [1.0, 1.0, 0.0]
    """

    def __init__(self, min_frequency: int, max_codes: int) -> None:
        self.min_frequency = min_frequency
        self.max_codes = max_codes

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the frequent categories.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Text in every cell.
        y : None
            Ignored.
        """
        self.encoder_ = OrdinalEncoder(
            min_frequency=self.min_frequency,
            max_categories=self.max_codes,
            handle_unknown="use_encoded_value",
            unknown_value=-1,
        ).fit(X)
        self.n_features_in_ = self.encoder_.n_features_in_
        if hasattr(self.encoder_, "feature_names_in_"):
            self.feature_names_in_ = self.encoder_.feature_names_in_
        columns = (self.encoder_.categories_, self.encoder_.infrequent_categories_)
        self.n_categories_ = [
            len(categories) + 1 - (0 if rare is None else len(rare))
            for categories, rare in zip(*columns, strict=True)
        ]
        return self

    def transform(self, X: Any) -> Floats:
        """Return codes, whole numbers from 0 on."""
        check_is_fitted(self)
        # In scikit-learn, infrequent categories have the code after the frequent codes.
        codes = self.encoder_.transform(X) + 1
        return np.where(codes < np.array(self.n_categories_), codes, 0.0)


_CIRCLES = ("year", "week", "day")
_MS_PER_DAY = 24 * 60 * 60 * 1000
_DAYS_PER_WEEK = 7
_THURSDAY = 3  # The weekday of 1970-01-01, where Monday is 0.
_DIGITS = 9  # A millisecond is about 2e-10 of a year on its circle, and 7e-8 of a day.


def circles(days: Any) -> Floats:
    """Return sines and cosines of positions in the year, the week and the day.

    `days`, (n_samples, n_dates), are days since 1970-01-01; the result is (n_samples, 6 *
    n_dates). A Monday at noon starts the week's circle and is halfway around the day's:

    >>> monday_noon = 4.5  # 1970-01-05 12:00
    >>> week_and_day = circles([[monday_noon]])[0, 2:]
    >>> week_and_day.round(2).tolist()
    [0.43, 0.9, 0.0, -1.0]
    """
    days = np.asarray(days, dtype=np.float64)
    # (N, dates, circles); whole milliseconds, or noon might end up just before noon.
    days = np.round(days * _MS_PER_DAY) / _MS_PER_DAY
    missing = np.isnan(days)
    year = np.where(missing, 0, np.floor(days)).astype("datetime64[D]").astype("M8[Y]")
    start, end = (
        new_year.astype("M8[D]").astype(np.int64) for new_year in (year, year + 1)
    )
    of_year = np.where(missing, np.nan, (days - start) / (end - start))
    of_week = (days + _THURSDAY) % _DAYS_PER_WEEK / _DAYS_PER_WEEK
    angles = 2 * np.pi * np.stack([of_year, of_week, days % 1], axis=-1)
    # Trees would split on differences in the last bit, which are noise and differ between
    # machines.
    both: Floats = np.stack([np.sin(angles), np.cos(angles)], axis=-1).round(_DIGITS)
    return both.reshape(len(days), -1)


def circle_names(_: Any, names: Any) -> list[str]:
    """Return the names of the six columns that ``circles`` returns for each date."""
    return [
        f"{name}_{circle}_{function}"
        for name in names
        for circle in _CIRCLES
        for function in ("sin", "cos")
    ]


_BOUND = 3.0
_QUARTILES = (25, 50, 75)
_HUGE = 1e300
_HUGEST = np.finfo(np.float64).max


@with_inherited_docs
class SmoothClipScaler(Documented, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Centre by the median, scale by the quartiles, and clip smoothly to (-3, 3).

    The transformation is nearly linear between the quartiles.  Far outside, different
    values approach the bound but stay different.  An outlier therefore neither compresses
    the other values nor dominates the gradient.

    Attributes
    ----------
    center_ : ndarray of shape (n_features,)
        Median of each column.
    scale_ : ndarray of shape (n_features,)
        Factor of each column: 1 over the interquartile range; where that is 0, 2 over the
        whole range; 0 for constant columns.
    n_features_in_ : int
        Number of columns in ``fit``.
    feature_names_in_ : ndarray of str
        Names of the columns, if X had any.

    See Also
    --------
    sk_tune.TablePreparer : Prepare numbers, dates and categories in one step.
    sklearn.preprocessing.RobustScaler : The same scaling without the clipping.

    Notes
    -----
    Missing values (NaN) are ignored in ``fit`` and stay in ``transform``.

    References
    ----------
    .. [1] D. Holzmüller, L. Grinsztajn, I. Steinwart. Better by default: strong pre-tuned
       MLPs and boosted trees on tabular data. NeurIPS 2024. Section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_tune import SmoothClipScaler
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0], [1e9]])
    >>> SmoothClipScaler().fit_transform(X).ravel().round(2).tolist()
    [-0.95, -0.49, 0.0, 0.49, 3.0]
    """

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the median and the scale of each column.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows; NaN is missing.
        y : None
            Ignored.
        """
        X = self._checked(X, reset=True)
        low, self.center_, high = _percentiles(X, _QUARTILES)
        smallest, largest = _percentiles(X, (0, 100))
        with np.errstate(over="ignore", divide="ignore"):
            by_quartiles, by_range = 1 / (high - low), 2 / (largest - smallest)
        scale = np.where(np.isfinite(by_quartiles), by_quartiles, by_range)
        self.scale_ = np.where(np.isfinite(scale), scale, 0.0)
        return self

    def transform(self, X: Any) -> Floats:
        """Return numbers between -3 and 3; NaN where `X` is."""
        check_is_fitted(self)
        X = self._checked(X, reset=False)
        # Infinity times 0 or over infinity would be NaN.
        with np.errstate(over="ignore"):
            scaled = np.clip(X - self.center_, -_HUGEST, _HUGEST) * self.scale_
        scaled = np.clip(scaled, -_HUGE, _HUGE)
        clipped: Floats = scaled / np.hypot(1.0, scaled / _BOUND)
        return clipped

    def _checked(self, X: Any, *, reset: bool) -> Floats:
        options = {"dtype": np.float64, "ensure_all_finite": "allow-nan"}
        checked: Floats
        if isinstance(X, pd.DataFrame) and set(X.dtypes) == {np.dtype(float)}:
            # scikit-learn would check the dtype of each column, slow for thousands.
            validate_data(self, X, reset=reset, skip_check_array=True)
            checked = check_array(X.to_numpy(), estimator=self, input_name="X", **options)
        else:
            checked = validate_data(self, X, reset=reset, **options)
        return checked

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _percentiles(X: Floats, orders: tuple[int, ...]) -> Floats:
    """Return percentiles of each column; NaN for a column without any value."""
    # Between the least and the largest number lies more than any number.
    return 4.0 * percentiles(X / 4.0, orders)


# Maximum number of one-hot columns per categorical column: RealMLP's with embeddings for
# larger ones, else a number that keeps a network's first layer small.
_MAX_ONE_HOT = {True: 9, False: 32}
_MAX_QUANTILES = 1000
_MOST_FACTOR = 1e100
_MANY_CATEGORIES = 9  # Columns with more categories are encoded by the target.
_RARE = "_infrequent_sklearn"  # OneHotEncoder's name for infrequent categories.


@parameters
class TablePreparer(Documented, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn a table of numbers, dates and categories into numbers for a network.

    ``fit`` determines the kind of each column from the training rows; columns need not
    be listed.  In a pipeline this happens separately in each fold.

    Parameters
    ----------
    numeric : {"smooth_clip", "quantile", "standard"} or None, default="smooth_clip"
        Scaling of numbers.  "smooth_clip" scales by the quartiles and smoothly clips
        outliers, see :class:`~sk_tune.SmoothClipScaler`.  "quantile" transforms each column
        to a normal distribution, and "standard" to mean 0 and variance 1.  With all of
        these, columns with two values become -1 and 1.  None leaves numbers unchanged.
    impute_strategy : {"median", "mean", "most_frequent"} or None, default="median"
        Replacement of missing numbers and dates.  None leaves them NaN.
    add_indicator : bool, default=True
        For each column of numbers or dates that has missing values, add a column that is 1
        where the value is missing.
    max_categories : int or None, default=None
        Maximum number of one-hot columns per categorical column.  None means 9 with
        `embeddings`, else 32.  1 encodes all categories as codes.
    embeddings : bool, default=False
        Encode columns with more than `max_categories` categories as codes, for a network
        that learns an embedding of each code.  They are the last columns of the output.  If
        False, the less frequent categories of such a column share one column.
    min_frequency : int or None, default=None
        Minimum number of rows of a category.  Less frequent categories, and categories that
        appear only after ``fit``, are merged into one.  None means one row in a hundred,
        but at least 3 and at most 20.
    max_codes : int, default=255
        Maximum number of codes of a column.  scikit-learn's histogram gradient boosting
        supports no more than 255.
    target_encoding : bool, default=False
        For each column with more than 9 categories, add the mean of the target in the row's
        category (for more than two classes, the share of each class).  In small categories,
        it is shrunk to the mean of all rows.  Text without frequent categories, such as
        ticket numbers, is then also used, if a fifth of the rows share their category with
        other rows.  ``fit_transform`` computes the means for each row from other rows, see
        :class:`~sklearn.preprocessing.TargetEncoder`, so ``fit(X, y).transform(X)`` differs
        from ``fit_transform(X, y)``.
    crosses : int, default=0
        Number of numeric columns to cross: those that correlate most with the target, or
        with one of its classes.  The products and ratios of all pairs are added; 3 adds six
        columns.  Columns that are missing or zero in most rows are not crossed.
    text_components : int, default=0
        Number of columns that encode each column of text, such as names, titles and
        descriptions: the components of its letter trigrams with the largest singular
        values, as in [2]_.  Text has at least 1.5 words on average, and at least a quarter
        of the rows have a value that is less frequent than `min_frequency`.  0 drops text
        without a frequent value; 10 to 30 suit most tables.
    drop_ids : bool, default=True
        Drop a column of integers that are all different, if they are nearly consecutive
        (and the column is not named like a time, such as year), or if the column is named
        like an id.

    Attributes
    ----------
    kinds_ : ColumnKinds
        Kind of each column.
    dropped_ : dict of str to str
        Dropped columns with the reason: constant, without any value, a copy of another
        column, text that differs in almost every row, an id, or neither numbers, text nor
        dates.
    n_categories_ : dict of str to int
        Names of the columns of codes, which are the last columns of the output, with their
        numbers of codes, including 0.  Empty without `embeddings`.
    columns_ : ColumnTransformer
        Prepares the columns of each kind.
    n_features_in_ : int
        Number of columns in ``fit``.
    feature_names_in_ : ndarray of str
        Names of the columns, if X had any; else they are called x0, x1, ...

    See Also
    --------
    sk_tune.SmoothClipScaler : The default scaling of numbers.
    sklearn.compose.ColumnTransformer : Prepare columns that you name yourself.

    Notes
    -----
    Numbers: infinity is treated as missing, booleans are 0 and 1, and durations are in
    seconds.  In a column with two values, missing cells become 0.  A column of text is read
    as numbers if all cells are numbers and most of them are too rare for a category.
    Values may be frequent if they have separators, as in 1,234.56 or 1.234,56, or a unit,
    as in € 9.99 or 5 %.  Times such as 14:35 or 2:35 PM are numbers of seconds.  Among
    numbers and dates, blank text and the words NA, <NA>, N/A, #N/A, NaN, NaT, null, none,
    unknown, ? and - are missing values; numbers in such a column may also be frequent.  If
    any other word makes the column a category, a warning says so.  Numbers with different
    units are also a category, with a warning that names the units.

    Dates may also be text such as 2024-03-15, 15.03.2024 or 03/15/24; years with two digits
    are between 1969 and 2068.  Dates become days since 1970, scaled like a number, and
    positions in the year, the week and the day as sine and cosine.  The whole column
    determines the order of day and month; a warning says so if both are possible.
    ``kinds_.formats`` holds the detected formats.

    Categories: a missing value is a category of its own.  In columns of codes, 0 stands for
    all categories that are rare or unknown.

    Only `target_encoding` and `crosses` use the target.  Targets that are text, booleans or
    at most 20 different integers are treated as classes.  Equal rows always give equal
    results: the only random numbers, in `text_components`, have a fixed seed.

    With columns of codes, the output is a pandas DataFrame in which they have dtype
    category, so that estimators with ``categorical_features="from_dtype"`` recognise them.
    With ``set_output(transform="polars")`` they are plain numbers.

    A column with values of another kind in ``transform`` than in ``fit``, such as text
    instead of numbers, raises ``TableError``, a ``ValueError``.  In a column that had words
    for missing values in ``fit``, such text is treated as missing, with a warning.

    References
    ----------
    .. [1] D. Holzmüller, L. Grinsztajn, I. Steinwart. Better by default: strong pre-tuned
       MLPs and boosted trees on tabular data. NeurIPS 2024. Section 3.
    .. [2] L. Grinsztajn, M. J. Kim, E. Oyallon, G. Varoquaux. Vectorizing string entries
       for data processing on tables: when are larger language models better? 2023.

    Examples
    --------
    >>> import pandas as pd
    >>> from sk_tune import TablePreparer
    >>> X = pd.DataFrame({"age": [20, None, 40, 31] * 9, "town": ["Bern", "Ulm"] * 18})
    >>> preparer = TablePreparer().set_output(transform="pandas")
    >>> preparer.fit_transform(X.assign(country="CH")).head(2).round(2)
        age  age_missing  town_Bern  town_Ulm
    0 -0.54          0.0        1.0       0.0
    1  0.00          1.0        0.0       1.0
    >>> preparer.dropped_
    {'country': 'constant'}
    """

    numeric: Annotated[
        str | None, StrOptions({"smooth_clip", "quantile", "standard"}), None
    ] = "smooth_clip"
    impute_strategy: Annotated[
        str | None, StrOptions({"median", "mean", "most_frequent"}), None
    ] = "median"
    add_indicator: Annotated[bool, "boolean"] = True
    max_categories: Annotated[int | None, COUNT, None] = None
    embeddings: Annotated[bool, "boolean"] = False
    min_frequency: Annotated[int | None, COUNT, None] = None
    max_codes: Annotated[int, Interval(Integral, 2, None, closed="left")] = 255
    target_encoding: Annotated[bool, "boolean"] = False
    crosses: Annotated[int, Interval(Integral, 0, None, closed="left")] = 0
    text_components: Annotated[int, Interval(Integral, 0, None, closed="left")] = 0
    drop_ids: Annotated[bool, "boolean"] = True

    def fit(self, X: Any, y: Any = None) -> Self:
        """Determine the kind of each column, and fit its transformers.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Training rows, without the target; a table of pandas, polars or pyarrow, or
            an array.
        y : array-like of shape (n_samples,), default=None
            Target, used by `target_encoding` only.

        Raises
        ------
        TableError
            If no column is usable, or two columns have the same name.
        """
        self._fit_transform(X, y)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit and transform the same rows, faster than in two steps.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,), default=None
            Target, used by `target_encoding` only.
        """
        return self._output(*self._fit_transform(X, y))

    def transform(self, X: Any) -> Any:
        """Return the rows as float64, without NaN unless `impute_strategy` is None.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows with the columns of ``fit``; a table may lack the columns in ``dropped_``.

        Raises
        ------
        TableError
            If a column holds values of another kind than in ``fit``.
        """
        check_is_fitted(self)
        frame = self._frame(X, reset=False)
        formats, unread = self.kinds_.formats, Unread()
        numbers = list(self.kinds_.numbers)
        is_all = frame.columns.tolist() == numbers
        plain = PlainNumbers.of(frame if is_all else frame[numbers])
        columns = dict(zip(plain.names, plain.values.T, strict=True))
        columns |= {
            name: read_values(frame[name], kind, formats.get(name), unread=unread)
            for name, kind in self.kinds_
            if name not in columns
        }
        values = plain.frame_with(columns, frame.index)
        warn_of_unread(unread)
        # As columns_.transform, which would encode each cell.
        blocks = [
            block
            for name, transformer, columns in self.columns_.transformers_
            if name != "remainder"
            for block in _transformed(transformer, values[columns])
        ]
        return self._output(np.hstack(blocks), frame)

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Return the names of the output's columns: the input's names with suffixes."""
        check_is_fitted(self)
        check_feature_names_in(self, input_features)
        names: dict[str, None] = {}
        for name in self.columns_.get_feature_names_out():
            numbered = (f"{name}_{k}" if k > 1 else name for k in count(1))
            names[next(new for new in numbered if new not in names)] = None
        return np.array([*names], dtype=object)

    def _fit_transform(self, X: Any, y: Any) -> tuple[Array, pd.DataFrame]:
        self._validate_params()
        if self.max_categories == 1 and not self.embeddings:
            raise ValueError(
                "The 'max_categories' parameter of TablePreparer must be at least 2 "
                "without embeddings, because one column cannot encode categories. Got 1 "
                "instead."
            )
        frame = self._frame(X, reset=True)
        y = self._checked_target(y, len(frame)) if self._needs_target() else None
        self.kinds_, values = kinds_and_values(
            frame,
            min_frequency=self.min_frequency,
            drop_ids=self.drop_ids,
            missing_counts=self.add_indicator,
            keeps_rare=self.target_encoding,
            keeps_text=self.text_components > 0,
        )
        check_used(self.kinds_, len(frame))
        self.dropped_ = self.kinds_.dropped
        self.columns_, prepared = self._fit_columns(values, y)
        codes = self.columns_.named_transformers_.get("codes")
        n_codes = [] if codes is None else codes.n_categories_
        names = self.get_feature_names_out()[prepared.shape[1] - len(n_codes) :]
        self.n_categories_ = dict(zip(names.tolist(), n_codes, strict=True))
        return prepared, frame

    def _fit_columns(
        self, values: pd.DataFrame, y: Array | None
    ) -> tuple[ColumnTransformer, Array]:
        blocks = self._blocks(values, y)
        place = {name: k for k, name in enumerate(values.columns.tolist())}
        # The search for a name takes scikit-learn a time proportional to the columns.
        by_place = [
            (block, step, [place[name] for name in names]) for block, step, names in blocks
        ]
        columns = ColumnTransformer(
            by_place, sparse_threshold=0, verbose_feature_names_out=output_name
        ).set_output(transform="default")
        prepared: Array = columns.fit_transform(values, y)
        columns.transformers = blocks
        names_of = {block: names for block, _, names in blocks}
        columns.transformers_ = [
            (block, step, names_of.get(block, places))
            for block, step, places in columns.transformers_
        ]
        return columns, prepared

    def _needs_target(self) -> bool:
        return bool(self.target_encoding or self.crosses)

    @staticmethod
    def _checked_target(y: Any, n_rows: int) -> Array:
        if y is None:
            raise ValueError(
                "TablePreparer with target_encoding or crosses requires y to be passed, "
                "but the target y is None."
            )
        check_consistent_length(range(n_rows), y)
        column: Array = column_or_1d(y)
        return column

    def _blocks(
        self, values: pd.DataFrame, y: Array | None
    ) -> list[tuple[str, Any, list[str]]]:
        """Return the unfitted transformers, each with its columns."""
        kinds = self.kinds_
        measured = np.array([*kinds.numbers, *kinds.dates], dtype=object)
        is_number = np.arange(len(measured)) < len(kinds.numbers)
        cells = values[measured].to_numpy(np.float64)
        n_values = different_values(cells)
        flags = measured[is_number & (n_values == 2)].tolist()
        numbers = measured[is_number & (n_values > 2)].tolist()
        dates = measured[~is_number & (n_values > 1)].tolist()
        turning = [name for name in dates if _turns(values[name])]
        gaps = measured[np.isnan(cells).any(axis=0) & self.add_indicator].tolist()
        scaled = self._number_steps(len(values))
        constant = self.impute_strategy and "constant"
        # A missing value becomes 0, at equal distance from both values.
        two_values = self._filled(MinMaxScaler((-1, 1), clip=True), constant)
        # Days without an hour have a constant position in the day.  A missing date becomes
        # the centre of a circle, which favours no position on it.
        circle = FunctionTransformer(circles, feature_names_out=circle_names)
        turned = self._filled(make_pipeline(circle, VarianceThreshold()), constant)
        cross = FunctionTransformer(pair_crosses, feature_names_out=cross_names)
        crossed = self._crossed(values[numbers], y) if self.crosses else []
        blocks = [
            ("numbers", scaled, numbers),
            ("flags", two_values if self.numeric else scaled, flags),
            ("crosses", Pipeline([("cross", cross), ("scale", scaled)]), crossed),
            ("days", scaled, dates),
            ("circles", turned, turning),
            ("missing", MissingIndicator(features="all"), gaps),
            *self._category_blocks(values, y, scaled),
        ]
        return [block for block in blocks if block[2]]

    def _crossed(self, numbers: pd.DataFrame, y: Any) -> list[str]:
        """Return the columns to cross, at least a pair or none."""
        size = numbers.abs()
        # In some row, products and ratios of such columns are neither missing nor infinite.
        is_usual = (size > 1 / _MOST_FACTOR) & (size < _MOST_FACTOR)
        numbers = numbers.loc[:, is_usual.mean() > 0.5]
        if min(self.crosses, numbers.shape[1]) < 2:
            return []
        # Outliers must not decide, and a missing value is at the median.
        clipped = np.nan_to_num(np.asarray(SmoothClipScaler().fit_transform(numbers)))
        return [*numbers.columns[order_by_correlation(clipped, y)[: self.crosses]]]

    def _category_blocks(
        self, values: pd.DataFrame, y: Array | None, scaled: Any
    ) -> list[tuple[str, Any, list[str]]]:
        min_frequency = self.min_frequency or least_frequency(len(values))
        max_categories = self.max_categories or _MAX_ONE_HOT[bool(self.embeddings)]
        one_hot: list[str] = []
        codes: list[str] = []
        many: list[str] = []
        texts = [*self.kinds_.texts]
        for name in (*self.kinds_.categories, *texts):
            counts = values[name].value_counts()
            # Rare categories share a level.
            n_levels = (counts >= min_frequency).sum() + (counts < min_frequency).any()
            is_rare = counts.max() < min_frequency
            if self.target_encoding and (is_rare or len(counts) > _MANY_CATEGORIES):
                many.append(name)
            if self.embeddings and n_levels > max_categories:
                codes.append(name)
            elif not is_rare:
                one_hot.append(name)
        encoder = OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            min_frequency=min_frequency,
            max_categories=max_categories,
            sparse_output=False,
        )
        # Without such columns, the target may be missing.
        means = Pipeline([("encode", target_means(y)), ("scale", scaled)]) if many else None
        components = TextComponents(self.text_components)
        return [
            ("targets", means, many),
            ("texts", Pipeline([("components", components), ("scale", scaled)]), texts),
            ("one_hot", encoder, one_hot),
            ("codes", CategoryCodes(min_frequency, self.max_codes), codes),
        ]

    def _number_steps(self, n_rows: int) -> Any:
        scalers: dict[str | None, Any] = {
            "smooth_clip": SmoothClipScaler(),
            # QuantileTransformer treats values closer than 1e-7 as equal, in any unit.
            "quantile": make_pipeline(
                StandardScaler(),
                QuantileTransformer(
                    n_quantiles=min(n_rows, _MAX_QUANTILES),
                    output_distribution="normal",
                    random_state=0,
                ),
            ),
            "standard": StandardScaler(),
            None: FunctionTransformer(feature_names_out="one-to-one"),
        }
        # Scaled before filled, so that missing values do not affect the scale.
        return self._filled(scalers[self.numeric], self.impute_strategy)

    @staticmethod
    def _filled(step: Any, strategy: str | None) -> Any:
        if strategy is None:
            return step
        imputer = SimpleImputer(strategy=strategy, fill_value=0.0)
        return Pipeline([("scale", step), ("fill", imputer)])

    def _frame(self, X: Any, *, reset: bool) -> pd.DataFrame:
        """Return X as a frame with names, after scikit-learn's checks."""
        # scikit-learn refuses a single column.
        table = None if len(getattr(X, "shape", (0, 0))) == 1 else as_pandas(X)
        if table is None:
            X = np.array(X, dtype=object) if isinstance(X, list) else X
            X = validate_data(self, X, reset=reset, dtype=None, ensure_all_finite=False)
            table = pd.DataFrame(X, copy=False).infer_objects()
        else:
            check_table(table, type(self).__name__)
            if not reset:
                X = table = with_dropped(table, self, self.dropped_)
            validate_data(self, X, reset=reset, skip_check_array=True)
        names = getattr(self, "feature_names_in_", None)
        if names is None:
            names = [f"x{j}" for j in range(self.n_features_in_)]
        return without_header_rows(table.set_axis(names, axis=1))

    def _output(self, prepared: Array, frame: pd.DataFrame) -> Any:
        if not self.n_categories_ or output_container(self) == "polars":
            return prepared
        names = self.get_feature_names_out()
        output = pd.DataFrame(prepared, columns=names, index=frame.index, copy=False)
        for name, n in self.n_categories_.items():
            codes = output[name].to_numpy().astype(np.int64)
            output[name] = pd.Categorical.from_codes(codes, categories=pd.Index(range(n)))
        return output

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self._needs_target()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags


def _transformed(transformer: Any, X: pd.DataFrame) -> list[Array]:
    """Return transformed columns; each category is encoded once, not in each row."""
    if not isinstance(X.dtypes.iloc[0], pd.CategoricalDtype):
        with warnings.catch_warnings():
            # Of a table, scikit-learn would check the name and dtype of each column.
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            return [transformer.transform(X.to_numpy())]
    columns = [X[name].array for name in X]
    n = max(len(column.categories) for column in columns)
    levels = {
        name: column.categories.take(np.arange(n) % len(column.categories))
        for name, column in zip(X, columns, strict=True)
    }
    encoded = transformer.transform(pd.DataFrame(levels, dtype=object))
    n_outputs = _n_outputs(transformer)
    ends: Any = len(columns) if n_outputs is None else np.cumsum(n_outputs)[:-1]
    by_column = zip(np.split(encoded, ends, axis=1), columns, strict=True)
    return [block[column.codes] for block, column in by_column]


def _n_outputs(encoder: Any) -> list[int] | None:
    """Return the number of output columns of each input column; None if all are equal."""
    if isinstance(encoder, Pipeline) and isinstance(encoder[0], TextComponents):
        return encoder[0].n_components_
    if not isinstance(encoder, OneHotEncoder):
        return None
    categories = (encoder.categories_, encoder.infrequent_categories_)
    return [
        len(frequent) + (0 if rare is None else 1 - len(rare))
        for frequent, rare in zip(*categories, strict=True)
    ]


def _turns(days: "pd.Series[float]") -> bool:
    """Return whether dates differ in their position in the year, the week or the day."""
    places = circles(days[days.notna()].to_numpy()[:, np.newaxis])
    return bool((np.ptp(places, axis=0) > 0).any())


def output_name(block: str, name: str) -> str:
    """Return the name of an output column of a block; it need not be unique yet."""
    if block == "missing":
        return name.removeprefix("missingindicator_") + "_missing"
    if block == "one_hot" and name.endswith(_RARE):
        return name.removesuffix(_RARE) + "_(rare)"
    return name + {"days": "_days", "targets": "_target"}.get(block, "")
