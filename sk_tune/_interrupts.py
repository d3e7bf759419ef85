# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Ctrl-C in code of others that takes it for something else."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["passing_interrupts"]


class _SignalledError(BaseException):
    """A ``KeyboardInterrupt`` on its way through code that would catch it."""


@contextmanager
def passing_interrupts() -> Iterator[None]:
    """Let Ctrl-C leave a block whose code catches ``KeyboardInterrupt``, as skorch's does.

    What a callback raises to end a training is still caught there.
    """
    if threading.current_thread() is not threading.main_thread():
        # Python runs handlers of signals in the main thread only.
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {n: h for n in numbers if callable(h := signal.getsignal(n))}

    def interrupt(number: int, frame: Any) -> None:
        try:
            handlers[signal.Signals(number)](number, frame)
        except KeyboardInterrupt as error:
            raise _SignalledError from error

    try:
        for number in handlers:
            signal.signal(number, interrupt)
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    except _SignalledError as error:
        raise KeyboardInterrupt from error.__cause__
