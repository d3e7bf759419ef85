# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Dropout whose mask is a function of (seed, step, layer, position).

No generator is involved: the mask of any step can be computed again, alone or beside other
networks, after a pause or on another machine, and nobody's global random state moves.

The hash is the finaliser of MurmurHash3 for 32 bits (A. Appleby, public domain), applied to
a position that a key has shifted.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["SeededDropout", "seed_dropout", "set_dropout_step"]

_MASK = 0xFFFFFFFF
# Odd 32-bit constants that spread consecutive counters: 2**32 over the golden ratio, and
# the two multipliers of MurmurHash3's finaliser as signed numbers.
_GOLDEN = 0x9E3779B9
_MUL_1 = 0x85EBCA6B - 2**32
_MUL_2 = 0xC2B2AE35 - 2**32


class SeededDropout(nn.Module):
    """Zero each element with probability `p` while training, scale the rest up.

    Parameters
    ----------
    p : float
        Probability of dropping an element, in [0, 1).

    Attributes
    ----------
    seed : int
        Key of this layer, see :func:`seed_dropout`.
    step : int
        Counts the updates of the network; a new step gives a new mask.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.seed = 0
        self.step = 0
        self._positions = torch.empty(0, dtype=torch.int32)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with elements dropped, or `x` itself in evaluation mode.

        Parameters
        ----------
        x : Tensor of shape (B, ...)
            Any activations.

        Returns
        -------
        Tensor of the same shape
            Kept elements are divided by ``1 - p``.
        """
        if not self.training or self.p == 0:
            return x
        keep = self._uniform_bits(x) >= int(self.p * 2**32) - 2**31
        # In the dtype of x: multiplying by a bool mask promotes, and is slower.
        return x * keep.to(x.dtype).mul_(1 / (1 - self.p)).view_as(x)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows of the layer."""
        return f"p={self.p}"

    def _uniform_bits(self, x: Tensor) -> Tensor:
        """Return one uniform int32 for each element of `x`, flat."""
        if self._positions.numel() < x.numel() or self._positions.device != x.device:
            self._positions = torch.arange(x.numel(), dtype=torch.int32, device=x.device)
        key = _mix(self.seed + self.step * _GOLDEN)
        bits = self._positions[: x.numel()] * _signed(_GOLDEN) + _signed(key)
        # Torch shifts copies of the sign in from the left; the masks take them out.  The
        # finaliser's last shift is left out: it changes the low bits only.
        bits ^= (bits >> 16).bitwise_and_(0xFFFF)
        bits *= _MUL_1
        bits ^= (bits >> 13).bitwise_and_(0x7FFFF)
        bits *= _MUL_2
        return bits

    def __getstate__(self) -> dict[str, object]:
        # The cached positions are cheap to make and would grow every pickle.
        state = dict(self.__dict__)
        return {**state, "_positions": torch.empty(0, dtype=torch.int32)}


def seed_dropout(module: nn.Module, seed: int) -> list[SeededDropout]:
    """Give every dropout layer of a network its own key and return the layers.

    Parameters
    ----------
    module : Module
        A network.
    seed : int
        Seed of the network's dropout stream.

    Returns
    -------
    list of SeededDropout
        In the order of ``module.modules()``.
    """
    layers = [m for m in module.modules() if isinstance(m, SeededDropout)]
    for position, layer in enumerate(layers):
        layer.seed = _mix(_mix(seed & _MASK) ^ _mix((seed >> 32) + position + 1))
    return layers


def set_dropout_step(layers: Iterable[SeededDropout], step: int) -> None:
    """Tell dropout layers which update comes next.

    Parameters
    ----------
    layers : iterable of SeededDropout
        From :func:`seed_dropout`.
    step : int
        Number of updates already made.
    """
    for layer in layers:
        layer.step = step


def _mix(value: int) -> int:
    """Return MurmurHash3's finaliser of the low 32 bits, as an unsigned number."""
    value &= _MASK
    value ^= value >> 16
    value = value * 0x85EBCA6B & _MASK
    value ^= value >> 13
    value = value * 0xC2B2AE35 & _MASK
    return value ^ value >> 16


def _signed(value: int) -> int:
    return value - 2**32 if value >= 2**31 else value
