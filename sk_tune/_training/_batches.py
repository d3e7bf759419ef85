# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Mini-batches as slices of tensors that are already on their device.

A ``DataLoader`` collates sample by sample, which takes most of a small network's step.
Here a block of samples is gathered at once in the epoch's order; batches are views of it.
"""

import hashlib
import pickle
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

# Torch's default generator belongs to the process, so threads that seed and restore it
# take turns.
RNG_LOCK = threading.RLock()


class Stream(IntEnum):
    """The purpose of a derived seed."""

    WEIGHTS = 0
    BATCH_ORDER = 1
    DROPOUT = 2
    VALIDATION_SPLIT = 3
    MODULE = 4
    AUGMENTATION = 5


def derive_seed(seed: int, stream: Stream, counter: int = 0) -> int:
    """Return a seed in [0, 2**63) for one stream at an epoch or a step of a fit."""
    state = np.random.SeedSequence((seed, int(stream), counter))
    return int(state.generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def forked_rng(seed: int | bytes, device: torch.device | str = "cpu") -> Iterator[None]:
    """Run a block with torch's global generators seeded, and restore them afterwards.

    For code that can only draw from them: torch's weight initialisation, a user's
    ``nn.Dropout``. Blocks of several threads take turns. `seed` may be a state of the
    generator.
    """
    device = torch.device(device)
    cuda = [device] if device.type == "cuda" else []
    with RNG_LOCK, torch.random.fork_rng(devices=cuda):
        if isinstance(seed, bytes):
            torch.set_rng_state(torch.frombuffer(bytearray(seed), dtype=torch.uint8))
            seed = seed_of_state(seed)
        else:
            torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def undone_draws() -> Iterator[list[str]]:
    """Undo draws from numpy's and Python's global generators; the list gets their names.

    Nothing but the order of calls decides what code draws from them.
    """
    names: list[str] = []
    generators: tuple[tuple[str, Callable[[], Any], Callable[[Any], None]], ...] = (
        ("numpy", np.random.get_state, np.random.set_state),
        ("Python", random.getstate, random.setstate),
    )
    with RNG_LOCK:
        states = [read() for _, read, _ in generators]
        try:
            yield names
        finally:
            for (name, read, write), state in zip(generators, states, strict=True):
                if pickle.dumps(read()) != pickle.dumps(state):
                    write(state)
                    names.append(name)


def seed_of_state(state: bytes) -> int:
    """Return a seed in [0, 2**63) that identifies a state of the CPU's generator."""
    return int.from_bytes(hashlib.sha256(state).digest()[:8], "big") >> 1


# Sparse tables up to this dense size are converted, because dense tables train faster.
_MOST_DENSE_BYTES = 2**26


class SparseRows:
    """A sparse table (N, D) that returns selected rows as dense tensors."""

    def __init__(self, matrix: Any, device: torch.device) -> None:
        self.matrix = matrix
        self.device = device
        self.shape = torch.Size(matrix.shape)
        self.ndim = 2
        self.nbytes = matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
        # A template for tensors of the same type and device.
        self._like = torch.from_numpy(matrix.data[:0]).to(device)
        self.dtype = self._like.dtype

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: Any) -> Tensor:
        rows = self.matrix[_for_scipy(index)]
        # One row of a sparse array has one axis, of a sparse matrix two.
        dense = rows.toarray().reshape(-1, self.shape[1])
        tensor = torch.from_numpy(np.ascontiguousarray(dense)).to(self.device)
        return tensor[0] if isinstance(index, int) else tensor

    def taken(self, index: Any) -> "SparseRows":
        """Return selected rows as a sparse table."""
        return SparseRows(self.matrix[_for_scipy(index)], self.device)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """Return selected rows as ``Tensor.index_select`` does; `dim` is 0."""
        return self[index]

    def is_contiguous(self) -> bool:
        """Return False, because rows are not stored in one block."""
        return False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("new_") or name == "element_size":
            return getattr(self._like, name)
        raise AttributeError(name)


def rows_as_tensor(matrix: Any, dtype: str, device: str | torch.device) -> Any:
    """Return a CSR table (N, D) as a tensor, or as SparseRows if it is large."""
    table = matrix.astype(dtype, copy=False)
    if table.dtype.itemsize * table.shape[0] * table.shape[1] <= _MOST_DENSE_BYTES:
        return torch.from_numpy(table.toarray(order="C")).to(device)
    return SparseRows(table, torch.device(device))


def _for_scipy(index: Any) -> Any:
    return index.cpu().numpy() if isinstance(index, Tensor) else index


# Batches gathered at once: few Python steps, and a bounded copy of large data.
_BATCHES_PER_BLOCK = 32
# Bytes of dense blocks that sparse samples are converted to for predictions; larger blocks
# are not faster.
_DENSE_BYTES = 2**24


class TensorSet(Dataset[Any]):
    """Samples at `index` for training or scoring, with encoded targets and loss weights."""

    def __init__(
        self,
        X: Tensor,
        y: Tensor | None = None,
        sample_weight: Tensor | None = None,
        index: Tensor | None = None,
    ) -> None:
        self.X = X
        self.y = y
        self.sample_weight = sample_weight
        self.index = index
        # Cached, because fleets read it several times an epoch and len(tensor) is slow.
        self._n_samples = len(X if index is None else index)
        self.n_in_block = samples_in_block(self._n_samples, X)

    def __len__(self) -> int:
        return self._n_samples

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        rows = index if self.index is None else self.index[index]
        return _pack(*(None if c is None else c[rows] for c in self.columns))

    def taken(self) -> "TensorSet":
        """Return the same samples as separate tensors, without an index."""
        if self.index is None:
            return self
        # Sparse samples stay sparse.
        take = getattr(self.X, "taken", self.X.__getitem__)
        return TensorSet(take(self.index), *self.taken_targets())

    def taken_targets(self) -> tuple[Tensor | None, Tensor | None]:
        """Return targets and weights of the set's samples only."""
        y, weight = (
            c if c is None or self.index is None else c[self.index]
            for c in self.columns[1:]
        )
        return y, weight

    @property
    def columns(self) -> tuple[Tensor | None, ...]:
        """X, y and sample_weight; None if missing."""
        return self.X, self.y, self.sample_weight


class TensorBatches:
    """The batches of one epoch; suits skorch's ``iterator_train`` and ``iterator_valid``.

    The order depends only on the seed, the epoch's number and the number of samples. A last
    batch of one sample joins the previous batch, because batch normalisation cannot train
    on one sample. With `copy`, all batches are copies, for modules that may work in place.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        seed: int | None = None,
        *,
        copy: bool = False,
    ) -> None:
        is_set = isinstance(dataset, TensorSet)
        columns = dataset.taken().columns if is_set else (dataset.X, dataset.y, None)
        self.columns = [
            c if c is None or isinstance(c, SparseRows) else torch.as_tensor(c)
            for c in columns
        ]
        self.n_rows = len(dataset)
        self.n_in_block = dataset.n_in_block if is_set else 1
        self.batch_size = batch_size
        X = self.columns[0]
        if isinstance(X, SparseRows) and seed is None:
            # The batch size does not affect predictions.
            per_row = X.element_size() * X.shape[1]
            self.batch_size = max(1, min(batch_size, _DENSE_BYTES // per_row))
        self.seed = seed
        self.copy = copy
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._sizes())

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        sizes = self._sizes()
        order = None
        if self.seed is not None:
            order = batch_order(self.n_rows, self.seed, self.epoch, self.n_in_block)
            order = order if self.columns[0] is None else order.to(self.columns[0].device)
        start = 0
        # At most one batch of sparse samples is dense at a time.
        n_block = 1 if isinstance(self.columns[0], SparseRows) else _BATCHES_PER_BLOCK
        for first in range(0, len(sizes), n_block):
            block_sizes = sizes[first : first + n_block]
            stop = start + sum(block_sizes)
            rows = slice(start, stop) if order is None else order[start:stop]
            parts = [
                [None] * len(block_sizes)
                if c is None
                else torch.split(c[rows], block_sizes)
                for c in self.columns
            ]
            for X, y, weight in zip(*parts, strict=True):
                X_batch = X.clone() if self.copy and order is None and X is not None else X
                yield _pack(X_batch, y, weight)
            start = stop

    def _sizes(self) -> list[int]:
        return batch_sizes(self.n_rows, self.batch_size, shuffled=self.seed is not None)


def batch_sizes(n_rows: int, batch_size: int, *, shuffled: bool) -> list[int]:
    """Return the sizes of an epoch's batches; if shuffled, none is a single last sample.

    >>> batch_sizes(9, 4, shuffled=True), batch_sizes(9, 4, shuffled=False)
    ([4, 5], [4, 4, 1])
    """
    full, remainder = divmod(n_rows, batch_size)
    sizes = [batch_size] * full
    if remainder == 1 and full > 0 and shuffled:
        sizes[-1] += 1
    elif remainder:
        sizes.append(remainder)
    return sizes


# Samples of this many bytes may be a map of a file larger than the memory. Their size
# decides, because workers get arrays in memory as maps, and folds of maps are arrays.
_BYTES_READ_IN_BLOCKS = 2**32
# A disk reads this many consecutive bytes quickly; so many blocks are in memory at a time.
_BYTES_OF_BLOCK, _BLOCKS_AT_ONCE = 2**20, 32


def samples_in_block(n_samples: int, X: Any) -> int:
    """Return the number of consecutive samples that an epoch reads together."""
    if not isinstance(X, Tensor) or not n_samples:
        return 1
    n_bytes = max(1, X[0].nbytes)
    is_large = n_samples * n_bytes >= _BYTES_READ_IN_BLOCKS
    return max(1, _BYTES_OF_BLOCK // n_bytes) if is_large else 1


# Networks of a fleet with the same seed request an epoch in succession.
@lru_cache(maxsize=1)
def batch_order(n_rows: int, seed: int, epoch: int, n_in_block: int = 1) -> Tensor:
    """Return a permutation of the samples in one epoch, from 0, on the CPU.

    Blocks of consecutive samples come in random order, and the samples of some successive
    blocks are shuffled.
    """
    generator = torch.Generator()
    generator.manual_seed(derive_seed(seed, Stream.BATCH_ORDER, epoch))
    shuffled = partial(torch.randperm, generator=generator, device="cpu")
    if n_in_block == 1:
        return shuffled(n_rows)
    starts = n_in_block * shuffled(-(-n_rows // n_in_block))
    order = (starts[:, None] + torch.arange(n_in_block)).flatten()
    parts = torch.split(order[order < n_rows], _BLOCKS_AT_ONCE * n_in_block)
    return torch.cat([part[shuffled(len(part))] for part in parts])


def _pack(X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any]:
    """Return a batch in skorch's form: inputs, and the arguments of the loss."""
    if y is None:
        return X, 0
    return X, y if sample_weight is None else (y, sample_weight)
