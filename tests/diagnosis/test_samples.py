# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Learning curves by samples."""

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LearningCurveDisplay, learning_curve

from sk_tune.diagnosis import SampleCurve, diagnose

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
