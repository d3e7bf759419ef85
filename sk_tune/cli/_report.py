# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""``sk-tune report`` and ``export``: what a fit found, and its networks elsewhere."""

import json
from pathlib import Path

from sk_tune._files import replaced_file
from sk_tune.cli._output import load_model, page_title, usage_text
from sk_tune.cli._summary import labelled, score_lines, verdict_text
from sk_tune.exceptions import OptionError

__all__ = ["export", "report"]


def report(folder: Path, output: Path | None) -> None:
    """Print what a fit found, and write its page anew, into its folder by default.

    Raises TableError if there is no model, OptionError if the page has no folder.
    """
    if output is not None and not output.absolute().parent.is_dir():
        raise OptionError(
            f"--output must be a file in a folder that exists. Got {str(output)!r} instead."
        )
    saved = load_model(folder)
    auto = saved.model
    path = _home(folder) / "report.html"
    written = auto.report(
        path if output is None else output,
        title=page_title(saved.target, _table(path.parent)),
        usage=usage_text(path.parent),
    )
    print("\n".join(score_lines(list(auto.scores_.values()), str(auto.scoring))))
    print()
    print(labelled("Verdict", verdict_text(auto.verdict_)))
    print(labelled("Written", str(written)))


def _home(path: Path) -> Path:
    """Return the output folder of a model that is given by its folder or file."""
    if path.is_dir():
        return path
    return path.parent.parent if path.parent.name == "model" else path.parent


def _table(folder: Path) -> str:
    """Return the name of the table of a fit, if its folder tells."""
    try:
        text = (folder / "summary.json").read_text(encoding="utf-8")
        return str(json.loads(text)["table"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def export(folder: Path, output: Path, *, use: str | None = None) -> None:
    """Write what a model predicts with as one ONNX model, with what it takes to use it.

    Parameters
    ----------
    folder : Path
        Output of ``sk-tune fit``.
    output : Path
        ONNX file to write; a file with the ending .json goes beside it, and both are
        written or none.
    use : str or None, default=None
        Which of its models; None is the one of the fit.

    Raises
    ------
    TableError
        If there is no model.
    OptionError
        If there is no model but the dummy, or a member prepares columns as ONNX cannot
        express; if the file with the ending .json is of another origin; or if a package is
        missing.
    """
    if output.suffix != ".onnx" or not output.absolute().parent.is_dir():
        raise OptionError(
            "--output must be a file that ends in .onnx, in a folder that exists. Got "
            f"{str(output)!r} instead."
        )
    beside = output.with_suffix(".json")
    if beside.exists() and not _is_of_export(beside):
        raise OptionError(
            f"--output must leave other files alone. Got {str(output)!r}, whose columns "
            f"would go to {beside.name}, which export did not write. Name another file."
        )
    auto = load_model(folder, use=use).model
    with replaced_file(beside) as own, replaced_file(output) as network:
        try:
            about = auto.to_onnx(network)
        except (TypeError, ImportError) as error:
            raise OptionError(str(error)) from error
        text = json.dumps(about, indent=2, ensure_ascii=False)
        own.write_text(text + "\n", encoding="utf-8")
    n = len(about["members"])
    members = "1 model" if n == 1 else f"{n} models"
    print(labelled("Written", f"{members} to {output}, its columns to {output.stem}.json"))


def _is_of_export(path: Path) -> bool:
    """Return whether a file is the account of an ONNX model that may be written anew."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and about.keys() == {"inputs", "classes", "members"}
