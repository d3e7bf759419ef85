# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""scikit-learn's stacking, with networks of all folds trained as fleets."""

from contextlib import nullcontext
from typing import Any

import joblib
import numpy as np
from sklearn import ensemble

from sk_tune._adoption import adopter
from sk_tune._backend import FleetBackend, fleet
from sk_tune._compat import get_active_backend
from sk_tune._declaration import Documented, with_inherited_docs
from sk_tune._ensemble._member_fits import has_network


class _Stacking(Documented):
    """Trains the networks of scikit-learn's stacking as fleets.

    Drop-in for scikit-learn's class of this name: its code fits the base estimators and
    their folds, in two calls of the engine.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Base estimators.
    final_estimator : estimator, default=None
        Combines their predictions; None is logistic regression for classes and RidgeCV for
        numbers.  Another stack, with ``passthrough=True``, is a second layer.
    cv : int, splitter, iterable or "prefit", default=None
        Folds of the base estimators' predictions, as in scikit-learn.
    n_jobs : int or None, default=None
        Worker processes, as in scikit-learn.
    passthrough : bool, default=False
        Whether the final estimator sees the features, too.
    verbose : int, default=0
        As in scikit-learn.

    Attributes
    ----------
    estimators_ : list of estimator
        Base estimators, fitted on all samples.
    named_estimators_ : Bunch
        The same by name.
    final_estimator_ : estimator
        Combines the predictions.
    stack_method_ : list of str
        Prediction method of each base estimator.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X had any.
    """

    def fit(self: Any, X: Any, y: Any, **fit_params: Any) -> Any:
        """Fit the base estimators, their folds and the final estimator.

        Parameters
        ----------
        **fit_params : dict of str to object
            As in scikit-learn.

        Raises
        ------
        ValueError
            If a parameter is invalid, or an estimator cannot be fitted.
        """
        is_in_fleet = isinstance(get_active_backend()[0], FleetBackend)
        is_trained_elsewhere = adopter() is not None or is_in_fleet
        has_networks = any(has_network(estimator) for _, estimator in self.estimators)
        n_workers = joblib.effective_n_jobs(self.n_jobs)
        needs_fleet = has_networks and not is_trained_elsewhere
        with fleet(n_jobs=n_workers) if needs_fleet else nullcontext():
            super().fit(self._table(X), y, **fit_params)  # type: ignore[misc]
        return self

    def transform(self, X: Any) -> Any:
        """Return the inputs of the final estimator.

        Returns
        -------
        ndarray or sparse matrix of shape (n_samples, n_columns)
            As in scikit-learn.
        """
        return super().transform(self._table(X))  # type: ignore[misc]

    def _table(self: Any, X: Any) -> Any:
        """Return X ready to concatenate with predictions (passthrough)."""
        is_table = hasattr(X, "dtype") or hasattr(X, "columns")
        return np.asarray(X) if self.passthrough and not is_table else X


@with_inherited_docs
class StackingClassifier(_Stacking, ensemble.StackingClassifier):  # type: ignore[misc]
    """StackingClassifier of scikit-learn, with its networks trained as fleets.

    {description}

    Parameters
    ----------
    stack_method : str, default="auto"
        Method of the base estimators, as in scikit-learn.
    {parameters}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels.
    {attributes}

    See Also
    --------
    StackingRegressor : The same for regression.
    TrialEnsembleClassifier : Weighted average of the candidates of a search.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import MLPClassifier, StackingClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> base = [
    ...     (f"width {n}", MLPClassifier(width=n, batch_size=16, random_state=0))
    ...     for n in (8, 32)
    ... ]
    >>> stack = StackingClassifier(base, cv=3).fit(X, y)
    >>> bool(stack.score(X, y) > 0.9)
    True
    """


@with_inherited_docs
class StackingRegressor(_Stacking, ensemble.StackingRegressor):  # type: ignore[misc]
    """StackingRegressor of scikit-learn, with its networks trained as fleets.

    {description}

    {parameters and attributes}

    See Also
    --------
    StackingClassifier : The same for classification.
    TrialEnsembleRegressor : Weighted average of the candidates of a search.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_tune import MLPRegressor, StackingRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> base = [
    ...     (f"width {n}", MLPRegressor(width=n, batch_size=32, random_state=0))
    ...     for n in (8, 32)
    ... ]
    >>> StackingRegressor(base, cv=3).fit(X, y).predict(X[:2]).shape
    (2,)
    """
