# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Fits of an ensemble's members: all at once as fleets, or stage by stage."""

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

import joblib
from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter
from skorch import NeuralNet

from sk_tune._adoption import FitRequested, adopter, adoption
from sk_tune._backend import CollectingBackend, Recorder, asking_nets
from sk_tune._compat import get_active_backend
from sk_tune._engine import Fit, Trained, train, value_fingerprint
from sk_tune._estimators import NetworkEstimator
from sk_tune._nesting import innermost, last_step


def fit_members(
    estimators: Sequence[Any],
    X: Any,
    y: Any,
    *,
    epochs: Sequence[Sequence[int] | None] | None = None,
    fit_params: Mapping[str, Any] | None = None,
    n_jobs: int | None = None,
) -> list[list[Any]]:
    """Fit estimators on all samples in place; networks train together.

    `epochs` lists, for each estimator, the ascending epochs after which a copy is wanted;
    None means ``max_epochs``, which the schedule refers to in either case. Returns for each
    estimator a fitted copy per epoch. Raises ValueError if epochs are requested of an
    estimator that is not a network.
    """
    if isinstance(adopter(), Recorder):
        # These members train together by themselves; there is no fit to record.
        raise FitRequested
    params = dict(fit_params or {})
    epochs = [None] * len(estimators) if epochs is None else epochs
    with asking_nets(), adoption(None):
        requests = {}
        for i, estimator in enumerate(estimators):
            network = innermost(estimator)
            if hasattr(network, "max_epochs"):
                request = _Request(member=estimator)
                with adoption(request), suppress(FitRequested):
                    estimator.fit(X, y, **params)
                if request.network is network:
                    requests[i] = request
        remaining = [i for i in range(len(estimators)) if i not in requests]
        if any(epochs[i] is not None for i in remaining):
            raise ValueError("Epochs can only be asked of a network of sk_tune.")
        parallel = joblib.Parallel(n_jobs=n_jobs)
        tasks = (joblib.delayed(_fit)(estimators[i], X, y, params) for i in remaining)
        fitted = {i: [member] for i, member in zip(remaining, parallel(tasks), strict=True)}
        fitted |= _train_requests(requests, epochs, n_jobs)
    return [fitted[i] for i in range(len(estimators))]


def _fit(estimator: Any, X: Any, y: Any, params: Mapping[str, Any]) -> Any:
    with adoption(None):
        return estimator.fit(X, y, **params)


@dataclass(slots=True, kw_only=True, eq=False)
class _Request:
    """The training that the network at the end of a member requested."""

    member: Any
    network: Any = None
    X: Any = None
    y: Any = None
    sample_weight: Any = None

    def __call__(self, estimator: Any, X: Any, y: Any, sample_weight: Any) -> Any:
        self.network, self.X, self.y = estimator, X, y
        self.sample_weight = sample_weight
        raise FitRequested

    def fitted(self, trained: Trained) -> Any:
        member = copy.deepcopy(self.member)
        params = {}
        if self.sample_weight is not None:
            params["sample_weight"] = self.sample_weight
        # A failed training has no state: the network is then trained alone and raises its
        # own error.
        with adoption(lambda *_: trained.state):
            innermost(member).fit(self.X, self.y, **params)
        return member


def _train_requests(
    requests: Mapping[int, _Request],
    epochs: Sequence[Sequence[int] | None],
    n_jobs: int | None,
) -> dict[int, list[Any]]:
    """Train the networks until every member has reached each of its epochs."""
    first_of_equal: dict[Any, Any] = {}

    def shared(data: Any) -> Any:
        """Return one object for equal data, so that the engine stores it once."""
        return first_of_equal.setdefault(value_fingerprint(data), data)

    fits = {
        i: Fit(
            estimator=request.network,
            X=shared(request.X),
            y=shared(request.y),
            sample_weight=request.sample_weight,
            name=f"member {i}",
        )
        for i, request in requests.items()
    }
    fitted: dict[int, list[Any]] = {i: [] for i in requests}
    waiting = list(requests)
    while waiting:
        for i in waiting:
            targets, n_done = epochs[i], len(fitted[i])
            if targets is not None:
                n_epochs = targets[n_done - 1] if n_done else 0
                fits[i] = replace(fits[i], n_epochs=targets[n_done] - n_epochs)
        results = train([fits[i] for i in waiting], n_jobs=n_jobs)
        for i, trained in zip(waiting, results, strict=True):
            fits[i] = replace(fits[i], state=trained.state)
            fitted[i].append(requests[i].fitted(trained))
        waiting = [i for i in waiting if len(fitted[i]) < len(epochs[i] or [0])]
    return fitted


def has_network(estimator: Any) -> bool:
    """Return whether an estimator is a network, or has one among its parameters."""
    parts = [estimator]
    if hasattr(estimator, "get_params"):
        parts += estimator.get_params(deep=True).values()
    return any(isinstance(part, NetworkEstimator | NeuralNet) for part in parts)


def fit_stage(stage: Any, X: Any, y: Any, sample_weight: Any = None) -> Any:
    """Fit an estimator in place and return it; inside ``fleet()`` all tasks join in."""
    params = {}
    if sample_weight is not None:
        last = last_step(stage)
        if not has_fit_parameter(last, "sample_weight"):
            raise ValueError(
                "sample_weight needs stages that take weights. "
                f"{type(last).__name__} does not."
            )
        prefix = "" if last is stage else f"{stage.steps[-1][0]}__"
        params[f"{prefix}sample_weight"] = sample_weight
    target = y[:, 0] if y.shape[1] == 1 else y
    is_in_block = isinstance(get_active_backend()[0], CollectingBackend)
    # The backend of an active block trains the networks of all tasks.
    context = nullcontext() if is_in_block and adopter() is not None else adoption(None)
    with context:
        return stage.fit(X, target, **params)


def asks_for_types(estimator: Any) -> bool:
    """Return whether an estimator finds its categorical columns by the dtypes of X.

    True for networks for tables without explicit columns; False for pipelines, because the
    columns that reach the last step are unknown.
    """
    features = getattr(estimator, "categorical_features", None)
    is_network = isinstance(estimator, NetworkEstimator)
    return is_network and isinstance(features, str) and features == "from_dtype"


def with_categories(estimator: Any, positions: Sequence[int]) -> Any:
    """Return an estimator with explicit categorical columns, which arrays cannot mark."""
    if not positions or not asks_for_types(estimator):
        return estimator
    return clone(estimator).set_params(categorical_features=list(positions))
