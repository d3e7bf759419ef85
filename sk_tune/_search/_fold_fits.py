# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Builds the engine's fit of a candidate on a fold.

Transformers in front of a network are fitted once for each fold.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral
from typing import Any

import joblib
import numpy as np
import pandas as pd
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from skorch import NeuralNet

from sk_tune._adoption import FitRequested, adoption
from sk_tune._compat import FoldTask, method_params, num_samples
from sk_tune._engine import Fit, data_fingerprint, params_fingerprint, reason_against_net
from sk_tune._epochs import epochs_of
from sk_tune._estimators import NetworkEstimator, is_unchanged, n_bytes
from sk_tune._input_scale import InputScale, input_scale
from sk_tune._nesting import (
    innermost,
    nested,
    transformed_target,
    transformers_of,
    transforms_target,
)
from sk_tune._search._outcomes import fit_name
from sk_tune._search_record import grants_epochs
from sk_tune._text import error_text

# Beyond this many bytes of transformed samples, the least recently used results are
# dropped.
_MOST_BYTES = 2**30


def network_of(estimator: Any) -> Any:
    """Return the network whose fits a search requests from the engine; None without one.

    It is the estimator itself, or the innermost one of pipelines and transformed targets,
    if that is a network of sk_tune that trains as its class does, or a plain skorch net.
    """
    inner = innermost(estimator)
    if isinstance(inner, NetworkEstimator):
        return inner if is_unchanged(inner) else None
    return inner if isinstance(inner, NeuralNet) else None


def name_in_network(estimator: Any, parameter: str) -> str | None:
    """Return the full name of a network's parameter; None without a network."""
    prefix = nested(estimator)[-1][1]
    return None if network_of(estimator) is None else f"{prefix}{parameter}"


def full_name(estimator: Any, parameter: str) -> str | None:
    """Return the full name of an estimator's parameter, or else of its network's."""
    valid_names = estimator.get_params()
    names = (parameter, name_in_network(estimator, parameter))
    return next((name for name in names if name in valid_names), None)


def own_resources(estimator: Any, resource: str, n_samples: int) -> int:
    """Return the estimator's value of a resource; ValueError if it is not an integer."""
    resources, inner = estimator.get_params()[resource], innermost(estimator)
    if grants_epochs(resource) and isinstance(inner, NetworkEstimator):
        return epochs_of(inner, n_samples, are_granted=True)
    if not isinstance(resources, Integral):
        raise ValueError(
            "resource can only be 'n_samples' when max_resources='auto', or a parameter "
            f"whose value in the estimator is an integer. Got {resource!r}, which is "
            f"{resources!r} in {type(estimator).__name__}. Set max_resources to an integer."
        )
    return int(resources)


class FittedTransformers:
    """The latest results of transformers on the folds of a search, up to `most_bytes`."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._n_bytes = 0
        self._results: OrderedDict[Any, tuple[Any, ...]] = OrderedDict()
        # Keys of transformed samples by identity; the samples are alive as long as their
        # result.
        self._keys: dict[int, Any] = {}

    def key_of(self, rows: Any) -> Any:
        """Return the key of transformed samples; None if they are not from the cache."""
        return self._keys.get(id(rows))

    def find(self, key: Any) -> tuple[Any, ...] | None:
        if key in self._results:
            self._results.move_to_end(key)
        return self._results.get(key)

    def keep(self, key: Any, result: tuple[Any, ...]) -> None:
        """Keep a result, and drop old results if all take too much memory."""
        self._results[key] = result
        for position, rows in enumerate(result[:-1]):
            self._keys[id(rows)] = (key, position)
            self._n_bytes += n_bytes(rows)
        while self._n_bytes > self._most_bytes and len(self._results) > 1:
            _, dropped = self._results.popitem(last=False)
            for rows in dropped[:-1]:
                self._keys.pop(id(rows), None)
                self._n_bytes -= n_bytes(rows)

    def clear(self) -> None:
        self._n_bytes = 0
        self._results.clear()
        self._keys.clear()

    def held_out(self, pipeline: Any, test: Any, X: Any) -> tuple[Any, bool]:
        """Return held-out samples as the network of a fitted pipeline receives them.

        Also return whether they are reproducible: when first requested, they are
        transformed twice to test this. The caller keeps `test`, their positions, alive.
        """
        steps = transformers_of(pipeline)
        key = (id(test), *map(id, steps))
        entry = self.find(key)
        if entry is None:
            versions = []
            for _ in range(2):
                rows = copy.deepcopy(X)
                for step in steps:
                    # imbalanced-learn's samplers change training samples only.
                    is_idle = step is None or step == "passthrough"
                    if not is_idle and not hasattr(step, "fit_resample"):
                        rows = step.transform(rows)
                versions.append(rows)
            is_fixed = data_fingerprint(versions[0]) == data_fingerprint(versions[1])
            # The steps are kept alive, because their identity is part of the key.
            entry = (versions[0], (is_fixed, steps))
            self.keep(key, entry)
        return entry[0], entry[1][0]


class FoldCache:
    """The ``memory`` of one pipeline on the samples with the key `fold`.

    With `copies`, steps get copies of transformed samples, because they may work in place.
    """

    # Without a location, a pipeline fits its transformers without cloning them.
    location = None

    def __init__(
        self, store: FittedTransformers, fold: Any, *, copies: bool = False
    ) -> None:
        self.store = store
        self._fold = fold
        self._copies = copies
        # The latest copy with its key.
        self._copy: tuple[Any, Any] = (None, None)
        self._n_calls = 0
        self._n_hits = 0

    @property
    def found_all(self) -> bool:
        """Whether all transformers came from earlier pipelines on the same samples."""
        return 0 < self._n_calls == self._n_hits

    def cache(self, function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        """Return a function that fits a transformer once, as joblib's memory does."""
        return partial(self._call, function)

    def _call(self, function: Any, transformer: Any, X: Any, y: Any, **options: Any) -> Any:
        position = self._n_calls
        self._n_calls += 1
        copied, key_of_copy = self._copy
        if position == 0:
            # Only the first transformer of a pipeline gets the samples of the fold.
            source = self._fold
        else:
            source = key_of_copy if X is copied else self.store.key_of(X)

        def result_of_fit() -> Any:
            # A transformer may work in place, but other candidates share the samples.
            rows = X if X is copied else copy.deepcopy(X)
            return function(transformer, rows, y, **options)

        if source is None:
            return result_of_fit()
        metadata = options.get("params") or {}
        key = (
            function.__name__,
            source,
            self.store.key_of(y),
            params_fingerprint(transformer),
            # The choice of set_output is not a parameter of the transformer.
            repr(vars(transformer).get("_sklearn_output_config")),
            joblib.hash(metadata) if any(metadata.values()) else None,
        )
        result = self.store.find(key)
        context = options.get("callback_ctx")
        if result is None:
            result = result_of_fit()
            self.store.keep(key, result)
            return self._lent(result)
        self._n_hits += 1
        if context is not None:
            # scikit-learn's callbacks count this task, even from the cache.
            context.call_on_fit_task_begin(estimator=options["caller"], X=X, y=y)
            context.call_on_fit_task_end(estimator=options["caller"], X=result[0], y=y)
        return self._lent(result)

    def _lent(self, result: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a result for the next step."""
        if not self._copies:
            return result
        rows = copy.deepcopy(result[0])
        self._copy = rows, self.store.key_of(result[0])
        return (rows, *result[1:])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoldRequest:
    """A candidate on a fold, and the fit of its network; None without a network.

    `n_epochs` is the network's total after the fit, `n_epochs_before` the total of earlier
    rungs. `is_exact` says that the engine predicts exactly the samples of the task,
    `alone_reason` why the engine cannot train the network. `remark` says what its
    training lacks. `inputs` is the scale of its features, for the first fold only.
    """

    task: FoldTask
    candidate: int
    fit: Fit | None = None
    n_epochs: int = 0
    n_epochs_before: int = 0
    is_exact: bool = False
    alone_reason: str = ""
    remark: str = ""
    inputs: InputScale | None = None

    @property
    def key(self) -> tuple[int, int]:
        """The candidate, and the identity of the fold's training samples."""
        return self.candidate, id(self.task.train)


@dataclass(frozen=True, slots=True, eq=False)
class _Joined:
    """A fit on one table of transformed training and held-out samples."""

    fit: Fit
    # The sources are kept alive, because their identity is the key.
    sources: tuple[Any, ...]
    # Whether the transformed held-out samples are reproducible, and targets unchanged.
    is_fixed: bool
    remark: str


class FitMaker:
    """Turns tasks of a search into fits with shared data."""

    def __init__(self) -> None:
        self.transformers = FittedTransformers()
        # Training and test samples by fold. They are dropped after the preparation, because
        # they copy all data once per fold.
        self._folds: dict[Any, tuple[Any, ...]] = {}
        # Positions are kept alive, because their identity is the key of a fold.
        self._positions: dict[tuple[int, int], tuple[Any, Any]] = {}
        self._joined: dict[Any, _Joined] = {}
        # The samples and the scale of the latest inputs.
        self._scale: tuple[Any, Any, InputScale | None] = (None, None, None)

    @contextmanager
    def sharing_folds(self) -> Iterator[None]:
        """Share the samples of folds between all preparations in a block."""
        try:
            yield
        finally:
            self._folds.clear()

    def end_round(self) -> None:
        """Drop joined samples, which only candidates of one round share."""
        self._joined.clear()

    def end_fold(self) -> None:
        """Drop all samples of a fold behind transformers."""
        self.end_round()
        self.transformers.clear()
        self._scale = (None, None, None)

    def begin_candidate(self, task: FoldTask) -> None:
        """Drop earlier joined samples, unless all candidates share them."""
        if not _varies_network_only(task):
            self._joined.clear()

    def scale_of(self, fit: Fit) -> InputScale | None:
        """Return the scale of the features that a network trains on."""
        X, rows, _ = self._scale
        if X is not fit.X or rows is not fit.rows:
            scale = input_scale(fit.X, fit.estimator, fit.rows)
            self._scale = (fit.X, fit.rows, scale)
        return self._scale[2]

    def memory(self, task: FoldTask) -> FoldCache:
        """Return a new cache of transformers for one fit of a task's pipeline."""
        copies = network_of(task.estimator) is None
        return FoldCache(self.transformers, self._fold_key(task), copies=copies)

    def make(self, task: FoldTask, candidate: int) -> FoldRequest:
        """Return the request of a task, with its fit.

        Without a fit, the task has to run by itself: it has no network of a known class, or
        preparing the fit failed, as the task itself may fail.
        """
        values = [task.estimator, *task.parameters.values()]
        if task.y is None or not any(network_of(value) is not None for value in values):
            return FoldRequest(task=task, candidate=candidate)
        try:
            prepared = self._prepare(task, fit_name(candidate, task.fold))
        except Exception as error:  # noqa: BLE001 - reported, unless the task raises it
            prepared = f"preparing its fit failed ({error_text(error)})"
        if isinstance(prepared, str):
            return FoldRequest(task=task, candidate=candidate, alone_reason=prepared)
        fit, is_exact, remark = prepared
        return FoldRequest(
            task=task, candidate=candidate, fit=fit, is_exact=is_exact, remark=remark
        )

    def _prepare(self, task: FoldTask, name: str) -> tuple[Fit, bool, str] | str:
        """Return a fit, whether the engine predicts exactly its task's samples, a remark.

        If the engine cannot train the network, return the reason; empty without a network.
        """
        key = self._fold_key(task)
        joined = self._joined.get(key) if _varies_network_only(task) else None
        if joined is not None:
            # An earlier candidate had the same transformers.
            network, prefix = nested(task.estimator)[-1]
            parameters = {n.removeprefix(prefix): v for n, v in task.parameters.items()}
            fit = replace(joined.fit, estimator=_candidate(network, parameters), name=name)
            return fit, joined.is_fixed, joined.remark
        estimator = _candidate(task.estimator, task.parameters)
        network = network_of(estimator)
        if network is None:
            return ""
        is_net = not isinstance(network, NetworkEstimator)
        reason = reason_against_net(network, task.X, task.y) if is_net else None
        if reason is not None:
            return reason
        if network is not estimator:
            # joblib calls inside transformers do not belong to the search.
            with joblib.parallel_config(backend="sequential"):
                return self._behind_pipeline(task, estimator, name)
        if set(task.fit_params) - (set() if is_net else {"sample_weight"}):
            return "its fit takes more than X, y and sample_weight"
        fit = Fit(
            estimator=network,
            X=task.X,
            y=task.y,
            rows=task.train,
            sample_weight=task.fit_params.get("sample_weight"),
            monitor=task.test,
            name=name,
        )
        return fit, True, ""

    def _behind_pipeline(
        self, task: FoldTask, pipeline: Any, name: str
    ) -> tuple[Fit, bool, str] | str:
        key = self._fold_key(task)
        # With a precomputed kernel, the samples of a candidate have other columns.
        samples_key = (key, get_tags(pipeline).input_tags.pairwise)
        if samples_key not in self._folds:
            train, test = (task.samples(rows, pipeline) for rows in (task.train, task.test))
            self._folds[samples_key] = (*train, *test)
        X_train, y_train, X_test, y_test = self._folds[samples_key]
        if isinstance(pipeline, Pipeline) and pipeline.memory is None:
            pipeline.memory = self.memory(task)
        else:
            # Only a FoldCache protects the samples from changes in place.
            X_train = copy.deepcopy(X_train)
        params = method_params(task.X, params=task.fit_params, indices=task.train)
        requests = []

        def record(estimator: Any, X: Any, y: Any, sample_weight: Any) -> None:
            # Networks inside of transformers train as usual.
            if estimator is network_of(pipeline):
                requests.append((X, y, sample_weight))
                raise FitRequested

        with adoption(record), suppress(FitRequested):
            pipeline.fit(X_train, y_train, **params)
        if not requests:
            return "its pipeline does not call its fit with X and y"
        network = network_of(pipeline)
        joined = self._join(network, *requests[0], pipeline, X_test, y_test, task.test)
        if _varies_network_only(task):
            self._joined[key] = joined
        # A candidate's network may be of another class with its own predictions, and
        # transformers may request metadata.
        is_exact = joined.is_fixed and not (task.fit_params or task.score_params)
        is_exact &= type(network) is type(network_of(task.estimator))
        fit = replace(joined.fit, estimator=clone(network), name=name)
        return fit, is_exact, joined.remark

    def _fold_key(self, task: FoldTask) -> tuple[int, int]:
        key = (id(task.train), id(task.test))
        self._positions[key] = (task.train, task.test)
        return key

    def _join(
        self,
        network: Any,
        X: Any,
        y: Any,
        weight: Any,
        pipeline: Any,
        X_test: Any,
        y_test: Any,
        test: Any,
    ) -> _Joined:
        key = (id(X), id(y), id(test))
        existing = self._joined.get(key)
        if existing is not None and weight is None:
            return existing
        sources, n_train = (X, y), len(y)
        monitor, is_fixed, remark = None, False, ""
        try:
            X_test, is_fixed = self.transformers.held_out(pipeline, test, X_test)
            y_test = transformed_target(pipeline, y_test)
            if num_samples(X_test) != len(y_test):
                raise ValueError("The transformers add or drop rows.")
            X, y = _stack(X, X_test), _stack(y, y_test)
            monitor = np.arange(n_train, len(y))
        except Exception as error:  # noqa: BLE001 - without a monitor, curves are missing
            X, y = sources
            why = f"because joining its samples failed ({error_text(error)})"
            remark = f"without a held-out curve, {why}"
        if weight is not None and monitor is not None:
            weight = np.concatenate([weight, np.ones(len(monitor))])
        rows = np.arange(n_train)
        fit = Fit(
            estimator=network, X=X, y=y, rows=rows, sample_weight=weight, monitor=monitor
        )
        joined = _Joined(fit, sources, is_fixed and not transforms_target(pipeline), remark)
        if weight is None:
            self._joined[key] = joined
        return joined


def _candidate(estimator: Any, parameters: Mapping[str, Any]) -> Any:
    candidate = clone(estimator)
    if hasattr(candidate, "set_callbacks"):
        candidate.set_callbacks()
    return candidate.set_params(**clone(dict(parameters), safe=False))


def _varies_network_only(task: FoldTask) -> bool:
    """Return whether all candidates of a task's search share their transformers."""
    *around, (network, prefix) = nested(task.estimator)
    return (
        bool(around)
        and all(getattr(part, "memory", None) is None for part, _ in around)
        and not task.fit_params
        and isinstance(network, NetworkEstimator)
        and all(name.startswith(prefix) for name in task.parameters)
    )


def _stack(first: Any, second: Any) -> Any:
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
