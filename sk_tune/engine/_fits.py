# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Results of the engine, and how a call reports its progress."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sk_tune.estimators import Fit
from sk_tune.exceptions import SkTuneError
from sk_tune.training import TrainingState

Array = npt.NDArray[Any]


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
        On the monitor samples: ``predict_proba`` of a classifier, ``predict`` of a
        regressor.
    message : str
        Why the fit failed; empty if it did not.
    seconds : float
        Time that the training took; a fleet's time is shared among its networks.
    engine : {"fleet", "alone"}
        Which engine trained it.
    solo_reason : str, default=""
        Why no fleet could carry the fit; empty if one did, or none was asked for.
    way : str, default=""
        How a fleet trained it, and why no faster way could carry it: "by the kernel", for
        example. Empty for a fit that was trained alone or loaded from a store.
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
    engine: Literal["fleet", "alone"]
    solo_reason: str = ""
    way: str = ""
    is_loaded: bool = False
    is_cut: bool = False
    checkpoints: tuple[TrainingState, ...] = ()

    @property
    def train_loss(self) -> npt.NDArray[np.float64]:
        """Loss on the training samples in each epoch, as it ran."""
        return self._curve("train_loss")

    @property
    def monitor_loss(self) -> npt.NDArray[np.float64]:
        """Loss on the monitor samples after each epoch."""
        return self._curve("monitor_loss")

    @property
    def monitor_score(self) -> npt.NDArray[np.float64]:
        """Accuracy or R^2 on the monitor samples after each epoch."""
        return self._curve("monitor_score")

    def _curve(self, name: str) -> npt.NDArray[np.float64]:
        return np.empty(0) if self.state is None else self.state.curve(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the training of many fits has come.

    Parameters
    ----------
    n_fits : int
        Fits asked for.
    n_fits_done : int
        Fits that ended, the failed ones included.
    n_epochs : int
        Epochs that all fits have together, if none stops early.
    n_epochs_done : int
        Epochs trained, those that early stopping saved included.
    best_score : float
        Best last monitor score of the fits that ended; NaN before the first.
    seconds : float
        Since the start.
    seconds_left : float
        As estimated from the epochs done; NaN before the first.
    """

    n_fits: int
    n_fits_done: int
    n_epochs: int
    n_epochs_done: int
    best_score: float
    seconds: float
    seconds_left: float


def late(fit: Fit, engine: str) -> Trained:
    """Return the result of a fit that the time left without one."""
    result = failed(fit, "The time was up before it was trained.", 0.0, engine)
    return replace(result, is_cut=True)


def failed(fit: Fit, reason: Exception | str, seconds: float, engine: str) -> Trained:
    """Return the result of a fit that failed, with a message that names it."""
    message = str(reason)
    if isinstance(reason, Exception) and not isinstance(reason, SkTuneError | ValueError):
        message = f"{type(reason).__name__}: {reason}"
    return Trained(
        status="failed",
        state=None,
        predictions=None,
        message=f"{fit.name}: {message}" if fit.name else message,
        seconds=seconds,
        engine="fleet" if engine == "fleet" else "alone",
    )


class _CallerError(BaseException):
    """Carries an error past what takes errors for those of a fit."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def passing_errors(function: Callable[..., object] | None) -> Any:
    """Return a function whose errors :func:`raising_caller_errors` raises as they are."""
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
    """Raise the errors of functions of :func:`passing_errors` as they were."""
    try:
        yield
    except _CallerError as carried:
        raise carried.error from None


class ProgressReporter:
    """Reports what is done as a ``Progress``; `expected` fits count already."""

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
        """Take note of more fits and their epochs, which replace expected ones."""
        self._n_epochs |= n_epochs
        self._expected -= Counter(n_epochs.values())

    def epoch_done(self, n_networks: int) -> None:
        """Take note of networks that finished an epoch in this process."""
        self._running += n_networks
        self._tell()

    def fits_done(self, trained: dict[int, Trained]) -> None:
        """Take note of fits that ended, by their position."""
        for index, result in trained.items():
            scores = result.monitor_score
            self._ended[index] = float(scores[-1]) if len(scores) else np.nan
        # Epochs of fits that ended count in full, whether they were needed or not.
        self._running = 0
        self._tell()

    def _tell(self) -> None:
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
            )
        )
