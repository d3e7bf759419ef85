# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Optimizers by name, and the L1 penalty."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from sk_tune._processes import import_for_optimizers

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
