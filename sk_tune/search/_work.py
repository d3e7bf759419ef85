# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Records between the parts of a search that evaluate its candidates."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sk_tune._compat import FoldTask
from sk_tune.backend import Job, value_fingerprint
from sk_tune.engine import Fit, Progress, Trained
from sk_tune.search._outcome import Outcome
from sk_tune.training import TrainingState

__all__ = ["SearchOptions", "Work", "candidate_fingerprint", "fit_name"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """How a search evaluates its candidates.

    Parameters
    ----------
    n_jobs : int or None
        Workers.
    pre_dispatch : int or str
        Of joblib, for what is no network.
    error_score : "raise" or float
        Score of what fails.
    has_callable_scoring : bool
        Whether the names of the scores are known only when something was scored.
    refit : bool, str or callable
        Names the score that decides, if there are several.
    epochs : {"last", "best"}, default="last"
        Which epoch of a network is scored.
    prefers_loss : bool, default=False
        Whether the best epoch is that of the least loss, or of the highest score.
    race : bool, default=False
        Whether candidates that are clearly worse than the best one that was given as much
        stop before they were on all folds.
    n_models_kept : int or None, default=0
        Candidates whose fitted estimators are kept, the best ones; all if None.
    n_predictions_kept : int or None, default=None
        Candidates whose predictions of held-out rows are kept, likewise.
    resource : str or None, default=None
        Name of the parameter that is the networks' number of epochs, if that is what
        rungs grant more of.
    max_resources : int, default=0
        What the schedule of the learning rate is laid out for then.
    progress : callable or None, default=None
        Called with the engine's ``Progress``.
    store : str, path-like or None, default=None
        Where the engine keeps results.
    """

    n_jobs: int | None
    pre_dispatch: int | str
    error_score: Any
    has_callable_scoring: bool
    refit: Any
    epochs: str = "last"
    prefers_loss: bool = False
    race: bool = False
    n_models_kept: int | None = 0
    n_predictions_kept: int | None = None
    resource: str | None = None
    max_resources: int = 0
    progress: Callable[[Progress], object] | None = None
    store: str | os.PathLike[str] | None = None

    @property
    def n_steps(self) -> int:
        """Trainings of each network, one after the other: all epochs, and the best."""
        return 2 if self.epochs == "best" else 1


@dataclass(slots=True, kw_only=True, eq=False)
class Work:
    """A task of a search on its way from joblib to its result.

    `row` is the candidate's result row; `fit` is None for what is no network. `key` is
    equal for the fits of a candidate in all rungs (first part) and on one fold (second
    part), None if nothing is resumed. `n_epochs` are those behind the network afterwards,
    `n_epochs_before` those that earlier rungs granted, `n_epochs_again` those trained once
    more to get to the best one. `state` is what the network adopts: that of another epoch
    than `trained` with epochs="best".
    """

    job: Job
    task: FoldTask
    row: int
    fit: Fit | None = None
    key: tuple[Any, Any] | None = None
    n_epochs: int = 0
    n_epochs_before: int = 0
    n_epochs_again: int = 0
    trained: Trained | None = None
    state: TrainingState | None = None
    outcome: Outcome | None = None
    model: Any = None
    is_ahead: bool = False


def fit_name(row: int, fold: int) -> str:
    """Return what the engine calls a fit in its messages, without a colon."""
    return f"candidate {row}, fold {fold}"


def candidate_fingerprint(params: Mapping[str, Any], *, without: str | None) -> Any:
    """Return a key that is equal for a candidate in all of its rungs.

    `without` is the parameter of which rungs grant more.
    """
    names = sorted(name for name in params if name != without)
    return tuple((name, value_fingerprint(params[name])) for name in names)
