# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Too few epochs and too many, over- and underfitting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_tune.diagnosis._fit_checks import (
    check_baseline,
    check_converged,
    check_improving,
    check_overfitting,
    check_underfitting,
    trend,
)
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


def test_a_rise_of_the_held_out_loss_is_overfitting(shapes):
    """The evidence names the best epoch and how far the loss has risen since."""
    t = np.arange(1.0, 21.0)
    # Falls to 0.5 at epoch 9 and rises by 0.05 an epoch; the last two are averaged.
    valid = np.interp(t, [1, 9, 11, 20], [0.9, 0.5, 0.5, 0.95])
    params = {"dropout": 0.0, "weight_decay": 0.01, "max_epochs": 20}

    finding = check_overfitting(summarise(shapes.of_folds(1 / t, valid, params=params)))

    assert (finding.code, finding.outcome, finding.severity) == ("SKT101", "issue", "high")
    assert finding.evidence["best_epoch"] == 9
    assert finding.evidence["rise"] == pytest.approx(0.925 / 0.5 - 1, rel=0.05)
    changed = {change.parameter for change in finding.changes}
    assert "dropout" in changed


def test_a_gap_without_a_rise_is_not(shapes):
    """Nearly every good network fits its training rows better than others."""
    t = np.arange(1.0, 31.0)
    curves = shapes.of_folds(0.01 + np.exp(-t / 3), 0.3 + np.exp(-t / 3))

    finding = check_overfitting(summarise(curves))

    assert finding.outcome == "passed"
    assert finding.evidence["gap"] > 0.2


def test_a_rise_of_one_fold_is_not(shapes):
    """Folds must agree on a rise."""
    curves = shapes.healthy()
    curves.valid_loss[0] = np.linspace(0.3, 0.9, 30)

    assert check_overfitting(summarise(curves)).outcome == "passed"


def test_a_rise_of_both_losses_is_not(shapes):
    """Where the training loss rises too, training has failed in another way."""
    t = np.arange(1.0, 31.0)
    both = np.interp(t, [1, 10, 30], [0.9, 0.3, 0.8])

    assert check_overfitting(summarise(shapes.of_folds(both, both))).outcome == "passed"


def test_where_the_best_weights_are_kept_it_is_a_tip(shapes):
    """Early stopping does not deploy what came after the best epoch."""
    summary = summarise(shapes.overfitting(), keeps_best=True)

    assert check_overfitting(summary).outcome == "tip"


def test_high_losses_without_a_gap_are_underfitting(shapes):
    """Not even the training rows are fitted, so a larger network is the remedy."""
    params = {"width": 2, "n_layers": 1, "dropout": 0.5, "weight_decay": 0.1}

    finding = check_underfitting(summarise(shapes.underfitting(params=params)))

    assert (finding.code, finding.outcome) == ("SKT102", "issue")
    changes = {c.parameter: (c.action, c.value) for c in finding.changes}
    assert changes["width"][0] == "at least"
    assert changes["width"][1] > 2


def test_high_losses_of_a_usual_network_may_be_all_there_is(shapes):
    """Where nothing holds a network back, the data may be the ceiling: a tip."""
    usual = {"width": 64, "n_layers": 2, "dropout": 0.1, "weight_decay": 0.01}

    known, unknown = (
        check_underfitting(summarise(shapes.underfitting(params=params)))
        for params in (usual, {})
    )

    assert (known.outcome, unknown.outcome) == ("tip", "issue")


@pytest.mark.parametrize("shape", ["healthy", "overfitting", "improving"])
def test_what_fits_its_training_rows_does_not_underfit(shapes, shape):
    """A low training loss, or one that still falls, is no underfitting."""
    finding = check_underfitting(summarise(getattr(shapes, shape)()))

    assert finding.outcome == "passed"


def test_larger_networks_tell_a_ceiling_from_underfitting(shapes):
    """High losses that a larger network does not lower are those of the data."""
    own = summarise(shapes.underfitting())
    t = np.arange(1.0, 31.0)
    better = summarise(shapes.of_folds(0.5 + np.exp(-t), 0.5 + np.exp(-t)))

    same = check_underfitting(own, larger=own)
    found = check_underfitting(own, larger=better)

    assert same.outcome == "passed"
    assert found.outcome == "issue"
    assert found.evidence["ahead"] == pytest.approx(0.21, abs=0.01)


def test_changed_rows_that_are_not_fitted_tell_nothing(shapes):
    """With augmentation the training loss is of other rows; a larger network may tell."""
    own = summarise(shapes.underfitting(params={"augmentation": "mixup", "width": 2}))
    better = summarise(shapes.of_folds(np.full(30, 0.5), np.full(30, 0.5)))

    assert check_underfitting(own).outcome == "not applicable"
    assert check_underfitting(own, larger=better).outcome == "issue"


def test_a_network_below_the_baseline_has_learnt_something(shapes):
    """The share of the baseline's loss that is gone is said."""
    finding = check_baseline(summarise(shapes.healthy()))

    assert (finding.code, finding.outcome) == ("SKT114", "passed")
    assert "75 %" in finding.message


def test_a_network_no_better_than_a_constant_has_not(shapes):
    """Even its best epoch is not below the baseline."""
    assert check_baseline(summarise(shapes.no_signal())).outcome == "issue"


def test_folds_that_do_not_agree_leave_it_open(shapes):
    """A gain in the mean that is within the noise is a tip."""
    curves = shapes.healthy(spread=0.0)
    curves.valid_loss[:3] += 0.9

    assert check_baseline(summarise(curves)).outcome == "tip"


def test_where_nothing_is_learnt_less_is_better(shapes):
    """What a network learns nevertheless is chance: it is regularised, if it is not yet."""
    usual = {"width": 64, "n_layers": 2, "dropout": 0.1, "weight_decay": 0.01}

    changed, held_back = (
        check_baseline(summarise(shapes.no_signal(params=params))).changes
        for params in (usual, {**usual, "dropout": 0.9})
    )

    assert {c.parameter for c in changed} == {"dropout", "weight_decay"}
    assert held_back == ()


def test_without_a_baseline_there_is_nothing_to_beat(shapes):
    """The loss of a constant prediction is not always known."""
    summary = summarise(shapes.healthy(baseline_loss=None))

    assert check_baseline(summary).outcome == "not applicable"


def test_a_loss_that_falls_in_vain_is_learning_by_heart(shapes):
    """Without regularisation a training loss that goes on alone is an issue."""
    t = np.arange(1.0, 41.0)
    valid = 0.5 + 0.5 * np.exp(-t) + 1e-4 * t
    free = {"dropout": 0.0, "weight_decay": 0.0}
    found, calm = (
        check_overfitting(summarise(shapes.of_folds(0.9 / t, valid, params=params)))
        for params in (free, {"dropout": 0.2, "weight_decay": 0.01})
    )

    assert found.outcome == "issue"
    assert calm.outcome == "passed"


def test_single_lucky_epochs_are_no_rise(shapes):
    """The least of a noisy curve is below its course by chance."""
    curves = shapes.healthy(n_epochs=60)
    rng = np.random.default_rng(0)
    curves.valid_loss[:] = 0.3 * np.exp(0.3 * rng.normal(size=(1, 60)))

    assert check_overfitting(summarise(curves)).outcome == "passed"
