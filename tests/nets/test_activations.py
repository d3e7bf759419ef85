"""Activations by name."""

import pytest
import torch

from sk_tune.nets import ACTIVATIONS

CLOSED_FORMS = {
    "identity": lambda x: x,
    "logistic": lambda x: 1 / (1 + torch.exp(-x)),
    "tanh": torch.tanh,
    "relu": lambda x: torch.maximum(x, torch.zeros_like(x)),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_scikit_learns_names_mean_what_they_mean_there(name):
    """identity, logistic, tanh and relu are scikit-learn's functions."""
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)

    torch.testing.assert_close(ACTIVATIONS[name]()(x), CLOSED_FORMS[name](x))


def test_every_activation_keeps_the_shape_and_differs_from_the_others():
    """Ten names, ten functions."""
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    values = torch.stack([activation()(x) for activation in ACTIVATIONS.values()])

    assert values.shape == (10, 13)
    assert len(values.unique(dim=0)) == 10
