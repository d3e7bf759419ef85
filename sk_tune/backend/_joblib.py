# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The joblib backends that see all tasks of a call before the first one runs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from joblib.parallel import ParallelBackendBase

from sk_tune._compat import get_active_backend
from sk_tune.adoption import FitRequested, adopter, adoption
from sk_tune.backend._draws import RestOfTasks
from sk_tune.backend._session import Recorder, Session

# joblib hands over twice as many tasks at once, and its parser takes no larger number.
_MANY = 100_000


class Job:
    """A task and what became of it; `callback` is called with the job when it has ended."""

    def __init__(self, task: Callable[[], Any], callback: Callable[..., None]) -> None:
        self.task = task
        self.callback = callback
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Run the task; its error is kept for the caller of joblib."""
        try:
            result = self.task()
        except BaseException as error:  # noqa: BLE001 - joblib raises it in the caller
            self.end(error=error)
        else:
            self.end(result=result)

    def end(self, *, result: Any = None, error: BaseException | None = None) -> None:
        """Take over a result, or the error, of a task that was run elsewhere."""
        self.result, self.error = result, error
        self.callback(self)


class CollectingBackend(ParallelBackendBase):  # type: ignore[misc]
    """Collects all tasks of a call of joblib; derived classes run them.

    `around` is the backend of joblib that was active before, and its number of workers:
    what trains by itself has these, as it would without a backend that collects.
    """

    supports_retrieve_callback = True
    supports_sharedmem = False
    uses_threads = False

    def __init__(self, nesting_level: int = 0, **kwargs: Any) -> None:
        super().__init__(nesting_level=nesting_level, **kwargs)
        self.around = get_active_backend()
        self._jobs: list[Job] = []
        self._aborted = False

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return so large a number that all tasks are handed over at once; 0 is refused."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        return _MANY

    def submit(self, func: Callable[[], Any], callback: Any = None) -> Job:
        """Collect a task, which is not run yet."""
        job = Job(func, callback)
        self._jobs.append(job)
        return job

    def retrieve_result_callback(self, out: Job) -> Any:
        """Return the result of a job, or raise its error."""
        if out.error is not None:
            raise out.error
        return out.result

    def collected(self) -> Iterator[list[Job]]:
        """Yield jobs for the caller to run, until nothing more comes."""
        self._aborted = False
        while self._jobs and not self._aborted:
            jobs, self._jobs = self._jobs, []
            yield jobs

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: FBT001
        """Forget the tasks that were not run."""
        self._jobs = []
        self._aborted = True


class FleetBackend(CollectingBackend):
    """Runs tasks in this process, with the trainings in them made as fleets."""

    def __init__(self, session: Session, nesting_level: int = 0, **kwargs: Any) -> None:
        super().__init__(nesting_level=nesting_level, **kwargs)
        self.session = session

    @contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Run all collected tasks before joblib looks for their results."""
        current = adopter()
        for jobs in self.collected():
            if current is None:
                self._run_top(jobs)
            elif isinstance(current, Recorder):
                self._record_nested(jobs)
            else:
                for job in jobs:
                    job.run()
                    if job.error is not None:
                        break
        yield

    def get_nested_backend(self) -> tuple["FleetBackend", None]:
        """Return the backend of calls of joblib inside a task, in the same session."""
        return FleetBackend(self.session, (self.nesting_level or 0) + 1), None

    def _run_top(self, jobs: Sequence[Job]) -> None:
        replayers = self.session.prepare([job.task for job in jobs])
        for job, replayer in zip(jobs, replayers, strict=True):
            if self._aborted:
                return
            # A task that asked for nothing costs what it costs without the block.
            timed = self.session.replaying() if replayer.trainings else nullcontext()
            with timed, adoption(replayer):
                job.run()
            if job.error is not None:
                # The rest is not run, as in a plain loop.
                break
        self.session.tell_of_declined()

    def _record_nested(self, jobs: Sequence[Job]) -> None:
        """Let all tasks inside a task ask for their trainings before it is left."""
        requested = False
        rest = RestOfTasks(self.session.draws, self.session.shared_objects)
        for job in jobs:
            start = torch.get_rng_state()
            try:
                job.result = job.task()
            except FitRequested:
                requested = True
                rest.skip(job.task, start)
            except BaseException as error:  # noqa: BLE001 - joblib raises it in the caller
                job.error = error
        if requested:
            raise FitRequested
        for job in jobs:
            job.callback(job)
