# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""From what a search remembers of its fits to its curves and its ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import is_classifier

from sk_tune._search_record import INTERRUPTED, LEFT_OUT, UNSCORED
from sk_tune.engine import Trained
from sk_tune.search._curves import FoldCurve
from sk_tune.search._ledger import EpochAccount, Ledger, RungEpochs, epoch_account
from sk_tune.search._outcome import Held, Outcome, positions
from sk_tune.search._work import Work, candidate_fingerprint, fit_name

__all__ = [
    "failures",
    "fold_curves",
    "guiding_scores",
    "last_rows",
    "rung_epochs",
    "search_ledger",
    "trained_outcome",
    "with_reasons",
]


def trained_outcome(
    work: Work, trained: Trained, error: str | None, classes: Any
) -> Outcome:
    """Return what became of a task whose network the engine trained.

    `error` says why it has no score; `classes` are those of its columns of probabilities.
    """
    state = None if work.fit is None else work.fit.state
    n_before = 0 if state is None else len(state.history)
    n_epochs = max(0, len(trained.train_loss) - n_before)
    return Outcome(
        train_loss=trained.train_loss,
        valid_loss=trained.monitor_loss,
        valid_score=trained.monitor_score,
        held=_held(work, trained, classes) if error is None else None,
        n_epochs=0 if trained.is_loaded else n_epochs,
        n_resumed=n_before,
        n_loaded=n_epochs if trained.is_loaded else 0,
        n_again=work.n_epochs_again,
        n_granted=work.n_epochs,
        n_granted_before=work.n_epochs_before,
        seconds=trained.seconds,
        engine=trained.engine,
        solo_reason=trained.solo_reason,
        reason="" if error is None else trained.message or str(error),
    )


def _held(work: Work, trained: Trained, classes: Any) -> Held | None:
    """Return the predictions that the engine made of the held-out rows."""
    values = trained.predictions
    if values is None:
        return None
    if not isinstance(classes, np.ndarray) or values.shape[1:] != classes.shape:
        classes = None
    return Held(
        rows=positions(work.task.test),
        values=values,
        classes=classes,
        is_of_predict=not is_classifier(work.task.estimator),
    )


def fold_curves(
    outcomes: Sequence[Sequence[Outcome]], results: Mapping[str, Any]
) -> list[FoldCurve]:
    """Return the curves of all candidates but of other estimators and failed fits."""
    rungs, resources = results.get("iter"), results.get("n_resources")
    return [
        FoldCurve(
            candidate=candidate,
            fold=fold,
            train_loss=outcome.train_loss,
            valid_loss=outcome.valid_loss,
            valid_score=outcome.valid_score,
            rung=None if rungs is None else int(rungs[candidate]),
            n_resources=None if resources is None else int(resources[candidate]),
        )
        for candidate, folds in enumerate(outcomes)
        for fold, outcome in enumerate(folds)
        if len(outcome.train_loss)
    ]


def guiding_scores(results: Mapping[str, Any], refit: Any) -> npt.NDArray[np.float64]:
    """Return the mean score that decides of each candidate; greater is better.

    With several metrics `refit` names the one that decides, or else the first does.
    """
    names = [name for name in results if name.startswith("mean_test_")]
    own = f"mean_test_{refit}"
    return np.asarray(results[own if own in names else names[0]]) if names else np.empty(0)


def with_reasons(
    results: Mapping[str, Any], outcomes: Sequence[Sequence[Outcome]], refit: Any
) -> dict[str, Any]:
    """Return a copy of results with a column "failure_reason", if any candidate failed."""
    reasons = [
        next((o.reason for o in folds if o.reason), UNSCORED if np.isnan(score) else "")
        for folds, score in zip(outcomes, guiding_scores(results, refit), strict=True)
    ]
    if not any(reasons):
        return dict(results)
    return {**results, "failure_reason": np.array(reasons, dtype=object)}


def failures(outcomes: Sequence[Sequence[Outcome]]) -> list[dict[str, str | None]]:
    """Return why fits failed, in the form in which scikit-learn counts them."""
    return [
        # Without its name, for scikit-learn to count what failed for the same reason.
        {"fit_error": outcome.reason.removeprefix(f"{fit_name(row, fold)}: ") or None}
        for row, folds in enumerate(outcomes)
        for fold, outcome in enumerate(folds)
        if not outcome.was_stopped
    ]


def last_rows(
    params: Sequence[Mapping[str, Any]],
    resource: str | None,
    reasons: Sequence[str] | None = None,
) -> tuple[int, ...]:
    """Return the result row of each configuration with the most resources, ascending.

    Later rungs come later in `params`. A row that an interruption left empty is not taken
    if the configuration has another.
    """
    last: dict[Any, int] = {}
    for row, own in enumerate(params):
        candidate = candidate_fingerprint(own, without=resource)
        is_empty = reasons is not None and reasons[row] in {INTERRUPTED, LEFT_OUT}
        if not is_empty or candidate not in last:
            last[candidate] = row
    return tuple(sorted(last.values()))


def rung_epochs(outcomes: Sequence[Sequence[Outcome]]) -> list[RungEpochs]:
    """Return the epochs of a search by rung.

    There is one record for each number of epochs that candidates were granted, and had
    before.
    """
    rungs: dict[tuple[int, int], list[Sequence[Outcome]]] = {}
    for folds in outcomes:
        ran = [outcome for outcome in folds if outcome.n_granted]
        if ran:
            key = (ran[0].n_granted_before, ran[0].n_granted)
            rungs.setdefault(key, []).append(ran)
    return [_rung(before, granted, own) for (before, granted), own in rungs.items()]


def _rung(before: int, granted: int, folds: Sequence[Sequence[Outcome]]) -> RungEpochs:
    ran = [outcome for own in folds for outcome in own]
    failed = [outcome for outcome in ran if outcome.reason]
    return RungEpochs(
        n_candidates=len(folds),
        n_fits=len(ran),
        n_epochs_before=before,
        n_epochs=granted,
        epochs_trained=sum(outcome.n_epochs for outcome in ran),
        epochs_continued=sum(outcome.n_resumed for outcome in ran),
        epochs_loaded=sum(outcome.n_loaded for outcome in ran),
        epochs_cut_by_failure=sum(granted - before - o.n_epochs for o in failed),
        is_warm=before == 0 or any(outcome.n_resumed for outcome in ran),
    )


def search_ledger(
    outcomes: Sequence[Sequence[Outcome]],
    *,
    n_folds: int,
    max_epochs: int | None,
    starts: Sequence[bool],
    solo_reasons: Mapping[str, int],
    seconds: Mapping[str, float],
) -> Ledger:
    """Return what a search spent and saved, on networks and on other estimators.

    `max_epochs` are those of a full training if rungs grant epochs, None if each candidate
    has its number. `starts` says which candidates start here, instead of being resumed in a
    rung. `solo_reasons` counts the networks that were trained alone by the reason,
    `seconds` are by part: preparing, training, scoring, sampling, refit, total.
    """
    rungs = rung_epochs(outcomes)
    groups = [rungs]
    if max_epochs is None:
        lengths = {rung.n_epochs for rung in rungs}
        groups = [[rung for rung in rungs if rung.n_epochs == n] for n in lengths]
    accounts = [
        epoch_account(own, n_folds=n_folds, max_epochs=max_epochs or own[0].n_epochs)
        for own in groups
        if own
    ]
    totals = {
        f.name: sum(getattr(account, f.name) for account in accounts)
        for f in fields(EpochAccount)
    }
    # Not of what Ctrl-C came before.
    ran = [[o for o in folds if not o.was_stopped] for folds in outcomes]
    tried = [bool(own and is_new) for own, is_new in zip(ran, starts, strict=True)]
    totals["n_candidates"] = sum(tried)
    totals["n_fits"] += sum(len(own) for own in ran if not any(o.n_granted for o in own))
    done = [outcome for folds in outcomes for outcome in folds]
    times = {f"seconds_{name}": spent for name, spent in seconds.items()}
    return Ledger(
        **totals,
        n_failed=sum(bool(o.reason) and not o.was_stopped for o in done),
        n_rows=sum(outcome.engine == "fleet" for outcome in done),
        epochs_trained_again=sum(outcome.n_again for outcome in done),
        solo_reasons=dict(solo_reasons),
        **times,  # type: ignore[arg-type]
    )
