# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Table columns as inputs of a network: embeddings of numbers and categories.

Notation: B samples of a batch, D columns, N of them numbers and C categories, F
frequencies, T bins, E units of an embedding.  Columns do not share weights.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PeriodicEmbedding(nn.Module):
    """Cosines and sines of each number, one linear layer for each column, then ReLU.

    "PLR" in section 3.3 of [1]_, with trained frequencies.

    Parameters
    ----------
    n_columns : int
        Number of columns.
    n_frequencies : int
        Frequencies of each column.
    frequency_scale : float
        Standard deviation of the initial frequencies, which are normal.
    size : int
        Units of each column's vector.

    References
    ----------
    .. [1] Y. Gorishniy, I. Rubachev, A. Babenko. On embeddings for numerical features in
       tabular deep learning. NeurIPS 2022.
    """

    def __init__(
        self, n_columns: int, *, n_frequencies: int, frequency_scale: float, size: int
    ) -> None:
        super().__init__()
        self.n_outputs = n_columns * size
        self.frequencies = nn.Parameter(torch.empty(n_columns, n_frequencies))
        self.weight = nn.Parameter(torch.empty(n_columns, 2 * n_frequencies, size))
        # One-dimensional, because L1 penalties exclude such parameters.
        self.bias = nn.Parameter(torch.empty(n_columns * size))
        nn.init.normal_(self.frequencies, std=frequency_scale)
        for parameter in (self.weight, self.bias):
            _init_uniform(parameter, 2 * n_frequencies)

    def forward(self, x: Tensor) -> Tensor:
        """Return the vectors, (B, N * E), of numbers, (B, N), of about unit scale."""
        angles = 2 * math.pi * x.unsqueeze(2) * self.frequencies  # (B, N, F)
        waves = torch.cat([angles.cos(), angles.sin()], dim=2)
        return torch.relu(_by_column(waves, self.weight).flatten(1) + self.bias)


class PiecewiseLinearEmbedding(nn.Module):
    """A piecewise linear function of each number, with knots at the edges of its bins.

    It is a linear function plus the encoding of the bins (section 3.2 of [1]_), whose
    weights are initially 0, as in TabM [2]_. Outside the outermost edges the encoding is
    constant.

    Parameters
    ----------
    n_columns : int
        Number of columns.
    n_bins : int
        Largest number of bins of a column; ``set_edges`` sets their edges.
    size : int
        Units of each column's vector.

    References
    ----------
    .. [1] Y. Gorishniy, I. Rubachev, A. Babenko. On embeddings for numerical features in
       tabular deep learning. NeurIPS 2022.
    .. [2] Y. Gorishniy, A. Kotelnikov, A. Babenko. TabM: advancing tabular deep learning
       with parameter-efficient ensembling. ICLR 2025.
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
        # 0 for missing bins of a column, which are always encoded as 0.
        self.register_buffer("slope", torch.zeros(n_columns, n_bins))
        for parameter in (self.scale, self.bias):
            _init_uniform(parameter, size)

    def set_edges(self, edges: Sequence[Sequence[float]]) -> None:
        """Set the increasing edges of each column's bins, at most n_bins + 1."""
        self.start.zero_()
        self.slope.zero_()
        for column, its_edges in enumerate(edges):
            places = torch.as_tensor(its_edges, dtype=torch.float64)
            n_bins = max(len(places) - 1, 0)
            self.start[column, :n_bins] = places[:-1].to(self.start.dtype)
            self.slope[column, :n_bins] = (1 / places.diff()).to(self.slope.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return the vectors, (B, N * E), of numbers, (B, N)."""
        x = x.unsqueeze(2)
        passed = ((x - self.start) * self.slope).clamp(0, 1)  # (B, N, T)
        lines = x * self.scale
        return (lines + _by_column(passed, self.weight)).flatten(1) + self.bias


# Modules of the embeddings in ``sk_tune._numerical_embedding``, by their short forms.
NUMBER_EMBEDDINGS: dict[str, type[nn.Module]] = {
    "periodic": PeriodicEmbedding,
    "piecewise_linear": PiecewiseLinearEmbedding,
}


def _by_column(x: Tensor, weight: Tensor) -> Tensor:
    """Return each column's values times its matrix: (B, N, P) to (B, N, E)."""
    return (x.transpose(0, 1) @ weight).transpose(0, 1)


def _init_uniform(parameter: nn.Parameter, n_inputs: int) -> None:
    bound = n_inputs**-0.5
    nn.init.uniform_(parameter, -bound, bound)


class CategoryEmbedding(nn.Module):
    """A learned vector for each code of each category column.

    All columns share one matrix, with consecutive rows for each column, so a batch takes
    one look-up.

    Parameters
    ----------
    n_codes : sequence of int
        Codes of each column, which run from 0. Code 0 and all unknown codes have the
        column's first vector, which is initially 0.
    size : int
        Units of a vector.

    Examples
    --------
    >>> import torch
    >>> from sk_tune.nets import CategoryEmbedding
    >>> CategoryEmbedding([3, 5], size=2)(torch.tensor([[1, 4]])).shape
    torch.Size([1, 4])
    """

    known: Tensor
    offsets: Tensor
    n_codes: Tensor

    def __init__(self, n_codes: Sequence[int], size: int) -> None:
        super().__init__()
        counts = torch.tensor(list(n_codes), dtype=torch.int64)
        self.size = size
        vectors = torch.empty(sum(n_codes), size)
        nn.init.uniform_(vectors, -(size**-0.5), size**-0.5)
        # Maps a code to its vector; unknown codes share a vector.
        self.register_buffer("known", torch.arange(sum(n_codes)))
        self.register_buffer("offsets", counts.cumsum(0) - counts)
        self.register_buffer("n_codes", counts)
        vectors[self.offsets] = 0  # Vectors of unknown codes.
        self.weight = nn.Parameter(vectors)

    @property
    def n_outputs(self) -> int:
        """Number of units of all columns together."""
        return len(self.n_codes) * self.size

    def set_known(self, codes: Sequence[Sequence[int]]) -> None:
        """Set which codes of each column are known."""
        if self.known.is_meta:
            # Only the shapes of a meta network matter.
            return
        self.known.copy_(self.offsets.repeat_interleave(self.n_codes))
        for offset, its_codes in zip(self.offsets.tolist(), codes, strict=True):
            places = offset + torch.as_tensor(its_codes, dtype=torch.int64)
            self.known[places] = places

    def forward(self, x: Tensor) -> Tensor:
        """Return the vectors, (B, C * E), of integer codes, (B, C), of any type."""
        codes = x.to(torch.int64)
        inside = (codes >= 0) & (codes < self.n_codes)
        places = torch.where(inside, codes, torch.zeros_like(codes)) + self.offsets
        return F.embedding(self.known[places], self.weight).flatten(1)


class TableInputs(nn.Module):
    """Embedded numbers, then plain numbers, then the vectors of the categories."""

    def __init__(
        self,
        plain: Sequence[int],
        categorical: Sequence[int] = (),
        *,
        embedded: Sequence[int] = (),
        numbers: nn.Module | None = None,
        categories: CategoryEmbedding | None = None,
    ) -> None:
        super().__init__()
        self.embedded = tuple(embedded)
        self.plain = tuple(plain)
        self.categorical = tuple(categorical)
        self.numbers = numbers
        self.categories = categories
        # Number of outputs of each column.
        n_outputs: Any = 0 if numbers is None else numbers.n_outputs
        self.chunks = (n_outputs // max(len(self.embedded), 1),) * len(self.embedded)
        self.chunks += (1,) * len(self.plain)
        if categories is not None:
            self.chunks += (categories.size,) * len(self.categorical)
        self.n_outputs = sum(self.chunks)

    def forward(self, x: Tensor) -> Tensor:
        """Return inputs of the first layer, (B, n_outputs), for samples, (B, D)."""
        parts = []
        if self.numbers is not None:
            parts.append(self.numbers(x[:, list(self.embedded)]))
        if self.plain:
            parts.append(x[:, list(self.plain)])
        if self.categories is not None:
            parts.append(self.categories(x[:, list(self.categorical)]))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
