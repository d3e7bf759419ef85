"""What all programs of written-out layers have in common: their memory."""

import torch

from sk_tune.engine.fleet._chain import ChainProgram
from sk_tune.engine.fleet._dropout import StackedDropout
from sk_tune.engine.fleet._layers import Linear


def _program(n_rows=2):
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
    program, _ = _program()
    like = torch.zeros(1, dtype=torch.float64)

    first = program.memory("x", like, 2, 3)

    assert program.memory("x", like, 2, 3) is first
    assert program.memory("y", like, 2, 3) is not first
    assert program.memory("x", like, 3, 2).shape == (3, 2)
    assert first.dtype == torch.float64
    assert program.memory("bits", like, 4, dtype=torch.int32).dtype == torch.int32


def test_memory_goes_with_rows_that_leave():
    """Fewer rows do not keep the memory of more."""
    program, _ = _program()
    program.begin_epoch([0, 0], 1, [None, None])
    program.forward(torch.ones(2, 4, 3, dtype=torch.float64), slice(0, 2), 0)

    program.select(torch.tensor([1]))

    assert program._store == {}


def test_derivatives_come_in_the_order_of_the_parameters():
    """The product of outputs and inputs for the weight, the sum for the bias."""
    program, modules = _program()
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
    program, modules = _program()
    X = torch.arange(12.0, dtype=torch.float64).view(4, 3)

    outputs = program.evaluate_shared(X, slice(0, 2))

    for row, module in enumerate(modules):
        torch.testing.assert_close(outputs[row], module["a"](X).detach())


def test_an_affine_map_goes_into_the_first_layer():
    """W (s x + t) + b is another linear layer; without a bias there is nowhere to go."""
    program, modules = _program()
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
    program, _ = _program()
    program.only_predict()
    like = torch.zeros(1, dtype=torch.float64)

    large = program.memory("x", like, 4, 3)
    small = program.memory("x", like, 2, 2)

    assert small.shape == (2, 2)
    assert small.data_ptr() == large.data_ptr()
    assert program.memory("y", like, 2, 2).data_ptr() != large.data_ptr()
    assert program.memory("x", like, 5, 5).shape == (5, 5)
