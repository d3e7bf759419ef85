# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""An ensemble reduced to its prediction: the weighted sum of its members."""

from os import PathLike
from typing import Any, NoReturn, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from sk_tune._conformal import Calibration, PredictsIntervals, PredictsSets
from sk_tune._declaration import with_inherited_docs
from sk_tune._ensemble._onnx_export import export_ensemble
from sk_tune._ensemble._parts import (
    AveragingRegressor,
    Combined,
    CombinedClassifier,
    Parts,
    parts_of,
)
from sk_tune._saving import load_object, save_object


class _Collapsed(Combined, BaseEstimator):  # type: ignore[misc]
    """Pruning and files of an ensemble, for both tasks.

    `collapse` makes it from a fitted ensemble.

    Parameters
    ----------
    parts : Parts
        Members, weights and the link of their sum.

    Attributes
    ----------
    estimators_ : list of estimators
        The members.
    weights_ : ndarray of shape (n_members,)
        Weights of the members.
    n_features_in_ : int
        Number of features, if the ensemble has this attribute.
    n_stacks_ : int
        Stacks of several networks that the last prediction used.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._combination = parts.combination()
        self.estimators_ = [member.estimator for member in parts.members]
        self.weights_ = np.array([member.weight for member in parts.members])
        if parts.n_features is not None:
            self.n_features_in_ = parts.n_features

    def __len__(self) -> int:
        """Return the number of members."""
        return len(self.parts.members)

    @property
    def n_stacks_(self) -> int:
        """Stacks of several networks that the last prediction used."""
        return self._combination.n_stacks

    def fit(self, X: Any, y: Any = None, **params: Any) -> NoReturn:
        """Raise an error, because only the members are left of the fitted ensemble.

        Parameters
        ----------
        X, y, **params : object
            Without effect.

        Raises
        ------
        TypeError
            Always.
        """
        name = type(self).__name__
        raise TypeError(
            f"A {name} must be made by collapse from a fitted ensemble; it cannot be "
            "fitted. Fit the ensemble and collapse it again, or pass "
            f"FrozenEstimator(...) with this {name} to estimators that call fit."
        )

    def prune(self, *, max_members: int) -> Self:
        """Return a smaller ensemble of the heaviest members, or of boosting's first stages.

        Parameters
        ----------
        max_members : int
            Maximum number of members.

        Returns
        -------
        CollapsedClassifier or CollapsedRegressor
            A new object, which shares the members.

        Raises
        ------
        ValueError
            If the number is less than 1.
        """
        if max_members < 1:
            raise ValueError(f"max_members must be at least 1. Got {max_members!r}.")
        return type(self)(self.parts.first(min(len(self), max_members)))

    def save(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the ensemble to one safetensors file.

        Parameters
        ----------
        path : str or path-like
            File to write, completely or not at all.
        overwrite : bool, default=False
            Whether to replace an existing file.

        Raises
        ------
        TypeError
            If a member is not a network of sk_tune, alone or at the end of a pipeline that
            :func:`sk_tune.save` takes.
        FileExistsError
            If the file exists and `overwrite` is False.
        """
        save_object(self, path, overwrite=overwrite, for_training=False)

    @classmethod
    def load(cls, path: str | PathLike[str], *, module: Any = None) -> Self:
        """Return the ensemble that ``save`` wrote, without executing code of the file.

        Parameters
        ----------
        path : str or path-like
            File to read.
        module : class, callable or torch.nn.Module, default=None
            Module of members that are ``NetClassifier`` or ``NetRegressor``.

        Returns
        -------
        CollapsedClassifier or CollapsedRegressor
            The saved ensemble.

        Raises
        ------
        ValueError
            If the file is damaged, was not written by ``save``, is of a newer version, or
            contains another class.
        """
        ensemble: Self = load_object(path, module=module, name=cls.__name__)
        return ensemble

    def to_onnx(self, path: str | PathLike[str]) -> dict[str, Any]:
        """Write the ensemble as one ONNX model, from ``X`` to the prediction.

        Members must be networks of sk_tune, scikit-learn's ``LogisticRegression``,
        ``Ridge`` or histogram gradient boosting, alone or behind
        :class:`~sk_tune.TablePreparer`, scikit-learn's scalers or ``SimpleImputer``.  Needs
        the extra ``export``.

        Parameters
        ----------
        path : str or path-like
            File to write, completely or not at all.

        Returns
        -------
        dict
            "inputs" are the columns of X behind a ``TablePreparer``, as
            :meth:`sk_tune.AutoClassifier.to_onnx` describes them; "classes" are the labels
            in the order of the output.

        Raises
        ------
        TypeError
            If ONNX cannot express a member.
        """
        about = export_ensemble(self.parts, path)
        return {name: about[name] for name in ("inputs", "classes")}

    def _parts(self) -> Parts:
        return self.parts

    @property
    def _calibration(self) -> Calibration | None:
        return self.parts.calibration

    def _checked(self, X: Any) -> Any:
        """Return X in the form that the members expect, after the ensemble's checks."""
        parts = self.parts
        if not parts.takes_arrays:
            return X
        names, columns = parts.names, getattr(X, "columns", None)
        if names is not None and columns is not None and list(columns) != list(names):
            raise ValueError(
                "The feature names of X must be the same as in fit, in the same order: "
                f"{list(names)}. Got {list(columns)}."
            )
        X = X if issparse(X) else np.asarray(X)
        if parts.n_features is not None and X.ndim == 2 and X.shape[1] != parts.n_features:
            raise ValueError(
                f"X must have {parts.n_features} features, as in fit. Got {X.shape[1]}."
            )
        return X

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __getstate__(self) -> dict[str, Any]:
        return {"parts": self.parts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


@with_inherited_docs
class CollapsedClassifier(  # type: ignore[misc]
    ClassifierMixin, PredictsSets, CombinedClassifier, _Collapsed
):
    """An ensemble of classifiers reduced to its prediction.

    {description}

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels in the order of the columns of ``predict_proba``; for a multilabel problem
        the numbers of the labels.
    {attributes}

    See Also
    --------
    collapse : Makes it from an ensemble.
    CollapsedRegressor : The same for regression.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import BaggingClassifier, MLPClassifier, collapse
    >>> X, y = load_iris(return_X_y=True)
    >>> bag = BaggingClassifier(MLPClassifier(width=16), random_state=0).fit(X, y)
    >>> small = collapse(bag)
    >>> small.n_stacks_, small.prune(max_members=3).predict_proba(X).shape
    (0, (150, 3))
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.classes_ = np.asarray(parts.classes)
        self._is_multilabel = parts.is_multilabel


@with_inherited_docs
class CollapsedRegressor(  # type: ignore[misc]
    RegressorMixin, PredictsIntervals, AveragingRegressor, _Collapsed
):
    """An ensemble of regressors reduced to its prediction.

    {description}

    {parameters and attributes}

    See Also
    --------
    collapse : Makes it from an ensemble.
    CollapsedClassifier : The same for classification.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_tune import BaggingRegressor, MLPRegressor, collapse
    >>> X, y = load_diabetes(return_X_y=True)
    >>> bag = BaggingRegressor(MLPRegressor(width=16), random_state=0).fit(X, y)
    >>> len(collapse(bag).prune(max_members=3))
    3
    """


def collapse(ensemble: Any) -> CollapsedClassifier | CollapsedRegressor:
    """Return an ensemble reduced to its prediction.

    Networks of the same architecture become one batched network, even if different steps
    precede them.  Other members predict one after another.

    Parameters
    ----------
    ensemble : estimator
        Fitted ensemble of a search's candidates, bagging or boosting; scikit-learn's
        bagging or soft voting; any ensemble that predicts the mean of its ``estimators_``
        under its ``weights_``; or a network of sk_tune, alone, in a pipeline, or the best
        of a search.  The result can predict the intervals or sets of an ensemble of
        candidates, or of a search without ``keep_models``.

    Returns
    -------
    CollapsedClassifier or CollapsedRegressor
        An ensemble with the same predictions.

    Raises
    ------
    TypeError
        If the prediction is not a weighted mean or sum of members.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import BaggingClassifier, MLPClassifier
    >>> from sk_tune import collapse
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=16, learning_rate=0.01, batch_size=16)
    >>> bag = BaggingClassifier(net, random_state=0).fit(X, y)
    >>> small = collapse(bag).prune(max_members=3)
    >>> len(small), small.predict_proba(X).shape
    (3, (150, 3))
    """
    parts = parts_of(ensemble)
    return (CollapsedRegressor if parts.classes is None else CollapsedClassifier)(parts)
