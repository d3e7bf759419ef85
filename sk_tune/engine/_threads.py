# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How many threads pay for a network's arithmetic."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from sk_tune.training import TrainingState

__all__ = ["is_small", "one_thread", "takes_one_thread"]

# Multiplications of a pass over the rows up to which they are computed in one
# thread: on a busy machine threads of torch wait for each other longer than they compute.
# A choice, not a measured optimum.
_SMALL = 5e7


def is_small(state: TrainingState, X: Any) -> bool:
    """Return whether a network of plain layers multiplies few numbers.

    Parameters
    ----------
    state : TrainingState
        With its weights.
    X : array-like
        Rows that it computes.

    Returns
    -------
    bool
        Whether one thread is enough.  With more, such layers gain nothing, and lose much
        where others use the cores too.
    """
    weights = state.weights.values()
    # Not np.shape, which what only can be made an array of may not know.
    shape = X.shape if hasattr(X, "shape") else np.asarray(X).shape
    if len(shape) != 2 or any(w.ndim > 2 for w in weights):
        return False
    return takes_one_thread(shape[0], sum(w.size for w in weights))


def takes_one_thread(n_rows: int, n_weights: int) -> bool:
    """Return whether a pass over rows multiplies few numbers.

    Parameters
    ----------
    n_rows : int
        Rows.
    n_weights : int
        Weights of layers that use each of them once a row.

    Returns
    -------
    bool
        Whether one thread is enough.
    """
    return n_rows * n_weights <= _SMALL


class _Blocks:
    """Which threads of this process are in a block, and torch's number before the first.

    A thread that begins while another is in its block finds torch's number to be 1.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: set[int] = set()
        self._before = 1

    @property
    def is_inside(self) -> bool:
        """Whether this thread is in a block."""
        return threading.get_ident() in self._inside

    def enter(self) -> int:
        """Note that this thread is in a block; return the number before."""
        with self._lock:
            if not self._inside:
                self._before = torch.get_num_threads()
            self._inside.add(threading.get_ident())
            return self._before

    def leave(self) -> None:
        """Note that it no longer is."""
        with self._lock:
            self._inside.discard(threading.get_ident())


_BLOCKS = _Blocks()


@contextmanager
def one_thread(*, wanted: bool = True) -> Iterator[None]:
    """Let torch compute in one thread: sums then have one order, and workers one core.

    Parameters
    ----------
    wanted : bool, default=True
        If not, everything stays as it is.

    Yields
    ------
    None
        Nothing.
    """
    if not wanted or _BLOCKS.is_inside:
        yield
        return
    before = torch.get_num_threads()
    try:
        before = _BLOCKS.enter()
        torch.set_num_threads(1)
        yield
    finally:
        # First, for who enters next takes the number that it finds if nobody is inside.
        torch.set_num_threads(before)
        _BLOCKS.leave()
