# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The base of all searches: scikit-learn's ``fit``, with networks trained as fleets.

Each search derives from ``BaseSearch`` first and from a search of scikit-learn second.
scikit-learn's ``fit`` runs the search and passes tasks to joblib; a session receives them
and trains their networks together.  ``BaseSearch`` adds result columns and attributes, and
ends a search early on a time budget, Ctrl-C or a callback.
"""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from functools import cached_property, partial
from itertools import chain
from typing import Any, ClassVar, Self

import joblib
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.utils.validation import check_is_fitted

from sk_tune._adoption import FitRequested, adopter, adoption
from sk_tune._backend import Recorder, asking_nets
from sk_tune._compat import BaseSearchCV, get_active_backend, num_samples, weights_of_scorer
from sk_tune._declaration import Documented, parameters
from sk_tune._engine import Fit, FitStore, outside_blocks, train_one
from sk_tune._estimators import NetworkEstimator, as_sliceable, check_complete
from sk_tune._reporting import report
from sk_tune._schedule import Rung
from sk_tune._scores import ScoreEstimate, check_metric_names
from sk_tune._search._calibrated_search import CalibratedSearch
from sk_tune._search._choice import (
    ONE_STANDARD_ERROR,
    expected_score_of,
    near_best,
    pareto_front,
    top_rows,
    warn_of_unscored_rung,
)
from sk_tune._search._fold_fits import network_of
from sk_tune._search._outcomes import (
    last_rows,
    learning_curves,
    n_whole_rows,
    out_of_fold_predictions,
    search_ledger,
    with_reasons,
)
from sk_tune._search._rounds import Rounds
from sk_tune._search._search_parameters import SearchParameters
from sk_tune._search._search_plan import (
    SearchPlan,
    may_stop_early,
    mean_epochs,
    plan_in_time,
    planned_rounds,
    probe,
)
from sk_tune._search._search_session import SearchBackend, SearchCall, SearchSession
from sk_tune._search._shaped_rungs import shortfall, stopped_text
from sk_tune._search_record import (
    SearchRecord,
    deciding_metric,
    deciding_scorer,
    granted_resource,
    grants_epochs,
)
from sk_tune._space import Candidate
from sk_tune._training import TrainingState
from sk_tune._types import Array, Features
from sk_tune._warnings import one_warning_per_topic, warn_user
from sk_tune.exceptions import StoreWarning

# A network that trains on a fold in less time has such small layers that more threads do
# not help, and on busy cores even slow down training.
_SECONDS_IN_ONE_THREAD = 5.0


# Attributes that a search learns in addition to scikit-learn's.
_OWN_STATE = (
    *("_outcomes", "_n_rows", "_y", "_scored_by", "_groups", "_curves", "_calibration"),
    *("_expected", "_omitted", "best_epochs_", "models_", "ledger_", "cut_short_"),
)
# Attributes that scikit-learn sets after all candidates have scores.
_CHOSEN = ("best_index_", "best_score_", "best_params_", "best_estimator_", "refit_time_")


@parameters
class BaseSearch(  # type: ignore[misc]
    SearchParameters, CalibratedSearch, Documented, BaseSearchCV
):
    """Lets a search of scikit-learn train its networks as fleets.

    Attributes
    ----------
    cv_results_ : dict of str to ndarray
        As in scikit-learn.  The fit time of a network is its share of its fleet's training.
        A column "failure_reason" exists only if a candidate has no score.
    candidates_ : ndarray of shape (n_result_rows,)
        Candidate of each row of ``cv_results_``, numbered from 0.  With rungs, a candidate
        has a result row for each of its rungs.
    best_estimator_ : estimator
        Estimator with the best parameters, fitted on all samples.  Only available if
        `refit` is not False.
    best_params_ : dict
        Parameters of the best candidate.
    best_score_ : float
        Mean score of the best candidate over the folds.  The best of many scores is
        optimistic.
    expected_score_ : ScoreEstimate or None
        Expected score of the best candidate on new data, with an interval, for the metric
        that determines the best candidate.  It is computed on first access, by bootstrap
        bias-corrected cross-validation [Tsamardinos, Greasidou, Borboudakis 2018] on the
        out-of-fold predictions.  If ``fit`` gets `groups`, the bootstrap draws whole
        groups.  With ``select_epoch="best"`` and accuracy or R^2, it also corrects for the
        choice of the epoch, by the loss in score if the epoch for each fold is chosen on
        the other folds.  With other metrics, it remains slightly optimistic.  If repeated
        folds predict a sample several times, only the first prediction is used, because the
        mean would be the prediction of an ensemble.  None if `keep_predictions` is neither
        "auto" nor "all", or if no candidate has a score.  Also None for a metric that is
        not a function of targets and predictions, that needs decision functions (which are
        not kept), or that needs probabilities while a candidate has none.
    pooled_score_ : float or None
        Score of the best candidate, computed once on its out-of-fold predictions of all
        samples, for the same metric as `best_score_`.  For metrics that are not means over
        samples, such as ROC AUC and R^2, it differs from `best_score_`, the mean over
        folds.  It is just as optimistic.  None in the same cases as `expected_score_`, but
        it needs only the predictions of this candidate.
    pareto_front_ : DataFrame
        Rows of ``cv_results_`` that no other row beats in all metrics and in cost.  The
        index is the row number, best first.  The columns are params, mean_test_* of each
        metric, and the cost: n_weights, the number of weights of the network (including
        statistics of batch normalisation), or the measured mean_score_time for other
        estimators.  With rungs, only rows with the most resources are compared.
    best_index_ : int
        Row of the chosen candidate in ``cv_results_``.
    learning_curves_ : DataFrame
        Curves of all networks, with a row for each result_row (row of ``cv_results_``),
        fold and epoch (from 1).  The other columns are candidate (equal to result_row
        without rungs), train_loss, valid_loss, valid_score (accuracy or R^2), and with
        rungs iter and n_resources.  Losses are in nats per sample; those of regressors
        refer to targets in standard deviations (squared with the default loss).  Inside a
        TransformedTargetRegressor, losses and valid_score refer to the transformed targets.
    oof_predictions_ : ndarray of shape (n_result_rows, n_samples, ...)
        Out-of-fold probabilities or predictions of each sample, by row of ``cv_results_``,
        in their original dtype: float32 for most networks.  The last axis is missing for a
        regressor with one target.  NaN for candidates excluded by `keep_predictions`.
    held_out_rows_ : list of list of ndarray or None
        Positions of the scored samples by row of ``cv_results_`` and fold; None without
        predictions.
    best_epochs_ : dict of int to int
        Chosen epoch by row of ``cv_results_``.  Only available if
        `select_epoch` is "best".
    models_ : dict of int to list of estimators
        Estimators fitted in the folds, by row of ``cv_results_``; None for folds that
        failed or that the rung does not use.  Only available if `keep_models` is not None.
    ledger_ : Ledger
        Epochs and seconds spent and saved.
    cut_short_ : str
        Why the search ended early, in a sentence: `target_score`, `n_iter_no_change`, a
        callback, or the parts of the plan that `time_budget` left out (candidates,
        epochs of the best candidate, epochs of the refit).  Empty if the plan was
        completed.
    scorer_ : callable or dict
        Scorers of the search.
    n_splits_ : int
        Number of folds.
    refit_time_ : float
        Seconds of the refit.  Only available if `refit` is not False.
    multimetric_ : bool
        Whether there are several metrics.
    classes_ : ndarray of shape (n_classes,)
        Classes of ``best_estimator_``.  Only available for classifiers.
    n_features_in_ : int
        Number of features in ``fit``.  Only available if ``best_estimator_`` has it.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features.  Only available if ``best_estimator_`` has it.
    """

    # A parameter of the searches that have it in scikit-learn and scikit-optimize.
    pre_dispatch: ClassVar[int | str] = "2*n_jobs"

    # Quoted, because help() would print the alias of numpy in full.
    def fit(self, X: "Features", y: "ArrayLike | None" = None, **params: Any) -> Self:
        """Search for the best parameters, and fit the estimator with them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or dict of arrays
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Targets.
        **params : dict of str to object
            For ``fit`` of the estimator, the scorer and the splitter, as in
            scikit-learn's searches.

        Returns
        -------
        self
            The fitted search.

        Raises
        ------
        ValueError
            If a parameter is invalid, or all fits failed.
        KeyboardInterrupt
            On Ctrl-C, after refitting the best candidate so far, if there is one.

        Notes
        -----
        If the refit fails or is interrupted, the search keeps all results except
        ``best_estimator_``.  If all fits failed, it keeps the results of its candidates,
        such as the failure reasons, but is not fitted.
        """
        if isinstance(adopter(), Recorder):
            # A search trains its networks itself, so there are no fits to record.
            raise FitRequested
        X = as_sliceable(X)
        network = network_of(self.estimator)
        # Without a refit, samples outside of all folds need no target.
        if self.refit and isinstance(network, NetworkEstimator):
            check_complete(network, y)
        check_metric_names(
            self.scoring, f"The 'scoring' parameter of {type(self).__name__}"
        )
        for name in _OWN_STATE:
            self.__dict__.pop(name, None)
        if self.store is not None:
            with FitStore(self.store) as store:
                name = store.name
            if getattr(self, "random_state", 0) is None:
                warn_user(
                    "With random_state=None, each run draws different candidates and finds "
                    f"few of them in the store {name}. Set random_state to an integer.",
                    StoreWarning,
                )
        try:
            self._search(X, y, params)
        finally:
            for name in ("_call", "_select_best_index"):
                self.__dict__.pop(name, None)
            rounds = self.__dict__.pop("_rounds", None)
            if rounds is not None and rounds.session.line is not None:
                rounds.session.line.end()
        return self

    def _check_input_parameters(self, X: Any, y: Any, split_params: Any) -> None:
        super()._check_input_parameters(X, y, split_params)  # type: ignore[misc]
        if not self._checked_cv_orig.get_n_splits(X, y, **split_params):
            raise ValueError(
                "No fits were performed. Was the CV iterator empty? Were there no "
                "candidates? If an earlier fit has read the splits of an iterator, use "
                "list(cv)."
            )

    def _search(self, X: Any, y: Any, params: dict[str, Any]) -> None:
        """Call scikit-learn's ``fit``, whose joblib tasks go to a session."""
        start, closing = time.monotonic(), ExitStack()
        # A block of `fleet` does not affect the training of a search.
        with outside_blocks():
            ambient = get_active_backend()
        config = joblib.parallel_config(backend=SearchBackend(self))
        self._call = SearchCall(X, y, params, start, ambient, config, closing, self.verbose)
        with asking_nets(), config, adoption(self._trained_refit), self._adapted():
            try:
                with closing:
                    super().fit(X, y, **params)  # type: ignore[misc]
            except BaseException:
                rounds = self.__dict__.get("_rounds")
                if rounds is not None and rounds.session.is_over:
                    self._keep_without_refit(rounds)
                raise
        session = self._rounds.session
        self._keep(self._rounds)
        late = session.time.warn_if_cut(shortfall(self, self._rounds))
        self.cut_short_ = " ".join(filter(None, [stopped_text(self, self._rounds), late]))
        self._omitted = late, tuple(session.time.cut_epochs)
        if session.trainer.is_interrupted:
            raise KeyboardInterrupt

    def _trained_refit(
        self, estimator: Any, X: Any, y: Any, sample_weight: Any
    ) -> TrainingState | None:
        """Train the chosen network like its candidate; the refit adopts the training."""
        if estimator is not network_of(getattr(self, "best_estimator_", None)):
            return None
        session, row = self._rounds.session, self.best_index_
        n_epochs = session.time.cut_epochs.get(row, session.best_epoch(row))
        if not isinstance(estimator, NetworkEstimator) and n_epochs is None:
            # skorch trains its own nets, unless they must end at a chosen epoch.
            return None
        network = clone(estimator)
        resource = session.options.resource
        if resource is not None and resource in self.best_params_:
            n_epochs = n_epochs or int(self.best_params_[resource])
            network.set_params(max_epochs=session.options.max_resources)
        seconds = max((outcome.seconds for outcome in session.outcomes[row]), default=0.0)
        if n_epochs is None and seconds > _SECONDS_IN_ONE_THREAD:
            return None
        fit = Fit(
            estimator=network, X=X, y=y, sample_weight=sample_weight, n_epochs=n_epochs
        )
        with adoption(None):
            trained = train_one(fit)
        if trained.is_cut and trained.state is not None:
            n_requested = n_epochs or network.max_epochs
            session.time.note_cut_refit(len(trained.state.history), n_requested)
        # Without a state, the refit trains the network alone, which raises the error.
        return trained.state

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether a fit of a candidate succeeded."""
        folds = vars(self).get("_outcomes", [])
        return any(not outcome.reason for of_row in folds for outcome in of_row)

    def results_so_far(self) -> tuple[Mapping[str, Any], pd.DataFrame]:
        """Return the results of a search, even while it runs; for callbacks.

        Returns
        -------
        results : mapping
            As ``cv_results_``, of the candidates evaluated so far; empty before the first.
        curves : DataFrame
            As ``learning_curves_``.
        """
        rounds = self.__dict__.get("_rounds")
        if rounds is None:
            return getattr(self, "cv_results_", {}), self.learning_curves_
        outcomes = rounds.session.outcomes[: rounds.n_candidates]
        results = with_reasons(rounds.results, outcomes, self.refit)
        return results, learning_curves(outcomes, results, rounds.session.candidates)

    @contextmanager
    def _adapted(self) -> Iterator[None]:
        """Hide a callable `verbose` and a network's lack of callbacks from scikit-learn."""
        network, verbose = network_of(self.estimator), self.verbose
        if callable(verbose):
            # scikit-learn compares `verbose` with numbers.
            self.verbose = 0
        with ExitStack() as stack:
            stack.enter_context(one_warning_per_topic())
            if network is not None and getattr(self, "_skl_callbacks", None):
                # The search itself calls the callbacks for the network's fits.
                stack.enter_context(warnings.catch_warnings())
                name = type(network).__name__
                message = f"The estimator {name} does not support callbacks"
                warnings.filterwarnings("ignore", message)
            try:
                yield
            finally:
                self.verbose = verbose

    def plan(
        self, X: "Features | None" = None, y: "ArrayLike | None" = None, **params: Any
    ) -> SearchPlan:
        """Return the plan of ``fit``.

        Parameters
        ----------
        X, y : array-like, default=None
            Data for estimates of time and memory.  A few candidates train for a few epochs,
            for at most ten seconds unless a single fit on few samples takes longer.
        **params : dict of str to object
            As in ``fit``, for example ``groups``.

        Returns
        -------
        SearchPlan
            Rounds with candidates, resources, fits and epochs; with data also seconds and
            bytes.  If networks may stop early, epochs and seconds are upper bounds.  If the
            search would exceed `time_budget`, only the rounds that are
            expected to end in time.  It prints as a table, and in notebooks as well.

        Raises
        ------
        ValueError
            If parameters, the space or the resources are invalid, or if `cv` can be read
            only once and ``fit`` could not read it after ``plan``.
        """
        self._validate_params()
        if isinstance(self.cv, Iterator):
            raise ValueError(
                "The 'cv' parameter must not be an iterator for a plan, because the plan "
                f"would leave no folds for fit. Got {self.cv!r} instead: use list(cv)."
            )
        if X is None and getattr(self, "resource", "") == "n_samples":
            raise ValueError("A plan of resource='n_samples' needs X and y.")
        X = as_sliceable(X)
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        of_split = self._get_routed_params_for_fit(params).splitter.split
        checked = copy(self)
        checked._checked_cv_orig = cv
        checked._check_input_parameters(X, y, of_split)
        n_samples = 0 if X is None else num_samples(X)
        plan = checked._plan(int(cv.get_n_splits(X, y, **of_split)), n_samples)
        if X is None:
            return plan
        plan = probe(self, (X, y, params), cv, cv.split(X, y, **of_split), plan)
        refits = self.refit is not False
        return plan_in_time(plan, self.time_budget, checked._n_promoted, refits=refits)

    def _n_promoted(self, n_candidates: int, before: Rung, after: Rung) -> int:
        return n_candidates

    def _plan(self, n_folds: int, n_samples: int) -> SearchPlan:
        """Return the plan of a checked search on `n_folds` folds, without times."""
        n_train = n_samples - n_samples // n_folds
        max_epochs = mean_epochs(self, n_train)
        of_epochs = grants_epochs(granted_resource(self))
        rounds = [
            planned_rounds(
                rungs,
                n_folds=n_folds,
                epochs_per_fit=None if of_epochs else max_epochs,
                goes_on=self._goes_on_in_rungs(),
                bracket=bracket,
            )
            for bracket, rungs in self._planned_rungs(round(max_epochs))
        ]
        return SearchPlan(
            rounds=tuple(chain.from_iterable(rounds)),
            resource=getattr(self, "resource", "epochs"),
            n_folds=n_folds,
            is_asynchronous=getattr(self, "asynchronous", False),
            stops_early=may_stop_early(self, n_train),
        )

    def _planned_rungs(
        self, max_epochs: int
    ) -> Iterable[tuple[int | None, Sequence[Rung]]]:
        """Return brackets and their rungs; by default one rung of all candidates."""
        n_candidates = self._n_candidates_planned()
        return [(None, [Rung(n_candidates=n_candidates, n_resources=max_epochs)])]

    def _goes_on_in_rungs(self) -> bool:
        """Return whether promoted networks continue; plain skorch nets start again."""
        return isinstance(network_of(self.estimator), NetworkEstimator)

    def _trial(self, estimator: Any, candidates: Sequence[Candidate]) -> "_Trial":
        return _Trial(
            estimator,
            candidates=candidates,
            scoring=self.scoring,
            n_jobs=self.n_jobs,
            refit=False,
            cv=self.cv,
            keep_predictions=None,
        )

    def __getstate__(self) -> dict[str, Any]:
        # Leave out the state of a running fit, and tables that can be computed again.
        state: dict[str, Any] = super().__getstate__()  # type: ignore[misc]
        left_out = {"_call", "_rounds", "_curves", "_calibration"}
        return {n: v for n, v in state.items() if n not in left_out}

    def _run_search(self, evaluate_candidates: Any, *, callback_ctx: Any = None) -> None:
        self._run_rounds(evaluate_candidates, partial(self._propose, context=callback_ctx))

    def _run_rounds(
        self, evaluate_candidates: Any, propose: Callable[[Rounds], None]
    ) -> None:
        session = SearchSession(self, self._call)
        self._rounds = rounds = Rounds(evaluate_candidates, self, session)
        with session.trainer.interruptible():
            propose(rounds)
        for name in _CHOSEN:
            self.__dict__.pop(name, None)
        session.end_search(rounds.n_candidates)
        if self.refit == ONE_STANDARD_ERROR:
            # scikit-learn would otherwise call the static method of the class.
            rule = partial(near_best, self._level, session.outcomes)
            self.__dict__["_select_best_index"] = rule

    # Whether a plan has forecast the memory.
    _is_planned: ClassVar[bool] = False
    # Column of ``cv_results_`` with the rungs; the best candidate is on the highest.
    _level: ClassVar[str | None] = None

    def _propose(self, rounds: Rounds, context: Any) -> None:
        """Evaluate the candidates of the strategy; scikit-learn's if not overridden."""
        super()._run_search(rounds.evaluate, callback_ctx=context)  # type: ignore[misc]

    def _format_results(self, *args: Any) -> dict[str, Any]:
        return self._rounds.columns.format(super()._format_results, *args)  # type: ignore[misc]

    def _keep_without_refit(self, rounds: Rounds) -> None:
        self.__dict__.pop("best_estimator_", None)
        scorers, _ = self._get_scorers()
        self.scorer_ = getattr(scorers, "_scorers", scorers)
        self.cv_results_ = rounds.results
        self._keep(rounds)

    def _keep(self, rounds: Rounds) -> None:
        """Copy the results from the session to attributes of the search."""
        session, call = rounds.session, rounds.session.call
        self._outcomes = session.outcomes
        self._n_rows = num_samples(call.X)
        targets = None if call.y is None else np.asarray(call.y)
        if targets is not None and targets.shape[1:] == (1,) and is_classifier(self):
            # scikit-learn's classifiers accept labels with shape (n, 1).
            targets = targets.ravel()
        self._y = targets
        routed = self._get_routed_params_for_fit(call.params)
        self._groups = routed.splitter.split.get("groups")
        self._is_weighted = any(
            name.endswith("sample_weight") and values is not None
            for name, values in routed.estimator.fit.items()
        )
        score_params = routed.scorer.score
        weight = score_params.get("sample_weight")
        if isinstance(self.scorer_, dict):
            weight = weights_of_scorer(deciding_scorer(self)[0], score_params)
        # Sample weights of the deciding metric.
        self._scored_by = None if weight is None else np.asarray(weight)
        seconds = {
            "refit": getattr(self, "refit_time_", 0.0),
            "total": time.monotonic() - call.start,
        }
        results = self.__dict__["cv_results_"]
        n_rows = n_whole_rows(results)
        results = {name: column[:n_rows] for name, column in results.items()}
        del session.outcomes[n_rows:]
        self.candidates_ = np.array(session.candidates[:n_rows], dtype=np.int64)
        self.ledger_ = search_ledger(
            session.outcomes,
            n_folds=self.n_splits_,
            max_epochs=session.options.max_resources or None,
            # In each bracket the first rung is 0; without rungs all candidates start.
            starts=[rung == 0 for rung in results.get("iter", [0] * n_rows)],
            n_epochs_left_out=rounds.n_epochs_left_out,
            seconds={**session.seconds, **seconds},
        )
        if self.select_epoch == "best":
            chosen = {row: session.best_epoch(row) for row in range(n_rows)}
            self.best_epochs_ = {row: n for row, n in chosen.items() if n is not None}
        if self.keep_models is not None:
            models = session.models.items()
            self.models_ = {row: estimators for row, estimators in models if row < n_rows}
        self.cv_results_ = with_reasons(results, session.outcomes, self.refit)
        best = vars(self).get("best_index_")
        warn_of_unscored_rung(self.cv_results_, self._level, best)

    @property
    def learning_curves_(self) -> pd.DataFrame:
        """Curves of all networks, one row per result row, fold and epoch."""
        check_is_fitted(self, "_outcomes")
        return self._curves.copy()

    @cached_property
    def _curves(self) -> pd.DataFrame:
        # Cached, because a diagnosis reads the curves of each candidate.
        return learning_curves(self._outcomes, self.cv_results_, self.candidates_)

    @property
    def oof_predictions_(self) -> Array:
        """Out-of-fold predictions of each result row for each sample."""
        check_is_fitted(self, "_outcomes")
        return out_of_fold_predictions(self._outcomes, self._n_rows, self._labels())

    @property
    def held_out_rows_(self) -> list[list[Array | None]]:
        """Positions of the scored samples of each candidate, by fold."""
        check_is_fitted(self, "_outcomes")
        return [
            [None if outcome.held is None else outcome.held.rows for outcome in folds]
            for folds in self._outcomes
        ]

    @property
    def expected_score_(self) -> ScoreEstimate | None:
        """Expected score of the best candidate on new data, with its interval."""
        check_is_fitted(self, "_outcomes")
        return self._expected if self.keep_predictions in {"all", "auto"} else None

    @cached_property
    def _expected(self) -> ScoreEstimate | None:
        # Cached, because some metrics take many seconds, and a report reads it repeatedly.
        # Only a `GuidedSearch` can have outcomes of an earlier search.
        earlier = vars(self).get("_earlier_outcomes", ())
        return expected_score_of(self, earlier=earlier, groups=vars(self).get("_groups"))

    @property
    def pooled_score_(self) -> float | None:
        """Score of the best candidate's out-of-fold predictions of all samples together."""
        check_is_fitted(self, "_outcomes")
        if "best_index_" not in vars(self):
            return None
        alone = expected_score_of(self, rows=[self.best_index_], n_bootstraps=1)
        return None if alone is None or np.isnan(score := alone.naive_score) else score

    @property
    def pareto_front_(self) -> pd.DataFrame:
        """Result rows that no other row beats in all metrics and in cost."""
        check_is_fitted(self, "_outcomes")
        rows = top_rows(self.cv_results_, deciding_metric(self), self._level)
        return pareto_front(self.cv_results_, rows, self._outcomes)

    @property
    def _search_record(self) -> SearchRecord:
        check_is_fitted(self, "_outcomes")
        scales = ([f.inputs for f in folds if f.inputs] for folds in self._outcomes)
        omitted, cut_rows = vars(self).get("_omitted", ("", ()))
        return SearchRecord(
            n_rows=self._n_rows,
            y=self._y,
            groups=vars(self).get("_groups"),
            last_rows=last_rows(self.candidates_, self.cv_results_.get("failure_reason")),
            resource=granted_resource(self),
            inputs=tuple(next(iter(of_row), None) for of_row in scales),
            rows_by_fold=self._rows_by_fold(),
            omitted=omitted,
            cut_rows=cut_rows,
            is_weighted=vars(self).get("_is_weighted", False),
        )

    report = report

    def _labels(self) -> Array | None:
        """Return the classes, if each sample has one label."""
        if not is_classifier(self) or self._y is None or self._y.ndim != 1:
            return None
        return np.unique(self._y)


@parameters
class _Trial(BaseSearch):
    """A search over given candidates, for a plan."""

    candidates: Sequence[Candidate]
    _is_planned = True

    def _propose(self, rounds: Rounds, context: Any) -> None:
        rounds.evaluate(self.candidates)
