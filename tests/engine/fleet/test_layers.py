"""Layers of many networks, with derivatives written out."""

import copy

import pytest
import torch
from torch import nn

from sk_tune.engine.fleet import _layers
from sk_tune.engine.fleet._layers import (
    Activation,
    Batch,
    BatchNorm,
    Dropout,
    LayerNorm,
    Linear,
    ModuleLayer,
    Residual,
    chained,
    input_gradient,
    linear,
    run_backward,
    weight_gradient,
)
from sk_tune.engine.fleet._mlp_program import MemberHead, MemberLinear, Members
from sk_tune.nets import _mlp as nets

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


K, B, D, H = 3, 64, 48, 40


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
        monkeypatch.setattr(_layers, "_pointwise_linear", lambda: None)
        return found
    operator = _operator()

    def counted(*args):
        found.append(args)
        return operator(*args)

    monkeypatch.setattr(_layers, "_pointwise_linear", lambda: counted)
    monkeypatch.setattr(_layers, "_LEAST_PRODUCT", 1)
    return found


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_products_are_those_of_each_network(calls, bias, request):
    """Outputs and both derivatives, written into the memory given."""
    x, weight, dy = (
        _normal_products(*shape, seed=i)
        for i, shape in enumerate([(K, B, D), (K, H, D), (K, B, H)])
    )
    shift = _normal_products(K, H, seed=3) if bias else None
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
    assert len(calls) == (3 * K if "one" in request.node.name else 0)


def test_inputs_that_networks_share_are_multiplied(calls):
    """A view that repeats the same rows for every network will do."""
    x, weight = (
        _normal_products(B, D, seed=0).expand(K, B, D),
        _normal_products(K, H, D, seed=1),
    )

    found = linear(x, weight, None, torch.empty(K, B, H))

    torch.testing.assert_close(found, x @ weight.mT, rtol=1e-4, atol=1e-4)


def test_small_products_and_double_precision_stay_batched(monkeypatch):
    """The calls would cost more than they gain; oneDNN has no kernels for doubles."""
    asked = []
    monkeypatch.setattr(_layers, "_pointwise_linear", lambda: asked.append)

    small = linear(
        _normal_products(K, 4, 5, seed=0),
        _normal_products(K, 6, 5, seed=1),
        None,
        _empty(4, 6),
    )
    x = _normal_products(1, 256, 128, seed=0, dtype=torch.float64)
    large = linear(x, x, None, x.new_empty(1, 256, 256))

    assert not asked
    assert small.shape == (K, 4, 6)
    torch.testing.assert_close(large, x @ x.mT)


def _empty(n, m):
    return torch.empty(K, n, m)


@pytest.mark.parametrize("maker", ["AuthenticAMD", "GenuineIntel"])
def test_the_maker_is_known_where_there_is_no_proc(maker, monkeypatch, tmp_path):
    """Windows names it in the environment."""
    monkeypatch.setattr(_layers, "Path", lambda _: tmp_path / "missing")
    monkeypatch.setenv("PROCESSOR_IDENTIFIER", f"AMD64 Family 25 Model 33, {maker}")

    assert _layers._is_of_amd() == (maker == "AuthenticAMD")


@pytest.mark.parametrize(
    ("capability", "is_amd", "has_mkl"),
    [("AVX2", True, True), ("AVX512", False, True), ("AVX512", True, False)],
)
def test_others_keep_their_batched_products(capability, is_amd, has_mkl, monkeypatch):
    """Only MKL on AMD's wide processors is known to be slow."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: has_mkl)
    monkeypatch.setattr(_layers, "_is_of_amd", lambda: is_amd)

    assert _layers._pointwise_linear.__wrapped__() is None


ROWS = slice(0, 3)


class Scaled(nn.Module):
    """A linear layer whose input is scaled by a buffer."""

    def __init__(self, factor):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.register_buffer("factor", torch.tensor(float(factor)))

    def forward(self, x):
        """Return what the layer makes of it."""
        return torch.tanh(self.linear(x * self.factor))


def _modules():
    return [Scaled(1 + i).double() for i in range(3)]


def _tensors_module_layer(modules):
    states = [module.state_dict() for module in modules]
    return {f"own.{n}": torch.stack([s[n] for s in states]) for n in states[0]}


def test_outputs_and_derivatives_are_those_of_the_modules():
    """Each row has its own parameters and buffers."""
    modules = _modules()
    layer = ModuleLayer("own", copy.deepcopy(modules[0]))
    batch = Batch(_tensors_module_layer(modules), ROWS, 0, {})
    x, dy = torch.randn(3, 5, 4, dtype=torch.float64), torch.randn(3, 5, 2).double()

    y = layer.forward(x, batch)
    layer.backward(dy, batch, keep=True)

    assert list(batch.found) == ["own.linear.weight", "own.linear.bias"]
    for row, module in enumerate(modules):
        alone = module(x[row])
        found = torch.autograd.grad(alone, list(module.parameters()), dy[row])
        torch.testing.assert_close(y[row], alone)
        for name, expected in zip(batch.found, found, strict=True):
            torch.testing.assert_close(batch.found[name][row], expected)


def test_evaluation_keeps_nothing_for_derivatives():
    """Its outputs are the same, and no graph hangs on them."""
    modules = _modules()
    layer = ModuleLayer("own", modules[0])
    x = torch.randn(3, 5, 4, dtype=torch.float64)

    with torch.no_grad():
        y = layer.evaluate(x, _tensors_module_layer(modules))

    assert not y.requires_grad
    torch.testing.assert_close(y[2], modules[2](x[2]))


def test_the_module_that_it_was_made_from_is_left_alone():
    """The layer works on a copy, without the weights of any row."""
    modules = _modules()
    before = copy.deepcopy(modules[0].state_dict())
    layer = ModuleLayer("own", modules[0])

    with torch.no_grad():
        layer.evaluate(torch.ones(3, 5, 4).double(), _tensors_module_layer(modules))

    for name, tensor in modules[0].state_dict().items():
        assert torch.equal(tensor, before[name])


K, M, B, D, H = 3, 4, 5, 6, 2
ROWS_MEMBERS = slice(0, K)


def _memory(name, like, *shape):
    return like.new_empty(shape)


def _numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def _modules_members(kind):
    modules = [kind(D, H, M).double() for _ in range(K)]
    with torch.no_grad():
        for seed, module in enumerate(modules):
            for parameter in module.parameters():
                parameter.copy_(_numbers(*parameter.shape, seed=seed))
    return modules


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (nets.SharedLinear, lambda: MemberLinear("own", M, _memory, first=False)),
        (nets.SeparateHeads, lambda: MemberHead("own", M, _memory)),
    ],
    ids=["linear", "head"],
)
def test_outputs_and_derivatives_are_those_of_the_modules_of_members(kind, make):
    """By the parameters and by the input, for each row of the fleet."""
    modules, layer = _modules_members(kind), make()
    states = [module.state_dict() for module in modules]
    tensors = {f"own.{n}": torch.stack([s[n] for s in states]) for n in states[0]}
    batch = Batch(tensors, ROWS_MEMBERS, 0, {})
    x, dy = _numbers(K, M * B, D), _numbers(K, M * B, H, seed=1)

    y = layer.forward(x, batch)
    dx = layer.backward(dy, batch, keep=True)

    assert set(batch.found) == set(tensors)
    for row, module in enumerate(modules):
        own = x[row].view(M, B, D).requires_grad_()
        alone = module(own)
        wanted = [own, *module.parameters()]
        found = torch.autograd.grad(alone, wanted, dy[row].view(M, B, H))
        torch.testing.assert_close(y[row].view(M, B, H), alone)
        torch.testing.assert_close(layer.evaluate(x, tensors)[row], y[row])
        torch.testing.assert_close(dx[row].view(M, B, D), found[0])
        for (name, _), expected in zip(module.named_parameters(), found[1:], strict=True):
            torch.testing.assert_close(batch.found[f"own.{name}"][row], expected)


def test_each_sample_comes_once_for_each_member():
    """Member by member; their derivatives are added up."""
    layer, x, dy = Members(M, first=False), _numbers(K, B, D), _numbers(K, M * B, D)

    y = layer.evaluate(x, {})
    dx = layer.backward(dy, Batch({}, ROWS_MEMBERS, 0, {}), keep=True)

    torch.testing.assert_close(y.view(K, M, B, D), x.unsqueeze(1).expand(-1, M, -1, -1))
    torch.testing.assert_close(dx, dy.view(K, M, B, D).sum(dim=1))
