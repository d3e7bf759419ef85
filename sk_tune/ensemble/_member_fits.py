# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Fits of an ensemble's members: several at once as fleets, or stage after stage."""

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import joblib
import numpy.typing as npt
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from sk_tune._compat import get_active_backend
from sk_tune.adoption import FitRequested, adopter, adoption
from sk_tune.backend import AskingNets, CollectingBackend, Recorder, value_fingerprint
from sk_tune.engine import Fit, Trained, train
from sk_tune.estimators import NetworkEstimator, first_seed
from sk_tune.training import TrainingState

__all__ = ["asks_for_types", "fit_members", "fit_stage", "last_step", "with_categories"]

Array = npt.NDArray[Any]


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

    `epochs` are, for each estimator, the ascending epochs after which it is wanted (None
    for ``max_epochs``, for which the schedule is laid out either way). Returns for each
    estimator one that is fitted for each of its epochs. Raises ValueError if epochs are
    asked of what trains no network.
    """
    if isinstance(adopter(), Recorder):
        # Members train together by themselves: there is nothing to note.
        raise FitRequested
    params = dict(fit_params or {})
    epochs = [None] * len(estimators) if epochs is None else list(epochs)
    networks = [_ends_in_what_may_ask(estimator) for estimator in estimators]
    with AskingNets(), adoption(None):
        asked = [
            _ask(estimator, X, y, params) if is_network else None
            for estimator, is_network in zip(estimators, networks, strict=True)
        ]
        plain = [i for i, own in enumerate(asked) if own is None]
        if any(epochs[i] is not None for i in plain):
            raise ValueError("Epochs can only be asked of a network of sk_tune.")
        fitted: dict[int, list[Any]] = {
            i: [own]
            for i, own in zip(
                plain,
                joblib.Parallel(n_jobs=n_jobs)(
                    joblib.delayed(_fit)(estimators[i], X, y, params) for i in plain
                ),
                strict=True,
            )
        }
        rows = {i: own for i, own in enumerate(asked) if own is not None}
        fitted |= _train_together({i: (own, epochs[i]) for i, own in rows.items()}, n_jobs)
    return [fitted[i] for i in range(len(estimators))]


@dataclass(slots=True, kw_only=True, eq=False)
class _AskedNetwork:
    """A network that asked for its training, and left."""

    container: Any
    network: Any = None
    X: Any = None
    y: Any = None
    sample_weight: Any = None

    def __call__(self, estimator: Any, X: Any, y: Any, sample_weight: Any) -> Any:
        self.network, self.X, self.y = estimator, X, y
        self.sample_weight = sample_weight
        raise FitRequested

    def fitted(self, trained: Trained) -> Any:
        """Return a copy of the container whose network has a training."""
        container = copy.deepcopy(self.container)
        params = {}
        if self.sample_weight is not None:
            params["sample_weight"] = self.sample_weight
        # A training that failed has no state: the network then trains by itself, and fails
        # with its own error.
        with adoption(lambda *_: trained.state):
            last_step(container).fit(self.X, self.y, **params)
        return container


def _ask(estimator: Any, X: Any, y: Any, params: Mapping[str, Any]) -> _AskedNetwork | None:
    """Return what the network at the end of an estimator asked for, if it did."""
    asked = _AskedNetwork(container=estimator)
    with adoption(asked), suppress(FitRequested):
        estimator.fit(X, y, **params)
    return asked if asked.network is last_step(estimator) else None


def _train_together(
    members: Mapping[int, tuple[_AskedNetwork, Sequence[int] | None]], n_jobs: int | None
) -> dict[int, list[Any]]:
    """Train what was asked for, and go on until every member has its epochs."""
    shared: dict[Any, Any] = {}
    fits = {
        i: Fit(
            estimator=asked.network,
            X=_shared(asked.X, shared),
            y=_shared(asked.y, shared),
            sample_weight=asked.sample_weight,
            name=f"member {i}",
        )
        for i, (asked, _) in members.items()
    }
    fitted: dict[int, list[Any]] = {i: [] for i in members}
    states: dict[int, Any] = dict.fromkeys(members)
    waiting = list(members)
    while waiting:
        now = [_next(fits[i], members[i][1], len(fitted[i]), states[i]) for i in waiting]
        for i, trained in zip(waiting, train(now, n_jobs=n_jobs), strict=True):
            states[i] = trained.state
            fitted[i].append(members[i][0].fitted(trained))
        waiting = [i for i in waiting if len(fitted[i]) < len(members[i][1] or [0])]
    return fitted


def _next(fit: Fit, epochs: Sequence[int] | None, n_done: int, state: Any) -> Fit:
    """Return the fit that goes on from a state to the next epoch that is wanted."""
    if epochs is None:
        return fit
    before = epochs[n_done - 1] if n_done else 0
    return Fit(
        estimator=fit.estimator,
        X=fit.X,
        y=fit.y,
        sample_weight=fit.sample_weight,
        n_epochs=epochs[n_done] - before,
        state=state,
        name=fit.name,
    )


def _shared(data: Any, known: dict[Any, Any]) -> Any:
    """Return one object for equal data, which the engine then stores once."""
    return known.setdefault(value_fingerprint(data), data)


def _fit(estimator: Any, X: Any, y: Any, params: Mapping[str, Any]) -> Any:
    with adoption(None):
        return estimator.fit(X, y, **params)


def last_step(estimator: Any) -> Any:
    """Return the last step of a pipeline, or the estimator if it is none."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def _ends_in_what_may_ask(estimator: Any) -> bool:
    return hasattr(last_step(estimator), "max_epochs")


def fit_stage(stage: Any, X: Any, y: Any, sample_weight: Any = None) -> Any:
    """Fit an estimator in place and return it.

    Raises ValueError if there are weights that the estimator does not take.
    """
    params = {} if sample_weight is None else {_weight_name(stage): sample_weight}
    target = y[:, 0] if y.shape[1] == 1 else y
    is_in_block = isinstance(get_active_backend()[0], CollectingBackend)
    # Who answers in a block trains for all of its tasks.
    asked = nullcontext() if is_in_block and adopter() is not None else adoption(_train)
    with asked:
        return stage.fit(X, target, **params)


def _weight_name(stage: Any) -> str:
    last = stage.steps[-1][1] if isinstance(stage, Pipeline) else stage
    if not has_fit_parameter(last, "sample_weight"):
        raise ValueError(
            f"sample_weight needs stages that take weights. {type(last).__name__} does not."
        )
    return "sample_weight" if last is stage else f"{stage.steps[-1][0]}__sample_weight"


def _train(estimator: Any, X: Any, y: Any, sample_weight: Any) -> TrainingState | None:
    """Train a network that asks for it; None lets it train and fail by itself."""
    if not isinstance(estimator, NetworkEstimator):
        return None
    fit = Fit(
        estimator=estimator,
        X=X,
        y=y,
        sample_weight=sample_weight,
        seed=first_seed(estimator),
    )
    with adoption(None):
        (trained,) = train([fit], n_jobs=1)
    return trained.state


def asks_for_types(estimator: Any) -> bool:
    """Return whether an estimator takes its category columns from the types of X.

    True for networks for tables, unless they are told their columns; of a pipeline nobody
    knows which columns its last step gets.
    """
    given = getattr(estimator, "categorical_features", None)
    is_network = isinstance(estimator, NetworkEstimator)
    return is_network and isinstance(given, str) and given == "from_dtype"


def with_categories(estimator: Any, positions: Sequence[int]) -> Any:
    """Return an estimator that is told which `positions` hold categories.

    It would have read them from a frame; the result is the estimator itself if there is
    nothing to tell.
    """
    if not positions or not asks_for_types(estimator):
        return estimator
    return clone(estimator).set_params(categorical_features=list(positions))
