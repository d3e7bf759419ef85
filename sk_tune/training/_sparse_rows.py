# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Inputs that stay sparse until a batch of them is computed."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["SparseRows", "rows_as_tensor"]

# A dense copy of so many bytes is made once and trains faster; a larger one is never made.
_MOST_DENSE_BYTES = 2**26


class SparseRows:
    """A sparse table that gives dense tensors of some of its rows, as a tensor does.

    Parameters
    ----------
    matrix : csr_matrix or csr_array of shape (N, D)
        Of real numbers.
    device : torch.device
        Where dense rows are put.
    """

    def __init__(self, matrix: Any, device: torch.device) -> None:
        self.matrix = matrix
        self.device = device
        self.shape = torch.Size(matrix.shape)
        self.ndim = 2
        self.nbytes = matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
        # Makes tensors of the same type, at the same place.
        self._like = torch.from_numpy(matrix.data[:0]).to(device)
        self.dtype = self._like.dtype

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: Any) -> Tensor:
        rows = self.matrix[_for_scipy(index)]
        # One row of an array of scipy has one axis, of a matrix two.
        dense = rows.toarray().reshape(-1, self.shape[1])
        found = torch.from_numpy(np.ascontiguousarray(dense)).to(self.device)
        return found[0] if isinstance(index, int) else found

    def taken(self, index: Any) -> "SparseRows":
        """Return some rows, which stay sparse."""
        return SparseRows(self.matrix[_for_scipy(index)], self.device)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """Return some rows as ``Tensor.index_select`` does; `dim` is 0."""
        return self[index]

    def is_contiguous(self) -> bool:
        """Return False: there is no memory in which one row follows the other."""
        return False

    def element_size(self) -> int:
        """Return the bytes of a number."""
        return self._like.element_size()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("new_"):
            return getattr(self._like, name)
        raise AttributeError(name)


def rows_as_tensor(matrix: Any, dtype: str, device: str | torch.device) -> Any:
    """Return a sparse table as a tensor, or as rows that stay sparse if it is large.

    Parameters
    ----------
    matrix : csr_matrix or csr_array of shape (N, D)
        Of any type.
    dtype : str
        Of the numbers.
    device : str or torch.device
        Where to.

    Returns
    -------
    Tensor or SparseRows
        Of shape (N, D).
    """
    own = matrix.astype(dtype, copy=False)
    if own.dtype.itemsize * own.shape[0] * own.shape[1] <= _MOST_DENSE_BYTES:
        return torch.from_numpy(own.toarray(order="C")).to(device)
    return SparseRows(own, torch.device(device))


def _for_scipy(index: Any) -> Any:
    return index.cpu().numpy() if isinstance(index, Tensor) else index
