# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""joblib: tasks handed to the workers of a backend one by one, and which workers run."""

from collections.abc import Callable
from functools import cache
from queue import Empty, SimpleQueue
from typing import Any

import joblib
from joblib.externals.loky import reusable_executor
from joblib.parallel import get_active_backend

from sk_tune.exceptions import warn_user

__all__ = ["TaskPool", "functions_of", "get_active_backend", "loky_workers", "takes_tasks"]

_SECONDS_TO_TRY = 10.0


class TaskPool:
    """The workers of joblib's active backend, which take one task after the other.

    ``joblib.Parallel`` takes a list and returns when all of it has ended, or takes more
    tasks only from an iterable that must not wait.
    """

    def __init__(self, **options: Any) -> None:
        self._parallel = joblib.Parallel(**options).__enter__()
        self._backend: Any = self._parallel._backend

    def submit(self, function: Any, args: Any, callback: Callable[[Any], object]) -> None:
        """Hand over a task; `callback` is called with what :meth:`result` takes."""
        task = joblib.parallel.BatchedCalls(
            [(function, args, {})],
            self._backend.get_nested_backend(),
            self._before_pickling,
        )
        self._backend.submit(task, callback)

    def result(self, out: Any) -> Any:
        """Return the result of a task that has ended, or raise its error."""
        (result,) = self._backend.retrieve_result_callback(out)
        return result

    def close(self, *, abort: bool) -> None:
        """Let go of the workers; `abort` ends what is running, with processes by a kill."""
        if abort:
            self._backend.abort_everything(ensure_ready=False)
        self._parallel.__exit__(None, None, None)

    def _before_pickling(self) -> None:
        """Let loky write large arrays into the folder that ends with this call."""
        workers = getattr(self._backend, "_workers", None)
        manager = getattr(workers, "_temp_folder_manager", None)
        if manager is not None:
            manager.set_current_context(self._parallel._id)


def takes_tasks(backend: Any) -> bool:
    """Return whether a :class:`TaskPool` can be made of a backend of joblib."""
    return bool(getattr(backend, "supports_retrieve_callback", False)) and _pool_works()


@cache
def _pool_works() -> bool:
    """Try a pool of threads once; a joblib of another form is asked for lists."""
    try:
        ended: SimpleQueue[Any] = SimpleQueue()
        pool = TaskPool(n_jobs=2, backend="threading")
        pool.submit(abs, (-1,), ended.put)
        works = bool(pool.result(ended.get(timeout=_SECONDS_TO_TRY)) == 1)
        pool.close(abort=False)
    except (AttributeError, TypeError, ValueError, Empty) as error:
        warn_user(
            f"joblib {joblib.__version__} hands over tasks in a way that sk_tune does not "
            f"know ({error}). Results of workers come later, all at once."
        )
        return False
    return works


def functions_of(task: Any) -> list[Any]:
    """Return the functions that a task of joblib's calls; none for any other callable."""
    return [function for function, _, _ in getattr(task, "items", ())]


def loky_workers() -> frozenset[int]:
    """Return the process numbers of the running workers of joblib's default backend.

    There are none if the workers are about to end.
    """
    executor = getattr(reusable_executor, "_executor", None)
    flags = getattr(executor, "_flags", None)
    if flags is None or flags.shutdown or flags.broken is not None:
        return frozenset()
    # Other threads start and end them.
    processes = dict(getattr(executor, "_processes", None) or {})
    return frozenset(processes)
