# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Multi-layer perceptron, optionally an ensemble with shared weight matrices.

A linear layer of m members has one shared matrix W; member i has two vectors of scales and
a bias: ``y_i = s_i * (W (r_i * x_i)) + b_i`` [1]_.  Each member has its own last layer.  As
in TabM [2]_, members initially differ only in the input scales of the first layer and in
the last layer.

Notation: m members, B samples of a batch, D inputs, H units of a hidden layer, C outputs.

References
----------
.. [1] Y. Wen, D. Tran, J. Ba. BatchEnsemble: an alternative approach to efficient ensemble
   and lifelong learning. ICLR 2020.  Equation 5.
.. [2] Y. Gorishniy, A. Kotelnikov, A. Babenko. TabM: advancing tabular deep learning with
   parameter-efficient ensembling. ICLR 2025.  Section 3.
"""

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sk_tune._nets._dropout import SeededDropout
from sk_tune._nets._table_inputs import TableInputs

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "logistic": nn.Sigmoid,
    "identity": nn.Identity,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "leaky_relu": nn.LeakyReLU,
    "mish": nn.Mish,
}


def normalized_units(normalization: str | None, n_units: int) -> nn.Module | None:
    """Return a "batch" or "layer" normalisation of samples (B, n_units), or None."""
    norms = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
    return None if normalization is None else norms[normalization](n_units)


class SharedLinear(nn.Module):
    """A linear layer of m members (each D inputs, H outputs) that share its matrix.

    `chunks`, of the first layer, are the numbers of neighbouring inputs of each table
    column. Each member then draws a scale for each column: -1 or 1, or normally distributed
    if a column has several inputs. Without `chunks` all scales begin at 1.
    """

    def __init__(
        self, n_in: int, n_out: int, members: int, chunks: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.members = members
        self.weight = nn.Parameter(torch.empty(n_out, n_in))
        # One-dimensional, because L1 penalties exclude such parameters.
        self.input_scale = nn.Parameter(torch.ones(members * n_in))
        self.output_scale = nn.Parameter(torch.ones(members * n_out))
        bias = torch.empty(n_out)
        for values in (self.weight, bias):
            nn.init.uniform_(values, -(n_in**-0.5), n_in**-0.5)
        self.bias = nn.Parameter(bias.repeat(members))
        if chunks is not None:
            scales = torch.randn(members, len(chunks))
            if max(chunks) == 1:
                scales = scales.sign()
            repeats = torch.tensor(list(chunks))
            drawn = scales.repeat_interleave(repeats, dim=1, output_size=n_in)
            with torch.no_grad():
                self.input_scale.copy_(drawn.flatten())

    def forward(self, x: Tensor) -> Tensor:
        """Map the inputs of all members, (m, B, D), to their outputs, (m, B, H)."""
        r, s, b = (
            values.view(self.members, 1, -1)
            for values in (self.input_scale, self.output_scale, self.bias)
        )
        return ((x * r) @ self.weight.T) * s + b

    def extra_repr(self) -> str:
        """Return the sizes, as torch's Linear does."""
        n_out, n_in = self.weight.shape
        return f"in_features={n_in}, out_features={n_out}, members={self.members}"


class SeparateHeads(nn.Module):
    """A linear layer, H inputs and C outputs, for each of m members."""

    def __init__(self, n_in: int, n_out: int, members: int) -> None:
        super().__init__()
        self.members = members
        self.weight = nn.Parameter(torch.empty(members, n_out, n_in))
        self.bias = nn.Parameter(torch.empty(members * n_out))
        for values in (self.weight, self.bias):
            nn.init.uniform_(values, -(n_in**-0.5), n_in**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map the inputs of all members, (m, B, H), to their outputs, (m, B, C)."""
        return x @ self.weight.mT + self.bias.view(self.members, 1, -1)

    def extra_repr(self) -> str:
        """Return the sizes, as torch's Linear does."""
        _, n_out, n_in = self.weight.shape
        return f"in_features={n_in}, out_features={n_out}, members={self.members}"


def mean_of_members(outputs: Tensor, link: str, dim: int, classes: int = -1) -> Tensor:
    """Return outputs that predict the mean of the members' predictions.

    `link`, "softmax", "sigmoid", "exp" or "identity", maps outputs to predictions; `dim`
    and `classes` are the axes of the members and of the C outputs.

    >>> outputs = torch.tensor([[[0.0, 0.0]], [[0.0, 100.0]]])
    >>> mean = mean_of_members(outputs, "softmax", dim=0).softmax(dim=1)
    >>> [round(p, 3) for p in mean[0].tolist()]
    [0.25, 0.75]
    """
    if link == "identity":
        return outputs.mean(dim=dim)
    if link in {"softmax", "exp"}:
        logs = outputs.log_softmax(dim=classes) if link == "softmax" else outputs
        return logs.logsumexp(dim=dim) - math.log(outputs.shape[dim])
    # The log-odds of the mean of probabilities; both logarithms are exact far from 0.
    yes, no = (F.logsigmoid(sign * outputs).logsumexp(dim=dim) for sign in (1, -1))
    return yes - no


def by_member(outputs: Tensor, *targets: Tensor) -> tuple[Tensor, ...]:
    """Return outputs of all members, (B, m, C), as (B m, C), and each target m times."""
    m = outputs.shape[1]
    return outputs.flatten(0, 1), *(t.repeat_interleave(m, dim=0) for t in targets)


class MLP(nn.Module):
    """Linear layers with activations between them, or an ensemble that shares them.

    Parameters
    ----------
    n_features, n_outputs : int
        Numbers of inputs, and of outputs, which are not normalised.
    hidden_layer_sizes : sequence of int
        Units of the hidden layers; empty for a linear model.
    activation : str
        Activation, by its name in the estimators.
    normalization : {"batch", "layer"} or None
        Normalisation before the activation of each hidden layer.
    residual : bool
        Whether to add the input of a hidden layer to its output if their sizes are equal.
    dropout : float
        Probability of dropping a hidden unit.
    inputs : torch.nn.Module, default=None
        Module that converts columns to inputs of the first layer; its `chunks` are the
        numbers of inputs of each column.
    members : int, default=1
        Number of networks, which share the weight matrices.
    link : {"softmax", "sigmoid", "exp", "identity"}, default="identity"
        Map from outputs to the predictions, which are averaged over the members.

    Examples
    --------
    >>> import torch
    >>> from sk_tune.nets import MLP
    >>> options = {"normalization": "batch", "residual": False, "dropout": 0.1}
    >>> net = MLP(4, 2, hidden_layer_sizes=(8, 8), activation="relu", **options)
    >>> net(torch.zeros(5, 4)).shape
    torch.Size([5, 2])
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
        block = partial(
            _HiddenLayer,
            members=members,
            activation=activation,
            normalization=normalization,
            residual=residual,
            dropout=dropout,
        )
        self.hidden = nn.Sequential(
            *(
                block(n_in, n_out, chunks=None if index else chunks)
                for index, (n_in, n_out) in enumerate(pairwise(sizes))
            )
        )
        self.output: nn.Module = (
            nn.Linear(sizes[-1], n_outputs)
            if members == 1
            else SeparateHeads(sizes[-1], n_outputs, members)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return unnormalised outputs (B, C); (B, members, C) while training members."""
        h = x if self.inputs is None else self.inputs(x)
        if self.members > 1:
            h = h.unsqueeze(0).expand(self.members, -1, -1)
        outputs: Tensor = self.output(self.hidden(h))
        if self.members > 1:
            outputs = outputs.transpose(0, 1)
        return outputs if self.training else self.combined(outputs)

    def combined(self, outputs: Tensor) -> Tensor:
        """Return outputs, (B, C), that predict the mean of the members' predictions."""
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
        # Batch normalisation cancels a bias: its derivative would be rounding noise, which
        # Adam and RMSprop scale up to full steps.  Members are normalised together, so
        # their biases matter.
        self.linear: nn.Module = (
            nn.Linear(n_in, n_out, bias=normalization != "batch")
            if members == 1
            else SharedLinear(n_in, n_out, members, chunks)
        )
        self.norm = normalized_units(normalization, n_out)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = SeededDropout(dropout) if dropout else None
        self.residual = residual and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.linear(x)
        if self.norm is not None:
            # Statistics over the samples of all members.
            h = self.norm(h.flatten(0, -2)).view_as(h)
        h = self.activation(h)
        if self.dropout is not None:
            h = self.dropout(h)
        return x + h if self.residual else h
