# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""joblib: submission of single tasks to workers, and the processes of workers."""

from collections.abc import Callable
from functools import cache
from queue import Empty, SimpleQueue
from typing import Any

import joblib
from joblib.externals.loky import reusable_executor
from joblib.parallel import get_active_backend

from sk_tune._warnings import warn_user
from sk_tune.exceptions import ReleaseWarning

_SECONDS_TO_TRY = 10.0


class TaskPool:
    """The workers of joblib's active backend, with tasks submitted one at a time.

    ``joblib.Parallel`` only takes a list and returns when all tasks have ended, or an
    iterator that must not wait.
    """

    def __init__(self, **options: Any) -> None:
        self._parallel = joblib.Parallel(**options).__enter__()
        self._backend: Any = self._parallel._backend

    def submit(self, function: Any, args: Any, callback: Callable[[Any], object]) -> None:
        """Submit a task; `callback` gets the argument of :meth:`result`."""
        task = joblib.parallel.BatchedCalls(
            [(function, args, {})],
            self._backend.get_nested_backend(),
            self._before_pickling,
        )
        self._backend.submit(task, callback)

    def result(self, out: Any) -> Any:
        """Return the result of an ended task, or raise its error."""
        (result,) = self._backend.retrieve_result_callback(out)
        return result

    def close(self, *, abort: bool) -> None:
        """Release the workers; `abort` ends running tasks, killing processes."""
        if abort:
            self._backend.abort_everything(ensure_ready=False)
        self._parallel.__exit__(None, None, None)

    def _before_pickling(self) -> None:
        """Let loky write large arrays to the folder of this call, which is deleted."""
        workers = getattr(self._backend, "_workers", None)
        manager = getattr(workers, "_temp_folder_manager", None)
        if manager is not None:
            manager.set_current_context(self._parallel._id)


def takes_tasks(backend: Any) -> bool:
    """Return whether a backend of joblib supports :class:`TaskPool`."""
    return bool(getattr(backend, "supports_retrieve_callback", False)) and _pool_works()


@cache
def _pool_works() -> bool:
    """Return whether a pool of threads works with this version of joblib."""
    try:
        ended: SimpleQueue[Any] = SimpleQueue()
        pool = TaskPool(n_jobs=2, backend="threading")
        pool.submit(abs, (-1,), ended.put)
        works = bool(pool.result(ended.get(timeout=_SECONDS_TO_TRY)) == 1)
        pool.close(abort=False)
    except (AttributeError, TypeError, ValueError, Empty) as error:
        warn_user(
            f"sk_tune does not support how joblib {joblib.__version__} submits tasks "
            f"({error}). Results of workers arrive later, all at once.",
            ReleaseWarning,
        )
        return False
    return works


def functions_of(task: Any) -> list[Any]:
    """Return the functions of a task of joblib; empty for other callables."""
    return [function for function, _, _ in getattr(task, "items", ())]


def loky_workers() -> frozenset[int]:
    """Return the ids of the running worker processes of joblib's default backend."""
    executor = getattr(reusable_executor, "_executor", None)
    flags = getattr(executor, "_flags", None)
    if flags is None or flags.shutdown or flags.broken is not None:
        return frozenset()
    # A copy, because other threads start and end workers.
    processes = dict(getattr(executor, "_processes", None) or {})
    return frozenset(processes)
