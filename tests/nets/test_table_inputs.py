"""Columns of a table as the inputs of a network."""

import pytest
import torch

from sk_tune.nets import CategoryEmbedding, TableInputs


def _embedding(n_codes=(3, 5), size=2, known=None):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = CategoryEmbedding(n_codes, size)
    if known is not None:
        layer.set_known(known)
    return layer


def test_each_code_of_each_column_has_a_vector_of_its_own():
    """The vectors of a row are looked up in the column's part of the matrix."""
    layer = _embedding()

    vectors = layer(torch.tensor([[1.0, 4.0], [2.0, 1.0]]))

    own = layer.weight
    expected = [torch.cat([own[1], own[3 + 4]]), torch.cat([own[2], own[3 + 1]])]
    torch.testing.assert_close(vectors, torch.stack(expected))
    assert layer.n_outputs == 4


@pytest.mark.parametrize("code", [2.0, 5.0, 1e9, -1.0])
def test_a_code_that_is_not_known_has_the_vector_of_code_0(code):
    """Codes inside and outside of the range that was not seen are one and the same."""
    layer = _embedding(known=[[0, 1, 2], [1, 3, 4]])

    vectors = layer(torch.tensor([[1.0, code], [1.0, 0.0]]))

    assert torch.equal(vectors[0], vectors[1])


def test_the_vector_of_unknown_codes_begins_at_0_and_others_do_not():
    """Before it has been trained, an unknown category counts as none."""
    layer = _embedding()

    vectors = layer(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))

    assert (vectors[0] == 0).all()
    assert (vectors[1] != 0).all()
    assert vectors.abs().max() <= 2**-0.5


def test_a_layer_without_memory_has_its_shapes():
    """On torch's meta device, where sizes are looked at before weights are read."""
    with torch.device("meta"):
        layer = CategoryEmbedding((3, 5), 2)
        layer.set_known([[1], [2]])

    assert layer.weight.shape == (8, 2)


def test_only_the_vectors_that_are_looked_up_have_a_gradient():
    """Unknown codes train the vector of code 0, and codes that never come train none."""
    layer = _embedding(known=[[1], [1]])

    layer(torch.tensor([[1.0, 4.0]])).sum().backward()

    rows = layer.weight.grad.abs().sum(dim=1).nonzero().flatten().tolist()
    assert rows == [1, 3]


def test_numbers_come_first_and_stay_as_they_are():
    """Columns are told apart by their positions, in any order."""
    inputs = TableInputs([0, 2], [3, 1], numbers=None, categories=_embedding())
    x = torch.tensor([[0.5, 4.0, -1.5, 2.0]])

    got = inputs(x)

    expected = [x[:, [0, 2]], inputs.categories(torch.tensor([[2.0, 4.0]]))]
    torch.testing.assert_close(got, torch.cat(expected, dim=1))
    assert inputs.n_outputs == got.shape[1] == 6


def test_a_table_of_categories_alone_has_no_numbers():
    """Without number columns the vectors are all there is."""
    inputs = TableInputs([], [0, 1], numbers=None, categories=_embedding())
    x = torch.tensor([[2.0, 3.0]])

    assert torch.equal(inputs(x), inputs.categories(x))
