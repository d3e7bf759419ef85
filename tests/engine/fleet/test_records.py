"""What goes into a fleet and comes out: records by name that do not change."""

import dataclasses

import pytest
from torch import nn

from sk_tune.engine.fleet._recipe import LOSSES, FleetNetwork, NetworkOutcome, Recipe
from sk_tune.engine.fleet._stacked_optimizers import Settings
from sk_tune.training import TensorSet, TrainingState, accuracy_by_network

STATE = TrainingState(seed=0, weights={}, moments={})


def _recipe(**options):
    defaults = {
        "optimizer": "adam",
        "nesterov": False,
        "batch_size": 8,
        "loss": LOSSES["squared_error"],
        "score": accuracy_by_network,
        "draws_globally": False,
    }
    return Recipe(**{**defaults, **options})


def _row(**options):
    defaults = {
        "module": nn.Linear(1, 1),
        "course": None,
        "settings": Settings(momentum=0.9),
        "state": STATE,
        "n_epochs": 1,
        "train": TensorSet(None),
        "valid": None,
        "monitor": None,
        "learning_rate": 0.1,
    }
    return FleetNetwork(**{**defaults, **options})


def _outcome():
    return NetworkOutcome(state=STATE, outputs=None, message="", seconds=0.0)


def test_recipes_of_equal_content_are_equal_and_hash_alike():
    """So that rows of one recipe can be found by it."""
    assert _recipe() == _recipe()
    assert hash(_recipe()) == hash(_recipe())


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "sgd"},
        {"nesterov": True},
        {"batch_size": -1},
        {"loss": LOSSES["cross_entropy"]},
        {"score": max},
        {"draws_globally": True},
        {"joins_last_sample": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_recipes_of_other_content_differ(change):
    """Every part counts."""
    assert _recipe(**change) != _recipe()


def test_row_regularises_nothing_unless_told():
    """A row without penalties has none, and no limit of its gradient."""
    row = _row()

    assert (row.l1, row.label_smoothing, row.gradient_clip) == (0.0, 0.0, None)


@pytest.mark.parametrize(
    "record", [_recipe(), _row(), _outcome()], ids=lambda r: str(type(r).__name__)
)
def test_records_cannot_be_changed(record):
    """They are passed on, not written to."""
    name = dataclasses.fields(record)[0].name

    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, name, None)


def test_rows_are_compared_as_objects():
    """Two rows with the same content are two rows."""
    assert _row() != _row()
    assert _outcome() != _outcome()
