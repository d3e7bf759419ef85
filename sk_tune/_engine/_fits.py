# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Results of the engine, and the progress of a call."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sk_tune._estimators import Fit
from sk_tune._fleets import NetworkOutcome
from sk_tune.exceptions import SkTuneError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained(NetworkOutcome):
    """Result of a fit.

    Parameters
    ----------
    state : TrainingState or None, default=None
        Weights, optimizer state and history, from which training can continue.
    predictions : ndarray of shape (n_monitor, ...) or None, default=None
        On the monitor samples: ``predict_proba`` of a classifier, ``predict`` of a
        regressor.
    train_predictions : ndarray of shape (n_train, ...) or None, default=None
        The same on the training samples, if the fit asked for it and a fleet carried it.
        Not stored.
    message : str, default=""
        Why the fit failed; else empty.
    seconds : float
        Training time; the networks of a fleet share its time equally.
    is_cut : bool, default=False
        Whether the time limit ended the fit early. `state` is then the state after its last
        epoch, or None.  Not stored.
    checkpoints : tuple of TrainingState, default=()
        States after some of the epochs, if the fit keeps checkpoints and a fleet carried
        it.  Not stored.
    status : {"trained", "failed"}
        A failed fit has a `message` and no state.
    engine : {"fleet", "alone"}
        Which engine trained it.
    alone_reason : str, default=""
        Why the fit was trained alone; empty if a fleet trained it, or if training alone was
        requested.
    way : str, default=""
        How a fleet trained it, such as "by the kernel", and why a faster way was not
        possible. Empty for fits trained alone or loaded from a store.
    is_lost : bool, default=False
        Whether the fit failed because its worker process died.
    is_loaded : bool, default=False
        Whether the result comes from a store.
    """

    status: Literal["trained", "failed"]
    engine: Literal["fleet", "alone"]
    alone_reason: str = ""
    way: str = ""
    is_lost: bool = False
    is_loaded: bool = False

    @property
    def train_loss(self) -> npt.NDArray[np.float64]:
        """Training loss of each epoch, averaged over its batches."""
        return np.empty(0) if self.state is None else self.state.curve("train_loss")

    @property
    def monitor_loss(self) -> npt.NDArray[np.float64]:
        """Loss on the monitor samples after each epoch."""
        return np.empty(0) if self.state is None else self.state.curve("monitor_loss")

    @property
    def monitor_score(self) -> npt.NDArray[np.float64]:
        """Accuracy or R^2 on the monitor samples after each epoch."""
        return np.empty(0) if self.state is None else self.state.curve("monitor_score")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of a call that trains many fits.

    Parameters
    ----------
    n_fits : int
        Number of requested fits.
    n_fits_done : int
        Number of trained and failed fits.
    n_epochs : int
        Total epochs of all fits, without early stopping.
    n_epochs_done : int
        Epochs trained or saved by early stopping.
    best_score : float
        Best final monitor score of the fits that ended; NaN before the first.
    seconds : float
        Time since the start.
    seconds_left : float
        Remaining time, estimated from the epochs done; NaN before the first.
    n_fits_elsewhere : int, default=0
        Number of fits of other processes with the same store that this process waits
        for; 0 while it trains.
    """

    n_fits: int
    n_fits_done: int
    n_epochs: int
    n_epochs_done: int
    best_score: float
    seconds: float
    seconds_left: float
    n_fits_elsewhere: int = 0


def late(fit: Fit, engine: str) -> Trained:
    """Return the result of a fit that the time limit left untrained."""
    result = failed(fit, "The time was up before it was trained.", 0.0, engine)
    return replace(result, is_cut=True)


def failed(fit: Fit, reason: Exception | str, seconds: float, engine: str) -> Trained:
    """Return the result of a failed fit, with a message that names the fit."""
    message = str(reason)
    if isinstance(reason, Exception) and not isinstance(reason, SkTuneError | ValueError):
        message = f"{type(reason).__name__}: {reason}"
    return Trained(
        status="failed",
        message=f"{fit.name}: {message}" if fit.name else message,
        seconds=seconds,
        engine="fleet" if engine == "fleet" else "alone",
    )


class _CallerError(BaseException):
    """Carries an error of the caller past handlers that treat errors as failed fits."""


def passing_errors(function: Callable[..., object] | None) -> Any:
    """Wrap a function so that :func:`raising_caller_errors` reraises its errors."""
    if function is None:
        return None

    def call(*args: Any) -> object:
        try:
            return function(*args)
        except Exception as error:
            raise _CallerError(error) from error

    return call


@contextmanager
def raising_caller_errors() -> Iterator[None]:
    """Reraise the errors of functions wrapped by :func:`passing_errors`."""
    try:
        yield
    except _CallerError as carried:
        raise carried.args[0] from None


class ProgressReporter:
    """Reports the state of training as a ``Progress``; `expected` fits count already."""

    def __init__(
        self,
        report: Callable[[Progress], object] | None,
        n_epochs: Mapping[int, int],
        expected: Iterable[int] = (),
    ) -> None:
        self._report = report
        self._n_epochs = dict(n_epochs)
        self._expected = Counter(expected)
        self._ended: dict[int, float] = {}
        self._running = 0
        self._start = time.perf_counter()

    def fits_asked(self, n_epochs: Mapping[int, int]) -> None:
        """Add fits and their epochs, which replace expected fits."""
        self._n_epochs |= n_epochs
        self._expected -= Counter(n_epochs.values())

    def epoch_done(self, n_networks: int) -> None:
        """Count networks of this process that finished an epoch."""
        self._running += n_networks
        self.tell()

    def fits_done(self, trained: dict[int, Trained]) -> None:
        """Count fits that ended, by position."""
        for index, result in trained.items():
            scores = result.monitor_score
            self._ended[index] = float(scores[-1]) if len(scores) else np.nan
        # Epochs of ended fits count in full, even if early stopping skipped some.
        self._running = 0
        self.tell()

    def tell(self, n_fits_elsewhere: int = 0) -> None:
        """Report the state, with the fits of other processes that this one waits for."""
        if self._report is None:
            return
        total = sum(self._n_epochs.values()) + sum(self._expected.elements())
        done = sum(self._n_epochs[i] for i in self._ended) + self._running
        scores = [score for score in self._ended.values() if not np.isnan(score)]
        seconds = time.perf_counter() - self._start
        self._report(
            Progress(
                n_fits=len(self._n_epochs) + self._expected.total(),
                n_fits_done=len(self._ended),
                n_epochs=total,
                n_epochs_done=min(done, total),
                best_score=max(scores, default=np.nan),
                seconds=seconds,
                seconds_left=seconds * (total - done) / done if done else np.nan,
                n_fits_elsewhere=n_fits_elsewhere,
            )
        )
