# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Modules of several inputs, or of integers, that read them from one tensor.

The engine trains networks on one real tensor of samples, (B, D).  Groups of its columns
hold the named inputs of a module's forward, which may have other shapes and types.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sk_tune._types import Array


class NamedInput(NamedTuple):
    """An input of a module."""

    name: str  # empty for a positional argument
    shape: tuple[int, ...]  # of a sample
    dtype: str  # of torch; empty keeps the tensor's

    @property
    def size(self) -> int:
        """Number of columns."""
        return math.prod(self.shape)


def pack_inputs(X: Mapping[str, Array], inputs: Sequence[NamedInput], dtype: str) -> Array:
    """Return arrays (N, ...) as the columns of one array, (N, D)."""
    parts = []
    for name, shape, _ in inputs:
        values = X[name].reshape(len(X[name]), math.prod(shape))
        part = values.astype(dtype, copy=False)
        if values.dtype.kind in "iu" and (part.astype(values.dtype) != values).any():
            raise ValueError(
                f"Integers of X[{name!r}] must be exact in {dtype}. Got "
                f"{np.abs(values).max()}. Number them from 0, or use dtype='float64'."
            )
        parts.append(part)
    return np.hstack(parts)


def split_inputs(x: Tensor, inputs: Sequence[NamedInput]) -> dict[str, Tensor]:
    """Return the inputs of a module, (B, ...), by name, from one tensor, (B, D)."""
    columns = torch.split(x, [part.size for part in inputs], dim=1)
    return {
        # len(x) would become a constant when the module is exported.
        name: values.reshape(x.shape[0], *shape).to(getattr(torch, dtype, x.dtype))
        for (name, shape, dtype), values in zip(inputs, columns, strict=True)
    }


def reading_one_tensor(module: nn.Module, inputs: Sequence[NamedInput]) -> nn.Module:
    """Return a module of a derived class, with shared parameters, that reads one tensor."""
    reader: Any = copy.copy(module)
    cls: Any = type(module)
    reader.__class__ = _reading_class(cls)
    reader._named_inputs = tuple(inputs)
    return reader  # type: ignore[no-any-return]


class _ReadsOneTensor(nn.Module):
    _named_inputs: tuple[NamedInput, ...]

    def forward(self, x: Tensor | None = None, /, **inputs: Tensor) -> Tensor:
        """Return outputs, (B, C), of one tensor, (B, D), or of the module's inputs."""
        if x is not None:
            inputs = split_inputs(x, self._named_inputs)
        first = [inputs.pop("")] if "" in inputs else []
        outputs: Tensor = super().forward(*first, **inputs)
        return outputs

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class is created dynamically, so pickle cannot import it by name.
        state = super().__getstate__()  # type: ignore[no-untyped-call]
        return _unpickled, (type(self).__mro__[2],), state


def _unpickled(cls: Any) -> Any:
    return _reading_class(cls).__new__(_reading_class(cls))


@cache
def _reading_class(cls: Any) -> Any:
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    return type(cls.__name__, (_ReadsOneTensor, cls), names)
