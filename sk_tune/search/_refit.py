# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The refit of a search: how its network is trained."""

from typing import Any

from sklearn.base import clone

from sk_tune.adoption import adoption
from sk_tune.engine import Fit, train
from sk_tune.estimators import NetworkEstimator
from sk_tune.search._networks import network_of
from sk_tune.search._session import SearchSession
from sk_tune.training import TrainingState

__all__ = ["RefitTrainer"]

# What trains faster than this in a fold has layers so small that more threads do not help,
# and hinder much where others use the cores too.
_SECONDS_IN_ONE_THREAD = 5.0


class RefitTrainer:
    """Trains the chosen network as its candidate was, for the refit to adopt.

    Other networks, such as those in transformers before it, train as ever.
    """

    def __init__(self, search: Any, session: SearchSession) -> None:
        self._search = search
        self._session = session

    def __call__(
        self, estimator: Any, X: Any, y: Any, sample_weight: Any
    ) -> TrainingState | None:
        search, session = self._search, self._session
        chosen = network_of(getattr(search, "best_estimator_", None))
        if estimator is not chosen:
            return None
        own = clone(estimator)
        row = search.best_index_
        n_epochs = session.time.n_epochs_of_cut.get(row, session.best_epochs.get(row))
        if not isinstance(estimator, NetworkEstimator) and n_epochs is None:
            # skorch trains its nets by itself, unless they are to stop at another epoch.
            return None
        resource = session.options.resource
        if resource is not None and resource in search.best_params_:
            n_epochs = n_epochs or int(own.max_epochs)
            own.set_params(max_epochs=session.options.max_resources)
        folds = session.outcomes[search.best_index_]
        seconds = max((outcome.seconds for outcome in folds), default=0.0)
        if n_epochs is None and seconds > _SECONDS_IN_ONE_THREAD:
            return None
        fit = Fit(estimator=own, X=X, y=y, sample_weight=sample_weight, n_epochs=n_epochs)
        with adoption(None):
            (trained,) = train([fit], engine="reference")
        if trained.is_cut and trained.state is not None:
            n_done, n_asked = len(trained.state.history), n_epochs or own.max_epochs
            session.time.cut_refit = f"after {n_done} of {n_asked} epochs"
        # Without a state the network trains by itself, and fails with its own error.
        return trained.state
