# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The dispatcher of shards, and fits that are asked for while others train."""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from queue import Empty
from typing import Any, Self

import joblib

from sk_tune.engine._executors import (
    LOST,
    Executor,
    ThisProcess,
    executor_of,
    is_unsendable,
)
from sk_tune.engine._fits import (
    Progress,
    ProgressReporter,
    Trained,
    failed,
    passing_errors,
    raising_caller_errors,
)
from sk_tune.engine._memory_limits import SHARE_OF_MEMORY, available_memory, bytes_per_fit
from sk_tune.engine._results import (
    FitKeys,
    Results,
    StoredFits,
    ready_fits,
    warn_of_unstored,
)
from sk_tune.engine._shard import Shard
from sk_tune.engine._skorch_support import signature
from sk_tune.engine._store import FitStore
from sk_tune.estimators import Fit, FitPreparer, LastSeen
from sk_tune.training import TimeLimit


class Dispatcher:
    """Has shards run by an executor; keeps, stores and tells of their results.

    A worker that is killed takes its shard with it, and with most backends all others that
    run. What had not begun is sent again; what may have run is run once more, one at a
    time, so that the one at fault is known. What cannot be sent is trained in this process,
    as everything is if `is_here`.
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
        # Positions of those that wait, that run in the order in which they were handed
        # over, and that were lost with a worker, then of all that ever were.
        self._waiting: deque[int] = deque()
        self._running: list[int] = []
        self._lost: deque[int] = deque()
        self._suspects: set[int] = set()
        self._executor: Executor | None = None

    @property
    def n_workers(self) -> int:
        """Workers that there are now."""
        return 1 if self._is_here else int(joblib.effective_n_jobs(self._n_jobs))

    @property
    def n_shards(self) -> int:
        """Shards without a result."""
        return len(self._shards)

    def put(self, shard: Shard, stored: StoredFits) -> None:
        """Take a shard, which runs at once if there is a worker."""
        self._shards[self._n_put] = shard, stored
        self._waiting.append(self._n_put)
        self._n_put += 1
        self._hand_over()

    def next(self, timeout: float | None = None) -> Shard | None:
        """Wait until some shard has ended, and return it when its results are kept.

        None if `timeout` seconds have passed; then everything is stopped.
        """
        while True:
            executor = self._hand_over()
            try:
                position, out = executor.completed(timeout)
            except Empty:
                self.close()
                return None
            is_lost = isinstance(out, LOST)
            if is_lost and position not in self._suspects:
                self._lose(position, executor)
            elif is_lost or not isinstance(out, Exception):
                self._running.remove(position)
                if is_lost and executor.is_one:
                    self._stop()
                return self._end(position, out)
            elif is_unsendable(out):
                self._is_here = True
                self._stop()
            else:
                raise out

    def close(self) -> None:
        """Stop what is running, and forget what waits."""
        self._stop()
        for positions in (self._shards, self._waiting, self._lost):
            positions.clear()

    def _hand_over(self) -> Executor:
        """Give the executor as much as it is to have at a time."""
        if self._executor is None:
            here = self._is_here
            self._executor = (
                ThisProcess(**self._here) if here else executor_of(self._n_jobs)
            )
        executor = self._executor
        is_alone = bool(self._lost) or not self._suspects.isdisjoint(self._running)
        queue = self._lost if is_alone else self._waiting
        if queue:
            # To count the workers of a cluster is to ask it.
            most = 1 if is_alone else executor.n_at_once * self.n_workers
            while queue and len(self._running) < most:
                position = queue.popleft()
                self._running.append(position)
                executor.submit(position, self._shards[position][0])
        return executor

    def _lose(self, position: int, executor: Executor) -> None:
        """Take note of a shard whose worker is gone, and of those lost with it."""
        lost = [position]
        if executor.is_one:
            # Workers take shards in their order.
            lost = self._running[: self.n_workers]
        self._running = [i for i in self._running if i not in lost]
        self._suspects.update(lost)
        self._lost.extend(lost)
        if executor.is_one:
            self._stop()

    def _stop(self) -> None:
        """Stop what is running, which then waits."""
        executor, self._executor = self._executor, None
        self._waiting.extendleft(reversed(self._running))
        self._running = []
        if executor is not None:
            executor.close()

    def _end(self, position: int, out: Any) -> Shard:
        shard, stored = self._shards.pop(position)
        if isinstance(out, LOST):
            message = f"its worker process died: {out}"
            out = {i: failed(f, message, 0.0, "fleet") for i, f in shard.fits.items()}
        new = self._results.take(out)
        done = {i: self._results.trained[i] for i in shard.fits}
        stored.save(done)
        self._results.tell(new)
        self._reporter.fits_done(done)
        return shard


class FitStream:
    """Trains fits that are asked for one group after the other; no worker waits.

    To be used in a ``with`` block, whose end stops what is still running.  One worker is
    this process, which trains when a result is asked for, in order.  `expected` are the
    epochs of fits that are going to be asked for, which `progress` counts.

    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import MLPClassifier
    >>> from sk_tune.engine import Fit, FitStream
    >>> X, y = load_iris(return_X_y=True)
    >>> nets = [MLPClassifier(max_epochs=2, random_state=seed) for seed in range(2)]
    >>> with FitStream() as stream:
    ...     numbers = stream.ask([[Fit(estimator=net, X=X, y=y)] for net in nets])
    ...     number, (trained,) = stream.next()
    >>> number, trained.status
    (0, 'trained')
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
        # Positions of the fits of each request whose results were not fetched.
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
        """Workers that there are now, late ones included."""
        return self._dispatcher.n_workers

    @property
    def n_idle(self) -> int:
        """Workers that have nothing to do."""
        return max(0, self.n_workers - self._dispatcher.n_shards)

    @property
    def n_wanted(self) -> int:
        """Shards to ask for now: one for each idle worker, and one that waits.

        With that no worker is idle while a result is looked at; one worker, which is this
        process, has none that waits.
        """
        n_workers = self.n_workers
        spare = 1 if n_workers > 1 else 0
        return max(0, n_workers + spare - self._dispatcher.n_shards)

    @property
    def n_requests(self) -> int:
        """Requests whose results were not fetched."""
        return len(self._requests)

    @property
    def n_ended(self) -> int:
        """Requests whose results are there, and were not fetched."""
        return len(self._ended())

    def ask(
        self,
        requests: Sequence[Sequence[Fit]],
        n_pieces: int = 1,
        limit: TimeLimit | None = None,
    ) -> list[int]:
        """Ask for some fits, which begin at once if there is a worker; number the requests.

        The fits of a request have one result.  All that is asked for in one call is trained
        in `n_pieces` shards, as far as it has the same signature.
        """
        numbers = list(range(self._n_requests, self._n_requests + len(requests)))
        self._n_requests += len(requests)
        fits = [fit for requested in requests for fit in requested]
        positions = range(self._n_fits, self._n_fits + len(fits))
        for number, requested in zip(numbers, requests, strict=True):
            self._requests[number] = range(self._n_fits, self._n_fits + len(requested))
            self._n_fits += len(requested)
        ready = ready_fits(dict(zip(positions, fits, strict=True)), self._results, "fleet")
        # The digests of the data are known if they are those of the last fits.
        data = [id(fit.X) for fit in fits]
        if data != self._data:
            self._keys, self._data = FitKeys(), data
        stored = StoredFits(self._store, ready, self._keys)
        self._unstored += stored.reasons
        n_epochs = {i: ready[i].n_epochs or 0 if i in ready else 0 for i in positions}
        self._reporter.fits_asked(n_epochs)
        self._results.add(stored.loaded)
        for shard in self._cut(ready, n_pieces):
            left = stored.rest(shard)
            if left.fits:
                self._dispatcher.put(replace(left, limit=limit), stored)
        done = [i for i in positions if i in self._results.trained]
        if done:
            with raising_caller_errors():
                self._reporter.fits_done({i: self._results.trained[i] for i in done})
        return numbers

    def next(self, timeout: float | None = None) -> tuple[int, list[Trained]] | None:
        """Wait for a request; return its number and results, or None if the time is up.

        After `timeout` seconds the workers are stopped; what they had is lost.
        """
        if not self._requests:
            raise ValueError("FitStream.next needs a request. Ask for fits first.")
        with raising_caller_errors():
            while not (ended := self._ended()):
                if self._dispatcher.next(timeout) is None:
                    return None
        positions = self._requests.pop(ended[0])
        return ended[0], [self._results.trained.pop(i) for i in positions]

    def _ended(self) -> list[int]:
        """Return the numbers of the requests whose results are all there."""
        trained = self._results.trained
        return [n for n, own in self._requests.items() if all(i in trained for i in own)]

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
    """Return the positions of fits by signature, and of those that train alone.

    `reasons` are why the latter do so, if they do; all do if it is None.
    """
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
    """Return shards: for each part its groups, and one for each fit that trains alone."""
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
