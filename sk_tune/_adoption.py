# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Adoption: how a network's ``fit`` takes over a training that ran elsewhere.

Before it trains, a network asks an adopter for a finished training.  An adopter is set for
a block of code in one thread; by default there is none.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sk_tune._training import TrainingState


class FitRequested(BaseException):
    """Leaves a task, past any ``except Exception``, for a training that has not run yet."""


# ``(estimator, X, y, sample_weight)`` of a network about to train -> its training; None
# lets it train, and ``FitRequested`` leaves the task.
Adopter = Callable[[Any, Any, Any, Any], TrainingState | None]
_ADOPTER: ContextVar[Adopter | None] = ContextVar("sk_tune_adopter", default=None)


def adopter() -> Adopter | None:
    """Return the callable set by :func:`adoption` in this thread, or None."""
    return _ADOPTER.get()


def adopted_state(
    estimator: Any, X: Any, y: Any, sample_weight: Any = None
) -> TrainingState | None:
    """Return the finished training of exactly this fit, if the adopter has it."""
    current = _ADOPTER.get()
    return None if current is None else current(estimator, X, y, sample_weight)


def decline(reason: str) -> bool:
    """Report a reason, a clause after "was trained alone because", and leave the task.

    Returns whether the adopter takes reasons, and the network has to train by itself.
    """
    report = getattr(_ADOPTER.get(), "decline", None)
    if report is not None:
        report(reason)
    return report is not None


@contextmanager
def adoption(current: Adopter | None) -> Iterator[None]:
    """Let `current` answer networks fitted in the block; None lets them train."""
    token = _ADOPTER.set(current)
    try:
        yield
    finally:
        _ADOPTER.reset(token)
