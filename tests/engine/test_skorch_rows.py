"""Rows to predict come in the batches of a data loader, and leave no other trace."""

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset
from torch import nn
from torch.utils.data import DataLoader

from sk_tune.engine._skorch_adoption import _Slices, cutting_iterator

GET_ITERATOR = NeuralNetClassifier.get_iterator
CUTTING = cutting_iterator(GET_ITERATOR)


@pytest.fixture
def net():
    """Return a plain net with batches of 4."""
    return NeuralNetClassifier(nn.Linear, batch_size=4)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("shape", [(11, 3), (8, 2, 5), (1, 1)])
@pytest.mark.parametrize("batch_size", [3, 4, 100, -1])
def test_batches_are_those_of_a_data_loader(net, dtype, shape, batch_size):
    """Rows, placeholders, their types and the state of torch's generator are the same."""
    net.set_params(iterator_valid__batch_size=batch_size)
    X = np.asfortranarray(np.arange(np.prod(shape), dtype=dtype).reshape(shape))

    found = []
    for method in (GET_ITERATOR, CUTTING):
        torch.manual_seed(3)
        iterator = method(net, Dataset(X), training=False)
        found.append((len(iterator), list(iterator), torch.get_rng_state()))
    (n_loaded, loaded, state), (n_cut, cut, own_state) = found

    assert isinstance(CUTTING(net, Dataset(X)), _Slices)
    assert n_loaded == n_cut == len(loaded) == len(cut)
    for batch, own in zip(loaded, cut, strict=True):
        for part, own_part in zip(batch, own, strict=True):
            assert part.dtype == own_part.dtype
            torch.testing.assert_close(own_part, part, rtol=0, atol=0)
    assert torch.equal(state, own_state)


@pytest.mark.parametrize(
    ("changes", "dataset", "training"),
    [
        ({}, Dataset(np.ones((4, 2))), True),
        ({}, Dataset(np.ones((4, 2)), np.ones(4)), False),
        ({}, Dataset(torch.ones(4, 2)), False),
        ({}, Dataset(np.ones(4)), False),
        ({}, Dataset({"x": np.ones((4, 2))}), False),
        ({}, Dataset(np.ones((4, 2), dtype=bool)), False),
        ({"iterator_valid__drop_last": True}, Dataset(np.ones((4, 2))), False),
    ],
)
def test_all_else_is_for_the_data_loader(net, changes, dataset, training):
    """Targets, training, other data and other options go skorch's way."""
    net.set_params(**changes)

    assert type(CUTTING(net, dataset, training=training)) is DataLoader


def test_datasets_and_iterators_of_a_users_own_are_asked(net):
    """A class derived from skorch's dataset or torch's data loader is not passed over."""

    class Own(Dataset):
        def transform(self, X, y):
            return super().transform(2 * X, y)

    class Loader(DataLoader):
        pass

    assert type(CUTTING(net, Own(np.ones((4, 2))))) is DataLoader
    net.set_params(iterator_valid=Loader)
    assert type(CUTTING(net, Dataset(np.ones((4, 2))))) is Loader


def test_a_batch_that_is_written_to_leaves_the_data_as_they_are(net):
    """What a module does to its input in place is not seen in X."""
    X = np.ones((4, 2))

    for rows, _ in CUTTING(net, Dataset(X)):
        rows.zero_()

    assert X.all()
