"""Any module batched by vmap: each network by itself is the reference."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sk_tune.fleets._program import Program
from sk_tune.fleets._traced import Chain, Link
from sk_tune.nets import CNN, RNN, seed_dropout, set_dropout_step

B, C = 4, 2
SEEDS, FIRST_STEPS = [0, 11, 2**40, 7], [0, 4, 2, 900]


class UserNet(nn.Module):
    """Dropout of torch's, batch normalisation, a layer used twice, a frozen weight."""

    def __init__(self, p=0.0):
        super().__init__()
        self.first = nn.Linear(3, 6)
        self.norm = nn.BatchNorm1d(6)
        self.parts = nn.ModuleDict({"drop": nn.Dropout(p), "again": nn.Linear(6, 6)})
        self.last = nn.Linear(6, C)
        self.frozen = nn.Parameter(torch.rand(6), requires_grad=False)
        self.register_buffer("shift", torch.rand(1))

    def forward(self, x):
        h = self.parts["drop"](F.silu(self.norm(self.first(x)))) * self.frozen
        h = self.parts["drop"](self.parts["again"](h).tanh()) + self.shift
        return self.last(self.parts["again"](h))


def _cnn(p=0.0, shape=(2, 6), **options):
    defaults = {
        "n_layers": 2,
        "n_channels": 2,
        "kernel_size": 3,
        "pooling": "max",
        "width": 5,
        "activation": "relu",
        "normalization": None,
        "residual": False,
    }
    return CNN(shape, C, dropout=p, **{**defaults, **options})


def _rnn(p=0.0, **options):
    defaults = {
        "cell": "gru",
        "n_layers": 2,
        "hidden_size": 3,
        "bidirectional": False,
        "activation": "tanh",
        "normalization": None,
        "residual": False,
    }
    return RNN(3, C, dropout=p, **{**defaults, **options})


def _made(make, probabilities, **options):
    modules = []
    with torch.random.fork_rng():
        for seed, p in enumerate(probabilities):
            torch.manual_seed(seed)
            module = make(p, **options).double()
            with torch.no_grad():
                for name, tensor in module.state_dict().items():
                    if "norm" in name and tensor.is_floating_point():
                        tensor.add_(torch.rand(tensor.shape, dtype=tensor.dtype))
            modules.append(module)
    return modules


def _program(modules, positions=None):
    positions = range(len(modules)) if positions is None else positions
    unknown = Chain((Link(""),), reason="it is to be")
    return Program(modules, unknown, None, [SEEDS[i] for i in positions])


def _normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12)


class Lone:
    """A network by itself, with the dropout masks of its row in the fleet."""

    def __init__(self, module, position):
        self.module = copy.deepcopy(module)
        self.layers = seed_dropout(self.module, SEEDS[position])
        self.first_step = FIRST_STEPS[position]
        self.position = position

    def begin_epoch(self):
        """Return a generator, and keep the state of one with the same numbers."""
        generator = torch.Generator().manual_seed(SEEDS[self.position])
        self.state = generator.get_state()
        return generator

    def step(self, X, gradient, step):
        set_dropout_step(self.layers, self.first_step + step)
        parameters = [p for p in self.module.parameters() if p.requires_grad]
        with torch.random.fork_rng():
            torch.set_rng_state(self.state)
            outputs = self.module.train()(X)
            self.state = torch.get_rng_state()
        gradients = torch.autograd.grad(outputs, parameters, gradient)
        return outputs.detach(), gradients

    def evaluate(self, X):
        with torch.no_grad():
            return self.module.eval()(X)


def _lone(modules):
    return [Lone(module, i) for i, module in enumerate(modules)]


def _assert_trains_like(program, lone, shape, *, end=None, steps=2, parts=None):
    """Step, evaluate and compare; `end` puts padding into the inputs of some rows."""
    generators = [row.begin_epoch() for row in lone]
    program.begin_epoch([row.first_step for row in lone], steps, generators)
    k = len(lone)
    for step in range(steps):
        X, gradient = _normal(k, B, *shape, seed=step), _normal(k, B, C, seed=99)
        if end is not None:
            end(X)
        for rows in parts or [slice(0, k)]:
            outputs = program.forward(X[rows].clone(), rows, step)
            assert not outputs.requires_grad
            gradients = program.backward(gradient[rows].clone())
            for i, row in enumerate(range(rows.start, rows.stop)):
                expected, alone = lone[row].step(X[row], gradient[row], step)
                _close(outputs[i], expected)
                assert len(gradients) == len(alone)
                for got, own in zip(gradients, alone, strict=True):
                    _close(got[i], own)
            evaluated = program.evaluate(X[rows].clone(), rows)
            for i, row in enumerate(range(rows.start, rows.stop)):
                _close(evaluated[i], lone[row].evaluate(X[row]))
    for name, tensor in program.buffers.tensors.items():
        for i, row in enumerate(lone):
            _close(tensor[i], row.module.state_dict()[name])


class TokenNet(nn.Module):
    """An embedding whose first vector is padding."""

    def __init__(self, p=0.0):
        super().__init__()
        self.words = nn.Embedding(6, 4, padding_idx=0)
        self.last = nn.Linear(4, C)

    def forward(self, x):
        return self.last(self.words((2 * x.abs()).long().clamp(max=5)).mean(dim=1))


def test_padding_is_trained_in_no_row():
    """Its vector has no gradient, as by itself, and may be any."""
    modules = _made(TokenNet, (0.0, 0.0, 0.0))
    with torch.no_grad():
        modules[1].words.weight[0] = 1.0

    _assert_trains_like(_program(modules), _lone(modules), (7,), steps=3)


@pytest.mark.parametrize("padded", [(True, False), (False, True)], ids=str)
@pytest.mark.parametrize("dropouts", [(0.0, 0.3), (0.3, 0.0)], ids=str)
def test_padded_rows_may_join_full_ones(padded, dropouts):
    """A fleet whose old or new rows have sequences that end early looks for padding."""
    modules = _made(_rnn, dropouts, normalization="batch")
    program = _program(modules[:1])
    program.extend(_program(modules[1:], positions=[1]))

    def end(X):
        X[padded.index(True), 1, 2:] = torch.nan

    _assert_trains_like(program, _lone(modules), (5, 3), end=end)


@pytest.mark.parametrize("make", [UserNet, _cnn, _rnn], ids=["user", "cnn", "rnn"])
def test_modules_are_left_alone(make):
    """Neither their layers nor their weights are those of the program."""
    (module,) = _made(make, (0.3,))
    layers = [type(m) for m in module.modules()]
    before = copy.deepcopy(module.state_dict())
    program = _program([module])

    for tensor in program.parameters.tensors.values():
        tensor.zero_()

    assert [type(m) for m in module.modules()] == layers
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_frozen_weights_are_no_parameters():
    """Derivatives are by what is trained, in the modules' order."""
    modules = _made(UserNet, (0.0, 0.0))
    program = _program(modules)

    names = [n for n, p in modules[0].named_parameters() if p.requires_grad]
    assert list(program.parameters.tensors) == names
    assert "frozen" in program.buffers.tensors
    expected = torch.stack([m.frozen.detach() for m in modules])
    assert torch.equal(program.buffers.tensors["frozen"], expected)


def test_global_generator_is_not_touched():
    """Modules that draw from it draw from their row's own in a fleet."""
    program = _program(_made(UserNet, (0.3, 0.3)))
    program.begin_epoch([0, 0], 1, [torch.Generator(), torch.Generator()])
    before = torch.get_rng_state()

    program.forward(_normal(2, B, 3), slice(0, 2), 0)

    assert torch.equal(torch.get_rng_state(), before)


def test_row_of_infinite_numbers_touches_no_other():
    """Others have bit by bit what they have beside a finite row."""
    modules = _made(UserNet, (0.3, 0.3, 0.0))
    broken = copy.deepcopy(modules)
    with torch.no_grad():
        broken[1].first.weight.fill_(torch.inf)
    X, gradient = _normal(3, B, 3), _normal(3, B, C)

    results = []
    for program in (_program(modules), _program(broken)):
        generators = [torch.Generator().manual_seed(i) for i in range(3)]
        program.begin_epoch([0, 0, 0], 1, generators)
        outputs = program.forward(X, slice(0, 3), 0)
        gradients = program.backward(gradient)
        results.append([outputs, *gradients, *program.buffers.tensors.values()])

    for got, expected in zip(*results, strict=True):
        assert torch.equal(got[[0, 2]], expected[[0, 2]])
