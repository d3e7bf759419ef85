# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What a search will take, told by a few candidates that train a little."""

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import joblib
import numpy as np
from sklearn.base import clone

from sk_tune._compat import FoldTask
from sk_tune.engine import expected_memory, outside_blocks
from sk_tune.exceptions import SpaceError
from sk_tune.sampler import RandomSampler
from sk_tune.search._networks import FitMaker, name_in_network, network_of
from sk_tune.search._plan import SearchPlan
from sk_tune.space import Candidate, Space

__all__ = ["expected_seconds", "mean_epochs", "probe"]

MakeTrial = Callable[[Any, Sequence[Candidate]], Any]
# X, y and the other parameters of fit.
Data = tuple[Any, Any, Mapping[str, Any]]

# Epochs of the two timings; their difference is what epochs cost, the rest is paid once.
_FEW, _MORE = 1, 4
# Candidates whose epochs stand for those of all.
_ASKED_FOR_EPOCHS = 100


def mean_epochs(estimator: Any, make_space: Callable[[], Space]) -> float:
    """Return the epochs that candidates of a search train in the mean.

    Parameters
    ----------
    estimator : estimator
        What is searched.
    make_space : callable
        Returns the space in which its epochs may vary; a grid of nothing is none.

    Returns
    -------
    float
        0 of what is no network.
    """
    network = network_of(estimator)
    if network is None:
        return 0.0
    name = name_in_network(estimator, "max_epochs")
    try:
        space = make_space()
    except SpaceError:
        space = None
    if space is None or name not in space.names:
        return float(network.max_epochs)
    candidates = RandomSampler(space, 0).ask(_ASKED_FOR_EPOCHS)
    own = [candidate.get(name, network.max_epochs) for candidate in candidates]
    return float(np.mean([int(n) for n in own if isinstance(n, Integral)] or [0]))


def expected_seconds(
    short: float, long: float, *, n_fits: int, plan_fits: int, plan_epochs: int
) -> float:
    """Return the time of a search from the times of two small ones.

    Parameters
    ----------
    short, long : float
        Seconds of the same fits with few and with more epochs.
    n_fits : int
        Fits in each of them.
    plan_fits, plan_epochs : int
        Fits and epochs of the search.

    Returns
    -------
    float
        Seconds; a fit costs something once, and something for each epoch.
    """
    per_epoch = max(0.0, long - short) / (n_fits * (_MORE - _FEW))
    once = max(0.0, short / n_fits - _FEW * per_epoch)
    return plan_fits * once + plan_epochs * per_epoch


def probe(
    search: Any,
    make: MakeTrial,
    candidates: Sequence[Candidate],
    data: Data,
    folds: Iterable[tuple[Any, Any]],
    plan: SearchPlan,
) -> tuple[float | None, int | None]:
    """Train a few candidates of a search for a few epochs.

    Parameters
    ----------
    search : estimator
        Not changed.
    make : callable
        ``(estimator, candidates) -> search`` over just these candidates.
    candidates : sequence of dict
        Some of its space.
    data : tuple of (X, y, params)
        What its ``fit`` will get.
    folds : iterable of tuple of (train, test)
        Rows of its folds.
    plan : SearchPlan
        What the search is going to do.

    Returns
    -------
    seconds : float or None
        Of the search, without the refit.
    memory : int or None
        Bytes of its networks; None if it trains none, or none as a row of a fleet.
    """
    name = name_in_network(search.estimator, "max_epochs")
    if name is None:
        # The first of two is thrown away: it starts the workers.
        _, one = (_timed(make, search.estimator, candidates[:1], data) for _ in range(2))
        return one * plan.n_fits / plan.n_folds, None
    own = [{n: v for n, v in c.items() if n != name} for c in candidates]
    seconds: list[float] = []
    # The first is thrown away: it starts the workers.
    for n_epochs in (_FEW, _FEW, _MORE):
        estimator = clone(search.estimator).set_params(**{name: n_epochs})
        seconds.append(_timed(make, estimator, own, data))
    expected = expected_seconds(
        seconds[1],
        seconds[2],
        n_fits=len(own) * plan.n_folds,
        plan_fits=plan.n_fits,
        plan_epochs=plan.n_epochs,
    )
    return expected, _memory(search, own[0], data, next(iter(folds)), plan)


def _timed(make: MakeTrial, estimator: Any, own: Sequence[Candidate], data: Data) -> float:
    X, y, params = data
    start = time.perf_counter()
    with warnings.catch_warnings():
        # What is wrong with a candidate is told by the search itself.
        warnings.simplefilter("ignore")
        make(estimator, own).fit(X, y, **params)
    return time.perf_counter() - start


def _memory(
    search: Any,
    candidate: Candidate,
    data: Data,
    fold: tuple[Any, Any],
    plan: SearchPlan,
) -> int | None:
    """Return the bytes of networks like that of a candidate on a fold, if known."""
    X, y, _ = data
    train, test = fold
    task = FoldTask(
        estimator=search.estimator,
        X=X,
        y=y,
        train=train,
        test=test,
        parameters=candidate,
        fit_params={},
        candidate=0,
        fold=0,
    )
    fit = FitMaker().make(task, "")
    if fit is None:
        return None
    with outside_blocks():
        n_workers = joblib.effective_n_jobs(search.n_jobs)
    try:
        return expected_memory(fit, n_workers=n_workers, n_folds=plan.n_folds)
    except Exception:  # noqa: BLE001 - no row of a fleet; what is wrong the search tells
        return None
