# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How many threads scikit-learn's own models get."""

from threadpoolctl import threadpool_limits

from sk_tune.training import processes_per_cpu

__all__ = ["few_threads", "is_busy"]

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
