# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How many threads scikit-learn's own models get."""

from threadpoolctl import threadpool_limits

__all__ = ["few_threads"]

# Below it threads wait for each other longer than they compute, and on a busy machine many
# times longer.
_VALUES_FOR_THREADS = 1_000_000


def few_threads(n_values: int) -> threadpool_limits:
    """Return a context in which small data get one thread.

    Parameters
    ----------
    n_values : int
        Rows times columns.

    Returns
    -------
    threadpool_limits
        Without effect on large data.
    """
    return threadpool_limits(limits=1 if n_values < _VALUES_FOR_THREADS else None)
