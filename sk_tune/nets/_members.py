# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Members of an ensemble that share the weight matrices of one network.

Each linear layer has one matrix W for all members, and for member i two vectors of scales
and a bias: ``y_i = s_i * (W (r_i * x_i)) + b_i`` [1]_.  The last layer is each member's
own.  As in TabM [2]_ members differ at the start in the scales of the inputs and in their
last layers alone.

Notation: m members, B rows of a batch, D inputs and H outputs of a layer, C outputs.

References
----------
.. [1] Y. Wen, D. Tran, J. Ba. BatchEnsemble: an alternative approach to efficient ensemble
   and lifelong learning. ICLR 2020.  Equation 5.
.. [2] Y. Gorishniy, A. Kotelnikov, A. Babenko. TabM: advancing tabular deep learning with
   parameter-efficient ensembling. ICLR 2025.  Section 3.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["MemberHead", "MemberLinear", "by_member", "mean_of_members"]


class MemberLinear(nn.Module):
    """A linear layer of m members (each D inputs, H outputs) that share its matrix.

    `chunks` belongs to the first layer: how many neighbouring inputs come from one column
    of the table. Each member then draws a scale for each column: -1 or 1, or from a normal
    distribution if a column has several inputs. Without `chunks` all scales begin at 1.
    """

    def __init__(
        self, n_in: int, n_out: int, members: int, chunks: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.members = members
        self.weight = nn.Parameter(torch.empty(n_out, n_in))
        # Of one dimension, as scales and biases are that an L1 penalty leaves out.
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
            own.view(self.members, 1, -1)
            for own in (self.input_scale, self.output_scale, self.bias)
        )
        return ((x * r) @ self.weight.T) * s + b


class MemberHead(nn.Module):
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


def mean_of_members(outputs: Tensor, link: str, dim: int) -> Tensor:
    """Return outputs whose prediction is the mean of the members' predictions.

    Parameters
    ----------
    outputs : Tensor of shape (..., C)
        Unnormalised outputs, with an axis of members.
    link : {"softmax", "sigmoid", "identity"}
        What makes predictions of outputs.
    dim : int
        Axis of the members.

    Returns
    -------
    Tensor of shape (..., C)
        Unnormalised outputs, without that axis.

    Examples
    --------
    >>> outputs = torch.tensor([[[0.0, 0.0]], [[0.0, 100.0]]])
    >>> mean = mean_of_members(outputs, "softmax", dim=0).softmax(dim=1)
    >>> [round(p, 3) for p in mean[0].tolist()]
    [0.25, 0.75]
    """
    if link == "identity":
        return outputs.mean(dim=dim)
    if link == "softmax":
        n = outputs.shape[dim]
        return outputs.log_softmax(dim=-1).logsumexp(dim=dim) - math.log(n)
    # The log-odds of the mean of probabilities; both logarithms are exact far from 0.
    yes, no = (F.logsigmoid(sign * outputs).logsumexp(dim=dim) for sign in (1, -1))
    return yes - no


def by_member(outputs: Tensor, *targets: Tensor) -> tuple[Tensor, ...]:
    """Return the outputs of all members as rows, with the targets that belong to them.

    A mean loss over such rows is the mean of the members' losses.

    Parameters
    ----------
    outputs : Tensor of shape (B, m, C)
        Of all members.
    *targets : Tensor of shape (B, ...)
        Targets, and weights if there are some.

    Returns
    -------
    tuple of Tensor of shape (B * m, ...)
        Outputs, then targets.
    """
    m = outputs.shape[1]
    return outputs.flatten(0, 1), *(t.repeat_interleave(m, dim=0) for t in targets)
