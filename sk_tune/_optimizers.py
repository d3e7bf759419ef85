# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The table of optimizers: options, moments, updates and typical learning rates.

The diagnosis uses this table and must not import torch, so this module does not either.

Notation: p are parameters and g their gradients, which an update may overwrite, of k
networks, (k, ...); m and v are the moments; c are the numbers of each network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    Numbers = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerRule:
    """An optimizer: the class of ``torch.optim``, and its update of K networks.

    ``update(p, g, *moments, c, nesterov=...)`` takes a step of k networks. c has "lr",
    "momentum", "beta_2", "eps", "decay", "step" from 1, "new_1" = 1 - momentum, "new_2" =
    1 - beta_2, and the results of ``numbers(c)``, all computed in double precision.
    """

    torch_name: str
    # Arguments: momentum, second_moment_decay and fused.
    options: Callable[[float, float, bool], dict[str, Any]]
    moments: tuple[str, ...]  # in torch's state
    update: Callable[..., None]
    typical_rate: float  # for small networks on standardised data
    kernel_number: int | None = None  # in ``enum optimizer`` of epoch.c
    # Of the mean squared gradient: beta_2 of Adam (Kingma and Ba, 2015, Algorithm 1),
    # alpha of RMSprop.
    second_moment_decay: float = 0.0
    counts_steps: bool = True  # torch's state has a counter
    numbers: Callable[[Numbers], dict[str, Tensor]] = lambda c: {}


def _adam_numbers(c: Numbers) -> dict[str, Tensor]:
    return {
        "shrink": 1 - c["lr"] * c["decay"],
        "step_size": c["lr"] / (1 - c["momentum"] ** c["step"]),
        "scale": (1 - c["beta_2"] ** c["step"]).rsqrt(),
    }


def _adam(
    p: Tensor, g: Tensor, m: Tensor, v: Tensor, c: Numbers, *, nesterov: bool
) -> None:
    g.addcmul_(p, c["decay"])
    _adam_step(p, g, m, v, c)


def _adamw(
    p: Tensor, g: Tensor, m: Tensor, v: Tensor, c: Numbers, *, nesterov: bool
) -> None:
    p.mul_(c["shrink"])
    _adam_step(p, g, m, v, c)


def _adam_step(p: Tensor, g: Tensor, m: Tensor, v: Tensor, c: Numbers) -> None:
    # Minimises the passes over memory.
    m.lerp_(g, c["new_1"])
    v.lerp_(g.mul_(g), c["new_2"])
    p.addcmul_(m / c["eps"].addcmul(v.sqrt(), c["scale"]), c["step_size"], value=-1)


def _sgd(p: Tensor, g: Tensor, m: Tensor, c: Numbers, *, nesterov: bool) -> None:
    g.addcmul_(p, c["decay"])
    m.mul_(c["momentum"]).add_(g)
    p.sub_((g.addcmul_(m, c["momentum"]) if nesterov else m) * c["lr"])


def _rmsprop(
    p: Tensor, g: Tensor, v: Tensor, m: Tensor, c: Numbers, *, nesterov: bool
) -> None:
    g.addcmul_(p, c["decay"])
    v.mul_(c["beta_2"]).addcmul_(g * c["new_2"], g)
    m.mul_(c["momentum"]).add_(g.div_(v.sqrt().add_(c["eps"])))
    p.sub_(m * c["lr"])


_ADAM = OptimizerRule(
    torch_name="Adam",
    options=lambda momentum, decay, fused: {"betas": (momentum, decay), "fused": fused},
    moments=("exp_avg", "exp_avg_sq"),
    update=_adam,
    numbers=_adam_numbers,
    second_moment_decay=0.999,
    typical_rate=3e-3,
    kernel_number=0,
)
OPTIMIZERS: dict[str, OptimizerRule] = {
    "adamw": replace(_ADAM, torch_name="AdamW", update=_adamw, kernel_number=1),
    "adam": _ADAM,
    "sgd": OptimizerRule(
        torch_name="SGD",
        options=lambda momentum, _, fused: {
            "momentum": momentum,
            "nesterov": momentum > 0,
            "fused": fused,
        },
        moments=("momentum_buffer",),
        update=_sgd,
        counts_steps=False,
        typical_rate=3e-2,
        kernel_number=2,
    ),
    "rmsprop": OptimizerRule(
        torch_name="RMSprop",
        options=lambda momentum, decay, *_: {"momentum": momentum, "alpha": decay},
        moments=("square_avg", "momentum_buffer"),
        update=_rmsprop,
        second_moment_decay=0.99,
        typical_rate=1e-3,
        kernel_number=3,
    ),
}
