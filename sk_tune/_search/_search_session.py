# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The session between scikit-learn's ``evaluate_candidates`` and its results.

scikit-learn passes the tasks of a round, candidates x folds, to joblib and so to the
session.  The engine trains all of their networks in one call, with the held-out fold as
monitor.  Then the session runs each task, in which the network adopts its training.  Tasks
without a network run as usual.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import joblib
import numpy as np
import pandas as pd
import sklearn
from sklearn.base import is_classifier

from sk_tune._backend import CollectingBackend, Job
from sk_tune._compat import FoldTask, fold_task, num_samples, warn_or_raise_about_failures
from sk_tune._engine import FitStream, Progress, have_to_start
from sk_tune._estimators import n_bytes
from sk_tune._search._fold_fits import FoldRequest, network_of
from sk_tune._search._memory_forecast import (
    MOST_BYTES_OF_PREDICTIONS,
    REMEDY,
    expected_peak,
    takes_folds_in_turn,
)
from sk_tune._search._network_training import FoldTraining, Trainer
from sk_tune._search._outcomes import (
    FoldOutcome,
    SearchOptions,
    count_texts,
    fit_name,
    without_values,
)
from sk_tune._search._search_plan import SearchLine
from sk_tune._search._task_runs import Scored, TaskRunner
from sk_tune._search._time_budget import TimeBudget
from sk_tune._search_record import INTERRUPTED, LEFT_OUT, granted_resource, grants_epochs
from sk_tune._text import counted
from sk_tune._training import LARGE_SAMPLES, report_memory
from sk_tune._warnings import warn_trained_alone, warn_user
from sk_tune.exceptions import ReleaseWarning, SkTuneWarning

# With less time than this, a stream does not wait for workers to start.
_SECONDS_FOR_STREAM = 30.0


def is_complete(folds: Sequence[FoldOutcome]) -> bool:
    """Return whether a candidate has results, all of them without an error."""
    return bool(folds) and not any(outcome.reason for outcome in folds)


@dataclass(frozen=True, slots=True, eq=False)
class SearchCall:
    """One call of a search's ``fit``: its data, and joblib's settings around it.

    `params` are the parameters besides X and y, `start` is its start by ``time.monotonic``.
    `ambient` is joblib's backend and number of workers outside of the search, `config`
    makes joblib pass its tasks to the session. `closing` is closed after the refit.
    `verbose` may be a callable, which is hidden from scikit-learn.
    """

    X: Any
    y: Any
    params: Mapping[str, Any]
    start: float
    ambient: tuple[Any, Any]
    config: Any
    closing: ExitStack
    verbose: Any


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """A task of joblib, and the result row of its candidate."""

    job: Job
    task: FoldTask
    row: int


class SearchSession:
    """Trains and evaluates the candidates of one search.

    `outcomes` are by result row and fold, `models` the fitted estimators of the folds by
    result row, `candidates` the numbers of candidates by result row. `seconds` are the
    times of the parts of the search. `is_over` says that all candidates have results, so
    that they may be kept if the refit fails.
    """

    def __init__(self, search: Any, call: SearchCall) -> None:
        self.call = call
        # Other backends than joblib's own may use other machines, with other devices.
        self.stays_here = type(call.ambient[0]).__module__ == "joblib._parallel_backends"
        self.line: SearchLine | None = None
        is_forecast = n_bytes(call.X) >= LARGE_SAMPLES and not search._is_planned
        if search.verbose == 1 or is_forecast:
            plan = search._plan(search.n_splits_, num_samples(call.X))
        # If verbose is more than 1, scikit-learn prints lines for every fit itself.
        refits = search.refit is not False
        if search.verbose == 1:
            self.line = SearchLine(plan, refits=refits, time_budget=search.time_budget)
        listener = call.verbose if callable(call.verbose) else self.line
        self.options = _options_of(search, call, listener)
        n_steps = 2 if search.select_epoch == "best" else 1
        self.time = TimeBudget(
            search.time_budget, call.start, refits=refits, n_steps=n_steps
        )
        self.trainer = Trainer(call.ambient, self.options)
        if is_forecast:
            need = expected_peak(search, call.X, call.y, plan, n_workers=self.n_workers())
            report_memory("The search", need, prints=call.verbose == 1, remedy=REMEDY)
        self.outcomes: list[list[FoldOutcome]] = []
        self.candidates: list[int] = []
        self.models: dict[int, list[Any]] = {}
        self.seconds: dict[str, float] = {}
        self.is_over = False
        self._runner = TaskRunner(self.trainer, self.options, self.time)
        self._skipped = SkippedResults(search)
        self._n_rows_done = 0
        self._is_streaming = False
        # Trainings that ended before their evaluation, by candidate and fold of the call.
        self._ahead: Mapping[tuple[int, int], FoldTraining] = {}
        self._n_folds: Sequence[int] = ()
        # Hides warnings about omitted candidates during one call of scikit-learn.
        self._quiet = ExitStack()

    def run(self, jobs: Sequence[Job]) -> None:
        """Run the tasks of a round, in the order of scikit-learn."""
        places: list[_Place] = []
        unused: list[_Place] = []
        for job in jobs:
            task = fold_task(job.task)
            if task is None:
                # A transformer or splitter passed this task to joblib, not the search.
                job.run()
                continue
            is_used = task.fold < self._n_folds[task.candidate]
            row = self._n_rows_done + task.candidate
            (places if is_used else unused).append(_Place(job, task, row))
        if not (places or unused):
            return
        n_rows = 1 + max(place.row for place in (*places, *unused))
        self.outcomes += [[] for _ in range(len(self.outcomes), n_rows)]
        scored: dict[int, Scored] = {}
        if not self.trainer.is_interrupted and (self._ahead or not self.time.is_late):
            with self.trainer.interruptible(), self.time.until_late():
                self._evaluate(places, scored)
        if self.trainer.is_interrupted or self.time.is_late:
            self._leave_out(places, scored)
        for position, place in enumerate(places):
            if position in scored:
                self._note(place, *scored[position])
        for place in unused:
            self._note_unused(place)
        if not self._is_streaming:
            self.trainer.maker.end_round()

    def _note_unused(self, place: _Place) -> None:
        """End a task of a fold that the rung does not use."""
        place.job.end(result=[self._skipped.unscored()])
        self.outcomes[place.row].append(FoldOutcome(is_planned=False))
        if self.options.n_models_kept != 0:
            self.models[place.row].append(None)

    @contextmanager
    def streaming(self, expected: Sequence[int]) -> Iterator[FitStream]:
        """Train candidates in a block, in workers that do not wait for each other."""
        with ExitStack() as stack:
            with self.trainer.outside():
                n_jobs = self.options.search.n_jobs
                # On a busy machine, starting workers would use up a short time.
                is_short = self.time.left < _SECONDS_FOR_STREAM and have_to_start(n_jobs)
                stream = FitStream(
                    n_jobs=1 if is_short else n_jobs,
                    progress=self.options.progress,
                    expected=expected,
                    store=self.options.search.store,
                )
                stack.enter_context(stream)
            self._is_streaming = True
            stack.callback(setattr, self, "_is_streaming", False)
            stack.callback(self.trainer.maker.end_round)
            yield stream

    @contextmanager
    def round(
        self,
        candidates: Sequence[int],
        n_new: int,
        ahead: Mapping[tuple[int, int], FoldTraining],
        n_folds: Sequence[int],
    ) -> Iterator[None]:
        """Evaluate `candidates` in a block; `n_new` of them were on no earlier rung.

        `ahead` are trainings that have already ended, by candidate and fold of the call;
        `n_folds` is the number of folds of each candidate.
        """
        self.candidates += candidates
        self._ahead, self._n_folds = ahead, n_folds
        if self.line is not None:
            self.line.begin_round(n_new, is_streaming=self._is_streaming)
        with self._quiet:
            yield
        self._ahead = {}

    def add_unknown(self, n_rows: int, n_folds: int) -> None:
        """Add empty outcomes for tasks of an unknown form, after joblib has run them."""
        n_unknown = n_rows - len(self.outcomes)
        if n_unknown > 0 and not self.outcomes:
            warn_user(
                "This version of sk_tune does not support the searches of scikit-learn "
                f"{sklearn.__version__}: networks train one by one, without curves. "
                "Update sk_tune.",
                ReleaseWarning,
            )
        self.outcomes += [[FoldOutcome()] * n_folds for _ in range(n_unknown)]

    def end_round(
        self, n_candidates: int, n_rows: int, best: Sequence[int], best_text: str
    ) -> None:
        """Update the progress line, and drop models and predictions that are not kept.

        `best` are the result rows with a score, of `n_rows` so far, best first; `best_text`
        is the best score in words.
        """
        self._n_rows_done += n_candidates
        if self.line is not None:
            self.line.end_round(n_candidates, best_text)
        n_kept = self.options.n_models_kept
        if n_kept is not None and len(self.models) > n_kept:
            retained = [row for row in best if row in self.models][:n_kept]
            self.models = {row: self.models[row] for row in sorted(retained)}
        with self.timed("scoring"):
            for models in self.models.values():
                models[:] = [m() if isinstance(m, partial) else m for m in models]
        n_kept = self.options.n_predictions_kept
        if n_kept is not None and n_rows > n_kept:
            for row in set(range(n_rows)).difference(best[:n_kept]):
                self.outcomes[row] = [without_values(o) for o in self.outcomes[row]]

    def end_search(self, n_candidates: int) -> None:
        """Report failures and prepare the refit; raise an error if there are no results."""
        if self.trainer.is_interrupted:
            # The candidates of the last round may lack results.
            if not any(map(is_complete, self.outcomes[:n_candidates])):
                raise KeyboardInterrupt
        else:
            warn_trained_alone(count_texts(self.outcomes, "alone_reason"))
            for remark, n in count_texts(self.outcomes, "remark").items():
                warn_user(f"{counted(n, 'fit')} {remark}.", SkTuneWarning)
            failures = [
                # Without the fit's name, equal reasons are counted together.
                {"fit_error": o.reason.removeprefix(f"{fit_name(number, fold)}: ") or None}
                for number, folds in zip(self.candidates, self.outcomes, strict=False)
                for fold, o in enumerate(folds)
                if o.is_planned and not o.was_stopped
            ]
            # If all fits failed, the next call raises; `diagnose` can still read the
            # results.
            self.is_over = len(failures) > 0 and all(f["fit_error"] for f in failures)
            warn_or_raise_about_failures(failures, self.options.search.error_score)
        self.call.config.unregister()
        self.is_over = True
        if self.line is not None:
            self.line.begin_refit()
        self.time.limit_refit(self.call.closing)

    @property
    def has_complete_candidate(self) -> bool:
        """Whether at least one candidate has a result on every fold of its rung."""
        return any(map(is_complete, self.outcomes))

    def best_epoch(self, row: int) -> int | None:
        """Return the best epoch of a result row's mean curve, if it was requested."""
        folds = self.outcomes[row] if row < len(self.outcomes) else ()
        return next((o.best_epoch for o in folds if o.best_epoch is not None), None)

    def n_workers(self) -> int:
        backend, n_jobs = self.call.ambient
        with joblib.parallel_config(backend=backend, n_jobs=n_jobs):
            return int(joblib.effective_n_jobs(self.options.search.n_jobs))

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[what] = self.seconds.get(what, 0.0) + spent

    def _evaluate(self, places: Sequence[_Place], scored: dict[int, Scored]) -> None:
        """Run tasks until Ctrl-C, or an error that joblib has to raise.

        Behind the transformers of a pipeline each fold has a copy of X. If X is large, the
        folds are trained one after another, so that only one copy exists at a time.
        """
        if not places:
            return
        task = places[0].task
        in_turn = takes_folds_in_turn(self.options.search, task.X)
        if not in_turn or self._ahead:
            self._evaluate_at(range(len(places)), places, scored)
            return
        for fold in sorted({place.task.fold for place in places}):
            if not self.trainer.is_interrupted:
                positions = [n for n, p in enumerate(places) if p.task.fold == fold]
                self._evaluate_at(positions, places, scored)
                self.trainer.maker.end_fold()

    def _evaluate_at(
        self, positions: Sequence[int], places: Sequence[_Place], scored: dict[int, Scored]
    ) -> None:
        is_first = not self.has_complete_candidate
        is_needed = is_first or self.time.reserve.finishing_from is not None
        part = [places[n] for n in positions]
        trained = self._train(part, is_first=is_first, is_needed=is_needed)
        trainings = dict(zip(positions, trained, strict=True))
        with self.timed("scoring"):
            for n, training in trainings.items():
                if training.trained is not None:
                    with self.time.task("scoring", is_needed=is_needed):
                        scored[n] = self._runner.run_trained(
                            places[n].job, training, training.trained
                        )
        without_request = [n for n, t in trainings.items() if t.request.fit is None]
        if self.trainer.is_interrupted or self.time.is_late or not without_request:
            return
        with self.timed("training"):
            # While a stream uses the backend's workers, other calls must not.
            results = self._runner.run_others(
                [(places[n].job, trainings[n].request) for n in without_request],
                is_first=is_first,
                stays_here=self._is_streaming,
            )
            # Results before an interruption count.
            scored.update(zip(without_request, results, strict=True))
        if is_first:
            self.time.note_unstoppable()

    def _train(
        self, places: Sequence[_Place], *, is_first: bool, is_needed: bool
    ) -> Sequence[FoldTraining]:
        """Return the trainings of tasks, which a stream may have trained in advance."""
        rows = [place.row for place in places]
        if self._ahead:
            trainings = []
            for place in places:
                training = self._ahead[place.task.candidate, place.task.fold]
                # The network of scikit-learn's task adopts the training.
                request = replace(training.request, task=place.task)
                trainings.append(replace(training, request=request))
            if is_first:
                self._measure_first(rows, trainings)
            self.time.note(zip(rows, trainings, strict=True))
            return trainings
        requests: list[FoldRequest] = []
        with self.timed("preparing"), self.trainer.maker.sharing_folds():
            for place in places:
                with self.time.task("preparing", is_needed=is_needed):
                    number = self.candidates[place.row]
                    requests.append(self.trainer.request(place.task, number))
        if is_first:
            self._measure_first(rows, [FoldTraining(request) for request in requests])
        n_before = self.time.reserve.finishing_from or 0
        limit = partial(
            self.time.limit, len(places), is_needed=is_needed, n_epochs_before=n_before
        )
        with self.timed("training"):
            trainings = self.trainer.train(requests, limit)
        trainings = self.time.in_time(trainings, is_needed=is_needed)
        self.time.note(zip(rows, trainings, strict=True))
        return trainings

    def _measure_first(
        self, rows: Sequence[int], trainings: Sequence[FoldTraining]
    ) -> None:
        """Measure the time of a refit before the first candidate is trained."""
        self.time.note(zip(rows, trainings, strict=True))
        networks = (row for row, t in zip(rows, trainings, strict=True) if t.request.fit)
        if (row := next(networks, None)) is not None:
            self.measure_refit(row)

    def measure_refit(self, row: int, seconds_of_fit: float = 0.0, units: int = 0) -> None:
        with self.trainer.outside():
            self.time.measure_refit(row, self.best_epoch(row), seconds_of_fit, units)

    def _leave_out(self, places: Sequence[_Place], scored: dict[int, Scored]) -> None:
        """End the tasks that Ctrl-C or the time budget interrupted."""
        for position in scored:
            self._skipped.remember(places[position].job.result[0])
        reason = INTERRUPTED if self.trainer.is_interrupted else LEFT_OUT
        for position in set(range(len(places))).difference(scored):
            if self._skipped.example is None:
                raise KeyboardInterrupt
            places[position].job.end(result=[self._skipped.unscored()])
            scored[position] = FoldOutcome(reason=reason), None
        if not self.trainer.is_interrupted:
            # One warning at the end of the search reports missing scores.
            self._quiet.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", "One or more of the .* non-finite")

    def _note(self, place: _Place, outcome: FoldOutcome, model: Any) -> None:
        """Record the result of a task; the folds of a candidate come in order."""
        result = place.job.result[0]
        if self.options.n_predictions_kept == 0:
            outcome = without_values(outcome)
        self.outcomes[place.row].append(outcome)
        if self.options.n_models_kept != 0:
            models = self.models.setdefault(place.row, [])
            models.append(None if outcome.reason else model)
        self._skipped.add(result)
        # scikit-learn raises if all fits of one call failed; here the rule applies to the
        # whole search, at its end.
        result["fit_error"] = None


_N_KEPT: dict[Any, int | None] = {None: 0, "best": 1, "all": None}


def _options_of(
    search: Any, call: SearchCall, progress: Callable[[Progress], object] | None
) -> SearchOptions:
    """Return how a search evaluates its candidates, and the listener to its progress."""
    resource = granted_resource(search)
    of_epochs = grants_epochs(resource) and network_of(search.estimator) is not None
    n_predicted = None
    if search.keep_predictions != "all":
        n_predicted = _n_with_predictions(search.estimator, call)
    n_kept = {**_N_KEPT, "auto": n_predicted}
    return SearchOptions(
        search=search,
        n_models_kept=_N_KEPT.get(search.keep_models, search.keep_models),
        n_predictions_kept=n_kept.get(search.keep_predictions, search.keep_predictions),
        n_at_once=n_predicted,
        resource=resource if of_epochs else None,
        # The learning-rate schedule ends with the last rung.
        max_resources=search._full_resources if of_epochs else 0,
        progress=progress,
    )


def _n_with_predictions(estimator: Any, call: SearchCall) -> int | None:
    """Return for how many candidates the predictions of all samples fit in memory."""
    y = np.asarray(call.y)
    n_outputs = y.size / max(1, len(y)) if y.ndim else 0
    if y.ndim == 1 and is_classifier(estimator):
        # Labels that cannot be sorted are refused later, with a reason.
        n_outputs = len(pd.unique(y))
    n_bytes = 4 * n_outputs * num_samples(call.X)
    return max(1, int(MOST_BYTES_OF_PREDICTIONS // n_bytes)) if n_bytes else None


class SearchBackend(CollectingBackend):
    """Collects the tasks of a round and gives them to the session of a search."""

    def __init__(self, search: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.search = search

    def configure(self, n_jobs: int | None = 1, parallel: Any = None, **kwargs: Any) -> int:
        """Let a call of joblib pass all of its tasks at once, despite `pre_dispatch`."""
        if parallel is not None:
            # The `pre_dispatch` of a search is meant for the workers behind the session.
            parallel.pre_dispatch = "all"
        return int(super().configure(n_jobs=n_jobs, parallel=parallel, **kwargs))

    @contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Run all collected tasks before joblib looks for their results."""
        for jobs in self.collected():
            # joblib calls inside of estimators do not belong to the search; they would be
            # divided among the many workers that this backend claims to have.
            with joblib.parallel_config("threading", n_jobs=1):
                rounds = vars(self.search).get("_rounds")
                if rounds is None:
                    # These tasks belong to checks before the search.
                    for job in jobs:
                        job.run()
                else:
                    rounds.session.run(jobs)
        yield


class SkippedResults:
    """Makes results of skipped tasks, in the form of scikit-learn's results."""

    def __init__(self, search: Any) -> None:
        self._search = search
        # A result of scikit-learn, from a successful fit if there is one.
        self.example: dict[str, Any] | None = None
        # Results with unknown score names: a callable `scoring` reveals them after a
        # success.
        self._unnamed: list[dict[str, Any]] = []
        self._names: list[str] | None = None

    def remember(self, result: dict[str, Any]) -> None:
        """Keep a result of scikit-learn as an example of the scores in results."""
        if self.example is None or self.example["fit_error"] is not None:
            self.example = dict(result)

    def add(self, result: dict[str, Any]) -> None:
        """Name the scores of failed fits like the first successful result."""
        scores = result["test_scores"]
        if callable(self._search.scoring):
            if result["fit_error"] is not None:
                self._unnamed.append(result)
            elif self._names is None and isinstance(scores, dict):
                self._names = list(scores)
        if self._names is not None:
            for failed in self._unnamed:
                for kind in {"test_scores", "train_scores"} & set(failed):
                    failed[kind] = dict.fromkeys(self._names, self._search.error_score)
            self._unnamed.clear()
        self.remember(result)

    def unscored(self) -> dict[str, Any]:
        """Return scikit-learn's result of a candidate on a fold that was skipped."""
        result = dict(self.example or {})
        for name in ("test_scores", "train_scores"):
            if isinstance(result.get(name), dict):
                result[name] = dict.fromkeys(result[name], np.nan)
            elif name in result:
                result[name] = np.nan
        return {**result, "fit_time": 0.0, "score_time": 0.0, "fit_error": None}
