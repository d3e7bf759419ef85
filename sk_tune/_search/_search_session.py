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
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt

from sk_tune._backend import CollectingBackend, Job
from sk_tune._compat import fold_task
from sk_tune._engine import FitStream, Progress, have_to_start
from sk_tune._search._network_training import Trainer
from sk_tune._search._outcomes import FoldOutcome, SearchOptions, Work, without_values
from sk_tune._search._search_plan import SearchLine, SearchPlan
from sk_tune._search._task_runs import TaskRunner
from sk_tune._search._time_budget import TimeBudget
from sk_tune._search_record import INTERRUPTED, LEFT_OUT
from sk_tune._training import TimeIsUpError

# With less time than this, a stream does not wait for workers to start.
_SECONDS_FOR_STREAM = 30.0


def is_complete(folds: Sequence[FoldOutcome]) -> bool:
    """Return whether a candidate has results that all ended without an error."""
    return bool(folds) and not any(outcome.reason for outcome in folds)


class SearchSession:
    """Trains and evaluates the candidates of one search.

    `ambient` is joblib's backend and number of workers outside of the search. `outcomes`
    are by result row and fold, `models` the fitted estimators of the folds by result row,
    `candidates` the numbers of candidates by result row. `seconds` are the times of the
    parts of the search. `n_epochs_left_out` counts the epochs that unfinished candidates
    lacked at the end of the search. ``plan(n_folds)`` returns the plan of the search
    without a time budget; `data` are X, y and the other parameters of ``fit``; `config`
    makes joblib pass its tasks to the session.
    """

    options: SearchOptions
    time: TimeBudget
    trainer: Trainer

    def __init__(self, ambient: tuple[Any, Any]) -> None:
        self._ambient = ambient
        # Other backends run tasks on other machines, with other devices.
        self.stays_here = type(ambient[0]).__module__ == "joblib._parallel_backends"
        self._n_rows_done = 0
        self.outcomes: list[list[FoldOutcome]] = []
        self.candidates: list[int] = []
        self.models: dict[int, list[Any]] = {}
        self.seconds: dict[str, float] = {}
        self.n_epochs_left_out = 0
        self.line: SearchLine | None = None
        self.plan: Callable[[int], SearchPlan]
        self.data: tuple[Any, Any, Mapping[str, Any]]
        self.config: Any = None
        self.is_over = False
        # Contexts of one call of scikit-learn, without warnings about omitted candidates,
        # and of the whole fit, which ends with the time of its refit.
        self.quiet, self.closing = ExitStack(), ExitStack()
        self._is_streaming = False
        # Tasks trained before their evaluation, by candidate and fold of the call.
        self.ahead: Mapping[tuple[int, int], Work] = {}

    def begin(self, options: SearchOptions, time: TimeBudget) -> None:
        self.options, self.time = options, time
        self.trainer = Trainer(self._ambient, options)
        self._runner = TaskRunner(self.trainer, options, time)
        self._skipped = SkippedResults(options)

    def run(self, jobs: Sequence[Job]) -> None:
        """Run the tasks of a round, in the order of scikit-learn."""
        works = []
        for job in jobs:
            task = fold_task(job.task)
            if task is None:
                # A transformer or splitter passed this task to joblib, not the search.
                job.run()
                continue
            row = self._n_rows_done + task.candidate
            ahead = self.ahead.get((task.candidate, task.fold))
            works.append(
                Work(job, task, row, self.candidates[row])
                if ahead is None
                else self.trainer.evaluated(ahead, job, task, row)
            )
        if not works:
            return
        while len(self.outcomes) <= max(work.row for work in works):
            self.outcomes.append([])
        self._run_all(works)
        if not self._is_streaming:
            self.trainer.maker.end_round()

    @contextmanager
    def streaming(self, expected: Sequence[int]) -> Iterator[FitStream]:
        """Train candidates before their evaluation, in workers that do not wait.

        `expected` are the epochs of all fits, for progress. Training stops at the end of
        the block.
        """
        with ExitStack() as stack:
            with self.trainer.outside():
                n_jobs = self.options.n_jobs
                # On a busy machine, little time is left after waiting for workers.
                is_short = self.time.left < _SECONDS_FOR_STREAM and have_to_start(n_jobs)
                stream = FitStream(
                    n_jobs=1 if is_short else n_jobs,
                    progress=self.options.progress,
                    expected=expected,
                    store=self.options.store,
                )
                stack.enter_context(stream)
            self._is_streaming = True
            stack.callback(setattr, self, "_is_streaming", False)
            stack.callback(self.trainer.maker.end_round)
            yield stream

    def begin_round(self, candidates: Sequence[int], n_new: int) -> None:
        """Prepare for `candidates`, of which `n_new` were on no earlier rung."""
        self.candidates += candidates
        if self.line is not None:
            self.line.clear()
            self.line.is_streaming = self._is_streaming
            self.line.n_new = n_new

    def end_round(
        self,
        n_candidates: int,
        scores: npt.NDArray[np.float64],
        best: Sequence[int],
        best_text: str,
    ) -> None:
        """Update the progress line, and drop models and predictions that are not kept.

        `scores` are the scores of all candidates so far; `best` are the result rows with a
        score, best first; `best_text` is the best score in words.
        """
        self._n_rows_done += n_candidates
        if self.line is not None:
            self.line.end_round(n_candidates, best_text)
        n_kept = self.options.n_models_kept
        if n_kept is not None and len(self.models) > n_kept:
            retained = [row for row in best if row in self.models][:n_kept]
            self.models = {row: self.models[row] for row in sorted(retained)}
        n_kept = self.options.n_predictions_kept
        if n_kept is not None:
            for row in set(range(len(scores))).difference(best[:n_kept]):
                self.outcomes[row] = [without_values(o) for o in self.outcomes[row]]

    def progress_to(self, search: Any) -> Callable[[Progress], object] | None:
        """Return the progress line, or the callable that the user passed as `verbose`."""
        # If verbose is more than 1, scikit-learn prints lines for every fit itself.
        if search.verbose != 1:
            listener: Callable[[Progress], object] | None = search._listener
            return listener
        self.line = SearchLine(
            self.plan(search.n_splits_),
            refits=search.refit is not False,
            time_budget=search.time_budget,
        )
        return self.line

    @property
    def has_complete_candidate(self) -> bool:
        """Whether a candidate has a result on every fold that it was to be run on."""
        return any(map(is_complete, self.outcomes))

    def solo_reasons(self) -> Counter[str]:
        """Return the reasons for training networks alone, with their counts."""
        return Counter(
            outcome.solo_reason
            for folds in self.outcomes
            for outcome in folds
            if outcome.solo_reason
        )

    def n_workers(self) -> int:
        backend, n_jobs = self._ambient
        with joblib.parallel_config(backend=backend, n_jobs=n_jobs):
            return int(joblib.effective_n_jobs(self.options.n_jobs))

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[what] = self.seconds.get(what, 0.0) + spent

    def _run_all(self, works: Sequence[Work]) -> None:
        is_ahead = any(work.is_ahead for work in works)
        if not self.trainer.is_interrupted and (is_ahead or not self.time.is_late):
            with self.trainer.interruptible():
                try:
                    self._evaluate(works)
                except TimeIsUpError:
                    self.time.is_late = True
        if self.trainer.is_interrupted or self.time.is_late:
            self._leave_out(works)
        for work in works:
            self._note(work)

    def _evaluate(self, works: Sequence[Work]) -> None:
        """Run tasks until Ctrl-C, or an error that joblib has to raise."""
        new = [work for work in works if not work.is_ahead]
        is_first = not self.has_complete_candidate
        is_needed = is_first or self.time.finishing_from is not None
        with self.timed("preparing"), self.trainer.maker.sharing_folds():
            for work in new:
                with self.time.task("preparing", is_needed=is_needed):
                    self.trainer.prepare(work)
        networks = [work for work in works if work.fit is not None]
        if is_first and networks:
            self.time.note(networks)
            self.measure_refit(networks[0].row)
        with self.timed("training"):
            self.trainer.train(
                [work for work in new if work.fit is not None],
                lambda: self.time.limit(
                    len(works),
                    is_needed=is_needed,
                    n_epochs_before=self.time.finishing_from or 0,
                ),
            )
        if new:
            self.time.takes(networks, is_needed=is_needed)
        self.time.note(networks)
        with self.timed("scoring"):
            for work in networks:
                if work.trained is not None:
                    with self.time.task("scoring", is_needed=is_needed):
                        self._runner.run_trained(work)
        remaining = [work for work in works if work.fit is None]
        if self.trainer.is_interrupted or self.time.is_late or not remaining:
            return
        with self.timed("training"):
            # While a stream uses the backend's workers, other calls must not.
            self._runner.run_others(
                remaining, is_first=is_first, stays_here=self._is_streaming
            )
        if is_first:
            self.time.note_unstoppable()

    def measure_refit(self, row: int, seconds_of_fit: float = 0.0, units: int = 0) -> None:
        """Measure the time of the refit of the best candidate."""
        with self.trainer.outside():
            best_epoch = self.trainer.best_epochs.get(row)
            self.time.measure_refit(row, best_epoch, seconds_of_fit, units)

    def _stop(self, work: Work, reason: str) -> None:
        """Give a skipped task a result without a score."""
        work.job.end(result=[self._skipped.unscored()])
        work.outcome = FoldOutcome(reason=reason)

    def _leave_out(self, works: Sequence[Work]) -> None:
        """End the tasks that Ctrl-C or the time budget interrupted."""
        for work in works:
            if work.outcome is not None:
                self._skipped.remember(work.job.result[0])
        for work in works:
            if work.outcome is not None:
                continue
            if self._skipped.example is None:
                raise KeyboardInterrupt
            self._stop(work, INTERRUPTED if self.trainer.is_interrupted else LEFT_OUT)
        if not self.trainer.is_interrupted:
            # One warning at the end of the search reports missing scores.
            self.quiet.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", "One or more of the .* non-finite")

    def _note(self, work: Work) -> None:
        """Record the result of a task; the folds of a candidate come in order."""
        outcome, result = work.outcome, work.job.result[0]
        if outcome is None:
            return
        if self.options.n_predictions_kept == 0:
            outcome, work.trained = without_values(outcome), None
        self.outcomes[work.row].append(outcome)
        if self.options.n_models_kept != 0:
            models = self.models.setdefault(work.row, [])
            models.append(None if outcome.reason else work.model)
        self._skipped.add(result)
        # scikit-learn raises if all fits of one call failed; here the rule applies to the
        # whole search, at its end.
        result["fit_error"] = None


class SearchBackend(CollectingBackend):
    """Collects the tasks of a round and gives them to the session of a search."""

    def __init__(self, session: SearchSession, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.session = session

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
                self.session.run(jobs)
        yield


class SkippedResults:
    """Gives tasks that did not run results like scikit-learn's of other tasks."""

    def __init__(self, options: SearchOptions) -> None:
        self._options = options
        # A result of scikit-learn, from a successful fit if there is one.
        self.example: dict[str, Any] | None = None
        # Results without names of scores: a callable `scoring` reveals them only after a
        # success.
        self._unnamed: list[dict[str, Any]] = []
        self._names: list[str] | None = None

    def remember(self, result: dict[str, Any]) -> None:
        """Keep a result of scikit-learn as an example of the scores in results."""
        if self.example is None or self.example["fit_error"] is not None:
            self.example = dict(result)

    def add(self, result: dict[str, Any]) -> None:
        """Name the scores of failed fits like the first successful result."""
        options, scores = self._options, result["test_scores"]
        if options.has_callable_scoring:
            if result["fit_error"] is not None:
                self._unnamed.append(result)
            elif self._names is None and isinstance(scores, dict):
                self._names = list(scores)
        if self._names is not None:
            for failed in self._unnamed:
                for kind in {"test_scores", "train_scores"} & set(failed):
                    failed[kind] = dict.fromkeys(self._names, options.error_score)
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
