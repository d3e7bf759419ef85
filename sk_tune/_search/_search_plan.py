# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Plans, time estimates and the progress line of a search.

The time is estimated by training a few candidates.  One progress line covers all rounds and
the refit.
"""

import math
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from html import escape
from itertools import groupby
from numbers import Integral
from operator import attrgetter
from typing import Any

import joblib
import numpy as np
from sklearn.base import clone

from sk_tune._compat import num_samples
from sk_tune._engine import Progress, outside_blocks
from sk_tune._epochs import epochs_of, stops_early
from sk_tune._estimators import NetworkEstimator
from sk_tune._sampler import RandomSampler
from sk_tune._schedule import Promotion, Rung, new_resources, with_candidates
from sk_tune._search._fold_fits import name_in_network, network_of
from sk_tune._search._memory_forecast import expected_peak
from sk_tune._search._outcomes import positions
from sk_tune._search._search_parameters import space_of
from sk_tune._search_record import granted_resource, grants_epochs
from sk_tune._space import Candidate
from sk_tune._text import (
    LiveLine,
    bytes_text,
    counted,
    html_table,
    seconds_text,
    text_table,
)
from sk_tune.exceptions import SpaceError


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRound:
    """One round: candidates that are trained and scored together.

    `rung` is counted from 0 in its bracket; `bracket` is Hyperband's number of reductions.
    `n_fits` is candidates times folds; `n_epochs` is the sum over the fits in this round, 0
    for estimators without epochs.
    """

    rung: int
    n_candidates: int
    n_resources: int
    n_fits: int
    n_epochs: int
    bracket: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """The rounds that a search is going to train.

    Parameters
    ----------
    rounds : tuple of PlannedRound
        In the order in which they are trained.
    resource : str
        Resource that grows from rung to rung, for example ``"epochs"``.
    n_folds : int
        Folds of each candidate.
    seconds : float or None, default=None
        Expected time of the search; None if it was not measured.
    memory : int or None, default=None
        Expected peak of the memory on top of X, in bytes; None if unknown.
    is_asynchronous : bool, default=False
        Whether rungs do not wait for each other, so that all rungs except the first may
        have more candidates than listed.
    stops_early : bool, default=False
        Whether networks may stop early, so that epochs and seconds are upper bounds.
    measured : str, default=""
        A sentence on the measurement behind the time.
    """

    rounds: tuple[PlannedRound, ...]
    resource: str
    n_folds: int
    seconds: float | None = None
    memory: int | None = None
    is_asynchronous: bool = False
    stops_early: bool = False
    measured: str = ""

    @property
    def n_candidates(self) -> int:
        """Candidates that enter the search."""
        return sum(r.n_candidates for r in self.rounds if r.rung == 0)

    @property
    def n_fits(self) -> int:
        """Fits of all rounds."""
        return sum(r.n_fits for r in self.rounds)

    @property
    def n_epochs(self) -> int:
        """Epochs of all fits."""
        return sum(r.n_epochs for r in self.rounds)

    def __str__(self) -> str:
        return f"{text_table(*self._table())}\n{self._summary()}"

    def _repr_html_(self) -> str:
        return f"{html_table(*self._table())}<p>{escape(self._summary())}</p>"

    def _table(self) -> tuple[list[str], list[list[object]]]:
        header = ["rung", "candidates", self.resource, "fits", "total epochs"]
        rows: list[list[object]] = [
            [r.rung, r.n_candidates, r.n_resources, r.n_fits, r.n_epochs]
            for r in self.rounds
        ]
        if any(r.bracket is not None for r in self.rounds):
            header.insert(0, "bracket")
            for row, r in zip(rows, self.rounds, strict=True):
                row.insert(0, r.bracket)
        return header, rows

    def _time(self, seconds: float) -> str:
        return f"about {seconds_text(seconds)}{' at most' * self.stops_early}"

    def _summary(self) -> str:
        total = (
            f"Total: {counted(self.n_candidates, 'candidate')} on "
            f"{counted(self.n_folds, 'fold')}, "
            f"{'at least ' if self.is_asynchronous else ''}{counted(self.n_fits, 'fit')}, "
        )
        epochs = counted(self.n_epochs, "epoch")
        bounded = f"at most {epochs} (networks may stop early)"
        total += bounded if self.stops_early else epochs
        if self.seconds is not None:
            total += f", {self._time(self.seconds)}"
        if self.memory is not None:
            total += f", {bytes_text(self.memory)} of memory on top of X"
        return f"{total}. {self.measured}".rstrip()


def planned_rounds(
    rungs: Sequence[Rung],
    *,
    n_folds: int,
    epochs_per_fit: float | None = None,
    goes_on: bool = True,
    bracket: int | None = None,
) -> tuple[PlannedRound, ...]:
    """Return the rounds that train the rungs of one bracket, in their order.

    `epochs_per_fit` is the mean number of epochs if epochs are not the resource, else None.
    `goes_on` says that a rung trains only its additional epochs; a rung that adds none
    trains from scratch.

    >>> rungs = [Rung(n_candidates=9, n_resources=1), Rung(n_candidates=3, n_resources=3)]
    >>> rounds = planned_rounds(rungs, n_folds=5)
    >>> print(SearchPlan(rounds=rounds, resource="epochs", n_folds=5))
    rung  candidates  epochs  fits  total epochs
       0           9       1    45            45
       1           3       3    15            30
    Total: 9 candidates on 5 folds, 60 fits, 75 epochs.
    """
    epochs: Sequence[float] = new_resources(rungs, goes_on=goes_on, n_splits=n_folds)
    if epochs_per_fit is not None:
        epochs = [epochs_per_fit] * len(rungs)
    return tuple(
        PlannedRound(
            rung=i,
            n_candidates=rung.n_candidates,
            n_resources=rung.n_resources,
            n_fits=rung.n_candidates * rung.folds_of(n_folds),
            n_epochs=round(rung.n_candidates * n_folds * epochs[i]),
            bracket=bracket,
        )
        for i, rung in enumerate(rungs)
    )


def plan_in_time(
    plan: SearchPlan, budget: float | None, promoted: Promotion, *, refits: bool
) -> SearchPlan:
    """Return a plan with fewer candidates if a time budget is too short for all."""
    if budget is None or plan.seconds is None or plan.seconds <= budget:
        return plan
    each = plan.seconds / (plan.n_epochs or plan.n_fits)
    seconds_left = budget - (each * _refit_work(plan) if refits else 0.0)
    rounds: list[PlannedRound] = []
    for _, group in groupby(plan.rounds, key=attrgetter("bracket")):
        bracket = list(group)
        for n in range(bracket[0].n_candidates, 0, -1):
            shaped = _with_candidates(bracket, n, promoted)
            seconds = each * sum(r.n_epochs or r.n_fits for r in shaped)
            # The first candidate is always trained.
            if seconds <= seconds_left or (n == 1 and not rounds):
                rounds, seconds_left = [*rounds, *shaped], seconds_left - seconds
                break
        else:
            break
    short = replace(plan, rounds=tuple(rounds), seconds=budget)
    measured = (
        f"time_budget={budget:g} is enough for {'at least ' * plan.stops_early}"
        f"{short.n_candidates} of {counted(plan.n_candidates, 'candidate')}. All of them "
        f"take {plan._time(plan.seconds)}. {plan.measured}"
    )
    return replace(short, measured=measured)


def _with_candidates(
    rounds: Sequence[PlannedRound], n_candidates: int, promoted: Promotion
) -> tuple[PlannedRound, ...]:
    """Return the rounds of a bracket with fewer candidates."""
    n_folds = [r.n_fits // r.n_candidates for r in rounds]
    rungs = [
        Rung(n_candidates=r.n_candidates, n_resources=r.n_resources, n_folds=n)
        for r, n in zip(rounds, n_folds, strict=True)
    ]
    epochs = [r.n_epochs / r.n_fits for r in rounds]
    counts_epochs = len(rounds) > 1 and epochs[0] == rounds[0].n_resources
    return planned_rounds(
        with_candidates(rungs, n_candidates, promoted),
        n_folds=max(n_folds),
        epochs_per_fit=None if counts_epochs else epochs[0],
        goes_on=epochs[-1] < rounds[-1].n_resources,
        bracket=rounds[0].bracket,
    )


# Positions of the training and test samples.
Folds = Sequence[tuple[Any, Any]]
# X, y and the other parameters of fit.
Data = tuple[Any, Any, Mapping[str, Any]]

# Epochs of the two timings. Their difference gives the time per epoch, the rest is fixed.
_FEW, _MORE = 1, 4
# Number of samples of a fold in the first timing, its largest and least growth factor, and
# the seconds for all timings.
_LEAST_ROWS = 500
_GROWTH, _LEAST_GROWTH = 4, 1.5
_MOST_SECONDS = 8.0
# Number of candidates whose mean epochs stand for those of all.
_ASKED_FOR_EPOCHS = 100
# Number of candidates in a timing: enough to fill a fleet.
_N_TRIED = 8


def mean_epochs(search: Any, n_samples: int) -> float:
    """Return the mean epochs of a search's candidates; 0 without a network."""
    network = network_of(search.estimator)
    if network is None:
        return 0.0
    every = [values["max_epochs"] for values in _values_in_network(search, "max_epochs")]
    numbers = [epochs_of(network, n_samples) if n == "auto" else n for n in every]
    return float(np.mean([int(n) for n in numbers if isinstance(n, Integral)] or [0]))


def may_stop_early(search: Any, n_samples: int) -> bool:
    """Return whether a network of a search may train fewer epochs than planned."""
    network = copy(network_of(search.estimator))
    if not isinstance(network, NetworkEstimator):
        return False
    for values in _values_in_network(search, "max_epochs", "early_stopping"):
        for name, value in values.items():
            setattr(network, name, value)
        if grants_epochs(granted_resource(search)):
            # A rung grants a number of epochs.
            network.max_epochs = 1
        if stops_early(network, n_samples):
            return True
    return False


def _values_in_network(search: Any, *names: str) -> list[dict[str, Any]]:
    """Return the network's parameters `names`, for some candidates if they are searched."""
    network = network_of(search.estimator)
    full = {name: name_in_network(search.estimator, name) or name for name in names}
    candidates: list[Candidate] = [{}]
    # An empty grid is not a space.
    with suppress(SpaceError):
        space = space_of(search)
        if not set(full.values()).isdisjoint(space.names):
            candidates = RandomSampler(space, 0).ask(_ASKED_FOR_EPOCHS)
    return [
        {name: c.get(full[name], getattr(network, name)) for name in names}
        for c in candidates
    ]


def _expected_seconds(
    short: float, long: float, *, n_fits: int, plan_fits: float, plan_epochs: float
) -> float:
    """Return the seconds of a search, from timings with few and with more epochs."""
    per_epoch = max(0.0, long - short) / (n_fits * (_MORE - _FEW))
    once = max(0.0, short / n_fits - _FEW * per_epoch)
    return plan_fits * once + plan_epochs * per_epoch


def probe(
    search: Any, data: Data, cv: Any, folds: Iterable[tuple[Any, Any]], plan: SearchPlan
) -> SearchPlan:
    """Train a few candidates for a few epochs, on as many samples as the time allows.

    Returns the plan with a description of the measurement, the seconds of the search
    without its refit, and the bytes of networks in a fleet. `data` are X, y and the other
    parameters of ``fit``, `folds` positions of the training and test samples.
    """
    folds = [(positions(train), positions(test)) for train, test in folds]
    name = name_in_network(search.estimator, "max_epochs")
    candidates = RandomSampler(space_of(search), 0).ask(_N_TRIED)
    tried = [{n: v for n, v in c.items() if n != name} for c in candidates]
    if name is None:
        # Fits of other estimators cannot be shortened: one for each process must suffice.
        tried, folds = tried[:1], folds[: _n_processes(search)]
    trials = _Trials(search, tried, data, (cv, folds), name)
    n_rows = trials.most_rows
    n_used, n_before = min(n_rows, _LEAST_ROWS), 0
    if name is not None or len(folds) > 1:
        # The first timing is discarded: it starts the workers.
        trials.seconds(n_used, _FEW)
    few, few_before = trials.seconds(n_used, _FEW), 0.0
    while n_used < n_rows:
        growth = min(_GROWTH, trials.seconds_left() / (few * (_FEW + _MORE)))
        # Two numbers of samples show the time per sample; a fit that cannot be shortened
        # may leave no time for the second.
        is_long = name is None and few * _LEAST_GROWTH > trials.seconds_left()
        if growth < _LEAST_GROWTH and (n_before or is_long):
            break
        n_before, few_before = n_used, few
        n_used = min(n_rows, round(max(growth, _LEAST_GROWTH) * n_used))
        few = trials.seconds(n_used, _FEW)
    # The difference between two timings contains only time that grows with samples.
    slope = max(0.0, few - few_before) / (n_used - n_before)
    short = few + slope * (n_rows - n_used)
    measured = f"Estimated from {len(tried)} of the candidates"
    memory, long = None, short
    n_epochs, n_fits = _of_all_samples(plan, num_samples(data[0]))
    if name is not None:
        if trials.seconds_left() > few * _MORE:
            epochs = max(0.0, trials.seconds(n_used, _MORE) - few)
            measured += f", trained for {_FEW} and {_MORE} epochs"
        else:
            # All time that grows with samples counts as time of epochs.
            epochs = slope * n_used * (_MORE - _FEW) / _FEW
            measured += f", trained for {_FEW} epoch"
        long = short + epochs * n_rows / n_used
        memory = expected_peak(search, *data[:2], plan, n_workers=_n_processes(search))
    seconds = _expected_seconds(
        short,
        long,
        n_fits=len(tried) * len(folds),
        plan_fits=n_fits if name is None else plan.n_fits,
        plan_epochs=n_epochs,
    )
    measured += f" on {n_used} of {n_rows} samples of each fold."
    return replace(plan, seconds=seconds, memory=memory, measured=measured)


def _of_all_samples(plan: SearchPlan, n_samples: int) -> tuple[float, float]:
    """Return the epochs and fits of a plan, weighted by their shares of the samples."""
    of_samples = plan.resource == "n_samples"
    shares = [r.n_resources / n_samples if of_samples else 1.0 for r in plan.rounds]
    rounds = list(zip(plan.rounds, shares, strict=True))
    return sum(r.n_epochs * s for r, s in rounds), sum(r.n_fits * s for r, s in rounds)


class _Trials:
    """Small searches over the same candidates, within a time limit."""

    def __init__(
        self,
        search: Any,
        candidates: Sequence[Candidate],
        data: Data,
        splits: tuple[Any, Folds],
        name: str | None,
    ) -> None:
        self._search, self._candidates = search, candidates
        self._data, self._splits, self._name = data, splits, name
        self._end = time.perf_counter() + _MOST_SECONDS
        self.most_rows = max(len(train) for train, _ in splits[1])

    def seconds_left(self) -> float:
        return self._end - time.perf_counter()

    def seconds(self, n_rows: int, n_epochs: int) -> float:
        """Return the seconds of a search with `n_rows` training samples in each fold."""
        estimator = clone(self._search.estimator)
        if self._name is not None:
            estimator.set_params(**{self._name: n_epochs})
        X, y, params = self._data
        trial = self._search._trial(estimator, self._candidates)
        (cv, folds), share = self._splits, n_rows / self.most_rows
        trial.cv = FixedFolds(cv, [(_some(a, share), _some(b, share)) for a, b in folds])
        start = time.perf_counter()
        # The search itself will raise a candidate's error.
        with warnings.catch_warnings(action="ignore"):
            trial.fit(X, y, **params)
        return time.perf_counter() - start


def _n_processes(search: Any) -> int:
    with outside_blocks():
        return int(joblib.effective_n_jobs(search.n_jobs))


class FixedFolds:
    """The folds of a splitter, drawn once, or given folds."""

    def __init__(self, cv: Any, folds: Folds | None = None) -> None:
        self._cv, self._folds = cv, folds
        if hasattr(cv, "get_metadata_routing"):
            self.get_metadata_routing = cv.get_metadata_routing

    def split(self, X: Any = None, y: Any = None, **params: Any) -> Folds:
        if self._folds is None:
            self._folds = list(self._cv.split(X, y, **params))
        return self._folds

    def get_n_splits(self, X: Any = None, y: Any = None, **params: Any) -> int:
        return len(self.split(X, y, **params))


def _some(rows: Any, share: float) -> Any:
    """Return a random share of samples, in their order."""
    n = max(2, round(share * len(rows)))
    if n >= len(rows):
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, n, replace=False))


class SearchLine:
    """The progress of a search in one line, over all calls of the engine."""

    def __init__(
        self, plan: SearchPlan, *, refits: bool, time_budget: float | None
    ) -> None:
        self._plan = plan
        self._budget = math.inf if time_budget is None else time_budget
        self._refit_work = _refit_work(plan) if refits else 0.0
        self._start = time.monotonic()
        self._line = LiveLine()
        # Epochs of the engine's earlier calls, and its latest report.
        self._epochs_before = 0
        self._call: Progress | None = None
        # Candidates of the present round that were on no earlier rung.
        self._n_new = 0
        self._n_entered = 0
        self._n_evaluated = 0
        self._best = ""
        self._stage = ""
        # Whether one call of the engine serves all rounds.
        self._is_streaming = False

    def __call__(self, progress: Progress) -> None:
        if self._call is not None and progress.seconds < self._call.seconds:
            self._end_call()
        self._call = progress
        self._line.show(self.text())

    def clear(self) -> None:
        """Clear the line of the terminal for output of scikit-learn."""
        self._line.clear()

    def begin_round(self, n_new: int, *, is_streaming: bool) -> None:
        """Take note of a round with `n_new` candidates that were on no earlier rung."""
        self.clear()
        self._n_new, self._is_streaming = n_new, is_streaming

    def end_round(self, n_candidates: int, best: str) -> None:
        """Take note of a round's end, and of the best score with its resources."""
        if not self._is_streaming:
            self._end_call()
        self._n_entered += self._n_new
        self._n_evaluated += n_candidates
        self._n_new = 0
        self._best = best
        self._line.show(self.text())

    def begin_refit(self) -> None:
        if self._refit_work:
            self._stage = "refit"
            self._line.show(self.text())

    def end(self) -> None:
        self._stage = f"{seconds_text(time.monotonic() - self._start)} in total"
        self._line.end(self.text())

    def text(self) -> str:
        plan, epochs = self._plan, self._n_epochs_done()
        entered = self._n_entered
        if self._call is not None and not self._is_streaming:
            # Candidates of the present round count as their fits end.
            entered += self._n_new * self._call.n_fits_done // self._call.n_fits
        parts = [f"candidates {entered}/{max(plan.n_candidates, entered)}"]
        if plan.n_epochs:
            parts.append(f"epochs {epochs}/{max(plan.n_epochs, epochs)}")
        if self._best:
            parts.append(self._best)
        elif self._call is not None and not math.isnan(self._call.best_score):
            parts.append(f"best fold {self._call.best_score:.4g}")
        if self._stage:
            return ", ".join([*parts, self._stage])
        if self._call is not None and self._call.n_fits_elsewhere:
            fits = counted(self._call.n_fits_elsewhere, "fit")
            parts.append(f"waiting for {fits} of other processes")
        seconds = self._seconds_left()
        if math.isfinite(seconds):
            parts.append(f"{seconds_text(seconds)} left")
        return ", ".join(parts)

    def _end_call(self) -> None:
        self._epochs_before, self._call = self._n_epochs_done(), None

    def _n_epochs_done(self) -> int:
        return self._epochs_before + (0 if self._call is None else self._call.n_epochs_done)

    def _seconds_left(self) -> float:
        """Return the time until the search ends, at its present speed."""
        plan, spent = self._plan, time.monotonic() - self._start
        done, in_all = self._n_epochs_done(), plan.n_epochs
        if not in_all:
            done, in_all = self._n_evaluated * plan.n_folds, plan.n_fits
        if not done:
            return max(0.0, self._budget - spent)
        seconds = spent / done * (max(0, in_all - done) + self._refit_work)
        return max(0.0, min(seconds, self._budget - spent))


def _refit_work(plan: SearchPlan) -> float:
    """Return the work of a refit on all samples with as many epochs as the longest fit."""
    longest = 1.0
    if plan.n_epochs:
        rounds = [r for r in plan.rounds if r.n_fits]
        # Later rungs resume the training of earlier rungs.
        of_epochs = plan.resource == "epochs" or grants_epochs(plan.resource)
        longest = max(r.n_resources if of_epochs else r.n_epochs / r.n_fits for r in rounds)
    return longest * plan.n_folds / max(1, plan.n_folds - 1)
