"""Tasks begin with the numbers that those before them leave."""

import numpy as np
import torch
from joblib import Parallel, delayed
from skorch import NeuralNetClassifier
from torch import nn

from sk_tune import fleet

X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)


def _net():
    return NeuralNetClassifier(
        nn.Linear,
        module__in_features=4,
        module__out_features=2,
        criterion=nn.CrossEntropyLoss,
        max_epochs=2,
        verbose=0,
    )


def _weights(n_before, n_after):
    """Fit a net between other draws."""
    torch.rand(n_before)
    weights = _net().fit(X, Y).module_.weight.detach().numpy()
    torch.randn(n_after)
    return weights


def _run(tasks):
    torch.manual_seed(0)
    return [*Parallel()(delayed(_weights)(*own) for own in tasks), torch.rand(2).numpy()]


def test_draws_before_and_after_a_fit_are_foreseen():
    """What the first task draws after its fit, all of one call draw."""
    tasks = [(1, 40), (3, 40), (0, 40)]

    outside = _run(tasks)
    with fleet(n_jobs=1) as report:
        inside = _run(tasks)

    assert report.n_drawn_otherwise == 0
    for own, expected in zip(inside, outside, strict=True):
        np.testing.assert_allclose(own, expected, atol=1e-5)


def test_a_task_that_draws_otherwise_than_the_first_is_counted():
    """The nets after it are trained and adopted all the same."""
    with fleet(n_jobs=1) as report:
        _run([(0, 40), (0, 50), (0, 40)])

    assert report.n_adopted == 3
    assert report.n_drawn_otherwise == 1
