# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Learning-rate schedules as pure functions of how much of the training is done.

References
----------
.. [1] I. Loshchilov, F. Hutter. SGDR: stochastic gradient descent with warm restarts.
   ICLR 2017. Equation 5, without restarts and with a minimum of 0.
.. [2] L. N. Smith, N. Topin. Super-convergence: very fast training of neural networks
   using large learning rates. 2019. The one-cycle policy, with cosine flanks.
.. [3] K. He, X. Zhang, S. Ren, J. Sun. Deep residual learning for image recognition.
   CVPR 2016. Section 4.2: the rate is divided by 10 at half and three quarters.
"""

import math

__all__ = ["LR_SCHEDULES", "learning_rate_factor"]

LR_SCHEDULES = ("constant", "cosine", "one_cycle", "step")

# The defaults of torch.optim.lr_scheduler.OneCycleLR.
_WARM_UP = 0.3
_FIRST = 1 / 25
_LAST = _FIRST / 1e4


def learning_rate_factor(schedule: str, progress: float) -> float:
    """Return what the learning rate is multiplied with at one point of the training.

    Parameters
    ----------
    schedule : {"constant", "cosine", "one_cycle", "step"}
        Name of the schedule.
    progress : float
        Steps done as a share of all steps of ``max_epochs``; beyond 1 the value of 1
        holds.

    Returns
    -------
    float
        Between 0 and 1.

    Examples
    --------
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
