# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Shards handed to joblib's workers one by one, while others are running."""

from collections import deque
from contextlib import ExitStack
from multiprocessing import TimeoutError as NothingYetError
from typing import Any

import joblib

from sk_tune.engine._shard import Shard, train_shard
from sk_tune.engine._workers import (
    LOST,
    closing_call,
    is_unsendable,
    parallel_call,
    run_lost_shard,
    shard_task,
)
from sk_tune.estimators import FitPreparer

__all__ = ["ShardStream"]


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
        # All without a result, by position: those handed to joblib, and those that wait.
        self._shards: dict[int, Shard] = {}
        self._waiting: deque[int] = deque()
        # Lost with a worker, to be run once more.
        self._lost: deque[int] = deque()
        self._call: _Call | None = None
        # Of a backend that gets batches, whose workers stay between them.
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
                # What cannot be sent is trained here.
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
            self._call.start([(own, self._shards[own]) for own in waiting])
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
        queue.extend(own for own in self._shards if own not in waiting)

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
