# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How a network's ``fit`` takes over a training that was made for it elsewhere.

A network asks, before it trains, whether somebody has its training already.  Who answers is
set for a block of code, for its thread only; by default nobody does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sk_tune.training import TrainingState

__all__ = ["Adopter", "FitRequested", "adopted_state", "adopter", "adoption", "decline"]


class FitRequested(BaseException):
    """Leaves a task whose network asked for a training that is yet to be made.

    Derived from ``BaseException``, so that callers that catch ``Exception`` let it pass.
    """


# ``(estimator, X, y, sample_weight)`` of a network that is about to train -> its training;
# None lets it train, and ``FitRequested`` leaves the task.
Adopter = Callable[[Any, Any, Any, Any], TrainingState | None]
_ADOPTER: ContextVar[Adopter | None] = ContextVar("sk_tune_adopter", default=None)


def adopter() -> Adopter | None:
    """Return the callable set by :func:`adoption` in this thread, or None."""
    return _ADOPTER.get()


def adopted_state(
    estimator: Any, X: Any, y: Any, sample_weight: Any = None
) -> TrainingState | None:
    """Return the training of this very fit that was made elsewhere, if there is one."""
    current = _ADOPTER.get()
    return None if current is None else current(estimator, X, y, sample_weight)


def decline(reason: str) -> None:
    """Report why a network cannot take over a training that was made elsewhere.

    `reason` is a clause that continues "was trained alone because". Raises FitRequested if
    the task need not go on, because it will be run again.
    """
    told = getattr(_ADOPTER.get(), "decline", None)
    if told is not None:
        told(reason)


@contextmanager
def adoption(current: Adopter | None) -> Iterator[None]:
    """Let `current` answer the networks fitted in the block; None lets them train."""
    token = _ADOPTER.set(current)
    try:
        yield
    finally:
        _ADOPTER.reset(token)
