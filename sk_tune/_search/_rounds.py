# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The rounds of a search: all use the same folds, and they end when the time is up."""

import difflib
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.utils import indexable

from sk_tune._compat import FoldTask, SubsampledSplits, method_params
from sk_tune._declaration import name_hint
from sk_tune._estimators import NetworkEstimator, resolve_device
from sk_tune._schedule import Rung
from sk_tune._search._choice import StopRule
from sk_tune._search._fold_fits import name_in_network, network_of
from sk_tune._search._network_training import FoldTraining
from sk_tune._search._outcomes import FoldOutcome, best_first, guiding_scores, n_whole_rows
from sk_tune._search._result_columns import NOT_FINITE, ResultColumns
from sk_tune._search._search_plan import FixedFolds
from sk_tune._search._search_session import SearchSession
from sk_tune._search._shaped_rungs import Ladder, was_left_out
from sk_tune._search_record import granted_resource, grants_epochs, resources_text
from sk_tune._space import Candidate
from sk_tune._text import nearest
from sk_tune.exceptions import SpaceError

_N_NEAR = 3  # Similar names in a message.
# Number of networks' candidates in a round.  Together they take little longer than one
# alone, and learning after every eighth candidate is nearly as good as after each.
_N_NETWORKS_AT_ONCE = 8


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
    step, _, last = name.rpartition("__")
    owner = params.get(step) if step else estimator
    # Names with the same ending lack a step or have a wrong one; others may be misspelt.
    suggestions = [each for each in params if each.rpartition("__")[2] == last]
    if not suggestions:
        endings = nearest(last, {each.rpartition("__")[2] for each in params})
        # The full name ranks the names with such an ending.
        ends = [each for each in params if each.rpartition("__")[2] in endings]
        suggestions = difflib.get_close_matches(name, ends, n=_N_NEAR, cutoff=0.0)
    nearest_names = " or ".join(map(repr, suggestions[:_N_NEAR]))
    advice = f" Did you mean {nearest_names}?" if suggestions else ""
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


Numbered = tuple[int, Candidate]


class Rounds:
    """Evaluates candidates in calls of scikit-learn's ``evaluate_candidates``.

    `folds` is the search's splitter with fixed folds.
    `n_epochs_left_out` counts the epochs that unfinished candidates lack.
    """

    def __init__(
        self,
        evaluate_candidates: Callable[..., dict[str, Any]],
        search: Any,
        session: SearchSession,
    ) -> None:
        self._evaluate_candidates = evaluate_candidates
        self._search = search
        self.session = session
        self._budget = session.time
        self.folds = FixedFolds(search._checked_cv_orig)
        self._first_of_call = self._n_numbered = 0
        self.columns = ResultColumns()
        self.was_stopped = False
        # Whether a callback ended the search, or the search of a part of the space.
        self.has_ended_by_callback = False
        self.stop_rule = StopRule(search)
        self.n_epochs_left_out = 0
        # Whether the time budget left out all candidates of the latest rung.
        self.lost_all = False

    @property
    def results(self) -> Mapping[str, Any]:
        return self.columns.results

    @property
    def n_candidates(self) -> int:
        return n_whole_rows(self.results)

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """The mean scores that guide the search; NaN for failures."""
        return guiding_scores(self.results, self._search.refit)

    @property
    def _has_failures(self) -> bool:
        return bool(self.n_candidates and np.isnan(self.scores).any())

    @property
    def is_over(self) -> bool:
        is_stopped = self.was_stopped or bool(self.stop_rule.reason)
        return is_stopped or self.session.trainer.is_interrupted or self._budget.is_late

    def stop(self) -> None:
        """End the search after the present candidates, on Ctrl-C or if the time is up."""
        self.was_stopped = True
        if not self.session.trainer.is_interrupted:
            self._budget.shorten()

    def numbered(self, candidates: Iterable[Candidate]) -> list[Numbered]:
        """Return new candidates with numbers; a candidate keeps its number in all rungs."""
        first = self._n_numbered
        pairs = list(enumerate(candidates, first))
        self._n_numbered += len(pairs)
        return pairs

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
        """Report a part of the search to scikit-learn's callbacks, which may end it."""
        subcontext = context.subcontext(
            task_name=name,
            task_id=task_id,
            max_subtasks=n_subtasks,
            sequential_subtasks=is_sequential,
        ).call_on_fit_task_begin(estimator=self._search)
        yield subcontext
        if subcontext.call_on_fit_task_end(estimator=self._search):
            self.was_stopped = self.has_ended_by_callback = True

    def ladder(self, rungs: Sequence[Rung]) -> Ladder:
        """Return the rungs of a bracket for `evaluate_rung`."""
        of_epochs = self.session.options.resource is not None
        return Ladder(
            rungs,
            self._search._n_promoted,
            self._budget,
            goes_on=of_epochs and self._search._goes_on_in_rungs(),
            can_lower=not self.n_full(rungs[-1].n_resources),
            refit_grows=of_epochs or network_of(self._search.estimator) is None,
            n_splits=self._search.n_splits_,
        )

    def can_start(self, ladder: Ladder) -> bool:
        """Return whether to start another bracket: there is time, and no plateau."""
        self.stop_rule.note_plateau()
        if self.stop_rule.reason:
            return False
        self.was_stopped = not ladder.can_start()
        if self.was_stopped:
            self._budget.shorten()
        return not self.was_stopped

    def n_full(self, n_resources: int) -> int:
        """Return the number of candidates with a score after all resources."""
        if "n_resources" not in self.results:
            return 0
        has_all = np.asarray(self.results["n_resources"]) >= n_resources
        rows = np.flatnonzero(has_all & ~np.isnan(self.scores))
        return len(set(rows.tolist()).difference(self._budget.cut_epochs))

    def in_time(
        self, candidates: Sequence[Numbered], ladder: Ladder, position: int
    ) -> Sequence[Numbered]:
        """Return the first promoted candidates that have time for a rung."""
        n = ladder.begin(position, len(candidates)) if candidates else 0
        if position and n < len(candidates):
            n_epochs = self.n_epochs_left([], self._granted(ladder, position - 1))
            self.leave_out((len(candidates) - n) * n_epochs)
        return candidates[:n]

    def _granted(self, ladder: Ladder, position: int) -> list[int]:
        """Return the resources of a candidate on each fold after a rung."""
        n_splits = self._search.n_splits_
        if position < 0:
            return [0] * n_splits
        rung = ladder.rungs[position]
        n_folds = rung.folds_of(n_splits)
        return [rung.n_resources] * n_folds + [0] * (n_splits - n_folds)

    def leave_out(self, n_epochs: int) -> None:
        self.n_epochs_left_out += n_epochs

    def evaluate_rung(
        self,
        candidates: Sequence[Numbered],
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
        n_before, n = self.n_candidates, len(candidates)
        self.session.trainer.keep_only({number for number, _ in candidates})
        splitter = self.folds
        if resource == "n_samples":
            splitter = SubsampledSplits(
                base_cv=self.folds,
                fraction=n_resources / search._n_samples_orig,
                subsample_test=True,
                random_state=search.random_state,
            )
        else:
            granted = {resource: n_resources}
            candidates = [(k, {**params, **granted}) for k, params in candidates]
        columns |= {"iter": position, "n_resources": n_resources}
        # The best candidate gets the rest of the time for the last rung.
        is_last = position == len(ladder.rungs) - 1
        is_best = ladder.is_needed and position > 0 and is_last and n == 1
        n_epochs_before = ladder.rungs[position - 1].n_resources if is_best else None
        more_results = {column: [value] * n for column, value in columns.items()}
        with (
            self._budget.finishing(n_epochs_before),
            self.task(context, name, n * search.n_splits_, is_sequential=False) as rung,
        ):
            self._evaluate_parts(candidates, splitter, more_results, rung, ladder, position)
        self._end_rung(ladder, position, n_before, n)
        return self.scores[n_before:]

    def _end_rung(
        self, ladder: Ladder, position: int, n_before: int, n_candidates: int
    ) -> None:
        """Count the epochs of candidates without results; shape the rungs above."""
        budget, outcomes = self._budget, self.session.outcomes
        rows = range(n_before, self.n_candidates)
        done = [row for row in rows if not was_left_out(outcomes[row])]
        is_last = position == len(ladder.rungs) - 1
        self.lost_all = not done and position > 0 and not is_last and budget.is_late
        is_rung_late = budget.is_late and not is_last and not budget.cut_epochs
        if is_rung_late and (done or self.lost_all):
            # The time of this rung is up, but the best candidate may continue.
            budget.give_rung_up()
        ladder.end(position, len(done), n_candidates)
        granted_before = self._granted(ladder, position - 1)
        left_out = [row for row in rows if row not in done][self.lost_all :]
        if is_last or (self.is_over and len(done) < n_candidates):
            left_out += done
        elif self.is_over:
            best = best_first(self.scores[n_before:])[: ladder.n_promoted(position)]
            left_out += [n_before + row for row in best]
        for row in left_out:
            self.leave_out(self.n_epochs_left(outcomes[row], granted_before))
        n_missing = n_candidates - len(rows)
        self.leave_out(n_missing * self.n_epochs_left([], granted_before))

    def n_epochs_left(self, folds: Sequence[FoldOutcome], before: Sequence[int]) -> int:
        """Return the epochs that a candidate lacks on all folds; 0 if it never started."""
        granted = list(before)
        for fold, outcome in enumerate(folds):
            granted[fold] = outcome.n_reached or granted[fold]
        if self.session.options.resource is None or not any(granted):
            return 0
        return int(len(granted) * self.session.options.max_resources - sum(granted))

    def evaluate(
        self,
        candidate_params: Sequence[Candidate],
        cv: Any = None,
        more_results: Mapping[str, Sequence[Any]] | None = None,
        callback_ctx: Any = None,
    ) -> Mapping[str, Any]:
        """Evaluate candidates unless the time is up, and return all results so far.

        The parameters are scikit-learn's; the folds of another splitter `cv` are drawn
        once for these candidates.
        """
        numbered = self.numbered(candidate_params)
        self._evaluate_parts(numbered, cv, more_results or {}, callback_ctx)
        return self.results

    def _evaluate_parts(
        self,
        candidates: Sequence[Numbered],
        cv: Any,
        more_results: Mapping[str, Sequence[Any]],
        callback_ctx: Any,
        ladder: Ladder | None = None,
        position: int = 0,
    ) -> None:
        """Evaluate candidates, in parts if time is short; with a `ladder`, those of a rung.

        `more_results` are further columns of ``cv_results_`` with a value per candidate.
        """
        search, budget = self._search, self._budget
        self._check([params for _, params in candidates])
        self._first_of_call = self.n_candidates
        folds = self.folds if cv is None or cv is self.folds else FixedFolds(cv)
        for part in self._parts(len(candidates), ladder, position):
            more = {n: list(v)[part] for n, v in more_results.items()}
            n_before = self.n_candidates
            units = 1 if ladder is None else ladder.units()[position]
            began = time.monotonic() - budget.seconds_measuring
            with ExitStack() as stack:
                context = callback_ctx
                is_divided = self._n_in_call(len(candidates)) < len(candidates)
                is_divided |= budget.is_limited or self.stop_rule.is_active
                if context is not None and is_divided:
                    # Each part of a divided call is a task of callbacks.
                    n_tasks = (part.stop - part.start) * search.n_splits_
                    task_id = None if context.sequential_subtasks else part.start
                    context = stack.enter_context(
                        self.task(
                            context, "part", n_tasks, is_sequential=False, task_id=task_id
                        )
                    )
                self._evaluate(candidates[part], folds, more, context)
            seconds = time.monotonic() - budget.seconds_measuring - began
            outcomes = self.session.outcomes[n_before : self.n_candidates]
            is_whole = not (budget.cut_epochs or any(map(was_left_out, outcomes)))
            if outcomes and is_whole:
                budget.times.note(units, seconds, outcomes)
            if self.is_over:
                break

    def _check(self, candidates: Sequence[Candidate]) -> None:
        """Refuse unknown parameters, and a device that this machine lacks."""
        estimator = self._search.estimator
        _check_names(estimator, candidates)
        network, device = network_of(estimator), name_in_network(estimator, "device")
        if self.session.stays_here and isinstance(network, NetworkEstimator) and device:
            # A candidate may set another device or another network.
            device_names = {device, device.rpartition("__")[0], "steps"}
            if not any(device_names.intersection(params) for params in candidates):
                resolve_device(network)

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
        call = self.session.call
        X, y = indexable(call.X, call.y)
        params = method_params(X, params=call.params)
        return X, y, self._search._get_routed_params_for_fit(params)

    def add(
        self,
        candidates: Sequence[Numbered],
        trainings: Sequence[Sequence[FoldTraining]],
        more_results: Mapping[str, Sequence[Any]],
        callback_ctx: Any,
    ) -> list[float]:
        """Evaluate trained candidates, even after the end of the time; return scores."""
        ahead = {
            (k, training.request.task.fold): training
            for k, folds in enumerate(trainings)
            for training in folds
        }
        self._evaluate(candidates, self.folds, more_results, callback_ctx, ahead)
        return [float(score) for score in self.scores[-len(candidates) :]]

    def tell(
        self, tell: Callable[..., object], candidates: Sequence[Candidate], *given: int
    ) -> None:
        """Report scores to a sampler, except of candidates left out by Ctrl-C or time."""
        scores = self.scores[self._first_of_call :]
        outcomes = self.session.outcomes[self._first_of_call :]
        reported = [k for k in range(len(scores)) if not was_left_out(outcomes[k])]
        with self.session.timed("sampling"):
            tell([candidates[k] for k in reported], scores[reported], *given)

    def _evaluate(
        self,
        candidates: Sequence[Numbered],
        folds: Any,
        more: Mapping[str, Any],
        context: Any,
        ahead: Mapping[tuple[int, int], FoldTraining] = MappingProxyType({}),
    ) -> None:
        session, n_splits = self.session, self._search.n_splits_
        numbers, params = zip(*candidates, strict=True) if candidates else ((), ())
        n_new = sum(rung == 0 for rung in more.get("iter", [0] * len(candidates)))
        n_folds = more.get("n_folds", [n_splits] * len(candidates))
        # One warning per search, not one for each round after a failure.
        is_quiet = "n_folds" in more or bool(ahead) or self._has_failures
        with session.round(numbers, n_new, ahead, n_folds), warnings.catch_warnings():
            if is_quiet and not self.columns.are_appended:
                warnings.filterwarnings("ignore", NOT_FINITE)
            self.columns.results = self._evaluate_candidates(
                params, cv=folds, more_results=more or None, callback_ctx=context
            )
        session.add_unknown(self.n_candidates, n_splits)
        scores, level = self.scores, self._search._level
        self.stop_rule.note(self.results, len(scores) - len(candidates))
        best = best_first(scores, level and self.results[level])
        if best:
            # For an estimator that is not a network, fits show the time of the refit.
            row, seconds = best[0], 0.0
            if "mean_fit_time" in self.results and "std_fit_time" in self.results:
                seconds = self.results["mean_fit_time"][row]
                seconds += self.results["std_fit_time"][row]
            growth = n_splits / max(1, n_splits - 1)
            units = self.results["n_resources"][row] if level else 0
            session.measure_refit(row, float(growth * seconds), units)
        session.end_round(len(candidates), len(scores), best, self._best_text())

    def _best_text(self) -> str:
        """Return the best score of the highest rung in words, "" without scores."""
        resources = self.results["n_resources"] if self._search._level else None
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

    def _n_in_call(self, n_candidates: int) -> int:
        """Return the number of candidates of a call, at most as many as fit in memory."""
        most = self.session.options.n_at_once
        return n_candidates if most is None else min(n_candidates, most)

    def n_at_once(self) -> int:
        """Return the number of candidates after which scores can guide the search."""
        if network_of(self._search.estimator) is not None:
            return _N_NETWORKS_AT_ONCE
        return max(1, self.session.n_workers())

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
        """Divide candidates into calls, as large as memory and the time budget allow."""
        budget, done = self._budget, 0
        most = max(1, self._n_in_call(n_candidates))
        if ladder is None and self.stop_rule.is_active:
            most = min(most, self.n_at_once())
        if not budget.is_limited:
            for done in range(0, n_candidates, most):
                yield slice(done, min(done + most, n_candidates))
            return
        while done < n_candidates:
            # The first candidate alone, to estimate the time of all.
            size = 1
            if self.session.has_complete_candidate and budget.times.n_calls:
                if ladder is None:
                    size = budget.n_in_time()
                    self.was_stopped = not size
                else:
                    size = ladder.part(position, done, n_candidates, self._slowness())
                    budget.leave(seconds=ladder.seconds_of_best(position))
            if not size:
                budget.shorten()
                return
            size = min(size, most)
            yield slice(done, min(done + size, n_candidates))
            done += size
