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
from sk_tune.nets._members import MemberHead, MemberLinear, mean_of_members
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
    members : int, default=1
        Networks that share the weight matrices, see ``_members``.
    link : {"softmax", "sigmoid", "identity"}, default="identity"
        What makes predictions of outputs, by which members are averaged.
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
        members: int = 1,
        link: str = "identity",
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self.members = members
        self.link = link
        chunks = (1,) * n_features if inputs is None else inputs.chunks
        sizes = [sum(chunks), *hidden_layer_sizes]
        self.hidden = nn.Sequential(
            *(
                _HiddenLayer(
                    n_in,
                    n_out,
                    members=members,
                    chunks=None if index else chunks,
                    activation=activation,
                    normalization=normalization,
                    residual=residual,
                    dropout=dropout,
                )
                for index, (n_in, n_out) in enumerate(pairwise(sizes))
            )
        )
        self.output: nn.Module = (
            nn.Linear(sizes[-1], n_outputs)
            if members == 1
            else MemberHead(sizes[-1], n_outputs, members)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of a batch.

        Parameters
        ----------
        x : Tensor of shape (B, D)
            Inputs.

        Returns
        -------
        Tensor of shape (B, C)
            Unnormalised outputs.  Of several members, (B, members, C) while training.
        """
        h = x if self.inputs is None else self.inputs(x)
        if self.members > 1:
            h = h.unsqueeze(0).expand(self.members, -1, -1)
        outputs: Tensor = self.output(self.hidden(h))
        if self.members > 1:
            outputs = outputs.transpose(0, 1)
            return outputs if self.training else self.combined(outputs)
        return outputs

    def combined(self, outputs: Tensor) -> Tensor:
        """Return outputs without an axis of members.

        Parameters
        ----------
        outputs : Tensor of shape (B, C) or (B, members, C)
            Of this network.

        Returns
        -------
        Tensor of shape (B, C)
            Their prediction is the mean of the members' predictions.
        """
        if outputs.ndim == 2:
            return outputs
        return mean_of_members(outputs, self.link, dim=1)


class _HiddenLayer(nn.Module):
    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        members: int,
        chunks: Sequence[int] | None,
        activation: str,
        normalization: str | None,
        residual: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.linear: nn.Module = (
            nn.Linear(n_in, n_out)
            if members == 1
            else MemberLinear(n_in, n_out, members, chunks)
        )
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
            # Of all members alike; batch statistics are over the rows of all of them.
            h = self.norm(h.flatten(0, -2)).view_as(h)
        h = self.activation(h)
        if self.dropout is not None:
            h = self.dropout(h)
        return x + h if self.residual else h
