"""What a training will draw is known before it, to the last number."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from skorch import NeuralNetClassifier
from torch import nn

from sk_tune.engine import count_words, draw_as_fit, skip_words

X, Y = load_iris(return_X_y=True)
X, Y = X.astype(np.float32), Y.astype(np.int64)


class Noisy(nn.Module):
    """Draws for each sample and once for each batch."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        if self.training:
            x = x + 0.1 * torch.rand(()) + 0.1 * torch.randn(len(x), 4)
        return self.linear(nn.functional.dropout(x, 0.3, self.training))


@pytest.mark.parametrize("module", [nn.Linear, Noisy, nn.Linear(4, 3)])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"batch_size": 32, "iterator_train__shuffle": True},
        {"batch_size": -1, "train_split": None},
        {"iterator_train__batch_size": 50},
    ],
    ids=lambda params: "-".join(params),
)
def test_a_fit_leaves_the_generator_where_it_was_foreseen(module, params):
    """skorch's own ``fit`` is the judge."""
    if module is nn.Linear:
        params = {**params, "module__in_features": 4, "module__out_features": 3}
    net = NeuralNetClassifier(
        module, criterion=nn.CrossEntropyLoss, max_epochs=3, verbose=0, **params
    )
    torch.manual_seed(1)
    draw_as_fit(net, X, Y, {})
    foreseen = torch.get_rng_state()

    torch.manual_seed(1)
    net.fit(X, Y)

    assert torch.equal(foreseen, torch.get_rng_state())


@pytest.mark.parametrize("n_words", [0, 1, 7, 1000, 300_000])
def test_words_that_are_skipped_are_counted(n_words):
    """A word is what ``torch.rand`` takes for one float."""
    torch.manual_seed(2)
    before = torch.get_rng_state()
    torch.rand(n_words)
    after = torch.get_rng_state()
    torch.set_rng_state(before)

    skip_words(n_words)

    assert torch.equal(torch.get_rng_state(), after)
    assert count_words(before, after) == n_words


def test_what_cannot_be_counted_is_not():
    """Torch keeps every other one of few normal numbers for the next time."""
    before = torch.get_rng_state()
    torch.randn(5)

    assert count_words(before, torch.get_rng_state()) is None
