# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Dropout masks as functions of (seed, step, layer, position).

No generator is involved: the mask of any step can be recomputed, alone or together with
other networks, after a pause or on another machine, and global random state is unchanged.

Notation: t_i is a fixed random 32-bit number for position i, the same for all networks; a
(odd) and b are random numbers of one layer at one step.  An element is retained if a t_i +
b mod 2**32 reaches the threshold, which costs two integer operations and a comparison.
The masks of two positions are independent, since multiply-shift hashing is strongly
universal [1]_.  All random numbers are the finaliser of MurmurHash3 for 32 bits (A.
Appleby, public domain) of a counter.

References
----------
.. [1] M. Dietzfelbinger. Universal hashing and k-wise independent random variables via
   integer arithmetic without primes. STACS 1996.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor, nn

_MASK = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9  # 2**32 over the golden ratio: spreads consecutive counters.

# A number, or a tensor of them of type int64.
_Numbers = TypeVar("_Numbers", int, Tensor)


class SeededDropout(nn.Module):
    """Zero elements with probability `p` during training; divide all others by 1 - p."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.seed = 0
        self.step = 0

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, (B, ...), with dropped elements; in evaluation mode, `x` itself."""
        if not self.training or self.p == 0:
            return x
        a, b = dropout_coefficients(self.seed, self.step)
        bits = dropout_positions(x.numel(), x.device) * a + b
        # The mask has the dtype of x, because multiplying by a bool mask is slower.
        keep = (bits >= dropout_threshold(self.p)).to(x.dtype)
        return x * keep.mul_(1 / (1 - self.p)).view_as(x)

    def extra_repr(self) -> str:
        """Return the arguments for ``repr``."""
        return f"p={self.p}"


def seed_dropout(module: nn.Module, seed: int) -> list[SeededDropout]:
    """Give each dropout layer of a network its key; return the layers in their order."""
    layers = [m for m in module.modules() if isinstance(m, SeededDropout)]
    for layer, key in zip(layers, dropout_layer_seeds(seed, len(layers)), strict=True):
        layer.seed = key
    return layers


def set_dropout_step(layers: Iterable[SeededDropout], step: int) -> None:
    """Set the number of updates made so far on dropout layers."""
    for layer in layers:
        layer.step = step


def dropout_layer_seeds(seed: int, n_layers: int) -> list[int]:
    """Return the keys of a network's dropout layers, unsigned 32-bit numbers."""
    low, high = _mix(seed & _MASK), seed >> 32
    return [_mix(low ^ _mix(high + position + 1)) for position in range(n_layers)]


def dropout_coefficients(seed: _Numbers, step: _Numbers) -> tuple[_Numbers, _Numbers]:
    """Return a (odd) and b of the mask of one layer at one step, in the range of int32."""
    key = _mix(seed + step * _GOLDEN)
    return _signed(key | 1), _signed(_mix(key ^ _GOLDEN))


def dropout_threshold(p: float) -> int:
    """Return the smallest int32 that retains an element at dropout probability p."""
    return int(p * 2**32) - 2**31


def dropout_positions(n: int, device: torch.device) -> Tensor:
    """Return int32 random numbers of the first `n` positions; they are read-only."""
    return _position_table(max(12, (n - 1).bit_length()), device)[:n]


@lru_cache(maxsize=8)
def _position_table(log_size: int, device: torch.device) -> Tensor:
    positions = torch.arange(2**log_size, dtype=torch.int64, device=device)
    return _signed(_mix(positions + 1)).to(torch.int32)


def _mix(value: _Numbers) -> _Numbers:
    """Return MurmurHash3's finaliser of the low 32 bits, as an unsigned number."""
    value = value & _MASK
    value = value ^ (value >> 16)
    value = value * 0x85EBCA6B & _MASK
    value = value ^ (value >> 13)
    value = value * 0xC2B2AE35 & _MASK
    return value ^ (value >> 16)


def _signed(value: _Numbers) -> _Numbers:
    return (value ^ 2**31) - 2**31
