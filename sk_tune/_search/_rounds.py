# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The rounds of a search: the same folds in all of them, and an end when the time is up."""

import difflib
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn
from sklearn.base import clone
from sklearn.utils import indexable

from sk_tune._compat import BaseSearchCV, FoldTask, SubsampledSplits, method_params
from sk_tune._declaration import name_hint
from sk_tune._estimators import NetworkEstimator, resolve_device
from sk_tune._schedule import Rung
from sk_tune._search._fold_fits import name_in_network, network_of
from sk_tune._search._outcomes import (
    CandidateNumbers,
    FoldOutcome,
    Work,
    best_first,
    guiding_scores,
    n_whole_rows,
)
from sk_tune._search._search_plan import FixedFolds
from sk_tune._search._search_session import SearchSession
from sk_tune._search._shaped_rungs import Ladder, was_left_out
from sk_tune._search_record import (
    NOT_TRAINED,
    granted_resource,
    grants_epochs,
    resources_text,
)
from sk_tune._space import Candidate
from sk_tune._text import nearest
from sk_tune._warnings import warn_user
from sk_tune.exceptions import ReleaseWarning, SpaceError

_N_NEAR = 3  # Names that a message offers.


def _check_names(estimator: Any, candidates: Iterable[Mapping[str, Any]]) -> None:
    """Refuse candidates with parameters that the estimator does not accept.

    Raises SpaceError with the parameter and similar names. Only ``set_params`` is a valid
    test: a skorch net takes ``module__*`` that ``get_params`` does not list, and a step
    that replaces another has other parameters.
    """
    names = set(estimator.get_params(deep=True))
    for params in candidates:
        unknown = sorted(set(params) - names)
        if not unknown:
            continue
        try:
            clone(estimator).set_params(**clone(dict(params), safe=False))
        except (ValueError, AttributeError) as error:
            for name in unknown:
                try:
                    clone(estimator).set_params(**{name: params[name]})
                except (ValueError, AttributeError):
                    # AttributeError comes from a step that is not an estimator.
                    raise SpaceError(_message(estimator, name)) from error
            raise
        names.update(unknown)


def _message(estimator: Any, name: str) -> str:
    params = estimator.get_params(deep=True)
    names = list(params)
    step, _, last = name.rpartition("__")
    owner = params.get(step) if step else estimator
    # Names with the same ending lack a step or have a wrong one; others may be misspelt.
    suggestions = [each for each in names if each.rpartition("__")[2] == last]
    if not suggestions:
        endings = nearest(last, {each.rpartition("__")[2] for each in names})
        # The full name ranks the names with such an ending.
        ends = [each for each in names if each.rpartition("__")[2] in endings]
        suggestions = difflib.get_close_matches(name, ends, n=_N_NEAR, cutoff=0.0)
    advice = (
        f" Did you mean {' or '.join(map(repr, suggestions[:_N_NEAR]))}?"
        if suggestions
        else ""
    )
    advice = name_hint(type(owner), last, ()) or advice
    return (
        f"The space must name parameters of the {type(estimator).__name__}. Got {name!r} "
        f"instead.{advice} Its get_params() lists all."
    )


def refuse_searched(resource: str, searched: Iterable[str]) -> None:
    if resource != "n_samples" and resource in searched:
        raise ValueError(
            f"Cannot use parameter {resource} as the resource since it is part of "
            "the searched parameters."
        )


def smallest_samples(n_folds: int, n_classes: int) -> int:
    """Return the least samples of a rung: enough samples of each class in the folds.

    `n_classes` is 1 unless the estimator is a classifier.
    """
    # Two samples of each class in each fold, as in scikit-learn.
    return 2 * n_folds * n_classes


def best_of_most(refit: Any, refit_metric: str, results: Mapping[str, Any]) -> int:
    """Return the best scored result row with the most resources, for scikit-learn.

    In one bracket these are the candidates of the last rung.  A callable `refit` has its
    own choice.
    """
    if callable(refit):
        return int(BaseSearchCV._select_best_index(refit, refit_metric, results))
    level = results["n_resources" if "bracket" in results else "iter"]
    rows = best_first(guiding_scores(results, refit_metric), level)
    return rows[0] if rows else int(np.argmax(level))


class Rounds:
    """Evaluates candidates in calls of scikit-learn's ``evaluate_candidates``.

    `folds` is the search's splitter with fixed folds; `results` are ``cv_results_`` so far.
    A strategy with rungs sets `level` to the column in which the best candidate has the
    largest value.
    """

    def __init__(
        self, evaluate_candidates: Callable[..., Mapping[str, Any]], search: Any
    ) -> None:
        self._evaluate_candidates = evaluate_candidates
        self._search = search
        self._session: SearchSession = search._session
        self._budget = self._session.time
        self.folds = FixedFolds(search._checked_cv_orig)
        self.numbers = CandidateNumbers(granted_resource(search))
        self.level: str | None = None
        self._first_of_call = 0
        self.results: Mapping[str, Any] = {}
        self.was_stopped = False
        # Whether the time budget left out all candidates of the latest rung.
        self.lost_all = False

    @property
    def n_candidates(self) -> int:
        return n_whole_rows(self.results)

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """The mean scores that guide the search; NaN for failures."""
        return guiding_scores(self.results, self._search.refit)

    @property
    def is_over(self) -> bool:
        return (
            self.was_stopped or self._session.trainer.is_interrupted or self._budget.is_late
        )

    @contextmanager
    def task(
        self,
        context: Any,
        name: str,
        n_subtasks: int | None,
        *,
        is_sequential: bool = True,
        task_id: int | None = None,
    ) -> Iterator[Any]:
        """Report a part of the search to scikit-learn's callbacks, which may end it.

        `n_subtasks` is the number of its parts, None if unknown.
        """
        subcontext = context.subcontext(
            task_name=name,
            task_id=task_id,
            max_subtasks=n_subtasks,
            sequential_subtasks=is_sequential,
        ).call_on_fit_task_begin(estimator=self._search)
        yield subcontext
        if subcontext.call_on_fit_task_end(estimator=self._search):
            self.was_stopped = True

    def ladder(self, rungs: Sequence[Rung]) -> Ladder:
        """Return the rungs of a bracket for `evaluate_rung`."""
        of_epochs = self._session.options.resource is not None
        is_network = network_of(self._search.estimator) is not None
        return Ladder(
            rungs,
            self._search._n_promoted,
            self._budget,
            goes_on=of_epochs and self._search._goes_on_in_rungs(),
            can_cut=of_epochs and self._search._goes_on_in_rungs(),
            can_lower=not self.n_full(rungs[-1].n_resources),
            refit_grows=of_epochs or not is_network,
        )

    def can_start(self, ladder: Ladder) -> bool:
        """Return whether there is time to start another bracket and to finish it."""
        self.was_stopped = not ladder.can_start()
        self._budget.is_shortened |= self.was_stopped
        return not self.was_stopped

    def n_full(self, n_resources: int) -> int:
        """Return the number of candidates with a score after all resources."""
        if "n_resources" not in self.results:
            return 0
        has_all = np.asarray(self.results["n_resources"]) >= n_resources
        rows = np.flatnonzero(has_all & ~np.isnan(self.scores))
        return len(set(rows.tolist()).difference(self._budget.cut_epochs))

    def in_time(
        self, candidates: Sequence[Candidate], ladder: Ladder, position: int
    ) -> Sequence[Candidate]:
        """Return the first promoted candidates that have time for a rung."""
        n = ladder.begin(position, len(candidates)) if candidates else 0
        if position and n < len(candidates):
            n_epochs = self.n_epochs_left([], ladder.rungs[position - 1].n_resources)
            self._session.n_epochs_left_out += (len(candidates) - n) * n_epochs
        return candidates[:n]

    def evaluate_rung(
        self,
        candidates: Sequence[Candidate],
        ladder: Ladder,
        position: int,
        context: Any,
        name: str,
        **columns: int,
    ) -> npt.NDArray[np.float64]:
        """Evaluate candidates with the resources of a rung, and return their scores.

        `name` is the name of the rung for callbacks, `columns` are further columns of
        ``cv_results_`` with one value for the rung.
        """
        search = self._search
        resource: Any = granted_resource(search)
        n_resources = int(ladder.rungs[position].n_resources)
        n_before = self.n_candidates
        splitter = self.folds
        if resource == "n_samples":
            splitter = SubsampledSplits(
                base_cv=self.folds,
                fraction=n_resources / search._n_samples_orig,
                subsample_test=True,
                random_state=search.random_state,
            )
        else:
            candidates = [{**params, resource: n_resources} for params in candidates]
        columns |= {"iter": position, "n_resources": n_resources}
        n_tasks = len(candidates) * search.n_splits_
        self._budget.finishing_from = self._finishing_from(ladder, position, candidates)
        with self.task(context, name, n_tasks, is_sequential=False) as rung_context:
            self.evaluate(
                candidates,
                splitter,
                more_results={n: [value] * len(candidates) for n, value in columns.items()},
                callback_ctx=rung_context,
                ladder=ladder,
                position=position,
            )
        self._budget.finishing_from, self._budget.seconds_reserved = None, 0.0
        self._end_rung(ladder, position, n_before, len(candidates))
        return self.scores[n_before:]

    def _finishing_from(
        self, ladder: Ladder, position: int, candidates: Sequence[Candidate]
    ) -> int | None:
        """Return the epochs of the best candidate if it gets the rest of the time."""
        is_last = position == len(ladder.rungs) - 1
        if not (ladder.is_needed and position and is_last and len(candidates) == 1):
            return None
        return ladder.rungs[position - 1].n_resources

    def _end_rung(
        self, ladder: Ladder, position: int, n_before: int, n_candidates: int
    ) -> None:
        """Count the epochs of candidates without results; shape the rungs above."""
        budget, outcomes = self._budget, self._session.outcomes
        rows = range(n_before, self.n_candidates)
        done = [row for row in rows if not was_left_out(outcomes[row])]
        is_last = position == len(ladder.rungs) - 1
        self.lost_all = not done and position > 0 and not is_last and budget.is_late
        if budget.is_late and not is_last and not budget.cut_epochs:
            # The time of this rung is up, but the best candidate may continue.
            budget.is_late = not (done or self.lost_all)
        ladder.end(position, len(done), n_candidates)
        n_resources_before = ladder.rungs[position - 1].n_resources if position else 0
        left_out = [row for row in rows if row not in done][self.lost_all :]
        if is_last or (self.is_over and len(done) < n_candidates):
            left_out += done
        elif self.is_over:
            best = best_first(self.scores[n_before:])[: ladder.n_promoted(position)]
            left_out += [n_before + row for row in best]
        n_epochs = sum(
            self.n_epochs_left(outcomes[row], n_resources_before) for row in left_out
        )
        if n_resources_before:
            n_missing = n_candidates - len(rows)
            n_epochs += n_missing * self.n_epochs_left([], n_resources_before)
        self._session.n_epochs_left_out += n_epochs

    def n_epochs_left(self, folds: Sequence[FoldOutcome], before: int) -> int:
        """Return the epochs that a candidate lacks on all folds; 0 if it has none."""
        options, n_splits = self._session.options, self._search.n_splits_
        granted = [outcome.n_granted or before for outcome in folds]
        granted += [before] * (n_splits - len(granted))
        if options.resource is None or not any(granted):
            return 0
        return int(n_splits * options.max_resources - sum(granted))

    def evaluate(
        self,
        candidate_params: Sequence[Candidate],
        cv: Any = None,
        more_results: Mapping[str, Sequence[Any]] | None = None,
        callback_ctx: Any = None,
        ladder: Ladder | None = None,
        position: int = 0,
    ) -> Mapping[str, Any]:
        """Evaluate candidates unless the time is up, and return all results so far.

        The folds of another splitter `cv` are drawn once for these candidates.
        `more_results` are further columns of ``cv_results_`` with a value per candidate;
        the candidates belong to a rung if there is a `ladder`.
        """
        search, candidates = self._search, list(candidate_params)
        _check_names(search.estimator, candidates)
        network = network_of(search.estimator)
        device = name_in_network(search.estimator, "device")
        if self._session.stays_here and isinstance(network, NetworkEstimator) and device:
            # A candidate may set another device or another network.
            device_names = {device, device.rpartition("__")[0], "steps"}
            if not any(device_names.intersection(params) for params in candidates):
                resolve_device(network)
        self._first_of_call = self.n_candidates
        folds = self.folds if cv is None or cv is self.folds else FixedFolds(cv)
        for part in self._parts(len(candidates), ladder, position):
            part_candidates = candidates[part]
            more = {n: list(v)[part] for n, v in (more_results or {}).items()}
            n_before, units = (
                self.n_candidates,
                1 if ladder is None else ladder.units()[position],
            )
            began = time.monotonic() - self._budget.seconds_measuring
            with ExitStack() as stack:
                context = callback_ctx
                if context is not None and self._budget.is_limited:
                    # Each part of a divided call is a task of callbacks.
                    n_tasks = len(part_candidates) * search.n_splits_
                    task_id = None if context.sequential_subtasks else part.start
                    context = stack.enter_context(
                        self.task(
                            context, "part", n_tasks, is_sequential=False, task_id=task_id
                        )
                    )
                self._evaluate(part_candidates, folds, more, context)
            seconds = time.monotonic() - self._budget.seconds_measuring - began
            outcomes = self._session.outcomes[n_before : self.n_candidates]
            is_whole = not (self._budget.cut_epochs or any(map(was_left_out, outcomes)))
            if outcomes and is_whole:
                self._budget.times.note(units, seconds, outcomes)
            if self.is_over:
                break
        return self.results

    def tasks(self, candidate: Candidate) -> list[FoldTask]:
        """Return the tasks of a candidate's folds, equal to scikit-learn's tasks."""
        _check_names(self._search.estimator, [candidate])
        X, y, routed = self._data
        folds = list(self.folds.split(X, y, **routed.splitter.split))
        if len(folds) != self._search.n_splits_:
            raise ValueError(
                "cv.split and cv.get_n_splits return inconsistent results. Expected "
                f"{self._search.n_splits_} splits, got {len(folds)}"
            )
        return [
            FoldTask(
                estimator=self._search.estimator,
                X=X,
                y=y,
                train=train,
                test=test,
                parameters=candidate,
                fit_params=routed.estimator.fit,
                score_params=routed.scorer.score,
                candidate=0,
                fold=fold,
            )
            for fold, (train, test) in enumerate(folds)
        ]

    @cached_property
    def _data(self) -> tuple[Any, Any, Any]:
        """X, y and the routed parameters of ``fit``, as scikit-learn prepares them."""
        X, y, params = self._session.data
        X, y = indexable(X, y)
        params = method_params(X, params=params)
        return X, y, self._search._get_routed_params_for_fit(params)

    def add(
        self,
        candidates: Sequence[Candidate],
        works: Sequence[Sequence[Work]],
        more_results: Mapping[str, Sequence[Any]],
        callback_ctx: Any,
    ) -> list[float]:
        """Evaluate trained candidates, even after the end of the time; return scores.

        `works` are their folds, `more_results` further columns of ``cv_results_``.
        """
        self._session.ahead = {
            (k, work.task.fold): work
            for k, of_candidate in enumerate(works)
            for work in of_candidate
        }
        try:
            with warnings.catch_warnings():
                # One warning at the end of the search counts all failures.
                warnings.filterwarnings("ignore", "One or more of the .* non-finite")
                numbers = [of_candidate[0].candidate for of_candidate in works]
                self._evaluate(candidates, self.folds, more_results, callback_ctx, numbers)
        finally:
            self._session.ahead = {}
        return [float(score) for score in self.scores[-len(candidates) :]]

    def tell(
        self, tell: Callable[..., object], candidates: Sequence[Candidate], *given: int
    ) -> None:
        """Report the scores of the last call to a sampler, with their resources.

        Candidates left out because of Ctrl-C or the time are not failures.
        """
        scores = self.scores[self._first_of_call :]
        outcomes = self._session.outcomes[self._first_of_call :]
        reported = [
            k
            for k in range(len(scores))
            if not any(outcome.reason in NOT_TRAINED for outcome in outcomes[k])
        ]
        with self._session.timed("sampling"):
            tell([candidates[k] for k in reported], scores[reported], *given)

    def _evaluate(
        self,
        candidates: Sequence[Candidate],
        folds: Any,
        more: Mapping[str, Any],
        context: Any,
        numbers: Sequence[int] | None = None,
    ) -> None:
        zeros = [0] * len(candidates)
        rungs, brackets = more.get("iter", zeros), more.get("bracket", zeros)
        if numbers is None:
            numbers = list(map(self.numbers.of, candidates, rungs, brackets))
        n_new = sum(rung == 0 for rung in rungs)
        self._session.begin_round(numbers, n_new)
        with self._session.quiet:
            self.results = self._evaluate_candidates(
                candidates, cv=folds, more_results=more or None, callback_ctx=context
            )
        outcomes, n_splits = self._session.outcomes, self._search.n_splits_
        n_unknown = self.n_candidates - len(outcomes)
        # joblib has already run tasks of an unknown form.
        if n_unknown > 0 and not outcomes:
            warn_user(
                "This sk_tune does not know how the searches of scikit-learn "
                f"{sklearn.__version__} fit candidates, so that networks train one by "
                "one, without curves. Update sk_tune.",
                ReleaseWarning,
            )
        outcomes += [[FoldOutcome()] * n_splits for _ in range(n_unknown)]
        scores = self.scores
        best = best_first(scores, self.level and self.results[self.level])
        if best:
            # The refit of an estimator that is not a network is estimated by its fits.
            row, seconds = best[0], 0.0
            if "mean_fit_time" in self.results and "std_fit_time" in self.results:
                seconds = self.results["mean_fit_time"][row]
                seconds += self.results["std_fit_time"][row]
            growth = n_splits / max(1, n_splits - 1)
            units = self.results["n_resources"][row] if self.level else 0
            self._session.measure_refit(row, float(growth * seconds), units)
        self._session.end_round(len(candidates), scores, best, self._best_text())

    def _best_text(self) -> str:
        """Return the best score of the highest rung in words, "" without scores."""
        resources = self.results["n_resources"] if self.level else None
        rows = best_first(self.scores, resources)
        if not rows:
            return ""
        text = f"best score {self.scores[rows[0]]:.4g}"
        if resources is None:
            return text
        resource = granted_resource(self._search)
        n_resources = self._budget.cut_epochs.get(rows[0], int(resources[rows[0]]))
        preposition = "after" if grants_epochs(resource) else "with"
        return f"{text} {preposition} {resources_text(resource, n_resources)}"

    def _slowness(self) -> float:
        """Return the fit time of the best candidate of this rung divided by the mean."""
        best = best_first(self.scores[self._first_of_call :])
        seconds = np.asarray(self.results.get("mean_fit_time", ()))[self._first_of_call :]
        if not best or not np.nanmean(seconds) > 0:
            return 1.0
        return max(1.0, float(seconds[best[0]] / np.nanmean(seconds)))

    def _parts(
        self, n_candidates: int, ladder: Ladder | None, position: int
    ) -> Iterator[slice]:
        """Divide candidates into calls, as large as the time budget allows."""
        if not self._budget.is_limited or not n_candidates:
            yield slice(0, n_candidates)
            return
        done = 0
        while done < n_candidates:
            # The first candidate alone, to estimate the time of all.
            size = 1
            if self._session.has_complete_candidate and self._budget.times.n_calls:
                if ladder is None:
                    size = self._budget.n_in_time()
                    self.was_stopped = not size
                else:
                    ladder.slowness = self._slowness()
                    size = ladder.part(position, done, n_candidates)
                    self._budget.seconds_reserved = ladder.seconds_of_best(position)
            if not size:
                self._budget.is_shortened = True
                return
            yield slice(done, min(done + size, n_candidates))
            done += size
