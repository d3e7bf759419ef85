"""The convolutional network: shapes, blocks, and torch's layers."""

import pytest
import torch
from torch.nn import functional as F

from sk_tune._nets import CNN

PLAIN = {
    "n_layers": 2,
    "n_channels": 4,
    "kernel_size": 3,
    "pooling": "max",
    "width": 6,
    "activation": "relu",
    "normalization": None,
    "residual": False,
    "dropout": 0.0,
}


def test_block_is_convolution_activation_pooling():
    """The block equals torch's functions in this order."""
    net = CNN((1, 6, 6), 2, **{**PLAIN, "n_layers": 1})
    x = torch.randn(3, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    conv = net.blocks[0].conv

    h = F.max_pool2d(F.relu(F.conv2d(x, conv.weight, conv.bias, padding=1)), 2)

    torch.testing.assert_close(net(x), net.output(F.relu(net.dense(h.flatten(1)))))


def test_residual_block_adds_its_input_through_a_1x1_convolution():
    """One channel becomes four, so the shortcut is a projection."""
    net = CNN((1, 6), 2, **{**PLAIN, "n_layers": 1, "residual": True, "pooling": None})
    x = torch.randn(3, 1, 6, generator=torch.Generator().manual_seed(0))
    block = net.blocks[0]

    expected = F.relu(block.conv(x)) + block.shortcut(x)

    torch.testing.assert_close(block(x), expected)
    assert block.shortcut.kernel_size == (1,)


@pytest.mark.parametrize(
    ("normalization", "n_channels", "has_bias"),
    [(None, 1, True), ("batch", 3, False), ("layer", 3, True), ("layer", 1, False)],
)
def test_there_is_no_bias_before_normalisation_that_cancels_it(
    normalization, n_channels, has_bias
):
    """Its derivative would be rounding noise, which Adam scales up to full steps."""
    options = {"normalization": normalization, "n_channels": n_channels}
    net = CNN((1, 6, 6), 2, **{**PLAIN, **options})

    assert (net.blocks[0].conv.bias is not None) == has_bias
