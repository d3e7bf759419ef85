"""Written-out layers: torch's layers and autograd are the reference."""

import pytest
import torch
from torch import nn

from sk_tune.engine.fleet._layers import (
    Activation,
    Batch,
    BatchNorm,
    Dropout,
    LayerNorm,
    Linear,
    Residual,
    chained,
    run_backward,
)

K, B, D, H = 3, 5, 4, 6


def _normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


class Memory:
    """Memory by name, filled with what no result may be read from."""

    def __init__(self):
        self.held = {}

    def __call__(self, name, like, *shape):
        fresh = like.new_full(shape, torch.nan)
        return self.held.setdefault((name, shape), fresh)


def _mask(x, batch):
    return (_normal(*x.shape, seed=3) > 0).to(x.dtype) * 1.5


def _tensors(*modules):
    return {
        f"{i}.{name}": torch.stack([
            t + 0.1 * _normal(*t.shape, seed=row) for row in range(K)
        ])
        if t.is_floating_point()
        else torch.stack([t] * K)
        for i, module in enumerate(modules)
        for name, t in module.state_dict().items()
    }


# Layers, and the torch layers that they stand for; None is the mask.
def _chain(names, memory):
    kinds = {
        "linear": (lambda n: Linear(n, memory), nn.Linear(D, D)),
        "no bias": (lambda n: Linear(n, memory, bias=False), nn.Linear(D, D, bias=False)),
        "last": (lambda n: Linear(n, memory, last=True), nn.Linear(D, H)),
        "last no bias": (
            lambda n: Linear(n, memory, last=True, bias=False),
            nn.Linear(D, H, bias=False),
        ),
        "relu": (lambda n: Activation(nn.ReLU(), n, memory), nn.ReLU()),
        "tanh": (lambda n: Activation(nn.Tanh(), n, memory), nn.Tanh()),
        "gelu": (lambda n: Activation(nn.GELU(), n, memory), nn.GELU()),
        "softmax": (lambda n: Activation(nn.Softmax(-1), n, memory), nn.Softmax(-1)),
        "layer": (lambda n: LayerNorm(n, 1e-5, memory), nn.LayerNorm(D)),
        "batch": (lambda n: BatchNorm(n, 1e-5, 0.1, memory), nn.BatchNorm1d(D)),
        "mask": (lambda n: Dropout(_mask, n, memory), None),
        "no mask": (lambda n: Dropout(lambda x, batch: None, n, memory), nn.Identity()),
    }
    made = [kinds[name] for name in names]
    layers = chained([make(str(i)) for i, (make, _) in enumerate(made)])
    modules = [nn.Identity() if m is None else m.double() for _, m in made]
    return layers, modules, [i for i, (_, m) in enumerate(made) if m is None]


def _lone(modules, masked, tensors, X, row):
    """Return the output of one row, its leaves, and the input."""
    leaves = {n: t[row].clone() for n, t in tensors.items()}
    names = [
        f"{i}.{n}" for i, module in enumerate(modules) for n, _ in module.named_parameters()
    ]
    for name in names:
        leaves[name].requires_grad_()
    x = h = X[row].clone().requires_grad_()
    for i, module in enumerate(modules):
        own = {n.partition(".")[2]: t for n, t in leaves.items() if n.startswith(f"{i}.")}
        if i in masked:
            h = h * _mask(X, None)[row] if h.shape == X.shape[1:] else h
        else:
            h = torch.func.functional_call(module.train(), own, (h,))
    return h, [leaves[n] for n in names], names, x


CHAINS = [
    ("linear",),
    ("no bias", "last no bias"),
    ("relu", "linear", "relu", "mask", "last"),
    ("linear", "tanh", "mask", "relu", "last"),
    ("linear", "relu", "mask", "tanh", "last"),
    ("linear", "relu", "mask", "mask", "tanh", "last"),
    ("linear", "tanh", "no mask", "relu", "last"),
    ("linear", "gelu", "relu", "layer", "tanh", "last", "softmax"),
    ("linear", "tanh", "layer", "relu", "mask", "last"),
    ("batch", "linear", "batch", "relu", "last", "relu"),
    ("mask", "linear", "relu", "batch", "mask"),
]


@pytest.mark.parametrize("names", CHAINS, ids="-".join)
def test_chains_are_those_of_torch(names):
    """No layer overwrites what another needs: output and all derivatives are torch's."""
    memory = Memory()
    layers, modules, masked = _chain(names, memory)
    tensors, X = _tensors(*modules), _normal(K, B, D, seed=8)
    batch = Batch({n: t.clone() for n, t in tensors.items()}, slice(0, K), 0, {})

    for _ in range(2):
        h = X.clone()
        for layer in layers:
            h = layer.forward(h, batch)
        h = h.clone()
        dy = _normal(*h.shape, seed=4)
        kept = dy.clone()
        dx = run_backward(layers, dy, batch, keep=True)

    assert torch.equal(dy, kept)
    for row in range(K):
        out, leaves, own_names, x = _lone(modules, masked, tensors, X, row)
        torch.testing.assert_close(h[row], out.detach(), rtol=1e-12, atol=1e-12)
        own = torch.autograd.grad(out, [*leaves, x], kept[row])
        torch.testing.assert_close(dx[row], own[-1], rtol=1e-11, atol=1e-12)
        for name, expected in zip(own_names, own[:-1], strict=True):
            torch.testing.assert_close(
                batch.found[name][row], expected, rtol=1e-11, atol=1e-12
            )


@pytest.mark.parametrize("names", CHAINS, ids="-".join)
def test_evaluation_leaves_the_input_alone(names):
    """The first layer of a chain owns nothing that it may overwrite."""
    layers, modules, _ = _chain(names, Memory())
    tensors, X = _tensors(*modules), _normal(K, B, D)
    before = X.clone()

    h = X
    for layer in layers:
        h = layer.evaluate(h, tensors)

    assert torch.equal(X, before)
    assert torch.isfinite(h).all()


@pytest.mark.parametrize("body", [("linear", "relu", "mask"), ("linear", "no mask")])
def test_a_residual_adds_its_input(body):
    """The derivative by the input is that of the body and that of the output."""
    memory = Memory()
    layers, modules, masked = _chain(body, memory)
    residual = Residual(layers, "sum", memory, first=False)
    tensors, X = _tensors(*modules), _normal(K, B, D, seed=8)
    batch = Batch(tensors, slice(0, K), 0, {})
    dy = _normal(K, B, D, seed=4)

    got = residual.forward(X.clone(), batch).clone()
    dx = residual.backward(dy.clone(), batch, keep=False)

    for row in range(K):
        out, _, _, x = _lone(modules, masked, tensors, X, row)
        expected = out + x
        torch.testing.assert_close(got[row], expected.detach(), rtol=1e-12, atol=1e-12)
        (own,) = torch.autograd.grad(expected, x, dy[row])
        torch.testing.assert_close(dx[row], own, rtol=1e-11, atol=1e-12)


def test_a_batch_of_one_has_no_statistics():
    """As torch's layer, batch normalisation refuses it instead of dividing by 0."""
    layers, modules, _ = _chain(("batch",), Memory())
    batch = Batch(_tensors(*modules), slice(0, K), 0, {})

    with pytest.raises(ValueError, match="more than one sample"):
        layers[0].forward(_normal(K, 1, D), batch)
