# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""From a table to a tuned ensemble in one call."""

from typing import Any, ClassVar

import numpy.typing as npt
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import check_scoring
from sklearn.utils.validation import check_is_fitted

from sk_tune._declaration import parameters
from sk_tune.automl._auto_estimator import AutoEstimator

__all__ = ["AutoClassifier", "AutoRegressor"]

Array = npt.NDArray[Any]


class _ScoredAsJudged:
    """Takes scores as the search does, before the mixins of scikit-learn are asked."""

    scoring: Any

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the score of the predictions by `scoring`; greater is better.

        Parameters
        ----------
        X : frame or array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,)
            True values.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        float
            Accuracy or R^2 if `scoring` is None.
        """
        check_is_fitted(self)
        if self.scoring is None:
            return float(super().score(X, y, sample_weight))  # type: ignore[misc]
        params = {} if sample_weight is None else {"sample_weight": sample_weight}
        return float(check_scoring(self, scoring=self.scoring)(self, X, y, **params))


@parameters
class AutoClassifier(_ScoredAsJudged, ClassifierMixin, AutoEstimator):  # type: ignore[misc]
    """A classifier that is found within a time.

    Baselines first, then networks by Hyperband and gradient boosting by random search on
    the same folds, then an average of those that are best together.

    Parameters
    ----------
    calibrate : bool, default=True
        Whether the averaged probabilities get a temperature, fitted to out-of-fold
        predictions.
    {parameters}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels.
    {attributes}

    See Also
    --------
    AutoRegressor : The same for numbers.
    HyperbandSearchCV : The search by itself.

    Notes
    -----
    Where a time ends the search, another run ends it elsewhere: only with
    ``time_budget=None`` and `n_rounds` does `random_state` give the same result.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import AutoClassifier
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> auto = AutoClassifier(time_budget=None, n_rounds=0, random_state=0).fit(X, y)
    >>> bool(auto.corrected_score_.score > 0.9)
    True
    >>> list(auto.leaderboard_)
    ['family', 'cv_score', 'cv_std', 'seconds', 'in_ensemble', 'weight', 'params']
    """

    calibrate: bool = True

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {"calibrate": ["boolean"]}

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class.

        Parameters
        ----------
        X : frame or array-like of shape (n_samples, n_features)
            Features, as in ``fit``.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        return self._used().predict_proba(self._features(X))


@parameters
class AutoRegressor(_ScoredAsJudged, RegressorMixin, AutoEstimator):  # type: ignore[misc]
    """A regressor that is found within a time.

    Baselines first, then networks by Hyperband and gradient boosting by random search on
    the same folds, then an average of those that are best together.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    AutoClassifier : The same for labels.
    HyperbandSearchCV : The search by itself.

    Notes
    -----
    Where a time ends the search, another run ends it elsewhere: only with
    ``time_budget=None`` and `n_rounds` does `random_state` give the same result.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_tune import AutoRegressor
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> auto = AutoRegressor(time_budget=None, n_rounds=0, random_state=0).fit(X, y)
    >>> auto.beats_baseline_, auto.predict(X[:2]).shape
    (True, (2,))
    """
