# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Optimizers by name, the L1 penalty, and learning-rate schedules."""

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from sk_tune._processes import import_for_optimizers

__all__ = [
    "LR_SCHEDULES",
    "OPTIMIZERS",
    "SECOND_MOMENT_DECAY",
    "add_l1_gradient",
    "build_optimizer",
    "learning_rate_factor",
]

OPTIMIZERS = ("adamw", "adam", "sgd", "rmsprop")

# How the mean of the squared gradient decays: beta_2 of Adam (Kingma and Ba, 2015,
# Algorithm 1), alpha of RMSprop (torch's default).
SECOND_MOMENT_DECAY = {"adamw": 0.999, "adam": 0.999, "rmsprop": 0.99, "sgd": 0.0}


def build_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float,
    momentum: float,
    nesterovs_momentum: bool,
    weight_decay: float,
) -> Optimizer:
    """Return a torch optimizer of one parameter group, fused where torch has it.

    AdamW decouples the weight decay from the gradient, the others add it. The momentum is
    beta_1 of Adam and AdamW, and Nesterov's only for SGD.
    """
    import_for_optimizers()
    # A list, because whether the fused form serves depends on the parameters' device.
    params = list(parameters)
    fused = bool(params) and all(map(_suits_fused, params))
    if name in {"adamw", "adam"}:
        kind = AdamW if name == "adamw" else Adam
        return kind(
            params,
            lr=learning_rate,
            betas=(momentum, SECOND_MOMENT_DECAY[name]),
            weight_decay=weight_decay,
            fused=fused,
        )
    if name == "sgd":
        return SGD(
            params,
            lr=learning_rate,
            momentum=momentum,
            nesterov=nesterovs_momentum and momentum > 0,
            weight_decay=weight_decay,
            fused=fused,
        )
    return RMSprop(
        params,
        lr=learning_rate,
        alpha=SECOND_MOMENT_DECAY[name],
        momentum=momentum,
        weight_decay=weight_decay,
    )


def _suits_fused(parameter: nn.Parameter) -> bool:
    """Return whether torch's fused step, which walks through memory, is right for it."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    order = formats.get(parameter.ndim, torch.contiguous_format)
    is_dense = parameter.is_contiguous() or parameter.is_contiguous(memory_format=order)
    return parameter.device.type in {"cpu", "cuda"} and is_dense


@torch.no_grad()
def add_l1_gradient(parameters: Iterable[nn.Parameter], l1: float) -> None:
    """Add the gradient of ``l1 * sum(|w|)`` over all weight matrices, in place."""
    for parameter in parameters:
        if parameter.ndim > 1 and parameter.grad is not None:
            parameter.grad.add_(parameter.sign(), alpha=l1)


LR_SCHEDULES = ("constant", "cosine", "one_cycle", "step")

# The defaults of torch.optim.lr_scheduler.OneCycleLR.
_WARM_UP = 0.3
_FIRST = 1 / 25
_LAST = _FIRST / 1e4


def learning_rate_factor(schedule: str, progress: float) -> float:
    """Return what the learning rate is multiplied with, between 0 and 1.

    `progress` are the steps done as a share of all steps of ``max_epochs``; beyond 1 the
    value of 1 holds.

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
