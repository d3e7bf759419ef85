# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a joblib backend needs that sees all tasks of a call before it runs the first."""

from collections.abc import Callable, Iterator
from typing import Any

from joblib.parallel import ParallelBackendBase

from sk_tune._compat import get_active_backend

__all__ = ["CollectingBackend", "Job"]

# joblib hands over twice as many tasks at once, and its parser takes no larger number.
_MANY = 100_000


class Job:
    """A task and what became of it.

    Parameters
    ----------
    task : callable
        Without arguments.
    callback : callable
        Called with the job when it has ended.
    """

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
        """Take over a result or an error that came from elsewhere.

        Parameters
        ----------
        result : object, default=None
            What the task returned.
        error : BaseException or None, default=None
            What it raised.
        """
        self.result, self.error = result, error
        self.callback(self)


class CollectingBackend(ParallelBackendBase):  # type: ignore[misc]
    """Collects all tasks of a call of joblib; derived classes run them.

    Parameters
    ----------
    nesting_level : int, default=0
        How many other calls of joblib are around.

    Attributes
    ----------
    around : tuple
        The backend of joblib that was active before, and its number of workers: what trains
        by itself has these, as it would without a backend that collects.
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

    def submit(self, func: Callable[[], Any], callback: Any = None) -> Job:
        """Collect a task.

        Parameters
        ----------
        func : callable
            The task.
        callback : callable
            To be called with the job when it is done.

        Returns
        -------
        Job
            Not run yet.
        """
        job = Job(func, callback)
        self._jobs.append(job)
        return job

    def retrieve_result_callback(self, out: Job) -> Any:
        """Return the result of a job, or raise its error.

        Parameters
        ----------
        out : Job
            Done.

        Returns
        -------
        object
            What the task returned.
        """
        if out.error is not None:
            raise out.error
        return out.result

    def collected(self) -> Iterator[list[Job]]:
        """Hand out what was collected, until nothing more comes.

        Yields
        ------
        list of Job
            To be run by the caller; those that are left out are not run.
        """
        self._aborted = False
        while self._jobs and not self._aborted:
            jobs, self._jobs = self._jobs, []
            yield jobs

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: FBT001
        """Forget the tasks that were not run.

        Parameters
        ----------
        ensure_ready : bool, default=True
            Without effect: the backend is always ready.
        """
        self._jobs = []
        self._aborted = True
