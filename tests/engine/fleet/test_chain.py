"""Programs that are chains of layers."""

import pytest
import torch
from torch import nn

from sk_tune.engine.fleet._active_batch import stacked_program
from sk_tune.engine.fleet._chain import (
    ChainProgram,
    PredictingLinear,
    Program,
    fold_floors,
    predicting,
    stacked_parts,
)
from sk_tune.engine.fleet._layers import Activation, Dropout, Linear
from sk_tune.engine.fleet._masks import StackedDropout


class Scaled(nn.Module):
    """A trained, a frozen and a stored tensor, and a counter."""

    def __init__(self, value):
        super().__init__()
        self.frozen = nn.Parameter(torch.full((2,), value + 0.25), requires_grad=False)
        self.trained = nn.Parameter(torch.full((3,), value))
        self.register_buffer("stored", torch.full((1,), value + 0.5))
        self.register_buffer("count", torch.tensor(int(value)))


class Sum(Program):
    """The least that is a program."""

    def forward(self, X, rows, step):
        return X + self.parts(rows)["trained"].sum()

    def backward(self, gradient):
        return [gradient]

    def evaluate(self, X, rows):
        return X


def _program(values):
    modules = [Scaled(float(value)) for value in values]
    dropout = StackedDropout(
        [[0.5]] * len(modules), values, torch.float32, torch.device("cpu")
    )
    return Sum(*stacked_parts(modules), dropout)


def test_what_is_not_trained_counts_as_a_buffer():
    """Frozen parameters stand beside the buffers, each under its name."""
    parameters, buffers = stacked_parts([Scaled(1.0), Scaled(2.0)])

    assert list(parameters.tensors) == ["trained"]
    assert list(buffers.tensors) == ["frozen", "stored", "count"]
    assert torch.equal(parameters.tensors["trained"][:, 0], torch.tensor([1.0, 2.0]))
    assert torch.equal(buffers.tensors["frozen"][:, 0], torch.tensor([1.25, 2.25]))
    assert buffers.tensors["count"].tolist() == [1, 2]
    assert not any(t.requires_grad for t in buffers.tensors.values())


@pytest.mark.parametrize("rows", [slice(0, 3), slice(1, 2), slice(1, 3)], ids=str)
def test_parts_are_views_of_the_rows(rows):
    """What is written to them is written to the program's tensors."""
    program = _program([1, 2, 3])

    program.parts(rows)["trained"].fill_(9.0)

    expected = torch.tensor([1.0, 2.0, 3.0])
    expected[rows] = 9.0
    assert torch.equal(program.parameters.tensors["trained"][:, 0], expected)


def test_parts_follow_the_rows():
    """After rows have left or come, views of the same places show the new rows."""
    program = _program([1, 2, 3])
    whole = slice(0, 3)
    program.parts(whole)

    program.select(torch.tensor([2, 0]))
    assert program.parts(slice(0, 2))["stored"][:, 0].tolist() == [3.5, 1.5]
    program.extend(_program([7]))

    parts = program.parts(whole)
    assert list(parts) == ["trained", "frozen", "stored", "count"]
    assert parts["trained"][:, 0].tolist() == [3.0, 1.0, 7.0]
    assert parts["count"].tolist() == [3, 1, 7]


def test_rows_take_their_dropout_along():
    """Keys of masks are selected and extended as the weights are."""
    program, keys = _program([1, 2, 3]), _program([3, 1, 7]).dropout.keys

    program.select(torch.tensor([2, 0]))
    program.extend(_program([7]))

    assert torch.equal(program.dropout.keys, keys)


def test_epoch_begins_with_the_masks_of_its_steps():
    """Steps that rows made before are counted in."""
    late, early = _program([1]), _program([1])

    late.begin_epoch([2], 1, [None])
    early.begin_epoch([0], 3, [None])

    for a, b in zip(
        late.dropout.numbers(0, slice(0, 1)),
        early.dropout.numbers(2, slice(0, 1)),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_program_without_derivatives_is_none():
    """Outputs, derivatives and evaluation are what a program must have."""
    with pytest.raises(TypeError, match="abstract"):
        Program(*stacked_parts([Scaled(1.0)]), _program([1]).dropout)


def _modules(*layers, n=3):
    torch.manual_seed(0)
    return [nn.Sequential(*[make() for make in layers]).double() for _ in range(n)]


def _linear(n_in, n_out, *, bias=True):
    return lambda: nn.Linear(n_in, n_out, bias=bias)


CHAINS = {
    "two ReLUs": (_linear(4, 6), nn.ReLU, _linear(6, 5), nn.ReLU, _linear(5, 2)),
    "dropout": (_linear(4, 6), nn.ReLU, nn.Dropout, _linear(6, 2)),
    "tanh": (_linear(4, 6), nn.Tanh, _linear(6, 2)),
    "no bias behind": (_linear(4, 6), nn.ReLU, _linear(6, 2, bias=False)),
    "no bias before": (_linear(4, 6, bias=False), nn.ReLU, _linear(6, 2)),
    "ReLU at the end": (_linear(4, 6), nn.ReLU),
}


@pytest.mark.parametrize("shared", [True, False], ids=["shared rows", "own rows"])
@pytest.mark.parametrize("chain", CHAINS)
def test_outputs_are_those_of_the_modules(chain, shared):
    """Whether a bias becomes a floor or is added, up to the order of sums."""
    modules = [module.eval() for module in _modules(*CHAINS[chain])]
    X = torch.randn(3, 7, 4, dtype=torch.float64)
    program = stacked_program(modules, X[0])
    program.only_predict()
    program.fold_floors()

    rows = slice(0, 3)
    outputs = program.evaluate_shared(X[0], rows) if shared else program.evaluate(X, rows)

    own = [X[0]] * 3 if shared else list(X)
    with torch.no_grad():
        expected = torch.stack([m(x) for m, x in zip(modules, own, strict=True)])
    torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)


def test_floors_take_the_place_of_relus_between_biases():
    """Dropout goes too; an activation of another kind stays."""
    memory = torch.empty

    def linear(name, **options):
        return Linear(name, memory, **options)

    relu, tanh = (Activation(m, "x", memory) for m in (nn.ReLU(), nn.Tanh()))
    dropout = Dropout(lambda x, batch: None, "y", memory)
    layers = [linear("a"), relu, dropout, linear("b"), tanh, linear("c")]

    first, second, third, last = predicting(layers)

    assert first.following is second
    assert third is tanh
    assert second.following is last.following is None


def test_a_unit_that_never_fires_adds_nothing():
    """max(x, -b) + b is 0 where x is below -b, and the next bias knows."""
    tensors = {
        "a.weight": torch.tensor([[[1.0]]]),
        "a.bias": torch.tensor([[-5.0]]),
        "b.weight": torch.tensor([[[3.0]]]),
        "b.bias": torch.tensor([[2.0]]),
    }

    def memory(name, like, *shape):
        return torch.empty(shape)

    layers = predicting([
        Linear("a", memory),
        Activation(nn.ReLU(), "r", memory),
        Linear("b", memory),
    ])
    fold_floors(layers, tensors)

    assert all(isinstance(layer, PredictingLinear) for layer in layers)
    assert tensors["a.bias"].item() == 5
    assert tensors["b.bias"].item() == 2 - 3 * 5
    h = torch.tensor([[4.0], [6.0]])
    for layer in layers:
        h = layer.evaluate(h, tensors)
    assert h.flatten().tolist() == [2.0, 5.0]


def test_numbers_of_rows_may_come_again_after_larger_ones():
    """What is kept for a number of rows does not outlive the memory it writes to."""
    modules = _modules(*CHAINS["two ReLUs"])
    X = torch.randn(40, 4, dtype=torch.float64)
    program = stacked_program(modules, X)
    program.only_predict()
    program.fold_floors()

    first = [program.evaluate_shared(X[:n], slice(0, 3)).clone() for n in (8, 8, 40, 8)]

    for n, outputs in zip((8, 8, 40, 8), first, strict=True):
        with torch.no_grad():
            expected = torch.stack([module(X[:n]) for module in modules])
        torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)
    places = {program._store["4.out"].data_ptr()}
    assert {program.evaluate_shared(X[:8], slice(0, 3)).data_ptr()} == places


def _program_chain(n_rows=2):
    modules = [
        torch.nn.ModuleDict({"a": torch.nn.Linear(3, 2)}).double() for _ in range(n_rows)
    ]
    empty = [[] for _ in modules]
    dropout = StackedDropout(empty, [0] * n_rows, torch.float64, torch.device("cpu"))
    program = ChainProgram(modules, dropout)
    program.layers = [Linear("a", program.memory, first=True, last=True)]
    return program, modules


def test_memory_of_a_name_and_shape_is_the_same_at_every_step():
    """Another name, or shape, has memory of its own."""
    program, _ = _program_chain()
    like = torch.zeros(1, dtype=torch.float64)

    first = program.memory("x", like, 2, 3)

    assert program.memory("x", like, 2, 3) is first
    assert program.memory("y", like, 2, 3) is not first
    assert program.memory("x", like, 3, 2).shape == (3, 2)
    assert first.dtype == torch.float64
    assert program.memory("bits", like, 4, dtype=torch.int32).dtype == torch.int32


def test_memory_goes_with_rows_that_leave():
    """Fewer rows do not keep the memory of more."""
    program, _ = _program_chain()
    program.begin_epoch([0, 0], 1, [None, None])
    program.forward(torch.ones(2, 4, 3, dtype=torch.float64), slice(0, 2), 0)

    program.select(torch.tensor([1]))

    assert program._store == {}


def test_derivatives_come_in_the_order_of_the_parameters():
    """The product of outputs and inputs for the weight, the sum for the bias."""
    program, modules = _program_chain()
    program.begin_epoch([0, 0], 1, [None, None])
    X = torch.arange(24.0, dtype=torch.float64).view(2, 4, 3)
    gradient = torch.ones(2, 4, 2, dtype=torch.float64)

    outputs = program.forward(X, slice(0, 2), 0)
    weight, bias = program.backward(gradient)

    for row, module in enumerate(modules):
        torch.testing.assert_close(outputs[row], module["a"](X[row]).detach())
    assert torch.equal(weight, X.sum(dim=1, keepdim=True).expand(2, 2, 3))
    assert torch.equal(bias, torch.full((2, 2), 4.0, dtype=torch.float64))


def test_rows_that_are_shared_take_one_product():
    """Outputs for shared inputs are those for as many copies of them."""
    program, modules = _program_chain()
    X = torch.arange(12.0, dtype=torch.float64).view(4, 3)

    outputs = program.evaluate_shared(X, slice(0, 2))

    for row, module in enumerate(modules):
        torch.testing.assert_close(outputs[row], module["a"](X).detach())


def test_an_affine_map_goes_into_the_first_layer():
    """W (s x + t) + b is another linear layer; without a bias there is nowhere to go."""
    program, modules = _program_chain()
    scale, shift = torch.tensor(
        [[[1.0, 2.0, 3.0], [0.5, -1.0, 2.0]], [[0.0, 1.0, -1.0], [2.0, 0.0, 1.0]]],
        dtype=torch.float64,
    )
    X = torch.arange(12.0, dtype=torch.float64).view(4, 3)

    assert program.fold_affine(scale, shift)

    outputs = program.evaluate_shared(X, slice(0, 2))
    for row, module in enumerate(modules):
        expected = module["a"](X * scale[row] + shift[row]).detach()
        torch.testing.assert_close(outputs[row], expected)
    program.layers = [Linear("a", program.memory, bias=False)]
    assert not program.fold_affine(scale, shift)


def test_memory_of_predictions_is_shared_by_shapes():
    """A name has one memory, as large as the largest shape so far."""
    program, _ = _program_chain()
    program.only_predict()
    like = torch.zeros(1, dtype=torch.float64)

    large = program.memory("x", like, 4, 3)
    small = program.memory("x", like, 2, 2)

    assert small.shape == (2, 2)
    assert small.data_ptr() == large.data_ptr()
    assert program.memory("y", like, 2, 2).data_ptr() != large.data_ptr()
    assert program.memory("x", like, 5, 5).shape == (5, 5)
