"""Tensors with a row axis, against the tensors of single networks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sk_tune.engine.fleet._stacked_optimizers import StackedTensors

SHAPES = {"weight": (2, 3), "bias": (2,), "count": ()}


def _rows(n, start=0):
    """Return the tensors of n networks, each of which holds its number."""
    return [
        {name: torch.full(shape, float(start + i)) for name, shape in SHAPES.items()}
        for i in range(n)
    ]


def _numbers(tensors):
    """Return which network each row holds, after checking that rows are whole."""
    columns = [t.flatten(1) if t.ndim > 1 else t.unsqueeze(1) for t in tensors.values()]
    whole = torch.cat(columns, dim=1)
    assert (whole == whole[:, :1]).all()
    return whole[:, 0].tolist()


def test_networks_are_stacked_by_name():
    """Each tensor gets a leading axis; parameters come as plain copies."""
    modules = [nn.Linear(3, 2) for _ in range(3)]

    stacked = StackedTensors.stacked([dict(m.named_parameters()) for m in modules])

    for name, tensor in stacked.tensors.items():
        own = [m.get_parameter(name) for m in modules]
        assert torch.equal(tensor, torch.stack(own))
        assert not tensor.requires_grad
        assert tensor.is_contiguous()


def test_tensors_in_another_order_in_memory_are_put_in_one():
    """Kernels and files walk through memory, and ask for no strides."""
    weight = torch.rand(4, 3, 2, 2).to(memory_format=torch.channels_last)
    rows = [
        {"conv": weight, "turned": torch.rand(3, 2).T},
        {"conv": weight + 1, "turned": torch.rand(2, 3)},
    ]

    stacked = StackedTensors.stacked(rows)

    assert all(tensor.is_contiguous() for tensor in stacked.tensors.values())
    assert torch.equal(stacked.tensors["conv"][0], weight)
    for k, row in enumerate(rows):
        for name, array in stacked.network(k).items():
            assert array.flags.c_contiguous
            np.testing.assert_array_equal(array, row[name].numpy())


@given(
    n=st.integers(1, 6),
    choices=st.lists(st.integers(0, 5), min_size=0, max_size=6, unique=True),
)
def test_selection_keeps_rows_in_the_order_given(n, choices):
    """Those that are named stay, others go."""
    kept = [c for c in choices if c < n]
    stacked = StackedTensors.stacked(_rows(n))

    stacked.select(torch.tensor(kept, dtype=torch.int64))

    assert _numbers(stacked.tensors) == kept
    assert {name: t.shape[1:] for name, t in stacked.tensors.items()} == SHAPES


def test_selection_frees_the_memory_of_others():
    """The storage is as large as what has stayed."""
    stacked = StackedTensors.stacked(_rows(10))

    stacked.select(torch.tensor([7]))

    for tensor in stacked.tensors.values():
        assert tensor.untyped_storage().nbytes() == tensor.numel() * 4


@given(n=st.integers(1, 4), m=st.integers(1, 4))
def test_extension_puts_rows_behind(n, m):
    """Old rows keep their places."""
    stacked = StackedTensors.stacked(_rows(n))

    stacked.extend(StackedTensors.stacked(_rows(m, start=n)))

    assert _numbers(stacked.tensors) == list(range(n + m))


@pytest.mark.parametrize("index", [[], [1], [3, 0]], ids=str)
def test_writing_overwrites_the_same_rows_in_place(index):
    """Views of the tensors see what has been written, and other rows stay."""
    stacked, other = (
        StackedTensors.stacked(_rows(4)),
        StackedTensors.stacked(_rows(4, start=10)),
    )
    views = {name: t[:] for name, t in stacked.tensors.items()}

    stacked.write(torch.tensor(index, dtype=torch.int64), other)

    assert _numbers(views) == [i + 10 if i in index else i for i in range(4)]
    assert _numbers(other.tensors) == [10, 11, 12, 13]


def test_row_is_a_copy_as_arrays():
    """One network's tensors come by name, without the row axis."""
    stacked = StackedTensors.stacked(_rows(3))

    row = stacked.network(2)
    stacked.tensors["weight"].zero_()

    assert {name: array.shape for name, array in row.items()} == SHAPES
    assert all(isinstance(array, np.ndarray) for array in row.values())
    assert all((array == 2).all() for array in row.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64], ids=str)
def test_types_of_numbers_stay(dtype):
    """A counter remains an integer through every operation."""
    rows = [{"n": torch.tensor(i, dtype=dtype)} for i in range(3)]
    stacked = StackedTensors.stacked(rows)

    stacked.extend(StackedTensors.stacked(rows))
    stacked.select(torch.tensor([5, 0]))

    assert stacked.tensors["n"].dtype == dtype
    assert torch.as_tensor(stacked.network(0)["n"]).dtype == dtype
    assert stacked.network(0)["n"] == 2
