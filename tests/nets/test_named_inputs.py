"""Modules of several inputs read them from one tensor."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from sk_tune._nets import NamedInput, pack_inputs, reading_one_tensor, split_inputs

INPUTS = [
    NamedInput("x", (2, 3), ""),
    NamedInput("codes", (), "int64"),
    NamedInput("flags", (4,), "bool"),
]
_RNG = np.random.default_rng(0)
ARRAYS = {
    "x": _RNG.normal(size=(5, 2, 3)).astype(np.float32),
    "codes": np.array([0, 1, 2**24, 3, 4]),
    "flags": _RNG.random((5, 4)) > 0.5,
}


class Sum(nn.Module):
    """A layer for each input, with outputs summed."""

    def __init__(self):
        super().__init__()
        self.vectors = nn.Embedding(5, 2)
        self.linear = nn.Linear(6, 2)

    def forward(self, x, codes, flags):
        vectors = self.vectors(codes.clamp(max=4))
        return self.linear(x.flatten(1)) + vectors * flags.sum(1, keepdim=True)


def test_packed_inputs_are_restored():
    """Values, shapes and types equal the arrays; integers are exact."""
    parts = split_inputs(torch.from_numpy(pack_inputs(ARRAYS, INPUTS, "float32")), INPUTS)

    assert list(parts) == list(ARRAYS)
    for name, values in ARRAYS.items():
        torch.testing.assert_close(parts[name], torch.from_numpy(values), rtol=0, atol=0)


def test_integers_that_would_be_rounded_are_refused():
    """float32 holds integers up to 2**24; the message names the larger integer."""
    arrays = {**ARRAYS, "codes": ARRAYS["codes"] + 1}

    assert pack_inputs(arrays, INPUTS, "float64")[2, 6] == 2**24 + 1
    with pytest.raises(ValueError, match=rf"X\['codes'\] .*float32\. Got {2**24 + 1}\."):
        pack_inputs(arrays, INPUTS, "float32")


@pytest.mark.parametrize(
    "copied",
    [lambda m: m, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))],
    ids=["itself", "deepcopy", "pickle"],
)
def test_a_reader_is_the_module_on_one_tensor(copied):
    """Outputs and names of weights are the module's; the module is not changed."""
    module = Sum()
    x = torch.from_numpy(pack_inputs(ARRAYS, INPUTS, "float32"))
    inputs = {name: torch.from_numpy(values) for name, values in ARRAYS.items()}

    reader = copied(reading_one_tensor(module, INPUTS))

    assert torch.equal(reader(x), module(**inputs))
    assert torch.equal(reader(**inputs), module(**inputs))
    assert isinstance(reader, Sum)
    assert type(module) is Sum
    assert list(reader.state_dict()) == list(module.state_dict())


def test_an_input_without_a_name_is_positional():
    """A module of integers gets its only input as integers."""
    module = nn.Embedding(5, 2)
    reader = reading_one_tensor(module, [NamedInput("", (3,), "int64")])

    assert torch.equal(
        reader(torch.ones(4, 3)), module(torch.ones(4, 3, dtype=torch.int64))
    )
