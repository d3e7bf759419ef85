# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Ctrl-C in third-party code, and workers that end together with their parent process.

Only the standard library is imported, so that a worker starts watching before slow imports.
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
    """A ``KeyboardInterrupt`` in disguise, to pass through code that would catch it."""


@contextmanager
def passing_interrupts() -> Iterator[None]:
    """Let Ctrl-C end code that catches ``KeyboardInterrupt``, such as skorch's."""
    handlers = _handlers()
    if any(isinstance(handler, _Interrupt) for handler in handlers.values()):
        # The outer block converts back, because code between the blocks may catch, too.
        yield
        return
    try:
        with _handled_by(_Interrupt(handlers), handlers):
            yield
    except _SignalledError as error:
        raise KeyboardInterrupt from error.__cause__


class _Interrupt:
    """A signal handler that disguises the ``KeyboardInterrupt`` of another handler."""

    def __init__(self, handlers: dict[signal.Signals, Any]) -> None:
        self._handlers = handlers

    def __call__(self, number: int, frame: Any) -> None:
        try:
            self._handlers[signal.Signals(number)](number, frame)
        except KeyboardInterrupt as error:
            raise _SignalledError from error


@cache
def import_for_optimizers() -> None:
    """Import the modules of torch's first optimizer, which takes seconds, without Ctrl-C.

    A partial import would persist in the process, which then could not create an optimizer,
    and so neither train nor save.  Signals wait for the end of the import.
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
    """Return replaceable Python signal handlers; empty outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {n: h for n in _SIGNALS if callable(h := signal.getsignal(n))}


@contextmanager
def _handled_by(
    handler: Callable[[int, Any], object], originals: dict[signal.Signals, Any]
) -> Iterator[None]:
    """Replace handlers, and restore them after the block."""
    try:
        for number in originals:
            signal.signal(number, handler)
        yield
    finally:
        for number, original in originals.items():
            signal.signal(number, original)


_SECONDS_BETWEEN_CHECKS = 0.5


@cache
def end_with_parent(pid: int) -> None:
    """Let this process end soon after process `pid`, if `pid` is its parent."""
    parent = parent_process()
    if parent is not None and parent.pid == pid:
        threading.Thread(target=_watch, args=(pid,), daemon=True).start()


def _watch(pid: int) -> None:
    if os.name == "posix":
        while os.getppid() == pid:
            time.sleep(_SECONDS_BETWEEN_CHECKS)
    else:
        parent = parent_process()
        if parent is not None:
            parent.join()
    # An exception here would not end a training in another thread.
    os._exit(1)
