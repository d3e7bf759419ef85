"""Losses of gradient boosting, against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from sk_tune.ensemble._boosting_losses import classification_loss, regression_loss

KINDS = ["squared_error", "absolute_error", "huber", "binary", "classes"]


def _case(kind, seed, n=40):
    """Return a loss, targets, predictions, those of a stage, and weights."""
    rng = np.random.default_rng(seed)
    n_columns = 3 if kind == "classes" else 1
    F, f = rng.normal(size=(2, n, n_columns))
    w = rng.uniform(0.1, 2.0, n)
    if kind == "binary":
        return classification_loss(1), rng.integers(0, 2, (n, 1)).astype(float), F, f, w
    if kind == "classes":
        return classification_loss(3), np.eye(3)[rng.integers(0, 3, n)], F, f, w
    loss = regression_loss(kind, 0.7)
    y = rng.normal(scale=2.0, size=(n, n_columns))
    loss.look_at(y, F, w)
    return loss, y, F, f, w


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 10**6))
def test_the_residual_is_the_negative_gradient(kind, seed):
    """Central differences of each sample's loss give the residual, by each column."""
    loss, y, F, _, _ = _case(kind, seed)
    h = 1e-6
    for column in range(F.shape[1]):
        moved = np.zeros_like(F)
        moved[:, column] = h
        slope = (loss.each(y, F + moved) - loss.each(y, F - moved)) / (2 * h)
        smooth = np.abs(np.abs(y - F) - getattr(loss, "delta", 0.0))[:, 0] > 1e-4
        smooth &= np.abs(y - F)[:, 0] > 1e-4
        np.testing.assert_allclose(
            loss.residual(y, F)[smooth, column], -slope[smooth], atol=1e-5
        )


@pytest.mark.parametrize("kind", ["squared_error", "binary", "classes"])
@given(seed=st.integers(0, 10**6))
def test_the_curvature_is_the_second_derivative_along_a_stage(kind, seed):
    """Second differences of each sample's loss in the direction of f give the curvature."""
    loss, y, F, f, _ = _case(kind, seed)
    h = 1e-3
    ahead, here, behind = (loss.each(y, F + t * f) for t in (h, 0, -h))

    np.testing.assert_allclose(
        loss.curvature(y, F, f), (ahead - 2 * here + behind) / h**2, atol=1e-4
    )


@pytest.mark.parametrize("kind", ["squared_error", "absolute_error"])
@given(seed=st.integers(0, 10**6))
def test_the_step_of_errors_is_the_minimum(kind, seed):
    """scipy finds no better step along the stage."""
    loss, y, F, f, w = _case(kind, seed)

    own = loss.mean(y, F + loss.step(y, F, f, w) * f, w)

    best = minimize_scalar(lambda rho: loss.mean(y, F + rho * f, w)).fun
    assert own <= best + 1e-9


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 10**6))
def test_a_small_part_of_the_step_never_raises_the_loss(kind, seed):
    """The step goes downhill, whatever the stage predicts."""
    loss, y, F, f, w = _case(kind, seed)
    rho = loss.step(y, F, f, w)

    assert loss.mean(y, F + 1e-3 * rho * f, w) <= loss.mean(y, F, w) + 1e-12


@pytest.mark.parametrize("kind", ["binary", "classes"])
def test_the_step_is_bounded_where_classes_are_separated(kind):
    """A stage that tells all samples apart does not get an infinite factor."""
    loss, y, F, _, w = _case(kind, 0)
    F = 30 * (2 * y - 1)

    rho = loss.step(y, F, loss.residual(y, F), w)

    # One Newton step along the residual is one nat, give or take.
    assert 0 < np.abs(rho * loss.residual(y, F)).max() < 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_stage_of_zeros_leads_nowhere(kind):
    """Its step is 0, not NaN."""
    loss, y, F, f, w = _case(kind, 0)

    assert loss.step(y, F, np.zeros_like(f), w) == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_is_the_best_constant(kind):
    """No other constant near it has less loss; Friedman's Huber starts at the median."""
    loss, y, _, _, w = _case(kind, 1, n=41)
    if kind == "huber":
        median = regression_loss("absolute_error", 0.5).start(y, w)
        np.testing.assert_allclose(loss.start(y, w), median)
        return
    start = loss.start(y, w)
    best = loss.mean(y, np.tile(start, (len(y), 1)), w)

    for shift in np.random.default_rng(0).normal(scale=0.1, size=(50, len(start))):
        assert loss.mean(y, np.tile(start + shift, (len(y), 1)), w) >= best - 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_of_two_is_a_sample_twice(kind):
    """Start, mean and step of weighted samples are those of repeated samples."""
    loss, y, F, f, _ = _case(kind, 2, n=15)
    w = np.random.default_rng(0).integers(1, 4, 15)
    index = np.repeat(np.arange(15), w)
    many = np.ones(len(index))

    for once, repeated in (
        (loss.start(y, w * 1.0), loss.start(y[index], many)),
        (loss.mean(y, F, w * 1.0), loss.mean(y[index], F[index], many)),
        (loss.step(y, F, f, w * 1.0), loss.step(y[index], F[index], f[index], many)),
    ):
        np.testing.assert_allclose(once, repeated, rtol=1e-12)


def test_log_losses_are_scikit_learns():
    """Both log losses are sklearn.metrics.log_loss of what their links give."""
    loss, y, F, _, w = _case("binary", 3)
    p = 1 / (1 + np.exp(-F[:, 0]))
    assert loss.mean(y, F, w) == pytest.approx(log_loss(y[:, 0], p, sample_weight=w))

    loss, y, F, _, w = _case("classes", 3)
    p = np.exp(F) / np.exp(F).sum(axis=1, keepdims=True)
    expected = log_loss(y.argmax(axis=1), p, sample_weight=w)
    assert loss.mean(y, F, w) == pytest.approx(expected)


def test_log_losses_stay_finite_far_out():
    """Log-odds of 1000 cost what they say, and their residuals are 0 or 1."""
    y, F = np.array([[0.0], [1.0]]), np.array([[1000.0], [1000.0]])

    loss = classification_loss(1)
    assert loss.each(y, F).tolist() == [1000.0, 0.0]
    assert loss.residual(y, F).tolist() == [[-1.0], [0.0]]


def test_the_huber_loss_adapts_to_the_residuals():
    """Its limit is the weighted quantile of their sizes."""
    loss = regression_loss("huber", 0.75)
    y = np.array([[1.0], [-2.0], [3.0], [100.0]])

    loss.look_at(y, np.zeros((4, 1)), np.ones(4))

    assert loss.delta == 3.0
    np.testing.assert_allclose(loss.each(y, np.zeros((4, 1))), [0.5, 2.0, 4.5, 295.5])


def test_squared_error_of_several_targets_is_their_mean():
    """As scikit-learn averages over outputs; halved."""
    y = np.array([[1.0, 3.0]])

    assert regression_loss("squared_error", 0.5).each(y, np.zeros((1, 2))).tolist() == [2.5]
