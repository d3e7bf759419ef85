# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Recurrent network that reads a sequence and predicts from its last state.

Notation: B samples of a batch, T steps, F features of a step, H units, C outputs.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sk_tune._nets._dropout import SeededDropout
from sk_tune._nets._mlp import normalized_units
from sk_tune._nets._table_inputs import CategoryEmbedding

_CELLS: dict[str, Any] = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}


class RNN(nn.Module):
    """Stacked recurrent layers, then one linear layer on the last state.

    Steps of NaN at the end of a sample are padding, which all layers ignore.

    Parameters
    ----------
    n_features, n_outputs : int
        Numbers of features of a step, and of outputs, which are not normalised.
    cell : {"gru", "lstm", "rnn"}
        Kind of the recurrent layers.
    n_layers, hidden_size : int
        Number of layers, and units of each.
    bidirectional : bool
        Whether to read sequences in both directions.
    activation : {"tanh", "relu"}
        Activation of "rnn" cells; without effect on others.
    normalization : {"batch", "layer"} or None
        Normalisation of each layer's output, over its steps.
    residual : bool
        Whether to add the input of a layer to its output if both have the same size.
    dropout : float
        Probability of dropping an output of a layer.
    tokens : CategoryEmbedding, default=None
        Vectors of tokens, if steps are ids of tokens; id i has the code 1 + i.

    Examples
    --------
    >>> import torch
    >>> from sk_tune.nets import RNN
    >>> options = {"normalization": None, "residual": False, "dropout": 0.0}
    >>> options |= {"bidirectional": True, "activation": "tanh"}
    >>> net = RNN(3, 2, cell="gru", n_layers=1, hidden_size=8, **options)
    >>> net(torch.zeros(5, 7, 3)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        *,
        cell: str,
        n_layers: int,
        hidden_size: int,
        bidirectional: bool,
        activation: str,
        normalization: str | None,
        residual: bool,
        dropout: float,
        tokens: CategoryEmbedding | None = None,
    ) -> None:
        super().__init__()
        self.tokens = tokens
        n_features = n_features if tokens is None else tokens.size
        n_out = hidden_size * (1 + bidirectional)
        options: dict[str, object] = {"batch_first": True, "bidirectional": bidirectional}
        if cell == "rnn":
            options["nonlinearity"] = activation
        self.layers = nn.ModuleList()
        for n_in in [n_features, *[n_out] * (n_layers - 1)]:
            recurrence = _CELLS[cell](n_in, hidden_size, **options)
            layer = _RecurrentLayer(
                recurrence, n_out, normalization, residual and n_in == n_out, dropout
            )
            self.layers.append(layer)
        self.hidden_size = hidden_size
        self.bidirectional = bidirectional
        self.output = nn.Linear(n_out, n_outputs)
        # Whether there is padding; None checks each batch, which vmap does not allow.
        self.padded: bool | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return unnormalised outputs, (B, C), of sequences (B, T, F), padded with NaN."""
        padding = torch.isnan(x[:, :, 0])
        lengths = None
        is_padded = self.padded
        if is_padded is None:
            is_padded = not torch.compiler.is_exporting() and bool(padding.any())
        if is_padded:
            lengths = x.shape[1] - padding.sum(dim=1)
            x = torch.where(padding.unsqueeze(2), torch.zeros_like(x), x)
        if self.tokens is not None:
            vectors = self.tokens(x.reshape(-1, 1) + 1)
            x = vectors.view(*x.shape[:2], -1)
        for layer in self.layers:
            x = layer(x, lengths)
        # The last state of each direction, (B, H): backward, at the first step.
        last = x[:, -1]
        if lengths is not None:
            last = x[torch.arange(len(x), device=x.device), lengths - 1]
        if self.bidirectional:
            h = self.hidden_size
            last = torch.cat([last[:, :h], x[:, 0, h:]], dim=1)
        outputs: Tensor = self.output(last)
        return outputs


class _RecurrentLayer(nn.Module):
    def __init__(
        self,
        recurrence: nn.RNNBase,
        n_out: int,
        normalization: str | None,
        residual: bool,  # noqa: FBT001
        dropout: float,
    ) -> None:
        super().__init__()
        # A fleet sets its own recurrence.
        self.recurrence: nn.Module = recurrence
        self.norm = normalized_units(normalization, n_out)
        self.residual = residual
        self.dropout = SeededDropout(dropout) if dropout else None

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        h = self._recur(x, lengths)
        if self.norm is not None:
            if lengths is None or isinstance(self.norm, nn.LayerNorm):
                h = self.norm(h.reshape(-1, h.shape[-1])).view_as(h)
            else:
                # Batch statistics exclude padding.
                real = torch.arange(h.shape[1], device=h.device) < lengths.unsqueeze(1)
                h = _masked_batch_norm(self.norm, h, real.to(h.dtype).unsqueeze(2))
        if self.residual:
            h = h + x
        return h if self.dropout is None else self.dropout(h)

    def _recur(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        if not isinstance(self.recurrence, nn.RNNBase):
            twin: Tensor = self.recurrence(x, lengths)
            return twin
        if lengths is None:
            h: Tensor = self.recurrence(x)[0]
            return h
        # Packed, because the backward direction must start at each sample's last step.
        packed = pack_padded_sequence(
            x, lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        h, _ = pad_packed_sequence(
            self.recurrence(packed)[0], batch_first=True, total_length=x.shape[1]
        )
        return h


def _masked_batch_norm(norm: Any, h: Tensor, real: Tensor) -> Tensor:
    """Normalise steps with `real` 1, as nn.BatchNorm1d does; padding becomes 0."""
    mean, variance = norm.running_mean, norm.running_var
    if norm.training:
        n = real.sum()
        mean = (h * real).sum(dim=(0, 1)) / n
        variance = (torch.square(h - mean) * real).sum(dim=(0, 1)) / n
        with torch.no_grad():
            unbiased = variance * (n / (n - 1))
            # torch.func.vmap supports mul_ and add_.
            norm.running_mean.mul_(1 - norm.momentum).add_(mean * norm.momentum)
            norm.running_var.mul_(1 - norm.momentum).add_(unbiased * norm.momentum)
            norm.num_batches_tracked.add_(1)
    normalized = (h - mean) * (variance + norm.eps).rsqrt()
    scaled: Tensor = (normalized * norm.weight + norm.bias) * real
    return scaled
