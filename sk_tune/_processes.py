# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Ctrl-C in code of others, and workers that end with the process that started them.

Only the standard library is imported, so that a worker watches before it has imported
anything that takes time.
"""

import importlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing import parent_process
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _SignalledError(BaseException):
    """A ``KeyboardInterrupt`` on its way through code that would catch it."""


@contextmanager
def passing_interrupts() -> Iterator[None]:
    """Let Ctrl-C leave a block whose code catches ``KeyboardInterrupt``, as skorch's does.

    What a callback raises to end a training is still caught there.
    """
    handlers = _handlers()
    if any(isinstance(handler, _Interrupt) for handler in handlers.values()):
        # The block around this one ends the passage: code between them may catch, too.
        yield
        return
    try:
        with _handled_by(_Interrupt(handlers), handlers):
            yield
    except _SignalledError as error:
        raise KeyboardInterrupt from error.__cause__


class _Interrupt:
    """A handler that lets another one's ``KeyboardInterrupt`` pass."""

    def __init__(self, handlers: dict[signal.Signals, Any]) -> None:
        self._handlers = handlers

    def __call__(self, number: int, frame: Any) -> None:
        try:
            self._handlers[signal.Signals(number)](number, frame)
        except KeyboardInterrupt as error:
            raise _SignalledError from error


@cache
def import_for_optimizers() -> None:
    """Import what torch's first optimizer does, for seconds, and Ctrl-C would break.

    A module that was half imported stays so for the whole process, which then can make no
    optimizer, and so neither train nor save.  A signal waits for the end of the import.
    """
    waiting: list[int] = []
    with (
        _handled_by(lambda number, _: waiting.append(number), _handlers()),
        suppress(Exception),
    ):
        importlib.import_module("torch._dynamo")
    for number in waiting:
        os.kill(os.getpid(), number)


def _handlers() -> dict[signal.Signals, Any]:
    """Return handlers in Python that may be replaced: in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {n: h for n in _SIGNALS if callable(h := signal.getsignal(n))}


@contextmanager
def _handled_by(
    handler: Callable[[int, Any], object], before: dict[signal.Signals, Any]
) -> Iterator[None]:
    """Replace handlers, and put them back."""
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


_SECONDS_BETWEEN_LOOKS = 0.5


@cache
def end_with_parent(pid: int) -> None:
    """Let this process end soon after process `pid`, if that is the one that started it.

    A cluster looks after its workers: they were started by another process.
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
