# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How far a call of the engine has come, told to a callable."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from sk_tune.engine._records import Trained

__all__ = [
    "Progress",
    "ProgressReporter",
    "callback_progress",
    "passing_errors",
    "raising_caller_errors",
]


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


class _CallerError(BaseException):
    """Carries an error past what takes errors for those of a fit."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def passing_errors(function: Callable[..., object] | None) -> Any:
    """Return a caller's function whose errors are not taken for those of a fit.

    It is to be called within :func:`raising_caller_errors`.
    """
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
    """Collects what is done and reports it as a ``Progress``.

    `n_epochs` are the epochs of each fit by its position, `expected` those of fits that are
    still to be asked for.
    """

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


def callback_progress(context: Any, estimator: Any) -> Callable[[Progress], None]:
    """Return a callable that tells scikit-learn's callbacks of fits that ended.

    With it ``sklearn.callback.ProgressBar`` shows the fits of the engine as tasks of the
    estimator that asked for them.

    Parameters
    ----------
    context : sklearn.callback.CallbackContext
        Of the task whose subtasks the fits are.
    estimator : estimator
        Whose callbacks they are.

    Returns
    -------
    callable
        For the `progress` of :func:`sk_tune.engine.train`.
    """
    n_told = 0

    def report(progress: Progress) -> None:
        nonlocal n_told
        while n_told < progress.n_fits_done:
            task_id = None if context.sequential_subtasks else n_told
            task = context.subcontext(task_name="network", task_id=task_id)
            task.call_on_fit_task_begin(estimator=estimator)
            task.call_on_fit_task_end(estimator=estimator)
            n_told += 1

    return report
