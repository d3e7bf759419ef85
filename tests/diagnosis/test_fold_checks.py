"""Outlying folds, small folds, learning curves by samples, and folds left out."""

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    LearningCurveDisplay,
    learning_curve,
)

from sk_tune import diagnose
from sk_tune._diagnosis import SampleCurve

BATCHES = {"batch_size": 32, "max_epochs": 30}
FREE = {"dropout": 0.0, "weight_decay": 0.0}
T30 = np.arange(1, 31)


def _times(curves, fold, factor):
    """Multiply a fold's held-out loss, while its targets have the variance of all."""
    curves.valid_loss[fold] *= factor
    curves.valid_score[fold] = 1 - curves.valid_loss[fold]
    return curves


@pytest.fixture
def apart(shapes):
    """Return a function that runs the check of folds."""
    return lambda curves: shapes.found("folds disagree", curves)


@pytest.mark.parametrize("fold", [0, 2, 4])
def test_the_fold_that_differs_is_named(shapes, apart, fold):
    """A fold with twice the held-out loss of the rest has different rows."""
    finding = apart(_times(shapes.healthy(), fold, 2))

    assert (finding.code, finding.outcome) == ("SKT110", "issue")
    assert finding.evidence["fold"] == fold
    assert finding.evidence["difference"] == pytest.approx(1.0, abs=0.06)


def test_folds_that_differ_by_chance_are_not_accused(shapes, apart):
    """A wide spread of all, a fold a little above others that agree closely, a doubt.

    Of fifty runs whose folds are alike one in two or three is mentioned, not accused.
    """
    doubt = apart(_times(shapes.healthy(spread=0.1), 4, 1.4))

    assert apart(shapes.healthy(spread=0.5)).outcome == "passed"
    assert apart(_times(shapes.healthy(spread=0.001), 1, 1.2)).outcome == "passed"
    assert doubt.evidence["deviation"] < doubt.evidence["limit"]
    assert (doubt.outcome, doubt.severity) == ("tip", "low")
    assert "may be chance" in doubt.message


def test_extreme_targets_are_not_a_shift(shapes, apart):
    """Three times the loss and the target variance leave R2 unchanged."""
    curves = shapes.healthy()
    curves.valid_loss[3] *= 3  # The score, 1 less the loss by the variance, stays.

    finding = apart(curves)

    assert finding.outcome == "passed"
    assert finding.evidence["difference"] < 0.1


def test_a_fold_with_more_unexplained_variance_is_reported(shapes, apart):
    """Twice the target variance, with three times the unexplained share."""
    curves = shapes.healthy()
    curves.valid_loss[3] *= 6
    curves.valid_score[3] = 1 - curves.valid_loss[3] / 2

    finding = apart(curves)

    assert (finding.outcome, finding.evidence["fold"]) == ("issue", 3)
    assert finding.evidence["difference"] == pytest.approx(2.0, abs=0.1)


def test_loss_and_unexplained_variance_decide_together(shapes, apart):
    """If both are unusual, the t-values of the loss and of 1 - R2 are averaged."""
    falling = np.linspace(0.8, 0.6, 30)
    curves = shapes.of_folds(np.full(30, 0.6), falling, spread=0.0, n_samples=150)
    curves.valid_score[:] = 1 - curves.valid_loss
    # Twice the variance of the targets, and 2.5 times the unexplained share of it.
    curves.valid_loss[2] *= 5
    curves.valid_score[2] = 1 - curves.valid_loss[2] / 2

    deviation = apart(curves).evidence["deviation"]

    spread = np.sqrt(1.25 * 4 / 7 * (0.01 + 2 / 30))
    t = (np.log(5) + np.log(2.5)) / 2 / spread
    assert deviation == pytest.approx(norm.isf(student.sf(t, df=7)))


def test_a_fold_is_detected_with_other_scores_and_an_affected_mean(shapes, apart):
    """Accuracy moves independently of the loss; a rising fold hides the best epoch."""
    scored = shapes.healthy()
    scored.valid_score[:] = np.linspace(0.5, 0.9, scored.n_epochs)
    scored.valid_loss[3] *= 3
    spoilt = shapes.healthy()
    spoilt.valid_loss[3] = np.linspace(1.0, 9.0, 30)

    for curves in (scored, spoilt):
        finding = apart(curves)
        assert (finding.outcome, finding.evidence["fold"]) == ("issue", 3)


@pytest.mark.parametrize(("accuracy", "outcome"), [(0.55, "issue"), (0.8, "passed")])
def test_accuracies_decide_about_a_doubtful_loss(shapes, apart, accuracy, outcome):
    """With 40 rows a fold, 22 and 32 right differ as z values of binomials do."""
    falling = np.linspace(0.8, 0.6, 30)
    curves = shapes.of_folds(np.full(30, 0.6), falling, spread=0.0, n_samples=200)
    curves.valid_score[:] = 0.8
    curves.valid_loss[2] *= 1.6
    curves.valid_score[2] = accuracy

    finding = apart(curves)

    error = (1 - accuracy + 4 * 0.2) / 5
    z = (0.8 - accuracy) / np.sqrt(error * (1 - error) * (1 + 1 / 4) / 40)
    spread = np.sqrt(1.25 * 4 / 7 * (0.01 + 1 / 40))
    of_loss = norm.isf(student.sf(np.log(1.6) / spread, df=7))
    assert finding.outcome == outcome
    assert finding.evidence["deviation"] == pytest.approx((z + of_loss) / 2)


def test_squares_of_few_rows_spread_more_than_cross_entropies(shapes, apart):
    """The relative variance of a row's loss is 2 for squares of normal errors, not 1.

    With 30 rows in each of five equal folds one that is d above them in logarithms deviates
    by d / sqrt(1.25 * 4 / 7 * (0.01 + 2 / 30)), as 3 of 7 degrees of freedom see no spread.
    """
    falling = np.linspace(0.8, 0.6, 30)
    curves = shapes.of_folds(np.full(30, 0.6), falling, spread=0.0, n_samples=150)

    deviation = apart(_times(curves, 2, 1.3)).evidence["deviation"]

    spread = np.sqrt(1.25 * 4 / 7 * (0.01 + 2 / 30))
    p_value = student.sf(np.log(1.3) / spread, df=7)
    assert deviation == pytest.approx(norm.isf(p_value))


def test_a_fold_with_failed_training_is_not_a_shift(shapes, apart):
    """Its loss is also higher on its training rows."""
    curves = _times(shapes.healthy(), 2, 3)
    curves.train_loss[2] *= 3

    finding = apart(curves)

    assert finding.outcome == "tip"
    assert "random_state" in finding.remedy


def test_some_folds_cannot_be_compared(shapes, apart):
    """With two folds the outlier is unknown; without learning only targets differ."""
    assert apart(shapes.healthy(n_folds=2)).outcome == "not applicable"
    assert apart(_times(shapes.no_signal(), 1, 2)).outcome == "not applicable"


def test_false_alarms_are_rare(shapes, apart):
    """With equal folds, at most 5 % of 120 runs have an outlying fold."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(120):
        curves = shapes.healthy(spread=0.0)
        for fold in range(5):
            _times(curves, fold, np.exp(0.15 * rng.normal()))
        alarms += apart(curves).outcome != "passed"

    assert alarms <= 6


@pytest.mark.parametrize(
    ("shape", "options", "changes"),
    [
        # Memorisation is regularised, also if only the training loss shows it.
        (
            "overfitting",
            {"params": {**FREE, "max_epochs": 30}},
            {"max_epochs": "at most"},
        ),
        (
            "by heart",
            {"params": {"batch_size": 32, "dropout": 0.1, "weight_decay": 0.0}},
            {"dropout": "at least"},
        ),
        # One batch is few steps: more epochs while the loss falls, else smaller batches;
        # after convergence, only rows can help.
        (
            "improving",
            {"params": {"max_epochs": 20}, "n_epochs": 20},
            {"max_epochs": "at least"},
        ),
        ("healthy", {"params": {**BATCHES, **FREE}}, {"batch_size": "at most"}),
        ("healthy", {}, {}),
    ],
)
def test_remedies_for_few_rows_follow_the_curves(shapes, shape, options, changes):
    """They help a network until there are more than forty rows."""
    if shape == "by heart":
        losses = np.exp(-T30 / 4), 0.6 + 0.4 * np.exp(-T30 / 4)
        curves = shapes.of_folds(*losses, n_samples=40, **options)
    else:
        curves = getattr(shapes, shape)(n_samples=40, **options)

    finding = shapes.found("too few rows", curves)

    assert (finding.code, finding.outcome) == ("SKT112", "issue")
    assert finding.evidence["n_samples"] == 40
    assert {c.parameter: c.action for c in finding.changes} == changes
    values = {c.parameter: c.value for c in finding.changes}
    assert values.get("batch_size", 8) == 8
    if shape == "improving":
        assert values == {"max_epochs": 40}


def test_few_rows_are_an_issue_and_many_are_not(shapes):
    """Forty rows are too few, a thousand with a small error are enough."""
    assert shapes.found("too few rows", shapes.few_rows()).outcome == "issue"
    assert shapes.found("too few rows", shapes.healthy()).outcome == "passed"


SIZES = np.array([50, 100, 200, 400])


def _sampled(test, train=0.99, noise=0.0):
    """Return the finding for a learning curve by samples over three folds."""
    rng = np.random.default_rng(0)
    folds = [rng.permutation(noise * np.array([-1.0, 0.0, 1.0])) for _ in SIZES]
    scores = np.asarray(test)[:, None] + np.stack(folds)
    (finding,) = diagnose(SampleCurve(SIZES, np.full((4, 3), train), scores))
    return finding


def test_a_power_law_is_extrapolated():
    """1 - n**-0.5 gains sqrt(1/2) times the last doubling, in closed form."""
    finding = _sampled(1 - SIZES**-0.5, train=1.0)

    assert (finding.code, finding.outcome) == ("SKT113", "tip")
    assert finding.evidence["gain"] == pytest.approx(400**-0.5 - 800**-0.5)


def test_the_error_of_a_single_fold_is_unknown():
    """It is not reported as 0."""
    several, one = (
        SampleCurve(SIZES, np.ones((4, n)), np.tile(1 - SIZES**-0.5, (n, 1)).T)
        for n in (3, 1)
    )
    several.test_scores[-1] += [0.0, 0.01, 0.02]

    texts = [diagnose(curve)[0].message for curve in (several, one)]

    assert ["standard error" in text for text in texts] == [True, False]


@pytest.mark.parametrize(
    ("scores", "noise", "words"),
    [
        ([0.7, 0.8, 0.8, 0.8], 0.0, "no longer rises"),
        ([0.79, 0.8, 0.8, 0.81], 0.05, "no longer rises"),
        ([0.6, 0.603, 0.6045, 0.6053], 0.0, "of its distance to the training score"),
    ],
    ids=["flat", "within the noise", "little of the gap"],
)
def test_more_rows_are_not_advised_without_a_gain(scores, noise, words):
    """The score does not rise, or only slowly, far below the training score."""
    finding = _sampled(scores, noise=noise)

    assert finding.outcome == "passed"
    assert words in finding.message


def test_one_size_is_not_enough():
    """The check needs two numbers of rows."""
    (finding,) = diagnose(SampleCurve(np.array([100]), np.ones((1, 3)), np.ones((1, 3))))

    assert finding.outcome == "not applicable"


def test_learning_curves_of_scikit_learn_are_accepted():
    """From learning_curve and from its display."""
    X, y = make_classification(300, random_state=0)
    sizes, train, test = learning_curve(LogisticRegression(), X, y, cv=3)
    display = LearningCurveDisplay(train_sizes=sizes, train_scores=train, test_scores=test)

    findings = diagnose(SampleCurve(sizes, train, test))

    assert findings == diagnose(display)
    assert findings[0].evidence["n_rows"] == 200
