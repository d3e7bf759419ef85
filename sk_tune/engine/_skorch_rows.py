# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The rows that a skorch net predicts, cut into batches at once.

A ``DataLoader`` takes samples one by one and stacks them again, which takes longer than the
prediction of a small network.  The batches here are the same, to the last bit.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from skorch.dataset import Dataset
from torch import Tensor
from torch.utils.data import DataLoader

from sk_tune.training import exclusive_rng

__all__ = ["cutting_iterator"]

Array = npt.NDArray[Any]


def cutting_iterator(get_iterator: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method for ``NeuralNet.get_iterator`` that cuts arrays where it may.

    Parameters
    ----------
    get_iterator : callable
        skorch's method, which serves whatever is not an array to predict in a plain
        ``DataLoader``.

    Returns
    -------
    callable
        With the same arguments; its batches are those of `get_iterator`.
    """

    @functools.wraps(get_iterator)
    def cutting(net: Any, dataset: Any, training: bool = False) -> Any:  # noqa: FBT001
        if not training and _is_plain(net, dataset):
            size = net.get_params_for("iterator_valid").get("batch_size", net.batch_size)
            if size == -1:
                size = len(dataset)
            if type(size) is int and size > 0:
                return _Slices(dataset.X, size)
        return get_iterator(net, dataset, training=training)

    return cutting


def _is_plain(net: Any, dataset: Any) -> bool:
    """Return whether a data loader would do no more than stack rows of an array."""
    if type(dataset) is not Dataset or dataset.y is not None:
        return False
    X = dataset.X
    return (
        type(X) in {np.ndarray, np.memmap}
        and X.ndim > 1
        and X.dtype.kind in "fi"
        and X.dtype.isnative
        and net.iterator_valid is DataLoader
        and set(net.get_params_for("iterator_valid")) <= {"batch_size"}
    )


class _Slices:
    """Batches of an array, each with the zeros that skorch has in the place of targets."""

    def __init__(self, X: Array, batch_size: int) -> None:
        self._X = X
        self._batch_size = batch_size

    def __len__(self) -> int:
        return math.ceil(len(self._X) / self._batch_size)

    def __iter__(self) -> Iterator[list[Tensor]]:
        # A data loader draws this for its workers, of which it has none; whoever draws
        # next from torch's generator is to find it as it would be.
        with exclusive_rng():
            torch.empty((), dtype=torch.int64).random_()
        for start in range(0, len(self._X), self._batch_size):
            # Of its own, for a module may work in place.
            rows = np.array(self._X[start : start + self._batch_size], order="C")
            yield [torch.from_numpy(rows), torch.zeros(len(rows), 1)]
