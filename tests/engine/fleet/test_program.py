"""What all programs have in common: stacked tensors and views of them."""

import pytest
import torch
from torch import nn

from sk_tune.engine.fleet._chain import Program, stacked_parts
from sk_tune.engine.fleet._dropout import StackedDropout


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
