# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""From a table to a tuned ensemble in one call."""

import warnings
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import check_scoring
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sk_tune._compat import (
    HasMethods,
    Interval,
    StrOptions,
    check_sample_weight,
    validate_parameter_constraints,
)
from sk_tune._metric import Metric, scorer_metric
from sk_tune.automl._blend import Blend, blend_of
from sk_tune.automl._choice import Chosen, choose
from sk_tune.automl._clock import Clock
from sk_tune.automl._course import AutoProgress, Course
from sk_tune.automl._features import as_features, as_target, kind_of
from sk_tune.automl._folds import held_out_rows, make_folds
from sk_tune.automl._guard import guarded
from sk_tune.automl._leaderboard import leaderboard
from sk_tune.automl._models import (
    Model,
    boosting_model,
    dummy_model,
    linear_model,
    network_models,
)
from sk_tune.automl._problem import Problem
from sk_tune.automl._progress import print_progress
from sk_tune.automl._trials import Trial, best_of
from sk_tune.estimators import with_inherited_docs
from sk_tune.exceptions import SearchError, TableError, warn_user

__all__ = ["AutoClassifier", "AutoRegressor"]

Array = npt.NDArray[Any]

_FAMILIES = ("linear", "boosting", "network")
# What is left of the budget for the choice of members and the last check.
_RESERVED_SHARE, _LEAST_RESERVED, _MOST_RESERVED = 0.05, 0.4, 10.0


class _Auto(BaseEstimator):  # type: ignore[misc]
    """Tunes networks and others on the same folds, and averages the best.

    Parameters
    ----------
    time_budget : float or None, default=60
        Seconds for ``fit``, all included; None for no limit, which needs `n_rounds`.
    n_rounds : int or None, default=None
        Rounds of search after the default models; None as many as the time allows.  Without
        a time budget the result depends on `random_state` only.
    scoring : str, callable or None, default=None
        What models are judged by: a scorer's name, or what ``make_scorer`` returns.
        None is accuracy, or R^2.
    cv : int, splitter, iterable or "auto", default="auto"
        Folds.  "auto" is 5, by group if ``fit`` is given groups; or one held-out part of
        more than 400 rows for each second of the budget.
    test_size : float or "auto", default="auto"
        Share of the rows that is set aside for `held_out_score_`; "auto" is a tenth of
        5,000 rows or more, but 5,000 at most, and none of fewer.
    models : "auto" or list of str, default="auto"
        Of "linear", "boosting" (scikit-learn's histogram gradient boosting) and
        "network", those to try; "auto" is all that suit the data.
    sampler : {"random", "bayes", "tpe"}, default="random"
        Where Hyperband takes its candidates from; "bayes" is BOHB.
    leak_guard : bool, default=True
        Whether rows and folds are searched for leaks, which `findings_` then name.
    diagnosis : bool, default=True
        Whether networks are diagnosed after each round and their space is changed
        accordingly.
    n_jobs : int or None, default=None
        Worker processes for networks, as in scikit-learn.
    progress : bool or callable, default=False
        Whether to print how far it is; or what is called with an ``AutoProgress``.
    random_state : int, RandomState or None, default=None
        Source of all that is drawn.

    Attributes
    ----------
    ensemble_ : Blend
        What predicts: fitted pipelines with weights, each member once for each fold.
    best_estimator_ : Blend
        The best model alone, as the average of its folds.
    leaderboard_ : DataFrame
        A row for each model: family, cv_score, cv_std, seconds, in_ensemble, weight,
        params.  "ensemble of networks" is what these alone give.
    baselines_ : dict of str to float
        Mean scores over the folds of "dummy", which looks at no column, "linear", and
        "network", the first with its default parameters; as far as they could be trained.
    corrected_score_ : CorrectedScore
        What to expect on new data, with an interval: each row was predicted by members and
        weights that were chosen on other rows.
    held_out_score_ : float or None
        On rows that were set aside before anything else; None if there are none.
    beats_baseline_ : bool
        Whether the ensemble is better than the dummy.
    findings_ : tuple of Finding
        Of the leak guard and of the last diagnosis of networks.
    changes_ : tuple of AppliedChange
        What was changed because of the diagnosis.
    failures_ : dict of str to str
        Families that could not be trained, and why.
    n_trials_ : int
        Configurations that were fitted in every fold and kept.
    seconds_ : float
        That ``fit`` took.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if they have some.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "time_budget": [Interval(Real, 0, None, closed="neither"), None],
        "n_rounds": [Interval(Integral, 0, None, closed="left"), None],
        "scoring": [str, callable, None],
        "cv": ["cv_object", StrOptions({"auto"})],
        "test_size": [Interval(Real, 0, 1, closed="left"), StrOptions({"auto"})],
        "models": [StrOptions({"auto"}), list, tuple],
        "sampler": [StrOptions({"random", "bayes", "tpe"}), HasMethods(["ask", "tell"])],
        "leak_guard": ["boolean"],
        "diagnosis": ["boolean"],
        "n_jobs": [Integral, None],
        "progress": ["boolean", callable],
        "random_state": ["random_state"],
    }
    _is_classification: ClassVar[bool]

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> Self:
        """Find models and average the best.

        Parameters
        ----------
        X : frame or array-like of shape (n_samples, n_features)
            A table of any library, with numbers, categories, dates and missing values.
        y : array-like of shape (n_samples,)
            Labels or numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            For training; scores are not weighted.
        groups : array-like of shape (n_samples,), default=None
            What belongs together and must not be divided between folds.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or the data are not what is asked for.
        SearchError
            If no model at all could be trained.
        KeyboardInterrupt
            On Ctrl-C, after an ensemble was made of what was there.
        """
        clock = Clock(self.time_budget)
        self._check()
        metric = self._metric()
        X = as_features(self, X, reset=True)
        y = as_target(self, X, y, is_classification=self._is_classification)
        if self._is_classification:
            self.classes_ = np.unique(y)
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, X)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        groups = None if groups is None else np.asarray(groups)
        held = held_out_rows(
            y,
            test_size=self.test_size,
            is_classification=self._is_classification,
            groups=groups,
            seed=seed,
        )
        kept = np.setdiff1d(np.arange(len(y)), held)
        problem = self._problem(X, y, sample_weight, groups, kept, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.findings_ = self._leaks(problem, groups, kept)
            course = self._course(problem, clock)
            course.run(self._models(problem))
            course.begin("ensemble")
            self._conclude(course, problem, metric)
            self.held_out_score_ = None
            if len(held):
                course.begin("check on held-out rows")
                scorer = check_scoring(self, scoring=self.scoring)
                self.held_out_score_ = float(scorer(self, _take(X, held), y[held]))
        self.seconds_ = clock.seconds
        if course.was_interrupted:
            raise KeyboardInterrupt
        if not self.beats_baseline_:
            warn_user(
                "No model is better than the dummy, which looks at no column: nothing in "
                "these columns that helps to predict the target was found."
            )
        return self

    def _check(self) -> None:
        validate_parameter_constraints(
            self._parameter_constraints,
            self.get_params(deep=False),
            caller_name=type(self).__name__,
        )
        if self.time_budget is None and self.n_rounds is None:
            raise ValueError(
                f"{type(self).__name__} must have a 'time_budget' or 'n_rounds'. Got None "
                "for both."
            )
        unknown = set(self._families()) - set(_FAMILIES)
        if unknown or not self._families():
            raise ValueError(
                f"The 'models' parameter of {type(self).__name__} must be 'auto' or a list "
                f"of {list(_FAMILIES)}. Got {self.models!r} instead."
            )

    def _families(self) -> Sequence[str]:
        return _FAMILIES if isinstance(self.models, str) else list(self.models)

    def _metric(self) -> Metric:
        default = "accuracy" if self._is_classification else "r2"
        metric = scorer_metric(default if self.scoring is None else self.scoring)
        if metric is None or not metric.takes_probabilities:
            raise ValueError(
                f"The 'scoring' parameter of {type(self).__name__} must be the name of a "
                "scorer, or what make_scorer returns, of labels, probabilities or numbers. "
                f"Got {self.scoring!r} instead."
            )
        return metric

    def _problem(
        self, X: Any, y: Array, weight: Any, groups: Any, kept: Array, seed: int
    ) -> Problem:
        y = y[kept]
        return Problem(
            X=_take(X, kept),
            y=y,
            kind=kind_of(X),
            is_classification=self._is_classification,
            folds=make_folds(
                y,
                cv=self.cv,
                is_classification=self._is_classification,
                groups=None if groups is None else groups[kept],
                time_budget=self.time_budget,
                seed=seed,
            ),
            scoring=self.scoring,
            sample_weight=None if weight is None else weight[kept],
            seed=seed % 2**20,
            n_jobs=self.n_jobs,
        )

    def _leaks(self, problem: Problem, groups: Any, kept: Array) -> tuple[Any, ...]:
        if not self.leak_guard:
            return ()
        own = None if groups is None else groups[kept]
        return guarded(problem, own, self.time_budget)

    def _course(self, problem: Problem, clock: Clock) -> Course:
        reserve = 0.0
        if self.time_budget is not None:
            share = _RESERVED_SHARE * self.time_budget
            reserve = float(np.clip(share, _LEAST_RESERVED, _MOST_RESERVED))
        tell: Callable[[AutoProgress], object] | None = None
        if self.progress is not False:
            tell = print_progress if self.progress is True else self.progress
        return Course(
            problem=problem,
            clock=clock,
            reserve=reserve,
            n_rounds=self.n_rounds,
            sampler=self.sampler,
            heals=self.diagnosis,
            tell=tell,
        )

    def _models(self, problem: Problem) -> list[Model]:
        """Return what is to be trained; without columns to learn from the dummy only."""
        families, models = self._families(), [dummy_model(problem)]
        try:
            if "linear" in families:
                models.append(linear_model(problem))
            if "network" in families:
                models += network_models(problem)
            if "boosting" in families and problem.kind == "table":
                models.append(boosting_model(problem))
        except TableError:
            return models
        return models

    def _conclude(self, course: Course, problem: Problem, metric: Metric) -> None:
        """Choose the members, and say what they are worth."""
        trials = course.trials
        self.failures_ = dict(course.failures)
        if not trials:
            if course.was_interrupted:
                raise KeyboardInterrupt
            reasons = "; ".join(f"{name}: {why}" for name, why in self.failures_.items())
            raise SearchError(
                f"At least one model must get a score by {self.scoring!r} in each fold. "
                f"Got none. {reasons}"
            )
        own = [trial for trial in trials if trial.family != "dummy"] or trials
        calibrate = getattr(self, "calibrate", False)
        chosen = choose(own, problem, metric, calibrate=calibrate)
        networks = [trial for trial in own if trial.family in {"MLP", "CNN", "RNN"}]
        of_networks: Chosen | None = None
        if networks:
            of_networks = chosen
            if len(networks) < len(own):
                of_networks = choose(networks, problem, metric, calibrate=calibrate)
        self.leaderboard_ = leaderboard(trials, chosen, of_networks)
        self.ensemble_ = self._blend(chosen.trials, chosen.weights, chosen.temperature)
        self.best_estimator_ = self._blend(best_of(own, 1), np.ones(1), 1.0)
        self.baselines_ = _baselines(trials)
        self.corrected_score_ = chosen.corrected
        dummy = self.baselines_.get("dummy", -np.inf)
        self.beats_baseline_ = bool(own is not trials and chosen.score > dummy)
        self.findings_ = (*self.findings_, *course.findings)
        self.changes_ = tuple(course.changes)
        self.n_trials_ = len(trials)

    def _blend(self, trials: Sequence[Trial], weights: Array, temperature: float) -> Blend:
        return blend_of(trials, weights, temperature, getattr(self, "classes_", None))

    def predict(self, X: Any) -> Array:
        """Return the predictions of the ensemble.

        Parameters
        ----------
        X : frame or array-like of shape (n_samples, n_features)
            Features, as in ``fit``.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels or numbers.
        """
        check_is_fitted(self)
        return self.ensemble_.predict(as_features(self, X, reset=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        tags.non_deterministic = self.time_budget is not None
        return tags


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


@with_inherited_docs
class AutoClassifier(_ScoredAsJudged, ClassifierMixin, _Auto):  # type: ignore[misc]
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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_Auto._parameter_constraints,
        "calibrate": ["boolean"],
    }
    _is_classification = True

    def __init__(
        self,
        *,
        time_budget: float | None = 60,
        n_rounds: int | None = None,
        scoring: Any = None,
        cv: Any = "auto",
        test_size: Any = "auto",
        models: Any = "auto",
        sampler: Any = "random",
        leak_guard: bool = True,
        diagnosis: bool = True,
        calibrate: bool = True,
        n_jobs: int | None = None,
        progress: Any = False,
        random_state: Any = None,
    ) -> None:
        self.time_budget = time_budget
        self.n_rounds = n_rounds
        self.scoring = scoring
        self.cv = cv
        self.test_size = test_size
        self.models = models
        self.sampler = sampler
        self.leak_guard = leak_guard
        self.diagnosis = diagnosis
        self.calibrate = calibrate
        self.n_jobs = n_jobs
        self.progress = progress
        self.random_state = random_state

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
        check_is_fitted(self)
        return self.ensemble_.predict_proba(as_features(self, X, reset=False))


@with_inherited_docs
class AutoRegressor(_ScoredAsJudged, RegressorMixin, _Auto):  # type: ignore[misc]
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

    _is_classification = False

    def __init__(
        self,
        *,
        time_budget: float | None = 60,
        n_rounds: int | None = None,
        scoring: Any = None,
        cv: Any = "auto",
        test_size: Any = "auto",
        models: Any = "auto",
        sampler: Any = "random",
        leak_guard: bool = True,
        diagnosis: bool = True,
        n_jobs: int | None = None,
        progress: Any = False,
        random_state: Any = None,
    ) -> None:
        self.time_budget = time_budget
        self.n_rounds = n_rounds
        self.scoring = scoring
        self.cv = cv
        self.test_size = test_size
        self.models = models
        self.sampler = sampler
        self.leak_guard = leak_guard
        self.diagnosis = diagnosis
        self.n_jobs = n_jobs
        self.progress = progress
        self.random_state = random_state


def _take(X: Any, rows: Array) -> Any:
    return X.iloc[rows].reset_index(drop=True) if hasattr(X, "iloc") else X[rows]


def _baselines(trials: Sequence[Trial]) -> dict[str, float]:
    """Return the scores of the dummy, the best linear model and the first network."""
    scores: dict[str, float] = {}
    for trial in trials:
        if trial.family in {"dummy", "linear"}:
            scores[trial.family] = max(scores.get(trial.family, -np.inf), trial.score)
        elif trial.family != "boosting":
            scores.setdefault("network", trial.score)
    return scores
