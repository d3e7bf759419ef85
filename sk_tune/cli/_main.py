# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Arguments in, exit code out.

Only the standard library is imported here, so that ``--help`` costs no import of torch,
pandas or scikit-learn; each command imports what it needs once it runs.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from sk_tune import __version__
from sk_tune.exceptions import SkTuneError

__all__ = ["main"]

# Exit codes: of shells for SIGINT, of argparse for wrong arguments.
_INTERRUPTED = 130
_USER_ERROR = 2

_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}
_BYTES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_MAX_SEED = 2**32 - 1
_TABLES = ("titanic", "breast_cancer", "wine", "diabetes")

_PICKLE_NOTE = (
    "A model.joblib is a pickle, and loading one can run code: predict only with models "
    "from people you trust."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``sk-tune``.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments after the program's name; None takes those of the process.

    Returns
    -------
    int
        Exit code: 0 on success, 2 for what the user can mend, 130 if interrupted.
    """
    started = time.monotonic()
    _show_any_text()
    parser = _parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    if args.command is None:
        parser.print_help()
        return _USER_ERROR
    try:
        _run(args, started)
        sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        folder = interrupt.args[0] if interrupt.args else ""
        what = f"what was found is in {folder}/" if folder else "nothing was written"
        print(f"\nsk-tune: interrupted; {what}.", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe left.  Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (SkTuneError, OSError) as error:
        print(f"sk-tune {args.command}: error: {_words(error)}", file=sys.stderr)
        return _USER_ERROR
    return 0


def _words(error: Exception) -> str:
    """Return what happened, without the number that the operating system has for it."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, SkTuneError):
        where = f": {str(error.filename)!r}" if error.filename else ""
        return f"{error.strerror}{where}"
    return str(error)


def _run(args: argparse.Namespace, started: float) -> None:
    options = dict(vars(args))
    command = options.pop("command")
    if command in {"fit", "demo", "resume"}:
        _train(command, options, started)
    elif command == "predict":
        from sk_tune.cli._predict import predict

        predict(**options)
    elif command == "report":
        from sk_tune.cli._report import report

        report(**options)
    elif command == "export":
        from sk_tune.cli._report import export

        export(**options)
    elif command == "store":
        from sk_tune.cli._store import store

        store(**options)
    else:
        from sk_tune.cli._completion import completion

        print(completion(options["shell"], _parser()))


def _train(command: str, options: dict[str, Any], started: float) -> None:
    from sk_tune.cli._fit import FitOptions, fit, resume

    if command == "resume":
        resume(**options, started=started)
        return
    path, table = options.pop("data", None), options.pop("table", None)
    fit_options = FitOptions(started=started, **options)
    if command == "fit":
        from sk_tune.cli._tables import read_table

        fit(read_table(path), fit_options, source=path)
    else:
        from sk_tune.cli._demo import demo

        demo(table, fit_options)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line instead of argparse's usage, which hides it."""
        self.exit(_USER_ERROR, f"{self.prog}: error: {message}\nSee {self.prog} --help.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sk-tune",
        description="Tune neural networks and others on a table, and average the best.",
        epilog=_PICKLE_NOTE,
    )
    parser.add_argument("--version", action="version", version=f"sk-tune {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_fit(commands)
    _add_predict(commands)
    _add_demo(commands)
    _add_resume(commands)
    _add_report(commands)
    _add_export(commands)
    _add_store(commands)
    _add_completion(commands)
    return parser


def _add_fit(commands: Any) -> None:
    parser = commands.add_parser(
        "fit",
        help="find models for a table and save them",
        description=(
            "Set rows aside for a last check, train baselines, tune networks and boosting "
            "by cross-validation until the time is up, and save the best together."
        ),
        epilog=_PICKLE_NOTE,
    )
    parser.add_argument("data", type=Path, help="table: .csv, .tsv (also .gz) or .parquet")
    parser.add_argument("--target", required=True, metavar="COLUMN", help="what to predict")
    parser.add_argument(
        "--task",
        choices=("auto", "classification", "regression"),
        default="auto",
        help="default: auto, by the target's values",
    )
    parser.add_argument(
        "--group", metavar="COLUMN", help="what belongs together, such as the patient"
    )
    parser.add_argument(
        "--time-column",
        metavar="COLUMN",
        help="when each row was, numbers or dates (year first): judge on later rows",
    )
    _add_search_options(parser, time_budget="60s", output="sk_tune_output")


def _add_predict(commands: Any) -> None:
    parser = commands.add_parser(
        "predict",
        help="apply a saved model to a table",
        description="Predict the rows of a table, in their order, as CSV, part by part.",
        epilog=_PICKLE_NOTE,
    )
    parser.add_argument(
        "model", type=Path, metavar="MODEL_DIR", help="output of sk-tune fit"
    )
    parser.add_argument("data", type=Path, help="table with the columns of the fitted one")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="CSV file to write; default: the screen"
    )
    parser.add_argument(
        "--proba", action="store_true", help="add the probability of each class"
    )


def _add_demo(commands: Any) -> None:
    parser = commands.add_parser(
        "demo",
        help="the same as fit, on a real table that comes with scikit-learn",
        description="Run fit on a real table that comes with scikit-learn.",
        epilog=_PICKLE_NOTE,
    )
    parser.add_argument(
        "--table", choices=_TABLES, help="default: titanic, or breast_cancer without it"
    )
    parser.set_defaults(target="", task="auto", group=None, time_column=None)
    _add_search_options(parser, time_budget="20s", output="sk_tune_demo")


def _add_resume(commands: Any) -> None:
    parser = commands.add_parser(
        "resume",
        help="go on with a fit where it ended",
        description="Spend more time on a fit, from the models that it has.",
        epilog=_PICKLE_NOTE,
    )
    _add_folder(parser, "folder")
    parser.add_argument(
        "--data", type=Path, metavar="FILE", help="the table, if it was moved"
    )
    _add_time_budget(parser, "60s")
    _add_run_options(parser)


def _add_report(commands: Any) -> None:
    parser = commands.add_parser(
        "report",
        help="print what a fit found, and write its page anew",
        description="Print the scores of a fit, and write its page.",
        epilog=_PICKLE_NOTE,
    )
    _add_folder(parser, "folder")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="default: report.html in the folder"
    )


def _add_export(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="write an ensemble of networks as ONNX",
        description=(
            "Write the ensemble for other programs, as one ONNX model with what prepares "
            "its columns. All members must be networks; a JSON file beside it says what "
            "its columns are."
        ),
        epilog=_PICKLE_NOTE,
    )
    _add_folder(parser, "folder")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", required=True, help="file ending in .onnx"
    )
    parser.add_argument(
        "--networks-only",
        action="store_true",
        help="write what the networks alone give, with weights of their own",
    )


def _add_completion(commands: Any) -> None:
    parser = commands.add_parser(
        "completion",
        help="print what completes commands and options in a shell",
        description='For bash: eval "$(sk-tune completion bash)".',
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def _add_folder(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument(name, type=Path, metavar="MODEL_DIR", help="output of sk-tune fit")


def _add_store(commands: Any) -> None:
    parser = commands.add_parser(
        "store",
        help="look into a file of finished trainings, check it, or make it smaller",
        description=(
            "A search with store=FILE keeps its finished trainings there. info says what a "
            "file holds, verify reads all of it, vacuum removes what is damaged and, with "
            "--max-size, what was not used for longest."
        ),
    )
    parser.add_argument("action", choices=("info", "verify", "vacuum"))
    parser.add_argument("path", type=Path, metavar="FILE", help="file of the store")
    parser.add_argument(
        "--max-size",
        type=_size,
        metavar="SIZE",
        help="what may stay at most, such as 500M or 2G; default: all",
    )


def _add_time_budget(parser: argparse.ArgumentParser, time_budget: str) -> None:
    parser.add_argument(
        "--time-budget",
        "--budget",
        type=_budget,
        default=time_budget,
        metavar="TIME",
        help=f"time for everything, such as 60s, 10m or 2h; default: {time_budget}",
    )


def _add_search_options(
    parser: argparse.ArgumentParser, *, time_budget: str, output: str
) -> None:
    _add_time_budget(parser, time_budget)
    parser.add_argument(
        "--metric",
        "--scoring",
        metavar="NAME",
        help="a scorer of scikit-learn; default: accuracy, or r2 for regression",
    )
    parser.add_argument(
        "--test-size",
        type=_share,
        default=0.2,
        metavar="SHARE",
        help="share of the rows to set aside for a last check; default: 0.2",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=output,
        metavar="DIR",
        help=(
            "folder for model/, trials.parquet, summary.json, config.json, report.html; "
            f"default: {output}"
        ),
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace files of these names in the output folder",
    )
    parser.add_argument(
        "--random-state", type=_seed, default=0, metavar="INT", help="seed; default: 0"
    )
    _add_run_options(parser)


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--n-jobs", type=_n_jobs, metavar="N", help="processes; default: one for each CPU"
    )
    parser.add_argument(
        "--json", action="store_true", help="print the outcome as JSON, and nothing else"
    )
    parser.add_argument(
        "--verbose", action="store_true", help="print each step and all warnings"
    )


def _budget(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|)", text.strip())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not seconds:
        raise _wrong("a time greater than 0, such as 60s, 10m or 2h", text)
    return seconds


def _size(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG]?)B?", text.strip())
    if not match:
        raise _wrong("a size such as 800k, 500M or 2G", text)
    return float(match[1]) * _BYTES[match[2]]


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise _wrong("a number between 0 and 1, such as 0.2", text)
    return share


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) > _MAX_SEED:
        raise _wrong(f"a whole number from 0 to {_MAX_SEED}", text)
    return int(text)


def _n_jobs(text: str) -> int | None:
    if text == "-1":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise _wrong("a whole number of at least 1, or -1 for one for each CPU", text)
    return int(text)


def _wrong(required: str, given: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"must be {required}. Got {given!r} instead.")


def _show_any_text() -> None:
    """Print a name that the terminal's encoding lacks with question marks, not a crash."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
