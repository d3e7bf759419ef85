# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Folds that differ or are too small, and learning curves by samples."""

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import (
    KFold,
    LearningCurveDisplay,
    RepeatedKFold,
    learning_curve,
)

from sk_tune.diagnosis import SampleCurve, diagnose, try_without_fold
from sk_tune.diagnosis._fold_checks import check_folds, check_rows
from sk_tune.diagnosis._summary import summarise


def _times(curves, fold, factor):
    """Multiply a fold's held-out loss, while its targets have the variance of all."""
    curves.valid_loss[fold] *= factor
    curves.valid_score[fold] = 1 - curves.valid_loss[fold]


@pytest.mark.parametrize("fold", [0, 2, 4])
def test_the_fold_that_differs_is_named(shapes, fold):
    """Twice the held-out loss of the others is another kind of rows."""
    curves = shapes.healthy()
    _times(curves, fold, 2)

    finding = check_folds(summarise(curves))

    assert (finding.code, finding.outcome) == ("SKT110", "issue")
    assert finding.evidence["fold"] == fold
    assert finding.evidence["difference"] == pytest.approx(1.0, abs=0.06)


def test_folds_that_all_differ_do_not_have_one_apart(shapes):
    """A wide spread of all folds is noise, not a shift of one."""
    assert check_folds(summarise(shapes.healthy(spread=0.5))).outcome == "passed"


def test_a_fold_that_may_differ_by_chance_is_a_tip(shapes):
    """Of fifty runs whose folds are alike one in two or three is mentioned, not accused."""
    curves = shapes.healthy(spread=0.1)
    _times(curves, 4, 1.4)

    finding = check_folds(summarise(curves))

    assert finding.evidence["deviation"] < finding.evidence["limit"]
    assert (finding.outcome, finding.severity) == ("tip", "low")
    assert "may be chance" in finding.message


def test_folds_that_agree_closely_may_differ_a_little(shapes):
    """Four folds that agree by chance do not make a fifth that is near them different."""
    curves = shapes.healthy(spread=0.001)
    _times(curves, 1, 1.2)

    assert check_folds(summarise(curves)).outcome == "passed"


def test_targets_far_off_are_no_shift(shapes):
    """Three times the loss and three times the variance of the targets: R2 is the same."""
    curves = shapes.healthy()
    curves.valid_loss[3] *= 3  # The score, 1 less the loss by the variance, stays.

    finding = check_folds(summarise(curves))

    assert finding.outcome == "passed"
    assert finding.evidence["difference"] < 0.1


def test_a_fold_that_is_worse_by_its_own_variance_is_accused(shapes):
    """Of targets with twice the variance three times the share is left."""
    curves = shapes.healthy()
    curves.valid_loss[3] *= 6
    curves.valid_score[3] = 1 - curves.valid_loss[3] / 2

    finding = check_folds(summarise(curves))

    assert (finding.outcome, finding.evidence["fold"]) == ("issue", 3)
    assert finding.evidence["difference"] == pytest.approx(2.0, abs=0.1)


def test_scores_that_are_not_of_squares_say_nothing_of_variances(shapes):
    """An accuracy does not move with the loss: the loss alone is compared."""
    curves = shapes.healthy()
    curves.valid_score[:] = np.linspace(0.5, 0.9, curves.n_epochs)
    curves.valid_loss[3] *= 3

    finding = check_folds(summarise(curves))

    assert (finding.outcome, finding.evidence["fold"]) == ("issue", 3)


def test_squares_of_few_rows_spread_more_than_cross_entropies(shapes):
    """The relative variance of a row's loss is 2 for squares of normal errors, not 1.

    With 30 rows in each of five equal folds one that is d above them in logarithms deviates
    by d / sqrt(1.25 * 4 / 7 * (0.01 + 2 / 30)), as 3 of 7 degrees of freedom see no spread.
    """
    curves = shapes.of_folds(
        np.full(30, 0.6), np.linspace(0.8, 0.6, 30), spread=0.0, n_samples=150
    )
    _times(curves, 2, 1.3)

    deviation = check_folds(summarise(curves)).evidence["deviation"]

    spread = np.sqrt(1.25 * 4 / 7 * (0.01 + 2 / 30))
    assert deviation == pytest.approx(np.log(1.3) / spread)


def test_a_fold_whose_training_failed_is_no_shift(shapes):
    """A fold that is worse on its training rows too was trained worse."""
    curves = shapes.healthy()
    _times(curves, 2, 3)
    curves.train_loss[2] *= 3

    finding = check_folds(summarise(curves))

    assert finding.outcome == "tip"
    assert "random_state" in finding.remedy


def test_two_folds_cannot_disagree(shapes):
    """Of two that differ nobody knows which is the odd one."""
    finding = check_folds(summarise(shapes.healthy(n_folds=2)))

    assert finding.outcome == "not applicable"


def test_false_alarms_are_rare(shapes):
    """Of folds that are all alike, one is called different in 5 % of 500 runs at most."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(500):
        curves = shapes.healthy(spread=0.0)
        for fold in range(5):
            _times(curves, fold, np.exp(0.15 * rng.normal()))
        alarms += check_folds(summarise(curves)).outcome != "passed"

    assert alarms <= 25


def test_few_rows_tell_little(shapes):
    """Forty rows in folds that disagree are not enough."""
    finding = check_rows(summarise(shapes.few_rows()))

    assert (finding.code, finding.outcome) == ("SKT112", "issue")
    assert finding.evidence["n_samples"] == 40


def test_few_rows_that_are_learnt_by_heart_are_treated_for_it(shapes):
    """Until there are more of them, the network is regularised."""
    params = {"dropout": 0.0, "weight_decay": 0.0, "max_epochs": 30}

    finding = check_rows(summarise(shapes.overfitting(n_samples=40, params=params)))

    changes = {c.parameter: c.action for c in finding.changes}
    assert finding.outcome == "issue"
    assert changes == {
        "dropout": "at least",
        "weight_decay": "at least",
        "max_epochs": "at most",
    }


def test_few_rows_have_few_steps(shapes):
    """Where all rows are one batch and the loss still falls, more epochs are the remedy."""
    curves = shapes.improving(n_epochs=20, n_samples=40, params={"max_epochs": 20})

    (change,) = check_rows(summarise(curves)).changes

    assert (change.parameter, change.action, change.value) == ("max_epochs", "at least", 40)


def test_few_rows_that_are_learnt_need_no_change(shapes):
    """Where the held-out loss has arrived nothing but rows can help."""
    finding = check_rows(summarise(shapes.healthy(n_samples=40)))

    assert (finding.outcome, finding.changes) == ("issue", ())


def test_few_rows_that_are_one_batch_are_given_smaller_ones(shapes):
    """Of 40 rows in 5 folds 32 are trained on: one step in each epoch is too few."""
    params = {"batch_size": 32, "max_epochs": 30}

    (change,) = check_rows(summarise(shapes.healthy(n_samples=40, params=params))).changes

    assert (change.parameter, change.action, change.value) == ("batch_size", "at most", 8)


def test_more_steps_through_few_rows_come_with_restraint(shapes):
    """Else the network learns by heart what it goes through more often."""
    params = {"batch_size": 32, "max_epochs": 30, "dropout": 0.0, "weight_decay": 0.0}
    curves = shapes.healthy(n_samples=40, params=params)

    changes = {change.parameter for change in check_rows(summarise(curves)).changes}

    assert changes == {"batch_size", "dropout", "weight_decay"}


def test_few_rows_that_are_left_at_no_loss_have_had_steps_enough(shapes):
    """A training loss of next to nothing is learning by heart, though nothing rises."""
    epochs = np.arange(1, 31)
    params = {"batch_size": 32, "dropout": 0.1, "weight_decay": 0.0}
    curves = shapes.of_folds(
        np.exp(-epochs / 4), 0.6 + 0.4 * np.exp(-epochs / 4), n_samples=40, params=params
    )

    changes = {change.parameter for change in check_rows(summarise(curves)).changes}

    assert changes == {"dropout", "weight_decay"}


def test_many_rows_in_folds_that_agree_are_enough(shapes):
    """A thousand rows with a small error are fine."""
    assert check_rows(summarise(shapes.healthy())).outcome == "passed"


def test_where_nothing_is_learnt_folds_are_not_compared(shapes):
    """Folds with other targets differ from each other without any network."""
    curves = shapes.no_signal()
    _times(curves, 1, 2)

    assert check_folds(summarise(curves)).outcome == "not applicable"


def test_a_fold_that_spoils_the_mean_is_still_seen(shapes):
    """A fold that only gets worse hides the epoch that is best for the others."""
    curves = shapes.healthy()
    curves.valid_loss[3] = np.linspace(1.0, 9.0, 30)

    finding = check_folds(summarise(curves))

    assert (finding.outcome, finding.evidence["fold"]) == ("issue", 3)


SIZES = np.array([50, 100, 200, 400])


def sample_curve(test, train=0.99, noise=0.0):
    folds = noise * np.array([-1.0, 0.0, 1.0])
    rng = np.random.default_rng(0)
    own = np.stack([rng.permutation(folds) for _ in SIZES])
    return SampleCurve(
        train_sizes=SIZES,
        train_scores=np.full((4, 3), train),
        test_scores=np.asarray(test)[:, None] + own,
    )


def test_a_power_law_goes_on():
    """1 - n**-0.5 gains by the last doubling times sqrt(1/2), by its closed form."""
    score = 1 - SIZES**-0.5

    (finding,) = diagnose(sample_curve(score, train=1.0))

    assert finding.code == "SKT113"
    assert finding.outcome == "tip"
    assert finding.evidence["gain"] == pytest.approx(400**-0.5 - 800**-0.5)


def test_a_flat_curve_wants_no_rows():
    """Where the score does not rise, rows are not what lacks."""
    (finding,) = diagnose(sample_curve([0.7, 0.8, 0.8, 0.8]))

    assert finding.outcome == "passed"


def test_a_rise_within_the_noise_is_none():
    """Folds that do not agree on a rise do not show one."""
    (finding,) = diagnose(sample_curve([0.79, 0.8, 0.8, 0.81], noise=0.05))

    assert finding.outcome == "passed"


def test_a_rise_that_closes_little_of_the_gap_is_not_worth_it():
    """A score that creeps up far below the training score does so for rows for years."""
    (finding,) = diagnose(sample_curve([0.6, 0.603, 0.6045, 0.6053]))

    assert finding.outcome == "passed"
    assert "not worth" in finding.message


def test_one_size_tells_nothing():
    """It takes two numbers of rows."""
    curve = SampleCurve(np.array([100]), np.ones((1, 3)), np.ones((1, 3)))

    (finding,) = diagnose(curve)

    assert finding.outcome == "not applicable"


def test_it_takes_what_scikit_learn_makes():
    """Both learning_curve and its display can be diagnosed."""
    X, y = make_classification(300, random_state=0)
    sizes, train, test = learning_curve(LogisticRegression(), X, y, cv=3)
    display = LearningCurveDisplay(train_sizes=sizes, train_scores=train, test_scores=test)

    findings = diagnose(SampleCurve(sizes, train, test))

    assert findings == diagnose(display)
    assert findings[0].evidence["n_rows"] == 200


def _linear(n_rows=100):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 3))
    return X, X.sum(axis=1) + 0.1 * rng.normal(size=n_rows)


@pytest.mark.parametrize("fold", [0, 3])
def test_rows_with_other_targets_do_harm(fold):
    """Three more for each target of a fold spoils the line for the others."""
    X, y = _linear()
    y[20 * fold : 20 * (fold + 1)] += 3.0

    finding = try_without_fold(LinearRegression(), X, y, fold=fold, cv=KFold(5))

    assert (finding.code, finding.outcome) == ("SKT116", "issue")
    assert finding.evidence["fold"] == fold
    assert finding.evidence["score_without"] > 0.98 > finding.evidence["score"]


def test_rows_that_are_only_rare_are_kept():
    """An end of the data that follows the same law helps the others."""
    X, y = _linear()
    X[:20] += 2.0
    y[:20] += 6.0

    finding = try_without_fold(LinearRegression(), X, y, fold=0, cv=KFold(5))

    assert finding.outcome == "passed"
    assert finding.evidence["gain"] < 0.001


def test_the_score_can_be_chosen():
    """Half of the labels of a fold are wrong: the others' log loss tells."""
    X, y = _linear(400)
    labels = (y > 0).astype(int)
    labels[:80:2] = 1 - labels[:80:2]

    finding = try_without_fold(
        LogisticRegression(), X, labels, fold=0, cv=KFold(5), scoring="neg_log_loss"
    )

    assert finding.outcome == "issue"
    assert finding.evidence["score"] < finding.evidence["score_without"] < 0


def test_folds_that_share_the_rows_are_no_others():
    """Of two repetitions of three folds, two or less do not test rows of the first."""
    X, y = _linear(60)
    y[:20] += 3.0
    cv = RepeatedKFold(n_splits=3, n_repeats=2, random_state=0)

    finding = try_without_fold(LinearRegression(), X, y, fold=0, cv=cv)

    assert np.isfinite(finding.evidence["gain"])


@pytest.mark.parametrize(("fold", "n_folds"), [(5, 5), (-1, 5), (0, 2)])
def test_it_takes_a_fold_of_three(fold, n_folds):
    """Of two folds that differ nobody knows which is the odd one."""
    X, y = _linear()

    with pytest.raises(ValueError, match="must be one of at least three folds"):
        try_without_fold(LinearRegression(), X, y, fold=fold, cv=KFold(n_folds))
