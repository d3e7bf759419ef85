"""Layers of many networks, with derivatives written out."""

import pytest
import torch
from torch import nn

from sk_tune.fleets import _products
from sk_tune.fleets._layers import (
    Activation,
    Batch,
    BatchNorm,
    Dropout,
    LayerNorm,
    Linear,
    chained,
)
from sk_tune.fleets._products import input_gradient, linear, weight_gradient

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


def test_a_batch_of_one_has_no_statistics():
    """As torch's layer, batch normalisation refuses it instead of dividing by 0."""
    layers, modules, _ = _chain(("batch",), Memory())
    batch = Batch(_tensors(*modules), slice(0, K), {})

    with pytest.raises(ValueError, match="more than one sample"):
        layers[0].forward(_normal(K, 1, D), batch)


K2, B2, D2, H2 = 3, 64, 48, 40


def _normal_products(*shape, seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def _operator():
    """Return torch's private operator, on whatever processor it is."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("torch was built without oneDNN")
    return torch.ops.mkldnn._linear_pointwise.default


@pytest.fixture(params=["batched", "one by one"])
def calls(request, monkeypatch):
    """Compute products of any size by either way; count those of oneDNN."""
    found = []
    if request.param == "batched":
        monkeypatch.setattr(_products, "_pointwise_linear", lambda: None)
        return found
    operator = _operator()

    def counted(*args):
        found.append(args)
        return operator(*args)

    monkeypatch.setattr(_products, "_pointwise_linear", lambda: counted)
    monkeypatch.setattr(_products, "_LEAST_PRODUCT", 1)
    return found


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_products_are_those_of_each_network(calls, bias, request):
    """Outputs and both derivatives, written into the memory given."""
    x, weight, dy = (
        _normal_products(*shape, seed=i)
        for i, shape in enumerate([
            (K2, B2, D2),
            (K2, H2, D2),
            (K2, B2, H2),
        ])
    )
    shift = _normal_products(K2, H2, seed=3) if bias else None
    out, dweight, dx = (t.new_empty(t.shape) for t in (dy, weight, x))

    assert linear(x, weight, shift, out) is out
    assert weight_gradient(dy, x, dweight) is dweight
    assert input_gradient(dy, weight, dx) is dx

    added = 0 if shift is None else shift.double().unsqueeze(1)
    close = {"rtol": 1e-4, "atol": 1e-4}
    exact = x.double() @ weight.double().mT + added
    torch.testing.assert_close(out.double(), exact, **close)
    by_weight = dy.double().mT @ x.double()
    torch.testing.assert_close(dweight.double(), by_weight, **close)
    torch.testing.assert_close(dx.double(), dy.double() @ weight.double(), **close)
    assert len(calls) == (3 * K2 if "one" in request.node.name else 0)


def test_inputs_that_networks_share_are_multiplied(calls):
    """A view that repeats the same rows for every network will do."""
    x, weight = (
        _normal_products(B2, D2, seed=0).expand(K2, B2, D2),
        _normal_products(K2, H2, D2, seed=1),
    )

    found = linear(x, weight, None, torch.empty(K2, B2, H2))

    torch.testing.assert_close(found, x @ weight.mT, rtol=1e-4, atol=1e-4)


def test_small_products_and_double_precision_stay_batched(monkeypatch):
    """The calls would cost more than they gain; oneDNN has no kernels for doubles."""
    asked = []
    monkeypatch.setattr(_products, "_pointwise_linear", lambda: asked.append)

    small = linear(
        _normal_products(K2, 4, 5, seed=0),
        _normal_products(K2, 6, 5, seed=1),
        None,
        _empty(4, 6),
    )
    x = _normal_products(1, 256, 128, seed=0, dtype=torch.float64)
    large = linear(x, x, None, x.new_empty(1, 256, 256))

    assert not asked
    assert small.shape == (K2, 4, 6)
    torch.testing.assert_close(large, x @ x.mT)


def _empty(n, m):
    return torch.empty(K2, n, m)


@pytest.mark.parametrize("maker", ["AuthenticAMD", "GenuineIntel"])
def test_the_maker_is_known_where_there_is_no_proc(maker, monkeypatch, tmp_path):
    """Windows names it in the environment."""
    monkeypatch.setattr(_products, "Path", lambda _: tmp_path / "missing")
    monkeypatch.setenv("PROCESSOR_IDENTIFIER", f"AMD64 Family 25 Model 33, {maker}")

    assert _products._is_of_amd() == (maker == "AuthenticAMD")


@pytest.mark.parametrize(
    ("capability", "is_amd", "has_mkl"),
    [("AVX2", True, True), ("AVX512", False, True), ("AVX512", True, False)],
)
def test_others_keep_their_batched_products(capability, is_amd, has_mkl, monkeypatch):
    """Only MKL on AMD's wide processors is known to be slow."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: has_mkl)
    monkeypatch.setattr(_products, "_is_of_amd", lambda: is_amd)

    assert _products._pointwise_linear.__wrapped__() is None


K3, M, B3, D3, H3 = 3, 4, 5, 6, 2
