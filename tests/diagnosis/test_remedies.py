"""Remedies as changes, by their findings."""

import numpy as np
import pytest
from torch.optim import SGD

from sk_tune import CNNClassifier, MLPClassifier, RNNClassifier
from sk_tune._diagnosis._remedies import relative_rate
from sk_tune._optimizers import OPTIMIZERS

PARAMS = MLPClassifier().get_params()
TYPICAL = PARAMS["learning_rate"]
HIGH, LOW = "learning rate too high", "learning rate too low"
FEW, SMALL = "too few rows", "underfitting"


@pytest.fixture
def changes(shapes):
    """Return a function that returns the changes of a finding on a network."""

    def changed(name, shape, params, **options):
        options = {"params": params, **options}
        found = shapes.found(name, getattr(shapes, shape)(**options)).changes
        return {c.parameter: (c.action, pytest.approx(c.value)) for c in found}

    return changed


def test_rates_are_compared_with_the_optimizers_typical_rate(shapes):
    """Without momentum, a step is a tenth of a step with momentum 0.9."""
    sgd = {"optimizer": "sgd", "learning_rate": 1.0}

    def ratio(params):
        return shapes.found(HIGH, shapes.jumping(params=params)).evidence["rate_by_typical"]

    assert ratio(PARAMS) == 1.0
    assert all(
        0.1 < ratio({"optimizer": o, "learning_rate": 1e-2}) < 100 for o in OPTIMIZERS
    )
    for params in (
        {**sgd, "momentum": 0.0},
        {**sgd, "optimizer__momentum": 0.0},
        {"optimizer": SGD, "lr": 1.0},
    ):
        assert ratio(params) == pytest.approx(ratio(sgd) / 10)


@pytest.mark.parametrize(
    ("name", "shape", "rate", "change"),
    [
        # A tenth or ten times, but from far off directly to the typical rate.
        (HIGH, "jumping", 100.0, ("at most", TYPICAL)),
        (HIGH, "jumping", 1e-2, ("at most", 1e-3)),
        (LOW, "creeping", 1e-7, ("at least", TYPICAL)),
        # A low rate is not raised beyond the typical rate: a fifth of it may be right,
        # twice it too much.
        (LOW, "creeping", 0.04 * TYPICAL, ("at least", 0.4 * TYPICAL)),
        (LOW, "creeping", 0.2 * TYPICAL, ("at least", TYPICAL)),
        (HIGH, "jumping", None, ("multiply", 0.1)),
        (LOW, "creeping", None, ("multiply", 10.0)),
    ],
)
def test_rates_change_in_the_right_direction(changes, name, shape, rate, change):
    """Known rates get a bound, unknown rates a factor."""
    params = {} if rate is None else {"optimizer": "adamw", "learning_rate": rate}

    assert changes(name, shape, params) == {"learning_rate": change}


@pytest.mark.parametrize(
    ("name", "shape", "params", "expected"),
    [
        ("overfitting", "overfitting", {"hidden_size": 8}, {}),
        # A larger network is wider, and has two layers, also if its layers are listed.
        (SMALL, "underfitting", {**PARAMS, "width": 4}, {"width": ("at least", 32)}),
        (
            SMALL,
            "underfitting",
            {**PARAMS, "n_layers": 1},
            {"width": ("at least", 4 * PARAMS["width"]), "n_layers": ("at least", 2)},
        ),
        (SMALL, "underfitting", {}, {"width": ("multiply", 4)}),
        (
            SMALL,
            "underfitting",
            {**PARAMS, "hidden_layer_sizes": (2, 64), "width": 1},
            {"hidden_layer_sizes": ("set", (32, 256))},
        ),
        (SMALL, "underfitting", {"hidden_size": 8}, {"hidden_size": ("at least", 32)}),
        # Only the restrictions of a network are removed.
        *(
            (SMALL, "underfitting", {**PARAMS, name: value}, {name: ("at most", less)})
            for name, value, less in (
                ("dropout", 0.8, 0.2),
                ("weight_decay", 10.0, 1e-3),
                ("l1", 0.1, 0.0),
            )
        ),
    ],
)
def test_changes_concern_existing_parameters(changes, name, shape, params, expected):
    """If the parameters of the network are known."""
    assert changes(name, shape, params) == expected


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        # Fewer epochs, then dropout, then decay; relative to the present values, and never
        # extreme.
        (
            {"optimizer": "adamw", "dropout": 0.1, "weight_decay": 0.01},
            [("max_epochs", 10), ("dropout", 0.3), ("weight_decay", 0.1)],
        ),
        (
            {"optimizer": "adamw", "dropout": 0.5, "weight_decay": 0.2},
            [("max_epochs", 10), ("weight_decay", 0.6)],
        ),
        (
            {"optimizer": "adamw", "dropout": 0.4, "weight_decay": 2.0},
            [("max_epochs", 10), ("dropout", 0.5)],
        ),
        (
            {"optimizer": "adam", "dropout": 0.0, "weight_decay": 0.0},
            [("max_epochs", 10), ("dropout", 0.2), ("weight_decay", 1e-3)],
        ),
        # Values drawn by a search give values with two digits.
        (
            {"optimizer": "adamw", "dropout": 0.136696, "weight_decay": 0.0456789},
            [("max_epochs", 10), ("dropout", 0.34), ("weight_decay", 0.14)],
        ),
    ],
)
def test_overfitting_is_treated_by_one_moderate_change_at_a_time(shapes, params, expected):
    """Further changes are alternatives."""
    curves = shapes.overfitting(params={"max_epochs": 30, **params})

    finding = shapes.found("overfitting", curves)

    steps = [finding.changes, *finding.alternatives]
    assert [len(step) for step in steps] == [1] * len(expected)
    assert [(c.parameter, pytest.approx(c.value)) for (c,) in steps] == expected


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"l1": 0.1}, "restricted by l1=0.1."),
        ({"hidden_layer_sizes": (2, 64)}, "restricted by hidden_layer_sizes=(2, 64)."),
        ({"hidden_layer_sizes": (64,), "width": 1}, "the held-out loss no longer falls."),
        ({}, "the held-out loss no longer falls."),
        # In the gradient, decay competes with the loss, so its limit is lower than for
        # AdamW.
        ({"weight_decay": 0.1}, "the held-out loss no longer falls."),
        ({"weight_decay": 0.1, "optimizer": "sgd"}, "restricted by weight_decay=0.1."),
    ],
)
def test_restrictions_of_a_network_are_named(shapes, params, said):
    """If layer sizes are listed, the width has no effect."""
    curves = shapes.underfitting(params={**PARAMS, **params})

    assert shapes.found(SMALL, curves).message.endswith(said)


@pytest.mark.parametrize(
    ("params", "n_samples", "change"),
    [
        # Four fifths of 75 rows are three batches of 24, which is few; of 76 rows four
        # batches of 20.
        ({"optimizer": "adam", "batch_size": 24}, 90, {}),
        ({"optimizer": "adam", "batch_size": 24}, 75, {"batch_size": ("at most", 8)}),
        ({"optimizer": "adam", "batch_size": 20}, 76, {}),
        # Steps of SGD are proportional to the gradient, which smaller batches make noisier.
        (
            {"optimizer": "sgd", "batch_size": 64, "max_epochs": 30},
            40,
            {"max_epochs": ("at least", 90)},
        ),
        # skorch's batch_size of -1 and networks without batch_size are unchanged.
        ({"optimizer": "adam"}, 40, {}),
        ({"optimizer": "adam", "batch_size": -1}, 40, {}),
    ],
)
def test_few_steps_in_an_epoch_become_more(changes, params, n_samples, change):
    """By smaller batches or more epochs, if an epoch has fewer than four steps."""
    assert changes(FEW, "healthy", params, n_samples=n_samples) == change


def test_the_evidence_matches_the_curves(shapes):
    """Final levels and their errors, computed by hand."""
    name, small = "no better than the baseline", 0.4 + 0.01 * np.arange(6)[:, None]

    def evidence(name, train, valid, **options):
        curves = shapes.of_folds(train, valid[0], n_folds=len(valid), **options)
        curves.valid_loss[:] = valid
        return shapes.found(name, curves).evidence

    # Student's error over folds; repeated folds count once, and for one fold it is guessed.
    for n_repeats, error in ((1.0, np.sqrt(6)), (2.0, np.sqrt(3))):
        found = evidence(name, [0.5] * 4, small + np.zeros(4), n_repeats=n_repeats)
        assert found["gain_error"] == pytest.approx(np.std(small, ddof=1) / error)
    assert evidence(name, [0.5] * 4, np.full((1, 4), 0.5))["gain_error"] == 0.1
    # Two standard errors are significant by Student's table for three folds, one and a half
    # are not.
    for n_errors, outcome in ((1.5, "tip"), (2.0, "passed")):
        curves = shapes.of_folds([0.5] * 4, [0.8] * 4, n_folds=3, spread=0.0)
        curves.valid_loss[:] += 0.2 * np.sqrt(3) / n_errors * np.array([[-1], [0], [1]])
        assert shapes.found(name, curves).outcome == outcome
    # Three folds that agree by chance count with four more, with a spread of a tenth.
    rise = evidence("overfitting", np.linspace(1, 0.1, 20), np.full((3, 20), 0.5))
    assert rise["rise_error"] == pytest.approx(np.sqrt(4 * 0.01 / 6 / 3))
    # Of 20 epochs the last two are averaged, of five the last; a fold keeps its end.
    for n_epochs, level in ((20, 0.195), (5, 0.05)):
        losses = 0.01 * np.arange(1.0, n_epochs + 1)
        found = evidence("still improving", losses, losses[None])
        assert found["valid_loss"] == pytest.approx(level)
    ended = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, np.nan]])
    assert evidence("still improving", [1.0] * 3, ended)["valid_loss"] == 1.5
    # A running mean over a linear fall equals the value half an epoch ago.
    at_ends = 1.0 - 0.1 * np.arange(1, 7)
    found = evidence("underfitting", at_ends + 0.05, np.full((3, 6), 0.9))
    assert found["train_loss"] == pytest.approx(0.4)
    # Losses of 0 are equal, and do not divide by 0.
    assert evidence("overfitting", [1.0, 0.0, 0.0], np.zeros((3, 3)))["rise"] == 0.0


@pytest.mark.parametrize("stops", [True, False])
def test_early_stopping_is_a_remedy_only_for_networks_without_it(shapes, stops):
    """Networks that stop early are regularised and get no shorter training."""
    fall = np.append(np.linspace(1, 0.3, 10), np.full(40, 0.3))
    params = {**PARAMS, "early_stopping": stops}

    long = shapes.found("converged long ago", shapes.of_folds(fall, fall, params=params))
    rise = shapes.found("overfitting", shapes.overfitting(params=params))

    assert ("early stopping" in long.remedy) is not stops
    assert ("early_stopping" in rise.remedy) is not stops
    assert rise.changes[0].parameter == ("dropout" if stops else "max_epochs")


@pytest.mark.parametrize("network", [MLPClassifier(), CNNClassifier(), RNNClassifier()])
def test_default_rates_are_usual(network):
    """So no verdict blames a default."""
    assert relative_rate(network.get_params()) == pytest.approx(1)
