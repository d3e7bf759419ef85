# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Transformers for one kind of column each: numbers, dates and categories.

Numbers are prepared as in RealMLP, Holzmüller et al. [1]_, section 3: x is a value, q_p its
column's quantile of order p, s the column's scale and f(x) = x / sqrt(1 + (x / 3)^2) the
smooth clipping.  A place in the year, the week or the day is the sine and cosine of
a point on a circle, so that December is next to January and Sunday next to Monday.

References
----------
.. [1] D. Holzmüller, L. Grinsztajn, I. Steinwart. Better by default: strong pre-tuned MLPs
   and boosted trees on tabular data. NeurIPS 2024.
"""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.preprocessing import OrdinalEncoder
from sklearn.utils.validation import check_is_fitted, validate_data

__all__ = ["CategoryCodes", "SmoothClipScaler", "circle_names", "circles"]

Floats = npt.NDArray[np.float64]


class CategoryCodes(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Give each frequent category a code from 1 on, and all others the code 0.

    A category has a code of its own from `min_frequency` samples on; a column has at most
    `max_codes` codes, with the 0, and ``n_categories_`` has their number for each column.
    """

    def __init__(self, min_frequency: int, max_codes: int) -> None:
        self.min_frequency = min_frequency
        self.max_codes = max_codes

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the frequent categories of a table with text in every cell."""
        self.encoder_ = OrdinalEncoder(
            min_frequency=self.min_frequency,
            max_categories=self.max_codes,
            handle_unknown="use_encoded_value",
            unknown_value=-1,
        ).fit(X)
        self.n_features_in_ = self.encoder_.n_features_in_
        self.feature_names_in_ = self.encoder_.feature_names_in_
        n_rare = [
            0 if rare is None else len(rare)
            for rare in self.encoder_.infrequent_categories_
        ]
        self.n_categories_ = [
            len(known) - rare + 1
            for known, rare in zip(self.encoder_.categories_, n_rare, strict=True)
        ]
        return self

    def transform(self, X: Any) -> Floats:
        """Return codes, whole numbers from 0 on."""
        # scikit-learn's rare categories share the code after the frequent ones'.
        codes = self.encoder_.transform(X) + 1
        return np.where(codes < np.array(self.n_categories_), codes, 0.0)


_CIRCLES = ("year", "week", "day")
_MS_PER_DAY = 24 * 60 * 60 * 1000
_DAYS_PER_WEEK = 7
_THURSDAY = 3  # The weekday of 1970-01-01, where Monday is 0.
_DIGITS = 9  # A millisecond is some 2e-10 of a year on its circle, and 7e-8 of a day.


def circles(days: Any) -> Floats:
    """Return sines and cosines of the places of times in the year, the week and the day.

    `days` are those since 1970-01-01, of shape (n_samples, n_dates); the result has shape
    (n_samples, 6 * n_dates), for each date and each circle the sine and the cosine; NaN
    stays.

    A Monday at noon is at the start of the week's circle and opposite that of the day.

    >>> monday_noon = 4.5  # 1970-01-05 12:00
    >>> week_and_day = circles([[monday_noon]])[0, 2:]
    >>> week_and_day.round(2).tolist()
    [0.43, 0.9, 0.0, -1.0]
    """
    days = np.asarray(days, dtype=np.float64)
    # (N, dates, circles); whole milliseconds, or noon might come out a little before it.
    days = np.round(days * _MS_PER_DAY) / _MS_PER_DAY
    share = np.stack(
        [
            _share_of_year(days),
            (days + _THURSDAY) % _DAYS_PER_WEEK / _DAYS_PER_WEEK,
            days % 1,
        ],
        axis=-1,
    )
    angles = 2 * np.pi * share
    # Trees would split what differs in the last bit, which is noise, and other on each
    # machine.
    both: Floats = np.stack([np.sin(angles), np.cos(angles)], axis=-1).round(_DIGITS)
    return both.reshape(len(days), -1)


def circle_names(_: Any, names: Any) -> list[str]:
    """Return the names of the six columns that ``circles`` makes of each date."""
    return [
        f"{name}_{circle}_{function}"
        for name in names
        for circle in _CIRCLES
        for function in ("sin", "cos")
    ]


def _share_of_year(days: Floats) -> Floats:
    missing = np.isnan(days)
    whole = np.where(missing, 0, np.floor(days)).astype("datetime64[D]")
    start = whole.astype("datetime64[Y]")
    length = ((start + 1).astype("datetime64[D]") - start.astype("datetime64[D]")).astype(
        int
    )
    passed = days - start.astype("datetime64[D]").astype(np.int64)
    share: Floats = np.where(missing, np.nan, passed / length)
    return share


_BOUND = 3.0
_QUARTILES = (25, 50, 75)
_HUGE, _HUGEST = 1e300, np.finfo(np.float64).max


class SmoothClipScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Centre by the median, scale by the quartiles, and clip smoothly to (-3, 3).

    Between the quartiles a column is left nearly linear; far outside, values approach the
    bound without becoming equal, so that an outlier neither squeezes the others nor rules
    the gradient.

    Attributes
    ----------
    center_ : ndarray of shape (n_features,)
        Median of each column.
    scale_ : ndarray of shape (n_features,)
        Factor of each column: 1 over the range between its quartiles; where these are
        equal, 2 over its whole range; 0 where it is constant.
    n_features_in_ : int
        Columns seen in ``fit``.
    feature_names_in_ : ndarray of str
        Their names, if they had any.

    See Also
    --------
    TablePreparer : Prepare numbers, dates and categories in one step.
    sklearn.preprocessing.RobustScaler : The same scaling without the clipping.

    Notes
    -----
    Missing values (NaN) are left out in ``fit`` and stay in ``transform``.

    References
    ----------
    .. [1] D. Holzmüller, L. Grinsztajn, I. Steinwart. Better by default: strong pre-tuned
       MLPs and boosted trees on tabular data. NeurIPS 2024. Section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_tune.prepare import SmoothClipScaler
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0], [1e9]])
    >>> SmoothClipScaler().fit_transform(X).ravel().round(2).tolist()
    [-0.95, -0.49, 0.0, 0.49, 3.0]
    """

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the median and the scale of each column.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to train on; NaN is missing.
        y : None
            Ignored.

        Returns
        -------
        SmoothClipScaler
            Itself.
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
        """Scale and clip.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Between -3 and 3; NaN where `X` is.
        """
        check_is_fitted(self)
        X = self._checked(X, reset=False)
        # Infinity times 0 or over infinity would be NaN.
        with np.errstate(over="ignore"):
            scaled = np.clip(X - self.center_, -_HUGEST, _HUGEST) * self.scale_
        scaled = np.clip(scaled, -_HUGE, _HUGE)
        clipped: Floats = scaled / np.hypot(1.0, scaled / _BOUND)
        return clipped

    def _checked(self, X: Any, *, reset: bool) -> Floats:
        checked: Floats = validate_data(
            self, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan"
        )
        return checked

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _percentiles(X: Floats, orders: tuple[int, ...]) -> Floats:
    # Between the least and the largest number lies more than any number.
    return 4.0 * _finite_percentiles(X / 4.0, orders)


def _finite_percentiles(X: Floats, orders: tuple[int, ...]) -> Floats:
    # A column may be without any value.
    if not np.isnan(X).any():
        return np.percentile(X, orders, axis=0)
    found = np.full((len(orders), X.shape[1]), np.nan)
    for j, column in enumerate(X.T):
        present = column[~np.isnan(column)]
        if len(present):
            found[:, j] = np.percentile(present, orders)
    return found
