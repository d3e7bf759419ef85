# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Convolutional network for signals (C, L), images (C, H, W) and volumes (C, D, H, W).

Notation: B samples of a batch, C channels; spatial sizes follow.
"""

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

from torch import Tensor, nn

from sk_tune._nets._dropout import SeededDropout
from sk_tune._nets._mlp import ACTIVATIONS

_CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_ZERO_PAD: dict[int, Any] = {1: nn.ZeroPad1d, 2: nn.ZeroPad2d, 3: nn.ZeroPad3d}
_BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_POOL: dict[str, Any] = {
    "max": {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d},
    "avg": {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d},
}


class CNN(nn.Module):
    """Convolution blocks, then one dense hidden layer.

    Parameters
    ----------
    input_shape : sequence of int
        Number of channels, and one to three spatial sizes.
    n_outputs : int
        Number of outputs, which are not normalised.
    n_layers : int
        Number of blocks.
    n_channels : int
        Channels of the first block; each block doubles them.
    kernel_size : int
        Size of the kernels along each axis.
    pooling : {"max", "avg"} or None
        Pooling of each block, which halves the spatial sizes.
    width : int
        Units of the dense layer.
    activation : str
        Activation, by its name in the estimators.
    normalization : {"batch", "layer"} or None
        Normalisation; "layer" normalises all channels of a sample together.
    residual : bool
        Whether to add the input of a convolution to its output, through a 1x1 convolution
        if the numbers of channels differ.
    dropout : float
        Probability of dropping an element after each block and in the dense layer.

    Examples
    --------
    >>> import torch
    >>> from sk_tune.nets import CNN
    >>> options = {"pooling": "max", "normalization": None, "residual": False, "dropout": 0}
    >>> sizes = {"n_layers": 2, "n_channels": 4, "kernel_size": 3, "width": 16}
    >>> net = CNN((3, 8, 8), 10, activation="relu", **sizes, **options)
    >>> net(torch.zeros(5, 3, 8, 8)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        n_outputs: int,
        *,
        n_layers: int,
        n_channels: int,
        kernel_size: int,
        pooling: str | None,
        width: int,
        activation: str,
        normalization: str | None,
        residual: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        channels, *sizes = input_shape
        block = partial(
            _ConvBlock,
            kernel_size=kernel_size,
            pooling=pooling,
            activation=activation,
            normalization=normalization,
            residual=residual,
            dropout=dropout,
        )
        self.blocks = nn.Sequential()
        for index in range(n_layers):
            layers = block(channels, n_channels * 2**index, sizes)
            self.blocks.append(layers)
            channels, sizes = n_channels * 2**index, layers.sizes
        self.dense = nn.Linear(channels * prod(sizes), width)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = SeededDropout(dropout) if dropout else None
        self.output = nn.Linear(width, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return unnormalised outputs, (B, n_outputs), of a batch (B, C, ...)."""
        h: Tensor = self.activation(self.dense(self.blocks(x).flatten(1)))
        if self.dropout is not None:
            h = self.dropout(h)
        outputs: Tensor = self.output(h)
        return outputs


class _ConvBlock(nn.Module):
    def __init__(
        self,
        n_in: int,
        n_out: int,
        sizes: Sequence[int],
        *,
        kernel_size: int,
        pooling: str | None,
        activation: str,
        normalization: str | None,
        residual: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        n_dims = len(sizes)
        conv = _CONV[n_dims]
        # Torch pads both sides equally; even kernels need one more element at the end.
        start, end = (kernel_size - 1) // 2, kernel_size // 2
        self.pad = _ZERO_PAD[n_dims]((start, end) * n_dims) if end > start else None
        padding = 0 if end > start else start
        # Normalisation of each channel cancels the bias.
        has_bias = normalization is None or (normalization == "layer" and n_out > 1)
        self.conv = conv(n_in, n_out, kernel_size, padding=padding, bias=has_bias)
        self.norm: nn.Module | None = None
        if normalization == "batch":
            self.norm = _BATCH_NORM[n_dims](n_out)
        elif normalization == "layer":
            self.norm = nn.GroupNorm(1, n_out)
        self.activation = ACTIVATIONS[activation]()
        self.shortcut: nn.Module | None = None
        if residual:
            self.shortcut = nn.Identity() if n_in == n_out else conv(n_in, n_out, 1)
        self.sizes = list(sizes)
        self.pool: Any = None
        if pooling is not None:
            window = tuple(min(2, size) for size in sizes)
            self.sizes = [s // w for s, w in zip(sizes, window, strict=True)]
            self.pool = _POOL[pooling][n_dims](window)
        # Max pooling and ReLU commute, as do their derivatives; after pooling, ReLU has a
        # fraction of the work.
        is_same = pooling == "max" and activation == "relu"
        self.pools_first = is_same and self.shortcut is None
        self.dropout = SeededDropout(dropout) if dropout else None

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.conv(x if self.pad is None else self.pad(x))
        if self.norm is not None:
            h = self.norm(h)
        if self.pools_first:
            h = self.activation(self.pool(h))
        else:
            h = self.activation(h)
            if self.shortcut is not None:
                h = h + self.shortcut(x)
            if self.pool is not None:
                h = self.pool(h)
        return h if self.dropout is None else self.dropout(h)
