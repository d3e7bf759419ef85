# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Over- and underfitting."""

import numpy as np
import pytest

from sk_tune.diagnosis._fit_checks import (
    check_baseline,
    check_overfitting,
    check_underfitting,
)
from sk_tune.diagnosis._summary import summarise


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
