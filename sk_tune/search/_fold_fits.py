# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""From a candidate and a fold to the fit that the engine is asked for.

Transformers in front of a network are fitted once for each fold.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import joblib
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from skorch import NeuralNet

from sk_tune._compat import FoldTask, method_params, num_samples
from sk_tune._input_scale import InputScale, input_scale
from sk_tune._text import error_text
from sk_tune.adoption import FitRequested, adoption
from sk_tune.engine import Fit, data_fingerprint, params_fingerprint, reason_against_net
from sk_tune.estimators import NetworkEstimator, is_unchanged

Array = npt.NDArray[Any]

# Beyond this many bytes of transformed samples the results that were not used for longest
# go.
_MOST_BYTES = 2**30


def network_of(estimator: Any) -> Any:
    """Return the network that an estimator is or, as a pipeline, ends in; None if none.

    It is one of sk_tune's networks that trains as its class does, or a skorch net.
    """
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    if isinstance(last, NetworkEstimator):
        return last if is_unchanged(last) else None
    return last if isinstance(last, NeuralNet) else None


def name_in_network(estimator: Any, parameter: str) -> str | None:
    """Return the name of a network's parameter in the estimator around the network.

    The estimator may be a pipeline, and a TransformedTargetRegressor around either; None if
    there is no network.
    """
    if isinstance(estimator, TransformedTargetRegressor):
        name = name_in_network(estimator.regressor, parameter)
        return None if name is None else f"regressor__{name}"
    if network_of(estimator) is None:
        return None
    is_step = isinstance(estimator, Pipeline)
    return f"{estimator.steps[-1][0]}__{parameter}" if is_step else parameter


class FittedTransformers:
    """The latest results of transformers on the folds of a search, up to `most_bytes`."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._n_bytes = 0
        self._results: OrderedDict[Any, tuple[Any, ...]] = OrderedDict()
        # Samples that were transformed, by identity; they are alive as long as their
        # result.
        self._keys: dict[int, Any] = {}

    def key_of(self, rows: Any) -> Any:
        """Return the key of transformed samples; None if no kept transformer made them."""
        return self._keys.get(id(rows))

    def find(self, key: Any) -> tuple[Any, ...] | None:
        if key in self._results:
            self._results.move_to_end(key)
        return self._results.get(key)

    def keep(self, key: Any, result: tuple[Any, ...]) -> None:
        """Keep a result, and drop old ones if all take too much memory."""
        self._results[key] = result
        for position, rows in enumerate(result[:-1]):
            self._keys[id(rows)] = (key, position)
            self._n_bytes += _n_bytes(rows)
        while self._n_bytes > self._most_bytes and len(self._results) > 1:
            _, dropped = self._results.popitem(last=False)
            for rows in dropped[:-1]:
                self._keys.pop(id(rows), None)
                self._n_bytes -= _n_bytes(rows)

    def held_out(self, pipeline: Any, test: Any, X: Any) -> tuple[Any, bool]:
        """Return held-out samples as a fitted pipeline's last step gets them.

        Also whether they come out alike each time. They are transformed twice to find that
        out, and then kept; the caller keeps `test`, their positions, alive.
        """
        steps = [step for _, step in pipeline.steps[:-1]]
        key = (id(test), *map(id, steps))
        found = self.find(key)
        if found is None:
            made = []
            for _ in range(2):
                rows = copy.deepcopy(X)
                for step in steps:
                    # imbalanced-learn's samplers change what is trained on only.
                    is_idle = step is None or step == "passthrough"
                    if not is_idle and not hasattr(step, "fit_resample"):
                        rows = step.transform(rows)
                made.append(rows)
            is_fixed = data_fingerprint(made[0]) == data_fingerprint(made[1])
            # The steps are kept alive, because their identity tells them from others.
            found = (made[0], (is_fixed, steps))
            self.keep(key, found)
        return found[0], found[1][0]


class FoldCache:
    """The ``memory`` of one pipeline that is fitted on one fold.

    `fold` is equal for pipelines that are fitted on the same samples.
    """

    # With this a pipeline does not clone its transformers; the caller owns the pipeline.
    location = None

    def __init__(self, store: FittedTransformers, fold: Any) -> None:
        self.store = store
        self._fold = fold
        self._n_asked = 0
        self._n_found = 0

    @property
    def was_known(self) -> bool:
        """Whether an earlier pipeline had all transformers, fitted on the same samples."""
        return 0 < self._n_asked == self._n_found

    def cache(self, function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        """Return a function that fits a transformer once, as joblib's memory does."""
        return partial(self._call, function)

    def _call(self, function: Any, transformer: Any, X: Any, y: Any, **options: Any) -> Any:
        position = self._n_asked
        self._n_asked += 1
        # Only what a pipeline is given first are the samples of the fold themselves.
        source = self._fold if position == 0 else self.store.key_of(X)
        if source is None:
            # A transformer may work in place; the samples are for others too.
            return function(transformer, copy.deepcopy(X), y, **options)
        metadata = options.get("params") or {}
        key = (
            function.__name__,
            source,
            self.store.key_of(y),
            params_fingerprint(transformer),
            # The choice of set_output is no parameter of the transformer.
            repr(vars(transformer).get("_sklearn_output_config")),
            joblib.hash(metadata) if any(metadata.values()) else None,
        )
        result = self.store.find(key)
        context = options.get("callback_ctx")
        if result is None:
            result = function(transformer, copy.deepcopy(X), y, **options)
            self.store.keep(key, result)
            return result
        self._n_found += 1
        if context is not None:
            # A task that scikit-learn's callbacks count, however short it was.
            context.call_on_fit_task_begin(estimator=options["caller"], X=X, y=y)
            context.call_on_fit_task_end(estimator=options["caller"], X=result[0], y=y)
        return result


def _n_bytes(rows: Any) -> int:
    if hasattr(rows, "memory_usage"):
        return int(np.sum(rows.memory_usage(deep=False)))
    if hasattr(rows, "estimated_size"):
        return int(rows.estimated_size())
    return int(getattr(getattr(rows, "data", rows), "nbytes", 0))


class PreparedTask(NamedTuple):
    """The fit of a task, or None with the reason why the engine cannot train its network.

    `is_exact` says whether the engine predicts the very samples that the task would. The
    reason continues "was trained alone because"; it is empty if the task has no network.
    """

    fit: Fit | None = None
    is_exact: bool = False
    reason: str = ""


_FIT_PARAMS = "its fit takes more than X, y and sample_weight"
_NOT_REACHED = "its pipeline does not call its fit with X and y"
_BEHIND_TARGETS = "a TransformedTargetRegressor fits it, from scratch in each rung"


@dataclass(frozen=True, slots=True, eq=False)
class _Joined:
    """A fit whose training and held-out samples, both transformed, are one table."""

    fit: Fit
    # The sources are kept alive, because their identity tells these samples from others.
    sources: tuple[Any, ...]
    # Whether the held-out samples among them come out alike each time.
    is_fixed: bool


class FitMaker:
    """Turns tasks of a search into fits that share what they have in common."""

    def __init__(self) -> None:
        self.transformers = FittedTransformers()
        # X and y to train and to test on by fold, while candidates are prepared: all data,
        # as often as there are folds.
        self._folds: dict[Any, tuple[Any, ...]] = {}
        # Positions are kept alive, because their identity tells one fold from the other.
        self._positions: dict[tuple[int, int], tuple[Any, Any]] = {}
        self._joined: dict[Any, _Joined] = {}
        # The scale of the latest inputs, with the samples that it was measured on.
        self._scale: tuple[Any, Any, InputScale | None] = (None, None, None)

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
        """Drop the samples joined before, unless all candidates share them."""
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
        """Return a new cache that one fit of a task's pipeline asks for transformers."""
        return FoldCache(self.transformers, self._fold_key(task))

    def make(self, task: FoldTask, name: str) -> PreparedTask:
        """Return the fit that a task requests, under a name for messages.

        Without a fit the task can only be run: it trains no network of a known class, or
        preparing it failed, as the task itself may do.
        """
        values = [task.estimator, *task.parameters.values()]
        if task.y is None or not any(network_of(value) is not None for value in values):
            is_behind = name_in_network(task.estimator, "max_epochs") is not None
            return PreparedTask(reason=_BEHIND_TARGETS if is_behind else "")
        try:
            return self._prepare(task, name)
        except Exception as error:  # noqa: BLE001 - reported, unless the task raises it
            return PreparedTask(reason=f"preparing its fit failed ({error_text(error)})")

    def _prepare(self, task: FoldTask, name: str) -> PreparedTask:
        key = self._fold_key(task)
        joined = self._joined.get(key) if _varies_network_only(task) else None
        if joined is not None:
            # An earlier candidate had the same transformers.
            step, network = task.estimator.steps[-1]
            own = {n.removeprefix(f"{step}__"): v for n, v in task.parameters.items()}
            fit = replace(joined.fit, estimator=_candidate(network, own), name=name)
            return PreparedTask(fit, joined.is_fixed)
        estimator = _candidate(task.estimator, task.parameters)
        network = network_of(estimator)
        if network is None:
            return PreparedTask()
        is_net = not isinstance(network, NetworkEstimator)
        reason = reason_against_net(network, task.X, task.y) if is_net else None
        if reason is not None:
            return PreparedTask(reason=reason)
        if network is not estimator:
            # Tasks that a transformer hands to joblib do not belong to the search.
            with joblib.parallel_config(backend="sequential"):
                return self._behind_pipeline(task, estimator, name)
        if set(task.fit_params) - (set() if is_net else {"sample_weight"}):
            return PreparedTask(reason=_FIT_PARAMS)
        fit = Fit(
            estimator=network,
            X=task.X,
            y=task.y,
            rows=task.train,
            sample_weight=task.fit_params.get("sample_weight"),
            monitor=task.test,
            name=name,
        )
        return PreparedTask(fit, is_exact=True)

    def _behind_pipeline(self, task: FoldTask, pipeline: Any, name: str) -> PreparedTask:
        key = self._fold_key(task)
        # The kernel of a candidate decides whether it gets columns of other samples.
        samples_key = (key, get_tags(pipeline).input_tags.pairwise)
        if samples_key not in self._folds:
            train, test = (task.samples(rows, pipeline) for rows in (task.train, task.test))
            self._folds[samples_key] = (*train, *test)
        X_train, y_train, X_test, y_test = self._folds[samples_key]
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
            pipeline.fit(X_train, y_train, **params)
        if not asked:
            return PreparedTask(reason=_NOT_REACHED)
        joined = self._join(network, *asked[0], pipeline, X_test, y_test, task.test)
        if _varies_network_only(task):
            self._joined[key] = joined
        # A candidate may have a network of another class, which predicts in its way, and
        # transformers may ask for metadata.
        is_exact = joined.is_fixed and not (task.fit_params or task.score_params)
        is_exact &= type(network) is type(network_of(task.estimator))
        fit = replace(joined.fit, estimator=clone(network), name=name)
        return PreparedTask(fit, is_exact)

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
        found = self._joined.get(key)
        if found is not None and weight is None:
            return found
        sources, n_train = (X, y), len(y)
        monitor, is_fixed = None, False
        try:
            X_test, is_fixed = self.transformers.held_out(pipeline, test, X_test)
            if num_samples(X_test) != len(y_test):
                raise ValueError("The transformers add or drop rows.")
            X, y = _stack(X, X_test), _stack(y, y_test)
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
        joined = _Joined(fit, sources, is_fixed)
        if weight is None:
            self._joined[key] = joined
        return joined


def _candidate(estimator: Any, parameters: Mapping[str, Any]) -> Any:
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
