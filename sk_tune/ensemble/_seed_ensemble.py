# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""One configuration trained several times, and kept at several epochs."""

from dataclasses import field
from numbers import Integral
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.multiclass import check_classification_targets

from sk_tune._compat import HasMethods
from sk_tune._declaration import COUNT, parameters
from sk_tune.ensemble._member_fits import fit_members, last_step
from sk_tune.ensemble._parts import Combined, CombinedClassifier, CombinedRegressor
from sk_tune.estimators import (
    MLPClassifier,
    MLPRegressor,
    NetworkEstimator,
    check_indicator,
    is_multilabel,
)

Array = npt.NDArray[Any]


@parameters
class _SeedEnsemble(Combined, BaseEstimator):  # type: ignore[misc]
    """Members that differ by their seed.

    Also called a deep ensemble.  The members start from other weights and see the samples
    in another order; all train on all samples.

    Parameters
    ----------
    estimator : estimator or None, default=None
        What is fitted several times: a network, alone or last in a pipeline, or any other
        estimator with a ``random_state``.  None is an MLP with its defaults.
    n_estimators : int, default=10
        Seeds; networks train as one fleet.
    n_snapshots : int, default=1
        Of how many epochs each network is a member: its last one, and others of the last
        half of its training, at equal distances.
    random_state : int, RandomState or None, default=None
        Source of the seeds.
    n_jobs : int or None, default=None
        Worker processes, as in scikit-learn.

    Attributes
    ----------
    estimators_ : list of estimator
        Members, fitted.
    weights_ : ndarray of shape (n_members,)
        Of the members, all alike, with sum 1.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if they have some.

    Notes
    -----
    After B. Lakshminarayanan, A. Pritzel, C. Blundell. Simple and scalable predictive
    uncertainty estimation using deep ensembles. NeurIPS 2017; snapshots after G. Huang,
    Y. Li, G. Pleiss, Z. Liu, J. E. Hopcroft, K. Q. Weinberger. Snapshot ensembles: train 1,
    get M for free. ICLR 2017, but the learning rate is not restarted.
    """

    estimator: Annotated[Any, HasMethods(["fit", "predict"]), None] = field(
        default=None, kw_only=False
    )
    n_estimators: Annotated[int, COUNT] = field(default=10, kw_only=False)
    n_snapshots: Annotated[int, COUNT] = 1
    random_state: Annotated[Any, "random_state"] = None
    n_jobs: Annotated[int | None, Integral, None] = None

    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self:
        """Fit the members.

        Parameters
        ----------
        **fit_params : dict of str to object
            For ``fit`` of each member, such as ``sample_weight``.

        Raises
        ------
        ValueError
            If a parameter is not what is asked for, a member cannot be fitted, or snapshots
            are asked of what is no network, or has too few epochs.
        """
        if isinstance(self, ClassifierMixin) and y is not None:
            check_classification_targets(y)
            if is_multilabel(y):
                check_indicator(np.asarray(y))
        self._validate_params()
        random_state = check_random_state(self.random_state)
        members = [clone(self._base()) for _ in range(self.n_estimators)]
        for member in members:
            names = [
                name
                for name in sorted(member.get_params())
                if name == "random_state" or name.endswith("__random_state")
            ]
            member.set_params(**{n: random_state.randint(2**31 - 1) for n in names})
        epochs = [self._snapshot_epochs(member) for member in members]
        fitted = fit_members(
            members, X, y, epochs=epochs, fit_params=fit_params, n_jobs=self.n_jobs
        )
        if isinstance(self, ClassifierMixin):
            self._is_multilabel = is_multilabel(y)
            self.classes_ = np.unique(np.asarray(y))
            if self._is_multilabel:
                self.classes_ = np.arange(np.shape(y)[1])
        estimators = [one for snapshots in fitted for one in snapshots]
        self._keep(estimators, np.full(len(estimators), 1 / len(estimators)))
        return self

    def _base(self) -> Any:
        default = MLPClassifier if isinstance(self, ClassifierMixin) else MLPRegressor
        return default() if self.estimator is None else self.estimator

    def _snapshot_epochs(self, member: Any) -> list[int] | None:
        if self.n_snapshots == 1:
            return None
        network = last_step(member)
        if not isinstance(network, NetworkEstimator):
            raise ValueError(
                "With n_snapshots > 1 the 'estimator' parameter must be a network of "
                f"sk_tune, alone or last in a pipeline. Got {member!r} instead."
            )
        n_epochs: Any = network.max_epochs
        step = int(n_epochs) // (2 * self.n_snapshots)
        if step == 0:
            raise ValueError(
                f"The 'n_snapshots' parameter must be at most half of max_epochs="
                f"{n_epochs}. Got {self.n_snapshots} instead."
            )
        return [int(n_epochs) - step * i for i in reversed(range(self.n_snapshots))]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        base = get_tags(self._base())
        tags.input_tags.sparse = base.input_tags.sparse
        tags.input_tags.allow_nan = base.input_tags.allow_nan
        tags.target_tags.multi_output = base.target_tags.multi_output
        return tags


@parameters
class SeedEnsembleClassifier(  # type: ignore[misc]
    ClassifierMixin, CombinedClassifier, _SeedEnsemble
):
    """Average of the probabilities of one configuration under several seeds.

    {description}

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels; of a multilabel problem the numbers of the labels.
    {attributes}

    See Also
    --------
    SeedEnsembleRegressor : The same for regression.
    TrialEnsembleClassifier : Several configurations, out of a search.

    {notes}

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import MLPClassifier, SeedEnsembleClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=16, batch_size=16, max_epochs=10)
    >>> ensemble = SeedEnsembleClassifier(net, 5, n_snapshots=2, random_state=0).fit(X, y)
    >>> len(ensemble.estimators_), ensemble.predict_proba(X).shape
    (10, (150, 3))
    """


@parameters
class SeedEnsembleRegressor(  # type: ignore[misc]
    RegressorMixin, CombinedRegressor, _SeedEnsemble
):
    """Average of the predictions of one configuration under several seeds.

    {description}

    {parameters and attributes}

    See Also
    --------
    SeedEnsembleClassifier : The same for classification.
    TrialEnsembleRegressor : Several configurations, out of a search.

    {notes}

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_tune import MLPRegressor, SeedEnsembleRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = MLPRegressor(width=16, batch_size=32, max_epochs=10)
    >>> SeedEnsembleRegressor(net, 5, random_state=0).fit(X, y).predict(X[:2]).shape
    (2,)
    """
