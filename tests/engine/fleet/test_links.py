"""Which chains have written-out layers: the rule is stated layer by layer."""

import pytest
import torch
from torch import nn

from sk_tune.engine.fleet._traced import Link, is_known, n_images, served_chain

FLAT = nn.Flatten()
ROWS, SIGNALS, IMAGES = torch.zeros(2, 6), torch.zeros(2, 3, 6), torch.zeros(2, 3, 6, 6)


def _chain(*layers):
    return [Link(str(i), layer) for i, layer in enumerate(layers)]


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(2, 2),
        nn.Conv2d(2, 2, 3, stride=2, groups=2),
        nn.AdaptiveAvgPool2d(1),
        nn.MaxPool1d(2),
        nn.BatchNorm3d(2),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Identity(),
        FLAT,
        nn.Softmax(dim=1),
    ],
    ids=repr,
)
def test_these_layers_are_known(layer):
    """By class and options."""
    assert is_known(layer)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Flatten(0),
        nn.Softmax(dim=0),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
        nn.MaxPool2d(2, return_indices=True),
        nn.BatchNorm2d(2, affine=False),
        nn.BatchNorm1d(2, momentum=None),
        nn.LayerNorm([2, 2]),
        nn.Dropout2d(0.5),
        nn.Dropout(0.5, inplace=True),
        nn.PReLU(),
        nn.GroupNorm(1, 2),
        nn.Sequential(nn.Linear(2, 2)),
    ],
    ids=repr,
)
def test_other_layers_are_not(layer):
    """They are left to vmap."""
    assert not is_known(layer)


@pytest.mark.parametrize(
    ("X", "layers", "n"),
    [
        (ROWS, [nn.Linear(6, 2), nn.ReLU()], 0),
        (SIGNALS, [nn.Conv1d(3, 2, 3), nn.BatchNorm1d(2), FLAT, nn.Linear(8, 2)], 2),
        (IMAGES, [nn.ReLU(), nn.MaxPool2d(2), FLAT], 2),
    ],
    ids=["rows", "signals", "images"],
)
def test_chains_of_these_forms_are_served(X, layers, n):
    """As they are, with the layers of images counted."""
    chain = _chain(*layers)

    assert served_chain(chain, X) == chain
    assert n_images(chain) == n


@pytest.mark.parametrize("X", [ROWS, SIGNALS, IMAGES], ids=["rows", "signals", "images"])
def test_a_flatten_in_front_is_no_layer(X):
    """Rows come as one line each."""
    chain = _chain(FLAT, nn.Linear(6, 2))

    assert served_chain(chain, X) == chain[1:]
    assert n_images(chain[1:]) == 0


@pytest.mark.parametrize(
    ("X", "layers"),
    [
        (ROWS, []),
        (ROWS, [nn.Linear(6, 2), FLAT]),
        (IMAGES, [nn.Conv2d(3, 2, 3)]),
        (IMAGES, [nn.Conv1d(3, 2, 3), FLAT]),
        (SIGNALS, [nn.Conv2d(3, 2, 3), FLAT]),
        (IMAGES, [nn.MaxPool1d(2), FLAT]),
        (IMAGES, [nn.BatchNorm1d(3), FLAT]),
        (IMAGES, [nn.Linear(6, 2), FLAT]),
        (IMAGES, [nn.Softmax(dim=1), FLAT]),
        (IMAGES, [nn.Conv2d(3, 2, 3), FLAT, nn.Conv2d(3, 2, 3)]),
        (IMAGES, [nn.Conv2d(3, 2, 3), FLAT, FLAT]),
    ],
)
def test_chains_of_other_forms_are_not(X, layers):
    """They are left to vmap."""
    assert served_chain(_chain(*layers), X) is None
