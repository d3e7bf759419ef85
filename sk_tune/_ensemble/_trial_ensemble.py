# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Ensembles of the candidates that a search has trained."""

from collections.abc import Callable
from dataclasses import field
from numbers import Integral
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.utils import check_random_state, get_tags

from sk_tune._compat import HasMethods, StrOptions
from sk_tune._conformal import PredictsIntervals, PredictsSets
from sk_tune._declaration import COUNT, parameters
from sk_tune._ensemble._member_fits import fit_members
from sk_tune._ensemble._parts import AveragingRegressor, Combined, CombinedClassifier
from sk_tune._ensemble._selection import Method, Selector, contribution_table, read_library
from sk_tune._ensemble._weights import GreedyOptions
from sk_tune._scores import check_metric_names, scorer_metric
from sk_tune._search_record import deciding_scorer, grants_epochs, search_record
from sk_tune._types import Array, Seed


@parameters
class _TrialEnsemble(Combined, BaseEstimator):  # type: ignore[misc]
    """Weighted average of the candidates of a search.

    A search trains many candidates and keeps the best.  Out-of-fold predictions show which
    candidates work well together, without further training.

    Parameters
    ----------
    search : estimator
        A search of sk_tune, over any estimator.
    method : {"greedy", "average"} or GreedyOptions, default="greedy"
        "greedy" repeatedly adds the candidate that helps most, with replacement, according
        to the default `GreedyOptions`.  "average" is the mean of the k best candidates,
        with the best k.
    refit : bool, default=False
        Whether members are fitted again on all samples, as one fleet.  Otherwise they are
        the estimators of the search's folds, and no training is needed.
    scoring : str, callable or None, default=None
        Metric by which members are chosen and scored: a scorer's name, or the result of
        ``make_scorer``.  None chooses by log loss or squared error, and scores by the
        search's deciding metric if this metric is a function of targets and predictions.
    n_best : int or None, default=None
        Number of best candidates to consider; all if None.
    random_state : int, RandomState or None, default=None
        Seed of the bootstrap samples.
    n_jobs : int or None, default=None
        Worker processes of a refit, as in scikit-learn.

    Attributes
    ----------
    estimators_ : list of estimator
        Fitted members; without `refit`, one for each fold of each candidate.
    weights_ : ndarray of shape (n_estimators,)
        Weights of the members, which sum to 1.
    result_rows_ : ndarray of shape (n_candidates,)
        Result rows of the search with a positive weight.
    expected_score_ : ScoreEstimate
        Expected score on new data, with an interval, in the search's metric or in
        `scoring`: each sample is predicted by members and weights chosen on other samples.
    best_candidate_score_ : ScoreEstimate
        The same estimate for the best candidate alone.
    contributions_ : DataFrame
        A row for each of `result_rows_`: weight, score, error_correlation, gain,
        gain_error.
    oof_predictions_ : ndarray of shape (n_held_out, ...)
        Predictions behind `expected_score_`, of the samples that the search held out.
    search_ : estimator
        The search that ``fit`` ran; absent after ``from_search``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X had any.

    Notes
    -----
    `expected_score_` is computed with one model per candidate.  The ensemble averages the
    models of all folds, or models fitted on more samples, so it is slightly better.

    """

    search: Annotated[Any, HasMethods("fit")] = field(kw_only=False)
    method: Annotated[Method, StrOptions({"greedy", "average"}), GreedyOptions] = "greedy"
    refit: Annotated[bool, "boolean"] = False
    scoring: Annotated[str | Callable[..., float] | None, str, callable, None] = None
    n_best: Annotated[int | None, COUNT, None] = None
    random_state: Annotated[Seed, "random_state"] = None
    n_jobs: Annotated[int | None, Integral, None] = None

    _is_classification: ClassVar[bool]

    @classmethod
    def from_search(
        cls,
        search: Any,
        *,
        X: Any = None,
        y: Any = None,
        sample_weight: Any = None,
        **params: Any,
    ) -> Self:
        """Return an ensemble of the candidates of a fitted search.

        Parameters
        ----------
        search : estimator
            Fitted search of sk_tune; without `refit` it needs ``keep_models="all"``, or a
            number of candidates.
        X, y : array-like, default=None
            Data of the search, for `refit` only.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the search's fit, for `refit`.  Samples of weight 0 do not affect the
            choice.
        **params : dict of str to object
            Parameters of the ensemble.

        Returns
        -------
        estimator
            Fitted ensemble.

        Raises
        ------
        ValueError
            If the search has no candidate for an ensemble, or a refit lacks X and y.
        """
        ensemble = cls(clone(search), **params)
        ensemble._check()
        if ensemble.refit and (X is None or y is None):
            raise ValueError("With refit=True from_search needs X and y.")
        fit_params = {} if sample_weight is None else {"sample_weight": sample_weight}
        ensemble._build(search, X, y, fit_params)
        return ensemble

    def fit(self, X: Any, y: Any, **params: Any) -> Self:
        """Run the search, and combine its candidates.

        Parameters
        ----------
        **params : dict of str to object
            Passed to ``fit`` of the search.  Samples with a ``sample_weight`` of 0 do not
            affect the choice of members; all others count equally.

        Raises
        ------
        ValueError
            If a parameter is invalid, or the search fails.
        KeyboardInterrupt
            On Ctrl-C.  The ensemble is not fitted; ``search_`` has the results of complete
            candidates.
        """
        self._check()
        search = clone(self.search)
        if search.refit is True:
            # Other values of `refit` name the deciding metric.
            search.set_params(refit=False)
        if not self.refit and search.keep_models is None:
            search.set_params(keep_models="all")
        if search.keep_predictions is None:
            search.set_params(keep_predictions="all")
        for name in ("search_", "estimators_"):
            self.__dict__.pop(name, None)
        try:
            search.fit(X, y, **params)
        finally:
            if hasattr(search, "cv_results_"):
                # An interrupted search is kept with all its results.
                self.search_ = search
        self._build(search, X, y, params)
        if self.search.keep_models is None and not self.refit:
            # Members are in estimators_.
            del search.models_
        return self

    def _check(self) -> None:
        self._validate_params()
        check_metric_names(
            self.scoring, f"The 'scoring' parameter of {type(self).__name__}"
        )
        if not hasattr(self.search, "keep_models"):
            raise ValueError(
                f"The 'search' parameter of {type(self).__name__} must be a search of "
                f"sk_tune. Got {type(self.search).__name__} instead."
            )
        kind = "classifier" if self._is_classification else "regressor"
        if get_tags(self.search).estimator_type not in {kind, None}:
            raise ValueError(
                f"The 'search' parameter of {type(self).__name__} must be a search of "
                f"{kind}s. Got one of {self.search.estimator!r} instead."
            )

    @property
    def contributions_(self) -> pd.DataFrame:
        """Contribution of each candidate, a row for each of ``result_rows_``."""
        return pd.DataFrame.from_dict(self._contributions, orient="tight")

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether the last ``fit`` was completed, not interrupted."""
        return hasattr(self, "estimators_")

    def _build(self, search: Any, X: Any, y: Any, params: dict[str, Any]) -> None:
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        library = read_library(
            search,
            is_classification=self._is_classification,
            needs_models=not self.refit,
            random_state=seed,
        ).where_weights(params)
        reported, _ = deciding_scorer(search)
        metric = scorer_metric(reported, search.estimator)
        if self.scoring is not None or metric is None or not metric.takes_probabilities:
            # The search's scorer may need more than predictions.
            reported = None
        selector = Selector(
            library=library,
            method=self.method,
            scoring=self.scoring,
            reported=reported,
            n_best=self.n_best,
            calibrate=getattr(self, "calibrate", False),
            random_state=seed,
        )
        choice, *estimates, self.oof_predictions_ = selector.select()
        self.expected_score_, self.best_candidate_score_ = estimates
        self._calibration = library.calibration_of(self.oof_predictions_)
        # Which samples of the search `oof_predictions_` has.
        self._is_held_out = np.zeros(search.oof_predictions_.shape[1], dtype=bool)
        self._is_held_out[library.rows] = True
        contributions = contribution_table(library, choice.weights, selector.reported)
        # skops can store plain values.
        self._contributions = contributions.to_dict("tight")
        self.result_rows_ = contributions.index.to_numpy()
        weights = contributions["weight"].to_numpy(copy=True)
        if self.refit:
            members = _refitted(search, self.result_rows_, X, y, params, self.n_jobs)
        else:
            folds = [search.models_[row] for row in self.result_rows_]
            members = [model for models in folds for model in models]
            sizes = [len(models) for models in folds]
            weights = np.repeat(weights / sizes, sizes)
        if library.classes is not None:
            self._is_multilabel = library.y.ndim == 2
            labels = np.arange(library.y.shape[-1])
            self.classes_ = labels if self._is_multilabel else np.asarray(library.classes)
            self.temperature_ = choice.temperature
        self._keep(members, weights)

    def get_metadata_routing(self) -> Any:
        """Return the routing of the search, which receives all parameters of ``fit``.

        Returns
        -------
        MetadataRouter
            Of the search.
        """
        return self.search.get_metadata_routing()

    def __sklearn_tags__(self) -> Any:
        tags, search_tags = super().__sklearn_tags__(), get_tags(self.search).input_tags
        for name in ("sparse", "allow_nan", "pairwise"):
            setattr(tags.input_tags, name, getattr(search_tags, name))
        return tags


@parameters
class TrialEnsembleClassifier(  # type: ignore[misc]
    ClassifierMixin, PredictsSets, CombinedClassifier, _TrialEnsemble
):
    """Weighted average of the classifiers of a search.

    {description}

    Parameters
    ----------
    calibrate : bool, default=True
        Whether to calibrate the averaged probabilities by a temperature, fitted to
        out-of-fold predictions.
    {parameters}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels; for a multilabel problem the numbers of the labels.
    temperature_ : float
        Divisor of the logarithms of averaged probabilities; 1 unless `calibrate`.
    {attributes}

    See Also
    --------
    TrialEnsembleRegressor : The same for regression.
    BaggingClassifier : One configuration, several times.

    {notes}

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import GridSearchCV, MLPClassifier, TrialEnsembleClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=16, batch_size=16, max_epochs=10, random_state=0)
    >>> grid = {"learning_rate": [1e-3, 3e-3, 1e-2], "dropout": [0.0, 0.3]}
    >>> search = GridSearchCV(net, grid, cv=3, keep_models="all").fit(X, y)
    >>> ensemble = TrialEnsembleClassifier.from_search(search, random_state=0)
    >>> len(ensemble.estimators_) == 3 * len(ensemble.result_rows_)
    True
    >>> ensemble.predict_proba(X).shape
    (150, 3)
    """

    calibrate: Annotated[bool, "boolean"] = True

    _is_classification = True


@parameters
class TrialEnsembleRegressor(  # type: ignore[misc]
    RegressorMixin, PredictsIntervals, AveragingRegressor, _TrialEnsemble
):
    """Weighted average of the regressors of a search.

    {description}

    {parameters and attributes}

    See Also
    --------
    TrialEnsembleClassifier : The same for classification.
    BaggingRegressor : One configuration, several times.

    {notes}

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_tune import GridSearchCV, MLPRegressor, TrialEnsembleRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = MLPRegressor(width=16, batch_size=32, max_epochs=10, random_state=0)
    >>> grid = {"learning_rate": [1e-3, 3e-3, 1e-2], "dropout": [0.0, 0.3]}
    >>> search = GridSearchCV(net, grid, cv=3, keep_models="all").fit(X, y)
    >>> ensemble = TrialEnsembleRegressor.from_search(search, random_state=0)
    >>> ensemble.predict(X[:2]).shape
    (2,)
    """

    _is_classification = False


def _refitted(
    search: Any,
    candidates: Array,
    X: Any,
    y: Any,
    params: dict[str, Any],
    n_jobs: int | None,
) -> list[Any]:
    """Return candidates fitted on all samples, with the epochs of their folds."""
    estimators, epochs = [], []
    record = search_record(search)
    resource = None if record is None else record.resource
    of_epochs = grants_epochs(resource)
    for row in candidates:
        candidate = dict(search.cv_results_["params"][row])
        n_epochs = getattr(search, "best_epochs_", {}).get(row)
        if of_epochs and resource in candidate:
            # The learning-rate schedule refers to a full training.
            n_epochs = n_epochs or int(candidate[resource])
            candidate[resource] = search.max_resources_
        estimator = clone(search.estimator)
        estimators.append(estimator.set_params(**clone(candidate, safe=False)))
        epochs.append(n_epochs)
    # Groups, for example, are for the splitter only.
    routed = search._get_routed_params_for_fit(params).estimator.fit
    return fit_members(estimators, X, y, epochs=epochs, fit_params=routed, n_jobs=n_jobs)
