# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Learning rates that are too high or too low."""

import numpy as np
import pytest

from sk_tune.diagnosis._rate_checks import check_diverged, check_rate_high, check_rate_low
from sk_tune.diagnosis._summary import summarise


def test_an_infinite_loss_is_divergence(shapes):
    """It is the gravest of issues, with a lower learning rate for a remedy."""
    curves = shapes.healthy(params={"learning_rate": 1.0})
    curves.train_loss[1, 5] = np.inf

    finding = check_diverged(summarise(curves))

    assert (finding.code, finding.outcome, finding.severity) == ("SKT106", "issue", "high")
    assert finding.changes[0].value < 1.0


def test_a_loss_far_above_the_baseline_is_divergence(shapes):
    """A network that ends at ten times a constant prediction's loss is none."""
    grown = np.linspace(1.0, 10.0, 20)

    assert check_diverged(summarise(shapes.of_folds(grown, grown))).outcome == "issue"


@pytest.mark.parametrize("shape", ["healthy", "overfitting", "improving", "creeping"])
def test_losses_that_fall_do_not_diverge(shapes, shape):
    """Neither a fall nor a slow one is divergence, nor is the rate too high."""
    summary = summarise(getattr(shapes, shape)())

    assert check_diverged(summary).outcome == "passed"
    assert check_rate_high(summary).outcome == "passed"


def test_a_loss_that_is_thrown_about_is_driven_too_fast(shapes):
    """The training loss tells, whatever the held-out loss does."""
    finding = check_rate_high(summarise(shapes.jumping(params={"learning_rate": 1.0})))

    assert (finding.code, finding.outcome) == ("SKT107", "issue")
    assert finding.changes[0].action == "at most"


def test_a_network_stuck_at_the_baseline_is_so_by_its_rate_only_if_that_is_high(shapes):
    """Dead units after a first step too long leave a constant prediction."""
    flat = np.full(20, 1.0)
    high, usual = (
        check_rate_high(
            summarise(shapes.of_folds(flat, flat, params={"learning_rate": rate}))
        )
        for rate in (1.0, 1e-3)
    )

    assert (high.outcome, usual.outcome) == ("issue", "passed")


def test_one_epoch_shows_no_jumps(shapes):
    """It takes two epochs to see a rise."""
    summary = summarise(shapes.of_folds([0.9], [0.9]))

    assert check_rate_high(summary).outcome == "not applicable"
    assert check_rate_low(summary).outcome == "not applicable"


@pytest.mark.parametrize(("bends_after", "outcome"), [(1000.0, "issue"), (15.0, "passed")])
def test_a_low_rate_must_be_seen_to_be_too_low(shapes, bends_after, outcome):
    """At a fifth of the usual rate a curve that still falls but bends will arrive."""
    t = np.arange(1.0, 31.0)
    gone = (1 - np.exp(-t / bends_after)) / (1 - np.exp(-30 / bends_after))
    params = {"optimizer": "sgd", "learning_rate": 0.2 * 3e-2}
    summary = summarise(shapes.of_folds(1 - 0.3 * gone, 1 - 0.28 * gone, params=params))

    assert check_rate_low(summary).outcome == outcome


def test_a_straight_line_is_driven_too_slowly(shapes):
    """A training loss that has hardly bent has hardly begun."""
    finding = check_rate_low(summarise(shapes.creeping()))

    assert (finding.code, finding.outcome) == ("SKT108", "issue")
    assert finding.changes[0].action == "multiply"
    assert finding.changes[0].value > 1


@pytest.mark.parametrize(("rate", "outcome"), [(1e-5, "issue"), (1e-2, "passed")])
def test_a_known_rate_decides(shapes, rate, outcome):
    """Slow at a usual rate, a network lacks epochs and not learning rate."""
    summary = summarise(shapes.creeping(params={"learning_rate": rate}))

    assert check_rate_low(summary).outcome == outcome


@pytest.mark.parametrize("shape", ["healthy", "overfitting", "underfitting", "improving"])
def test_curves_that_bend_are_fast_enough(shapes, shape):
    """Most of the fall in the first half is what learning looks like."""
    assert check_rate_low(summarise(getattr(shapes, shape)())).outcome == "passed"


@pytest.mark.parametrize(
    ("params", "outcome"),
    [
        ({"learning_rate": 0.01, "dropout": 0.1, "weight_decay": 0.01}, "issue"),
        ({"learning_rate": 0.003, "dropout": 0.1, "weight_decay": 0.01}, "passed"),
        ({"learning_rate": 0.01, "dropout": 0.0, "weight_decay": 0.0}, "passed"),
    ],
)
def test_a_loss_that_turns_at_once_is_driven_too_fast(shapes, params, outcome):
    """At a raised rate it is the rate, unless nothing regularises the network."""
    t = np.arange(1.0, 31.0)
    valid = np.interp(t, [1, 3, 30], [0.7, 0.6, 0.9])
    summary = summarise(shapes.of_folds(1 / t, valid, params=params))

    assert check_rate_high(summary).outcome == outcome


def test_an_extreme_rate_is_blamed_for_what_is_left(shapes):
    """Far above what is usual, a network that has not learnt it all is driven too fast."""
    summary = summarise(shapes.underfitting(params={"learning_rate": 0.5}))

    assert check_rate_high(summary).outcome == "issue"


@pytest.mark.parametrize(("waves", "outcome"), [(0.0, "passed"), (0.1, "issue")])
def test_a_high_rate_that_a_network_bears_is_not_blamed(shapes, waves, outcome):
    """At 20 times the usual rate a smooth loss has no fault, a rough one has."""
    t = np.arange(1.0, 31.0)
    loss = 0.5 + 0.4 * np.exp(-t / 5) + waves * (t % 2)
    params = {"learning_rate": 20 * 3e-3, "dropout": 0.1, "weight_decay": 0.01}

    finding = check_rate_high(summarise(shapes.of_folds(loss, loss, params=params)))

    assert finding.outcome == outcome
