# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""scikit-learn's stacking, with networks of all folds trained as fleets, in layers.

References
----------
.. [1] N. Erickson, J. Mueller, A. Shirkov, H. Zhang, P. Larroy, M. Li, A. Smola.
   AutoGluon-Tabular: robust and accurate AutoML for structured data. arXiv 2003.06505,
   2020.  Multi-layer stacking: a layer sees the features and the predictions of the layer
   before it.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import field
from typing import Annotated, Any, ClassVar, Self

import joblib
import numpy as np
import numpy.typing as npt
from sklearn import ensemble
from sklearn.base import is_classifier
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d, indexable

from sk_tune._adoption import adopter
from sk_tune._backend import FleetBackend, fleet
from sk_tune._compat import (
    get_active_backend,
    method_params,
    num_samples,
    safe_indexing,
)
from sk_tune._declaration import COUNT, Documented, parameters
from sk_tune._ensemble._combination import Combination, Member
from sk_tune._ensemble._member_fits import has_network
from sk_tune._ensemble._weights import MeanLoss, SampleObjective
from sk_tune._splits import folds_among

Array = npt.NDArray[Any]

# Share of the samples set aside to compare numbers of layers.
_HELD_OUT = 0.2


@parameters
class _Stacking(Documented):
    """Training as fleets, and as many layers as help.

    Drop-in for scikit-learn's class of this name: the base estimators and their folds are
    fitted by its code, in two calls of the engine instead of one network after the other.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Base estimators.
    final_estimator : estimator or None, default=None
        Combines their predictions; None is a logistic regression, or RidgeCV in a
        regression.
    cv : int, splitter, iterable or "prefit", default=None
        Folds of the base estimators' predictions, as in scikit-learn.
    n_jobs : int or None, default=None
        Worker processes, as in scikit-learn.
    passthrough : bool, default=False
        Whether the final estimator sees the features, too.
    verbose : int, default=0
        As in scikit-learn.
    layers : int, default=1
        Maximum number of layers of base estimators.  From the second on, a layer sees the
        features, which must be numbers, and out-of-fold predictions of the previous layer.
    random_state : int, RandomState or None, default=None
        Seed of the samples on which numbers of layers are compared.

    Attributes
    ----------
    estimators_ : list of estimator
        Base estimators of the first layer, fitted on all samples.
    named_estimators_ : Bunch
        The same by name.
    final_estimator_ : estimator
        Combines the predictions; with several layers, it is the remaining layers.
    stack_method_ : list of str
        Prediction method of each base estimator.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if they have some.
    n_layers_ : int
        Number of layers used: the fewest within a standard error of the best.
    layer_scores_ : ndarray of shape (layers,)
        Negative log loss, accuracy without probabilities, or negative squared error, with
        1, 2, ... layers on a fifth of the samples, which no layer was trained on; empty if
        `layers` is 1.
    """

    estimators: Any = field(kw_only=False)
    final_estimator: Any = field(default=None, kw_only=False)
    cv: Any = None
    n_jobs: int | None = None
    passthrough: bool = False
    verbose: int = 0
    layers: Annotated[int, COUNT] = 1
    random_state: Annotated[Any, "random_state"] = None

    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self:
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
        estimator: Any = self
        estimator._validate_params()
        X = self._table(X)
        self.__dict__.pop("_stack", None)
        self.n_layers_, self.layer_scores_ = 1, np.empty(0)
        with self._fleet():
            if self.layers == 1:
                super().fit(X, y, **fit_params)  # type: ignore[misc]
                return self
            if isinstance(self.cv, str):
                raise ValueError(
                    f"The 'cv' parameter of {type(self).__name__} must be folds if layers "
                    f"> 1, because each layer is fitted. Got {self.cv!r} with "
                    f"layers={self.layers}."
                )
            # Several stacks iterate over the folds.
            cv = list(self.cv) if isinstance(self.cv, Iterable) else self.cv
            self._compare_layers(X, y, cv, fit_params)
            stack = self._stack_of(self.n_layers_, cv).fit(X, y, **fit_params)
        public_names = {*estimator.get_params(deep=False), "n_layers_", "layer_scores_"}
        learnt = {n: v for n, v in vars(stack).items() if n not in public_names}
        self.__dict__.update(learnt, _stack=stack)
        return self

    def _fleet(self) -> AbstractContextManager[Any]:
        """Return a fleet block, or a null context if one is active or not needed."""
        backend, _ = get_active_backend()
        if adopter() is not None or isinstance(backend, FleetBackend):
            return nullcontext()
        if not any(has_network(estimator) for _, estimator in self.estimators):
            return nullcontext()
        return fleet(n_jobs=joblib.effective_n_jobs(self.n_jobs))

    def _stack_of(self: Any, n_layers: int, cv: Any) -> Any:
        """Return a stack of `n_layers`, each the final estimator of the previous one."""
        params = {**self.get_params(deep=False), "layers": 1, "cv": cv}
        stack = type(self)(**params)
        for _ in range(n_layers - 1):
            stack = type(self)(**{**params, "final_estimator": stack, "passthrough": True})
        return stack

    def _compare_layers(self, X: Any, y: Any, cv: Any, fit_params: dict[str, Any]) -> None:
        """Choose the number of layers on samples that none of them was trained on."""
        if y is None:
            name = type(self).__name__
            raise ValueError(f"{name} requires y to be passed, but the target y is None.")
        X, y = indexable(X, column_or_1d(y, warn=True))
        classes = strata = None
        if is_classifier(self):
            classes, counts = np.unique(y, return_counts=True)
            # Labels to stratify by, if each has enough samples.
            strata = y if counts.min() * _HELD_OUT >= 1 else None
        rows = np.arange(num_samples(X))
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        train, test = train_test_split(
            rows, test_size=_HELD_OUT, random_state=seed, stratify=strata
        )
        X_train, y_train = safe_indexing(X, train), safe_indexing(y, train)
        params = method_params(X, params=fit_params, indices=train)
        true = np.asarray(safe_indexing(y, test))
        if classes is not None:
            true = np.searchsorted(classes, true)
        if isinstance(cv, list):
            cv = folds_among(train, cv, len(rows))
        predictions = []
        for n_layers in range(1, self.layers + 1):
            stack = self._stack_of(n_layers, cv).fit(X_train, y_train, **params)
            predicted = Combination([Member(stack, 1.0)], classes)(safe_indexing(X, test))
            predictions.append(predicted[:, 0] if classes is None else predicted)
        kind: MeanLoss = "squared"
        if classes is not None:
            kind = "log_loss" if hasattr(stack, "predict_proba") else "zero_one"
        loss = SampleObjective(kind=kind)
        statistics = loss.statistics(np.stack(predictions), true)
        losses = loss.losses(statistics, true)
        self.layer_scores_ = 1 - losses if kind == "zero_one" else -losses
        for fewer in range(self.layers):
            gains = [
                loss.difference(statistics[fewer], statistics[more], true)
                for more in range(fewer + 1, self.layers)
            ]
            if not any(gain > error for gain, error in gains):
                break
        self.n_layers_ = fewer + 1

    def transform(self, X: Any) -> Any:
        """Return the inputs of the final estimator.

        Returns
        -------
        ndarray or sparse matrix of shape (n_samples, n_columns)
            As in scikit-learn; with several layers, predictions of the first layer and the
            features.
        """
        stack = vars(self).get("_stack")
        X = self._table(X)
        if stack is not None:
            return stack.transform(X)
        return super().transform(X)  # type: ignore[misc]

    def _table(self, X: Any) -> Any:
        """Return X ready to concatenate with predictions (passthrough)."""
        is_beside = self.layers > 1 or self.passthrough
        is_table = hasattr(X, "dtype") or hasattr(X, "columns")
        return np.asarray(X) if is_beside and not is_table else X

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Return the names of the columns of ``transform``.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            As in scikit-learn.

        Returns
        -------
        ndarray of str
            As in scikit-learn.
        """
        stack = vars(self).get("_stack")
        if stack is not None:
            return np.asarray(stack.get_feature_names_out(input_features))
        names: Array = super().get_feature_names_out(input_features)  # type: ignore[misc]
        return names


@parameters
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

    stack_method: str = "auto"


@parameters
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

    # scikit-learn's constructor also sets it to "predict".
    stack_method: ClassVar[str] = "predict"
