# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The dispatcher of shards, and a stream of fits requested during training."""

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from queue import Empty
from typing import Any, Self

import joblib

from sk_tune._engine._executors import (
    LOST,
    Executor,
    ThisProcess,
    executor_of,
    is_unsendable,
)
from sk_tune._engine._fits import (
    Progress,
    ProgressReporter,
    Trained,
    failed,
    passing_errors,
    raising_caller_errors,
)
from sk_tune._engine._memory_limits import SHARE_OF_MEMORY, bytes_per_fit
from sk_tune._engine._results import (
    FitKeys,
    Results,
    StoredFits,
    ready_fits,
    warn_of_unstored,
)
from sk_tune._engine._shard import Shard, part_of
from sk_tune._engine._signature import signature
from sk_tune._engine._store import FitStore
from sk_tune._estimators import Fit, FitPreparer, LastSeen
from sk_tune._training import TimeLimit, available_memory
from sk_tune._warnings import issue

# Seconds between looks at fits that other processes train, which grow to a tenth of the
# time waited.
_LEAST_PAUSE, _MOST_PAUSE, _GROWTH = 0.02, 1.0, 1.1


class Dispatcher:
    """Sends shards to an executor; collects, stores and reports their results.

    Shards that may have started in a killed worker run again singly, which identifies the
    culprit. Shards that cannot be pickled are trained in this process, as are all shards if
    `is_here`. A shard waits while other processes with the same store train its fits.
    """

    def __init__(
        self,
        n_jobs: int | None,
        results: Results,
        reporter: ProgressReporter,
        *,
        is_here: bool,
        **here: Any,
    ) -> None:
        self._n_jobs = n_jobs
        self._results = results
        self._reporter = reporter
        self._is_here = is_here
        self._here = {"epoch_done": reporter.epoch_done, "fits_done": results.add, **here}
        # Shards without a result, by position.
        self._shards: dict[int, tuple[Shard, StoredFits]] = {}
        self._n_put = 0
        # Positions of waiting shards, of running shards in the order of submission, of
        # shards lost with a worker, and of all shards ever lost.
        self._waiting: deque[int] = deque()
        self._running: list[int] = []
        self._lost: deque[int] = deque()
        self._suspects: set[int] = set()
        # Positions of shards in training elsewhere; seconds until the next look at them.
        self._elsewhere: list[int] = []
        self._pause = _LEAST_PAUSE
        self._next_look = 0.0
        self._executor: Executor | None = None

    @property
    def n_workers(self) -> int:
        """Current number of workers."""
        return 1 if self._is_here else int(joblib.effective_n_jobs(self._n_jobs))

    @property
    def n_shards(self) -> int:
        """Shards without a result."""
        return len(self._shards)

    @property
    def n_here(self) -> int:
        """Shards to train in this process or its workers."""
        return len(self._shards) - len(self._elsewhere)

    def put(self, shard: Shard, stored: StoredFits) -> None:
        """Add a shard, which starts at once if a worker is idle."""
        self._waiting.append(self._add(shard, stored))
        self._hand_over()

    def next(self, timeout: float | None = None) -> bool:
        """Wait until a shard ends; False after `timeout` seconds, which stops all."""
        n_done, end = len(self._results.trained), time.monotonic() + (timeout or 0.0)
        while True:
            executor = self._hand_over()
            if len(self._results.trained) > n_done:
                return True
            seconds_left = None if timeout is None else max(0.0, end - time.monotonic())
            try:
                if not self._running:
                    self._wait(seconds_left)
                    continue
                position, out = executor.completed(seconds_left)
            except Empty:
                self.close()
                return False
            is_lost = isinstance(out, LOST)
            if is_lost and position not in self._suspects:
                self._lose(position, executor)
            elif is_lost or not isinstance(out, Exception):
                self._running.remove(position)
                if isinstance(out, tuple):  # of a worker
                    out, messages = out
                    issue(messages)
                if is_lost and executor.is_one:
                    self._stop()
                self._end(position, out)
                return True
            elif is_unsendable(out):
                self._is_here = True
                self._stop()
            else:
                raise out

    def close(self) -> None:
        """Stop running shards and drop waiting shards."""
        self._stop()
        for positions in (self._shards, self._waiting, self._lost, self._elsewhere):
            positions.clear()

    def _add(self, shard: Shard, stored: StoredFits) -> int:
        """Return the position of a new shard."""
        self._n_put += 1
        self._shards[self._n_put] = shard, stored
        return self._n_put

    def _hand_over(self) -> Executor:
        """Submit shards up to the executor's limit."""
        executor = self._executor
        if executor is None:
            executor = (
                ThisProcess(**self._here) if self._is_here else executor_of(self._n_jobs)
            )
            self._executor = executor
        self._look_elsewhere()
        is_alone = bool(self._lost) or not self._suspects.isdisjoint(self._running)
        queue = self._lost if is_alone else self._waiting
        if queue:
            # Counting the workers of a cluster takes a request.
            n_workers = self.n_workers
            most = 1 if is_alone else executor.n_at_once * n_workers
            while queue and len(self._running) < most:
                is_reserve = len(self._running) >= n_workers
                if is_reserve and self._shards[queue[0]][1].n_processes > 1:
                    # Another process may have an idle worker.
                    break
                position = queue.popleft()
                if self._claim(position):
                    self._running.append(position)
                    executor.submit(position, self._shards[position][0])
        return executor

    def _claim(self, position: int) -> bool:
        """Claim a shard's fits, and divide it; return whether there is a part to train."""
        shard, stored = self._shards.pop(position)
        mine, elsewhere, loaded = stored.claim(shard)
        if loaded:
            self._results.add(loaded)
            self._reporter.fits_done(loaded)
        if elsewhere.fits:
            self._elsewhere.append(self._add(elsewhere, stored))
        if mine.fits:
            self._shards[position] = mine, stored
        return bool(mine.fits)

    def _look_elsewhere(self) -> None:
        """Let shards wait for this process if others have finished or lost some fits."""
        if not self._elsewhere or self._waiting or time.monotonic() < self._next_look:
            return
        free = [
            i
            for i in self._elsewhere
            if not self._shards[i][1].are_busy(self._shards[i][0])
        ]
        self._elsewhere = [i for i in self._elsewhere if i not in free]
        self._waiting.extend(free)
        self._pause = _LEAST_PAUSE if free else min(_GROWTH * self._pause, _MOST_PAUSE)
        self._next_look = time.monotonic() + self._pause

    def _wait(self, seconds: float | None) -> None:
        """Wait until the next look at shards elsewhere; ``Empty`` if no time is left."""
        if seconds == 0.0:
            raise Empty
        time.sleep(self._pause if seconds is None else min(self._pause, seconds))
        # The caller may show the time, or interrupt.
        shards = (self._shards[i][0] for i in self._elsewhere)
        self._reporter.tell(sum(len(shard.fits) for shard in shards))

    def _lose(self, position: int, executor: Executor) -> None:
        """Record the shards lost with a worker."""
        # Workers take shards in order.
        lost = self._running[: self.n_workers] if executor.is_one else [position]
        self._running = [i for i in self._running if i not in lost]
        self._suspects.update(lost)
        self._lost.extend(lost)
        if executor.is_one:
            self._stop()

    def _stop(self) -> None:
        """Stop running shards, which wait again."""
        executor, self._executor = self._executor, None
        self._waiting.extendleft(reversed(self._running))
        self._running = []
        if executor is not None:
            executor.close()

    def _end(self, position: int, out: Any) -> None:
        shard, stored = self._shards.pop(position)
        if isinstance(out, LOST):
            message = f"its worker process died: {out}"
            out = {
                i: replace(failed(f, message, 0.0, "fleet"), is_lost=True)
                for i, f in shard.fits.items()
            }
        new = self._results.take(out)
        done = {i: self._results.trained[i] for i in shard.fits}
        stored.save(done)
        self._results.tell(new)
        self._reporter.fits_done(done)


class FitStream:
    """Trains groups of fits, requested at any time, without idle workers.

    A ``with`` block, whose end stops running fits. With one worker this process trains, in
    order, when a result is requested. `expected` are the epochs of future requests, which
    `progress` counts.
    """

    def __init__(
        self,
        *,
        n_jobs: int | None = None,
        progress: Callable[[Progress], object] | None = None,
        expected: Iterable[int] = (),
        store: str | os.PathLike[str] | None = None,
    ) -> None:
        self._reporter = ProgressReporter(passing_errors(progress), {}, expected)
        self._results = Results(None, as_fleet=True)
        self._dispatcher = Dispatcher(
            n_jobs,
            self._results,
            self._reporter,
            is_here=joblib.effective_n_jobs(n_jobs) == 1,
            preparer=FitPreparer(),
        )
        self._limit = SHARE_OF_MEMORY * available_memory()
        self._path = store
        self._store: FitStore | None = None
        self._keys = FitKeys()
        self._data: list[int] = []
        self._unstored: Counter[str] = Counter()
        # Positions of the fits of each request that was not fetched.
        self._requests: dict[int, range] = {}
        self._n_fits = self._n_requests = 0
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        """Open the store."""
        if self._path is not None:
            self._store = self._closing.enter_context(FitStore(self._path))
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the workers and close the store."""
        self._dispatcher.close()
        self._closing.close()
        if error[0] is None:
            warn_of_unstored(self._unstored)

    @property
    def n_workers(self) -> int:
        """Current number of workers, including late starters."""
        return self._dispatcher.n_workers

    @property
    def n_idle(self) -> int:
        """Number of idle workers."""
        return max(0, self.n_workers - self._dispatcher.n_here)

    @property
    def n_wanted(self) -> int:
        """Number of shards to request now: one for each idle worker, and one in reserve."""
        n_workers = self.n_workers
        return max(0, n_workers + (n_workers > 1) - self._dispatcher.n_here)

    @property
    def n_ended(self) -> int:
        """Number of finished requests not fetched yet."""
        return len(self._ended())

    def ask(
        self,
        requests: Sequence[Sequence[Fit]],
        n_pieces: int = 1,
        limit: TimeLimit | None = None,
    ) -> list[int]:
        """Request groups of fits, in `n_pieces` per signature; return their numbers."""
        numbers = list(range(self._n_requests, self._n_requests + len(requests)))
        self._n_requests += len(requests)
        fits = [fit for requested in requests for fit in requested]
        positions = range(self._n_fits, self._n_fits + len(fits))
        for number, requested in zip(numbers, requests, strict=True):
            self._requests[number] = range(self._n_fits, self._n_fits + len(requested))
            self._n_fits += len(requested)
        ready = ready_fits(dict(zip(positions, fits, strict=True)), self._results, "fleet")
        # The digests are valid if the data are the same as in the last call.
        data = [id(fit.X) for fit in fits]
        if data != self._data:
            self._keys, self._data = FitKeys(), data
        stored = StoredFits(self._store, ready, self._keys)
        self._unstored += stored.reasons
        n_epochs = {i: ready[i].n_epochs or 0 if i in ready else 0 for i in positions}
        self._reporter.fits_asked(n_epochs)
        self._results.add(stored.loaded)
        with raising_caller_errors():
            for shard in self._cut(ready, n_pieces):
                unstored = part_of(shard, shard.fits.keys() - stored.loaded.keys())
                if unstored.fits:
                    self._dispatcher.put(replace(unstored, limit=limit), stored)
            done = [i for i in positions if i in self._results.trained]
            if done:
                self._reporter.fits_done({i: self._results.trained[i] for i in done})
        return numbers

    def next(self, timeout: float | None = None) -> tuple[int, list[Trained]] | None:
        """Return a request's number and results; None after a timeout, which stops all."""
        if not self._requests:
            raise ValueError("FitStream.next needs a request. Ask for fits first.")
        with raising_caller_errors():
            while not (ended := self._ended()):
                if not self._dispatcher.next(timeout):
                    return None
        positions = self._requests.pop(ended[0])
        return ended[0], [self._results.trained.pop(i) for i in positions]

    def _ended(self) -> list[int]:
        """Return the numbers of the finished requests."""
        trained = self._results.trained.keys()
        return [n for n, positions in self._requests.items() if trained >= set(positions)]

    def _cut(self, fits: Mapping[int, Fit], n_pieces: int) -> list[Shard]:
        groups, alone = grouped(fits, self._results.reasons)
        n = max(1, n_pieces // max(1, len(groups)))
        parts = [
            [positions[k::n]]
            for positions in groups.values()
            for k in range(min(n, len(positions)))
        ]
        limit = int(self._limit / self.n_workers)
        return shards_of(fits, parts, alone, limit, bytes_per_fit(fits.values(), limit))


def grouped(
    fits: Mapping[int, Fit], reasons: Mapping[int, str | None] | None
) -> tuple[dict[Any, list[int]], list[int]]:
    """Return fits by signature, and fits to train alone (all if `reasons` is None)."""
    if reasons is None:
        return {}, list(fits)
    groups: dict[Any, list[int]] = {}
    last, last_signature = LastSeen(), None
    for i, fit in fits.items():
        if reasons[i] is None:
            if not last.is_like(fit.estimator):
                last_signature = signature(fit)
                last.see(fit.estimator)
            groups.setdefault(last_signature, []).append(i)
    return groups, [i for i in fits if reasons[i] is not None]


def shards_of(
    fits: Mapping[int, Fit],
    parts: Iterable[Sequence[Sequence[int]]],
    alone: Iterable[int],
    memory_limit: int,
    checkpoint_bytes: int,
) -> list[Shard]:
    """Return one shard for each part, and one for each fit that trains alone."""
    return [
        Shard(
            fits={i: fits[i] for group in groups for i in group},
            as_fleet=as_fleet,
            memory_limit=memory_limit,
            groups=groups,
            checkpoint_bytes=checkpoint_bytes,
        )
        for as_fleet, shards in ((True, parts), (False, ([[i]] for i in alone)))
        for groups in shards
    ]
