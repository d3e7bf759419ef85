"""Fitted networks of one architecture predict as one network."""

from threading import get_ident

import numpy as np
import pytest
import torch
from modules import OneLayer

from sk_tune._fleets import NetworkStack, architecture

SHAPES = {"MLP": (8,), "CNN": (1, 2, 4), "RNN": (4, 2), "Net": (8,)}


@pytest.fixture
def networks(make_estimator, task_data):
    """Return a function that makes fitted networks of a kind, and rows for them."""

    def make(kind="MLP", n=3, **params):
        X, y = task_data(f"{kind}Classifier")
        nets = [
            make_estimator(f"{kind}Classifier", random_state=seed, **params)
            for seed in range(n)
        ]
        modules = [net.fit(X, y).net_.module_.eval() for net in nets]
        return modules, torch.from_numpy(np.array(X)).view(-1, *SHAPES[kind])

    return make


def _each(modules, rows):
    """Return the outputs of each network for shared or separate rows."""
    own = [rows] * len(modules) if torch.is_tensor(rows) else rows
    with torch.no_grad():
        return torch.stack([m(x) for m, x in zip(modules, own, strict=True)])


def _outputs(stack, X, *, shared=True):
    return torch.cat(stack.map(X, torch.clone, shared=shared), dim=1)


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("MLP", {"normalization": "batch", "residual": True}),
        ("MLP", {"hidden_layer_sizes": (6, 6), "normalization": "layer"}),
        ("MLP", {"hidden_layer_sizes": (6, 5), "members": 3}),
        ("MLP", {"hidden_layer_sizes": (), "members": 3}),
        ("MLP", {"members": 2, "activation": "tanh", "numerical_embedding": "periodic"}),
        ("CNN", {"normalization": "batch"}),
        ("RNN", {"cell": "lstm", "bidirectional": True}),
        ("Net", {}),
    ],
)
@pytest.mark.parametrize("shared", [True, False], ids=["shared rows", "own rows"])
def test_a_stack_gives_the_outputs_of_each_network(networks, kind, params, shared):
    """On samples that all networks share, and on separate samples."""
    modules, rows = networks(kind, **params)
    own = rows if shared else torch.stack([rows, -rows, rows + 1])

    outputs = _outputs(NetworkStack(modules, rows), own, shared=shared)

    expected = _each(modules, own if shared else [*own])
    torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shared", [True, False], ids=["shared rows", "own rows"])
def test_rows_and_networks_are_cut_into_pieces_that_fit_into_the_cache(
    networks, monkeypatch, shared
):
    """Pieces are small for any numbers, and none is lost."""
    monkeypatch.setattr("sk_tune._fleets._predict._CHUNK_BYTES", 2**12)
    monkeypatch.setattr("sk_tune._fleets._predict._PIECE", 32)
    modules, rows = networks()
    X = rows if shared else rows.expand(3, *rows.shape)

    pieces = NetworkStack(modules, rows).map(X, torch.clone, shared=shared)

    assert [piece.shape[1] for piece in pieces] == [32, 28]
    torch.testing.assert_close(torch.cat(pieces, dim=1), _each(modules, rows))


def test_networks_that_cannot_be_stacked_have_a_reason():
    """A branch on the data has no batching rule."""

    class Branching(OneLayer):
        def forward(self, x):
            return self.output(x) if x.sum() > 0 else x[:, :2]

    with pytest.raises(ValueError, match="cannot run as one, because"):
        NetworkStack([Branching(), Branching()], torch.ones(3, 3))


@pytest.mark.parametrize("kind", ["MLP", "CNN", "RNN"])
def test_dropout_does_not_count_in_the_architecture(networks, kind):
    """Networks with and without dropout are stacked; predictions do not use it."""
    (plain,), rows = networks(kind, n=1, dropout=0.0)
    (dropped,), _ = networks(kind, n=1, dropout=0.3)

    assert architecture(plain) == architecture(dropped)
    outputs = _outputs(NetworkStack([plain, dropped], rows), rows)
    expected = _each([dropped], rows)[0]
    torch.testing.assert_close(outputs[1], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sizes", [(32, 32), (2,), (4, 3)])
def test_a_row_does_not_depend_on_other_rows(networks, sizes):
    """Alone or among others, a row has the same outputs, up to a last bit or two."""
    modules, rows = networks(hidden_layer_sizes=sizes)
    stack = NetworkStack(modules, rows)
    whole = _outputs(stack, rows)

    for n in (1, 2, 5, 15, 16, 17, 31):
        torch.testing.assert_close(
            _outputs(stack, rows[:n]), whole[:, :n], rtol=6e-8, atol=6e-8
        )
        own = torch.stack([rows[:n]] * 3)
        torch.testing.assert_close(_outputs(stack, own, shared=False), whole[:, :n])


@pytest.mark.parametrize("n_threads", [1, 3])
def test_threads_have_parts_of_the_rows_each(networks, monkeypatch, n_threads):
    """Rows stay in order for any number of threads; torch's threads are restored."""
    monkeypatch.setattr("sk_tune._training._one_thread._SMALL", 0)
    monkeypatch.setattr("sk_tune._fleets._predict._CHUNK_BYTES", 2**10)
    modules, rows = networks(normalization="layer")
    rows = rows.repeat(5, 1)
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        outputs = _outputs(NetworkStack(modules, rows), rows)
        assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)

    torch.testing.assert_close(outputs, _each(modules, rows), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("two_threads")
def test_an_error_in_a_thread_is_raised_when_no_thread_computes_any_more(
    networks, monkeypatch
):
    """The caller gets the error, and the next call is not disturbed."""
    monkeypatch.setattr("sk_tune._training._one_thread._SMALL", 0)
    monkeypatch.setattr("sk_tune._fleets._predict._CHUNK_BYTES", 2**10)
    modules, rows = networks()
    rows, computing = rows.repeat(20, 1), set()
    stack = NetworkStack(modules, rows)

    def fail(outputs):
        computing.add(get_ident())
        try:
            raise ZeroDivisionError
        finally:
            computing.remove(get_ident())

    with pytest.raises(ZeroDivisionError):
        stack.map(rows, fail, shared=True)

    assert not computing
    whole = _outputs(stack, rows)
    torch.testing.assert_close(whole[:, :60], whole[:, 60:120], rtol=6e-8, atol=6e-8)


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("MLP", {}),
        ("MLP", {"hidden_layer_sizes": ()}),
        ("MLP", {"hidden_layer_sizes": (5, 4), "members": 3}),
        # The first layer adds its input to its output, and cannot take the map.
        ("MLP", {"hidden_layer_sizes": (8,), "residual": True}),
        ("CNN", {}),
        ("Net", {}),
    ],
)
def test_each_network_may_see_an_affine_map_of_the_rows(networks, kind, params):
    """Outputs equal those for mapped rows, in or in front of the first layer."""
    modules, rows = networks(kind, **params)
    modules, rows = [module.double() for module in modules], rows.double()
    flat = rows.flatten(1)
    generator = torch.Generator().manual_seed(0)
    scale, shift = torch.randn(2, 3, 8, generator=generator, dtype=torch.float64)

    stack = NetworkStack(modules, rows, affine=(scale, shift))

    mapped = [
        (flat * own + moved).view(rows.shape)
        for own, moved in zip(scale, shift, strict=True)
    ]
    expected = _each(modules, mapped)
    torch.testing.assert_close(_outputs(stack, flat), expected, rtol=1e-12, atol=1e-12)
