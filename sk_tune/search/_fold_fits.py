# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""From a candidate and a fold to the fit that the engine is asked for."""

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from skorch import NeuralNet

from sk_tune._compat import FoldTask, method_params, num_samples
from sk_tune.adoption import FitRequested, adoption
from sk_tune.engine import Fit, reason_against_net
from sk_tune.estimators import NetworkEstimator, is_unchanged, take_rows
from sk_tune.search._fold_transformers import (
    FittedTransformers,
    FoldCache,
    HeldOutRows,
    transformed,
)

Array = npt.NDArray[Any]


def network_of(estimator: Any) -> Any:
    """Return the network that an estimator is or, as a pipeline, ends in; None if none.

    It is one of sk_tune's networks that trains as its class does, or a skorch net.
    """
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    if isinstance(last, NetworkEstimator):
        return last if is_unchanged(last) else None
    return last if isinstance(last, NeuralNet) else None


def name_in_network(estimator: Any, parameter: str) -> str | None:
    """Return what a parameter of the network is called in the estimator around it.

    The name of a pipeline's last step stands in front; None if there is no network.
    """
    if network_of(estimator) is None:
        return None
    is_step = isinstance(estimator, Pipeline)
    return f"{estimator.steps[-1][0]}__{parameter}" if is_step else parameter


@dataclass(frozen=True, slots=True, eq=False)
class _Fold:
    """The samples of one fold, cut out once."""

    X_train: Any
    y_train: Any
    X_test: Any
    y_test: Any


@dataclass(frozen=True, slots=True, eq=False)
class _Joined:
    """A fit on training and held-out samples behind transformers, which are one table."""

    fit: Fit
    # The sources are kept alive, because their identity tells these samples from others.
    sources: tuple[Any, ...]
    # Key that tells the held-out samples among them from all others.
    held_out: Any


class FitMaker:
    """Turns tasks of a search into fits that share what they have in common."""

    def __init__(self) -> None:
        self.transformers = FittedTransformers()
        self.held_out = HeldOutRows(self.transformers)
        # While candidates are prepared; all data, as often as there are folds.
        self._folds: dict[tuple[int, int], _Fold] = {}
        # Positions are kept alive, because their identity tells one fold from the other.
        self._positions: dict[tuple[int, int], tuple[Any, Any]] = {}
        self._joined: dict[Any, _Joined] = {}
        # Transformers of pipelines as the search was given them.
        self._base_transformers: dict[int, Any] = {}
        # Why skorch nets could not be networks of fleets, and how many.
        self.reasons_against: Counter[str] = Counter()

    @contextmanager
    def sharing_folds(self) -> Iterator[None]:
        """Let what is prepared in a block share the samples of its folds."""
        try:
            yield
        finally:
            self._folds.clear()

    def end_round(self) -> None:
        """Let go of joined samples, which only candidates of one round share."""
        self._joined.clear()

    def begin_candidate(self, task: FoldTask) -> None:
        """Drop the samples joined for the candidate before that of `task`.

        They stay if all candidates share them.
        """
        if not _varies_network_only(task):
            self._joined.clear()

    def memory(self, task: FoldTask) -> FoldCache:
        """Return a new cache that one fit of a task's pipeline asks for transformers."""
        known = self._base_transformers if _varies_network_only(task) else {}
        return FoldCache(self.transformers, self._fold_key(task), known)

    def make(self, task: FoldTask, name: str) -> Fit | None:
        """Return the fit that a task asks for, under a name for messages.

        None if the task trains no network that the engine knows, or fails before it does:
        then it can only be run.
        """
        self._fold_key(task)
        values = [task.estimator, *task.parameters.values()]
        if task.y is None or not any(network_of(value) is not None for value in values):
            return None
        try:
            joined = self._joined_of_base(task)
            if joined is not None:
                # The samples are known, without a look at the transformers.
                step, network = task.estimator.steps[-1]
                own = {n.removeprefix(f"{step}__"): v for n, v in task.parameters.items()}
                return replace(joined.fit, estimator=_candidate(network, own), name=name)
            estimator = _candidate(task.estimator, task.parameters)
            network = network_of(estimator)
            if network is None or not self._asks(network, task):
                return None
            if network is estimator:
                return self._plain(task, network, name)
            # Tasks that a transformer hands to joblib are none of the search.
            with joblib.parallel_config(backend="sequential"):
                return self._behind_pipeline(task, estimator, name)
        except Exception:  # noqa: BLE001 - the task itself will raise it
            return None

    def predicts_as_fitted(self, task: FoldTask) -> bool:
        """Return whether the engine predicts the very samples that a task would.

        False behind transformers that are not known to give the same result each time.
        """
        if network_of(task.estimator) is task.estimator:
            return True
        joined = self._joined_of_base(task)
        return joined is not None and self.held_out.fixed_rows(joined.held_out) is not None

    def _asks(self, network: Any, task: FoldTask) -> bool:
        """Return whether a network's ``fit`` will ask for its training."""
        if isinstance(network, NetworkEstimator):
            return True
        reason = reason_against_net(network, task.X, task.y)
        if reason is not None:
            self.reasons_against[reason] += 1
        return reason is None

    def _joined_of_base(self, task: FoldTask) -> _Joined | None:
        """Return the samples of the fold, if an earlier candidate had the transformers."""
        if not _varies_network_only(task):
            return None
        return self._joined.get((id(task.train), id(task.test)))

    def _plain(self, task: FoldTask, network: Any, name: str) -> Fit | None:
        if set(task.fit_params) - {"sample_weight"}:
            return None
        weight = task.fit_params.get("sample_weight")
        if weight is not None and not isinstance(network, NetworkEstimator):
            return None
        return Fit(
            estimator=network,
            X=task.X,
            y=task.y,
            rows=task.train,
            sample_weight=weight,
            monitor=task.test,
            name=name,
        )

    def _behind_pipeline(self, task: FoldTask, pipeline: Any, name: str) -> Fit | None:
        fold = self._fold(task)
        X_train = fold.X_train
        if pipeline.memory is None:
            pipeline.memory = self.memory(task)
        else:
            # Other than ours, it does not protect the samples from what works in place.
            X_train = copy.deepcopy(X_train)
        params = method_params(task.X, params=task.fit_params, indices=task.train)
        network, asked = network_of(pipeline), []

        def leave(estimator: Any, X: Any, y: Any, sample_weight: Any) -> None:
            # Transformers may have networks, too, which train as ever.
            if estimator is network:
                asked.append((X, y, sample_weight))
                raise FitRequested

        with adoption(leave), suppress(FitRequested):
            pipeline.fit(X_train, fold.y_train, **params)
        if not asked:
            return None
        joined = self._join(network, *asked[0], pipeline, fold, task.test)
        if _varies_network_only(task):
            self._joined[self._fold_key(task)] = joined
        return replace(joined.fit, estimator=clone(network), name=name)

    def _fold_key(self, task: FoldTask) -> tuple[int, int]:
        """Return what tells the fold of a task from all others of the search."""
        key = (id(task.train), id(task.test))
        self._positions[key] = (task.train, task.test)
        return key

    def _fold(self, task: FoldTask) -> _Fold:
        key = self._fold_key(task)
        if key not in self._folds:
            self._folds[key] = _Fold(
                X_train=take_rows(task.X, task.train),
                y_train=take_rows(task.y, task.train),
                X_test=take_rows(task.X, task.test),
                y_test=take_rows(task.y, task.test),
            )
        return self._folds[key]

    def _join(
        self,
        network: Any,
        X: Any,
        y: Any,
        weight: Any,
        pipeline: Any,
        fold: _Fold,
        test: Any,
    ) -> _Joined:
        """Put the samples that a network was asked to fit and those held out together."""
        key = (id(X), id(y), id(test))
        found = self._joined.get(key)
        if found is not None and weight is None:
            return found
        sources, n_train = (X, y), len(y)
        monitor = held_out = None
        try:
            X_test = self.held_out.fixed_rows(self.held_out.key_of(pipeline, test))
            if X_test is None:
                X_test = transformed(pipeline, copy.deepcopy(fold.X_test))
            if num_samples(X_test) != len(fold.y_test):
                raise ValueError("The transformers add or drop rows.")
            held_out = self.held_out.remember(pipeline, test, X_test)
            X, y = _stack(X, X_test), _stack(y, fold.y_test)
            monitor = np.arange(n_train, len(y))
        except Exception:  # noqa: BLE001 - without held-out samples there are only no curves
            X, y = sources
        if weight is not None and monitor is not None:
            weight = np.concatenate([weight, np.ones(len(monitor))])
        fit = Fit(
            estimator=network,
            X=X,
            y=y,
            rows=np.arange(n_train),
            sample_weight=weight,
            monitor=monitor,
        )
        joined = _Joined(fit, sources, held_out)
        if weight is None:
            self._joined[key] = joined
        return joined


def _candidate(estimator: Any, parameters: Mapping[str, Any]) -> Any:
    """Return an estimator with the parameters of a candidate."""
    candidate = clone(estimator)
    if hasattr(candidate, "set_callbacks"):
        candidate.set_callbacks()
    return candidate.set_params(**clone(dict(parameters), safe=False))


def _varies_network_only(task: FoldTask) -> bool:
    """Return whether all candidates like a task's have their transformers in common."""
    pipeline = task.estimator
    if not isinstance(pipeline, Pipeline) or pipeline.memory is not None:
        return False
    step, network = pipeline.steps[-1]
    return (
        not task.fit_params
        and isinstance(network, NetworkEstimator)
        and all(name.startswith(f"{step}__") for name in task.parameters)
    )


def _stack(first: Any, second: Any) -> Any:
    """Return the samples of two tables as one table."""
    if isinstance(first, torch.Tensor):
        return torch.cat([first, second])
    if isinstance(first, pd.DataFrame | pd.Series):
        return pd.concat([first, second])
    if sparse.issparse(first):
        return sparse.vstack([first, second]).tocsr()
    if isinstance(first, list | tuple):
        return [*first, *second]
    if hasattr(first, "vstack"):
        return first.vstack(second)
    return np.concatenate([np.asarray(first), np.asarray(second)])
