# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Worker processes that start while something else is trained."""

import threading

import joblib

from sk_tune._compat import get_active_backend
from sk_tune.engine import start_workers

__all__ = ["Workers"]

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
        # Which a thread does not know by itself.
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
        """What to give to a search now: 1 as long as the workers are not ready."""
        is_ready = self._thread is not None and not self._thread.is_alive()
        return self._wanted if is_ready or not self._is_timed else 1
