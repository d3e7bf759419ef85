# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Worker processes that end with the process that started them.

Nobody would take their results, and whoever runs the same again would share the machine
with them.  Only the standard library is imported, so that a worker watches before it has
imported anything that takes time.
"""

import os
import threading
import time
from functools import cache
from multiprocessing import parent_process

__all__ = ["end_with_parent"]

_SECONDS_BETWEEN_LOOKS = 0.5


@cache
def end_with_parent(pid: int) -> None:
    """Let this process end soon after process `pid`, if that is the one that started it.

    A cluster looks after its own workers: they were started by another process.
    """
    parent = parent_process()
    if parent is not None and parent.pid == pid:
        threading.Thread(target=_watch, args=(pid,), daemon=True).start()


def _watch(pid: int) -> None:
    if os.name == "posix":
        while os.getppid() == pid:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    else:
        parent = parent_process()
        if parent is not None:
            parent.join()
    # A training in another thread would not end by an exception here.
    os._exit(1)
