# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Executors of shards: this process, joblib's workers, a Dask or Ray cluster."""

import gc
import math
import os
import pickle
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import cache
from multiprocessing import parent_process
from queue import Empty, SimpleQueue
from typing import Any

import joblib
import torch
from joblib.parallel import BACKENDS

from sk_tune._compat import TaskPool, get_active_backend, loky_workers, takes_tasks
from sk_tune._engine._shard import Shard, train_shard
from sk_tune._processes import end_with_parent
from sk_tune._warnings import collected_warnings

# Errors of a lost worker process, or of data that only it had.
LOST = (BrokenProcessPool, CancelledError, ConnectionError, EOFError)
# How often a task or data that Dask loses with a worker are sent at most.
_MOST_SENT = 4
# Seconds until Dask's scheduler notices a dead worker.
_SECONDS_TO_NOTICE = 0.5
# Data of at least this many bytes are sent separately, once for all tasks.
_LEAST_SCATTERED = 1000
# Below this time limit, starting workers costs more than they save.
_LEAST_SECONDS_TO_START = 10.0
# Name of the thread that waits until workers have started.
_STARTER = "sk_tune starts workers"
# Processes that have trained shards, and so have imported the engine.
_TRAINED: set[int] = set()
# Fields of a fit that several fits may share.
_DATA = ("X", "y", "sample_weight", "rows", "monitor")


class Executor(ABC):
    """Runs shards, identified by position."""

    # Whether a dead worker stops all running shards; shards to submit per worker.
    is_one = False
    n_at_once: float = 2

    @abstractmethod
    def submit(self, position: int, shard: Shard) -> None:
        """Submit a shard."""

    @abstractmethod
    def completed(self, timeout: float | None) -> tuple[int, Any]:
        """Wait for a shard's result or error; ``queue.Empty`` after `timeout` seconds."""

    @abstractmethod
    def close(self) -> None:
        """Stop running shards."""


class ThisProcess(Executor):
    """Trains shards in this process, in order, when a result is requested."""

    # Other processes may train the next shard meanwhile.
    n_at_once = 1

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._waiting: deque[tuple[int, Shard]] = deque()

    def submit(self, position: int, shard: Shard) -> None:
        """Queue a shard."""
        self._waiting.append((position, shard))

    def completed(self, timeout: float | None) -> tuple[int, Any]:
        """Train the first shard."""
        position, shard = self._waiting.popleft()
        return position, train_shard(shard, **self._options)

    def close(self) -> None:
        """Drop queued shards."""
        self._waiting.clear()


class _JoblibPool(Executor):
    """The workers of a joblib backend that accepts single tasks, such as loky."""

    is_one = True

    def __init__(self, n_jobs: int | None) -> None:
        self._pool = TaskPool(n_jobs=n_jobs)
        self._ended: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        self._n_running = 0

    def submit(self, position: int, shard: Shard) -> None:
        self._n_running += 1
        try:
            self._pool.submit(
                _run, _sent(shard), lambda out: self._ended.put((position, out))
            )
        except LOST as error:
            # The pool broke a moment ago.
            self._ended.put((position, error))

    def completed(self, timeout: float | None) -> tuple[int, Any]:
        position, out = self._ended.get(timeout=timeout)
        self._n_running -= 1
        return position, out if isinstance(out, LOST) else _outcome(self._pool.result, out)

    def close(self) -> None:
        """Kill busy workers."""
        self._pool.close(abort=self._n_running > 0)
        if uses_loky():
            _TRAINED.clear()
            _TRAINED.update(loky_workers())


class _Lists(Executor):
    """Any other joblib backend: takes a list of shards, returns a list of results."""

    is_one = True
    n_at_once = math.inf

    def __init__(self, n_jobs: int | None) -> None:
        self._parallel = joblib.Parallel(n_jobs=n_jobs, batch_size=1)
        # Workers survive between lists.
        self._parallel.__enter__()
        self._waiting: list[tuple[int, Shard]] = []
        self._ended: deque[tuple[int, Any]] = deque()

    def submit(self, position: int, shard: Shard) -> None:
        self._waiting.append((position, shard))

    def completed(self, timeout: float | None) -> tuple[int, Any]:
        if not self._ended:
            waiting, self._waiting = self._waiting, []
            tasks = [joblib.delayed(_run)(*_sent(shard)) for _, shard in waiting]
            results = _outcome(self._parallel, tasks)
            if isinstance(results, Exception):
                return waiting[0][0], results
            self._ended.extend(zip((i for i, _ in waiting), results, strict=True))
        return self._ended.popleft()

    def close(self) -> None:
        self._parallel.__exit__(None, None, None)


class _Dask(Executor):
    """A Dask cluster, by the client and options of joblib's Dask backend.

    Data shared by several shards are sent to the cluster once. If the workers that hold
    them die, Dask cancels all tasks that need the data; such tasks are sent again, with the
    data. joblib's Dask backend (1.5) runs no callback for a cancelled task.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._client = backend.client
        self._lock = threading.RLock()
        # Position, arguments and number of attempts of unfinished tasks by future. Dask
        # drops futures without a reference.
        self._running: dict[Any, tuple[int, Sequence[Any], int]] = {}
        # Futures by the argument's id; the argument is kept alive so that the id is unique.
        self._scattered: dict[int, tuple[Any, Any]] = {}
        self._ended: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        # A Dask worker that waits for other tasks gives up its slot meanwhile.
        self._closing = ExitStack()
        self._closing.enter_context(backend.retrieval_context())

    def submit(self, position: int, shard: Shard) -> None:
        self._send(position, _sent(shard), 1)

    def completed(self, timeout: float | None) -> tuple[int, Any]:
        """Wait for a result; ``CancelledError`` if Dask has given up."""
        position, out = self._ended.get(timeout=timeout)
        is_lost = type(out).__name__ == "KilledWorker"
        return position, CancelledError(str(out)) if is_lost else out

    def close(self) -> None:
        """Cancel unfinished tasks and release the data."""
        with self._lock:
            futures = list(self._running)
            self._running.clear()
            self._scattered.clear()
        self._client.cancel(futures)
        self._closing.close()

    def _send(self, position: int, args: Sequence[Any], n_sent: int) -> None:
        try:
            arguments = [self._on_cluster(arg) for arg in args]
            options = self._backend.submit_kwargs
            future = self._client.submit(_run, *arguments, pure=False, **options)
        except Exception as error:  # noqa: BLE001 - reported as the result
            is_lost = isinstance(error, OSError)
            self._ended.put((position, CancelledError(str(error)) if is_lost else error))
            return
        with self._lock:
            self._running[future] = position, args, n_sent
        future.add_done_callback(self._when_ended)

    def _on_cluster(self, arg: Any) -> Any:
        """Return an argument, or its future if it is large."""
        from dask.sizeof import sizeof

        with self._lock:
            _, future = self._scattered.get(id(arg), (None, None))
            # The future of lost data has another status.
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
                # The worker just died; the scheduler will soon notice.
                time.sleep(_SECONDS_TO_NOTICE)
        return self._client.scatter(arg, hash=False)

    def _when_ended(self, future: Any) -> None:
        with self._lock:
            task = self._running.pop(future, None)
        if task is None:
            return  # Cancelled in `close`.
        out, (position, args, n_sent) = _outcome(future.result), task
        if isinstance(out, CancelledError) and n_sent < _MOST_SENT:
            self._send(position, args, n_sent + 1)
        else:
            self._ended.put((position, out))


class _Ray(Executor):
    """A Ray cluster, by Ray's own tasks: joblib's Ray backend only returns lists.

    Ray itself reruns the tasks of dead workers and restores lost data.
    """

    def __init__(self, ray: Any, backend: Any) -> None:
        self._ray = ray
        options = getattr(backend, "ray_remote_args", None) or {}
        self._remote = ray.remote(_run).options(**options)
        # Positions by task reference.
        self._running: dict[Any, int] = {}
        self._stored: dict[int, tuple[Any, Any]] = {}
        self._unsent: deque[tuple[int, Exception]] = deque()

    def submit(self, position: int, shard: Shard) -> None:
        try:
            coordinator, bare_shard, *data = _sent(shard)
            references = [self._reference(part) for part in data]
            reference = self._remote.remote(coordinator, bare_shard, *references)
            self._running[reference] = position
        except Exception as error:  # noqa: BLE001 - reported as the result
            self._unsent.append((position, error))

    def completed(self, timeout: float | None) -> tuple[int, Any]:
        """Wait for a result; ``CancelledError`` if Ray has given up."""
        if self._unsent:
            return self._unsent.popleft()
        ended, _ = self._ray.wait(list(self._running), num_returns=1, timeout=timeout)
        if not ended:
            raise Empty
        position = self._running.pop(ended[0])
        out = _outcome(self._ray.get, ended[0])
        errors = self._ray.exceptions
        if isinstance(out, errors.RayTaskError):
            return position, out.cause
        is_lost = isinstance(out, errors.RayError)
        return position, CancelledError(str(out)) if is_lost else out

    def close(self) -> None:
        """Cancel unfinished tasks and release the data."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running.clear()
        self._stored.clear()

    def _reference(self, part: Any) -> Any:
        if part is not None and id(part) not in self._stored:
            self._stored[id(part)] = part, self._ray.put(part)
        return None if part is None else self._stored[id(part)][1]


def executor_of(n_jobs: int | None) -> Executor:
    """Return the executor for joblib's active backend, which has several workers."""
    backend, _ = get_active_backend()
    distributed, ray = sys.modules.get("distributed"), sys.modules.get("ray")
    if distributed and isinstance(getattr(backend, "client", None), distributed.Client):
        return _Dask(backend)
    if ray and type(backend).__module__.startswith("ray."):
        return _Ray(ray, backend)
    return _JoblibPool(n_jobs) if takes_tasks(backend) else _Lists(n_jobs)


def _outcome(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except Exception as error:  # noqa: BLE001 - reported as the result
        return error


def is_unsendable(error: Exception) -> bool:
    """Return whether an error says that an object cannot be pickled."""
    kinds = (pickle.PicklingError, TypeError, AttributeError)
    message = str(error).lower()
    # Dask writes "serialize".
    return isinstance(error, kinds) and ("pickle" in message or "serialize" in message)


def _run(coordinator: tuple[int, torch.dtype], shard: Shard, *data: Any) -> Any:
    """Train a shard in a worker; return the results, and warnings for the user.

    The fields of its fits are indices into `data`.
    `coordinator` are the id of the sending process and torch's default type there, in which
    initial weights are drawn.
    """
    pid, dtype = coordinator
    if parent_process() is not None:
        _freeze_heap()
    end_with_parent(pid)
    fits = {
        i: replace(fit, **{name: data[getattr(fit, name)] for name in _DATA})
        for i, fit in shard.fits.items()
    }
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with collected_warnings() as messages:
            return train_shard(replace(shard, fits=fits)), messages
    finally:
        torch.set_default_dtype(default)


def _sent(shard: Shard) -> tuple[Any, ...]:
    """Return the arguments of `_run`: a shard with indices for its data, and the data.

    Clusters send an argument of many tasks once, but do not search inside arguments.
    """
    data: dict[int, Any] = {}
    fits = {}
    for i, fit in shard.fits.items():
        parts = {name: getattr(fit, name) for name in _DATA}
        for part in parts.values():
            data.setdefault(id(part), part)
        numbers = list(data)
        places: dict[str, Any] = {n: numbers.index(id(part)) for n, part in parts.items()}
        fits[i] = replace(fit, **places)
    coordinator = os.getpid(), torch.get_default_dtype()
    return coordinator, replace(shard, fits=fits), *data.values()


@cache
def _freeze_heap() -> None:
    """Exclude imports from the garbage collection that loky runs every second."""
    gc.freeze()


def are_running(n_jobs: int | None) -> bool:
    """Return whether all requested joblib workers run and have trained shards."""
    if not uses_loky():
        return False
    running = loky_workers()
    return len(running) == joblib.effective_n_jobs(n_jobs) and running <= _TRAINED


def start_workers(n_jobs: int | None, backend: Any) -> None:
    """Start joblib's workers and wait until they have imported the engine."""
    # Ctrl-C ends workers that still import; the next call starts new processes.
    with suppress(BrokenProcessPool), joblib.parallel_config(backend=backend):
        n_workers = joblib.effective_n_jobs(n_jobs)
        # Enough tasks to occupy each worker.
        joblib.Parallel(n_jobs=n_jobs, batch_size=1)(
            joblib.delayed(_import_engine)(os.getpid()) for _ in range(2 * n_workers)
        )
        _TRAINED.update(loky_workers())


def _import_engine(coordinator: int) -> None:
    # A worker that reads this function has imported the engine.
    end_with_parent(coordinator)


def have_to_start(n_jobs: int | None) -> bool:
    """Return whether a caller would have to wait until workers start."""
    return uses_loky() and joblib.effective_n_jobs(n_jobs) > 1 and not are_running(n_jobs)


def start_meanwhile(n_jobs: int | None, seconds: float) -> None:
    """Start joblib's workers in the background if `seconds` are enough to use them."""
    if any(thread.name == _STARTER for thread in threading.enumerate()):
        return
    if seconds >= _LEAST_SECONDS_TO_START and have_to_start(n_jobs):
        # Threads do not inherit the backend and its number of workers.
        backend, _ = get_active_backend()
        meant = joblib.effective_n_jobs(n_jobs), backend
        threading.Thread(
            target=start_workers, args=meant, name=_STARTER, daemon=True
        ).start()


def uses_loky() -> bool:
    """Return whether workers are joblib's processes on this machine."""
    backend, _ = get_active_backend()
    return isinstance(backend, BACKENDS["loky"])


@contextmanager
def outside_blocks() -> Iterator[None]:
    """Let joblib use the workers of the backend around a collecting backend."""
    backend, n_jobs = get_active_backend()
    while hasattr(backend, "around"):
        backend, n_jobs = backend.around
    with joblib.parallel_config(backend=backend, n_jobs=n_jobs):
        yield
