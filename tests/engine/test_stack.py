"""Fitted networks of one architecture predict as one."""

import numpy as np
import pytest
import torch
from torch import nn

from sk_tune.engine import NetworkStack, architecture


def _modules(make_estimator, data, kind, n=3, **params):
    X, y = data
    return [
        make_estimator(f"{kind}Classifier", random_state=seed, **params)
        .fit(X, y)
        .net_.module_.eval()
        for seed in range(n)
    ]


@pytest.mark.parametrize(
    ("kind", "params", "shape"),
    [
        ("MLP", {"normalization": "batch", "residual": True}, (8,)),
        ("MLP", {"hidden_layer_sizes": (6, 6), "normalization": "layer"}, (8,)),
        ("CNN", {"normalization": "batch"}, (1, 2, 4)),
        ("RNN", {"cell": "lstm", "bidirectional": True}, (4, 2)),
        ("Net", {}, (8,)),
    ],
)
@pytest.mark.parametrize("shared", [True, False], ids=["shared rows", "own rows"])
def test_a_stack_gives_what_each_network_gives(
    make_estimator, task_data, kind, params, shape, shared
):
    """Outputs of all networks, on rows that they share or on their own."""
    X, y = task_data(f"{kind}Classifier")
    modules = _modules(make_estimator, (X, y), kind, **params)
    rows = torch.from_numpy(np.array(X)).view(-1, *shape)
    inputs = rows.expand(3, *rows.shape) if shared else torch.stack([rows, -rows, rows + 1])

    outputs = torch.cat([o.clone() for o in NetworkStack(modules, rows)(inputs)], dim=1)

    with torch.no_grad():
        expected = torch.stack([m(x) for m, x in zip(modules, inputs, strict=True)])
    torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-5)


def test_rows_are_cut_into_pieces_that_fit_into_the_cache(
    make_estimator, task_data, monkeypatch
):
    """However many rows there are, few are computed at a time, and none is lost."""
    monkeypatch.setattr("sk_tune.engine._stack._CHUNK_BYTES", 2**12)
    X, y = task_data("MLPClassifier")
    modules = _modules(make_estimator, (X, y), "MLP")
    rows = torch.from_numpy(np.array(X))
    inputs = rows.expand(3, *rows.shape)

    pieces = [o.clone() for o in NetworkStack(modules, rows)(inputs)]

    assert [piece.shape[1] for piece in pieces] == [42, 18]
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(pieces, dim=1)[1], modules[1](rows))


def test_a_stack_may_compute_in_another_dtype(make_estimator, task_data):
    """In float64 the result is that of the networks in float64."""
    X, y = task_data("MLPClassifier")
    modules = _modules(make_estimator, (X, y), "MLP", normalization="batch")
    rows = torch.from_numpy(np.array(X))

    (outputs,) = NetworkStack(modules, rows, torch.float64)(rows.expand(3, *rows.shape))

    with torch.no_grad():
        expected = modules[2].double()(rows.double())
    torch.testing.assert_close(outputs[2], expected, rtol=1e-12, atol=1e-12)


def test_the_networks_are_not_changed(make_estimator, task_data):
    """A stack has copies of the weights."""
    X, y = task_data("MLPClassifier")
    modules = _modules(make_estimator, (X, y), "MLP")
    rows = torch.from_numpy(np.array(X))
    stack = NetworkStack(modules, rows)
    (before,) = (o.clone() for o in stack(rows.expand(3, *rows.shape)))

    nn.init.zeros_(modules[0].output.weight)

    (after,) = stack(rows.expand(3, *rows.shape))
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_what_cannot_be_stacked_says_why():
    """A branch on the data has no batching rule."""

    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.output = nn.Linear(2, 1)

        def forward(self, x):
            return self.output(x) if x.sum() > 0 else x[:, :1]

    with pytest.raises(ValueError, match="cannot run as one, because"):
        NetworkStack([Branching(), Branching()], torch.ones(3, 2))


@pytest.mark.parametrize("kind", ["MLP", "CNN", "RNN"])
def test_dropout_is_no_part_of_the_architecture(make_estimator, task_data, kind):
    """Networks with and without dropout are stacked; it does nothing to predictions."""
    data = task_data(f"{kind}Classifier")
    plain, dropped = (
        _modules(make_estimator, data, kind, n=1, dropout=p)[0] for p in (0.0, 0.3)
    )

    assert architecture(plain) == architecture(dropped)
    rows = torch.from_numpy(np.array(data.X)).view(
        -1, *{"MLP": (8,), "CNN": (1, 2, 4), "RNN": (4, 2)}[kind]
    )
    (outputs,) = NetworkStack([plain, dropped], rows)(rows.expand(2, *rows.shape))
    with torch.no_grad():
        torch.testing.assert_close(outputs[1], dropped(rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "params",
    [
        {"hidden_layer_sizes": (7,)},
        {"activation": "tanh"},
        {"normalization": "batch"},
        {"hidden_layer_sizes": (6, 6)},
        {"dtype": "float64"},
    ],
    ids=str,
)
def test_architectures_differ_in_what_fixes_the_program(make_estimator, task_data, params):
    """Width, activation, normalisation, depth and dtype."""
    data = task_data("MLPClassifier")
    (plain,) = _modules(make_estimator, data, "MLP", n=1)
    (other,) = _modules(make_estimator, data, "MLP", n=1, **params)

    assert architecture(plain) != architecture(other)


def test_little_work_takes_one_thread(make_estimator, task_data):
    """Rows times weights of all networks decide; convolutions are not counted so."""
    data = task_data("MLPClassifier")
    modules = _modules(make_estimator, data, "MLP")
    stack = NetworkStack(modules, torch.from_numpy(np.array(data.X)))
    # Each network has 8 * 6 + 6 + 6 * 3 + 3 weights; the limit is 5e7 products.
    most = int(5e7 / (3 * 75))

    assert stack.takes_one_thread(most)
    assert not stack.takes_one_thread(most + 1)
    modules = _modules(make_estimator, data, "CNN")
    images = torch.from_numpy(np.array(data.X)).view(-1, 1, 2, 4)
    assert not NetworkStack(modules, images).takes_one_thread(1)
