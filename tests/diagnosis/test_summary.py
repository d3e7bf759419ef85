# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The numbers about curves that checks share."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from sk_tune.diagnosis import Curves
from sk_tune.diagnosis._summary import (
    estimate,
    least_by_chance,
    log_ratio,
    rate_spent,
    smooth,
    summarise,
)
from sk_tune.schedule import LR_SCHEDULES, learning_rate_factor

LOSSES = st.lists(st.floats(0.01, 10), min_size=1, max_size=12)


def curves(train, valid=None, **rest):
    train = np.atleast_2d(np.asarray(train, dtype=float))
    valid = np.full_like(train, np.nan) if valid is None else np.atleast_2d(valid)
    return Curves(train_loss=train, valid_loss=valid, valid_score=-valid, **rest)


def test_an_estimate_has_students_interval():
    """Mean, standard error and bounds are those of a t-test."""
    values = np.array([1.0, 2.0, 3.0, 6.0])

    found = estimate(values)

    assert found.mean == 3.0
    assert found.error == pytest.approx(np.std(values, ddof=1) / 2)
    margin = student.ppf(0.95, 3) * found.error
    assert found.at_least(0.95) == pytest.approx(3.0 - margin)


def test_one_fold_has_a_guessed_error():
    """With one fold the uncertainty is a share of the level; no fold has no mean."""
    found = estimate(np.array([0.5, np.nan]), level=0.5)

    assert found.n == 1
    assert 0 < found.error < 0.5
    assert math.isnan(estimate(np.array([np.nan])).mean)


def test_repeating_the_folds_does_not_make_the_mean_surer():
    """The error is the spread by the root of the folds of one repetition."""
    values = np.random.default_rng(0).normal(size=40)
    folds = np.random.default_rng(1).uniform(0.5, 1.0, size=(6, 4))

    found = estimate(values, n_repeats=10.0)
    summary = summarise(curves(folds, folds, n_repeats=2.0))

    assert found.error == pytest.approx(np.std(values, ddof=1) / math.sqrt(4))
    assert found.degrees == 3
    error = np.std(folds[:, 0], ddof=1) / math.sqrt(3)
    assert summary.estimate(folds[:, 0]).error == pytest.approx(error)


def test_a_usual_spread_counts_as_four_more_folds():
    """Three folds that agree by chance are not taken for sure: Smyth's moderated error."""
    found = estimate(np.array([1.0, 1.0, 1.0]), usual=0.6)

    # Squares 0 + 4 * 0.36 over 2 + 4 degrees of freedom, and three folds.
    assert found.error == pytest.approx(np.sqrt(4 * 0.36 / 6 / 3))
    assert found.at_least(0.95) == pytest.approx(1 - student.ppf(0.95, 6) * found.error)


@given(LOSSES)
def test_smoothing_leaves_monotonic_curves(losses):
    """A median over three epochs does not change what only falls."""
    falling = np.sort(losses)[::-1]

    np.testing.assert_array_equal(smooth(falling), falling)


def test_smoothing_takes_single_spikes_out():
    """One epoch that stands out is gone."""
    assert smooth(np.array([3.0, 2.0, 9.0, 2.0, 1.0])).tolist() == [3, 3, 2, 2, 1]


def test_levels_at_the_end_are_of_a_tenth_of_the_epochs():
    """Of 20 epochs the last two are averaged, of five only the last is taken."""
    for n_epochs, level in ((20, 18.5), (5, 4.0)):
        losses = np.arange(float(n_epochs))
        assert summarise(curves(losses, losses)).valid_end.tolist() == [level]


def test_the_training_loss_is_moved_to_the_end_of_the_epoch():
    """A running mean over a linear fall is the value half an epoch ago."""
    at_ends = 10.0 - np.arange(1, 7)
    running = at_ends + 0.5

    summary = summarise(curves(running))

    np.testing.assert_allclose(summary.train[0], at_ends)
    np.testing.assert_array_equal(summary.raw_train[0], running)


def test_folds_that_end_keep_their_last_value():
    """Early stopping ends folds after different numbers of epochs."""
    train = [[3.0, 2.0, 1.0], [3.0, 2.0, np.nan], [np.nan] * 3]

    summary = summarise(curves(train, train))

    assert summary.valid.tolist() == [[3.0, 2.0, 1.0], [3.0, 2.0, 2.0]]
    assert summary.is_finite


@pytest.mark.parametrize("bad", [[1.0, np.inf, 0.5], [1.0, np.nan, 0.5]])
def test_holes_and_infinities_are_seen(bad):
    """A loss that was infinite, or lacking between others, is remembered."""
    assert not summarise(curves(bad)).is_finite
    assert summarise(curves([np.nan, np.nan])) is None


def test_the_reference_is_the_baseline_or_the_first_loss():
    """A known loss of the constant prediction goes before what the curve began with."""
    assert summarise(curves([3.0, 1.0], baseline_loss=2.0)).reference == 2.0
    assert summarise(curves([3.0, 1.0])).reference == 3.0


def test_shares_of_the_training_are_in_learning_rate():
    """Half of a cosine's learning rate is spent before half of its epochs."""
    losses = np.arange(20.0, 0.0, -1.0)
    constant = summarise(curves(losses, losses))
    cosine = summarise(
        curves(losses, losses, params={"lr_schedule": "cosine", "max_epochs": 20})
    )

    assert constant.at_share(constant.valid, 0.5).tolist() == [11.0]
    assert cosine.at_share(cosine.valid, 0.5)[0] > 13


def test_the_least_of_noise_is_below_its_mean():
    """The correction is that of the least of T normal values, and 0 for a smooth curve."""
    rng = np.random.default_rng(0)
    noise = np.exp(0.1 * rng.normal(size=400))
    smooth_curve = np.exp(-np.arange(400) / 100)

    expected = 0.1 * np.sqrt(2 * np.log(400))
    found = least_by_chance(summarise(curves(noise, noise)))
    assert found == pytest.approx(expected, rel=0.15)
    flat = least_by_chance(summarise(curves(smooth_curve, smooth_curve)))
    assert flat == pytest.approx(0.0, abs=1e-9)


def test_the_ratio_of_two_losses_may_be_of_nothing():
    """Losses of 0 are equal, and do not divide by 0."""
    ratio = log_ratio(np.array([0.0, 2.0, 0.0]), np.array([0.0, 1.0, 1.0]))

    assert ratio[0] == 0.0
    assert ratio[1] == pytest.approx(np.log(2))
    assert np.isfinite(ratio).all()


@pytest.mark.parametrize("schedule", LR_SCHEDULES)
def test_it_is_the_integral_of_the_schedule(schedule):
    """A few points in each epoch are as good as thousands."""
    steps = (np.arange(40_000) + 0.5) / 40_000
    factors = [learning_rate_factor(schedule, step) for step in steps]
    expected = 8 * np.cumsum(factors)[4999::5000] / 40_000

    spent = rate_spent(8, schedule, 8)

    np.testing.assert_allclose(spent, expected, rtol=1e-3)


@pytest.mark.parametrize("schedule", [None, "constant", "a user's own", 3])
def test_what_is_not_known_counts_as_constant(schedule):
    """Without a schedule of sk_tune, an epoch is an epoch; a part is that part."""
    assert rate_spent(3, schedule).tolist() == [1.0, 2.0, 3.0]
    whole, part = rate_spent(10, "cosine", 10), rate_spent(5, "cosine", 10)
    np.testing.assert_array_equal(part, whole[:5])


@given(
    n_epochs=st.integers(1, 40),
    schedule=st.sampled_from(LR_SCHEDULES),
    total=st.integers(1, 60) | st.none(),
)
def test_it_never_falls(n_epochs, schedule, total):
    """Learning rate that was spent stays spent, beyond the end of the schedule too."""
    spent = rate_spent(n_epochs, schedule, total)

    assert len(spent) == n_epochs
    assert spent[0] > 0
    assert (np.diff(spent) >= 0).all()
