# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Diagnose runs of the bank and carry out the remedies, once.

``apply_remedies`` changes parameters.  Faults of data have other remedies, which follow the
findings only, as a user would: if a fold differs from the others, its rows are left out of
training if the others score better without them; otherwise, if ``find_leaks`` finds copies
across the folds, ``group_copies`` makes new folds, and the diagnosis of their curves is
acted upon.  The true classes of the bank are not used.
"""

import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from diagnosis_bank import (
    Data,
    Planted,
    arranged,
    fold_curves,
    fold_fit,
    net,
    row_losses,
)
from diagnosis_problems import Problem, make_problem
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, cross_val_score

from sk_tune import diagnose
from sk_tune._diagnosis import (
    Curves,
    Finding,
    apply_remedies,
    find_leaks,
    group_copies,
    verdict,
)
from sk_tune._diagnosis._curves import estimate
from sk_tune.engine import Fit, train

# Names of the findings, translated to classes of the bank.
CLASS_OF_FINDING = {
    "good fit": "healthy",
    "converged long ago": "converged long ago",
    "underfitting": "underfitting",
    "overfitting": "overfitting",
    "diverged": "learning rate too high",
    "learning rate too high": "learning rate too high",
    "learning rate too low": "learning rate too low",
    "still improving": "too few epochs",
    "folds disagree": "shifted fold",
    "too few rows": "tiny data",
    "no better than the baseline": "no signal",
}
OTHER = "other"
COPIES = ("duplicates across folds", "near duplicates across folds")

Record = dict[str, Any]
Work = Callable[[Problem, Record], Record]


def curves_of(record: Record) -> Curves:
    """Return a record's curves as input of the diagnosis."""
    arrays = {
        name: np.array(values, dtype=np.float64)
        for name, values in record["curves"].items()
    }
    return as_curves(record, arrays)


def as_curves(record: Record, arrays: dict[str, np.ndarray]) -> Curves:
    return Curves(
        **arrays,
        params=estimator_of(record).get_params(),
        baseline_loss=record["baseline_loss"],
        n_samples=record["n_samples"],
    )


def estimator_of(record: Record) -> Any:
    return net(record["params"], is_regression=record["task"] == "regression")


def problem_of(record: Record) -> tuple[str, int]:
    return record["data"], record["seed"]


def planted_of(record: Record) -> Planted:
    return Planted(
        record["planted"], record["params"], record["planted_seed"], record["detail"]
    )


def data_of(problem: Problem, record: Record) -> Data:
    return arranged(problem, planted_of(record))


def predicted(findings: Sequence[Finding]) -> str:
    """Return the class that findings amount to: the class of the verdict, or of a tip."""
    main = verdict(findings)
    if main.outcome == "issue":
        return CLASS_OF_FINDING.get(main.name, OTHER)
    tips = {f.name for f in findings if f.outcome == "tip"}
    return "converged long ago" if "converged long ago" in tips else "healthy"


def act_on_all(
    records: Sequence[Record],
    n_jobs: int,
    known: Path | None = None,
    seconds: float = math.inf,
    work: Work | None = None,
) -> list[Record]:
    """Return the results of `work` on the runs; by default, `acted_on`.

    Problems in the file are read from it, other problems are added to it.  Problems that do
    not begin in time are left for the next call.
    """
    start = time.perf_counter()
    results: dict[tuple[str, int], list[Record]] = {}
    if known is not None and known.exists():
        for line in known.read_text().splitlines():
            name, seed, acted = json.loads(line)
            results[name, seed] = acted
    groups: dict[tuple[str, int], list[Record]] = {}
    for record in records:
        groups.setdefault(problem_of(record), []).append(record)
    missing = [key for key in groups if key not in results]
    for first in range(0, len(missing), n_jobs):
        if time.perf_counter() - start > seconds:
            raise SystemExit(f"{len(missing) - first} problems are left: run this again.")
        keys = missing[first : first + n_jobs]
        batches = joblib.Parallel(n_jobs=n_jobs)(
            joblib.delayed(on_each)(work or acted_on, groups[k]) for k in keys
        )
        results |= dict(zip(keys, batches, strict=True))
        if known is not None:
            with known.open("a") as file:
                file.writelines(f"{json.dumps([*k, results[k]])}\n" for k in keys)
    return [own for key in groups for own in results[key]]


def on_each(work: Work, records: Sequence[Record]) -> list[Record]:
    """Return the results of `work` on the runs of one problem."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    problem = make_problem(*problem_of(records[0]))
    return [work(problem, record) for record in records]


def acted_on(problem: Problem, record: Record) -> Record:
    """Return losses on test rows before and after, and the treatment."""
    data, estimator = data_of(problem, record), estimator_of(record)
    findings = diagnose(curves_of(record))
    by_apply = applied(problem, data, record, findings)
    acted = {
        "data": record["data"],
        "truth": record["truth"],
        "said": predicted(findings),
        "leaks": leaks_of(data),
        "of_data": [],
        "by_apply": by_apply["gain"],
        **by_apply,
    }
    if (fold := harmful_fold(data, estimator, findings)) is not None:
        others = [i for i in range(len(data.folds)) if i != fold]
        fits = [fold_fit(data, estimator, i) for i in others]
        fewer = [without(fit, data.folds[fold]) for fit in fits]
        # Losses keep their unit when rows are left out.
        before, after = mean_loss(problem, fits), mean_loss(problem, fewer, units=fits)
        acted |= compared(before, after)
        acted["of_data"] = [f"without the rows of fold {fold}"]
    elif acted["leaks"]:
        honest = curves_on(regrouped(problem, data), record)
        acted |= applied(problem, data, record, diagnose(honest))
        acted["of_data"] = ["folds by group_copies"]
        acted["told_before"] = float(np.mean(last_losses(curves_of(record))))
        acted["told_after"] = float(np.mean(last_losses(honest)))
    return acted


def applied(
    problem: Problem, data: Data, record: Record, findings: Sequence[Finding]
) -> Record:
    """Return the effect of the parameters that `apply_remedies` changes, on the same folds.

    Training rows stay the same, so that only the remedy makes a difference.
    """
    before = after = record["test_losses"]["own"]
    remedy = apply_remedies(findings, estimator_of(record))
    if remedy.changes:
        folds = range(len(data.folds))
        after = mean_loss(problem, [fold_fit(data, remedy.target, i) for i in folds])
    return {
        **compared(before, after),
        "changes": [str(change) for change in remedy.changes],
    }


def leaks_of(data: Data) -> list[str]:
    """Return the checks that find copies across the folds."""
    leaks = find_leaks(data.X[data.rows], data.y[data.rows], cv=splits(data))
    return [f.name for f in leaks if f.outcome == "issue" and f.name in COPIES]


def splits(data: Data) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the folds as positions in their union."""
    rows = data.rows
    return [
        (
            np.searchsorted(rows, data.train_rows(i)),
            np.searchsorted(rows, np.sort(data.folds[i])),
        )
        for i in range(len(data.folds))
    ]


def regrouped(problem: Problem, data: Data) -> Data:
    """Return the same rows in folds that keep copies together."""
    rows, n_folds = data.rows, len(data.folds)
    kind = GroupKFold if problem.is_regression else StratifiedGroupKFold
    folds = kind(n_folds, shuffle=True, random_state=0)
    groups = group_copies(data.X[rows], data.y[rows])
    return Data(
        data.X,
        data.y,
        [rows[test] for _, test in folds.split(rows, data.y[rows], groups)],
    )


def curves_on(data: Data, record: Record) -> Curves:
    estimator = estimator_of(record)
    fits = [fold_fit(data, estimator, i, monitored=True) for i in range(len(data.folds))]
    return as_curves(record, fold_curves(train(fits)))


def last_losses(curves: Curves) -> np.ndarray:
    return curves.valid_loss[:, -1]


def harmful_fold(data: Data, estimator: Any, findings: Sequence[Finding]) -> int | None:
    """Return the fold whose rows should be left out, or None."""
    main = verdict(findings)
    if main.outcome != "issue" or main.name != "folds disagree":
        return None
    fold = int(main.evidence["fold"])
    is_regression = not hasattr(estimator, "predict_proba")
    left_out = splits(data)[fold][1]
    others = [
        (train, test) for train, test in splits(data) if not np.isin(test, left_out).any()
    ]
    without = [(np.setdiff1d(train, left_out), test) for train, test in others]
    scores = cross_val_score(
        estimator,
        data.X[data.rows],
        data.y[data.rows],
        cv=[*others, *without],
        scoring="neg_mean_squared_error" if is_regression else "neg_log_loss",
    )
    gains = scores[len(others) :] - scores[: len(others)]
    # The fold is already suspect, so a confidence of three in four is enough.
    return fold if estimate(gains).at_least(0.75) > 0 else None


def without(fit: Fit, rows: np.ndarray) -> Fit:
    return replace(fit, rows=np.setdiff1d(fit.rows, rows))


def mean_loss(problem: Problem, fits: list[Fit], units: list[Fit] | None = None) -> float:
    """Return the mean loss on test rows, in variances of the targets of ``units``."""
    losses = [
        row_losses(problem, fit, trained, problem.test_rows).mean()
        * (variance(problem, fit) / variance(problem, unit))
        for fit, trained, unit in zip(fits, train(fits), units or fits, strict=True)
    ]
    return float(np.mean(losses))


def variance(problem: Problem, fit: Fit) -> float:
    return float(np.var(fit.y[fit.rows])) if problem.is_regression else 1.0


def compared(before: float | None, after: float | None) -> Record:
    return {"before": before, "after": after, "gain": relative_gain(before, after)}


def relative_gain(before: float | None, after: float | None) -> float:
    """Return the relative decrease of a loss; None and infinity are useless losses."""
    if after is None or not math.isfinite(after):
        return 0.0 if before is None or not math.isfinite(before) else -math.inf
    if before is None or not math.isfinite(before):
        return 1.0
    return (before - after) / before
