# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How far training has come, measured in learning rate instead of epochs.

A schedule that ends at a rate of 0 makes every curve flat at its end.  Whether a longer
training would help shows only against the learning rate spent.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ANNEALED", "rate_spent"]

Floats = npt.NDArray[np.float64]

# The shares of sk_tune's schedules: one_cycle rises for 30 % of the steps from 1/25 of the
# peak, as torch's OneCycleLR does by default.
_WARM_UP = 0.3
_FIRST = 1 / 25


def rate_spent(n_epochs: int, schedule: Any = None, laid_out_for: Any = None) -> Floats:
    """Return the summed factors of the learning rate up to the end of each epoch, (T,).

    The unit is an epoch at the peak rate. An unknown `schedule` counts as constant;
    `laid_out_for` are the epochs that the schedule was laid out for, `n_epochs` if that is
    no number.

    >>> rate_spent(4, "step").tolist()
    [1.0, 2.0, 2.1, 2.11]
    """
    total = laid_out_for if isinstance(laid_out_for, int) and laid_out_for > 0 else n_epochs
    integral = _INTEGRALS.get(schedule if isinstance(schedule, str) else "", _constant)
    spent = [
        total * integral(min(t / total, 1.0)) + _after(schedule, t - total)
        for t in range(1, n_epochs + 1)
    ]
    return np.round(np.array(spent), 12)


def _after(schedule: Any, n_epochs: int) -> float:
    # A schedule that has ended holds its last rate, which is no more than a hundredth.
    return 0.0 if isinstance(schedule, str) and schedule in _INTEGRALS else max(n_epochs, 0)


def _constant(progress: float) -> float:
    return progress


def _cosine(progress: float) -> float:
    return _along_cosine(1.0, 0.0, progress)


def _one_cycle(progress: float) -> float:
    up = _WARM_UP * _along_cosine(_FIRST, 1.0, min(progress / _WARM_UP, 1.0))
    down = max(progress - _WARM_UP, 0.0) / (1 - _WARM_UP)
    return up + (1 - _WARM_UP) * _along_cosine(1.0, 0.0, down)


def _step(progress: float) -> float:
    second = min(max(progress - 0.5, 0.0), 0.25)
    third = max(progress - 0.75, 0.0)
    return min(progress, 0.5) + 0.1 * second + 0.01 * third


def _along_cosine(start: float, end: float, share: float) -> float:
    """Integrate ``end + (start - end) * (1 + cos(pi * p)) / 2`` over p up to `share`."""
    wave = share + math.sin(math.pi * share) / math.pi
    return end * share + (start - end) * wave / 2


_INTEGRALS = {"cosine": _cosine, "one_cycle": _one_cycle, "step": _step}
# Schedules that end with a rate of next to nothing.
ANNEALED = frozenset(_INTEGRALS)
