"""Batched perceptrons: sk_tune.nets.MLP and autograd are the reference, row by row."""

import copy
import itertools

import pytest
import torch

from sk_tune.engine.fleet._masks import StackedDropout
from sk_tune.engine.fleet._mlp_program import MLPProgram
from sk_tune.nets import ACTIVATIONS, MLP, seed_dropout, set_dropout_step

D, C, B = 3, 2, 5
# Two layers have as many units as their input, which residual=True asks for.
SIZES = (4, 4, 3, 3)
CPU = torch.device("cpu")
SEEDS, FIRST_STEPS = [0, 11, 2**40, 7], [0, 4, 2, 900]


def _module(seed=0, *, sizes=SIZES, **options):
    defaults = {
        "hidden_layer_sizes": sizes,
        "activation": "tanh",
        "normalization": None,
        "residual": False,
        "dropout": 0.0,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = MLP(D, C, **{**defaults, **options}).double()
        # So that scales, shifts and statistics of normalisation differ from 1 and 0.
        with torch.no_grad():
            for name, tensor in module.state_dict().items():
                if "norm" in name and tensor.is_floating_point():
                    tensor.add_(torch.rand(tensor.shape, dtype=tensor.dtype))
    return module


def _modules(dropouts=(0.0, 0.0, 0.0), **options):
    return [_module(seed, dropout=p, **options) for seed, p in enumerate(dropouts)]


def _program(modules, positions=None):
    positions = range(len(modules)) if positions is None else positions
    probabilities = [StackedDropout.probabilities(m, len(m.hidden)) for m in modules]
    dropout = StackedDropout(
        probabilities, [SEEDS[i] for i in positions], torch.float64, CPU
    )
    return MLPProgram(modules, dropout)


def _normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


class Lone:
    """A network by itself, which draws the masks that its row in the fleet draws."""

    def __init__(self, module, position):
        self.module = copy.deepcopy(module).train()
        self.layers = seed_dropout(self.module, SEEDS[position])
        self.first_step = FIRST_STEPS[position]

    def step(self, X, gradient, step):
        set_dropout_step(self.layers, self.first_step + step)
        outputs = self.module.train()(X)
        gradients = torch.autograd.grad(outputs, list(self.module.parameters()), gradient)
        return outputs.detach(), gradients

    def evaluate(self, X):
        with torch.no_grad():
            return self.module.eval()(X)


def _assert_step_is_that_of(program, lone, rows, step, n_samples=B):
    k = rows.stop - rows.start
    X, gradient = _normal(k, n_samples, D, seed=step), _normal(k, n_samples, C, seed=99)
    outputs = program.forward(X.clone(), rows, step).clone()
    gradients = [g.clone() for g in program.backward(gradient.clone())]
    assert len(gradients) == len(program.parameters.tensors)
    for i, row in enumerate(range(rows.start, rows.stop)):
        expected, expected_gradients = lone[row].step(X[i], gradient[i], step)
        _close(outputs[i], expected)
        for got, alone in zip(gradients, expected_gradients, strict=True):
            _close(got[i], alone)


def _assert_evaluation_is_that_of(program, lone, rows, n_samples=9):
    X = _normal(rows.stop - rows.start, n_samples, D, seed=50)
    outputs = program.evaluate(X.clone(), rows)
    for i, row in enumerate(range(rows.start, rows.stop)):
        _close(outputs[i], lone[row].evaluate(X[i]))


def _assert_buffers_are_those_of(program, lone):
    for name, tensor in program.buffers.tensors.items():
        for i, row in enumerate(lone):
            _close(tensor[i], row.module.get_buffer(name))


def _assert_trains_like(program, lone, steps=2):
    program.begin_epoch([row.first_step for row in lone], steps, [None] * len(lone))
    for step in range(steps):
        # The last batch is larger, as where a lone sample joins it.
        n_samples = B + 1 if step == steps - 1 else B
        rows = slice(0, len(lone))
        _assert_step_is_that_of(program, lone, rows, step, n_samples)
    _assert_evaluation_is_that_of(program, lone, rows)
    _assert_buffers_are_those_of(program, lone)


def _lone(modules):
    return [Lone(module, i) for i, module in enumerate(modules)]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize(
    "dropouts",
    [(0.0, 0.0, 0.0), (0.3, 0.0, 0.6)],
    ids=["no dropout", "dropout"],
)
def test_rows_are_lone_networks(activation, normalization, residual, dropouts):
    """Outputs, all derivatives and running statistics of each row are those alone."""
    modules = _modules(
        dropouts, activation=activation, normalization=normalization, residual=residual
    )

    _assert_trains_like(_program(modules), _lone(modules))


@pytest.mark.parametrize("sizes", [(), (1,), (6,), (3, 3, 3)], ids=str)
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_networks_may_have_any_number_of_layers(sizes, dropout):
    """None at all is a linear model, and its first layer may be residual."""
    modules = _modules([dropout] * 2, sizes=sizes, residual=True, activation="relu")

    _assert_trains_like(_program(modules), _lone(modules))


def test_one_row_is_enough():
    """A fleet of one network is that network."""
    modules = _modules([0.2], normalization="batch")

    _assert_trains_like(_program(modules), _lone(modules))


@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
def test_parts_of_the_rows_may_take_batches_of_their_own_sizes(normalization):
    """Slices step one after the other, and no row sees another's batch."""
    modules = _modules([0.3, 0.0, 0.1, 0.5], normalization=normalization, residual=True)
    program, lone = _program(modules), _lone(modules)
    program.begin_epoch(FIRST_STEPS, 3, [None] * 4)

    for step in range(3):
        sizes = [(slice(0, 2), 6), (slice(2, 3), 4), (slice(3, 4), 6)]
        for rows, n_samples in sizes:
            _assert_step_is_that_of(program, lone, rows, step, n_samples)
        for rows, _ in sizes:
            _assert_evaluation_is_that_of(program, lone, rows)

    _assert_buffers_are_those_of(program, lone)


def test_rows_that_rest_keep_their_statistics():
    """A slice's batch moves the running statistics of its rows only."""
    modules = _modules(normalization="batch")
    program, lone = _program(modules), _lone(modules)
    program.begin_epoch(FIRST_STEPS[:3], 1, [None] * 3)

    _assert_step_is_that_of(program, lone, slice(1, 2), 0)

    _assert_buffers_are_those_of(program, lone)


@pytest.mark.parametrize("normalization", [None, "batch"])
def test_rows_may_leave_and_change_places(normalization):
    """Rows that stay have their weights, statistics and masks."""
    modules = _modules([0.3, 0.0, 0.2, 0.6], normalization=normalization)
    program, lone = _program(modules), _lone(modules)
    _assert_trains_like(program, lone)

    program.select(torch.tensor([3, 0]))

    _assert_trains_like(program, [lone[3], lone[0]])


@pytest.mark.parametrize(
    "dropouts",
    [(0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.4, 0.2), (0.4, 0.2, 0.0, 0.0)],
    ids=["none", "new rows", "old rows"],
)
def test_rows_may_come_late(dropouts):
    """New rows behind the old ones are networks of their own, with dropout or without."""
    modules = _modules(dropouts, normalization="batch")
    lone = _lone(modules)
    program = _program(modules[:2])
    _assert_trains_like(program, lone[:2])

    program.extend(_program(modules[2:], positions=[2, 3]))

    _assert_trains_like(program, lone)


def test_program_keeps_no_tensor_of_the_modules():
    """Training a fleet leaves the modules that it was made from alone."""
    module = _module(normalization="batch")
    before = copy.deepcopy(module.state_dict())
    program = _program([module])
    program.begin_epoch([0], 1, [None])

    program.forward(_normal(1, B, D), slice(0, 1), 0)
    for tensor in program.parameters.tensors.values():
        tensor.zero_()

    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_views_are_made_anew_after_rows_moved():
    """``parts`` shows the present tensors, under the modules' names in their order."""
    modules = _modules(normalization="batch")
    program = _program(modules)
    program.parts(slice(0, 2))

    program.select(torch.tensor([2, 1]))

    parts = program.parts(slice(0, 2))
    expected = [*dict(modules[0].named_parameters()), *dict(modules[0].named_buffers())]
    assert list(parts) == expected
    for row, module in enumerate([modules[2], modules[1]]):
        for name, tensor in module.state_dict().items():
            assert torch.equal(parts[name][row], tensor)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
def test_row_of_infinite_numbers_touches_no_other(activation, normalization):
    """Others have bit by bit what they have beside a finite row."""
    modules = _modules([0.2] * 3, activation=activation, normalization=normalization)
    broken = copy.deepcopy(modules)
    with torch.no_grad():
        broken[1].output.weight.fill_(torch.inf)
        broken[1].hidden[0].linear.weight.fill_(torch.nan)
    X, gradient = _normal(3, B, D), _normal(3, B, C)

    results = []
    for program in (_program(modules), _program(broken)):
        program.begin_epoch([0, 0, 0], 1, [None] * 3)
        outputs = program.forward(X.clone(), slice(0, 3), 0).clone()
        results.append([
            outputs,
            *program.backward(gradient.clone()),
            *program.buffers.tensors.values(),
        ])

    for got, expected in zip(*results, strict=True):
        assert torch.equal(got[[0, 2]], expected[[0, 2]])


def test_memory_of_many_shapes_is_given_back():
    """Batches of ever new sizes do not fill the memory, and stay right."""
    modules = _modules(sizes=(4,))[:1]
    program, lone = _program(modules), _lone(modules)

    for epoch, n_samples in itertools.product(range(3), range(2, 30)):
        program.begin_epoch([0], 1, [None])
        _assert_step_is_that_of(program, lone, slice(0, 1), 0, n_samples + 60 * epoch)
        assert len(program._store) < 300


@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
def test_single_precision_stays_single(normalization):
    """In float32 outputs are the module's to its precision."""
    module = _module(normalization=normalization, dropout=0.3).float()
    dropout = StackedDropout([[0.3] * 4], [0], torch.float32, CPU)
    program = MLPProgram([module], dropout)
    program.begin_epoch([0], 1, [None])
    X = _normal(1, B, D).float()
    set_dropout_step(seed_dropout(module, 0), 0)

    outputs = program.forward(X.clone(), slice(0, 1), 0)
    gradients = program.backward(torch.ones_like(outputs))

    expected = module.train()(X[0])
    torch.testing.assert_close(outputs[0], expected.detach())
    alone = torch.autograd.grad(expected.sum(), list(module.parameters()))
    for got, own in zip(gradients, alone, strict=True):
        torch.testing.assert_close(got[0], own, rtol=1e-4, atol=1e-5)
