# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tasks of joblib on a cluster of Dask, any of whose workers may die."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

from joblib.parallel import ParallelBackendBase

__all__ = ["LastingDaskBackend", "client_of"]

# How often a task or data are sent that were lost, each time with a worker.
_MOST_SENT = 4
# Seconds until the scheduler knows of a worker that died.
_SECONDS_TO_NOTICE = 0.5
# Bytes from which data are sent by themselves, once for all tasks.
_LEAST_SCATTERED = 1000


def client_of(backend: Any) -> Any:
    """Return the client that joblib's backend for Dask uses; None for other backends."""
    distributed = sys.modules.get("distributed")
    client = getattr(backend, "client", None)
    return client if distributed and isinstance(client, distributed.Client) else None


class LastingDaskBackend(ParallelBackendBase):  # type: ignore[misc]
    """Runs tasks where joblib's own backend for Dask would, and survives lost workers.

    The client and options of `users`, the backend of ``joblib.parallel_config("dask")``,
    count. An argument that many tasks have is sent to the cluster once. Dask keeps it on
    one worker or a few; if these die it cannot be computed again, and Dask cancels all
    tasks that need it. Here such tasks are sent once more, with the data. joblib's backend
    (1.5) calls nobody back for a task that was cancelled or given up, so that whoever waits
    for its result waits for ever. Here it ends in an error: ``CancelledError`` for one that
    lost its worker or its data too often.
    """

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(self, users: Any) -> None:
        super().__init__()
        self._users = users
        self._client = users.client
        self._lock = threading.RLock()
        # Without a result, by future: a future that is not referred to is not computed.
        self._running: dict[Any, _Task] = {}
        # By identity, with the argument, so that no other one gets its number.
        self._scattered: dict[int, tuple[Any, Any]] = {}

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return the number of the cluster's threads, as joblib's backend does.

        A cluster without workers is waited for.
        """
        return int(self._users.effective_n_jobs(n_jobs))

    def submit(self, func: Any, callback: Any = None) -> "_Task":
        """Send a task to the cluster.

        `callback` is called with what ``retrieve_result_callback`` takes.
        """
        ((function, args, _),) = func.items
        task = _Task(function, args, callback)
        self._send(task)
        return task

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return the result of a task as joblib has it, or raise its error.

        Raises CancelledError if Dask gave the task up: its workers died, or its data were
        lost.
        """
        from distributed import KilledWorker

        if isinstance(out, KilledWorker):
            raise CancelledError(str(out))
        if isinstance(out, Exception):
            raise out
        return out

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: FBT001
        """Cancel what has no result; the backend is always ready."""
        with self._lock:
            futures = list(self._running)
            self._running.clear()
        self._client.cancel(futures)

    def stop_call(self) -> None:
        """Let the cluster forget the data."""
        with self._lock:
            self._scattered.clear()

    @contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Wait for results; a worker of Dask that does so takes other tasks meanwhile."""
        with self._users.retrieval_context():
            yield

    def _send(self, task: "_Task") -> None:
        try:
            args = [self._on_cluster(arg) for arg in task.args]
            future = self._client.submit(
                task.function, *args, pure=False, **self._users.submit_kwargs
            )
        except OSError as error:
            task.callback(CancelledError(str(error)))
            return
        except Exception as error:  # noqa: BLE001 - goes to whoever waits for the result
            task.callback(error)
            return
        task.n_sent += 1
        with self._lock:
            self._running[future] = task
        future.add_done_callback(self._ended)

    def _on_cluster(self, arg: Any) -> Any:
        """Return an argument, or what stands for it on the cluster if it is large."""
        from dask.sizeof import sizeof

        with self._lock:
            _, future = self._scattered.get(id(arg), (None, None))
            # One that was lost is not finished any more.
            if future is not None and future.status == "finished":
                return future
            if arg is None or sizeof(arg) < _LEAST_SCATTERED:
                return arg
            future = self._scatter(arg)
            self._scattered[id(arg)] = arg, future
            return future

    def _scatter(self, arg: Any) -> Any:
        for _ in range(_MOST_SENT - 1):
            try:
                return self._client.scatter(arg, hash=False)
            except OSError:
                # To a worker that just died; the scheduler will know in a moment.
                time.sleep(_SECONDS_TO_NOTICE)
        return self._client.scatter(arg, hash=False)

    def _ended(self, future: Any) -> None:
        with self._lock:
            task = self._running.pop(future, None)
        if task is None:
            # Aborted.
            return
        out = _outcome(future)
        if isinstance(out, CancelledError) and task.n_sent < _MOST_SENT:
            self._send(task)
        else:
            task.callback(out)


def _outcome(future: Any) -> Any:
    """Return a list with the result of a future that has ended, or its error."""
    try:
        return [future.result()]
    except Exception as error:  # noqa: BLE001 - goes to whoever waits for the result
        return error


class _Task:
    """A call of a function that a worker is to make."""

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], callback: Any
    ) -> None:
        self.function = function
        self.args = args
        self.callback = callback
        self.n_sent = 0
