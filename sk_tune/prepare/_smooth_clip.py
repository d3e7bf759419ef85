# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Robust scaling with outliers pulled in smoothly, as RealMLP prepares its numbers.

Notation, as in Holzmüller et al. [1]_, section 3: x is a value, q_p its column's quantile
of order p, s the column's scale and f(x) = x / sqrt(1 + (x / 3)^2) the smooth clipping.

References
----------
.. [1] D. Holzmüller, L. Grinsztajn, I. Steinwart. Better by default: strong pre-tuned MLPs
   and boosted trees on tabular data. NeurIPS 2024.
"""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

__all__ = ["SmoothClipScaler"]

_BOUND = 3.0
_QUARTILES = (25, 50, 75)
_HUGE, _HUGEST = 1e300, np.finfo(np.float64).max

Floats = npt.NDArray[np.float64]


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
