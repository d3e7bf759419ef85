# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Learning-rate schedules."""

import math

LR_SCHEDULES = ("constant", "cosine", "one_cycle", "step")

# The defaults of torch.optim.lr_scheduler.OneCycleLR.
_WARM_UP = 0.3
_FIRST = 1 / 25
_LAST = _FIRST / 1e4


def learning_rate_factor(schedule: str, progress: float) -> float:
    """Return the factor of the learning rate at a share of the steps of ``max_epochs``.

    >>> [learning_rate_factor("step", p) for p in (0.0, 0.5)]
    [1.0, 0.1]
    >>> round(learning_rate_factor("cosine", 0.5), 3)
    0.5
    """
    progress = min(progress, 1.0)
    if schedule == "cosine":
        return _cosine(1.0, 0.0, progress)
    if schedule == "one_cycle":
        if progress < _WARM_UP:
            return _cosine(_FIRST, 1.0, progress / _WARM_UP)
        return _cosine(1.0, _LAST, (progress - _WARM_UP) / (1 - _WARM_UP))
    if schedule == "step":
        return 1.0 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01
    return 1.0


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
