# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Remedies as changes."""

import pytest
from torch.optim import SGD

from sk_tune import MLPClassifier
from sk_tune.diagnosis._remedies import (
    larger_network,
    longer_training,
    lower_rate,
    more_steps,
    number,
    raise_rate,
    regularise,
    restrained,
    restraints,
    typical_rate,
)
from sk_tune.training import OPTIMIZERS

PARAMS = MLPClassifier().get_params()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_typical_rates_are_known_for_all_optimizers(optimizer):
    """The default of sk_tune's own networks is what is typical for its optimizer."""
    assert 1e-4 < typical_rate({"optimizer": optimizer}) < 1e-1
    assert typical_rate(PARAMS) == PARAMS["learning_rate"]


@pytest.mark.parametrize("rate", [1e-7, 1e-4, 1e-2, 1.0, 100.0])
def test_rates_go_the_right_way(rate):
    """A lower rate is lower, a higher one higher, and far ones come near at once."""
    params = {**PARAMS, "learning_rate": rate}
    (low,), (high,) = lower_rate(params), raise_rate(params)

    assert (low.action, high.action) == ("at most", "at least")
    assert low.value < rate < high.value
    if rate >= 1:
        assert low.value == typical_rate(params)
    if rate <= 1e-7:
        assert high.value == typical_rate(params)


def test_a_low_rate_is_not_raised_beyond_the_typical_one():
    """A fifth of the typical rate may be right, and twice the typical one too much."""
    typical = typical_rate(PARAMS)

    for rate, raised in ((0.2 * typical, typical), (2 * typical, 20 * typical)):
        (change,) = raise_rate({**PARAMS, "learning_rate": rate})

        assert change.value == pytest.approx(raised)


def test_a_rate_that_is_not_known_is_multiplied():
    """Without parameters a change is a factor."""
    assert lower_rate({})[0].action == raise_rate({})[0].action == "multiply"
    assert lower_rate({})[0].value < 1 < raise_rate({})[0].value


def test_longer_training_is_counted_from_what_was_trained():
    """Not from what might have been."""
    (change,) = longer_training(PARAMS, n_epochs=7, factor=2.5)

    assert (change.parameter, change.value) == ("max_epochs", 18)


def test_regularisation_grows_from_where_it_is():
    """More dropout than there is, but never of nearly all units."""
    for dropout in (0.0, 0.3, 0.5):
        changes = {c.parameter: c for c in regularise({**PARAMS, "dropout": dropout}, 5)}

        assert dropout <= changes["dropout"].value <= 0.5
        assert changes["weight_decay"].value > PARAMS["weight_decay"]
        assert changes["weight_decay"].action == "at least"


def test_a_larger_network_is_wider():
    """With an integer for a width, and two layers."""
    changes = {c.parameter: c for c in larger_network({**PARAMS, "width": 4})}

    assert set(changes) == {"width"}
    assert type(changes["width"].value) is int
    assert changes["width"].value > 4
    flat = {c.parameter for c in larger_network({**PARAMS, "n_layers": 1})}
    assert flat == {"width", "n_layers"}
    assert larger_network({})[0].action == "multiply"


@pytest.mark.parametrize(
    ("name", "value"), [("dropout", 0.8), ("weight_decay", 10.0), ("l1", 0.1)]
)
def test_what_holds_a_network_back_is_taken_away(name, value):
    """It is named, and nothing else is changed."""
    params = {**PARAMS, name: value}

    (change,) = larger_network(params)

    assert (change.parameter, change.action) == (name, "at most")
    assert change.value < value
    assert restraints(params) == [f"{name}={value:.3g}"]
    assert restraints(PARAMS) == []


def test_adam_bears_less_weight_decay_than_adamw():
    """In the gradient, decay competes with the loss."""
    params = {**PARAMS, "weight_decay": 0.1}

    assert restraints(params) == []
    assert restraints({**params, "optimizer": "sgd"}) == ["weight_decay=0.1"]


def test_layers_that_are_given_by_their_sizes_are_widened_there():
    """Beside them `width` and `n_layers` have no effect."""
    params = {**PARAMS, "hidden_layer_sizes": (2, 64), "width": 1}

    (change,) = larger_network(params)

    assert (change.parameter, change.action) == ("hidden_layer_sizes", "set")
    assert change.value == (32, 256)
    assert restraints(params) == ["hidden_layer_sizes=(2, 64)"]
    assert restraints({**params, "hidden_layer_sizes": (64,)}) == []


def test_only_parameters_of_the_network_are_changed():
    """A recurrent network has a hidden size and no width."""
    params = {"hidden_size": 8, "max_epochs": 5}

    assert {c.parameter for c in larger_network(params)} == {"hidden_size"}
    assert {c.parameter for c in regularise(params, 3)} <= {"max_epochs"}


def test_flags_are_no_numbers():
    """True is not 1 here."""
    assert number({"a": True}, "a") is None
    assert number({"a": 2}, "a") == 2.0
    assert number({}, "a") is None


def test_rates_of_sgd_are_judged_by_its_momentum():
    """Without momentum a step is a tenth of what it comes to with 0.9."""
    usual = typical_rate({"optimizer": "sgd", "learning_rate": 1.0})

    for name in ("momentum", "optimizer__momentum"):
        params = {"optimizer": "sgd", "learning_rate": 1.0, name: 0.0}
        assert typical_rate(params) == pytest.approx(10 * usual)
    skorch = {"optimizer": SGD, "lr": 1.0}
    assert typical_rate(skorch) == pytest.approx(10 * usual)
    assert lower_rate(skorch)[0].parameter == "lr"


@pytest.mark.parametrize(
    ("batch_size", "n_rows", "is_few"), [(32, 96, True), (32, 97, False), (8, 30, False)]
)
def test_batches_are_smaller_only_where_an_epoch_has_less_than_four(
    batch_size, n_rows, is_few
):
    """96 rows are three batches of 32, 97 are four."""
    changes = more_steps({"optimizer": "adam", "batch_size": batch_size}, 20, n_rows)

    assert [c.parameter for c in changes] == ["batch_size"] * is_few


def test_sgd_gets_more_epochs_instead_of_smaller_batches():
    """Its steps are as long as the gradient, which smaller batches make noisier."""
    params = {"optimizer": "sgd", "batch_size": 64, "max_epochs": 20}

    (change,) = more_steps(params, n_epochs=20, n_rows=30)

    assert (change.parameter, change.action, change.value) == ("max_epochs", "at least", 60)


def test_steps_are_not_counted_without_a_size_of_batches():
    """skorch's batch_size of -1 and a network without one are left alone."""
    assert more_steps({"optimizer": "adam"}, 20, 30) == ()
    assert more_steps({"optimizer": "adam", "batch_size": -1}, 20, 30) == ()


@pytest.mark.parametrize(
    ("optimizer", "decay"), [("adamw", 1.0), ("adam", 0.003), ("sgd", 0.003)]
)
def test_a_floor_of_restraint_does_not_lower_what_is_there(optimizer, decay):
    """Dropout is raised by a fifth, decay to what is usual against learning by heart."""
    dropout, weight_decay = restrained({
        "optimizer": optimizer,
        "dropout": 0.1,
        "weight_decay": 0.01,
    })

    assert (dropout.action, dropout.value) == ("at least", 0.3)
    assert (weight_decay.action, weight_decay.value) == ("at least", decay)
