# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Fits that are asked for while others train, and results that come as they end."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Self

from sk_tune.engine._checkpoints import bytes_per_fit
from sk_tune.engine._fit_key import FitKeys
from sk_tune.engine._memory import SHARE_OF_MEMORY, available_memory
from sk_tune.engine._progress import (
    Progress,
    ProgressReporter,
    passing_errors,
    raising_caller_errors,
)
from sk_tune.engine._records import Fit, Trained
from sk_tune.engine._results import Results, end_shard, ready_fits
from sk_tune.engine._shard import Shard
from sk_tune.engine._shard_stream import ShardStream
from sk_tune.engine._signature import signature
from sk_tune.engine._store import FitStore
from sk_tune.engine._stored import StoredFits, warn_of_unstored
from sk_tune.training import TimeLimit

__all__ = ["FitStream"]


@dataclass(slots=True, eq=False)
class _Request:
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
        self._requests: dict[int, _Request] = {}
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
        """Of these, those whose results are there."""
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
        numbers = [self._add_request(len(own)) for own in requests]
        positions = [i for number in numbers for i in self._requests[number].positions]
        fits = [fit for own in requests for fit in own]
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
        self._requests[number] = _Request(positions, set(positions))
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
        parts = [own[k::n] for own in groups.values() for k in range(min(n, len(own)))]
        limit = int(self._limit / self.n_workers)
        checkpoint_bytes = bytes_per_fit(fits.values(), limit)
        return [
            Shard(
                fits={i: fits[i] for i in own},
                as_fleet=as_fleet,
                memory_limit=limit,
                groups=[own],
                checkpoint_bytes=checkpoint_bytes,
            )
            for as_fleet, all_own in ((True, parts), (False, lone))
            for own in all_own
        ]
