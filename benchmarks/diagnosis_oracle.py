# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Apply the criteria of the labels to other rows than all test rows.

Labels compare the losses of a network and of all its cures on up to 2,000 test rows.  The
oracle compares the same losses on the held-out rows of the folds, the only rows that a user
has: it shows how well experiments on these rows can recognise the classes, alone and
together with the curves.  Two halves of the test rows show how reliable the labels are.
"""

import math
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from diagnosis_act import data_of, planted_of
from diagnosis_bank import (
    CONVERGED,
    CURES,
    LEAST_GAIN,
    N_COMPARED,
    NOT_CONVERGED,
    OF_DATA,
    RIVAL,
    Job,
    Params,
    Run,
    best_by_class,
    constant_loss,
    fold_fit,
    gain,
    is_shifted,
    net,
    row_losses,
    search,
    shared_params,
    shift_notes,
    standard_error,
    variant_jobs,
)
from diagnosis_problems import Problem, make_problem

from sk_tune.engine import train

Record = dict[str, Any]
# Losses of the network of each fold, "own", of a constant and of the cures.
Losses = dict[str, list[np.ndarray]]
Gain = Callable[[list[np.ndarray], list[np.ndarray]], tuple[float, float]]
# Planted tiny data have fewer rows.
FEW_ROWS = 100
HELD_OUT = "held-out rows"
TEST_ROWS = {
    "test rows": slice(None),
    "half of the test rows": slice(0, None, 2),
    "other half": slice(1, None, 2),
}


def oracle(problem: Problem, record: Record) -> Record:
    """Return the evidence about a run on held-out rows, test rows and halves of these."""
    data, planted = data_of(problem, record), planted_of(record)
    curves = {n: np.array(c, dtype=float) for n, c in record["curves"].items()}
    folds = range(len(data.folds))
    estimator = net(planted.params, is_regression=problem.is_regression)
    jobs = [Job(0, "own", fold_fit(data, estimator, i)) for i in folds]
    best = best_params(problem.name, problem.seed)
    cures = variant_jobs(problem, 0, Run(planted, data, curves), best, len(folds))
    # A user has no more rows.
    jobs += [job for job in cures if job.variant != "more rows"]
    test = problem.test_rows
    inside = {"constant": [constant_loss(problem, data, i, data.folds[i]) for i in folds]}
    outside = {"constant": [constant_loss(problem, data, i, test) for i in folds]}
    for job, trained in zip(jobs, train([job.fit for job in jobs]), strict=True):
        # The jobs of a variant are in the order of the folds.
        rows = data.folds[len(inside.setdefault(job.variant, []))]
        losses = row_losses(problem, job.fit, trained, np.append(rows, test))
        inside[job.variant].append(losses[: len(rows)])
        outside.setdefault(job.variant, []).append(losses[len(rows) :])
    own = inside["own"]
    others = [np.concatenate([*own[:i], *own[i + 1 :]]) for i in folds]
    by_rows = {HELD_OUT: evidence(inside, own, others, gain_on_folds)}
    for name, part in TEST_ROWS.items():
        some = {n: [fold[part] for fold in losses] for n, losses in outside.items()}
        by_rows[name] = evidence(some, own, some["own"], gain_on_test)
    own = {name: record[name] for name in ("data", "truth", "n_samples")}
    return {**own, **by_rows}


def evidence(losses: Losses, inside: Any, outside: Any, gain_of: Gain) -> Record:
    """Return all that labels depend on.

    ``inside`` are the losses on each fold's held-out rows, ``outside`` those on the rows
    with which these are compared.
    """
    own = losses["own"]
    nets = {name: x for name, x in losses.items() if name != "constant"}
    is_diverged = not all(np.isfinite(fold).all() for fold in own)
    notes = (
        [] if is_diverged else [shift_notes(inside, outside, i) for i in range(len(own))]
    )
    return {
        "is_diverged": is_diverged,
        "is_shifted": any(map(is_shifted, notes)),
        "gains": {name: gain_of(own, x) for name, x in nets.items() if name != "own"},
        "learnt": [gain_of(losses["constant"], x) for x in nets.values()],
    }


def class_of(run: Record, rows: str) -> str:
    """Return the class by the criteria of the labels; ambiguous runs get the likeliest."""
    if run["n_samples"] < FEW_ROWS:
        return "tiny data"
    found = run[rows]
    if found["is_diverged"]:
        return "learning rate too high"
    if found["is_shifted"]:
        return "shifted fold"
    shares = {
        # A lower rate also cures overfitting.
        fault: share / (RIVAL if fault == "learning rate too high" else 1.0)
        for fault, (share, errors) in best_by_class(found["gains"]).items()
        if share >= LEAST_GAIN and errors > 2
    }
    if shares:
        return max(shares, key=lambda fault: shares[fault])
    if all(errors < 2 or share < 0.01 for share, errors in found["learnt"]):
        return "no signal"
    wasted = found["gains"]["shorter"][0] >= -(CONVERGED + NOT_CONVERGED) / 2
    return "converged long ago" if wasted else "healthy"


@lru_cache(maxsize=1)
def best_params(name: str, seed: int) -> Params:
    """Return the best configuration of the search that planted the faults of a problem."""
    problem = make_problem(name, seed)
    rng = np.random.default_rng([1, zlib.crc32(name.encode()), seed])
    return search(problem, shared_params(problem, rng), rng)[0]


def class_with_curves(run: Record, said: str) -> str:
    """Return the class that the curves ``said``, unless its cure fails or no fault is seen.

    Then the held-out rows decide.
    """
    found = run[HELD_OUT]
    if said in OF_DATA:
        return said
    helps = said in CURES and best_by_class(found["gains"])[said][0] > 0
    return said if helps and not found["is_shifted"] else class_of(run, HELD_OUT)


def gain_on_test(own: list[np.ndarray], other: list[np.ndarray]) -> tuple[float, float]:
    """Return the gain on test rows, by the networks of the folds that labels compare."""
    return gain(np.array(own), np.array(other[:N_COMPARED]))


def gain_on_folds(own: list[np.ndarray], other: list[np.ndarray]) -> tuple[float, float]:
    """Return the gain on held-out rows and its standard errors, as `gain` does."""
    if not all(np.isfinite(fold).all() for fold in other):
        return -math.inf, -math.inf
    if not all(np.isfinite(fold).all() for fold in own):
        return 1.0, math.inf
    by_fold = [a - b for a, b in zip(own, other, strict=True)]
    difference = np.concatenate(by_fold)
    means = [fold.mean() for fold in by_fold]
    by_folds = np.std(means, ddof=1) / math.sqrt(len(means))
    error = math.hypot(standard_error(difference), by_folds)
    mean = difference.mean()
    return float(mean / np.concatenate(own).mean()), float(mean / error) if error else 0.0
