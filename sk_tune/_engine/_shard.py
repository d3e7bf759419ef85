# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""One shard: fits that one process trains, as fleets or alone, with the same results."""

import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any

import numpy as np
import torch

from sk_tune._engine._fits import Trained, failed, late
from sk_tune._engine._memory_limits import (
    epochs_to_keep,
    networks_at_a_time,
    return_freed_memory,
)
from sk_tune._engine._skorch import NoFleetError, SkorchFit
from sk_tune._engine._store import UnfinishedFits
from sk_tune._estimators import (
    Fit,
    FitPreparer,
    NetworkEstimator,
    PreparedFit,
    fit_as_overridden,
    is_unchanged,
)
from sk_tune._fleets import FleetNetwork, NetworkOutcome, Plan, Recipe, plan, train_fleet
from sk_tune._training import (
    TimeIsUpError,
    TimeLimit,
    TrainingState,
    check_time,
    one_thread,
    time_limit,
)

AnyFit = PreparedFit | SkorchFit


def train_alone(fit: Fit, preparer: FitPreparer, limit: TimeLimit | None = None) -> Trained:
    """Train one fit that has a seed and a number of epochs; errors are results, too."""
    start, estimator = time.perf_counter(), fit.estimator
    is_own = isinstance(estimator, NetworkEstimator) and not is_unchanged(estimator)
    try:
        with time_limit(limit) as clock:
            if is_own and fit.state is not None:
                raise ValueError(
                    f"{type(estimator).__name__} overrides a training method, so it "
                    "cannot continue from a state."
                )
            state, predictions = (
                fit_as_overridden(fit) if is_own else prepare(fit, preparer).train_alone()
            )
    except Exception as error:  # noqa: BLE001 - every fit has a result
        return failed(fit, error, time.perf_counter() - start, "alone")
    return Trained(
        status="trained",
        state=state,
        predictions=predictions,
        seconds=time.perf_counter() - start,
        engine="alone",
        is_cut=clock.has_cut,
    )


def prepare(fit: Fit, preparer: FitPreparer) -> AnyFit:
    """Prepare a fit with a seed and a number of epochs; ValueError if it is wrong."""
    is_ours = isinstance(fit.estimator, NetworkEstimator)
    return preparer.prepare(fit) if is_ours else SkorchFit(fit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Fits for one process, by position among all fits.

    `as_fleet` says that fleets can carry them, as far as their parameters show; `groups`
    are positions of fits that may share a fleet, empty if all may. A fleet may take
    `memory_limit` bytes, the checkpoints of a fit `checkpoint_bytes`.
    """

    fits: dict[int, Fit]
    as_fleet: bool
    memory_limit: int
    groups: Sequence[Sequence[int]] = ()
    unfinished: UnfinishedFits | None = None
    checkpoint_bytes: int = 0
    limit: TimeLimit | None = None


def part_of(shard: Shard, positions: Container[int]) -> Shard:
    """Return the part of a shard with the fits at some positions."""
    fits = {i: fit for i, fit in shard.fits.items() if i in positions}
    groups = [[i for i in group if i in fits] for group in shard.groups]
    return replace(shard, fits=fits, groups=[group for group in groups if group])


# Receives results by position.
FitsDone = Callable[[dict[int, Trained]], object]


def train_shard(
    shard: Shard,
    epoch_done: Callable[[int], None] | None = None,
    fits_done: FitsDone | None = None,
    preparer: FitPreparer | None = None,
    *,
    n_threads: int = 1,
    prepared: dict[int, tuple[Fit, AnyFit]] | None = None,
) -> dict[int, Trained]:
    """Train the fits of a shard; return the results.

    `epoch_done` is called with the number of networks that finished an epoch, `fits_done`
    with results as fits end. `preparer` caches data that the fits of several shards share.
    `n_threads` share the networks of a fleet in compiled code. Fits are removed from
    `prepared` when they train.
    """
    _keep_heap()
    preparer, ready = preparer or FitPreparer(), prepared or {}
    with one_thread():
        return _Fleets(shard, epoch_done, fits_done, preparer, ready, n_threads).train()


@dataclass(eq=False)
class _Fleets:
    """Trains the fits of a shard, fleet by fleet."""

    shard: Shard
    epoch_done: Callable[[int], None] | None
    fits_done: FitsDone | None
    preparer: FitPreparer
    ready: dict[int, tuple[Fit, AnyFit]]
    n_threads: int
    trained: dict[int, Trained] = field(default_factory=dict)
    # Index of the fit that was added to a fleet last, or of a single network in training.
    current: int = -1

    def train(self) -> dict[int, Trained]:
        with suppress(TimeIsUpError):
            for index in () if self.shard.as_fleet else self.shard.fits:
                self._train_alone(index, "")
            for group in self.shard.groups or [list(self.shard.fits)]:
                while waiting := self._untrained(group):
                    prepared = self._prepare(waiting[0])
                    if prepared is not None:
                        self._train_fleet(waiting, prepared)
        for index in self._untrained(list(self.shard.fits)):
            engine = "fleet" if self.shard.as_fleet else "alone"
            self._end(index, late(self.shard.fits[index], engine))
        return self.trained

    def _untrained(self, indices: Sequence[int]) -> list[int]:
        return [index for index in indices if index not in self.trained]

    def _train_fleet(self, waiting: list[int], first: AnyFit) -> None:
        """Train the first of the waiting fits and every fit that can share its fleet."""
        fleet = _recipe_of(first)
        if isinstance(fleet, str):
            self._train_alone(waiting[0], fleet)
            return
        recipe, network = fleet[0], first.network
        fleet_plan = plan(network.module, network.train.X, network, recipe)
        if fleet_plan.way == "alone":
            self._train_alone(waiting[0], fleet_plan.reason)
            return
        limit = self.shard.memory_limit
        n_active = networks_at_a_time(network, recipe, limit, fleet_plan)
        ready = {waiting[0]: first}
        while True:
            # With a time limit, each part of the fits gets its share of the time.
            cuts = self.shard.limit is not None and self.shard.limit.cuts
            active = waiting[:n_active] if cuts else waiting
            try:
                with time_limit(self._limit(len(active))):
                    self._train_active(active, ready, fleet, n_active, fleet_plan)
            except torch.cuda.OutOfMemoryError as error:
                if n_active == 1:
                    fit = self.shard.fits[self.current]
                    self._end(self.current, failed(fit, error, 0.0, "fleet"))
                    return
                # A smaller fleet continues; finished results stay.
                n_active //= 2
                torch.cuda.empty_cache()
                waiting = self._untrained(waiting)
            else:
                return

    def _train_active(
        self,
        waiting: Sequence[int],
        ready: dict[int, AnyFit],
        fleet: tuple[Recipe, Any],
        n_active: int,
        fleet_plan: Plan,
    ) -> None:
        added: list[int] = []
        # Only fits in training, because each may hold data.
        in_training: dict[int, tuple[int, AnyFit]] = {}

        def networks() -> Iterator[FleetNetwork]:
            for index in waiting:
                self.current = index
                prepared = ready.pop(index, None) or self._prepare(index, in_fleet=True)
                recipe = prepared and _recipe_of(prepared)
                if prepared and isinstance(recipe, tuple) and recipe[1] == fleet[1]:
                    in_training[len(added)] = (index, prepared)
                    added.append(index)
                    network = prepared.network
                    if self.shard.fits[index].keeps_checkpoints:
                        epochs = epochs_to_keep(network, self.shard.checkpoint_bytes)
                        network = replace(network, checkpoints=epochs)
                    yield network

        try:
            outcomes = train_fleet(
                networks(),
                fleet[0],
                n_active,
                self.epoch_done,
                n_threads=self.n_threads,
                **self._checkpoint_options(in_training),
            )
            for position, outcome in outcomes:
                index, prepared = in_training.pop(position)
                fit = self.shard.fits[index]
                trained = _to_trained(fit, prepared, outcome)
                self._end(index, replace(trained, way=str(fleet_plan)))
                if not in_training:
                    return_freed_memory(prepared.network.train.X)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - every fit has a result
            # Only training alone shows which network is at fault.
            reason = f"its fleet failed ({type(error).__name__}: {error})"
            failed_with = [index for index, _ in in_training.values()]
            # At least one fit ends, so the loop terminates.
            for index in failed_with or self._untrained(waiting)[:1]:
                self._train_alone(index, reason)

    def _checkpoint_options(self, taken: dict[int, tuple[int, AnyFit]]) -> dict[str, Any]:
        unfinished = self.shard.unfinished
        if unfinished is None:
            return {}
        return {
            "keep": lambda states: unfinished.keep({
                taken[p][0]: _unfinished(state) for p, state in states
            }),
            "seconds_between": unfinished.seconds,
        }

    def _prepare(self, index: int, *, in_fleet: bool = False) -> AnyFit | None:
        """Return a prepared fit, None if it failed; `in_fleet` if others train."""
        fit, earlier = self.ready.pop(index, (None, None))
        # A resumed fit differs from the fit that was prepared.
        if earlier is not None and fit is self.shard.fits[index]:
            return earlier
        start = time.perf_counter()
        with time_limit(self.shard.limit):
            check_time()
        try:
            prepared = prepare(self.shard.fits[index], self.preparer)
            # Building the network raises errors in the settings.
            _ = prepared.network
        except NoFleetError as error:
            self._train_alone(index, f"fleets do not support it ({error})")
            return None
        except Exception as error:
            if in_fleet and isinstance(error, torch.cuda.OutOfMemoryError):
                # A smaller fleet may leave enough memory.
                raise
            # Every fit has a result.
            seconds = time.perf_counter() - start
            self._end(index, failed(self.shard.fits[index], error, seconds, "fleet"))
            return None
        return prepared

    def _train_alone(self, index: int, reason: str) -> None:
        fit = self.shard.fits[index]
        try:
            trained = train_alone(fit, self.preparer, self._limit(1))
        except TimeIsUpError:
            engine = "fleet" if self.shard.as_fleet else "alone"
            self._end(index, replace(late(fit, engine), alone_reason=reason))
            raise
        self._end(index, replace(trained, alone_reason=reason))

    def _limit(self, n_fits: int) -> TimeLimit | None:
        limit, n_left = self.shard.limit, len(self.shard.fits) - len(self.trained)
        return None if limit is None else limit.part(n_fits, n_left)

    def _end(self, index: int, trained: Trained) -> None:
        self.trained[index] = trained
        if self.fits_done is not None:
            self.fits_done({index: trained})


def _recipe_of(prepared: AnyFit) -> tuple[Recipe, Any] | str:
    """Return recipe and key of a fit, or why no fleet can carry it."""
    try:
        return prepared.recipe()
    except Exception as error:  # noqa: BLE001 - a user's parts may raise anything
        return f"fleets do not support it ({error})"


def _to_trained(fit: Fit, prepared: AnyFit, outcome: NetworkOutcome) -> Trained:
    if outcome.message:
        return failed(fit, outcome.message, outcome.seconds, "fleet")
    values = {field.name: getattr(outcome, field.name) for field in fields(outcome)}
    for name in ("predictions", "train_predictions"):
        if values[name] is not None:
            values[name] = prepared.predictions(values[name])
    return Trained(status="trained", engine="fleet", **values)


def _unfinished(state: TrainingState) -> Trained:
    return Trained(
        status="trained",
        state=state,
        # A skorch net without callbacks has no timer.
        seconds=float(np.nansum(state.curve("dur"))),
        engine="fleet",
    )


@cache
def _keep_heap() -> None:
    """Let glibc keep freed memory for the next step: freeing a block raises its threshold.

    Otherwise each step maps and zeroes the activations of a fleet again, which costs more
    than the arithmetic of a small network.
    """
    block = torch.empty(31 * 2**20, dtype=torch.uint8)
    del block
