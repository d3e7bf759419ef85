# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""From a table to a tuned ensemble in one call."""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin, is_classifier
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from sk_tune._automl._blend import Blend, column_effects_of
from sk_tune._automl._chosen import Chosen, choose_with_networks
from sk_tune._automl._leaderboard import leaderboard, pareto_front
from sk_tune._automl._model_course import ModelCourse
from sk_tune._automl._models import (
    NETWORK_FAMILIES,
    Model,
    boosting_models,
    dummy_model,
    linear_model,
    network_models,
)
from sk_tune._automl._page import auto_page
from sk_tune._automl._plans import BlendPlan, SetAside, blend_plans, members_in_order
from sk_tune._automl._prediction_costs import limited_costs
from sk_tune._automl._problem import (
    Problem,
    as_features,
    as_target,
    kind_of,
    left_out_texts,
)
from sk_tune._automl._resources import Clock, reserve_of
from sk_tune._automl._runner import (
    NOT_STORED,
    AutoProgress,
    AutoProgressLine,
    Memory,
    MemoryFolder,
    Runner,
)
from sk_tune._automl._scoring import ScoredByMetric, Scoring, checked_metric, scoring_of
from sk_tune._automl._splitting import (
    Split,
    as_groups,
    guarded,
    serious_leaks,
    split_rows,
    warn_of_leaks,
    warn_of_rare_classes,
)
from sk_tune._automl._summary import shortage_text, summary
from sk_tune._automl._texts import add_texts
from sk_tune._automl._threshold import Threshold, ThresholdChoice
from sk_tune._compat import Interval, StrOptions, check_sample_weight
from sk_tune._conformal import Calibration, PredictsIntervals
from sk_tune._declaration import Seconds, parameters
from sk_tune._diagnosis import Finding, extra_findings
from sk_tune._engine import value_fingerprint
from sk_tune._ensemble import Combined, CombinedRegressor, export_ensemble
from sk_tune._report import Checks, Page, data_description, intervals_text, quality_of
from sk_tune._reporting import report
from sk_tune._sampler import Sampler
from sk_tune._scores import with_all_classes
from sk_tune._splits import as_times, take
from sk_tune._types import Array, Folds, Seed
from sk_tune._versions import package_version
from sk_tune._warnings import warn_user
from sk_tune.exceptions import SearchError, StoreWarning, TableError, VerdictWarning

_FAMILIES = ("linear", "boosting", "networks")
# Budgets in seconds below which starting workers takes longer than the workers save.
_LEAST_FOR_WORKERS = 30.0


@parameters
class AutoEstimator(Combined, BaseEstimator):  # type: ignore[misc]
    """Tune networks and other models on the same folds and average the best.

    Baselines are trained first, followed by rounds of searches: random search tunes
    gradient boosting and networks for tables, and Hyperband tunes other networks.  The
    ensemble is a weighted average of the best models.  For tables, each of them is fitted
    again on all rows.

    Parameters
    ----------
    time_budget : float or None, default=60
        Seconds for the whole ``fit``.  None sets no limit and requires `n_rounds`.  Unless
        `cv` has custom folds, a table with more than 5,000 rows or 400,000 values per
        second is reduced to a random sample of at least 10,000 rows.
    n_rounds : int or None, default=None
        Rounds of search after the default models; None continues until the time is up.
    scoring : str, callable or None, default=None
        Metric for models: the name of a scorer, or the result of ``make_scorer``.  None
        chooses ROC AUC for two classes, log loss for more, and R^2 for regression, see
        `scoring_reason_`.
    cv : int, splitter, iterable or "auto", default="auto"
        Folds.  "auto" is 5 folds, or a single split if a table is large: more than 400 rows
        or 20,000 values per second of the budget (100,000 values if it has at most 500
        rows), or more than 50,000 rows without a budget.  "auto" and a number respect the
        groups or times passed to ``fit``.  Custom folds refer to all rows; rows set aside
        by `test_size` are removed from them.
    test_size : float or "auto", default="auto"
        Share of the rows to set aside for a final check, see `model_scores_`; after it,
        members for tables are fitted on these rows, too.  "auto" is a tenth of tables with
        5,000 rows or more, but at most 5,000 rows, and 0 for smaller tables and custom
        folds.
    input_shape : tuple of int or None, default=None
        Shape of a row of flat X: (n_channels, height, width) of images, or (n_steps,
        n_features) of sequences.
    models : "auto" or list of str, default="auto"
        Families of models to train: "linear", "boosting" (scikit-learn's histogram gradient
        boosting; for tables also LightGBM, XGBoost and CatBoost if installed) and
        "networks".  "auto" trains every family that suits the data.
    sampler : {"random", "bayes", "tpe"} or callable, default="random"
        Source of candidates for networks, as in :class:`HyperbandSearchCV`; "bayes" is
        BOHB.  For tables, "random" trains each candidate to the end.  A callable is called
        as ``sampler(space, random_state)`` in each round and for each kind of network,
        whose spaces differ, and returns a :class:`sk_tune.sampler.Sampler`.
    max_predict_ms : float or None, default=None
        Limit in milliseconds for the time that the ensemble takes to predict 10,000 rows,
        as measured at the end of ``fit``; inf for no limit.  If no model is that fast, the
        fastest model predicts.  With None, only ensembles for tables are limited, and only
        with a time budget: to three times the time of default boosting, see
        `leaderboard_`.
    use : {"ensemble", "best", "networks", "linear", "boosting"}, default="ensemble"
        Model that predicts, see `blends_`.  It may be changed on a fitted estimator.
    leak_guard : bool, default=True
        Whether to check rows and folds for leaks, see `findings_`.
    diagnosis : bool, default=True
        Whether to diagnose networks, and to apply the remedy to their space after each
        round of Hyperband.  A remedy that lowers the score is reverted and not repeated.
    warm_start : bool, default=False
        Whether the next ``fit`` on the same data continues with the trials of this fit,
        except for families removed from `models`.
    checkpoint_dir : str, path-like or None, default=None
        Folder to which ``fit`` writes its trials while it runs.  After a crash, ``fit`` on
        the same data continues from there, as with `warm_start`.  The folder contains
        pickles: use only a folder that you trust.
    n_jobs : int or None, default=None
        Worker processes for networks, as in scikit-learn.  If the budget is below 30
        seconds, networks train in this process.
    verbose : int or callable, default=0
        0 is silent, and any other number shows the progress in a line that is updated.  A
        callable gets an ``AutoProgress`` at each stage, and during searches every half
        second.
    random_state : int, RandomState or None, default=None
        Source of all random numbers.

    Attributes
    ----------
    ensemble_ : Blend
        The ensemble: fitted pipelines with weights, one for each member and fold.
    blends_ : dict of str to Blend
        Models from which `use` chooses.  "dummy", "linear" and "boosting" are the best
        models of these families, and "best" is the best of all.  Each is one model fitted
        on all rows of a table, or the average of the models of its folds; of folds in time
        order, the last model.  "ensemble" averages models of all families, and "networks"
        only networks.  Families that failed are missing.
    leaderboard_ : DataFrame
        A row for each model: family, cv_score, cv_std, seconds, predict_ms, megabytes,
        in_ensemble, weight, params.  The row "ensemble of networks" averages only networks.
        `predict_ms` is the time in which members and ensembles predict 10,000 rows, and
        `megabytes` the size of their pickles; NaN if not measured.  With a time budget, the
        ensemble takes at most three times as long as the default model of scikit-learn's
        boosting; the row "larger ensemble" shows the score and time without this limit.
    model_scores_ : dict of str to ScoreEstimate
        Expected scores of the models of `blends_`.  `score` is the mean over the folds.
        R^2 of folds with fewer than 30 rows uses the variance of all held-out rows.  `std`
        is the standard deviation over the folds (NaN for a single held-out part), and
        `held_out` the score of the models of the folds on the rows set aside.
    scoring_ : str
        Name of the scorer for models.
    scoring_reason_ : str
        The metric and the reason for it, in one sentence.
    expected_score_ : ScoreEstimate
        Expected score of the ensemble on new data, with an interval, as in `model_scores_`.
        Each row is predicted with members, weights and a temperature chosen on other rows,
        from all trials.  Labels that are held out in one fold are training labels in
        another.  Unless the columns clearly help, the estimate also corrects for this,
        which makes it pessimistic rather than optimistic.  `naive_score` is the score of
        the best trial.
    summary_ : str
        The result in a few sentences.
    beats_baseline_ : bool
        Whether the columns clearly help, regardless of `scoring`: the ensemble has a lower
        log loss (in regression, squared error) than the dummy, or a ROC AUC above 0.5.
        "Clearly" means that the 95 % interval of the difference is above 0; its low end is
        `loss_lead` or `auc_lead` in `model_scores_`.
    findings_ : tuple of Finding
        Findings about the classes, from the leak guard, and from the diagnosis of the best
        search of each network model, which `subject` names.
    changes_ : tuple of AppliedChange
        Changes to networks and spaces by remedies, and reverted remedies.
    failures_ : dict of str to str
        Models that could not be trained, with the reason; "NAME on all rows" if a member
        could not be fitted again, so that the models of its folds predict.
    kinds_ : ColumnKinds or None
        Kinds of the columns of a table, and the dropped columns with the reason.  Columns
        of text (names, titles, remarks) are `texts`, which all models encode by ten numbers
        each, if this clearly improves a network in the folds; otherwise they are dropped.
    oof_predictions_ : ndarray of shape (n_held_out, ...)
        Predictions behind `expected_score_`, of the rows that the folds hold out.
    column_importance_ : DataFrame or None
        For a table: columns "column", "importance" and "std", the most important first.
        Importance is the drop in the ensemble's held-out score when the column is permuted:
        mean and standard deviation over the folds.  All parts of a date and all levels of a
        category are permuted together.  None for images and sequences, and if the time
        budget was too short.
    column_importance_reason_ : str
        Why `column_importance_` is None; empty otherwise.
    n_trials_ : int
        Number of configurations that were fitted in all folds.
    seconds_ : float
        Duration of ``fit``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if they have names.

    Notes
    -----
    Runs with a time budget are not repeatable: use ``time_budget=None`` and `n_rounds` for
    results that depend only on `random_state`.
    """

    time_budget: Annotated[float | None, Seconds(), None] = 60
    n_rounds: Annotated[int | None, Interval(Integral, 0, None, closed="left"), None] = None
    scoring: Annotated[str | Callable[..., float] | None, str, callable, None] = None
    cv: Annotated[Folds | str, "cv_object", StrOptions({"auto"})] = "auto"
    test_size: Annotated[
        float | str, Interval(Real, 0, 1, closed="left"), StrOptions({"auto"})
    ] = "auto"
    input_shape: Annotated[Sequence[int] | None, "array-like", None] = None
    models: Annotated[Sequence[str], StrOptions({"auto"}), list, tuple] = "auto"
    sampler: Annotated[
        str | Callable[..., Sampler], StrOptions({"random", "bayes", "tpe"}), callable
    ] = "random"
    max_predict_ms: Annotated[
        float | None, Interval(Real, 0, None, closed="right"), None
    ] = None
    use: Annotated[str, StrOptions({"ensemble", "best", *_FAMILIES})] = "ensemble"
    leak_guard: Annotated[bool, "boolean"] = True
    diagnosis: Annotated[bool, "boolean"] = True
    warm_start: Annotated[bool, "boolean"] = False
    checkpoint_dir: Annotated[str | os.PathLike[str] | None, str, os.PathLike, None] = None
    n_jobs: Annotated[int | None, Integral, None] = None
    verbose: Annotated[int | Callable[[AutoProgress], object], "verbose", callable] = 0
    random_state: Annotated[Seed, "random_state"] = None

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        times: Any = None,
    ) -> Self:
        """Train models and average the best.

        Parameters
        ----------
        X : frame or array-like of shape (n_samples, n_features) or (n_samples, ...)
            A table of any library, or an array or list of rows, with numbers, categories,
            dates and missing values; sequences, as a list of arrays of shape (n_steps,
            n_features) or one array padded with NaN at the ends; or images of shape
            (n_samples, n_channels, height, width).  Up to a tenth of the cells of a numeric
            or date column may be unreadable; they are treated as missing.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            One label for each row, or one or several numeric targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights for training; scores are unweighted.
        groups : array-like of shape (n_samples,), default=None
            Group of each row.  Each group is in one fold, and intervals are for new groups.
        times : array-like of shape (n_samples,), default=None
            Time of each row, as numbers or dates.  Models are scored on rows later than
            their training rows, and rows with the same time stay together.  To combine
            times and `groups`, pass custom folds.

        Raises
        ------
        ValueError
            If a parameter or the data are invalid; text times must begin with the year.
        SearchError
            If no model could be trained.
        KeyboardInterrupt
            On Ctrl-C, after combining the trials so far into an ensemble.

        Warns
        -----
        LeakWarning
            If a leak makes scores optimistic.
        DataWarning
            If a class has only one row.
        VerdictWarning
            If the columns do not clearly help, see `beats_baseline_`.
        """
        earlier = dict(vars(self))
        try:
            was_interrupted = self._fit(X, y, sample_weight, groups, times)
        except BaseException:
            # Attributes of two fits do not fit together, so those of an earlier one stay.
            self.__dict__ = earlier
            raise
        row_arguments = {"sample_weight": sample_weight, "groups": groups, "times": times}
        self._fit_arguments = [name for name, v in row_arguments.items() if v is not None]
        if was_interrupted:
            raise KeyboardInterrupt
        if not self.beats_baseline_:
            warn_user(self.summary_, VerdictWarning)
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any, groups: Any, times: Any) -> bool:
        """Fit, and return whether Ctrl-C ended the training."""
        clock = Clock(self.time_budget)
        self._check()
        original_X, X = X, as_features(self, X, reset=True, shape=self.input_shape)
        self._row_shape = tuple(X.shape[1:])
        y = as_target(self, X, y, is_classification=is_classifier(self))
        if is_classifier(self):
            self.classes_ = np.unique(y)
        weight = None if sample_weight is None else check_sample_weight(sample_weight, X)
        texts = left_out_texts(self, original_X)
        path = self.checkpoint_dir
        folder = None if path is None else MemoryFolder(Path(path))
        groups = None if groups is None else as_groups(groups)
        times = None if times is None else as_times(times)
        check_consistent_length(y, groups, times)
        memory = self._resumed_memory(folder, (X, texts, y, weight), (groups, times))
        split = self._split(X, y, (groups, times), memory)
        held_out, rows = split.held_out, split.trained_on(len(y))
        groups, times = (None if v is None else v[rows] for v in (groups, times))
        scoring = self._scoring(y[rows], split)
        problem = Problem(
            X=take(X, rows),
            y=y[rows],
            kind=kind_of(X),
            is_classification=is_classifier(self),
            folds=split.folds,
            scoring=scoring.scorer,
            sample_weight=None if weight is None else weight[rows],
            seed=memory.seed % 2**20,
            n_left_out=len(split.left_out),
            groups=groups,
        )
        self.findings_ = self._findings(problem, times, take(texts, rows))
        X, problem, memory = add_texts(self, (X, texts), problem, rows, memory, clock)
        final = problem.of_rows(X, y, weight, split.fitted_at_the_end(len(y)))
        with warnings.catch_warnings(action="ignore"):
            warnings.filterwarnings("always", NOT_STORED, StoreWarning)
            models = self._models(problem)
            memory = replace(memory.of(models), split=split)
            course = self._course(problem, final, clock, memory, folder)
            with closing(course.runner):
                course.run(models)
                # Save first: a second Ctrl-C must not lose the trials.
                course.runner.keep()
                course.runner.begin("ensemble")
                self._conclude(course, problem, scoring, (take(X, held_out), y[held_out]))
        self.seconds_ = clock.seconds
        self._memory = memory.for_later_fit() if self.warm_start else None
        return course.was_interrupted

    def _check(self) -> None:
        self._validate_params()
        name, families = type(self).__name__, self._families()
        if self.scoring is not None:
            checked_metric(self.scoring, f"The 'scoring' parameter of {name}")
        if self.time_budget is None and self.n_rounds is None:
            raise ValueError(
                f"{name} needs 'time_budget' or 'n_rounds'. Got None for both."
            )
        if not families or not set(families) <= set(_FAMILIES):
            raise ValueError(
                f"The 'models' parameter of {name} must be 'auto' or a list of "
                f"{list(_FAMILIES)}. Got {self.models!r} instead."
            )
        if self.use in _FAMILIES and self.use not in families:
            raise ValueError(
                f"The 'use' parameter of {name} must name a model that 'models' includes. "
                f"Got {self.use!r} with models={self.models!r}."
            )

    def _resumed_memory(
        self, folder: MemoryFolder | None, data: Sequence[Any], structure: Sequence[Any]
    ) -> Memory:
        """Return the memory of an earlier fit with the same requests, or an empty one."""
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        if folder is None and not self.warm_start:
            return Memory(seed=seed)
        memory: Memory | None = getattr(self, "_memory", None) if self.warm_start else None
        if folder is not None:
            memory = folder.load() or memory
        parts = ["" if v is None else data_description(v) for v in (*data, *structure)]
        requests = {
            "data": tuple(parts[: len(data)]),
            "scoring": (self.scoring, getattr(self, "positive", None)),
            # "auto" folds are kept: trials of different folds cannot be averaged.
            "folds": (self.cv, self.test_size, *parts[len(data) :]),
            "versions": tuple(map(package_version, ("sk-tune", "scikit-learn", "torch"))),
        }
        if memory is None:
            return Memory(seed=seed, requests=requests)
        for name, request in requests.items():
            earlier = memory.requests.get(name, ())
            if [*map(value_fingerprint, request)] != [*map(value_fingerprint, earlier)]:
                raise ValueError(
                    f"To continue an earlier fit, {type(self).__name__} must have the "
                    f"same {name}. Got different {name}: keep the data, 'scoring', "
                    "'positive', 'cv', 'test_size', groups and times of that fit, and the "
                    "versions of sk_tune, scikit-learn and torch, or start again with "
                    "warm_start=False and another 'checkpoint_dir'."
                )
        return memory

    def _families(self) -> Sequence[str]:
        return _FAMILIES if isinstance(self.models, str) else list(self.models)

    def _split(self, X: Any, y: Array, structure: Any, memory: Memory) -> Split:
        """Return the parts of the samples, as in an earlier fit that is resumed."""
        split = memory.split or split_rows(
            y,
            cv=self.cv,
            test_size=self.test_size,
            is_classification=is_classifier(self),
            is_r2=not is_classifier(self) and self.scoring in {None, "r2"},
            structure=structure,
            time_budget=self.time_budget,
            seed=memory.seed,
            row_size=int(np.prod(X.shape[1:])),
            is_table=kind_of(X) == "table",
        )
        self._is_held_out = split.is_held_out(len(y))
        if is_classifier(self):
            warn_of_rare_classes(np.delete(y, split.held_out))
        return split

    def _scoring(self, y: Array, split: Split) -> Scoring:
        """Return the metric, and store it for ``score``."""
        scoring = scoring_of(
            y,
            split.folds,
            scoring=self.scoring,
            positive=getattr(self, "positive", None),
            n_classes=len(self.classes_) if is_classifier(self) else None,
        )
        self.scoring_, self.scoring_reason_ = scoring.name, scoring.reason
        self._scorer = scoring.scorer
        return scoring

    def _threshold_choice(self, scoring: Scoring) -> ThresholdChoice:
        """Return the rule that makes labels from probabilities: the most probable class."""
        return ThresholdChoice()

    def _findings(
        self, problem: Problem, times: Any, texts: pd.DataFrame
    ) -> tuple[Finding, ...]:
        """Return findings about rows, without their `texts`; warn of serious leaks."""
        if not self.leak_guard:
            return ()
        with warnings.catch_warnings(action="ignore"):
            findings = guarded(problem, self.time_budget, times, texts)
        warn_of_leaks(findings)
        return findings

    def _course(
        self,
        problem: Problem,
        final: Problem,
        clock: Clock,
        memory: Memory,
        folder: MemoryFolder | None,
    ) -> ModelCourse:
        n_jobs, budget = self.n_jobs, self.time_budget
        if budget is not None and budget < _LEAST_FOR_WORKERS:
            n_jobs = 1
        line = AutoProgressLine() if self.verbose else None
        tell = self.verbose if callable(self.verbose) else line
        return ModelCourse(
            problem=problem,
            final=final,
            runner=Runner(
                clock,
                reserve_of(budget),
                tell,
                n_jobs,
                memory,
                folder,
                final.share_of_refit,
            ),
            n_rounds=self.n_rounds,
            sampler=self.sampler,
            follows_findings=self.diagnosis,
        )

    def _models(self, problem: Problem) -> list[Model]:
        """Return the models to train; only the dummy without usable columns."""
        models = [dummy_model(problem)]
        makers: dict[str, Callable[[Problem], list[Model]]]
        makers = {"boosting": boosting_models, "networks": network_models}
        makers["linear"] = lambda problem: [linear_model(problem)]
        # The family that suits the data better comes first.
        is_narrow = problem.kind == "table" and not problem.is_wide
        for family in _FAMILIES if is_narrow else ("linear", "networks", "boosting"):
            with suppress(TableError):
                if family in self._families():
                    models += makers[family](problem)
        # With little time, another package of boosting adds less than a network.
        return sorted(models, key=lambda model: model.is_packaged)

    def _conclude(
        self,
        course: ModelCourse,
        problem: Problem,
        scoring: Scoring,
        held_out: tuple[Any, Array],
    ) -> None:
        """Choose the members of the ensemble, and set scores and summary."""
        metric = scoring.metric
        trials, failures = course.memory.trials, course.runner.failures
        if not trials:
            if course.was_interrupted:
                raise KeyboardInterrupt
            reasons = "; ".join(f"{name}: {why}" for name, why in failures.items())
            raise SearchError(
                f"At least one model must have a score by {scoring.name!r} in each fold. "
                f"Got none. {reasons}"
            )
        chosen, of_networks = choose_with_networks(
            trials,
            problem,
            metric,
            others=course.memory.others,
            calibrate=getattr(self, "calibrate", False),
            seconds=None if self.time_budget is None else course.runner.reserve / 2,
            threshold=self._threshold_choice(scoring),
            costs=limited_costs(trials, problem, self.max_predict_ms, self.time_budget),
        )
        self._searches = dict(course.memory.searches)
        self._labels = {trial.name: trial.label for trial in trials}
        self._n_left_out = problem.n_left_out
        plans = blend_plans(trials, chosen, of_networks)
        set_aside = self._set_blends(course, plans, held_out)
        self.failures_ = dict(failures)
        singles = set().union(*(blend.singles for blend in self.blends_.values()))
        # Plain values, which skops can save.
        board = leaderboard(trials, chosen, of_networks, singles)
        self._leaderboard = board.to_dict(orient="tight")
        self.model_scores_ = {
            name: plan.scored(name, self.blends_[name], metric, set_aside.get(name))
            for name, plan in plans.items()
        }
        self.expected_score_ = self.model_scores_["ensemble"]
        self._set_scores(course, chosen, problem, scoring, set_aside.get("ensemble"))
        self.findings_ = (*self.findings_, *course.findings)
        self.changes_ = tuple(course.changes)
        self.n_trials_ = len(trials)
        self._effects, self.column_importance_reason_ = column_effects_of(
            self, chosen.of_folds(), problem, metric, course.runner.clock
        )

    def _set_scores(
        self,
        course: ModelCourse,
        chosen: Chosen,
        problem: Problem,
        scoring: Scoring,
        set_aside: SetAside | None,
    ) -> None:
        """Set the attributes on the quality of the ensemble, and the summary.

        `set_aside` are targets and predictions of rows set aside.
        """
        blend, classes = self.ensemble_, self.ensemble_.classes
        targets, predictions, part = chosen.held_out
        if classes is not None:
            # Rows set aside or left out may have all rows of a class.
            predictions = with_all_classes(predictions, np.unique(problem.y), classes)
        self.oof_predictions_ = predictions.astype("f8" if classes is None else "f4")
        decide = blend.threshold.decided
        self._quality = quality_of(targets, predictions, classes, set_aside, decide=decide)
        self.beats_baseline_ = self.model_scores_["ensemble"].beats_dummy
        members = list(dict.fromkeys(self.ensemble_.names))
        families = self.leaderboard_["family"]
        trained = {t.label for t in course.memory.trials if t.family != "dummy"}
        self.summary_ = summary(
            self.model_scores_,
            scoring,
            n_rows=len(targets),
            labels=problem.y if problem.is_classification else None,
            n_targets=1 if problem.y.ndim == 1 else problem.y.shape[1],
            is_constant=bool((targets == targets[0]).all()),
            members=members,
            has_networks=bool(families[members].isin(NETWORK_FAMILIES).any()),
            n_leaks=len(serious_leaks(self.findings_)),
            n_left_out=problem.n_left_out,
            shortage=shortage_text(self.time_budget, trained, course.late_models),
            intervals=intervals_text(targets, predictions, part, classes),
        )

    @property
    def column_importance_(self) -> pd.DataFrame | None:
        """Importance of the columns of a table, the most important first."""
        return None if self._effects is None else self._effects.table

    @property
    def leaderboard_(self) -> pd.DataFrame:
        """All models, the best first."""
        return pd.DataFrame.from_dict(self._leaderboard, orient="tight")

    @property
    def pareto_front_(self) -> pd.DataFrame:
        """Measured rows of `leaderboard_` that no row beats in score, time and size."""
        return pareto_front(self.leaderboard_)

    def _set_blends(
        self,
        course: ModelCourse,
        plans: Mapping[str, BlendPlan],
        held_out: tuple[Any, Array],
    ) -> dict[str, SetAside]:
        """Set the blends that `use` chooses from.

        Return targets and predictions of X and y set aside, by models not trained on them.
        """
        # In time order, models of earlier folds are trained on few rows, and old ones.
        how: dict[str, Any] = {"last_fold_only": course.problem.is_in_time_order}
        how["classes"] = getattr(self, "classes_", None)
        (X, y), set_aside = held_out, {}
        for name, plan in plans.items() if len(y) else ():
            predictions = plan.blend(**how).predict_proba(X)
            is_number = how["classes"] is None
            set_aside[name] = y, predictions.reshape(y.shape) if is_number else predictions
        refits = course.refits(members_in_order(plans))
        self.blends_: dict[str, Blend] = {
            name: plan.blend(**how, refits=refits) for name, plan in plans.items()
        }
        self.ensemble_ = self.blends_["ensemble"]
        return set_aside

    report = report

    def _report_page(self, X: Any, y: Any, *, extra_checks: Checks) -> Page:
        check_is_fitted(self)
        return auto_page(self, X=X, y=y, extra=extra_findings(self, extra_checks))

    def to_onnx(
        self, path: str | Path, *, progress: Callable[[str], None] | None = None
    ) -> dict[str, Any]:
        """Write the ensemble, or the model of `use`, as ONNX with its preprocessing.

        Parameters
        ----------
        path : str or Path
            File to write; an existing file is replaced when the new file is complete.
        progress : callable, default=None
            Called before writing each model, with a text such as "MLP 2, 5 folds".

        Returns
        -------
        dict
            "inputs" describes the columns of X, which is float64 with NaN for missing
            values.  Each has a "name" and a "kind"; a date has a "unit", and a category has
            "values", with positions as codes.  Any other code, such as -1, stands for
            categories unknown to ``fit``.  Images and sequences keep their shape, and
            "inputs" is empty.  "classes" are the labels in the order of the output;
            "members" have a "model", a "fold" and a "weight".  For two classes,
            "threshold" has the "class" that ``predict`` returns, and the least probability
            for it as "value".

        Raises
        ------
        TypeError
            If the dummy is the only model, or a step of a member has no ONNX equivalent.
        ValueError
            If the model of `use` was not trained.
        ImportError
            If onnx is not installed.
        """
        blend = self._used()
        details: dict[str, Any] = {"names": blend.names, "shape": self._row_shape}
        about = export_ensemble(blend.parts, path, progress=progress, **details)
        if len(about["classes"]) == 2:
            rule = self._threshold()
            positive = about["classes"][rule.column]
            about["threshold"] = {"class": positive, "value": float(rule.value)}
        return about

    def _used(self) -> Blend:
        check_is_fitted(self)
        if self.use in self.blends_:
            return self.blends_[self.use]
        raise ValueError(
            f"The 'use' parameter of {type(self).__name__} must be one of the trained "
            f"models, {list(self.blends_)}. Got {self.use!r} instead."
        )

    def _threshold(self) -> Threshold:
        """Return the rule for labels of the blend in use."""
        return self._used().threshold

    @property
    def _calibration(self) -> Calibration | None:
        return self._used().calibration

    def _combined(self, X: Any) -> Array:
        blend = self._used()
        X = as_features(self, X, reset=False, shape=self.input_shape)
        return blend.predict_proba(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.three_d_array = True
        tags.non_deterministic = self.time_budget is not None
        return tags


@parameters
class AutoRegressor(  # type: ignore[misc]
    ScoredByMetric, RegressorMixin, PredictsIntervals, CombinedRegressor, AutoEstimator
):
    """A regressor chosen and tuned within a time budget.

    {description}

    {parameters and attributes}

    See Also
    --------
    AutoClassifier : The same for classification.
    HyperbandSearchCV : The search of networks.

    {notes}

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sk_tune import AutoRegressor
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> auto = AutoRegressor(time_budget=None, n_rounds=0, random_state=0).fit(X, y)
    >>> auto.beats_baseline_, auto.predict(X[:2]).shape
    (True, (2,))
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
