"""What compiled code takes, and what it leaves to torch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sk_tune import MLPClassifier, MLPRegressor
from sk_tune.augment import Noise
from sk_tune.engine import Fit
from sk_tune.engine._reference import prepare
from sk_tune.engine.fleet._active_batch import build_program
from sk_tune.engine.fleet._kernel import holds_classes, is_plain, steps_of
from sk_tune.estimators import FitPreparer
from sk_tune.training import TensorSet

BASE = {"hidden_layer_sizes": (9, 33), "max_epochs": 1, "batch_size": 20}


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 7))
    return X, (X @ rng.standard_normal((7, 3))).argmax(axis=1)


def _row(table, kind=MLPClassifier, **params):
    X, y = table
    fit = Fit(estimator=kind(**{**BASE, **params}), X=X, y=y, seed=0)
    prepared = prepare(fit, FitPreparer())
    return prepared.network(), prepared.recipe()[0]


def _is_plain(*rows, recipe):
    return is_plain(build_program(rows), recipe, rows)


@pytest.mark.parametrize(
    "params",
    [
        {"activation": "tanh"},
        {"normalization": "batch"},
        {"normalization": "layer"},
        {"residual": True, "hidden_layer_sizes": (7, 7)},
        {"hidden_layer_sizes": (400, 400)},
        {"hidden_layer_sizes": (4,) * 16},
        {"members": 2},
        {"augmentation": Noise(0.1)},
    ],
)
def test_what_is_not_in_the_code_is_left_to_torch(params, table):
    """Other layers, too many of them, and layers whose products torch computes faster."""
    row, recipe = _row(table, **params)

    assert not _is_plain(row, recipe=recipe)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_chains_of_linear_layers_are_taken(kind, table):
    """With a step for each layer, that says what follows it."""
    row, recipe = _row(table, kind, dropout=0.2)

    assert _is_plain(row, recipe=recipe)
    steps = steps_of(build_program([row]))
    assert [step.has_relu for step in steps] == [True, True, False]
    assert [step.dropout for step in steps] == [0, 1, -1]


def test_targets_that_rows_do_not_share_are_looked_at_one_by_one(table):
    """Rows may have the same inputs and other targets, which lie in memory otherwise."""
    (row, recipe), (other, _) = _row(table), _row(table)
    spread = row.train.y.repeat_interleave(2)[::2]
    strided = replace(row, train=TensorSet(other.train.X, spread))

    assert _is_plain(other, recipe=recipe)
    assert not _is_plain(strided, other, recipe=recipe)


@pytest.mark.parametrize(
    ("changes", "is_taken"),
    [
        ({}, True),
        ({"index": torch.tensor([2, 0])}, True),
        ({"index": torch.tensor([], dtype=torch.int64)}, False),
        ({"y": torch.tensor([0, -100, 1])}, False),
        ({"y": torch.tensor([0, 2, 1], dtype=torch.int32)}, False),
        ({"y": torch.tensor([0, 9, 2, 9, 1, 9])[::2]}, False),
        ({"y": torch.zeros(3, 2)}, False),
        ({"y": None}, False),
        ({"sample_weight": torch.ones(3)}, False),
    ],
)
def test_samples_to_look_at_have_classes(changes, is_taken):
    """One that is not among those of the training samples is left to torch."""
    own = {"y": torch.tensor([0, 2, 1]), **changes}

    assert holds_classes(TensorSet(torch.zeros(3, 4), **own)) == is_taken
