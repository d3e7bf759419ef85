# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What runs shards: this process, joblib's workers, a cluster of Dask or of Ray."""

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
from sk_tune._processes import end_with_parent
from sk_tune.engine._shard import Shard, train_shard

# Errors where a worker process is gone, or data that only it had.
LOST = (BrokenProcessPool, CancelledError, ConnectionError, EOFError)
# What Dask loses with a worker, a task or data, is sent so many times at most.
_MOST_SENT = 4
# Seconds until Dask's scheduler knows of a worker that died.
_SECONDS_TO_NOTICE = 0.5
# Bytes from which data are sent by themselves, once for all tasks.
_LEAST_SCATTERED = 1000
# With a shorter time limit than this, workers cost more to start than they save.
_LEAST_SECONDS_TO_START = 10.0
# Name of the thread that waits until workers have started.
_STARTER = "sk_tune starts workers"
# Processes that have trained shards, and so imported what that takes.
_TRAINED: set[int] = set()
# Fields of a fit that several fits may share.
_DATA = ("X", "y", "sample_weight", "rows", "monitor")


class Executor(ABC):
    """Runs shards, which are known by their position.

    `is_one` says that a worker that dies ends all that runs; `n_at_once` is how many shards
    to hand over for each worker.
    """

    is_one = False
    n_at_once: float = 2

    @abstractmethod
    def submit(self, position: int, shard: Shard) -> None:
        """Hand over a shard."""

    @abstractmethod
    def completed(self, timeout: float | None) -> tuple[int, Any]:
        """Wait for a shard's result or error; ``queue.Empty`` after `timeout` seconds."""

    @abstractmethod
    def close(self) -> None:
        """Stop what runs."""


class ThisProcess(Executor):
    """Trains shards in this process, one after the other, when a result is asked for."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._waiting: deque[tuple[int, Shard]] = deque()

    def submit(self, position: int, shard: Shard) -> None:
        """Keep a shard until a result is asked for."""
        self._waiting.append((position, shard))

    def completed(self, timeout: float | None) -> tuple[int, Any]:
        """Train the first shard."""
        position, shard = self._waiting.popleft()
        return position, train_shard(shard, **self._options)

    def close(self) -> None:
        """Forget what was not begun."""
        self._waiting.clear()


class _JoblibPool(Executor):
    """The workers of a joblib backend that takes tasks one by one, as loky does."""

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
            # The pool has just broken.
            self._ended.put((position, error))

    def completed(self, timeout: float | None) -> tuple[int, Any]:
        position, out = self._ended.get(timeout=timeout)
        self._n_running -= 1
        return position, out if isinstance(out, LOST) else _outcome(self._pool.result, out)

    def close(self) -> None:
        """Kill the workers if they have something to do."""
        self._pool.close(abort=self._n_running > 0)
        if uses_loky():
            _TRAINED.clear()
            _TRAINED.update(loky_workers())


class _Lists(Executor):
    """Any other backend of joblib: it gets a list of shards, and returns one of results."""

    is_one = True
    n_at_once = math.inf

    def __init__(self, n_jobs: int | None) -> None:
        self._parallel = joblib.Parallel(n_jobs=n_jobs, batch_size=1)
        # Workers stay from list to list.
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
    """A cluster of Dask, by the client and options of joblib's backend for it.

    What many shards have is sent to the cluster once. Dask keeps it on one worker or a few;
    if these die it cannot be computed again, and Dask cancels all tasks that need it. Such
    tasks are sent once more, with the data. joblib's backend for Dask (1.5) calls nobody
    back for a task that was cancelled or given up, so that whoever waits would wait for
    ever.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._client = backend.client
        self._lock = threading.RLock()
        # Position, arguments and number of tries of unfinished tasks by future: a future
        # that nothing refers to is not computed.
        self._running: dict[Any, tuple[int, Sequence[Any], int]] = {}
        # Futures by the argument's id. The argument is kept, so that no other gets its id.
        self._scattered: dict[int, tuple[Any, Any]] = {}
        self._ended: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        # A worker of Dask that waits for others takes tasks meanwhile.
        self._closing = ExitStack()
        self._closing.enter_context(backend.retrieval_context())

    def submit(self, position: int, shard: Shard) -> None:
        self._send(position, _sent(shard), 1)

    def completed(self, timeout: float | None) -> tuple[int, Any]:
        """Wait for a result; ``CancelledError`` stands for what Dask has given up."""
        from distributed import KilledWorker

        position, out = self._ended.get(timeout=timeout)
        return position, CancelledError(str(out)) if isinstance(out, KilledWorker) else out

    def close(self) -> None:
        """Cancel what has no result, and let the cluster forget the data."""
        with self._lock:
            futures = list(self._running)
            self._running.clear()
            self._scattered.clear()
        self._client.cancel(futures)
        self._closing.close()

    def _send(self, position: int, args: Sequence[Any], n_sent: int) -> None:
        try:
            there = [self._on_cluster(arg) for arg in args]
            future = self._client.submit(
                _run, *there, pure=False, **self._backend.submit_kwargs
            )
        except Exception as error:  # noqa: BLE001 - goes to whoever waits for the result
            is_lost = isinstance(error, OSError)
            self._ended.put((position, CancelledError(str(error)) if is_lost else error))
            return
        with self._lock:
            self._running[future] = position, args, n_sent
        future.add_done_callback(self._when_ended)

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
                # The worker just died; the scheduler will know in a moment.
                time.sleep(_SECONDS_TO_NOTICE)
        return self._client.scatter(arg, hash=False)

    def _when_ended(self, future: Any) -> None:
        with self._lock:
            task = self._running.pop(future, None)
        if task is None:
            # It was cancelled here.
            return
        out, (position, args, n_sent) = _outcome(future.result), task
        if isinstance(out, CancelledError) and n_sent < _MOST_SENT:
            self._send(position, args, n_sent + 1)
        else:
            self._ended.put((position, out))


class _Ray(Executor):
    """A cluster of Ray, by its own tasks: joblib's backend for it returns lists only.

    Ray itself runs tasks of workers that died again, and makes lost data anew.
    """

    def __init__(self, backend: Any) -> None:
        ray: Any = sys.modules["ray"]
        self._ray = ray
        options = getattr(backend, "ray_remote_args", None) or {}
        self._remote = ray.remote(_run).options(**options)
        # Positions by the task's reference.
        self._running: dict[Any, int] = {}
        self._stored: dict[int, tuple[Any, Any]] = {}
        self._unsent: deque[tuple[int, Exception]] = deque()

    def submit(self, position: int, shard: Shard) -> None:
        try:
            coordinator, apart, *data = _sent(shard)
            references = [self._reference(part) for part in data]
            reference = self._remote.remote(coordinator, apart, *references)
            self._running[reference] = position
        except Exception as error:  # noqa: BLE001 - goes to whoever waits for the result
            self._unsent.append((position, error))

    def completed(self, timeout: float | None) -> tuple[int, Any]:
        """Wait for a result; ``CancelledError`` stands for what Ray has given up."""
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
        """Cancel what has no result, and let Ray forget the data."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running.clear()
        self._stored.clear()

    def _reference(self, part: Any) -> Any:
        if part is None:
            return None
        if id(part) not in self._stored:
            self._stored[id(part)] = part, self._ray.put(part)
        return self._stored[id(part)][1]


def executor_of(n_jobs: int | None) -> Executor:
    """Return what runs shards in joblib's active backend, which has several workers."""
    backend, _ = get_active_backend()
    distributed, ray = sys.modules.get("distributed"), sys.modules.get("ray")
    if distributed and isinstance(getattr(backend, "client", None), distributed.Client):
        return _Dask(backend)
    if ray and type(backend).__module__.startswith("ray."):
        return _Ray(backend)
    return _JoblibPool(n_jobs) if takes_tasks(backend) else _Lists(n_jobs)


def _outcome(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except Exception as error:  # noqa: BLE001 - goes to whoever waits for the result
        return error


def is_unsendable(error: Exception) -> bool:
    """Return whether an error says that something cannot be pickled."""
    kinds = (pickle.PicklingError, TypeError, AttributeError)
    message = str(error).lower()
    # The other word is Dask's.
    return isinstance(error, kinds) and ("pickle" in message or "serialize" in message)


def _run(coordinator: tuple[int, torch.dtype], shard: Shard, *data: Any) -> Any:
    """Train a shard in a worker; the fields of its fits are the places of their data.

    `coordinator` are the process that sends it and torch's default type there, in which
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
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return train_shard(replace(shard, fits=fits))
    finally:
        torch.set_default_dtype(before)


def _sent(shard: Shard) -> tuple[Any, ...]:
    """Return the arguments of `_run`: a shard with numbers for its data, and the data.

    Backends that run on several machines send an argument once that many tasks have, but
    do not look for it inside of others.
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
    """Take what a worker has imported out of garbage collection.

    Where psutil is missing, loky collects garbage in each worker every second, which takes
    a tenth of that second or more if all modules are looked through each time.
    """
    gc.freeze()


def are_running(n_jobs: int | None) -> bool:
    """Return whether as many of joblib's workers as wanted run, and have trained shards."""
    if not uses_loky():
        return False
    running = loky_workers()
    return len(running) == joblib.effective_n_jobs(n_jobs) and running <= _TRAINED


def start_workers(n_jobs: int | None, backend: Any) -> None:
    """Start joblib's workers and let them import the engine; returns when they have."""
    # Ctrl-C ends workers that still import; whoever asks for some next starts them anew.
    with suppress(BrokenProcessPool), joblib.parallel_config(backend=backend):
        n_workers = joblib.effective_n_jobs(n_jobs)
        # With so many tasks, each worker gets at least one.
        joblib.Parallel(n_jobs=n_jobs, batch_size=1)(
            joblib.delayed(_import_engine)(os.getpid()) for _ in range(2 * n_workers)
        )
        _TRAINED.update(loky_workers())


def _import_engine(coordinator: int) -> None:
    end_with_parent(coordinator)


def have_to_start(n_jobs: int | None) -> bool:
    """Return whether somebody who asks workers now has to wait until they start."""
    return uses_loky() and joblib.effective_n_jobs(n_jobs) > 1 and not are_running(n_jobs)


def start_meanwhile(n_jobs: int | None, seconds: float) -> None:
    """Let joblib's workers start meanwhile, unless they run or `seconds` are too few."""
    if any(thread.name == _STARTER for thread in threading.enumerate()):
        return
    if seconds >= _LEAST_SECONDS_TO_START and have_to_start(n_jobs):
        # A thread does not know by itself which backend is meant, and how many workers.
        backend, _ = get_active_backend()
        meant = joblib.effective_n_jobs(n_jobs), backend
        threading.Thread(
            target=start_workers, args=meant, name=_STARTER, daemon=True
        ).start()


def uses_loky() -> bool:
    """Return whether workers are processes of joblib on this machine."""
    backend, _ = get_active_backend()
    return isinstance(backend, BACKENDS["loky"])


@contextmanager
def outside_blocks() -> Iterator[None]:
    """Let joblib use the workers that are around a backend which only collects tasks.

    Such a backend says that it has very many, so that all tasks come at once.
    """
    backend, n_jobs = get_active_backend()
    while hasattr(backend, "around"):
        backend, n_jobs = backend.around
    with joblib.parallel_config(backend=backend, n_jobs=n_jobs):
        yield
