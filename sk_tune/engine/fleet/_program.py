# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What the training loop asks of a batched network."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sk_tune.engine.fleet._dropout import RowDropout
from sk_tune.engine.fleet._weights import RowTensors

__all__ = ["Program", "stacked_parts"]


class Program(ABC):
    """K networks of one architecture as one.

    Parameters
    ----------
    parameters, buffers : RowTensors
        By the names that they have in the module.
    dropout : RowDropout
        Of the modules' seeded dropout layers.
    """

    # Outputs of each network while it trains.
    members = 1

    def __init__(
        self, parameters: RowTensors, buffers: RowTensors, dropout: RowDropout
    ) -> None:
        self.parameters = parameters
        self.buffers = buffers
        self.dropout = dropout
        self._parts: dict[tuple[int, int], dict[str, Tensor]] = {}

    def parts(self, rows: slice) -> dict[str, Tensor]:
        """Return parameters and buffers of some rows by name.

        Parameters
        ----------
        rows : slice
            Which rows, k of them.

        Returns
        -------
        dict of str to Tensor of shape (k, ...)
            Views, the parameters first.
        """
        key = (rows.start, rows.stop)
        if key not in self._parts:
            self._parts[key] = {
                name: tensor[rows]
                for part in (self.parameters, self.buffers)
                for name, tensor in part.tensors.items()
            }
        return self._parts[key]

    @abstractmethod
    def forward(self, X: Tensor, rows: slice, step: int) -> Tensor:
        """Return the outputs for a batch to train on, and keep what ``backward`` needs.

        Parameters
        ----------
        X : Tensor of shape (k, B, ...)
            Inputs.
        rows : slice
            Which rows, k of them.
        step : int
            Number of the step in the epoch.

        Returns
        -------
        Tensor of shape (k, B, C)
            Unnormalised outputs; of several members, (k, B, members, C).
        """

    def combined(self, outputs: Tensor) -> Tensor:
        """Return outputs of ``forward`` without an axis of members.

        Parameters
        ----------
        outputs : Tensor of shape (k, B, C) or (k, B, members, C)
            Unnormalised outputs.

        Returns
        -------
        Tensor of shape (k, B, C)
            Unnormalised outputs.
        """
        return outputs

    @abstractmethod
    def backward(self, gradient: Tensor) -> Sequence[Tensor]:
        """Return the derivatives by the parameters at the last batch.

        Parameters
        ----------
        gradient : Tensor of shape (k, B, C)
            Derivatives by the outputs, of their shape.

        Returns
        -------
        sequence of Tensor of shape (k, ...)
            In the order of the parameters; they may be overwritten.
        """

    @abstractmethod
    def evaluate(self, X: Tensor, rows: slice) -> Tensor:
        """Return the outputs in evaluation mode.

        Parameters
        ----------
        X : Tensor of shape (k, n, ...)
            Inputs.
        rows : slice
            Which rows, k of them.

        Returns
        -------
        Tensor of shape (k, n, C)
            Unnormalised outputs.
        """

    def begin_epoch(
        self,
        first_steps: Sequence[int],
        n_steps: int,
        generators: Sequence[torch.Generator | None],
    ) -> None:
        """Prepare the random numbers of an epoch.

        Parameters
        ----------
        first_steps : sequence of int
            Updates that each row has made before.
        n_steps : int
            Steps of the longest epoch.
        generators : sequence of Generator or None
            What the ``nn.Dropout`` layers of each row draw from.
        """
        self.dropout.begin_epoch(first_steps, n_steps)
        self._parts.clear()

    def select(self, index: Tensor) -> None:
        """Keep some rows, in the order given.

        Parameters
        ----------
        index : Tensor of shape (K',) and type int64
            Which.
        """
        for part in (self.parameters, self.buffers, self.dropout):
            part.select(index)
        self._parts.clear()

    def extend(self, other: "Program") -> None:
        """Add the rows of another program behind these.

        Parameters
        ----------
        other : Program
            Of the same architecture.
        """
        self.parameters.extend(other.parameters)
        self.buffers.extend(other.buffers)
        self.dropout.extend(other.dropout)
        self._parts.clear()


def stacked_parts(modules: Sequence[nn.Module]) -> tuple[RowTensors, RowTensors]:
    """Return the parameters and the buffers of networks of one architecture, stacked.

    What is not trained counts as a buffer.
    """
    parameters, buffers = [], []
    for module in modules:
        named = dict(module.named_parameters())
        parameters.append({n: p for n, p in named.items() if p.requires_grad})
        frozen = {n: p for n, p in named.items() if not p.requires_grad}
        buffers.append(frozen | dict(module.named_buffers()))
    return RowTensors.stacked(parameters), RowTensors.stacked(buffers)
