# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Garbage collection that does not look through all that was imported, again and again."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["old_objects_spared"]

# More are frozen only by who froze what was imported; Python 3.12 begins with 375.
_MOST_AT_START = 1000

_lock = threading.Lock()
_n_blocks = 0
_is_ours = False


@contextmanager
def old_objects_spared() -> Iterator[None]:
    """Leave objects that are there before a block out of its garbage collections.

    A full collection looks at every object of the process: 0.2 s with torch, scikit-learn
    and pandas imported, some of which a search of two seconds would pay.  What becomes
    garbage in the block is collected as ever; older objects in cycles only after the block.
    A process that has frozen objects itself is left as it is.

    Yields
    ------
    None
        Nothing.

    Notes
    -----
    Blocks may be in each other and in several threads; the last one to end undoes it.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _n_blocks, _is_ours
    with _lock:
        _n_blocks += 1
        is_free = gc.isenabled() and gc.get_freeze_count() < _MOST_AT_START
        if _n_blocks == 1 and is_free:
            gc.freeze()
            _is_ours = True


def _leave() -> None:
    global _n_blocks, _is_ours
    with _lock:
        _n_blocks -= 1
        if not _n_blocks and _is_ours:
            gc.unfreeze()
            _is_ours = False
