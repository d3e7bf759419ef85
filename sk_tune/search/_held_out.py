# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Held-out rows behind a pipeline's transformers, transformed once for all candidates.

scikit-learn scores a candidate by handing the held-out rows to its pipeline.  Candidates
that share their fitted transformers would transform the same rows again and again.
"""

import copy
from typing import Any

import torch
from sklearn.pipeline import Pipeline

from sk_tune._compat import last_step_scorer
from sk_tune.backend import data_fingerprint
from sk_tune.estimators import NetworkEstimator
from sk_tune.search._fold_cache import FittedTransformers

__all__ = ["HeldOutRows", "transformed"]


class HeldOutRows:
    """Remembers what fitted transformers make of the held-out samples of folds.

    The result is used in place of a pipeline's transformers only after a pipeline has made
    the same twice, so that what is random in ``transform`` stays random.
    """

    def __init__(self, store: FittedTransformers) -> None:
        self._store = store

    def remember(self, pipeline: Any, test: Any, rows: Any) -> Any:
        """Take note of transformed samples, and return a key for :meth:`always_come_out`.

        The caller keeps `test`, their positions, alive.
        """
        key = _key(pipeline, test)
        if self._store.find(key) is None:
            self._store.keep(key, (rows, _Source(pipeline.steps[:-1])))
        return key

    def always_come_out(self, key: Any) -> bool:
        """Return whether transformed samples are known to be the same each time.

        False also if nobody has asked for them a second time yet.
        """
        return self._fixed_rows(key) is not None

    def known_rows(self, pipeline: Any, test: Any) -> Any:
        """Return the transformed samples of a fold, not to be written to, or None.

        None unless they are known to come out the same each time.
        """
        return self._fixed_rows(_key(pipeline, test))

    def _fixed_rows(self, key: Any) -> Any:
        found = self._store.find(key)
        return found[0] if found is not None and found[1].is_fixed else None

    def scorer(self, scorer: Any, test: Any) -> Any:
        """Return a scorer for one task that gives what another one does, faster if it can.

        `test` are the positions that the first call is to score. The result is `scorer`
        itself if it may look at more than predictions.
        """
        return last_step_scorer(scorer, _Once(self, test))

    def rows(self, pipeline: Any, test: Any, X: Any) -> Any:
        """Return a fold's samples as a fitted pipeline's last step gets them.

        None if they are to be transformed each time.
        """
        found = self._store.find(_key(pipeline, test))
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


class _Source:
    """Where transformed rows come from, and whether they always come out alike."""

    def __init__(self, steps: Any) -> None:
        # Kept alive, because they are told from others by their identity.
        self.steps = steps
        self.is_fixed: bool | None = None


class _Once:
    """Finds the last step and its rows for the first call of a scorer.

    Later calls are for the training rows.
    """

    def __init__(self, held_out: HeldOutRows, test: Any) -> None:
        self._held_out = held_out
        self._test = test

    def __call__(self, estimator: Any, X: Any) -> tuple[Any, Any]:
        test, self._test = self._test, None
        rows = None
        if test is not None and type(estimator) is Pipeline:
            rows = self._held_out.rows(estimator, test, X)
        return (estimator, X) if rows is None else (estimator.steps[-1][1], rows)


def transformed(pipeline: Any, X: Any) -> Any:
    """Return samples as the last step of a pipeline gets them."""
    for _, step in pipeline.steps[:-1]:
        # imbalanced-learn's samplers change what is trained on only.
        if step is not None and step != "passthrough" and not hasattr(step, "fit_resample"):
            X = step.transform(X)
    return X


def _key(pipeline: Any, test: Any) -> Any:
    return (id(test), *(id(step) for _, step in pipeline.steps[:-1]))


def _copy(rows: Any) -> Any:
    return rows.clone() if isinstance(rows, torch.Tensor) else copy.deepcopy(rows)
