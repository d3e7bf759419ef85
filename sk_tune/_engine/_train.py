# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Fits in, trained networks out.

Fits of equal signature become networks of one fleet. All other fits are trained alone,
through their estimators, with the same result.
"""

import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import joblib
import torch
from sklearn.base import clone

from sk_tune._engine._dispatch import Dispatcher, grouped, shards_of
from sk_tune._engine._executors import (
    are_running,
    have_to_start,
    outside_blocks,
    start_meanwhile,
    uses_loky,
)
from sk_tune._engine._fits import (
    Progress,
    ProgressReporter,
    Trained,
    late,
    passing_errors,
    raising_caller_errors,
)
from sk_tune._engine._memory_limits import (
    MOST_NETWORKS_CUDA,
    SHARE_OF_MEMORY,
    bytes_per_fit,
    bytes_per_network,
    networks_at_a_time,
    seconds_per_epoch,
)
from sk_tune._engine._results import Results, StoredFits, ready_fits, stored_fits
from sk_tune._engine._shard import AnyFit, Shard, part_of, prepare
from sk_tune._engine._skorch import adopt_skorch
from sk_tune._engine._store import remaining_fit
from sk_tune._estimators import (
    Fit,
    FitPreparer,
    NetworkEstimator,
    adopt_training,
    device_of,
    is_unchanged,
    take_rows,
)
from sk_tune._fleets import Plan, plan
from sk_tune._training import TensorSet, TimeLimit, available_memory
from sk_tune._warnings import warn_trained_alone

# Networks of a shard: about the number that trains side by side, so that each worker gets
# several shards of a large search.
_MOST_NETWORKS_PER_SHARD = 32
# Least number of shards per worker, so that none is idle for long at the end; most seconds
# of a shard, which limits the loss with a dead worker and the delay of results.
_SHARDS_PER_WORKER = 4
_SECONDS_PER_SHARD = 2.0
# Shorter shards cost more than they gain, because each is sent and prepares its own data.
_LEAST_SECONDS_PER_SHARD = 0.25
# Seconds until a new worker process has imported torch and the engine (measured in 2026).
# W seconds of work pay for n workers if W - W / n is more.
_SECONDS_TO_START = 3.0
# Least seconds of work for running workers, which only need the data.
_LEAST_SECONDS_RUNNING = 0.1
# Factors of these limits where the threads of the kernel share the work.
_THREADED, _THREADED_RUNNING = 4, 5
# Seconds to wait for a worker after its time limit.
_SECONDS_TO_ANSWER = 0.5
# For larger folds, a worker should hold few folds at a time.
_LARGE_FOLD = 4 * 2**20


def train(
    fits: Sequence[Fit],
    *,
    n_jobs: int | None = None,
    engine: str = "fleet",
    memory_limit: float | None = None,
    progress: Callable[[Progress], object] | None = None,
    trained: Callable[[dict[int, Trained]], object] | None = None,
    store: str | os.PathLike[str] | None = None,
    limit: TimeLimit | None = None,
) -> list[Trained]:
    """Train many networks in a few tensor programs.

    Parameters
    ----------
    fits : sequence of Fit
        Fits to train.  Fits on the same samples of the same data should share the objects,
        which are then prepared and stored once.
    n_jobs : int or None, default=None
        Worker processes, as in scikit-learn: None is 1 unless
        ``joblib.parallel_config`` says otherwise, -1 uses all cores.  Each computes in one
        thread.  All fits train in the calling process, with `n_jobs` threads of the kernel,
        if starting workers would take longer than they save, or if some fits use a GPU of
        this machine.
    engine : {"fleet", "alone"}, default="fleet"
        "alone" trains each fit alone.
    memory_limit : float or None, default=None
        Maximum memory in bytes for all networks in training, over all workers; half of the
        free memory if None.
    progress : callable or None, default=None
        Called with a ``Progress`` when fits end and, in this process, after each epoch.
    trained : callable or None, default=None
        Called once for each finished result, with a dict by position in `fits`.  After an
        interrupt, the caller still has these results.
    store : str, path-like or None, default=None
        File that stores results, created if missing, or URL of a PostgreSQL database; see
        ``FitStore``.  Stored fits (same parameters, data, samples, seed, epochs, versions)
        are loaded instead of trained.  If another process is training a fit for this store,
        its result is loaded when it has finished.
    limit : TimeLimit or None, default=None
        Time limit of training.  Fits that were not started in time are failed fits.
        ``is_cut`` is True for these fits, and for fits with fewer epochs than requested.

    Returns
    -------
    list of Trained
        One result for each fit, in order.  A failed fit has a status, a message and no
        state; it does not affect other fits.

    Raises
    ------
    ValueError
        If `engine` is unknown, or a fit asks for fewer than 1 epoch.
    StoreError
        If `store` is not a store file, or cannot be written.

    Warns
    -----
    TrainedAloneWarning
        Once, with reasons, if fits were trained alone in spite of ``engine="fleet"``.
    StoreWarning
        If fits cannot be stored, if the store is damaged, or its disk full.

    Notes
    -----
    Other exceptions, such as the ``KeyboardInterrupt`` of Ctrl-C or an error of a callable,
    are raised after the workers have been stopped.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import MLPClassifier
    >>> from sk_tune.engine import Fit, train
    >>> X, y = load_iris(return_X_y=True)
    >>> rows = np.arange(150) % 5 > 0
    >>> train_active, monitor = np.flatnonzero(rows), np.flatnonzero(~rows)
    >>> fits = [
    ...     Fit(
    ...         estimator=MLPClassifier(learning_rate=rate, batch_size=16, random_state=0),
    ...         X=X, y=y, rows=train_active, monitor=monitor,
    ...     )
    ...     for rate in (1e-4, 1e-2)
    ... ]
    >>> slow, fast = train(fits)
    >>> bool(slow.monitor_score[-1] < 0.9 < fast.monitor_score[-1])
    True
    """
    if engine not in {"fleet", "alone"}:
        raise ValueError(f"engine must be 'fleet' or 'alone'. Got {engine!r} instead.")
    for fit in fits:
        if fit.n_epochs is not None and fit.n_epochs < 1:
            raise ValueError(
                f"n_epochs must be an integer of at least 1. Got {fit.n_epochs!r}."
            )
    progress = passing_errors(progress)
    results = Results(passing_errors(trained), as_fleet=engine == "fleet")
    with raising_caller_errors(), outside_blocks():
        _train(fits, results, n_jobs, engine, memory_limit, progress, store, limit)
    if engine == "fleet":
        reasons = (trained.alone_reason for trained in results.trained.values())
        warn_trained_alone(Counter(reason for reason in reasons if reason))
    return [results.trained[i] for i in range(len(fits))]


def train_one(fit: Fit, *, limit: TimeLimit | None = None) -> Trained:
    """Train a fit in this process: as a fleet of one where the kernel can."""
    preparer = FitPreparer()
    in_fleet = isinstance(fit.estimator, NetworkEstimator) and is_unchanged(fit.estimator)
    if in_fleet:
        seeded = replace(fit, seed=0)
        in_fleet = _CostModel(preparer).costs(0, seeded, available_memory()).is_compiled
    results = Results(None, as_fleet=in_fleet)
    engine = "fleet" if in_fleet else "alone"
    with raising_caller_errors(), outside_blocks():
        _train([fit], results, 1, engine, None, None, None, limit, preparer)
    return results.trained[0]


def fitted_estimator(fit: Fit, trained: Trained) -> Any:
    """Return a fit's estimator with its training; ValueError if that failed."""
    if trained.state is None:
        raise ValueError(f"The fit failed and has no network. {trained.message}")
    estimator = clone(fit.estimator)
    if not isinstance(estimator, NetworkEstimator):
        X, y = (take_rows(part, fit.rows) for part in (fit.X, fit.y))
        return adopt_skorch(estimator, X, y, trained.state)
    return adopt_training(replace(fit, estimator=estimator), trained.state)


def expected_memory(
    fit: Fit, *, n_samples: int, n_train: int, n_fits: int, n_workers: int
) -> tuple[int, float]:
    """Return the estimated bytes of networks in training, and of a sample in their dtype.

    `n_fits` fits like `fit`, which has a few samples, train on `n_train` of `n_samples`.
    """
    prepared = prepare(replace(fit, seed=0, n_epochs=1), FitPreparer())
    network, (recipe, _) = prepared.network, prepared.recipe()
    X = network.train.X
    network_plan = plan(network.module, X, network, recipe)
    # All samples are views of the first one, without memory.
    samples = X[:1].expand(n_samples, *X.shape[1:])
    index = torch.zeros(1, dtype=torch.int64).expand(n_train)
    network = replace(network, train=TensorSet(samples, index=index))
    limit = int(SHARE_OF_MEMORY * available_memory() / n_workers)
    n_at_once = networks_at_a_time(network, recipe, limit, network_plan)
    n_networks = min(n_workers * n_at_once, n_fits)
    return n_networks * bytes_per_network(network, recipe), X.nbytes / len(X)


def _train(
    fits: Sequence[Fit],
    results: Results,
    n_jobs: int | None,
    engine: str,
    memory_limit: float | None,
    progress: Callable[[Progress], object] | None,
    store: str | os.PathLike[str] | None,
    limit: TimeLimit | None,
    preparer: FitPreparer | None = None,
) -> None:
    """Train fits, in this process or in workers; results are added as they come."""
    ready = ready_fits(dict(enumerate(fits)), results, engine)
    n_epochs = dict.fromkeys(range(len(fits)), 0)
    n_epochs |= {i: _epochs_left(fit) for i, fit in ready.items()}
    reporter = ProgressReporter(progress, n_epochs)
    with stored_fits(store, ready, engine) as stored:
        cost_model = _CostModel(preparer or FitPreparer())
        shards, n_workers = _cut(
            ready, results, cost_model, memory_limit, n_jobs, engine, limit, stored
        )
        # Longest first.
        shards.sort(key=lambda shard: -sum(n_epochs[i] for i in shard.fits))
        is_here, options = n_workers == 1, dict[str, Any]()
        if is_here:
            n_threads = min(joblib.effective_n_jobs(n_jobs), joblib.cpu_count())
            options = {**vars(cost_model), "n_threads": n_threads}
        # Workers prepare their own fits, so free its data before they train.
        del cost_model
        dispatcher = Dispatcher(n_jobs, results, reporter, is_here=is_here, **options)
        with closing(dispatcher):
            # Stored results are dropped after the cut, so that the other fits are trained
            # in the same fleets as without a store.
            shards = [part_of(s, s.fits.keys() - stored.loaded.keys()) for s in shards]
            results.add(stored.loaded)
            if results.trained:
                reporter.fits_done(results.trained)
            _run(dispatcher, [s for s in shards if s.fits], stored, n_workers, limit)
    # Fits of workers that ignore the limit or were late.
    given_up = {i: late(f, engine) for i, f in ready.items() if i not in results.trained}
    if given_up:
        results.add(given_up)
        reporter.fits_done(given_up)


def _cut(
    fits: dict[int, Fit],
    results: Results,
    cost_model: "_CostModel",
    memory_limit: float | None,
    n_jobs: int | None,
    engine: str,
    limit: TimeLimit | None,
    stored: StoredFits,
) -> tuple[list[Shard], int]:
    """Cut fits into shards; return them and the number of workers that pay."""
    if memory_limit is None:
        memory_limit = SHARE_OF_MEMORY * available_memory()
    groups, alone = grouped(fits, results.reasons if engine == "fleet" else None)
    n_processes = stored.n_processes
    parts = _parts_for_workers(
        fits, groups, alone, cost_model, memory_limit, n_jobs, n_processes
    )
    if parts is not None and limit is not None and have_to_start(n_jobs):
        parts = None
        if not limit.cuts:
            start_meanwhile(n_jobs, limit.seconds_left)
    n_workers = 1
    if parts is not None:
        n_workers = min(joblib.effective_n_jobs(n_jobs), len(fits))
    else:
        # With a store, parts are stored separately, and processes share them.
        most = _MOST_NETWORKS_PER_SHARD if stored.has_store else len(fits)
        parts = []
        for group in groups.values():
            size = MOST_NETWORKS_CUDA if _is_on_gpu(fits[group[0]]) else most
            n = max(math.ceil(len(group) / size), min(n_processes, len(group)))
            parts += [[p] for p in _equal_parts(group, n)]
    n_bytes = bytes_per_fit(fits.values(), memory_limit)
    return shards_of(fits, parts, alone, int(memory_limit / n_workers), n_bytes), n_workers


def _run(
    dispatcher: Dispatcher,
    shards: Sequence[Shard],
    stored: StoredFits,
    n_workers: int,
    limit: TimeLimit | None,
) -> None:
    """Train shards, each with its share of the time limit, and wait for all results."""
    n_fits, n_done = sum(len(shard.fits) for shard in shards), 0
    for position, shard in enumerate(shards):
        if position % n_workers == 0:
            n_done += sum(len(s.fits) for s in shards[position : position + n_workers])
        part = None if limit is None else limit.part(n_done, n_fits)
        dispatcher.put(replace(shard, limit=part), stored)
    while dispatcher.n_shards:
        seconds = None
        if limit is not None:
            seconds = max(0.0, limit.seconds_left) + _SECONDS_TO_ANSWER
        dispatcher.next(seconds)


def _is_on_gpu(fit: Fit) -> bool:
    return device_of(getattr(fit.estimator, "device", "cpu")).startswith("cuda")


def _equal_parts(members: list[int], n: int) -> list[list[int]]:
    return [members[len(members) * k // n : len(members) * (k + 1) // n] for k in range(n)]


class _Costs(NamedTuple):
    """How fits of one signature are cut, and their estimated time."""

    per_shard: int = _MOST_NETWORKS_PER_SHARD
    seconds_per_epoch: float = math.inf
    fold_bytes: int = 0
    is_compiled: bool = False


class _CostModel:
    """Estimates the costs of fits and keeps the fits that it prepared."""

    def __init__(self, preparer: FitPreparer) -> None:
        self.preparer = preparer
        self.prepared: dict[int, tuple[Fit, AnyFit]] = {}

    def costs(
        self,
        index: int,
        fit: Fit,
        memory_limit: int,
        *,
        is_alone: bool = False,
        runs_modules: bool = True,
    ) -> _Costs:
        """Return the costs of a fit; infinite if only running a user's module shows them.

        A seed in bytes, the state of a generator, comes from a ``fleet()`` block, which has
        already run the module in this process.
        """
        is_new = hasattr(fit.estimator, "module") and not isinstance(fit.seed, bytes)
        has_methods = is_alone and not is_unchanged(fit.estimator)
        if has_methods or (is_new and not runs_modules):
            return _Costs()
        try:
            prepared = prepare(fit, self.preparer)
            network, recipe = prepared.network, prepared.recipe()[0]
            network_plan = Plan(way="alone")
            if not is_alone:
                network_plan = plan(network.module, network.train.X, network, recipe)
            n_active = networks_at_a_time(network, recipe, memory_limit, network_plan)
        except Exception:  # noqa: BLE001 - the worker reports the error
            return _Costs()
        self.prepared[index] = fit, prepared
        per_shard = n_active if n_active > 8 else max(1, n_active // 2)
        return _Costs(
            min(_MOST_NETWORKS_PER_SHARD, per_shard),
            seconds_per_epoch(network, recipe, network_plan),
            network.train.X.nbytes,
            network_plan.way == "kernel",
        )


def _epochs_left(fit: Fit) -> int:
    return remaining_fit(fit, fit.checkpoint).n_epochs or 1


def _pieces(
    fits: dict[int, Fit],
    groups: dict[Any, list[int]],
    plans: dict[Any, _Costs],
    costs: dict[int, float],
    share: float,
    n_workers: int,
) -> list[list[int]]:
    """Cut groups; work of less than `share` seconds is not cut for balance."""
    pieces = []
    for signature, members in groups.items():
        cut = plans[signature]
        n_pieces = least = math.ceil(len(members) / cut.per_shard)
        if not sum(costs[i] for i in members) < share < math.inf:
            n_pieces = min(n_workers * math.ceil(least / n_workers), len(members))
        if cut.fold_bytes > _LARGE_FOLD:
            # Order fits by fold, so that a shard has few folds.
            keys = {i: (id(fits[i].X), id(fits[i].y), id(fits[i].rows)) for i in members}
            places = {key: n for n, key in enumerate(dict.fromkeys(keys.values()))}
            members = sorted(members, key=lambda i: places[keys[i]])
        pieces += _equal_parts(members, n_pieces)
    return pieces


def _parts_for_workers(
    fits: dict[int, Fit],
    groups: dict[Any, list[int]],
    alone: Sequence[int],
    cost_model: "_CostModel",
    memory_limit: float,
    n_jobs: int | None,
    n_processes: int,
) -> list[list[list[int]]] | None:
    """Cut groups into pieces and shards for workers; None if workers do not pay."""
    n_workers = min(joblib.effective_n_jobs(n_jobs), len(fits))
    # Processes of one machine would have to share the GPU.
    if n_workers < 2 or (uses_loky() and any(map(_is_on_gpu, fits.values()))):
        return None
    # A user's module may kill its process, which should be a worker if there are workers.
    is_running = are_running(n_jobs)
    plan_fit = partial(
        cost_model.costs,
        memory_limit=int(memory_limit / n_workers),
        runs_modules=not is_running,
    )
    plans = {key: plan_fit(g[0], fits[g[0]]) for key, g in groups.items()}
    seconds_of = {i: plans[key].seconds_per_epoch for key, g in groups.items() for i in g}
    for i in alone:
        seconds_of[i] = plan_fit(i, fits[i], is_alone=True).seconds_per_epoch
    costs = {i: _epochs_left(fits[i]) * seconds for i, seconds in seconds_of.items()}
    seconds = sum(costs.values())
    are_compiled = all(plan.is_compiled for plan in plans.values())
    is_threaded = uses_loky() and are_compiled and not alone
    least = _SECONDS_TO_START * n_workers / (n_workers - 1)
    least *= _THREADED if is_threaded else 1
    if is_running:
        running = _LEAST_SECONDS_RUNNING * (_THREADED_RUNNING if is_threaded else 1)
        least = min(least, running)
    if seconds < least:
        return None
    n_workers = min(n_workers * n_processes, len(fits))
    # A user's module may kill its worker, so its shard has no other modules.
    if seconds == math.inf or any(hasattr(f.estimator, "module") for f in fits.values()):
        return [[p] for p in _pieces(fits, groups, plans, costs, math.inf, n_workers)]
    # Enough for each worker.
    some = min(_SHARDS_PER_WORKER * n_workers, int(seconds / _LEAST_SECONDS_PER_SHARD))
    n_shards = max(n_workers, some, math.ceil(seconds / _SECONDS_PER_SHARD))
    pieces = _pieces(fits, groups, plans, costs, seconds / n_shards, n_workers)
    shards: list[list[list[int]]] = [[] for _ in range(min(n_shards, len(pieces)))]
    loads = [0.0] * len(shards)
    of_pieces = [sum(costs[i] for i in piece) for piece in pieces]
    for position in sorted(range(len(pieces)), key=lambda p: -of_pieces[p]):
        lightest = loads.index(min(loads))
        shards[lightest].append(pieces[position])
        loads[lightest] += of_pieces[position]
    return shards
