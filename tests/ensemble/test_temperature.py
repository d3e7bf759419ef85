"""Temperature scaling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from sk_tune.ensemble._temperature import (
    fitted_temperature,
    with_label_temperature,
    with_temperature,
)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), temperature=st.floats(0.3, 5))
def test_a_temperature_divides_logits(seed, temperature):
    """Scaled probabilities are the softmax of divided logits."""
    logits = np.random.default_rng(seed).normal(size=(20, 4))

    scaled = with_temperature(softmax(logits), temperature)

    np.testing.assert_allclose(scaled, softmax(logits / temperature), rtol=1e-6)


@pytest.mark.parametrize("true", [0.5, 1.0, 2.0])
def test_the_temperature_of_the_labels_is_found(true):
    """Labels drawn from divided logits give back the divisor."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(40_000, 3))
    drawn = softmax(logits / true).cumsum(axis=1) > rng.uniform(size=(40_000, 1))

    found = fitted_temperature(softmax(logits), drawn.argmax(axis=1))

    # Its relative standard error is about the root of 1 / N over a curvature near 0.3.
    assert found == pytest.approx(true, rel=0.05)


def test_probabilities_of_zero_stay_finite():
    """A class of probability 0 has no infinite logarithm."""
    scaled = with_temperature(np.array([[1.0, 0.0], [0.5, 0.5]]), 2.0)

    assert np.isfinite(scaled).all()
    np.testing.assert_allclose(scaled.sum(axis=1), 1)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), temperature=st.floats(0.3, 5))
def test_a_temperature_divides_the_logit_of_each_label(seed, temperature):
    """Labels of which a row has several have a logit each."""
    logits = np.random.default_rng(seed).normal(size=(20, 4))

    scaled = with_label_temperature(expit(logits), temperature)

    np.testing.assert_allclose(scaled, expit(logits / temperature), rtol=1e-6)


@pytest.mark.parametrize("true", [0.5, 2.0])
def test_the_temperature_of_several_labels_is_found(true):
    """Labels drawn one by one from divided logits give back the divisor."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(20_000, 3))
    drawn = (rng.uniform(size=logits.shape) < expit(logits / true)).astype(float)

    assert fitted_temperature(expit(logits), drawn) == pytest.approx(true, rel=0.05)
    assert np.isfinite(with_label_temperature(np.array([[0.0, 1.0]]), 0.5)).all()
