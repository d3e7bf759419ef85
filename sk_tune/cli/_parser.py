# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The arguments of each command and their completion, by the standard library alone."""

import argparse
import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from sk_tune import __version__
from sk_tune.exceptions import OptionError

__all__ = ["USER_ERROR", "check_use", "completion", "make_parser"]

# Of argparse for wrong arguments.
USER_ERROR = 2

_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}
_BYTES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_MAX_SEED = 2**32 - 1
_MODELS = ("linear", "boosting", "network")
_USES = ("ensemble", "best", "networks", "linear", "boosting")
_TABLES = ("titanic", "breast_cancer", "wine", "diabetes")

_PICKLE_NOTE = (
    "A model.joblib is a pickle, and loading one can execute code: one that you did not "
    "write on this machine is refused, unless you say --trusted."
)


class _Parser(argparse.ArgumentParser):
    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Name the nearest option to one that does not exist, before others are missed."""
        known = self._option_string_actions
        for given in [] if self._subparsers else [a for a in args or () if a[:2] == "--"]:
            option = given.partition("=")[0]
            if not any(name.startswith(option) for name in known):
                near = difflib.get_close_matches(option, known, n=1)
                hint = f" Did you mean {near[0]}?" if near else ""
                self.error(f"there is no option {option}.{hint}")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print one line instead of argparse's usage, which hides it."""
        self.exit(USER_ERROR, f"{self.prog}: error: {message}\nSee {self.prog} --help.\n")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
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


def check_use(options: Mapping[str, Any]) -> None:
    """Refuse to predict with what is not trained."""
    models, use = options.get("models"), options.get("use")
    families = {"linear": "linear", "boosting": "boosting", "networks": "network"}
    if models is not None and families.get(str(use)) not in {None, *models}:
        raise OptionError(
            f"--use must name a model that is trained. Got {use!r} with --models "
            f"{','.join(models)}."
        )


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
        help="when each row was, numbers or dates: judge on later rows",
    )
    _add_search_options(parser, time_budget="60s", output="sk_tune_output")


def _add_predict(commands: Any) -> None:
    parser = commands.add_parser(
        "predict",
        help="apply a saved model to a table",
        description="Predict the rows of a table, in their order, as CSV, part by part.",
        epilog=_PICKLE_NOTE,
    )
    _add_folder(parser, "model")
    parser.add_argument("data", type=Path, help="table with the columns of the fitted one")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="CSV file to write; default: the screen"
    )
    _add_use(parser)
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
        help="write what predicts as ONNX",
        description=(
            "Write the ensemble, or what --use says, for other programs, as one ONNX model "
            "with what prepares its columns; a JSON file beside it says what these are."
        ),
        epilog=_PICKLE_NOTE,
    )
    _add_folder(parser, "folder")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", required=True, help="file ending in .onnx"
    )
    _add_use(parser)


def _add_completion(commands: Any) -> None:
    parser = commands.add_parser(
        "completion",
        help="print what completes commands and options in a shell",
        description='For bash: eval "$(sk-tune completion bash)".',
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def _add_folder(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument(name, type=Path, metavar="MODEL_DIR", help="output of sk-tune fit")
    parser.add_argument(
        "--trusted", action="store_true", help="load a pickle that another account wrote"
    )


def _add_use(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--use",
        choices=_USES,
        help="what predicts; default: what fit was told, or ensemble",
    )


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
        metavar="NAME",
        help="a scorer of scikit-learn; default: accuracy, or r2 for regression",
    )
    parser.add_argument(
        "--models",
        type=_models,
        metavar="LIST",
        help=f"what to train, of {','.join(_MODELS)}; default: all of them",
    )
    _add_use(parser)
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
            "folder for model/, resume/, trials.parquet, summary.json, report.html; "
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


_BASH = """_sk_tune() {
    local word="${COMP_WORDS[COMP_CWORD]}" words choices
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="COMMANDS"
    else
        case "${COMP_WORDS[1]}" in
CASES
        esac
    fi
    if [[ "$word" == -* || "$COMP_CWORD" -eq 1 ]]; then
        COMPREPLY=( $(compgen -W "$words" -- "$word") )
    else
        COMPREPLY=( $(compgen -W "$choices" -- "$word") $(compgen -f -- "$word") )
    fi
}
complete -o filenames -F _sk_tune sk-tune"""


def completion(shell: str, parser: argparse.ArgumentParser) -> str:
    """Return the script of a command line for "bash", "zsh" or "fish"."""
    commands = _commands(parser)
    if shell == "fish":
        return "\n".join(_fish(commands))
    cases = "\n".join(
        f'            {name}) words="{" ".join(_option_strings(own))}"'
        f' choices="{" ".join(_choices(own))}" ;;'
        for name, own in commands.items()
    )
    script = _BASH.replace("COMMANDS", " ".join(commands)).replace("CASES", cases)
    if shell == "zsh":
        return f"autoload -U +X bashcompinit && bashcompinit\n{script}"
    return script


def _fish(commands: dict[str, argparse.ArgumentParser]) -> list[str]:
    none_yet = "__fish_use_subcommand"
    lines = [f"complete -c sk-tune -f -n {none_yet} -a '{' '.join(commands)}'"]
    for name, own in commands.items():
        for option in _option_strings(own):
            flag = option.lstrip("-")
            after = f"'__fish_seen_subcommand_from {name}'"
            kind = "-l" if option.startswith("--") else "-s"
            lines.append(f"complete -c sk-tune -n {after} {kind} {flag}")
    return lines


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (action,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def _option_strings(parser: argparse.ArgumentParser) -> list[str]:
    return [o for action in parser._actions for o in action.option_strings]


def _choices(parser: argparse.ArgumentParser) -> list[str]:
    return [str(c) for action in parser._actions for c in action.choices or ()]
