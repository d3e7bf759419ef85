# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Fits of an ensemble's members: all at once as fleets, or stage by stage."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Any

import joblib
from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter
from skorch import NeuralNet

from sk_tune._adoption import FitRequested, adopter, adoption
from sk_tune._backend import CollectingBackend, Recorder, asking_nets
from sk_tune._compat import get_active_backend
from sk_tune._engine import Fit, train, value_fingerprint
from sk_tune._estimators import NetworkEstimator
from sk_tune._nesting import innermost, last_step


def fit_members(
    estimators: Sequence[Any],
    X: Any,
    y: Any,
    *,
    epochs: Sequence[int | None] | None = None,
    fit_params: Mapping[str, Any] | None = None,
    n_jobs: int | None = None,
) -> list[Any]:
    """Return estimators fitted on all samples, in place or as copies of a worker process.

    Networks train together. `epochs` are the epochs of each network; None means
    ``max_epochs``, which the schedule spans in either case. Raises ValueError if `epochs`
    are given for an estimator without a network.
    """
    if isinstance(adopter(), Recorder):
        # These members train together by themselves, so no fit is recorded.
        raise FitRequested
    params = dict(fit_params or {})
    fitted: dict[int, Any] = dict(enumerate(estimators))
    with asking_nets(), adoption(None):
        fits = {}
        for i, estimator in fitted.items():
            request = _requested(estimator, X, y, params)
            if request is not None:
                n_epochs = None if epochs is None else epochs[i]
                fits[i] = replace(request, n_epochs=n_epochs, name=f"member {i}")
        alone = [i for i in fitted if i not in fits]
        if epochs is not None and any(epochs[i] is not None for i in alone):
            raise ValueError(
                "Only networks of sk_tune can be trained for a given number of epochs."
            )
        tasks = (joblib.delayed(_fit)(estimators[i], X, y, params) for i in alone)
        fitted |= zip(alone, joblib.Parallel(n_jobs=n_jobs)(tasks), strict=True)
        _train(fits.values(), n_jobs)
    return [*fitted.values()]


def _fit(estimator: Any, X: Any, y: Any, params: Mapping[str, Any]) -> Any:
    with adoption(None):
        return estimator.fit(X, y, **params)


def _requested(estimator: Any, X: Any, y: Any, params: Mapping[str, Any]) -> Fit | None:
    """Return the training that the network at the end of an estimator requests."""
    last, requests = innermost(estimator), []

    def record(network: Any, X: Any, y: Any, sample_weight: Any) -> None:
        if network is last:
            requests.append(Fit(estimator=network, X=X, y=y, sample_weight=sample_weight))
        raise FitRequested

    if hasattr(last, "max_epochs"):
        with adoption(record), suppress(FitRequested):
            estimator.fit(X, y, **params)
    return requests[0] if requests else None


def _train(fits: Iterable[Fit], n_jobs: int | None) -> None:
    """Fit networks in place; the engine stores equal data once."""
    first_of_equal: dict[Any, Any] = {}

    def shared(data: Any) -> Any:
        return first_of_equal.setdefault(value_fingerprint(data), data)

    fits = [replace(fit, X=shared(fit.X), y=shared(fit.y)) for fit in fits]
    for fit, trained in zip(fits, train(fits, n_jobs=n_jobs), strict=True):
        weight = fit.sample_weight
        params = {} if weight is None else {"sample_weight": weight}
        # A failed training has no state: the network trains alone and raises its error.
        with adoption(lambda *_, state=trained.state: state):
            fit.estimator.fit(fit.X, fit.y, **params)


def has_network(estimator: Any) -> bool:
    """Return whether an estimator is a network, or has one among its parameters."""
    parts = [estimator]
    if hasattr(estimator, "get_params"):
        parts += estimator.get_params(deep=True).values()
    return any(isinstance(part, NetworkEstimator | NeuralNet) for part in parts)


def fit_stage(stage: Any, X: Any, y: Any, sample_weight: Any) -> None:
    """Fit an estimator in place; inside ``fleet()``, all tasks train together."""
    params = {}
    if sample_weight is not None:
        last = last_step(stage)
        if not has_fit_parameter(last, "sample_weight"):
            raise ValueError(
                f"sample_weight needs stages that accept weights. {type(last).__name__} "
                "does not accept them."
            )
        prefix = "" if last is stage else f"{stage.steps[-1][0]}__"
        params[f"{prefix}sample_weight"] = sample_weight
    target = y[:, 0] if y.shape[1] == 1 else y
    is_in_block = isinstance(get_active_backend()[0], CollectingBackend)
    # The backend of an active block trains the networks of all tasks.
    with nullcontext() if is_in_block and adopter() is not None else adoption(None):
        stage.fit(X, target, **params)


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
