# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Images and sequences on one scale, channel by channel."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

__all__ = ["ChannelScaler"]

Array = npt.NDArray[Any]


class ChannelScaler(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Give each channel, along `axis`, mean 0 and variance 1.

    With `channels_first` the channels are moved to the second axis and missing values
    become 0, as convolutions take them. ``mean_`` and ``scale_`` are those of all samples
    and places that are not missing.
    """

    def __init__(self, axis: int, *, channels_first: bool = False) -> None:
        self.axis = axis
        self.channels_first = channels_first

    def fit(self, X: Array, y: Any = None) -> Self:
        """Learn means and scales."""
        others = tuple(k for k in range(X.ndim) if k != self.axis % X.ndim)
        self.mean_ = np.nanmean(X, axis=others, keepdims=True)[0]
        scale = np.nanstd(X, axis=others, keepdims=True)[0]
        self.scale_ = np.where(scale > 0, scale, 1.0)
        return self

    def transform(self, X: Array) -> Array:
        """Return scaled samples, float32."""
        check_is_fitted(self)
        scaled: Array = ((X - self.mean_) / self.scale_).astype(np.float32)
        if not self.channels_first:
            return scaled
        return np.nan_to_num(np.moveaxis(scaled, self.axis, 1), nan=0.0)
