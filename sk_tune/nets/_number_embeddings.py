# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Numbers of a table as vectors, of which a network bends its answer more easily.

Notation: B rows of a batch, N columns of numbers, F frequencies, T bins, E units of an
embedding.  Each column has weights of its own.

References
----------
.. [1] Y. Gorishniy, I. Rubachev, A. Babenko. On embeddings for numerical features in
   tabular deep learning. NeurIPS 2022.
.. [2] Y. Gorishniy, A. Kotelnikov, A. Babenko. TabM: advancing tabular deep learning with
   parameter-efficient ensembling. ICLR 2025.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["PeriodicEmbedding", "PiecewiseLinearEmbedding"]


class PeriodicEmbedding(nn.Module):
    """Cosines and sines of each number, one linear layer for each column, then ReLU.

    "PLR" in section 3.3 of [1]_, with trained frequencies.

    Parameters
    ----------
    n_columns : int
        N.
    n_frequencies : int
        F.
    frequency_scale : float
        Standard deviation of the frequencies that training begins with.
    size : int
        E.
    """

    def __init__(
        self, n_columns: int, *, n_frequencies: int, frequency_scale: float, size: int
    ) -> None:
        super().__init__()
        self.n_outputs = n_columns * size
        self.frequencies = nn.Parameter(torch.empty(n_columns, n_frequencies))
        self.weight = nn.Parameter(torch.empty(n_columns, 2 * n_frequencies, size))
        # Of one dimension as all biases are, which an L1 penalty leaves out.
        self.bias = nn.Parameter(torch.empty(n_columns * size))
        nn.init.normal_(self.frequencies, std=frequency_scale)
        for parameter in (self.weight, self.bias):
            _init_uniform(parameter, 2 * n_frequencies)

    def forward(self, x: Tensor) -> Tensor:
        """Return the vectors of numbers.

        Parameters
        ----------
        x : Tensor of shape (B, N)
            Numbers of about unit scale.

        Returns
        -------
        Tensor of shape (B, N * E)
            Column by column.
        """
        angles = 2 * math.pi * x.unsqueeze(2) * self.frequencies  # (B, N, F)
        waves = torch.cat([angles.cos(), angles.sin()], dim=2)
        return torch.relu(_by_column(waves, self.weight).flatten(1) + self.bias)


class PiecewiseLinearEmbedding(nn.Module):
    """A line for each unit and column, and a bend at each edge of the column's bins.

    The bins' part (section 3.2 of [1]_) begins at 0, so that training begins with lines and
    bends them, as in TabM [2]_.  Outside of the outermost edges it is constant, and the
    line alone goes on.

    Parameters
    ----------
    n_columns : int
        N.
    n_bins : int
        T, of the column that has most.
    size : int
        E.
    """

    start: Tensor
    slope: Tensor

    def __init__(self, n_columns: int, *, n_bins: int, size: int) -> None:
        super().__init__()
        self.n_outputs = n_columns * size
        self.scale = nn.Parameter(torch.empty(n_columns, size))
        self.bias = nn.Parameter(torch.empty(n_columns * size))
        self.weight = nn.Parameter(torch.zeros(n_columns, n_bins, size))
        self.register_buffer("start", torch.zeros(n_columns, n_bins))
        # 0 for bins that a column does not have, which then are always 0.
        self.register_buffer("slope", torch.zeros(n_columns, n_bins))
        for parameter in (self.scale, self.bias):
            _init_uniform(parameter, size)

    def set_edges(self, edges: Sequence[Sequence[float]]) -> None:
        """Tell where the bins lie.

        Parameters
        ----------
        edges : sequence of sequence of float
            Of each column, rising; at most one more than there are bins.
        """
        self.start.zero_()
        self.slope.zero_()
        for column, own in enumerate(edges):
            places = torch.as_tensor(own, dtype=torch.float64)
            n_bins = max(len(places) - 1, 0)
            self.start[column, :n_bins] = places[:-1].to(self.start.dtype)
            self.slope[column, :n_bins] = (1 / places.diff()).to(self.slope.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return the vectors of numbers.

        Parameters
        ----------
        x : Tensor of shape (B, N)
            Numbers.

        Returns
        -------
        Tensor of shape (B, N * E)
            Column by column.
        """
        x = x.unsqueeze(2)
        passed = ((x - self.start) * self.slope).clamp(0, 1)  # (B, N, T)
        lines = x * self.scale
        return (lines + _by_column(passed, self.weight)).flatten(1) + self.bias


def _by_column(x: Tensor, weight: Tensor) -> Tensor:
    """Return each column's values times its own matrix: (B, N, P) to (B, N, E)."""
    return (x.transpose(0, 1) @ weight).transpose(0, 1)


def _init_uniform(parameter: nn.Parameter, n_inputs: int) -> None:
    bound = n_inputs**-0.5
    nn.init.uniform_(parameter, -bound, bound)
