# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Multi-layer perceptron.

Notation: B rows of a batch, D inputs, H units of a hidden layer, C outputs.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from sk_tune.nets._activations import ACTIVATIONS
from sk_tune.nets._dropout import SeededDropout
from sk_tune.nets._table_inputs import TableInputs

__all__ = ["MLP"]


class MLP(nn.Module):
    """Linear layers with activations between them.

    Parameters
    ----------
    n_features : int
        D.
    n_outputs : int
        C.
    hidden_layer_sizes : sequence of int
        Units of each hidden layer; empty for a linear model.
    activation : str
        A key of ``ACTIVATIONS``.
    normalization : {"batch", "layer"} or None
        Between each hidden layer and its activation.
    residual : bool
        Add the input of a hidden layer to its output where both have the same size.
    dropout : float
        Probability of dropping a hidden unit, in [0, 1).
    inputs : TableInputs or None, default=None
        What the columns become before the first layer; numbers as they are if None.
    """

    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        *,
        hidden_layer_sizes: Sequence[int],
        activation: str,
        normalization: str | None,
        residual: bool,
        dropout: float,
        inputs: TableInputs | None = None,
    ) -> None:
        super().__init__()
        self.inputs = inputs
        sizes = [n_features if inputs is None else inputs.n_outputs, *hidden_layer_sizes]
        self.hidden = nn.Sequential(
            *(
                _HiddenLayer(
                    n_in,
                    n_out,
                    activation=activation,
                    normalization=normalization,
                    residual=residual,
                    dropout=dropout,
                )
                for n_in, n_out in pairwise(sizes)
            )
        )
        self.output = nn.Linear(sizes[-1], n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of a batch.

        Parameters
        ----------
        x : Tensor of shape (B, D)
            Inputs.

        Returns
        -------
        Tensor of shape (B, C)
            Unnormalised outputs.
        """
        h = x if self.inputs is None else self.inputs(x)
        outputs: Tensor = self.output(self.hidden(h))
        return outputs


class _HiddenLayer(nn.Module):
    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        activation: str,
        normalization: str | None,
        residual: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)
        self.norm: nn.Module | None = None
        if normalization is not None:
            norm = nn.BatchNorm1d if normalization == "batch" else nn.LayerNorm
            self.norm = norm(n_out)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = SeededDropout(dropout) if dropout else None
        self.residual = residual and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.linear(x)
        if self.norm is not None:
            h = self.norm(h)
        h = self.activation(h)
        if self.dropout is not None:
            h = self.dropout(h)
        return x + h if self.residual else h
