# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Fitted networks of one architecture as one, to predict with.

Notation: k networks, n rows, C outputs.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sk_tune.engine._rows import reason_in_module
from sk_tune.engine._structure import module_structure
from sk_tune.engine._threads import takes_one_thread
from sk_tune.engine.fleet import ModuleProgram, Program, stacked_program
from sk_tune.nets import CNN, MLP, RNN, SeededDropout

__all__ = ["NetworkStack", "architecture"]

# Of the inputs or activations of all networks at one time: more would leave the cache.
_CHUNK_BYTES = 2**20
_LEAST_ROWS = 16


def architecture(module: nn.Module) -> Any:
    """Return what networks must have in common to be stacked.

    Parameters
    ----------
    module : Module
        With its weights.

    Returns
    -------
    object
        Hashable: types, shapes and attributes of all layers, dropout aside, which does
        nothing when networks predict; the device too.
    """
    layers, tensors = module_structure(module)
    if isinstance(module, MLP | CNN | RNN):
        # Those leave dropout layers out where the probability is 0.
        layers = tuple(
            (name, kind, tuple(a for a in attributes if a[0] != "dropout"))
            for name, kind, attributes in layers
            if kind is not SeededDropout
        )
    return type(module), layers, tensors, str(next(module.parameters()).device)


class NetworkStack:
    """Networks of equal :func:`architecture`, with copies of their weights.

    Parameters
    ----------
    modules : sequence of Module
        They are not changed.
    X : Tensor of shape (n_samples, ...)
        Rows such as they take; some are tried.
    dtype : dtype or None, default=None
        To compute in; that of the networks if None.

    Raises
    ------
    ValueError
        If the networks cannot run as one, and why.
    """

    def __init__(
        self, modules: Sequence[nn.Module], X: Tensor, dtype: torch.dtype | None = None
    ) -> None:
        reason = reason_in_module(modules[0], X)
        if reason is not None:
            raise ValueError(f"The networks cannot run as one, because {reason}.")
        self.n_networks = len(modules)
        weights = list(modules[0].parameters())
        # Convolutions and recurrences use a weight more often than once a row.
        self._is_plain = X.ndim == 2 and all(w.ndim <= 2 for w in weights)
        self._n_weights = len(modules) * sum(w.numel() for w in weights)
        self._program: Program = stacked_program(modules, X)
        self._dtype = dtype or X.dtype
        for part in (self._program.parameters, self._program.buffers):
            part.tensors = {n: self._cast(t) for n, t in part.tensors.items()}
        widest = max(max(p.shape[:1], default=1) for p in modules[0].parameters())
        self._numbers_per_row = max(widest, X[0].numel()) * len(modules)

    def __call__(self, X: Tensor) -> Iterator[Tensor]:
        """Yield the outputs of all networks, some rows at a time.

        Parameters
        ----------
        X : Tensor of shape (k, n, ...)
            Rows of each network; expanded where they share them.

        Yields
        ------
        outputs : Tensor of shape (k, rows, C)
            Unnormalised; overwritten when the next are asked for.
        """
        program = self._program
        if isinstance(program, ModuleProgram) and isinstance(program.pattern, RNN):
            program.pattern.padded = bool(torch.isnan(X[..., 0]).any())
        size = _CHUNK_BYTES // (self._numbers_per_row * X.element_size())
        size = max(_LEAST_ROWS, size)
        for start in range(0, X.shape[1], size):
            with torch.no_grad():
                own = self._cast(X[:, start : start + size])
                outputs = program.evaluate(own, slice(0, self.n_networks))
            yield outputs

    def takes_one_thread(self, n_rows: int) -> bool:
        """Return whether a prediction is so little work that threads only wait.

        Parameters
        ----------
        n_rows : int
            Rows to predict.

        Returns
        -------
        bool
            Whether one thread is enough.
        """
        return self._is_plain and takes_one_thread(n_rows, self._n_weights)

    def _cast(self, values: Tensor) -> Tensor:
        # Counts, as batch normalisation keeps them, stay what they are.
        return values.to(self._dtype) if values.is_floating_point() else values
