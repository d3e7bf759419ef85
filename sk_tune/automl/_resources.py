# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The time, the worker processes and the threads of a fit."""

import math
import threading
import time

import joblib
from threadpoolctl import threadpool_limits

from sk_tune._compat import get_active_backend
from sk_tune.engine import start_workers
from sk_tune.training import processes_per_cpu

__all__ = ["Clock", "Workers", "few_threads", "is_busy"]


class Clock:
    """Measures a budget in seconds from its start, by ``time.monotonic``.

    None has no end.
    """

    def __init__(self, budget: float | None, start: float | None = None) -> None:
        self.budget = budget
        self._start = time.monotonic() if start is None else start

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    @property
    def left(self) -> float:
        """Seconds that are left, 0 at least; infinite without a budget."""
        if self.budget is None:
            return math.inf
        return max(0.0, self.budget - self.seconds)

    def share(self, part: float) -> float:
        """Return a share, from 0 to 1, of the whole budget in seconds.

        Infinite without one.
        """
        return math.inf if self.budget is None else part * self.budget


# Seconds of a budget without which workers cost more, to start, than they save.
_LEAST_BUDGET = 30.0


class Workers:
    """The worker processes of joblib, which nobody waits for.

    A worker imports torch before it can train anything: for seconds, and on a busy machine
    for much longer. Until all of them have, networks train in this process; with little
    time there are no workers at all.
    """

    def __init__(self, n_jobs: int | None, time_budget: float | None) -> None:
        self._wanted = n_jobs
        self._thread: threading.Thread | None = None
        # A thread does not know the backend by itself.
        self._backend, _ = get_active_backend()
        backend = self._backend
        self._is_timed = (
            time_budget is not None
            and type(backend).__name__ == "LokyBackend"
            and joblib.effective_n_jobs(n_jobs) > 1
        )
        self._is_worth_it = time_budget is None or time_budget >= _LEAST_BUDGET

    def start(self) -> None:
        """Let the workers start, if there is time for it."""
        if self._is_timed and self._is_worth_it and self._thread is None:
            self._thread = threading.Thread(
                target=start_workers, args=(self._wanted, self._backend), daemon=True
            )
            self._thread.start()

    @property
    def n_jobs(self) -> int | None:
        """The n_jobs of a search that starts now: 1 while the workers are not ready."""
        is_ready = self._thread is not None and not self._thread.is_alive()
        return self._wanted if is_ready or not self._is_timed else 1


# Below it threads wait for each other longer than they compute, and on a busy machine many
# times longer.
_VALUES_FOR_THREADS = 1_000_000
# Processes that wait for each processor on a busy machine.
_LOAD_OF_BUSY = 1.5


def is_busy() -> bool:
    """Return whether others keep the processors of this machine busy."""
    return processes_per_cpu() > _LOAD_OF_BUSY


def few_threads(n_values: int, *, is_busy: bool = False) -> threadpool_limits:
    """Return a context in which few values, or all on a busy machine, get one thread."""
    is_small = n_values < _VALUES_FOR_THREADS
    return threadpool_limits(limits=1 if is_small or is_busy else None)
