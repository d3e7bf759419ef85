# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Run the benchmarks of speed and of default scores, and write their page.

    python benchmarks/page.py [--report]

Runs the commands of `TABLES` one after another, which takes a quarter of an hour on two
idle cores, stores their results in benchmarks/speed.jsonl, and writes
docs/benchmarks-page.md.  With --report, the page is written from the stored results.
"""

import argparse
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sklearn
import skorch
import torch
from measure import processor_name, record

HERE = Path(__file__).parent
RESULTS = HERE / "speed.jsonl"
PAGE = HERE.parent / "docs" / "benchmarks-page.md"

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A table of the page: its command, how a row is written, and its meaning."""

    title: str
    command: str
    head: str
    row: Callable[[Result], Sequence[str]]
    meaning: Callable[[Sequence[Result]], str]

    @property
    def benchmark(self) -> str:
        return self.command.partition(".py")[0]


def ratio(result: Result, side: str, kind: str = "seconds") -> float:
    return float(result[kind][side] / result[kind]["sk_tune"])


def cell(result: Result, side: str) -> str:
    """Return a side's seconds, with its ratios to sk_tune: clock, then processor."""
    if side not in result["seconds"]:
        return ""
    ratios = [ratio(result, side, kind) for kind in ("seconds", "processor")]
    text = ", ".join(f"{value:.1f}" for value in ratios)
    return f"{result['seconds'][side]:.2f} ({text})"


def milliseconds(result: Result, side: str) -> str:
    if side not in result["seconds"]:
        return ""
    return f"{1000 * result['seconds'][side]:.1f} ({ratio(result, side):.1f})"


def span(results: Sequence[Result], side: str) -> str:
    """Return the least and the greatest ratio of a side to sk_tune."""
    ratios = [ratio(result, side) for result in results if side in result["seconds"]]
    return f"{min(ratios):.1f} to {max(ratios):.1f}"


def meaning_of_calls(results: Sequence[Result]) -> str:
    texts = {}
    for nets in ("skorch", "sk_tune"):
        times = [r["seconds"] for r in results if r["nets"] == nets]
        gains = [seconds["outside"] / seconds["inside"] for seconds in times]
        texts[nets] = f"{min(gains):.1f} to {max(gains):.1f}"
    return (
        f"Unchanged calls run {texts['skorch']} times as fast in a `fleet()` block with "
        f"plain skorch nets, and {texts['sk_tune']} times with sk_tune's estimators. The "
        "latter train in the compiled kernel with or without a block, so they gain little, "
        "and recording costs time."
    )


def meaning_of_scores(results: Sequence[Result]) -> str:
    names = [r["case"] for r in results if r["score"] < r["linear"]]
    losing = f"on {', '.join(names)}" if names else "on none"
    return (
        "The default networks are compared with logistic or ridge regression on the same "
        f"folds. The linear model is better {losing}."
    )


CASES_OF_FIT = {
    "digits": "`fit`, digits",
    "regression": "`fit`, regression on 2,000 x 20",
    "silu": "`fit`, digits, SiLU (scikit-learn: ReLU)",
    "batch_norm": "`fit`, digits, batch normalisation (scikit-learn: without)",
    "predict": "`predict_proba`, 20,000 digits",
    "cnn": "`fit`, digits 8x8, CNN of 16-32-64",
    "gru": "`fit`, 2,000 x 40 steps, GRU 32",
}

TABLES = [
    Table(
        "Searches",
        "engine.py small tiny wide cnn gru --quick",
        "| work | sk_tune | skorch in `GridSearchCV` | scikit-learn's MLP |",
        lambda r: [
            f"{r['case']}, {r['fits']}",
            f"{r['seconds']['sk_tune']:.2f}",
            cell(r, "skorch"),
            cell(r, "MLPClassifier"),
        ],
        lambda results: (
            "Seconds on two workers, with the ratios to sk_tune's wall-clock time and "
            "processor time in brackets. skorch trains a quarter of the candidates, and "
            "its time is extrapolated. In wall-clock time, skorch takes "
            f"{span(results, 'skorch')} times as long, and scikit-learn "
            f"{span(results, 'MLPClassifier')} times. Wide networks gain least, because "
            "all programs spend their time on the same matrix products."
        ),
    ),
    Table(
        "Unchanged code in a `fleet()` block",
        "backend.py --quick --runs 1",
        "| call | nets | `n_jobs=2` | in the block | ratio | recording and replaying |",
        lambda r: [
            r["case"],
            r["nets"],
            f"{r['seconds']['outside']:.2f}",
            f"{r['seconds']['inside']:.2f}",
            f"{r['seconds']['outside'] / r['seconds']['inside']:.1f}",
            f"{r['share']:.0%}",
        ],
        meaning_of_calls,
    ),
    Table(
        "One `fit`",
        "fit_speed.py --runs 3",
        "| work | sk_tune | scikit-learn's MLP | plain skorch net |",
        lambda r: [
            CASES_OF_FIT[r["case"]],
            f"{1000 * r['seconds']['sk_tune']:.1f}",
            milliseconds(r, "scikit-learn"),
            milliseconds(r, "skorch"),
        ],
        lambda results: (
            "Milliseconds, with the ratio to sk_tune in brackets. Each `fit` trains for 20 "
            "epochs in batches of 64; unless stated otherwise, the network is a 64-64 MLP "
            "with `members=1`. "
            f"scikit-learn takes {span(results, 'scikit-learn')} times as long, "
            f"skorch {span(results, 'skorch')} times."
        ),
    ),
    Table(
        "Scores of the default networks",
        "quality.py",
        "| data, network | score | linear model |",
        lambda r: [r["case"], f"{r['score']:.3f}", f"{r['linear']:.3f}"],
        meaning_of_scores,
    ),
]

HEAD = """# Benchmarks

`python benchmarks/page.py` ran the commands below and wrote this page on {date}.
Machine: {case}; torch {torch}, scikit-learn {sklearn}, skorch {skorch}. The compared
programs take turns in one run, and figures are medians. Ratios carry
over to other machines better than seconds.
"""

TAIL = """
## Elsewhere

- [Search quality](search-quality.md): Hyperband and BOHB, compared with random search over
  skorch and with Optuna.
- [AutoML](automl-quality.md): `AutoClassifier` and `AutoRegressor`, compared with
  AutoGluon, FLAML and boosting.
- [Verdicts](diagnosis-quality.md): how often the diagnosis is right.

Nothing has been measured on a GPU. `benchmarks/gpu.py` defines the cases; `--device cpu
--quick` runs them on a processor.

Without the compiled kernel (no compiler at installation, or another `device` than the CPU),
scikit-learn's `MLPClassifier` is faster: it computes gradients with hand-written formulas,
so a training step of a small network takes less time.
"""


def run() -> None:
    """Run all commands, and store their results."""
    RESULTS.unlink(missing_ok=True)
    os.environ["SK_TUNE_RESULTS"] = str(RESULTS)
    versions = {m.__name__: m.__version__ for m in (torch, sklearn, skorch)}
    date = time.strftime("%d %B %Y").lstrip("0")
    record("machine", processor_name(), date=date, **versions)
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    for table in TABLES:
        script, *arguments = table.command.split()
        command = [sys.executable, str(HERE / script), *arguments]
        subprocess.run(command, check=True, env=environment)


def write() -> None:
    """Write the page from the stored results."""
    results = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    machine = next(r for r in results if r["benchmark"] == "machine")
    parts = [HEAD.format(**machine)]
    for table in TABLES:
        table_results = [r for r in results if r["benchmark"] == table.benchmark]
        rows = ["| " + " | ".join(table.row(r)) + " |" for r in table_results]
        rule = "| --- " * (table.head.count("|") - 1) + "|"
        lines = [table.head, rule, *rows]
        parts.append(
            f"\n## {table.title}\n\n`benchmarks/{table.command}`\n\n"
            + "\n".join(lines)
            + f"\n\n{textwrap.fill(table.meaning(table_results), 118)}\n"
        )
    PAGE.write_text("".join([*parts, TAIL]), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", action="store_true", help="write the page only")
    if not parser.parse_args().report:
        run()
    write()


if __name__ == "__main__":
    main()
