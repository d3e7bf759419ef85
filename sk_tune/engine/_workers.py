# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Shards over the workers of whatever joblib backend is in use."""

import gc
import os
import pickle
import threading
import warnings
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import cache
from multiprocessing import TimeoutError as NothingYetError
from multiprocessing import parent_process
from typing import Any

import joblib
from joblib.parallel import BACKENDS

from sk_tune._compat import get_active_backend, loky_workers
from sk_tune._processes import end_with_parent
from sk_tune.engine._dask import LastingDaskBackend, client_of
from sk_tune.engine._records import Trained
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

# What a backend raises when a worker process is gone, or data that only it had.
LOST = (BrokenProcessPool, CancelledError, ConnectionError, EOFError)
# Of a time that is limited, without which workers cost more to start than they save.
_LEAST_SECONDS_TO_START = 10.0
# Name of the thread that waits until they have.
_STARTER = "sk_tune starts workers"
# How long after its limit a worker is waited for.
_SECONDS_TO_ANSWER = 0.5
# Processes that have trained shards, and so imported what that takes.
_TRAINED: set[int] = set()
# What fits share.
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
            # What cannot be sent is trained here; errors of fits are results, not
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
    own = iter(results)
    try:
        while True:
            parallel.timeout = max(0.0, limit.seconds_left) + _SECONDS_TO_ANSWER
            try:
                result = next(own)
            except StopIteration:
                return
            yield result
    finally:
        if hasattr(own, "close"):
            own.close()


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
        # As many tasks as it takes for each worker to get one.
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
    """Let joblib's workers start while this process does something else.

    Unless they run or start, or so few seconds are left that they would not be worth it.
    """
    if any(own.name == _STARTER for own in threading.enumerate()):
        return
    if seconds >= _LEAST_SECONDS_TO_START and have_to_start(n_jobs):
        # A thread does not know by itself which backend is meant.
        backend, _ = get_active_backend()
        threading.Thread(
            target=start_workers, args=(n_jobs, backend), name=_STARTER, daemon=True
        ).start()


def uses_loky() -> bool:
    """Return whether workers are joblib's own processes on this machine."""
    backend, _ = get_active_backend()
    return isinstance(backend, BACKENDS["loky"])


def parallel_call(n_jobs: int | None, **options: Any) -> joblib.Parallel:
    """Return the call that hands tasks to the workers of the joblib backend in use.

    Results come one by one as tasks end; as a list if the backend cannot do that.
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

    Yields
    ------
    None
        Nothing.
    """
    backend, n_jobs = get_active_backend()
    while hasattr(backend, "around"):
        backend, n_jobs = backend.around
    with joblib.parallel_config(backend=backend, n_jobs=n_jobs):
        yield


@contextmanager
def closing_call(generator: Generator[Any, None, None]) -> Iterator[Any]:
    """Close a generator of joblib's results at the end of a block, whatever came up.

    Closed before its end it stops the workers.
    """
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
