"""The record of how a net is trained."""

import dataclasses

import pytest


def test_options_hold_what_the_estimator_asked_for_and_cannot_change(
    make_estimator, task_data
):
    """A fitted net tells how it was trained, and nobody can rewrite that."""
    params = {"learning_rate": 0.02, "l1": 0.1, "gradient_clip": 3.0, "max_epochs": 2}
    net = make_estimator("MLPRegressor", **params).fit(*task_data("MLPRegressor"))
    options = net.net_.options

    assert (options.learning_rate, options.l1, options.gradient_clip) == (0.02, 0.1, 3.0)
    assert (options.schedule_epochs, options.patience, options.seed) == (2, None, 0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.seed = 1
