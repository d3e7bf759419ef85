# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The networks of a round, trained in one call of the engine.

A fit that an earlier rung trained goes on from there.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import joblib
import numpy as np

from sk_tune.adoption import adoption
from sk_tune.engine import Fit, Trained, train
from sk_tune.estimators import NetworkEstimator
from sk_tune.exceptions import SkTuneWarning
from sk_tune.search._curves import best_epoch
from sk_tune.search._fold_cache import FoldCache
from sk_tune.search._networks import FitMaker
from sk_tune.search._work import SearchOptions, Work, candidate_fingerprint, fit_name
from sk_tune.training import TrainingState

__all__ = ["Trainer"]


class Trainer:
    """Trains what can be trained together and remembers what may go on.

    Parameters
    ----------
    ambient : tuple
        Backend of joblib and its number of workers outside of the search.
    """

    def __init__(self, ambient: tuple[Any, Any]) -> None:
        self._ambient = ambient
        self._maker = FitMaker()
        # Where the fit of a candidate and fold stands, after how many epochs.
        self._states: dict[Any, tuple[TrainingState, int]] = {}
        # By identity of the fold's test rows, which the fold keeps alive.
        self._is_monitor_bad: dict[int, bool] = {}
        # By row of cv_results_, with epochs="best".
        self.best_epochs: dict[int, int] = {}
        self.is_interrupted = False

    @property
    def reasons_against(self) -> Counter[str]:
        """Why skorch nets train by themselves, and how many."""
        return self._maker.reasons_against

    def begin_round(self) -> None:
        """Let go of what only the last round shared."""
        self._maker.begin_round()

    def memory(self, work: Work) -> FoldCache:
        """Return what the pipeline of a task is to ask for fitted transformers.

        Parameters
        ----------
        work : Work
            Of the search.

        Returns
        -------
        FoldCache
            For one fit.
        """
        return self._maker.memory(work.task)

    def scorer(self, work: Work) -> Any:
        """Return what scores a task's network.

        Parameters
        ----------
        work : Work
            Of the search.

        Returns
        -------
        callable
            Gives what the scorer of the search gives.
        """
        return self._maker.held_out.scorer(work.task.scorer, work.task.test)

    def prepare(self, work: Work, options: SearchOptions) -> None:
        """Find out what a task's network asks for.

        Parameters
        ----------
        work : Work
            Gets its fit, unless it trains no network.
        options : SearchOptions
            Of the search.
        """
        fit = self._maker.make(work.task, fit_name(work.row, work.task.fold))
        if fit is None:
            return
        work.fit, work.n_epochs = fit, int(fit.estimator.max_epochs)
        resource = options.resource
        if resource is None or resource not in work.task.parameters:
            return
        # The schedule of the learning rate is that of a full training.
        fit.estimator.set_params(max_epochs=options.max_resources)
        own = candidate_fingerprint(work.task.parameters, without=resource)
        work.key = (own, id(work.task.train))
        state, work.n_epochs_before = self._states.get(work.key, (None, 0))
        if work.n_epochs_before >= work.n_epochs:
            state, work.n_epochs_before = None, 0
        # Plain skorch nets cannot go on from a state; they begin anew.
        goes_on = state is not None and isinstance(fit.estimator, NetworkEstimator)
        work.fit = replace(
            fit,
            state=state if goes_on else None,
            n_epochs=work.n_epochs - (work.n_epochs_before if goes_on else 0),
        )

    def train(self, works: Sequence[Work], options: SearchOptions) -> None:
        """Train the networks of some tasks.

        Parameters
        ----------
        works : sequence of Work
            With fits; they get what was trained, unless Ctrl-C came before.
        options : SearchOptions
            Of the search.
        """
        if not works:
            return
        self._train(works, [work.fit for work in works if work.fit is not None], options)
        self._train_without_monitor(works, options)
        for work in works:
            work.state = None if work.trained is None else work.trained.state
            if work.key is not None and work.state is not None:
                self._states[work.key] = (work.state, work.n_epochs)
        if options.epochs == "best" and not self.is_interrupted:
            self._go_back_to_best(works, options)

    def _train(
        self, works: Sequence[Work], fits: Sequence[Fit], options: SearchOptions
    ) -> None:
        done: dict[int, Trained] = {}
        backend, n_jobs = self._ambient
        try:
            with (
                adoption(None),
                joblib.parallel_config(backend=backend, n_jobs=n_jobs),
                warnings.catch_warnings(),
            ):
                # What trains alone is said once, when the search ends.
                warnings.filterwarnings(
                    "ignore", ".* networks were trained alone", SkTuneWarning
                )
                train(
                    fits,
                    n_jobs=options.n_jobs,
                    progress=options.progress,
                    trained=done.update,
                    store=options.store,
                )
        except KeyboardInterrupt:
            self.is_interrupted = True
        for position, work in enumerate(works):
            work.trained = done.get(position)

    def _train_without_monitor(self, works: Sequence[Work], options: SearchOptions) -> None:
        """Train again what failed only because its held-out rows cannot be predicted.

        Whether a fold's rows can is found out with one fit for the whole search.
        """
        failed: dict[int, list[Work]] = {}
        for work in works:
            if work.fit is None or work.fit.monitor is None or work.trained is None:
                continue
            if work.trained.status == "failed":
                failed.setdefault(id(work.task.test), []).append(work)
        for fold, own in failed.items():
            if self.is_interrupted:
                return
            first, *rest = own
            if fold not in self._is_monitor_bad:
                self._train_blind([first], options)
                trained = first.trained
                self._is_monitor_bad[fold] = bool(trained and trained.state is not None)
            else:
                rest = own
            if rest and self._is_monitor_bad[fold]:
                self._train_blind(rest, options)

    def _train_blind(self, works: Sequence[Work], options: SearchOptions) -> None:
        fits = [replace(work.fit, monitor=None) for work in works if work.fit is not None]
        self._train(works, fits, options)

    def _go_back_to_best(self, works: Sequence[Work], options: SearchOptions) -> None:
        """Train the networks of each candidate to the best epoch of its mean curve."""
        by_row: dict[int, list[Work]] = {}
        for work in works:
            if work.state is not None:
                by_row.setdefault(work.row, []).append(work)
        again: list[tuple[Work, Fit]] = []
        for row, own in by_row.items():
            curves = [_curve(w.state, options.prefers_loss) for w in own if w.state]
            rows = _as_rows(curves)
            if np.isnan(rows).any(axis=0).all():
                # Held-out rows that the network cannot take tell of no epoch.
                continue
            n_epochs = self.best_epochs[row] = best_epoch(rows)
            again += [
                (work, replace(work.fit, state=None, n_epochs=n_epochs))
                for work, curve in zip(own, curves, strict=True)
                if work.fit is not None and len(curve) > n_epochs
            ]
        if not again:
            return
        full = [work.trained for work, _ in again]
        self._train([work for work, _ in again], [fit for _, fit in again], options)
        for (work, _), long in zip(again, full, strict=True):
            short = work.trained
            work.state = None if short is None else short.state
            if short is None or long is None:
                continue
            # Curves are those of the whole training, predictions those of its best epoch.
            if short.state is not None:
                work.n_epochs_again = len(short.train_loss)
                seconds = long.seconds + short.seconds
                work.trained = replace(long, predictions=short.predictions, seconds=seconds)


def _curve(state: TrainingState, prefers_loss: bool) -> Any:  # noqa: FBT001
    return -state.curve("monitor_loss") if prefers_loss else state.curve("monitor_score")


def _as_rows(curves: Sequence[Any]) -> Any:
    """Return curves of unequal length as rows of one array, with NaN behind their end."""
    rows = np.full((len(curves), max(map(len, curves))), np.nan)
    for row, curve in zip(rows, curves, strict=True):
        row[: len(curve)] = curve
    return rows
