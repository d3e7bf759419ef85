# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Transformers of pipelines, fitted once for each fold, and samples held out from them."""

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import joblib
import numpy as np
import torch
from sklearn.pipeline import Pipeline

from sk_tune._compat import last_step_scorer
from sk_tune.backend import data_fingerprint, params_fingerprint
from sk_tune.estimators import NetworkEstimator

# Beyond this many bytes of transformed samples the results that were not used for longest
# go.
_MOST_BYTES = 2**30


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
        """Return the result for a key, or None."""
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


class FoldCache:
    """The ``memory`` of one pipeline that is fitted on one fold.

    `fold` is equal for pipelines that are fitted on the same samples. `known` holds the
    pipeline's transformers by position; what is not there is found out and added, so that
    pipelines with equal transformers may share it.
    """

    # With this a pipeline does not clone its transformers; the caller owns the pipeline.
    location = None

    def __init__(self, store: FittedTransformers, fold: Any, known: dict[int, Any]) -> None:
        self._store = store
        self._fold = fold
        self._known = known
        self._n_asked = 0

    def cache(self, function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        """Return a function that fits a transformer once, as joblib's memory does."""
        return partial(self._call, function)

    def _call(self, function: Any, transformer: Any, X: Any, y: Any, **options: Any) -> Any:
        position = self._n_asked
        self._n_asked += 1
        # Only what a pipeline is given first are the samples of the fold themselves.
        source = self._fold if position == 0 else self._store.key_of(X)
        if source is None:
            # A transformer may work in place; the samples are for others too.
            return function(transformer, copy.deepcopy(X), y, **options)
        if position not in self._known:
            # The choice of set_output is no parameter of the transformer.
            output = repr(vars(transformer).get("_sklearn_output_config"))
            self._known[position] = (params_fingerprint(transformer), output)
        metadata = options.get("params") or {}
        key = (
            function.__name__,
            source,
            self._store.key_of(y),
            self._known[position],
            joblib.hash(metadata) if any(metadata.values()) else None,
        )
        result = self._store.find(key)
        context = options.get("callback_ctx")
        if result is None:
            result = function(transformer, copy.deepcopy(X), y, **options)
            self._store.keep(key, result)
        elif context is not None:
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


class HeldOutRows:
    """Remembers what fitted transformers make of the held-out samples of folds.

    The result is used in place of a pipeline's transformers only after a pipeline has made
    the same twice, so that what is random in ``transform`` stays random.
    """

    def __init__(self, store: FittedTransformers) -> None:
        self._store = store

    def remember(self, pipeline: Any, test: Any, rows: Any) -> Any:
        """Take note of transformed samples, and return a key for :meth:`fixed_rows`.

        The caller keeps `test`, their positions, alive.
        """
        key = self.key_of(pipeline, test)
        if self._store.find(key) is None:
            self._store.keep(key, (rows, _Source(pipeline.steps[:-1])))
        return key

    def key_of(self, pipeline: Any, test: Any) -> Any:
        """Return what tells a fold behind fitted transformers from all others."""
        return (id(test), *(id(step) for _, step in pipeline.steps[:-1]))

    def fixed_rows(self, key: Any) -> Any:
        """Return transformed samples, not to be written to, that always come out alike.

        None also if nobody has asked for them a second time yet.
        """
        found = self._store.find(key)
        return found[0] if found is not None and found[1].is_fixed else None

    def scorer(self, scorer: Any, test: Any) -> Any:
        """Return a scorer for one task that gives what another one does, faster if it can.

        `test` are the positions that the first call is to score. The result is `scorer`
        itself if it may look at more than predictions.
        """
        positions = [test]

        def last_step(estimator: Any, X: Any) -> tuple[Any, Any]:
            rows = None
            # Later calls are for the training samples.
            if positions and type(estimator) is Pipeline:
                rows = self.rows(estimator, positions.pop(), X)
            positions.clear()
            return (estimator, X) if rows is None else (estimator.steps[-1][1], rows)

        return last_step_scorer(scorer, last_step)

    def rows(self, pipeline: Any, test: Any, X: Any) -> Any:
        """Return a fold's samples as a fitted pipeline's last step gets them.

        None if they are to be transformed each time.
        """
        found = self._store.find(self.key_of(pipeline, test))
        if found is None:
            return None
        rows, source = found
        if source.is_fixed is None:
            again = transformed(pipeline, X)
            source.is_fixed = data_fingerprint(again) == data_fingerprint(rows)
            return again
        if not source.is_fixed:
            return None
        # A module of a user's may work in place.
        return rows if isinstance(pipeline.steps[-1][1], NetworkEstimator) else _copy(rows)


@dataclass(slots=True, eq=False)
class _Source:
    """Where transformed samples come from, and whether they always come out alike."""

    # The steps are kept alive, because their identity tells them from others.
    steps: Any
    is_fixed: bool | None = None


def transformed(pipeline: Any, X: Any) -> Any:
    """Return samples as the last step of a pipeline gets them."""
    for _, step in pipeline.steps[:-1]:
        # imbalanced-learn's samplers change what is trained on only.
        if step is not None and step != "passthrough" and not hasattr(step, "fit_resample"):
            X = step.transform(X)
    return X


def _copy(rows: Any) -> Any:
    return rows.clone() if isinstance(rows, torch.Tensor) else copy.deepcopy(rows)
