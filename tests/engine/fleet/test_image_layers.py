"""Written-out layers of images: torch's layers and autograd are the reference."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from sk_tune.engine.fleet import _convolution
from sk_tune.engine.fleet._convolution import geometry_of
from sk_tune.engine.fleet._image_layers import Convolution, Flat, ImageNorm, Pooling
from sk_tune.engine.fleet._layers import Batch

K, B, C = 3, 4, 2
SIZES = {1: (7,), 2: (5, 4), 3: (4, 5, 4)}
CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
MEAN = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


def _normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _memory(name, like, *shape):
    return like.new_full(shape, torch.nan)


def _convolution_layer(dims, **options):
    module = CONV[dims](C, 3, 3, padding=1, **options)
    has_bias = module.bias is not None
    geometry = geometry_of(module)
    return Convolution("0", geometry, bias=has_bias, first=False), module


def _norm(dims):
    module = NORM[dims](C, momentum=0.3)
    return ImageNorm("0", module.eps, module.momentum), module


def _pool(dims, kinds=POOL):
    module = kinds[dims](2)
    return Pooling(module, first=False), module


LAYERS = {
    "convolution": _convolution_layer,
    "no bias": lambda dims: _convolution_layer(dims, bias=False),
    "stride": lambda dims: _convolution_layer(dims, stride=2),
    "norm": _norm,
    "maximum": _pool,
    "mean": lambda dims: _pool(dims, MEAN),
    "flat": lambda dims: (Flat("0", _memory), nn.Flatten()),
}
# From the outermost dimension in memory to the innermost.
ORDERS = {
    "rows first": lambda n: range(n),
    "batch innermost": lambda n: [0, *range(2, n), 1],
    "rows and channels innermost": lambda n: [1, *range(3, n), 0, 2],
}


def _in_order(x, order):
    found = x.permute(*order).contiguous()
    return found.permute([list(order).index(dim) for dim in range(x.ndim)])


def _tensors(module):
    return {
        f"0.{name}": torch.stack([t + _normal(*t.shape, seed=i).abs() for i in range(K)])
        if t.is_floating_point()
        else torch.stack([t] * K)
        for name, t in module.state_dict().items()
    }


def _alone(module, tensors, x, dy, row):
    """Return output, derivatives and evaluation of one network, and its buffers."""
    own = {n.removeprefix("0."): t[row].clone() for n, t in tensors.items()}
    names = [name for name, _ in module.named_parameters()]
    leaves = {name: own[name].requires_grad_() for name in names}
    leaf = x[row].clone().requires_grad_()
    y = functional_call(module.train(), own, (leaf,))
    found = torch.autograd.grad(y, [leaf, *leaves.values()], dy(y))
    evaluated = functional_call(module.eval(), own, (leaf,))
    by_name = dict(zip([f"0.{name}" for name in names], found[1:], strict=True))
    buffers = {f"0.{name}": own[name] for name, _ in module.named_buffers()}
    return y.detach(), found[0], by_name, evaluated.detach(), buffers


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("n_samples", [1, B])
def test_rows_are_the_layers_of_torch(make, dims, order, n_samples):
    """Outputs, derivatives and statistics, in whatever order in memory the images lie."""
    layer, module = make(dims)
    module.double()
    tensors = _tensors(module)
    before = {name: t.clone() for name, t in tensors.items()}
    x = _normal(K, n_samples, C, *SIZES[dims], seed=5)
    x = _in_order(x, list(order(x.ndim)))
    batch = Batch(tensors, slice(0, K), 0, {})

    y = layer.forward(x.clone(memory_format=torch.preserve_format), batch).clone()
    dy = _normal(*y.shape, seed=6)
    dx = layer.backward(dy.clone(), batch, keep=False)
    evaluated = layer.evaluate(x, tensors)

    for row in range(K):
        expected = _alone(module, before, x, lambda own, row=row: dy[row].view_as(own), row)
        _close(y[row], expected[0])
        _close(dx[row], expected[1])
        for name, gradient in expected[2].items():
            assert batch.found[name].is_contiguous()
            _close(batch.found[name][row], gradient)
        _close(evaluated[row], expected[3])
        for name, buffer in expected[4].items():
            _close(tensors[name][row], buffer)


def _close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11)


def test_the_first_layer_has_no_derivative_by_its_input(monkeypatch):
    """It is not computed."""
    asked = []
    gradients = _convolution.convolution_gradients
    monkeypatch.setattr(
        "sk_tune.engine.fleet._image_layers.convolution_gradients",
        lambda *args: asked.append(args[-1]) or gradients(*args),
    )
    module = nn.Conv2d(C, 3, 3).double()
    layer = Convolution("0", geometry_of(module), bias=True, first=True)
    batch = Batch(_tensors(module), slice(0, K), 0, {})
    y = layer.forward(_normal(K, B, C, 5, 4), batch)

    layer.backward(torch.ones_like(y), batch, keep=False)

    assert asked == [(False, True, True)]
    pool = Pooling(nn.MaxPool2d(2), first=True)
    assert not pool.forward(y, batch).requires_grad


def test_a_channel_of_one_number_has_no_spread():
    """As by torch, whose words a lone network would have."""
    layer, module = _norm(2)
    batch = Batch(_tensors(module.double()), slice(0, K), 0, {})

    with pytest.raises(ValueError, match="more than one number a channel"):
        layer.forward(_normal(K, 1, C, 1, 1), batch)
