# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The columns of a table as the inputs of a network: numbers, and learned categories.

Notation: B rows of a batch, D columns, N of them numbers and C categories, E units of an
embedding.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["CategoryEmbedding", "TableInputs"]


class CategoryEmbedding(nn.Module):
    """A learned vector for each code of each category column.

    All columns share one matrix, in which they lie one after the other, so that a batch
    takes one look-up.  Code 0 of a column, and every code that is not known, has the first
    vector of the column, which begins at 0.

    Parameters
    ----------
    n_codes : sequence of int
        Codes of each column: 0 to ``n_codes - 1``.
    size : int
        E.
    """

    known: Tensor
    offsets: Tensor
    n_codes: Tensor

    def __init__(self, n_codes: Sequence[int], size: int) -> None:
        super().__init__()
        counts = torch.tensor(list(n_codes), dtype=torch.int64)
        self.size = size
        self.weight = nn.Parameter(torch.empty(sum(n_codes), size))
        # Which vector stands for a code, so that unknown codes share one.
        self.register_buffer("known", torch.arange(sum(n_codes)))
        self.register_buffer("offsets", counts.cumsum(0) - counts)
        self.register_buffer("n_codes", counts)
        self.reset_parameters()

    @property
    def n_outputs(self) -> int:
        """Units of all columns together."""
        return len(self.n_codes) * self.size

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the vectors; that of the unknown codes is 0."""
        bound = self.size**-0.5
        self.weight.uniform_(-bound, bound)
        self.weight[self.offsets] = 0

    def set_known(self, codes: Sequence[Sequence[int]]) -> None:
        """Tell which codes are known.

        Parameters
        ----------
        codes : sequence of sequence of int
            Of each column.
        """
        if self.known.is_meta:
            # A network that is only looked at for its shapes.
            return
        self.known.copy_(self.offsets.repeat_interleave(self.n_codes))
        for offset, own in zip(self.offsets.tolist(), codes, strict=True):
            places = offset + torch.as_tensor(own, dtype=torch.int64)
            self.known[places] = places

    def forward(self, x: Tensor) -> Tensor:
        """Return the vectors of codes.

        Parameters
        ----------
        x : Tensor of shape (B, C)
            Whole numbers of any type.

        Returns
        -------
        Tensor of shape (B, C * E)
            Column by column.
        """
        codes = x.to(torch.int64)
        inside = (codes >= 0) & (codes < self.n_codes)
        places = torch.where(inside, codes, torch.zeros_like(codes)) + self.offsets
        return F.embedding(self.known[places], self.weight).flatten(1)


class TableInputs(nn.Module):
    """Numbers as they are or embedded, then the vectors of the categories.

    Parameters
    ----------
    numerical : sequence of int
        Positions of the columns that hold numbers.
    categorical : sequence of int
        Positions of the columns that hold codes.
    numbers : Module or None
        From (B, N) to (B, numbers.n_outputs); None leaves numbers as they are.
    categories : CategoryEmbedding or None
        None if there are no categories.
    """

    def __init__(
        self,
        numerical: Sequence[int],
        categorical: Sequence[int],
        *,
        numbers: nn.Module | None,
        categories: CategoryEmbedding | None,
    ) -> None:
        super().__init__()
        self.numerical = tuple(numerical)
        self.categorical = tuple(categorical)
        self.numbers = numbers
        self.categories = categories
        # How many outputs each column has.
        own: Any = len(self.numerical) if numbers is None else numbers.n_outputs
        size = own // max(len(self.numerical), 1)
        self.chunks = (size,) * len(self.numerical)
        if categories is not None:
            self.chunks += (categories.size,) * len(self.categorical)
        self.n_outputs = sum(self.chunks)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the first layer sees.

        Parameters
        ----------
        x : Tensor of shape (B, D)
            Rows of a table.

        Returns
        -------
        Tensor of shape (B, n_outputs)
            Numbers first.
        """
        parts = []
        if self.numerical:
            numbers = x[:, list(self.numerical)]
            parts.append(numbers if self.numbers is None else self.numbers(numbers))
        if self.categories is not None:
            parts.append(self.categories(x[:, list(self.categorical)]))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
