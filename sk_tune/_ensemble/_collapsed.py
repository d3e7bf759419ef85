# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""An ensemble as one predictor: one call, one file, as small as its user wants it.

What is left of an ensemble is a weighted sum of its members; networks of one architecture
in it are stacked.  How they were found and trained is let go.
"""

import statistics
import time
from bisect import bisect_right
from functools import cache
from os import PathLike
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse
from sklearn.metrics import accuracy_score, r2_score

from sk_tune._declaration import with_inherited_docs
from sk_tune._ensemble._onnx_export import export_ensemble
from sk_tune._ensemble._parts import (
    Combined,
    CombinedClassifier,
    CombinedRegressor,
    Parts,
    parts_of,
)
from sk_tune._saving import load_object, save_object

Array = npt.NDArray[Any]

# Calls of which the median counts.
_N_CALLS = 7


class _Collapsed(Combined):
    """Pruning and files of an ensemble, for both tasks.

    Parameters
    ----------
    parts : Parts
        What :func:`collapse` makes of an ensemble.

    Attributes
    ----------
    estimators_ : list of estimators
        The members.
    weights_ : ndarray of shape (n_members,)
        Their weights.
    n_features_in_ : int
        Columns of X, if the ensemble knew.
    n_stacks_ : int
        Stacks of several networks that the last prediction used.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._combination = parts.combination()
        if parts.n_features is not None:
            self.n_features_in_ = parts.n_features

    def __len__(self) -> int:
        """Return the number of members."""
        return len(self.parts.members)

    @property
    def estimators_(self) -> list[Any]:
        """The members."""
        return [member.estimator for member in self.parts.members]

    @property
    def weights_(self) -> Array:
        """Their weights."""
        return np.array([member.weight for member in self.parts.members])

    @property
    def n_stacks_(self) -> int:
        """Stacks of several networks that the last prediction used."""
        return self._combination.n_stacks

    def prune(
        self, *, max_members: int | None = None, max_ms: float | None = None, X: Any = None
    ) -> Self:
        """Return a smaller ensemble of the most important members.

        Of a mean these are the heaviest, of a boosting the first stages.

        Parameters
        ----------
        max_members : int or None, default=None
            Members to keep at most.
        max_ms : float or None, default=None
            Milliseconds that a prediction may take on this machine: as many members are
            kept as the median of some calls allows.
        X : array-like of shape (n_samples, n_features) or None, default=None
            The samples that are to be predicted in that time; one sample of zeros if None.

        Returns
        -------
        CollapsedClassifier or CollapsedRegressor
            Another one, which shares the members.

        Raises
        ------
        ValueError
            If a number is too small, or a single member takes longer.
        """
        n_members = len(self)
        if max_members is not None:
            if max_members < 1:
                raise ValueError(f"max_members must be at least 1. Got {max_members!r}.")
            n_members = min(n_members, max_members)
        if max_ms is not None:
            n_members = self._affordable(n_members, max_ms, X)
        return type(self)(self.parts.first(n_members))

    def _affordable(self, most: int, max_ms: float, X: Any) -> int:
        """Return how many members predict in a time; time grows with their number."""
        if X is None:
            if self.parts.n_features is None:
                raise ValueError("max_ms needs X for an ensemble of unknown width.")
            X = np.zeros((1, self.parts.n_features))
        X = self._checked(X)

        @cache
        def milliseconds(n_members: int) -> float:
            return _milliseconds(self.parts.first(n_members), X)

        if milliseconds(most) <= max_ms:
            return most
        n_members = bisect_right(range(1, most), max_ms, key=milliseconds)
        if not n_members:
            raise ValueError(
                f"max_ms must be at least what one member takes, {milliseconds(1):.2g} ms. "
                f"Got {max_ms!r}."
            )
        return n_members

    def save(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the ensemble to one safetensors file.

        Members must be networks of sk_tune's, alone or at the end of pipelines such as
        :func:`sk_tune.save` takes.

        Parameters
        ----------
        path : str or path-like
            File to write.  It is replaced as a whole or not at all.
        overwrite : bool, default=False
            Whether a file that exists may be replaced.

        Raises
        ------
        TypeError
            If a member is anything else.
        FileExistsError
            If the file exists and `overwrite` is False.
        """
        save_object(self, path, overwrite=overwrite, for_training=False)

    @classmethod
    def load(cls, path: str | PathLike[str], *, module: Any = None) -> Self:
        """Return the ensemble that ``save`` wrote; nothing in the file is executed.

        Parameters
        ----------
        path : str or path-like
            File to read.
        module : class, callable or torch.nn.Module, default=None
            The module of members that are ``NetClassifier`` or ``NetRegressor``.

        Returns
        -------
        CollapsedClassifier or CollapsedRegressor
            As it was.

        Raises
        ------
        ValueError
            If the file is damaged, foreign, newer than this version, or holds another
            class.
        """
        ensemble: Self = load_object(path, module=module, name=cls.__name__)
        return ensemble

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy of labels, or R^2 of targets.

        Parameters
        ----------
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels or targets; of several labels a sample, all count.
        """
        measure = r2_score if self.parts.classes is None else accuracy_score
        model: Any = self
        return float(measure(y, model.predict(X), sample_weight=sample_weight))

    def to_onnx(self, path: str | PathLike[str]) -> dict[str, Any]:
        """Write the ensemble as one ONNX model.

        Its input is ``X``, its output ``probabilities`` or ``prediction``.  Members must be
        networks of sk_tune's, scikit-learn's ``LogisticRegression``, ``Ridge`` or histogram
        gradient boosting, alone or behind :class:`~sk_tune.TablePreparer`, scikit-learn's
        scalers or ``SimpleImputer``.  Needs the extra ``export``.

        Parameters
        ----------
        path : str or path-like
            File to write.  It is replaced as a whole or not at all.

        Returns
        -------
        dict
            "inputs" are the columns of X behind a ``TablePreparer``, as
            :meth:`sk_tune.AutoClassifier.to_onnx` describes them; "classes" are the labels
            in the order of the output.

        Raises
        ------
        TypeError
            If a member is anything else.
        """
        about = export_ensemble(self.parts, path)
        return {name: about[name] for name in ("inputs", "classes")}

    def _parts(self) -> Parts:
        return self.parts

    def _checked(self, X: Any) -> Any:
        """Return X as the ensemble gives it to its members, after the ensemble's checks."""
        parts = self.parts
        if not parts.takes_arrays:
            return X
        known, given = parts.names, getattr(X, "columns", None)
        if known is not None and given is not None and list(given) != list(known):
            raise ValueError(
                "The feature names of X must be those that the ensemble was fitted with, "
                f"in their order: {list(known)}. Got {list(given)}."
            )
        X = X if issparse(X) else np.asarray(X)
        if parts.n_features is not None and X.ndim == 2 and X.shape[1] != parts.n_features:
            raise ValueError(
                f"X must have {parts.n_features} features, as in the fit of the ensemble. "
                f"Got {X.shape[1]}."
            )
        return X

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __getstate__(self) -> dict[str, Any]:
        return {"parts": self.parts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


@with_inherited_docs
class CollapsedClassifier(_Collapsed, CombinedClassifier):
    """An ensemble of classifiers as one predictor.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels in the order of the columns of ``predict_proba``; of a multilabel problem the
        numbers of the labels.
    {attributes}
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.classes_ = np.asarray(parts.classes)
        self._is_multilabel = parts.is_multilabel


@with_inherited_docs
class CollapsedRegressor(_Collapsed, CombinedRegressor):
    """An ensemble of regressors as one predictor.

    {parameters and attributes}
    """


def collapse(ensemble: Any) -> CollapsedClassifier | CollapsedRegressor:
    """Return an ensemble as one predictor.

    Members whose networks have the same architecture become one batched network, whatever
    stands in front of them; all others are asked one by one.

    Parameters
    ----------
    ensemble : estimator
        Fitted: one of sk_tune's of trials, seeds or bags, or boosting; scikit-learn's
        bagging or soft voting; any whose prediction is the mean of its ``estimators_``
        under its ``weights_``; or a single network of sk_tune's, alone or in a pipeline.

    Returns
    -------
    CollapsedClassifier or CollapsedRegressor
        It predicts what the ensemble does.

    Raises
    ------
    TypeError
        If the prediction is no such mean or sum.

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


def _milliseconds(parts: Parts, X: Any) -> float:
    combination = parts.combination()
    combination(X)
    seconds = []
    for _ in range(_N_CALLS):
        start = time.perf_counter()
        parts.finish(combination(X))
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)
