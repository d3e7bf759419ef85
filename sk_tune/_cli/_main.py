# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Arguments in, exit code out.

Only the standard library is imported at the top, so that ``--help`` does not wait for
torch, pandas or scikit-learn; each command has its own imports.
"""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from sk_tune._cli._parser import USER_ERROR, check_options, in_options, make_parser
from sk_tune._processes import end_with_parent
from sk_tune.exceptions import SkTuneError

# Exit codes of shells for SIGINT and SIGTERM.
_INTERRUPTED = 130
_TERMINATED = 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``sk-tune`` with arguments, by default the process's, and return the exit code.

    It is 0 on success, 2 for errors that the user can fix, 130 after Ctrl-C and 143 after
    SIGTERM or SIGHUP.
    """
    for stream in (sys.stdout, sys.stderr):
        # Characters that the terminal's encoding lacks become question marks.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    parser = make_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    if args.command is None:
        parser.print_help()
        return USER_ERROR
    signals: list[int] = []
    try:
        with _interrupted_by_signals(signals):
            _run(args)
            sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        outcome = "no files were written"
        if interrupt.args:
            (folder,) = interrupt.args
            outcome = f"results are in {folder}/; sk-tune resume {folder} continues"
        print(f"\nsk-tune: interrupted; {outcome}.", file=sys.stderr)
        return _TERMINATED if signals else _INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe closed it.  Python would raise again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (SkTuneError, OSError) as error:
        words = in_options(_words(error))
        print(f"sk-tune {args.command}: error: {words}", file=sys.stderr)
        return USER_ERROR
    return 0


@contextmanager
def _interrupted_by_signals(received: list[int]) -> Iterator[None]:
    """Let SIGTERM and SIGHUP interrupt the process as Ctrl-C does."""

    def interrupt(number: int, _: object) -> NoReturn:
        received.append(number)
        raise KeyboardInterrupt

    old_handlers = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            # Signals that nohup ignores stay ignored.
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                old_handlers[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in old_handlers.items():
            signal.signal(number, handler)


def _words(error: Exception) -> str:
    """Return an error's text, without the error number of the operating system."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, SkTuneError):
        where = f": {str(error.filename)!r}" if error.filename else ""
        return f"{error.strerror}{where}"
    return str(error)


def _run(args: argparse.Namespace) -> None:
    options = dict(vars(args))
    command = options.pop("command")
    check_options(command, options)
    options.pop("trusted", None)
    if command not in {"fit", "demo", "resume"}:
        from sk_tune._cli import _finished

        getattr(_finished, command)(**options)
        return
    from joblib import parallel_config

    from sk_tune._automl import most_rows
    from sk_tune._cli._fit import FitOptions, demo, fit, resume
    from sk_tune._cli._tables import read_table

    # The budget starts after the imports, which can be slow on a busy machine.
    started = time.monotonic()
    # Workers check from the start whether this process is still alive.
    with parallel_config("loky", initializer=end_with_parent, initargs=(os.getpid(),)):
        if command == "resume":
            resume(**options, started=started)
            return
        path = options.pop("data", None)
        fit_options = FitOptions(started=started, **options)
        if path is None:
            demo(fit_options)
        else:
            # Reading takes part of the budget.
            most = most_rows(0.8 * fit_options.time_budget)
            table = read_table(path, most, fit_options.groups)
            fit(table, fit_options, source=path)
