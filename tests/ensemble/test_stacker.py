"""The stacker against closed forms."""

import numpy as np
import pytest
from scipy.optimize import nnls

from sk_tune.ensemble._objective import RowObjective
from sk_tune.ensemble._stacker import STRENGTHS, stacked_weights, tuned_stacked_weights

SQUARED = RowObjective(kind="squared")
LOG = RowObjective(kind="log_loss")


def test_squared_error_is_that_of_constrained_least_squares(make_library):
    """Weights equal those of non-negative least squares with a row for their sum."""
    library = make_library(is_classification=False)
    weights = stacked_weights(library.predictions, library.y, SQUARED, 0.0)

    # A row of great weight holds the sum at 1.
    big = 1e5
    A = np.vstack([library.predictions.T, big * np.ones((1, len(library.predictions)))])
    expected = nnls(A, np.append(library.y, big))[0]
    np.testing.assert_allclose(weights, expected, atol=2e-3)


@pytest.mark.parametrize("strength", [0.0, 0.1])
def test_log_loss_is_at_its_minimum(make_library, strength):
    """Where a weight is positive all slopes are equal, elsewhere they are greater."""
    library = make_library()
    p = library.predictions[:, np.arange(len(library.y)), library.y]
    weights = stacked_weights(library.predictions, library.y, LOG, strength)

    unit = -np.log(p.mean(axis=0)).mean()
    slopes = -(p / (weights @ p)).mean(axis=1) / unit
    slopes += 2 * strength * (weights - 1 / len(p))
    least = slopes[weights > 0].min()
    np.testing.assert_allclose(slopes[weights > 0], least, atol=2e-2)
    assert (slopes[weights == 0] >= least - 2e-2).all()


def test_a_strong_pull_gives_equal_weights(make_library):
    """The penalty is on the distance from equal weights."""
    library = make_library(is_classification=False)
    weights = stacked_weights(library.predictions, library.y, SQUARED, 1e6)

    np.testing.assert_allclose(weights, 1 / 6, atol=1e-4)


def test_labels_have_their_own_log_losses():
    """Of a perfect and a useless candidate for labels the perfect one is taken."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=(100, 2)).astype(float)
    good, bad = np.where(y > 0.5, 0.9, 0.1), np.full(y.shape, 0.5)

    weights = stacked_weights(
        np.stack([bad, good]), y, RowObjective(kind="label_log_loss"), 0.0
    )

    np.testing.assert_allclose(weights, [0, 1], atol=1e-3)


def test_the_strength_is_one_of_the_listed(make_library):
    """Weights are those of the strength that is best on held-out parts."""
    library = make_library(is_classification=False, n_rows=40, n_candidates=10)
    tuned = tuned_stacked_weights(
        library.predictions, library.y, library.part, SQUARED, SQUARED
    )

    listed = [
        stacked_weights(library.predictions, library.y, SQUARED, strength)
        for strength in STRENGTHS
    ]
    assert any(np.array_equal(tuned, weights) for weights in listed)


def test_one_part_is_cut_in_two(make_library):
    """With the rows of one fold only there are still rows to choose the strength by."""
    library = make_library(is_classification=False, n_parts=1)
    weights = tuned_stacked_weights(
        library.predictions, library.y, library.part, SQUARED, SQUARED
    )

    assert weights.sum() == pytest.approx(1)


def test_a_lone_candidate_has_all_weight(make_library):
    """There is nothing to choose from one."""
    library = make_library(1, is_classification=False)
    weights = tuned_stacked_weights(
        library.predictions, library.y, library.part, SQUARED, SQUARED
    )

    np.testing.assert_array_equal(weights, [1])
