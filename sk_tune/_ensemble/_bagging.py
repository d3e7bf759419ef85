# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Bagging of networks: scikit-learn's, with all members trained as one fleet.

``fit`` runs scikit-learn's own ``fit`` inside a ``with fleet():`` block, which draws
samples, columns and seeds, so the members are equal to scikit-learn's.  This module adds
out-of-bag scores by epoch and predicts with all members in one call.
"""

import warnings
from contextlib import ExitStack
from typing import Any

import numpy as np
import pandas as pd
from joblib import effective_n_jobs
from sklearn import ensemble
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import gen_batches
from sklearn.utils.validation import check_is_fitted, validate_data

from sk_tune._adoption import adoption
from sk_tune._backend import CollectingBackend, fleet
from sk_tune._compat import get_active_backend
from sk_tune._declaration import Documented, with_inherited_docs
from sk_tune._ensemble._combination import stackable_network
from sk_tune._ensemble._member_fits import asks_for_types, has_network, with_categories
from sk_tune._ensemble._parts import parts_of
from sk_tune._estimators import MLPClassifier, MLPRegressor, category_columns
from sk_tune._types import Array
from sk_tune._warnings import warn_user
from sk_tune.exceptions import ParameterWarning

_N_NAMED = 5  # Columns that a warning lists.
# Samples that all members predict at one time.
_MOST_SAMPLES = 2**12
# Columns of `oob_curve_` by their names in a network's history.
_COLUMNS = {
    "train_loss": "train_loss",
    "monitor_loss": "oob_loss",
    "monitor_score": "oob_score",
}


class _Bagging(Documented):
    """Bagging of scikit-learn, with networks that train and predict together.

    Drop-in for scikit-learn's class of this name, with the same results for the same
    ``random_state``.

    Parameters
    ----------
    n_estimators : int, default=10
        Number of members.
    max_samples : int or float, default=None
        Number of samples to draw for each member, or their share; None draws n_samples.
    max_features : int or float, default=1.0
        Number of columns to draw for each member, or their share.
    bootstrap : bool, default=True
        Whether samples are drawn with replacement.  If False and `max_samples` is None,
        networks differ only by their seeds: a deep ensemble [1]_.
    bootstrap_features : bool, default=False
        Whether columns are drawn with replacement.
    oob_score : bool, default=False
        Whether to compute out-of-bag scores, overall and by epoch.
    warm_start : bool, default=False
        Whether ``fit`` keeps existing members and adds new members.
    n_jobs : int, default=None
        Worker processes that train, as in scikit-learn.
    random_state : int, RandomState instance or None, default=None
        Seed of samples, columns and the members' seeds.
    verbose : int, default=0
        As in scikit-learn.

    Attributes
    ----------
    estimator_ : estimator
        Template of the members.
    estimators_ : list of estimators
        The members.
    estimators_samples_ : list of ndarray
        Positions of the samples of each member.
    estimators_features_ : list of ndarray
        Columns of each member.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, if X had any.
    oob_curve_ : DataFrame
        A row for each member and epoch, if `oob_score`: member, epoch, train_loss, and
        oob_loss and oob_score on the member's out-of-bag samples.  Once the mean
        ``oob_loss`` no longer falls, more epochs do not help.  Empty within ``fleet()``,
        and if members are not networks or follow transformers.

    Notes
    -----
    Networks of one architecture are stacked and predict in one call.

    References
    ----------
    .. [1] B. Lakshminarayanan, A. Pritzel, C. Blundell. Simple and scalable predictive
       uncertainty estimation using deep ensembles. NeurIPS 2017.
    """

    def fit(self: Any, X: Any, y: Any, sample_weight: Any = None, **fit_params: Any) -> Any:
        """Train each member on its own draw of samples and columns.

        Parameters
        ----------
        sample_weight : array-like of shape (n_samples,), default=None
            Relative probabilities of the samples to be drawn; equal if None.
        **fit_params : dict of str to object
            Passed to the members' ``fit`` by scikit-learn's metadata routing.
        """
        vars(self).pop("oob_curve_", None)
        self._categories = _categories_of_members(self, X)
        is_in_block = isinstance(get_active_backend()[0], CollectingBackend)
        try:
            with ExitStack() as stack:
                if not is_in_block and has_network(self._get_estimator()):
                    # Monitors exist only where the engine trains, inside the block.
                    stack.enter_context(adoption(None))
                    monitor = _left_out if self.oob_score else None
                    n_jobs = effective_n_jobs(self.n_jobs)
                    stack.enter_context(fleet(n_jobs=n_jobs, monitor=monitor))
                super().fit(X, y, sample_weight, **fit_params)  # type: ignore[misc]
        finally:
            del self._categories
        self._combination = parts_of(self).combination()
        return self

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether there are members; an interrupted ``fit`` leaves none."""
        return bool(getattr(self, "estimators_", ()))

    def _validate_estimator(self: Any, default: Any = None) -> None:
        super()._validate_estimator(default)  # type: ignore[misc]
        self.estimator_ = with_categories(self.estimator_, self._categories)

    def _set_oob_score(self: Any, X: Any, y: Any) -> None:
        """Compute out-of-bag scores; unlike in scikit-learn, members may lack a class."""
        networks = map(stackable_network, self.estimators_)
        epochs = [
            (number, epoch, *(record[name] for name in _COLUMNS))
            for number, network in enumerate(networks)
            for epoch, record in enumerate(getattr(network, "history_", []), 1)
            if "monitor_loss" in record
        ]
        columns = ["member", "epoch", *_COLUMNS.values()]
        self.oob_curve_ = pd.DataFrame(epochs, columns=columns)
        n, samples = len(y), self.estimators_samples_
        lacks = np.array([np.bincount(drawn, minlength=n) == 0 for drawn in samples])
        combination, counts = parts_of(self).combination(), lacks.sum(axis=0)
        if not counts.all():
            warnings.warn(
                "Some inputs do not have OOB scores. This probably means too few "
                "estimators were used to compute any reliable oob estimates.",
                stacklevel=2,
            )
        total = np.concatenate([
            np.einsum("mnc,mn->nc", combination.each(X[part]), lacks[:, part])
            for part in gen_batches(n, _MOST_SAMPLES)
        ])
        if combination.classes is None:
            self.oob_prediction_ = total[:, 0] / np.maximum(counts, 1)
            self.oob_score_ = r2_score(y, self.oob_prediction_)
        else:
            with np.errstate(invalid="ignore"):
                self.oob_decision_function_ = total / counts[:, np.newaxis]
            self.oob_score_ = accuracy_score(y, total.argmax(axis=1))

    def _combined(self: Any, X: Any, *, quantiles: bool = False) -> Array | None:
        """Return the mean prediction of the members; None if none of them is a network."""
        check_is_fitted(self)
        if not any(stackable_network(member) is not None for member in self.estimators_):
            return None
        checks = {"accept_sparse": ["csr", "csc"], "ensure_all_finite": False}
        X, parts = validate_data(self, X, dtype=None, reset=False, **checks), parts_of(self)
        return parts.finish(parts.combination(self)(X, quantiles=quantiles))


def _categories_of_members(bagging: Any, X: Any) -> list[int]:
    """Return the positions of categorical columns, if all members see the same columns."""
    positions = category_columns(X)
    if not positions or not asks_for_types(bagging._get_estimator()):
        return []
    most = bagging.max_features
    has_all = most == (1.0 if isinstance(most, float) else X.shape[1])
    if has_all and not bagging.bootstrap_features:
        return positions
    warn_user(
        f"{type(bagging).__name__} draws columns for each member, so members would treat "
        f"{[str(X.columns[i]) for i in positions[:_N_NAMED]]} as numbers, not categories. "
        "Use max_features=1.0 and bootstrap_features=False.",
        ParameterWarning,
    )
    return []


def _left_out(X: Any, y: Any, sample_weight: Any) -> Array | None:
    """Return a member's out-of-bag samples, which have a weight of 0 in scikit-learn."""
    if sample_weight is None:
        return None
    samples = np.flatnonzero(np.asarray(sample_weight) == 0)
    return samples if len(samples) else None


@with_inherited_docs
class BaggingClassifier(_Bagging, ensemble.BaggingClassifier):  # type: ignore[misc]
    """Bagging of classifiers, with networks trained as one fleet.

    {description}

    Parameters
    ----------
    estimator : estimator, default=None
        Template of the members: a network, a pipeline that ends in a network, or any other
        classifier.  ``MLPClassifier()`` if None.
    {parameters}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels in the order of the columns of ``predict_proba``.
    n_classes_ : int
        Number of classes.
    oob_score_ : float
        Accuracy of the out-of-bag predictions, if `oob_score`.
    oob_decision_function_ : ndarray of shape (n_samples, n_classes)
        Mean out-of-bag probabilities, if `oob_score`.
    {attributes}

    See Also
    --------
    BaggingRegressor : The same for real-valued targets.
    sklearn.ensemble.BaggingClassifier : Its base.

    {notes}

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import BaggingClassifier, MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=16, learning_rate=0.01, batch_size=16)
    >>> bag = BaggingClassifier(net, 30, oob_score=True, random_state=0).fit(X, y)
    >>> bool(bag.oob_score_ > 0.9)
    True
    """

    def predict_proba(self, X: Any, **params: Any) -> Array:
        """Return the mean of the members' probabilities.

        Parameters
        ----------
        **params : dict of str to object
            Passed to the members by scikit-learn's metadata routing.
        """
        combined = None if params else self._combined(X)
        mean: Array = super().predict_proba(X, **params) if combined is None else combined
        return mean

    def _get_estimator(self) -> Any:
        return MLPClassifier() if self.estimator is None else self.estimator


@with_inherited_docs
class BaggingRegressor(_Bagging, ensemble.BaggingRegressor):  # type: ignore[misc]
    """Bagging of regressors, with networks trained as one fleet.

    {description}

    Parameters
    ----------
    estimator : estimator, default=None
        Template of the members: a network, a pipeline that ends in a network, or any other
        regressor.  ``MLPRegressor()`` if None.
    {parameters}

    Attributes
    ----------
    oob_score_ : float
        R^2 of the out-of-bag predictions, if `oob_score`.
    oob_prediction_ : ndarray of shape (n_samples,)
        Mean out-of-bag predictions, if `oob_score`.
    {attributes}

    See Also
    --------
    BaggingClassifier : The same for classes.
    sklearn.ensemble.BaggingRegressor : Its base.

    {notes}

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_tune import BaggingRegressor, MLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = MLPRegressor(width=16, learning_rate=0.01, max_epochs=20)
    >>> bag = BaggingRegressor(net, 30, oob_score=True, random_state=0).fit(X, y)
    >>> bag.oob_curve_.shape
    (600, 5)
    """

    def predict(self, X: Any, *, return_quantiles: bool = False, **params: Any) -> Array:
        """Return the mean of the members' predictions.

        Parameters
        ----------
        return_quantiles : bool, default=False
            Whether to return the means of all quantiles, of shape (n_samples, n_quantiles),
            if the members are networks with ``loss="quantile"``.
        **params : dict of str to object
            Passed to the members by scikit-learn's metadata routing.
        """
        combined = None if params else self._combined(X, quantiles=return_quantiles)
        if combined is None:
            params |= {"return_quantiles": True} if return_quantiles else {}
            mean: Array = super().predict(X, **params)
            return mean
        is_one = combined.shape[1] == 1 and not return_quantiles
        return combined[:, 0] if is_one else combined

    def _get_estimator(self) -> Any:
        return MLPRegressor() if self.estimator is None else self.estimator
