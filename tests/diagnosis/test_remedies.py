"""Remedies as changes."""

import pytest
from torch.optim import SGD

from sk_tune import MLPClassifier
from sk_tune.diagnosis._remedies import (
    larger_network,
    longer_training,
    lower_rate,
    more_steps,
    raise_rate,
    regularise,
    restrained,
    restraints,
    typical_rate,
)
from sk_tune.training import OPTIMIZERS

PARAMS = MLPClassifier().get_params()
TYPICAL = typical_rate(PARAMS)


def _changes(remedy, *args, **params):
    """Return what a remedy changes in the default network, with other parameters."""
    changes = remedy({**PARAMS, **params}, *args)
    return {c.parameter: (c.action, c.value) for c in changes}


def test_typical_rates_are_known_for_all_optimizers():
    """The default of sk_tune's own networks is what is typical for its optimizer."""
    assert all(1e-4 < typical_rate({"optimizer": name}) < 1e-1 for name in OPTIMIZERS)
    assert PARAMS["learning_rate"] == TYPICAL


@pytest.mark.parametrize("rate", [1e-7, 1e-4, 1e-2, 1.0, 100.0])
def test_rates_go_the_right_way(rate):
    """A lower rate is lower, a higher one higher, and far ones come near at once."""
    (low,) = lower_rate({**PARAMS, "learning_rate": rate})
    (high,) = raise_rate({**PARAMS, "learning_rate": rate})

    assert (low.action, high.action) == ("at most", "at least")
    assert low.value < rate < high.value
    assert low.value == TYPICAL or rate < 1
    assert high.value == TYPICAL or rate > 1e-7


def test_a_low_rate_is_not_raised_beyond_the_typical_one():
    """A fifth of it may be right, twice it too much; an unknown one is multiplied."""
    for rate, raised in ((0.2 * TYPICAL, TYPICAL), (2 * TYPICAL, 20 * TYPICAL)):
        (change,) = raise_rate({**PARAMS, "learning_rate": rate})
        assert change.value == pytest.approx(raised)
    (low,), (high,) = lower_rate({}), raise_rate({})
    assert low.action == high.action == "multiply"
    assert low.value < 1 < high.value


def test_rates_of_sgd_are_judged_by_its_momentum():
    """Without momentum a step is a tenth of what it comes to with 0.9."""
    usual = typical_rate({"optimizer": "sgd", "learning_rate": 1.0})
    skorch = {"optimizer": SGD, "lr": 1.0}

    for params in (
        {"optimizer": "sgd", "learning_rate": 1.0, "momentum": 0.0},
        {"optimizer": "sgd", "learning_rate": 1.0, "optimizer__momentum": 0.0},
        skorch,
    ):
        assert typical_rate(params) == pytest.approx(10 * usual)
    assert lower_rate(skorch)[0].parameter == "lr"


def test_longer_training_is_counted_from_what_was_trained():
    """Not from what might have been."""
    assert _changes(longer_training, 7, 2.5) == {"max_epochs": ("at least", 18)}


@pytest.mark.parametrize("dropout", [0.0, 0.3, 0.5])
def test_regularisation_grows_from_where_it_is(dropout):
    """More dropout than there is, but never of nearly all units."""
    changes = _changes(regularise, 5, dropout=dropout)

    assert dropout <= changes["dropout"][1] <= 0.5
    assert changes["weight_decay"][0] == "at least"
    assert changes["weight_decay"][1] > PARAMS["weight_decay"]


@pytest.mark.parametrize(
    ("optimizer", "decay"), [("adamw", 1.0), ("adam", 0.003), ("sgd", 0.003)]
)
def test_a_floor_of_restraint_does_not_lower_what_is_there(optimizer, decay):
    """Dropout is raised by a fifth, decay to what is usual against learning by heart."""
    params = {"optimizer": optimizer, "dropout": 0.1, "weight_decay": 0.01}

    assert {c.parameter: (c.action, c.value) for c in restrained(params)} == {
        "dropout": ("at least", 0.3),
        "weight_decay": ("at least", decay),
    }


def test_a_larger_network_is_wider():
    """With an integer for a width, and two layers; or wherever its layers are given."""
    (action, width) = _changes(larger_network, width=4)["width"]
    sizes = {"hidden_layer_sizes": (2, 64), "width": 1}

    assert action == "at least"
    assert type(width) is int
    assert width > 4
    assert set(_changes(larger_network, width=4)) == {"width"}
    assert set(_changes(larger_network, n_layers=1)) == {"width", "n_layers"}
    assert larger_network({})[0].action == "multiply"
    # Beside the sizes of layers `width` and `n_layers` have no effect.
    assert _changes(larger_network, **sizes) == {"hidden_layer_sizes": ("set", (32, 256))}
    assert restraints({**PARAMS, **sizes}) == ["hidden_layer_sizes=(2, 64)"]
    assert restraints({**PARAMS, **sizes, "hidden_layer_sizes": (64,)}) == []
    # A recurrent network has a hidden size and no width.
    recurrent = {"hidden_size": 8, "max_epochs": 5}
    assert {c.parameter for c in larger_network(recurrent)} == {"hidden_size"}
    assert {c.parameter for c in regularise(recurrent, 3)} <= {"max_epochs"}


@pytest.mark.parametrize(
    ("name", "value"), [("dropout", 0.8), ("weight_decay", 10.0), ("l1", 0.1)]
)
def test_what_holds_a_network_back_is_taken_away(name, value):
    """It is named, and nothing else is changed."""
    ((changed, (action, less)),) = _changes(larger_network, **{name: value}).items()

    assert (changed, action) == (name, "at most")
    assert less < value
    assert restraints({**PARAMS, name: value}) == [f"{name}={value:.3g}"]
    assert restraints(PARAMS) == []


def test_adam_bears_less_weight_decay_than_adamw():
    """In the gradient, decay competes with the loss."""
    params = {**PARAMS, "weight_decay": 0.1}

    assert restraints(params) == []
    assert restraints({**params, "optimizer": "sgd"}) == ["weight_decay=0.1"]


@pytest.mark.parametrize(
    ("params", "n_rows", "changes"),
    [
        # 96 rows are three batches of 32, which is few; 97 are four.
        ({"optimizer": "adam", "batch_size": 32}, 96, [("batch_size", "at most", 8)]),
        ({"optimizer": "adam", "batch_size": 32}, 97, []),
        ({"optimizer": "adam", "batch_size": 8}, 30, []),
        # Steps of SGD are as long as the gradient, which smaller batches make noisier.
        (
            {"optimizer": "sgd", "batch_size": 64, "max_epochs": 20},
            30,
            [("max_epochs", "at least", 60)],
        ),
        # skorch's batch_size of -1 and a network without one are left alone.
        ({"optimizer": "adam"}, 30, []),
        ({"optimizer": "adam", "batch_size": -1}, 30, []),
    ],
)
def test_few_steps_in_an_epoch_become_more(params, n_rows, changes):
    """By smaller batches or more epochs, only where an epoch has less than four steps."""
    found = more_steps(params, 20, n_rows)

    assert [(c.parameter, c.action, c.value) for c in found] == changes
