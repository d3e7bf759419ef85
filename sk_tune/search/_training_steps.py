# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The trainings that some tasks of a search need, one step after the other.

Each step is a list of fits; who asks for the next step has trained those of the last.  So
it does not matter here how they are trained: all at once, or while others are trained.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from sk_tune.engine import Fit, checkpoint_before
from sk_tune.estimators import NetworkEstimator
from sk_tune.search._outcomes import (
    SearchOptions,
    Work,
    best_epoch,
)
from sk_tune.training import TrainingState

__all__ = ["Step", "TrainingSteps"]

Kept = TypeVar("Kept")
Checkpoints = tuple[TrainingState, ...]
# Tasks with what to train for each of them now.
Step = Sequence[tuple[Work, Fit]]


class TrainingSteps:
    """Says what to train next, and remembers what may be resumed.

    `best_epochs` are by result row, with epochs="best"; `is_interrupted` says that nothing
    more is to be trained.
    """

    def __init__(self) -> None:
        # Where the fit of a candidate and fold stands, after how many epochs.
        self._states: dict[tuple[Any, Any], tuple[TrainingState, int]] = {}
        # Where it stood at the ends of its rungs.
        self._ends: dict[Any, Checkpoints] = {}
        # Keys are identities of the fold's test samples, which whoever makes fits keeps
        # alive.
        self._is_monitor_bad: dict[int, bool] = {}
        self.best_epochs: dict[int, int] = {}
        self.is_interrupted = False

    def keep_only(self, candidates: Collection[Any]) -> None:
        """Drop the states of all fits but those of the `candidates`, by their keys."""
        self._states = _only(self._states, candidates)
        self._ends = _only(self._ends, candidates)

    def state(self, key: Any) -> tuple[TrainingState | None, int]:
        """Return the state of a candidate's fit on a fold, and the epochs it was granted.

        The state is None if nothing was trained.
        """
        return self._states.get(key, (None, 0))

    def of(self, works: Sequence[Work], options: SearchOptions) -> Iterator[Step]:
        """Yield pairs of work and fit to train, until the tasks have all they need.

        At the next step those of the last have what was trained, or None where Ctrl-C came
        before; in the end they have states.
        """
        if not works:
            return
        asked = [(work, work.fit) for work in works if work.fit is not None]
        if options.epochs == "best":
            asked = [(work, replace(fit, keeps_checkpoints=True)) for work, fit in asked]
        yield asked
        yield from self._without_monitor(works)
        for work in works:
            work.state = None if work.trained is None else work.trained.state
            if work.key is None:
                continue
            if work.n_epochs >= options.max_resources:
                # After the last rung nothing goes on.
                self._states.pop(work.key, None)
            elif work.state is not None:
                self._states[work.key] = (work.state, work.n_epochs)
                if options.epochs == "best" and _is_of_one_go(work.fit):
                    ends = self._ends.get(work.key, ())
                    self._ends[work.key] = (*ends, work.state)
        if options.epochs == "best" and not self.is_interrupted:
            yield from self._back_to_best(works, options)

    def _without_monitor(self, works: Sequence[Work]) -> Iterator[Step]:
        """Train again what failed only because its held-out samples cannot be predicted.

        Whether a fold's samples can is found out with one fit for the whole search.
        """
        failed: dict[int, list[Work]] = {}
        for work in works:
            if work.fit is None or work.fit.monitor is None or work.trained is None:
                continue
            if work.trained.status == "failed":
                failed.setdefault(id(work.task.test), []).append(work)
        for fold, failed_works in failed.items():
            if self.is_interrupted:
                return
            first, *rest = failed_works
            if fold not in self._is_monitor_bad:
                yield _blind([first])
                trained = first.trained
                self._is_monitor_bad[fold] = bool(trained and trained.state is not None)
            else:
                rest = failed_works
            if rest and self._is_monitor_bad[fold]:
                yield _blind(rest)

    def _back_to_best(
        self, works: Sequence[Work], options: SearchOptions
    ) -> Iterator[Step]:
        """Train the networks of each candidate to the best epoch of its mean curve."""
        again = self._to_best(works, options)
        if not again:
            return
        full = [work.trained for work, _ in again]
        yield again
        for (work, fit), long in zip(again, full, strict=True):
            short = work.trained
            work.state = None if short is None else short.state
            if short is None or long is None or short.state is None:
                continue
            if not short.is_loaded:
                before = 0 if fit.checkpoint is None else len(fit.checkpoint.history)
                work.n_epochs_again = len(short.train_loss) - before
            # Curves are those of the whole training, predictions those of its best epoch.
            seconds = long.seconds + short.seconds
            work.trained = replace(long, predictions=short.predictions, seconds=seconds)

    def _to_best(
        self, works: Sequence[Work], options: SearchOptions
    ) -> list[tuple[Work, Fit]]:
        """Return fits to the best epochs; find these for candidates that have none yet."""
        checkpoints = {id(work): self._taken_checkpoints(work) for work in works}
        by_row: dict[int, list[Work]] = {}
        for work in works:
            if work.state is not None:
                by_row.setdefault(work.row, []).append(work)
        again: list[tuple[Work, Fit]] = []
        for row, row_works in by_row.items():
            curves = [_curve(w.state, options.prefers_loss) for w in row_works if w.state]
            rows = _as_rows(curves)
            if row not in self.best_epochs:
                if np.isnan(rows).any(axis=0).all():
                    # Held-out samples that the network cannot take tell of no epoch.
                    continue
                self.best_epochs[row] = best_epoch(rows)
            # Folds that a race adds go by those that chose: none chooses for itself.
            n_epochs = self.best_epochs[row]
            again += [
                (work, _anew(work.fit, work.state, n_epochs, checkpoints[id(work)]))
                for work, curve in zip(row_works, curves, strict=True)
                if work.fit is not None and work.state and len(curve) > n_epochs
            ]
        return again

    def _taken_checkpoints(self, work: Work) -> Checkpoints:
        """Take the checkpoints out of what was trained; return them and ends of rungs."""
        if work.trained is None:
            return ()
        found = work.trained.checkpoints
        work.trained = replace(work.trained, checkpoints=())
        return (*self._ends.get(work.key, ()), *found)


def _is_of_one_go(fit: Fit | None) -> bool:
    """Return whether a fit in rungs is what one training of all epochs would be.

    Plain skorch nets begin each rung anew, and callbacks begin anew in each rung.
    """
    return (
        fit is not None
        and isinstance(fit.estimator, NetworkEstimator)
        and not fit.estimator.callbacks
    )


def _only(found: dict[Any, Kept], candidates: Collection[Any]) -> dict[Any, Kept]:
    return {key: kept for key, kept in found.items() if key[0] in candidates}


def _anew(fit: Fit, state: TrainingState, n_epochs: int, checkpoints: Checkpoints) -> Fit:
    """Return the fit that trains the same network once more, for so many epochs.

    Its state is that of the beginning, so that a store knows it whatever was kept.
    """
    # A rung that began anew may have drawn another seed.
    checkpoints = tuple(
        checkpoint for checkpoint in checkpoints if checkpoint.seed == state.seed
    )
    return replace(
        fit,
        state=None,
        seed=state.seed,
        n_epochs=n_epochs,
        checkpoint=checkpoint_before(checkpoints, n_epochs),
    )


def _blind(works: Sequence[Work]) -> list[tuple[Work, Fit]]:
    fits = [(work, work.fit) for work in works if work.fit is not None]
    return [(work, replace(fit, monitor=None)) for work, fit in fits]


def _curve(state: TrainingState, prefers_loss: bool) -> Any:  # noqa: FBT001
    return -state.curve("monitor_loss") if prefers_loss else state.curve("monitor_score")


def _as_rows(curves: Sequence[Any]) -> Any:
    """Return curves of unequal length as lines of one array, with NaN behind their end."""
    rows = np.full((len(curves), max(map(len, curves))), np.nan)
    for row, curve in zip(rows, curves, strict=True):
        row[: len(curve)] = curve
    return rows
