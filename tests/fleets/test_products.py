"""Products of many networks."""

import pytest
import torch

from sk_tune._fleets import _layers
from sk_tune._fleets._layers import linear

K, B, D, H = 3, 64, 48, 40


def _normal(*shape, seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def _operator():
    """Return torch's private operator, on any processor."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("torch was built without oneDNN")
    return torch.ops.mkldnn._linear_pointwise.default


@pytest.fixture(params=["batched", "one by one"])
def calls(request, monkeypatch):
    """Compute products of any size in both ways, and count the calls of oneDNN."""
    counts = []
    if request.param == "batched":
        monkeypatch.setattr(_layers, "_pointwise_linear", lambda: None)
        return counts
    operator = _operator()

    def counted(*args):
        counts.append(args)
        return operator(*args)

    monkeypatch.setattr(_layers, "_pointwise_linear", lambda: counted)
    monkeypatch.setattr(_layers, "_LEAST_PRODUCT", 1)
    return counts


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_products_equal_each_network_alone(calls, bias, request):
    """So do both gradients."""
    shapes = (K, B, D), (K, H, D), (K, B, H)
    x, weight, dy = (_normal(*shape, seed=i) for i, shape in enumerate(shapes))
    shift = _normal(K, H, seed=3) if bias else None

    out, dweight, dx = linear(x, weight, shift), linear(dy.mT, x.mT), linear(dy, weight.mT)

    added = 0 if shift is None else shift.double().unsqueeze(1)
    close = {"rtol": 1e-4, "atol": 1e-4}
    exact = x.double() @ weight.double().mT + added
    torch.testing.assert_close(out.double(), exact, **close)
    by_weight = dy.double().mT @ x.double()
    torch.testing.assert_close(dweight.double(), by_weight, **close)
    torch.testing.assert_close(dx.double(), dy.double() @ weight.double(), **close)
    assert len(calls) == (0 if "batched" in request.node.name else 3 * K)


def test_shared_inputs_are_multiplied(calls):
    """The inputs may be a view that repeats the samples for every network."""
    x, weight = _normal(B, D, seed=0).expand(K, B, D), _normal(K, H, D, seed=1)

    outputs = linear(x, weight)

    torch.testing.assert_close(outputs, x @ weight.mT, rtol=1e-4, atol=1e-4)


def test_small_products_and_double_precision_stay_batched(monkeypatch):
    """Calls for small products cost more than they gain; oneDNN has no doubles."""
    calls = []
    monkeypatch.setattr(_layers, "_pointwise_linear", lambda: calls.append)

    x, weight = _normal(K, 4, 5, seed=0), _normal(K, 6, 5, seed=1)
    small = linear(x, weight)
    x = _normal(1, 256, 128, seed=0, dtype=torch.float64)
    large = linear(x, x)

    assert not calls
    assert small.shape == (K, 4, 6)
    torch.testing.assert_close(large, x @ x.mT)


@pytest.mark.parametrize("maker", ["AuthenticAMD", "GenuineIntel"])
def test_the_vendor_is_found_without_proc(maker, monkeypatch, tmp_path):
    """Windows has the vendor in the environment."""
    monkeypatch.setattr(_layers, "Path", lambda _: tmp_path / "missing")
    monkeypatch.setenv("PROCESSOR_IDENTIFIER", f"AMD64 Family 25 Model 33, {maker}")

    assert _layers._is_of_amd() == (maker == "AuthenticAMD")


@pytest.mark.parametrize(
    ("capability", "is_amd", "has_mkl"),
    [("AVX2", True, True), ("AVX512", False, True), ("AVX512", True, False)],
)
def test_other_processors_keep_batched_products(capability, is_amd, has_mkl, monkeypatch):
    """Only MKL on AMD's wide processors is known to be slow."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: has_mkl)
    monkeypatch.setattr(_layers, "_is_of_amd", lambda: is_amd)

    assert _layers._pointwise_linear.__wrapped__() is None
