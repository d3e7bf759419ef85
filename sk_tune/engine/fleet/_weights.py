# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Weights of K networks of one architecture, each tensor with a leading row axis."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["RowTensors"]


class RowTensors:
    """Named, contiguous tensors, (K, ...): a slice for each network of a fleet."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors

    @classmethod
    def stacked(cls, rows: Sequence[Mapping[str, Tensor]]) -> "RowTensors":
        """Return copies of the tensors of single networks, stacked.

        Names and shapes are equal.
        """
        return cls({
            # Of tensors in another order in memory, the stack would be in that order.
            name: torch.stack([row[name].detach() for row in rows]).contiguous()
            for name in rows[0]
        })

    def select(self, index: Tensor) -> None:
        """Keep some networks, in the order given; their memory is all that stays in use."""
        self.tensors = {name: t.index_select(0, index) for name, t in self.tensors.items()}

    def extend(self, other: "RowTensors") -> None:
        """Add the networks of another fleet, with the same names and shapes."""
        self.tensors = {
            name: torch.cat([t, other.tensors[name]]) for name, t in self.tensors.items()
        }

    def write(self, index: Tensor, other: "RowTensors") -> None:
        """Overwrite the networks at `index` with the same networks of another fleet."""
        for name, tensor in self.tensors.items():
            tensor.index_copy_(0, index, other.tensors[name].index_select(0, index))

    def row(self, position: int) -> dict[str, npt.NDArray[np.generic]]:
        """Return one network's tensors as new arrays by name."""
        return {
            name: np.array(t[position].detach().cpu().numpy(), order="C")
            for name, t in self.tensors.items()
        }
