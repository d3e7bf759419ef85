# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Categories as codes for learned embeddings, where 0 is whatever is rare or unknown."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.preprocessing import OrdinalEncoder

__all__ = ["CategoryCodes"]

Floats = npt.NDArray[np.float64]


class CategoryCodes(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Give each frequent category a code from 1 on, and all others the code 0.

    Parameters
    ----------
    min_frequency : int
        Rows from which on a category has a code of its own.
    max_codes : int
        Codes that a column has at most, with the 0.

    Attributes
    ----------
    n_categories_ : list of int
        Codes of each column, with the 0, whether or not a row to train on has it.
    """

    def __init__(self, min_frequency: int, max_codes: int) -> None:
        self.min_frequency = min_frequency
        self.max_codes = max_codes

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the frequent categories.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_features)
            Text in every cell.
        y : None
            Ignored.

        Returns
        -------
        CategoryCodes
            Itself.
        """
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
        """Return codes.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_features)
            Text in every cell.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Whole numbers from 0 on.
        """
        # scikit-learn's rare categories share the code after the frequent ones'.
        codes = self.encoder_.transform(X) + 1
        return np.where(codes < np.array(self.n_categories_), codes, 0.0)
