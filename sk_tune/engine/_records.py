# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What goes into the engine and what comes out."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sk_tune.training import TrainingState, seed_of_state

__all__ = ["Fit", "Trained"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """One network to train.

    Parameters
    ----------
    estimator : estimator
        One of sk_tune's, or a plain skorch net; its parameters are what is trained.  It is
        not changed.
    X : array-like, frame or tensor of shape (n_samples, ...)
        Features.  Fits that hold the same object share it.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    rows : ndarray of shape (n_train,) or None, default=None
        Positions of the rows to train on; all if None.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Weights of all rows.
    seed : int, bytes or None, default=None
        Source of all random numbers; if None it comes from the estimator's
        ``random_state``.  A plain skorch net may begin with a state of torch's global
        generator instead, as bytes.
    n_epochs : int or None, default=None
        Epochs to train now; the estimator's ``max_epochs`` if None.  The schedule of the
        learning rate is laid out for ``max_epochs`` either way.
    monitor : ndarray of shape (n_monitor,) or None, default=None
        Positions of rows that the network is scored on after each epoch and predicts at
        the end.  They change nothing in the training.
    state : TrainingState or None, default=None
        Where an earlier training of the same fit stands, to go on from.
    name : str, default=""
        What messages call the fit, for example "candidate 3, fold 1".
    keeps_checkpoints : bool, default=False
        Whether to return where the fit stood after some of its epochs, as far as there is
        memory.
    checkpoint : TrainingState or None, default=None
        Where this very fit stood after some of its epochs, when it was trained before.  It
        goes on from there, which saves time and changes nothing.
    """

    estimator: Any
    X: Any
    y: Any
    rows: Array | None = None
    sample_weight: Any = None
    seed: int | bytes | None = None
    n_epochs: int | None = None
    monitor: Array | None = None
    state: TrainingState | None = None
    name: str = ""
    keeps_checkpoints: bool = False
    checkpoint: TrainingState | None = None

    @property
    def seed_number(self) -> int:
        """The seed, or what tells the state of a generator apart."""
        return seed_of_state(seed) if isinstance(seed := self.seed, bytes) else seed or 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """What became of a fit.

    Parameters
    ----------
    status : {"trained", "failed"}
        A fit that failed has a `message`, and no state.
    state : TrainingState or None
        Weights, optimizer state and history: all that training needs to go on.
    predictions : ndarray of shape (n_monitor,) or (n_monitor, n_outputs) or None
        On the monitor rows: ``predict_proba`` of a classifier, ``predict`` of a regressor.
    message : str
        Why the fit failed; empty if it did not.
    seconds : float
        Time that the training took; a fleet's time is shared among its rows.
    engine : {"fleet", "reference"}
        Which engine trained it.
    solo_reason : str, default=""
        Why no fleet could carry the fit; empty if one did, or none was asked for.
    is_loaded : bool, default=False
        Whether it was trained before, and comes from a store.
    is_cut : bool, default=False
        Whether the time was up before its last epoch: `state` is that after those that it
        had, or None.  A store does not have it.
    checkpoints : tuple of TrainingState, default=()
        Where the fit stood after some of its epochs, if it was to keep them and a fleet
        carried it.  A store does not have them.
    """

    status: Literal["trained", "failed"]
    state: TrainingState | None
    predictions: Array | None
    message: str
    seconds: float
    engine: Literal["fleet", "reference"]
    solo_reason: str = ""
    is_loaded: bool = False
    is_cut: bool = False
    checkpoints: tuple[TrainingState, ...] = ()

    @property
    def train_loss(self) -> npt.NDArray[np.float64]:
        """Loss on the training rows in each epoch, as it ran."""
        return self._curve("train_loss")

    @property
    def monitor_loss(self) -> npt.NDArray[np.float64]:
        """Loss on the monitor rows after each epoch."""
        return self._curve("monitor_loss")

    @property
    def monitor_score(self) -> npt.NDArray[np.float64]:
        """Accuracy or R^2 on the monitor rows after each epoch."""
        return self._curve("monitor_score")

    def _curve(self, name: str) -> npt.NDArray[np.float64]:
        return np.empty(0) if self.state is None else self.state.curve(name)
