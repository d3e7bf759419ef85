# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Shards over the workers of whatever joblib backend is in use."""

import gc
import os
import pickle
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import cache
from multiprocessing import TimeoutError as NothingYetError
from multiprocessing import parent_process
from typing import Any

import joblib
from joblib.parallel import BACKENDS, ParallelBackendBase

from sk_tune._compat import get_active_backend, loky_workers
from sk_tune._processes import end_with_parent
from sk_tune.engine._fits import Trained
from sk_tune.engine._reference import late
from sk_tune.engine._shard import Shard, train_shard
from sk_tune.training import TimeLimit

__all__ = [
    "LOST",
    "are_running",
    "closing_call",
    "have_to_start",
    "is_unsendable",
    "outside_blocks",
    "parallel_call",
    "run_lost_shard",
    "shard_task",
    "start_meanwhile",
    "start_workers",
    "train_shards",
    "uses_loky",
]

# A task or data that are lost with a worker are sent so many times at most.
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
    """Runs tasks where joblib's backend for Dask would, and survives lost workers.

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
        # Unfinished tasks by future: a future that nothing refers to is not computed.
        self._running: dict[Any, _Task] = {}
        # Futures by the argument's id. The argument is kept, so that no other gets its id.
        self._scattered: dict[int, tuple[Any, Any]] = {}

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return the number of the cluster's threads, once it has workers."""
        return int(self._users.effective_n_jobs(n_jobs))

    def submit(self, func: Any, callback: Any = None) -> "_Task":
        """Send a task.

        `callback` is called with what ``retrieve_result_callback`` takes.
        """
        ((function, args, _),) = func.items
        task = _Task(function, args, callback)
        self._send(task)
        return task

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return the result of a task, or raise its error.

        CancelledError if Dask gave it up.
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
                # The worker just died; the scheduler will know in a moment.
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


# Errors of a backend when a worker process is gone, or data that only it had.
LOST = (BrokenProcessPool, CancelledError, ConnectionError, EOFError)
# With a shorter time limit than this, workers cost more to start than they save.
_LEAST_SECONDS_TO_START = 10.0
# Name of the thread that waits until workers have started.
_STARTER = "sk_tune starts workers"
# Seconds for which a worker is waited for after its time limit.
_SECONDS_TO_ANSWER = 0.5
# Processes that have trained shards, and so imported what that takes.
_TRAINED: set[int] = set()
# Fields of a fit that several fits may share.
_DATA = ("X", "y", "sample_weight", "rows", "monitor")


def train_shards(
    shards: Sequence[Shard], n_jobs: int | None
) -> Generator[tuple[int, Any, str], None, None]:
    """Train shards in workers; yield position, result and message as they end.

    A worker that is killed takes its shard with it, and with most backends all others that
    are running. What had not begun goes to workers again; those that were running are run
    once more at the end, one at a time, so that the one at fault is known. The result is
    None if the shard was lost twice; the message says why.
    """
    missing = dict(enumerate(shards))
    lost: dict[int, Shard] = {}
    while missing:
        try:
            with closing(run_shards(list(missing.items()), n_jobs)) as results:
                for position, result in results:
                    del missing[position]
                    yield position, result, ""
        except NothingYetError:
            # Workers that cannot know the time, or are late themselves, are stopped.
            yield from ((position, _late(shard), "") for position, shard in missing.items())
            return
        except LOST:
            # Workers take tasks in their order, so these are those that were running.
            for position in list(missing)[: joblib.effective_n_jobs(n_jobs)]:
                lost[position] = missing.pop(position)
        except Exception as error:
            # Fits that cannot be sent are trained here; errors of fits are results, not
            # exceptions.
            if not is_unsendable(error):
                raise
            for position, shard in missing.items():
                yield position, train_shard(shard), ""
            missing = {}
    for position, shard in lost.items():
        yield run_lost_shard(position, shard, n_jobs)


def _late(shard: Shard) -> tuple[dict[int, Trained], dict[int, str]]:
    return {i: late(fit, "fleet") for i, fit in shard.fits.items()}, {}


def run_lost_shard(position: int, shard: Shard, n_jobs: int | None) -> tuple[int, Any, str]:
    """Run a shard once more, by itself, whose worker was killed; return as train_shards."""
    try:
        ((_, result),) = run_shards([(position, shard)], n_jobs)
    except LOST as error:
        return position, None, f"its worker process died: {error}"
    return position, result, ""


def run_shards(
    shards: Sequence[tuple[int, Shard]], n_jobs: int | None
) -> Generator[Any, None, None]:
    parallel = parallel_call(n_jobs, batch_size=1)
    results = parallel(shard_task(position, shard) for position, shard in shards)
    # No other has more time than the last.
    limit = shards[-1][1].limit
    yield from results if limit is None else _in_time(parallel, results, limit)
    if uses_loky():
        _TRAINED.clear()
        _TRAINED.update(loky_workers())


def _in_time(
    parallel: joblib.Parallel, results: Any, limit: TimeLimit
) -> Generator[Any, None, None]:
    """Yield results that come in time, and soon after it; raises what joblib does then."""
    iterator = iter(results)
    try:
        while True:
            parallel.timeout = max(0.0, limit.seconds_left) + _SECONDS_TO_ANSWER
            try:
                result = next(iterator)
            except StopIteration:
                return
            yield result
    finally:
        if hasattr(iterator, "close"):
            iterator.close()


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
        # A thread does not know by itself which backend is meant.
        backend, _ = get_active_backend()
        threading.Thread(
            target=start_workers, args=(n_jobs, backend), name=_STARTER, daemon=True
        ).start()


def uses_loky() -> bool:
    """Return whether workers are processes of joblib on this machine."""
    backend, _ = get_active_backend()
    return isinstance(backend, BACKENDS["loky"])


def parallel_call(n_jobs: int | None, **options: Any) -> joblib.Parallel:
    """Return the call that hands tasks to workers.

    A list comes of it if results cannot stream.
    """
    backend, _ = get_active_backend()
    if client_of(backend) is not None:
        options["backend"] = LastingDaskBackend(backend)
    try:
        return joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered", **options)
    except ValueError:
        return joblib.Parallel(n_jobs=n_jobs, **options)


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


@contextmanager
def closing_call(generator: Generator[Any, None, None]) -> Iterator[Any]:
    """Close a generator of joblib's results after a block, which stops the workers."""
    try:
        yield generator
    finally:
        with warnings.catch_warnings():
            # joblib tells how many tasks it cancels then.
            warnings.filterwarnings("ignore", r"(?s).*(cancelled|not used)", UserWarning)
            generator.close()


def is_unsendable(error: Exception) -> bool:
    """Return whether an error of joblib says that something cannot be pickled."""
    kinds = (pickle.PicklingError, TypeError, AttributeError)
    message = str(error).lower()
    # The other word is Dask's.
    return isinstance(error, kinds) and ("pickle" in message or "serialize" in message)


def shard_task(position: int, shard: Shard) -> Any:
    """Return what joblib is to run for a shard; its result is the position and a result."""
    return joblib.delayed(_numbered)(position, os.getpid(), *_apart(shard))


def _numbered(position: int, coordinator: int, shard: Shard, *data: Any) -> tuple[int, Any]:
    if parent_process() is not None:
        _freeze_heap()
    end_with_parent(coordinator)
    return position, train_shard(_together(shard, data))


def _apart(shard: Shard) -> tuple[Any, ...]:
    """Return a shard with numbers in the place of its data, and the data.

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
    return replace(shard, fits=fits), *data.values()


def _together(shard: Shard, data: Sequence[Any]) -> Shard:
    """Return the shard that was taken apart."""
    fits = {
        i: replace(fit, **{name: data[getattr(fit, name)] for name in _DATA})
        for i, fit in shard.fits.items()
    }
    return replace(shard, fits=fits)


@cache
def _freeze_heap() -> None:
    """Take what a worker has imported out of garbage collection.

    Where psutil is missing, loky collects garbage in each worker every second, which takes
    a tenth of that second or more if all modules are looked through each time.
    """
    gc.freeze()
