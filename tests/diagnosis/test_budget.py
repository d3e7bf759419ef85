# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Too few epochs, and too many."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_tune.diagnosis._fit_checks import check_converged, check_improving, trend
from sk_tune.diagnosis._summary import summarise

T = np.arange(1.0, 17.0)


@given(power=st.floats(0.05, 1.5))
def test_a_power_law_is_extrapolated_exactly(shapes, power):
    """Two doublings of t in t**-p take the share 1 - 4**-p off the loss."""
    summary = summarise(shapes.of_folds(T**-power, T**-power))

    assert trend(summary).gain.mean == pytest.approx(1 - 4**-power)


def test_a_bend_is_taken_into_account(shapes):
    """A curve that gained half as much by its last doubling goes on like that."""
    # In logarithms the loss falls by 0.2 from epoch 80 to 113, by 0.1 from there to 160.
    doublings = np.log2(np.arange(1, 161) / 160)
    losses = np.exp(-np.interp(doublings, [-1.0, -0.5, 0.0], [0.0, 0.2, 0.3]))

    found = trend(summarise(shapes.of_folds(losses, losses)))

    assert found.ratio == pytest.approx(0.5, rel=0.02)
    coming = 0.1 * (0.5 + 0.25 + 0.125 + 0.0625)
    assert found.gain.mean == pytest.approx(1 - np.exp(-coming), rel=0.02)


def test_a_schedule_that_ends_at_zero_does_not_hide_a_fall(shapes):
    """The same fall by learning rate spent is the same trend, though its end looks flat."""
    params = {"lr_schedule": "cosine", "max_epochs": 16}
    spent = 16 * (T / 16 + np.sin(np.pi * T / 16) / np.pi) / 2
    curves = shapes.of_folds(spent**-0.5, spent**-0.5, params=params)

    assert trend(summarise(curves)).gain.mean == pytest.approx(0.5, rel=0.1)


def test_a_fall_that_goes_on_asks_for_epochs(shapes):
    """The remedy is a floor under the epochs, above those trained."""
    finding = check_improving(summarise(shapes.improving(params={"max_epochs": 6})))

    assert (finding.code, finding.outcome) == ("SKT104", "issue")
    (change,) = finding.changes
    assert (change.parameter, change.action) == ("max_epochs", "at least")
    assert change.value > 6


def test_a_plateau_does_not(shapes):
    """What has arrived needs no more epochs."""
    flat = 0.3 + np.exp(-T)

    finding = check_improving(summarise(shapes.of_folds(flat, flat)))

    assert finding.outcome == "passed"


def test_folds_must_agree_on_a_fall(shapes):
    """A mean that falls because one fold does is no trend."""
    flat = np.full(16, 0.4)
    curves = shapes.of_folds(flat, flat)
    curves.valid_loss[0] = T**-0.5

    assert check_improving(summarise(curves)).outcome == "passed"


def test_next_to_no_loss_is_not_improved(shapes):
    """A loss of a hundredth of the baseline's may halve for ever."""
    curves = shapes.of_folds(0.01 / T, 0.01 / T)

    assert check_improving(summarise(curves)).outcome == "passed"


def test_one_epoch_is_no_trend(shapes):
    """After one epoch the only advice is to train on."""
    finding = check_improving(summarise(shapes.of_folds([0.9], [0.9])))

    assert finding.outcome != "passed"
    assert finding.changes[0].parameter == "max_epochs"


def test_epochs_without_progress_are_counted(shapes):
    """A loss that arrives after 10 of 50 epochs wastes four fifths of them."""
    loss = np.append(np.linspace(1.0, 0.3, 10), np.full(40, 0.3))

    finding = check_converged(summarise(shapes.of_folds(loss, loss)))

    assert (finding.code, finding.outcome) == ("SKT105", "tip")
    assert finding.evidence["arrived"] == 10
    assert finding.evidence["wasted"] == pytest.approx(0.8)


def test_epochs_with_progress_are_not_wasted(shapes):
    """A loss that falls to the end uses all of them."""
    loss = np.linspace(1.0, 0.3, 50)

    assert check_converged(summarise(shapes.of_folds(loss, loss))).outcome == "passed"


def test_a_few_epochs_are_not_worth_sparing(shapes):
    """Nobody saves by training 3 epochs instead of 6."""
    finding = check_converged(summarise(shapes.improving()))

    assert finding.outcome == "not applicable"


@pytest.mark.parametrize(("n_epochs", "outcome"), [(6, "issue"), (60, "passed")])
def test_a_slow_fall_is_an_issue_of_brief_trainings_only(shapes, n_epochs, outcome):
    """What has had the usual epochs and still creeps soon turns as a rule."""
    t = np.arange(1.0, n_epochs + 1)
    summary = summarise(shapes.of_folds(0.8 * t**-0.1, 0.8 * t**-0.1))

    assert check_improving(summary).outcome == outcome


@pytest.mark.parametrize(
    ("schedule", "outcome"), [("constant", "issue"), ("cosine", "tip")]
)
def test_an_annealed_training_is_laid_out_to_arrive(shapes, schedule, outcome):
    """A steep fall before the rate goes down does not say that more epochs are needed."""
    t = np.arange(1.0, 31.0)
    loss = np.exp(-t / 12)
    params = {"lr_schedule": schedule, "max_epochs": 30}
    summary = summarise(shapes.of_folds(0.9 * loss, loss, params=params))

    assert 0.5 < trend(summary).gain.mean < 0.95
    assert check_improving(summary).outcome == outcome


@pytest.mark.parametrize(
    ("schedule", "worth", "is_issue"),
    [("constant", 0.5, True), ("cosine", 0.9, False)],
)
def test_a_late_share_of_what_was_learnt_is_no_issue_if_annealed(
    shapes, schedule, worth, is_issue
):
    """From 1.07 of a constant's loss at half the epochs to 0.81: half is learnt late."""
    loss = 0.7 + 1.3 * np.exp(-np.arange(1.0, 31.0) / 12)
    params = {"lr_schedule": schedule, "max_epochs": 30}
    summary = summarise(shapes.of_folds(0.9 * loss, loss, params=params))

    assert trend(summary).of_learnt > 0.5
    assert trend(summary).gain.mean < worth
    assert (check_improving(summary).outcome == "issue") == is_issue


@pytest.mark.parametrize(("level", "is_issue"), [(0.04, False), (0.08, True)])
def test_a_low_loss_that_may_halve_is_no_issue(shapes, level, is_issue):
    """A twenty-fifth of the baseline's loss is that of a few rows."""
    loss = level * np.exp(1 - np.arange(1.0, 31.0) / 30)
    summary = summarise(shapes.of_folds(0.9 * loss, loss))

    assert (check_improving(summary).outcome == "issue") == is_issue


def test_what_does_not_carry_over_wants_no_more_epochs(shapes):
    """A training loss that runs ahead of what held-out rows gain is not waited for."""
    t = np.arange(1.0, 31.0)
    ahead = shapes.of_folds(1.0 - 0.02 * t, 1.0 - 0.001 * t)
    along = shapes.of_folds(1.0 - 0.02 * t, 1.0 - 0.019 * t)

    assert check_improving(summarise(ahead)).outcome == "passed"
    assert check_improving(summarise(along)).outcome == "issue"


def test_a_difference_that_no_score_shows_is_no_progress(shapes):
    """From 0.012 to 0.011 of the baseline's loss nothing happens that counts."""
    loss = np.append(np.linspace(1.0, 0.012, 10), np.linspace(0.012, 0.011, 40))

    assert check_converged(summarise(shapes.of_folds(loss, loss))).outcome == "tip"


def test_advice_of_fewer_epochs_than_were_extrapolated_is_a_beginning(shapes):
    """Four times the epochs are foretold, of long trainings twice as many advised."""
    t = np.arange(1.0, 31.0)
    loss = np.exp(-t / 12)
    params = {"max_epochs": 30}

    finding = check_improving(summarise(shapes.of_folds(loss, loss, params=params)))

    assert finding.message.startswith("4 times the epochs would lower")
    assert finding.remedy == "Begin with 2 times as many epochs, and look again."
    assert finding.changes[0].value == 60
