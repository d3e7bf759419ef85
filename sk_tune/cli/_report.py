# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""``sk-tune report`` and ``export``: what a fit found, and a network for other programs."""

import json
from pathlib import Path
from typing import Any

from sk_tune._files import replaced_file
from sk_tune.cli._output import load_model, page_title
from sk_tune.cli._summary import labelled, score_lines
from sk_tune.exceptions import OptionError

__all__ = ["export", "report"]

_NETWORKS = ("MLP", "CNN", "RNN")


def report(folder: Path, output: Path | None) -> None:
    """Print what a fit found, and write its page anew.

    Parameters
    ----------
    folder : Path
        Output of ``sk-tune fit``.
    output : Path or None
        HTML file to write; ``report.html`` in the folder if None.

    Raises
    ------
    TableError
        If there is no model.
    OptionError
        If the page has no folder to be written to.
    """
    if output is not None and not output.absolute().parent.is_dir():
        raise OptionError(
            f"--output must be a file in a folder that exists. Got {str(output)!r} instead."
        )
    saved = load_model(folder)
    auto = saved.model
    path = (folder if folder.is_dir() else folder.parent) / "report.html"
    written = auto.report(
        path if output is None else output,
        title=page_title(saved.target, _table(path.parent)),
    )
    print("\n".join(score_lines(list(auto.scores_.values()), str(auto.scoring))))
    print()
    print(labelled("Verdict", auto.verdict_))
    print(labelled("Written", str(written)))


def _table(folder: Path) -> str:
    """Return the name of the table of a fit, if its folder tells."""
    try:
        text = (folder / "summary.json").read_text(encoding="utf-8")
        return str(json.loads(text)["table"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def export(folder: Path, output: Path) -> None:
    """Write the weightiest network of a model as ONNX, with what it takes to use it.

    Parameters
    ----------
    folder : Path
        Output of ``sk-tune fit``.
    output : Path
        ONNX file to write; a file with the ending .json goes beside it.

    Raises
    ------
    TableError
        If there is no model.
    OptionError
        If the ensemble has no network.
    """
    if output.suffix != ".onnx" or not output.absolute().parent.is_dir():
        raise OptionError(
            "--output must be a file that ends in .onnx, in a folder that exists. Got "
            f"{str(output)!r} instead."
        )
    saved = load_model(folder)
    board = saved.model.leaderboard_
    own = board[board["family"].isin(_NETWORKS) & (board["weight"] > 0)]
    if own.empty:
        raise OptionError("There must be a network in the ensemble. Got none.")
    name = own["weight"].idxmax()
    pipeline = _weightiest(saved.model.ensemble_)
    network, prepare = pipeline[-1], pipeline[0]
    with replaced_file(output) as path:
        network.to_onnx(path)
    names: Any = getattr(prepare, "get_feature_names_out", list)()
    about = {
        "model": name,
        "fold": 0,
        "weight": float(own["weight"].max()),
        "inputs": [str(one) for one in names],
        "classes": [str(label) for label in getattr(network, "classes_", [])],
        "note": "One network of one fold, on columns as the preparation makes them.",
    }
    text = json.dumps(about, indent=2, ensure_ascii=False)
    output.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    print(labelled("Written", f"{name}, first fold, to {output} and {output.stem}.json"))


def _weightiest(blend: Any) -> Any:
    """Return the network with the largest weight, of the first fold."""
    own = [
        (member.weight, -position, member.estimator)
        for position, member in enumerate(blend.combination.members)
        if type(member.estimator[-1]).__name__.startswith(_NETWORKS)
    ]
    # Positions differ, so that no two estimators are compared.
    return max(own)[2]
