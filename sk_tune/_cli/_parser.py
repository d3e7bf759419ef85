# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The arguments of each command and the files that they name, by the standard library."""

import argparse
import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from sk_tune import __version__
from sk_tune._files import is_own
from sk_tune.exceptions import OptionError, StoreError, TableError

# Files in the output folder: the model, and files to resume a fit from.
MODEL = "model/model.joblib"
RESUME = "resume"
CONFIG = f"{RESUME}/config.json"
TRIALS = f"{RESUME}/trials.joblib"

_TEXT_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
_PARQUET_ENDINGS = (".parquet", ".pq")


def check_options(command: str, options: Mapping[str, Any]) -> None:
    """Raise the error that a command would end with for want of a model or a file."""
    models, use = options.get("models"), options.get("use")
    if models is not None and use in set(_MODELS).difference(models):
        raise OptionError(
            f"--use must name a model that is trained. Got {use!r} with --models "
            f"{','.join(models)}."
        )
    is_trusted = options.get("trusted", False)
    if command in {"predict", "report", "export"}:
        path = model_file(options.get("model") or options["folder"])
        check_trusted(path, is_trusted=is_trusted)
    if command == "resume":
        check_trusted(resume_file(options["folder"]), is_trusted=is_trusted)
    if command == "store" and not options["path"].exists():
        raise StoreError(f"The store must be a file that exists. Got {options['path']}.")
    if options.get("data") is not None:
        is_text_table(options["data"])


def is_text_table(path: Path) -> bool:
    """Return whether the file of a table is text, and not Parquet, or refuse it."""
    name = path.name.lower()
    is_text = name.endswith(_TEXT_ENDINGS)
    if not is_text and not name.endswith(_PARQUET_ENDINGS):
        raise TableError(
            f"The table must be a file that ends in {', '.join(_TEXT_ENDINGS)} or "
            f".parquet. Got {str(path)!r} instead."
        )
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise TableError(
            f"The table must be a file that exists. Got {str(path)!r}, which {kind}."
        )
    if path.stat().st_size == 0:
        raise TableError(
            f"The table {str(path)!r} must have a header and rows. Got 0 bytes."
        )
    return is_text


def model_file(folder: Path) -> Path:
    """Return the file of the model in an output folder, or `folder` if it is that file."""
    path = folder / MODEL if folder.is_dir() else folder
    if path.is_file():
        return path
    hint = ""
    if (folder / TRIALS).is_file():
        hint = f", with an unfinished fit: continue it with sk-tune resume {folder}"
    raise TableError(
        f"MODEL_DIR must be a folder with a {MODEL}, as sk-tune fit writes. Got "
        f"{str(folder)!r}{hint}."
    )


def resume_file(folder: Path) -> Path:
    """Return the file from which a fit resumes."""
    for name in (CONFIG, TRIALS):
        if not (folder / name).is_file():
            raise TableError(
                f"MODEL_DIR must be a folder with {CONFIG} and {TRIALS}, as sk-tune fit "
                f"writes. Got {str(folder)!r} without {name}."
            )
    return folder / TRIALS


def check_trusted(path: Path, *, is_trusted: bool) -> None:
    """Refuse a pickle that another account wrote, unless it is trusted."""
    if not is_trusted and not is_own(path):
        raise OptionError(
            f"{str(path)!r} is a pickle, and loading it can execute code. Got a file "
            "that this account did not write on this machine, or that has changed since. "
            "If you trust its source, pass --trusted."
        )


# Exit code of argparse for wrong arguments.
USER_ERROR = 2

_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}
_BYTES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_MAX_SEED = 2**32 - 1
_MODELS = ("linear", "boosting", "networks")
_USES = ("ensemble", "best", *_MODELS)
_TABLES = ("titanic", "breast_cancer", "wine", "diabetes")

_PICKLE_NOTE = (
    "A model.joblib is a pickle, and loading a pickle can execute code: predict, report, "
    "export and resume refuse a file that this account did not write on this machine, "
    "unless you pass --trusted."
)


def _budget(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|)", text.strip())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not seconds:
        raise _wrong("a time greater than 0, such as 60s, 10m or 2h", text)
    return seconds


def _models(text: str) -> list[str]:
    models = [name.strip() for name in text.split(",")]
    if not set(models) <= set(_MODELS):
        raise _wrong(f"some of {', '.join(_MODELS)}, with commas between them", text)
    return models


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


def _threshold(text: str) -> float | str:
    """Return a number from 0 to 1, or the name of a scorer, which fit checks."""
    try:
        threshold = float(text)
    except ValueError:
        return text
    if not 0 <= threshold <= 1:
        raise _wrong("a number from 0 to 1, or a scorer such as balanced_accuracy", text)
    return threshold


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


# The name of an argument, and its keywords for ``add_argument``.
_Argument = tuple[str, dict[str, Any]]


class _Command(NamedTuple):
    """Texts of ``--help``, arguments of a command, and values that have no option."""

    help: str
    description: str
    arguments: Sequence[_Argument]
    epilog: str | None = _PICKLE_NOTE
    constants: Mapping[str, Any] = {}


def _option(name: str, text: str, **options: Any) -> _Argument:
    return name, {"help": text, **options}


def _flag(name: str, text: str) -> _Argument:
    return _option(name, text, action="store_true")


def _folder(name: str) -> list[_Argument]:
    return [
        _option(name, "output of sk-tune fit", type=Path, metavar="MODEL_DIR"),
        _flag("--trusted", "load a pickle that another account wrote"),
    ]


def _file(name: str, text: str, **options: Any) -> _Argument:
    return _option(name, text, type=Path, metavar="FILE", **options)


def _time_budget(default: str) -> _Argument:
    text = (
        f"time for everything after the imports, such as 60s, 10m or 2h; default: {default}"
    )
    return _option("--time-budget", text, type=_budget, default=default, metavar="TIME")


def _use(default: str) -> _Argument:
    return _option("--use", f"model that predicts; default: {default}", choices=_USES)


_RUN = [
    _option("--n-jobs", "processes; default: one for each CPU", type=_n_jobs, metavar="N"),
    _flag("--json", "print only the outcome, as JSON"),
    _flag("--verbose", "print each step and all warnings"),
]


def _search(
    time_budget: str,
    output: str,
    overwrite: str = "replace files of these names in the output folder",
) -> list[_Argument]:
    """Return the arguments of a new fit."""
    scoring = (
        "a scorer of scikit-learn; default: roc_auc for two classes, neg_log_loss for "
        "more, r2 for numbers"
    )
    positive = (
        "class of interest for metrics of one class (average_precision, f1); default: 1 if "
        "that is a class, or the rarer of two"
    )
    threshold = (
        "least probability to predict the positive class, or a scorer of labels, such as "
        "balanced_accuracy, that tunes it; default: 0.5"
    )
    models = f"models to train, of {','.join(_MODELS)}; default: all of them"
    test = "share of rows set aside for a final check; default: 0.2"
    files = "folder for model/, resume/, trials.parquet, summary.json, report.html"
    folder = f"{files}; default: {output}"
    tasks = ("auto", "classification", "regression")
    return [
        _option(
            "--task",
            "default: auto, by the target's values",
            choices=tasks,
            default="auto",
        ),
        _time_budget(time_budget),
        _option("--scoring", scoring, metavar="NAME"),
        _option("--positive", positive, metavar="CLASS"),
        _option("--threshold", threshold, type=_threshold, default=0.5, metavar="VALUE"),
        _option("--models", models, type=_models, metavar="LIST"),
        _use("ensemble"),
        _option("--test-size", test, type=_share, default=0.2, metavar="SHARE"),
        _option("--output", folder, type=Path, default=output, metavar="DIR"),
        _flag("--overwrite", overwrite),
        _option("--random-state", "seed; default: 0", type=_seed, default=0, metavar="INT"),
        *_RUN,
    ]


_COMMANDS = {
    "fit": _Command(
        "find models for a table and save them",
        "Set rows aside for a final check, train baselines, tune networks and boosting by "
        "cross-validation within the time budget, and save an ensemble of the best.",
        [
            _option("data", "table: .csv, .tsv (also .gz) or .parquet", type=Path),
            _option("--target", "column to predict", required=True, metavar="COLUMN"),
            _option(
                "--groups", "rows to keep together, such as a patient's", metavar="COLUMN"
            ),
            _option(
                "--times",
                "times of the rows, as numbers or dates; scores are on later rows",
                metavar="COLUMN",
            ),
            *_search("60s", "sk_tune_output"),
        ],
    ),
    "predict": _Command(
        "apply a saved model to a table",
        "Predict the rows of a table, in their order, as CSV, part by part.",
        [
            *_folder("model"),
            _option("data", "table with the columns of the fitted table", type=Path),
            _file("--output", "CSV file to write; default: the screen"),
            _use("the model that fit chose to predict"),
            _flag("--proba", "add the probability of each class"),
        ],
    ),
    "demo": _Command(
        "run fit on a real table that comes with scikit-learn",
        "Run fit on a table that is installed with scikit-learn, without a download.",
        [
            _option(
                "--table",
                "default: titanic (who survived), or breast_cancer where scikit-learn is "
                "installed without its tests",
                choices=_TABLES,
            ),
            *_search(
                "20s",
                "sk_tune_demo",
                "also replace files in an --output other than sk_tune_demo; a demo always "
                "replaces files in sk_tune_demo",
            ),
        ],
        constants={"target": "", "groups": None, "times": None},
    ),
    "resume": _Command(
        "continue a fit",
        "Spend more time on a fit, starting from its finished models.",
        [
            *_folder("folder"),
            _file("--data", "path of the table, if it was moved"),
            _time_budget("60s"),
            *_RUN,
        ],
    ),
    "report": _Command(
        "print the results of a fit, and write its page again",
        "Print the scores of a fit, and write its page.",
        [*_folder("folder"), _file("--output", "default: report.html in the folder")],
    ),
    "export": _Command(
        "write an ONNX model",
        "Write the ensemble, or the model of --use, as one ONNX model that other programs "
        "can run; a JSON file next to it lists the columns of its input.",
        [
            *_folder("folder"),
            _file("--output", "file ending in .onnx", required=True),
            _use("the model that fit chose to predict"),
        ],
    ),
    "store": _Command(
        "describe, check or shrink a store of finished fits",
        "A search with store=FILE keeps its finished fits there. info describes the file, "
        "verify checks every fit, vacuum removes damaged fits and, with --max-size, the "
        "least recently used.",
        [
            ("action", {"choices": ("info", "verify", "vacuum")}),
            _file("path", "file of the store"),
            _option(
                "--max-size",
                "largest size after vacuum, such as 500M or 2G; default: no limit",
                type=_size,
                metavar="SIZE",
            ),
        ],
        epilog=None,
    ),
}


def make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sk-tune",
        description="Tune neural networks and boosting on a table, and average the best.",
        epilog=_PICKLE_NOTE,
    )
    parser.add_argument("--version", action="version", version=f"sk-tune {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, command in _COMMANDS.items():
        subparser = commands.add_parser(
            name, help=command.help, description=command.description, epilog=command.epilog
        )
        subparser.set_defaults(**command.constants)
        for argument, options in command.arguments:
            subparser.add_argument(argument, **options)
    return parser


class _Parser(argparse.ArgumentParser):
    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Refuse unknown options with a suggestion, before required options are missed."""
        names = self._option_string_actions
        for text in [] if self._subparsers else [a for a in args or () if a[:2] == "--"]:
            option = text.partition("=")[0]
            if not any(name.startswith(option) for name in names):
                similar = difflib.get_close_matches(option, names, n=1)
                hint = f" Did you mean {similar[0]}?" if similar else ""
                self.error(f"unknown option {option}.{hint}")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print one line instead of argparse's usage, which would hide the error."""
        self.exit(USER_ERROR, f"{self.prog}: error: {message}\nSee {self.prog} --help.\n")
