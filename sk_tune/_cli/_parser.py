# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The arguments of each command and the files that they name, by the standard library."""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from sk_tune import __version__
from sk_tune._files import is_own
from sk_tune._text import nearest
from sk_tune.exceptions import OptionError, StoreError, TableError

# Files in the output folder: the model, and files to resume a fit from.
MODEL = "model/model.joblib"
RESUME = "resume"
CONFIG = f"{RESUME}/config.json"
TRIALS = f"{RESUME}/trials.pickle"

_TEXT_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
_PARQUET_ENDINGS = (".parquet", ".pq")


# Phrases about parameters in errors, verdicts and findings, and phrases about options.
_GROUPED = r"cv=GroupKFold\(\) or StratifiedGroupKFold\(\)"
_OPTIONS = {
    r"[Tt]he '(\w+)' parameter( of Auto\w+)?": r"--\1",
    r"\b(use|scoring|threshold)='(\w+)'( of AutoClassifier)?": r"--\1 \2",
    rf"groups=group_copies\(X, y\) and {_GROUPED}": "name the column of cases by --groups",
    rf"Split by group: {_GROUPED}, and groups=…": "Name its column by --groups.",
    "remove it from X and pass its values as groups": "give its name to --groups",
    r"Sort the rows by time and split with cv=TimeSeriesSplit\(\)": (
        "name the column of times by --times"
    ),
    r"(--|\b)test_size\b": "--test-size",
    r"(--|\b)time_budget\b(?!=)": "--time-budget",
}


def in_options(text: str) -> str:
    """Return a text with options of the command line in place of parameters."""
    for parameter, option in _OPTIONS.items():
        text = re.sub(parameter, option, text)
    return text


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
    store = options.get("path")
    if store is not None and "://" not in store and not Path(store).exists():
        raise StoreError(f"The store must be a file that exists. Got {store}.")
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
    # Another file, such as a table in its place, is not a pickle to trust.
    if path.is_file() and path.suffix == Path(MODEL).suffix:
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

_PICKLE_NOTE = (
    "A model.joblib is a pickle, and loading a pickle can execute code: predict, report, "
    "export and resume refuse a file that this account did not write on this machine, "
    "unless you pass --trusted."
)


def _checked(
    required: str, convert: Callable[[str], Any], is_valid: Callable[[Any], bool]
) -> Callable[[str], Any]:
    """Return a converter for argparse, whose error names the requirement and the value."""

    def converted(text: str) -> Any:
        # A lookup fails for an unknown unit, a conversion for another text.
        with suppress(LookupError, ValueError):
            value = convert(text)
            if is_valid(value):
                return value
        raise argparse.ArgumentTypeError(f"must be {required}. Got {text!r} instead.")

    return converted


def _amount(text: str, units: Mapping[str, int]) -> float:
    """Return a number without sign times its unit."""
    number, unit = re.findall(r"^(\d+(?:\.\d+)?)\s*([a-zA-Z]*)$", text.strip())[0]
    return float(number) * units[unit]


def _number_or_name(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


_budget = _checked(
    "a time greater than 0, such as 60s, 10m or 2h",
    lambda text: _amount(text, _SECONDS),
    lambda seconds: seconds > 0,
)
_size = _checked(
    "a size such as 800k, 500M or 2G",
    lambda text: _amount(text.removesuffix("B"), _BYTES),
    lambda size: True,
)
_models = _checked(
    f"some of {', '.join(_MODELS)}, separated by commas",
    lambda text: [name.strip() for name in text.split(",")],
    lambda models: set(models) <= set(_MODELS),
)
_share = _checked(
    "a number >= 0 and < 1, such as 0.2, or auto",
    _number_or_name,
    lambda share: share == "auto" or 0 <= float(share) < 1,
)
# The fit checks the name of a scorer.
_threshold = _checked(
    "a number from 0 to 1, or a scorer such as balanced_accuracy",
    _number_or_name,
    lambda value: isinstance(value, str) or 0 <= value <= 1,
)
_coverage = _checked(
    "a number between 0 and 1, such as 0.9", float, lambda coverage: 0 < coverage < 1
)
_ms = _checked("a number greater than 0", float, lambda ms: ms > 0)
_seed = _checked(
    f"a whole number from 0 to {_MAX_SEED}", int, lambda n: 0 <= n <= _MAX_SEED
)
_n_jobs = _checked(
    "a whole number of at least 1, or -1 for one per CPU", int, lambda n: n == -1 or n >= 1
)


_MODEL_DIR = {"type": Path, "metavar": "MODEL_DIR"}
_FILE = {"type": Path, "metavar": "FILE"}
_COLUMN = {"metavar": "COLUMN"}
_FLAG = {"action": "store_true"}
# Keywords of ``add_argument`` for each argument.
_KEYWORDS: dict[str, dict[str, Any]] = {
    "data": {"type": Path},
    "model": _MODEL_DIR,
    "folder": _MODEL_DIR,
    "action": {"choices": ("info", "verify", "vacuum")},
    "path": {"metavar": "STORE"},
    "--trusted": _FLAG,
    "--data": _FILE,
    "--target": {"required": True, **_COLUMN},
    "--groups": _COLUMN,
    "--times": _COLUMN,
    "--task": {"choices": ("auto", "classification", "regression"), "default": "auto"},
    "--time-budget": {"type": _budget, "default": "60s", "metavar": "TIME"},
    "--scoring": {"metavar": "NAME"},
    "--positive": {"metavar": "CLASS"},
    "--threshold": {"type": _threshold, "default": 0.5, "metavar": "VALUE"},
    "--models": {"type": _models, "metavar": "LIST"},
    "--use": {"choices": ("ensemble", "best", *_MODELS)},
    "--max-predict-ms": {"type": _ms, "metavar": "MS"},
    "--test-size": {"type": _share, "default": "auto", "metavar": "SHARE"},
    "--output": _FILE,
    "--overwrite": _FLAG,
    "--random-state": {"type": _seed, "default": 0, "metavar": "INT"},
    "--n-jobs": {"type": _n_jobs, "default": -1, "metavar": "N"},
    "--json": _FLAG,
    "--verbose": _FLAG,
    "--proba": _FLAG,
    "--interval": {"type": _coverage, "metavar": "SHARE"},
    "--max-size": {"type": _size, "metavar": "SIZE"},
}
_FILES = "model/, resume/, trials.parquet, summary.json and report.html"
# Help for each argument; for some commands after the name of the command.
_HELP = {
    "data": "Table: .csv, .tsv (also .gz) or .parquet",
    "predict data": "Table with the columns of the fitted table",
    "model": "Output folder of sk-tune fit",
    "folder": "Output folder of sk-tune fit",
    "action": "Describe the store, check it, or remove damaged and old fits",
    "path": "File of the store, or postgresql://user@host/database",
    "--trusted": "Load a pickle that another account wrote",
    "--data": "Read the table from this file if it was moved",
    "--target": "Column to predict",
    "--groups": "Keep rows with the same value in this column together, such as the visits "
    "of a patient",
    "--times": "Train on earlier rows and score on later rows, by this column of numbers "
    "or dates",
    "--task": "Predict classes or numbers; auto decides by the values of the target",
    "--time-budget": "Time limit, not counting imports, such as 60s, 10m or 2h",
    "--scoring": "Choose models by this scorer of scikit-learn (default: roc_auc for two "
    "classes, neg_log_loss for more, r2 for numbers); with neg_mean_poisson_deviance (for "
    "counts) or neg_mean_gamma_deviance, all models predict positive numbers",
    "--positive": "Use this class for the threshold and metrics of one class such as f1 "
    "(default: 1 if that is a class, else the rarer of two)",
    "--threshold": (
        "Predict the positive class if its probability is at least this number, or "
        "tune the threshold for a scorer of labels such as balanced_accuracy"
    ),
    "--models": f"Train only these of {','.join(_MODELS)} (default: all)",
    "--use": "Predict with this model (default: the choice of fit)",
    "fit --use": "Predict with this model",
    "--max-predict-ms": "Limit the ensemble's prediction of 10,000 rows to this time in "
    "milliseconds, as measured on this machine",
    "--test-size": (
        "Share of the rows to set aside for a final check; auto is a tenth if the "
        "table has 5,000 rows or more"
    ),
    "fit --output": f"Write {_FILES} here",
    "predict --output": "Write this CSV file (default: the screen)",
    "report --output": "Write this .html, .json, .txt or .md (default: report.html)",
    "export --output": "Write this file, which ends in .onnx",
    "--overwrite": "Replace the files of an earlier fit in the output folder",
    "demo --overwrite": "Also replace files in an --output other than sk_tune_demo; a demo "
    "always replaces files in sk_tune_demo",
    "--random-state": "Seed the random numbers, so that a repeated command draws the same "
    "rows",
    "--n-jobs": "Number of processes for networks, or -1 for one per CPU",
    "--json": "Print only the outcome, as JSON",
    "--verbose": "Print each step and all warnings",
    "--proba": "Add the probability of each class",
    "--interval": "Add bounds that contain this share of new numbers, or sets that contain "
    "this share of new labels",
    "--max-size": "Largest size after vacuum, such as 500M or 2G (default: no limit)",
}
_RUN = "--n-jobs --json --verbose"
_FIT = (
    "--task --time-budget --scoring --positive --threshold --models --use "
    f"--max-predict-ms --test-size --output --overwrite --random-state {_RUN}"
)
# ``--help``, its description, and the arguments of each command.
_COMMANDS = {
    "fit": (
        "find models for a table and save them",
        "Train baselines, tune networks and boosting by cross-validation within the time "
        "budget, and save an ensemble of the best.",
        f"data --target --groups --times {_FIT}",
    ),
    "predict": (
        "apply a saved model to a table",
        "Predict the rows of a table, in their order, as CSV, part by part.",
        "model --trusted data --output --use --proba --interval",
    ),
    "demo": (
        "run fit on a real table that comes with scikit-learn",
        "Run fit on the passengers of the Titanic, a table that comes with scikit-learn's "
        "tests, or on its breast cancer data if the tests are not installed.",
        _FIT,
    ),
    "resume": (
        "continue a fit",
        "Spend more time on a fit, starting from its finished models.",
        f"folder --trusted --data --time-budget {_RUN}",
    ),
    "report": (
        "print the results of a fit, and write its page again",
        "Print the scores of a fit, and write its page.",
        "folder --trusted --output",
    ),
    "export": (
        "write an ONNX model",
        "Write the ensemble, or the model of --use, as one ONNX model that other programs "
        "can run; a JSON file next to it lists the columns of its input.",
        "folder --trusted --output --use",
    ),
    "store": (
        "describe, check or shrink a store of finished fits",
        "A search with store=FILE keeps its finished fits there. info describes the file, "
        "verify checks every fit, vacuum removes damaged fits and, with --max-size, the "
        "least recently used.",
        "action path --max-size",
    ),
}
# Keywords that differ in a command.
_OWN_KEYWORDS: dict[str, dict[str, Any]] = {
    "fit --output": {"metavar": "DIR", "default": "sk_tune_output"},
    "demo --output": {"metavar": "DIR", "default": "sk_tune_demo"},
    "demo --time-budget": {"default": "20s"},
    "fit --use": {"default": "ensemble"},
    "demo --use": {"default": "ensemble"},
    "export --output": {"required": True},
}


def make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sk-tune",
        description="Tune neural networks and boosting on a table, and average the best.",
        epilog=_PICKLE_NOTE,
    )
    parser.add_argument("--version", action="version", version=f"sk-tune {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command, (summary, description, arguments) in _COMMANDS.items():
        note = None if command == "store" else _PICKLE_NOTE
        subparser = commands.add_parser(
            command, help=summary, description=description, epilog=note
        )
        for name in arguments.split():
            keywords = {**_KEYWORDS[name], **_OWN_KEYWORDS.get(f"{command} {name}", {})}
            # A demo has the options of a fit.
            keys = [f"{command} {name}", *([f"fit {name}"] * (command == "demo")), name]
            text = next(_HELP[key] for key in keys if key in _HELP)
            if "default" in keywords:
                text += " (default: %(default)s)"
            subparser.add_argument(name, help=f"{text}.", **keywords)
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
                # The dashes of two options are not a similarity.
                similar = nearest(option[2:], [name.lstrip("-") for name in names])
                hint = f" Did you mean --{similar[0]}?" if similar else ""
                self.error(f"unknown option {option}.{hint}")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print one line instead of argparse's usage, which would hide the error."""
        self.exit(USER_ERROR, f"{self.prog}: error: {message}\nSee {self.prog} --help.\n")
