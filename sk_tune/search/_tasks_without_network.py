# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tasks of a search that train no network: run here, or in joblib's workers."""

from collections.abc import Sequence
from multiprocessing import TimeoutError as NothingYetError
from typing import Any

import joblib

from sk_tune._compat import FoldTask, fold_task
from sk_tune.adoption import adoption
from sk_tune.engine import have_to_start, start_meanwhile
from sk_tune.estimators import take_rows
from sk_tune.search._network_training import Trainer
from sk_tune.search._outcomes import (
    FoldOutcome,
    HeldOut,
    SearchOptions,
    Work,
    hold,
    positions,
)
from sk_tune.search._time_budget import TimeBudget
from sk_tune.training import (
    TimeIsUpError,
)

__all__ = ["held_out", "run_others"]


def run_others(
    works: Sequence[Work],
    trainer: Trainer,
    options: SearchOptions,
    budget: TimeBudget,
    *,
    is_first: bool,
    stays_here: bool,
) -> None:
    """Run tasks; raises ``TimeIsUpError`` if the time is up before the last."""
    with trainer.outside():
        stays_here = stays_here or joblib.effective_n_jobs(options.n_jobs) == 1
        if not stays_here and budget.is_limited:
            # Nobody waits for workers: they take long on a machine that others use.
            stays_here = have_to_start(options.n_jobs)
            if not is_first:
                start_meanwhile(options.n_jobs, budget.left)
    predicts = options.n_predictions_kept != 0
    if not stays_here:
        _run_in_workers(works, trainer, options, None if is_first else budget)
        return
    for work in works:
        with (
            budget.task("training", is_first=is_first),
            trainer.lent_memory(work),
            adoption(None),
        ):
            done = _run_task(work.job.task, True, predicts)
        _end(work, *done)


def _run_in_workers(
    works: Sequence[Work],
    trainer: Trainer,
    options: SearchOptions,
    budget: TimeBudget | None,
) -> None:
    limit = None if budget is None else budget.limit()
    keeps = options.n_models_kept != 0, options.n_predictions_kept != 0
    with trainer.outside():
        parallel = _in_order(options)
        done = iter(
            parallel(joblib.delayed(_run_task)(work.job.task, *keeps) for work in works)
        )
        for work in works:
            if limit is not None:
                parallel.timeout = max(0.0, limit.seconds_left)
            try:
                _end(work, *next(done))
            except NothingYetError:
                raise TimeIsUpError from None
        # joblib ends a call when it is asked for what comes after the last result.
        next(done, None)


def _in_order(options: SearchOptions) -> joblib.Parallel:
    """Return what runs tasks in workers; results come one by one if the backend can do so.

    Who is interrupted then has those that are there.
    """
    settings = {"n_jobs": options.n_jobs, "pre_dispatch": options.pre_dispatch}
    try:
        return joblib.Parallel(return_as="generator", **settings)
    except ValueError:
        return joblib.Parallel(**settings)


def _end(work: Work, results: Any, held: HeldOut | None, model: Any) -> None:
    """Say what became of a task that trained no network."""
    work.job.end(result=results)
    error = results[0]["fit_error"]
    work.outcome = FoldOutcome(held=held, reason="" if error is None else str(error))
    work.model = model


def _run_task(
    task: Any,
    keeps_model: bool,  # noqa: FBT001
    predicts: bool,  # noqa: FBT001
) -> tuple[Any, HeldOut | None, Any]:
    """Run a task in a worker; return its results, held-out predictions and the model."""
    results = task()
    fold = fold_task(task)
    if fold is None:
        return results, None, None
    model = fold.estimator if keeps_model else None
    return results, held_out(fold, predicts=predicts), model


def held_out(task: FoldTask, *, predicts: bool) -> HeldOut | None:
    """Return a fitted task's predictions, or only for which samples they would be."""
    if not predicts:
        return HeldOut(rows=positions(task.test), values=None, classes=None)
    return hold(task.estimator, take_rows(task.X, task.test), task.test)
