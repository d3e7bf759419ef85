# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The joblib backend: it collects tasks and runs them when their results are wanted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from joblib.parallel import ParallelBackendBase

from sk_tune.adoption import FitRequested, adopter, adoption
from sk_tune.backend._session import Recorder, Session

__all__ = ["FleetBackend"]

# joblib hands over twice as many tasks at once, and its parser takes no larger number.
_MANY = 100_000


class _Job:
    """A task and what became of it."""

    def __init__(self, task: Callable[[], Any], callback: Callable[..., None]) -> None:
        self.task = task
        self.callback = callback
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.task()
        except BaseException as error:  # noqa: BLE001 - joblib raises it in the caller
            self.error = error
        self.callback(self)


class FleetBackend(ParallelBackendBase):  # type: ignore[misc]
    """Runs tasks in this process, with the trainings in them made as fleets.

    Parameters
    ----------
    session : Session
        Of the block.
    nesting_level : int, default=0
        How many other calls of joblib are around.
    """

    supports_retrieve_callback = True
    supports_sharedmem = False
    uses_threads = False

    def __init__(self, session: Session, nesting_level: int = 0, **kwargs: Any) -> None:
        super().__init__(nesting_level=nesting_level, **kwargs)
        self.session = session
        self._jobs: list[_Job] = []
        self._aborted = False

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return so large a number that all tasks are handed over at once.

        Parameters
        ----------
        n_jobs : int or None
            What the caller asked for.

        Returns
        -------
        int
            Many.

        Raises
        ------
        ValueError
            If `n_jobs` is 0.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        return _MANY

    def submit(self, func: Callable[[], Any], callback: Any = None) -> _Job:
        """Collect a task.

        Parameters
        ----------
        func : callable
            The task.
        callback : callable
            To be called with the job when it is done.

        Returns
        -------
        _Job
            Not run yet.
        """
        job = _Job(func, callback)
        self._jobs.append(job)
        return job

    def retrieve_result_callback(self, out: _Job) -> Any:
        """Return the result of a job, or raise its error.

        Parameters
        ----------
        out : _Job
            Done.

        Returns
        -------
        object
            What the task returned.
        """
        if out.error is not None:
            raise out.error
        return out.result

    @contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Run all collected tasks before joblib looks for their results.

        Yields
        ------
        None
            Nothing.
        """
        self._aborted = False
        current = adopter()
        while self._jobs and not self._aborted:
            jobs, self._jobs = self._jobs, []
            if current is None:
                self._run_top(jobs)
            elif isinstance(current, Recorder):
                self._record_nested(jobs)
            else:
                self._run_nested(jobs)
        yield

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: FBT001
        """Forget the tasks that were not run.

        Parameters
        ----------
        ensure_ready : bool, default=True
            Without effect: the backend is always ready.
        """
        self._jobs = []
        self._aborted = True

    def get_nested_backend(self) -> tuple["FleetBackend", None]:
        """Return the backend of calls of joblib inside a task.

        Returns
        -------
        backend : FleetBackend
            Of the same session.
        n_jobs : None
            Without effect.
        """
        return FleetBackend(self.session, (self.nesting_level or 0) + 1), None

    def _run_top(self, jobs: list[_Job]) -> None:
        replayers = self.session.prepare([job.task for job in jobs])
        for job, replayer in zip(jobs, replayers, strict=True):
            if self._aborted:
                return
            with self.session.replaying(), adoption(replayer):
                job.run()
            if job.error is not None:
                # The rest is not run, as in a plain loop.
                return

    def _run_nested(self, jobs: list[_Job]) -> None:
        for job in jobs:
            job.run()
            if job.error is not None:
                return

    def _record_nested(self, jobs: list[_Job]) -> None:
        """Let all tasks inside a task ask for their trainings before it is left."""
        requested = False
        for job in jobs:
            try:
                job.result = job.task()
            except FitRequested:
                requested = True
            except BaseException as error:  # noqa: BLE001 - joblib raises it in the caller
                job.error = error
        if requested:
            raise FitRequested
        for job in jobs:
            job.callback(job)
