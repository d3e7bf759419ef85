# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Fits that are asked for while others train, and results that come as they end."""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing import TimeoutError as NothingYetError
from typing import Any, Self

import joblib

from sk_tune.engine._executors import (
    LOST,
    closing_call,
    is_unsendable,
    parallel_call,
    run_lost_shard,
    shard_task,
)
from sk_tune.engine._fits import (
    Fit,
    Progress,
    ProgressReporter,
    Trained,
    passing_errors,
    raising_caller_errors,
)
from sk_tune.engine._memory_limits import SHARE_OF_MEMORY, available_memory, bytes_per_fit
from sk_tune.engine._results import (
    FitKeys,
    Results,
    StoredFits,
    end_shard,
    ready_fits,
    warn_of_unstored,
)
from sk_tune.engine._shard import Shard, train_shard
from sk_tune.engine._skorch_support import signature
from sk_tune.engine._store import FitStore
from sk_tune.estimators import FitPreparer
from sk_tune.training import TimeLimit

__all__ = ["FitStream"]


class ShardStream:
    """Runs shards in workers; their results come in the order in which they end.

    With one worker shards are trained in this process, in the order in which they came.

    Shards go to one call of joblib as long as something of it runs: a new call would send
    the data anew. A worker that is killed may take all shards with it that are running;
    these are run once more, one at a time, so that the one at fault is known. A backend
    that cannot return results one by one gets what is waiting as a batch.

    ``dispatch_one_batch`` and the counters of ``joblib.Parallel`` have no underscore, but
    no documentation either; ADR 14 says why they are used.
    """

    def __init__(self, n_jobs: int | None, epoch_done: Any = None) -> None:
        self._n_jobs = n_jobs
        self._epoch_done = epoch_done
        self._preparer = FitPreparer()
        self._is_here = joblib.effective_n_jobs(n_jobs) == 1
        # Shards without a result, by position: those handed to joblib, and those that wait.
        self._shards: dict[int, Shard] = {}
        self._waiting: deque[int] = deque()
        # Shards that were lost with a worker, and are run once more.
        self._lost: deque[int] = deque()
        self._call: _Call | None = None
        # Caller of a backend that gets batches, whose workers stay between these.
        self._batches: joblib.Parallel | None = None
        self._closing = ExitStack()

    @property
    def n_workers(self) -> int:
        """Workers that there are now."""
        return 1 if self._is_here else int(joblib.effective_n_jobs(self._n_jobs))

    @property
    def n_shards(self) -> int:
        """Shards without a result."""
        return len(self._shards)

    def put(self, position: int, shard: Shard) -> None:
        """Hand over a shard under a new position.

        It is run at once if there is a worker.
        """
        self._shards[position] = shard
        if self._call is None or not self._call.add(position, shard):
            self._waiting.append(position)

    def next(self, timeout: float | None = None) -> tuple[int, Any, str] | None:
        """Wait for a result: its position, what ``train_shard`` returned, and a message.

        The result is None if the shard was lost twice, and the message says why. None
        instead of the three if `timeout` seconds have passed.
        """
        while True:
            if self._is_here:
                return self._run_here()
            if self._lost:
                return self._run_lost()
            try:
                ended = self._running_call().next(timeout)
            except NothingYetError:
                self.close()
                return None
            except LOST:
                self._give_up_call(self._lost)
            except Exception as error:
                if not is_unsendable(error):
                    raise
                # Shards that cannot be sent are trained here.
                self._is_here = True
                self._give_up_call(self._waiting)
            else:
                if ended is not None:
                    del self._shards[ended[0]]
                    return *ended, ""
                self._end_call()

    def close(self) -> None:
        """Stop what is running."""
        self._give_up_call(deque())
        self._shards.clear()
        self._waiting.clear()
        self._lost.clear()

    def _running_call(self) -> "_Call":
        """Return the call that runs, or a new one of all that waits."""
        if self._call is None:
            self._call = _Call(self._parallel(), takes_more=self._batches is None)
            waiting, self._waiting = self._waiting, deque()
            self._call.start([(position, self._shards[position]) for position in waiting])
        return self._call

    def _parallel(self) -> Any:
        """Return what starts a call."""
        if self._batches is not None:
            return self._batches
        parallel = parallel_call(self._n_jobs, batch_size=1, pre_dispatch="all")
        if parallel.return_as == "list":
            self._batches = self._closing.enter_context(parallel)
        return parallel

    def _end_call(self) -> None:
        """Let go of a call that has no more results; what it did not return is lost."""
        self._call = None
        if len(self._waiting) < len(self._shards):
            self._give_up_call(self._lost)

    def _give_up_call(self, queue: deque[int]) -> None:
        """Stop what joblib has, and put it into a queue."""
        if self._call is not None:
            self._call.close()
            self._call = None
        self._closing.close()
        self._batches = None
        waiting = set(self._waiting)
        queue.extend(position for position in self._shards if position not in waiting)

    def _run_here(self) -> tuple[int, Any, str]:
        position = self._waiting.popleft()
        shard = self._shards.pop(position)
        result = train_shard(shard, self._epoch_done, preparer=self._preparer)
        return position, result, ""

    def _run_lost(self) -> tuple[int, Any, str]:
        position = self._lost.popleft()
        return run_lost_shard(position, self._shards.pop(position), self._n_jobs)


class _Call:
    """A call of joblib that takes more tasks while it runs."""

    def __init__(self, parallel: Any, *, takes_more: bool) -> None:
        self._parallel = parallel
        self._takes_more = takes_more
        self._results: Any = iter(())
        self._closing = ExitStack()

    def start(self, shards: list[tuple[int, Shard]]) -> None:
        """Begin with some shards; wait for all of them if the backend gives lists only."""
        results = self._parallel(_tasks(shards))
        if self._takes_more:
            self._results = self._closing.enter_context(closing_call(results))
        else:
            self._results = iter(results)

    def add(self, position: int, shard: Shard) -> bool:
        """Run another shard, unless the call has ended or is about to."""
        parallel = self._parallel
        # While a task runs, the generator has not left the loop that waits for results.
        if not self._takes_more or not (
            parallel.n_completed_tasks < parallel.n_dispatched_tasks
        ):
            return False
        try:
            return bool(parallel.dispatch_one_batch(iter(_tasks([(position, shard)]))))
        except LOST:
            # The results that joblib waits for say so, too.
            return False

    def next(self, timeout: float | None) -> tuple[int, Any] | None:
        """Return the next result; None after the last."""
        self._parallel.timeout = timeout
        return next(self._results, None)

    def close(self) -> None:
        """Stop what is running."""
        self._closing.close()


def _tasks(shards: list[tuple[int, Shard]]) -> list[Any]:
    return [shard_task(position, shard) for position, shard in shards]


@dataclass(slots=True, eq=False)
class _StreamRequest:
    """Fits whose results are wanted together, and those that have not ended."""

    positions: Sequence[int]
    missing: set[int]


class FitStream:
    """Trains fits that are asked for one group after the other; no worker waits.

    To be used in a ``with`` block, whose end stops what is still running.

    Parameters
    ----------
    n_jobs : int or None, default=None
        Worker processes, as in :func:`train`.  With one worker fits are trained in this
        process when a result is asked for, in the order in which they came.
    progress : callable or None, default=None
        Called with a ``Progress``.
    expected : iterable of int, default=()
        Epochs of fits that are going to be asked for, for `progress` to count.
    store : str, path-like or None, default=None
        As in :func:`train`; this process writes it.

    Examples
    --------
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
        self._shards = ShardStream(n_jobs, self._reporter.epoch_done)
        self._results = Results(None, as_fleet=True)
        self._limit = SHARE_OF_MEMORY * available_memory()
        self._path = store
        self._store: FitStore | None = None
        self._keys = FitKeys()
        self._data: list[int] = []
        self._unstored: Counter[str] = Counter()
        self._requests: dict[int, _StreamRequest] = {}
        self._request_of: dict[int, int] = {}
        self._running: dict[int, tuple[Shard, StoredFits]] = {}
        self._n_fits = self._n_requests = self._n_shards = 0
        self._ended: list[int] = []
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        """Open the store."""
        if self._path is not None:
            self._store = self._closing.enter_context(FitStore(self._path))
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the workers and close the store."""
        self._shards.close()
        self._closing.close()
        if error[0] is None:
            warn_of_unstored(self._unstored)

    @property
    def n_workers(self) -> int:
        """Workers that there are now, late ones included."""
        return self._shards.n_workers

    @property
    def n_idle(self) -> int:
        """Workers that have nothing to do."""
        return max(0, self.n_workers - self._shards.n_shards)

    @property
    def n_wanted(self) -> int:
        """Shards to ask for now: one for each idle worker, and one that waits.

        With that no worker is idle while a result is looked at; one worker, which is this
        process, has none that waits.
        """
        n_workers = self.n_workers
        spare = 1 if n_workers > 1 else 0
        return max(0, n_workers + spare - self._shards.n_shards)

    @property
    def n_requests(self) -> int:
        """Requests whose results were not fetched."""
        return len(self._requests)

    @property
    def n_ended(self) -> int:
        """Requests whose results are there, and were not fetched."""
        return len(self._ended)

    def ask(
        self,
        requests: Sequence[Sequence[Fit]],
        n_pieces: int = 1,
        limit: TimeLimit | None = None,
    ) -> list[int]:
        """Ask for some fits, which begin at once if there is a worker.

        Parameters
        ----------
        requests : sequence of sequence of Fit
            The fits of a request have one result.  All that is asked for in one call is
            trained in one shard, as far as it has the same signature.
        n_pieces : int, default=1
            Into how many shards it may be cut, for so many workers.
        limit : TimeLimit or None, default=None
            When the training is to end, as in :func:`train`.

        Returns
        -------
        list of int
            Numbers of the requests, counted from 0.
        """
        numbers = [self._add_request(len(requested)) for requested in requests]
        positions = [i for number in numbers for i in self._requests[number].positions]
        fits = [fit for requested in requests for fit in requested]
        ready = ready_fits(dict(zip(positions, fits, strict=True)), self._results, "fleet")
        stored = StoredFits(self._store, ready, self._keys_for(fits))
        self._unstored += stored.reasons
        n_epochs = {i: ready[i].n_epochs or 0 if i in ready else 0 for i in positions}
        self._reporter.fits_asked(n_epochs)
        if stored.loaded:
            alone = {i: r.solo_reason for i, r in stored.loaded.items() if r.solo_reason}
            self._results.add(stored.loaded, alone)
        for shard in self._cut(ready, n_pieces):
            left = stored.rest(shard)
            if left.fits:
                self._running[self._n_shards] = (left, stored)
                self._shards.put(self._n_shards, replace(left, limit=limit))
                self._n_shards += 1
        done = [i for i in positions if i in self._results.trained]
        if done:
            with raising_caller_errors():
                self._reporter.fits_done({i: self._results.trained[i] for i in done})
        self._end(done)
        return numbers

    def next(self, timeout: float | None = None) -> tuple[int, list[Trained]] | None:
        """Wait until all fits of a request have ended, of whichever is first.

        Parameters
        ----------
        timeout : float or None, default=None
            Seconds after which to stop the workers; what they had is lost.  What trains in
            this process is not stopped.

        Returns
        -------
        number : int
            Of the request.
        trained : list of Trained
            Of its fits, in their order.  None instead of both if the time is up.
        """
        if not self._requests:
            raise ValueError("FitStream.next needs a request. Ask for fits first.")
        with raising_caller_errors():
            while not self._ended:
                ended = self._shards.next(timeout)
                if ended is None:
                    return None
                shard, stored = self._running.pop(ended[0])
                end_shard(shard, ended[1:], self._results, stored, self._reporter)
                self._end(shard.fits)
        number = self._ended.pop(0)
        positions = self._requests.pop(number).positions
        return number, [self._results.trained.pop(i) for i in positions]

    def _add_request(self, n_fits: int) -> int:
        number, self._n_requests = self._n_requests, self._n_requests + 1
        positions = range(self._n_fits, self._n_fits + n_fits)
        self._n_fits += n_fits
        self._requests[number] = _StreamRequest(positions, set(positions))
        self._request_of |= dict.fromkeys(positions, number)
        return number

    def _end(self, positions: Iterable[int]) -> None:
        """Take note of fits that have results."""
        for i in positions:
            number = self._request_of.pop(i)
            self._requests[number].missing.discard(i)
            if not self._requests[number].missing:
                self._ended.append(number)

    def _keys_for(self, fits: Sequence[Fit]) -> FitKeys:
        """Return what knows the digests of the data, if they are those of the last fits."""
        data = [id(fit.X) for fit in fits]
        if data != self._data:
            self._keys, self._data = FitKeys(), data
        return self._keys

    def _cut(self, fits: Mapping[int, Fit], n_pieces: int) -> list[Shard]:
        """Cut fits into shards of equal signature."""
        groups: dict[Any, list[int]] = {}
        for i, fit in fits.items():
            alone = self._results.solo[i] is not None
            groups.setdefault(None if alone else signature(fit), []).append(i)
        lone = [[i] for i in groups.pop(None, [])]
        n = max(1, n_pieces // max(1, len(groups)))
        parts = [
            positions[k::n]
            for positions in groups.values()
            for k in range(min(n, len(positions)))
        ]
        limit = int(self._limit / self.n_workers)
        checkpoint_bytes = bytes_per_fit(fits.values(), limit)
        return [
            Shard(
                fits={i: fits[i] for i in members},
                as_fleet=as_fleet,
                memory_limit=limit,
                groups=[members],
                checkpoint_bytes=checkpoint_bytes,
            )
            for as_fleet, all_own in ((True, parts), (False, lone))
            for members in all_own
        ]
