"""What becomes of the sum of an ensemble's members, temperatures included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.exceptions import NotFittedError

from sk_tune import BaggingClassifier
from sk_tune.ensemble import Member, Parts, with_temperature
from sk_tune.ensemble._parts import (
    fitted_temperature,
    parts_of,
)


def _parts(weights, **options):
    members = tuple(Member(f"m{i}", weight) for i, weight in enumerate(weights))
    return Parts(**{"members": members, "n_features": 2, **options})


def test_the_heaviest_members_of_a_mean_come_first():
    """In their order, the earlier of equal ones, with weights that sum to 1."""
    first = _parts([0.2, 0.3, 0.2, 0.3]).first(3)

    assert [member.estimator for member in first.members] == ["m0", "m1", "m3"]
    np.testing.assert_allclose([m.weight for m in first.members], [0.25, 0.375, 0.375])


def test_the_first_members_of_a_sum_come_first():
    """Later stages stand on earlier ones; their weights stay."""
    first = _parts([0.1, 5.0, 0.3], link="sum", offset=np.zeros(1)).first(2)

    assert [member.weight for member in first.members] == [0.1, 5.0]


@pytest.mark.parametrize(
    ("options", "total", "expected"),
    [
        ({}, [[2.0]], [[2.0]]),
        ({"link": "sum", "offset": np.array([3.0])}, [[2.0]], [[5.0]]),
        (
            {"link": "logistic", "offset": np.array([np.log(2)]), "classes": np.arange(2)},
            [[np.log(1.5)]],
            [[0.25, 0.75]],
        ),
        (
            {"link": "softmax", "offset": np.log([2.0, 1.0, 1.0]), "classes": np.arange(3)},
            [[0.0, 0.0, np.log(2)]],
            [[0.4, 0.2, 0.4]],
        ),
        ({"classes": np.arange(2)}, [[0.5, 1.5]], [[0.25, 0.75]]),
        ({"classes": np.arange(2), "temperature": 0.5}, [[0.4, 0.6]], [[4 / 13, 9 / 13]]),
    ],
    ids=["mean", "sum", "logistic", "softmax", "probabilities", "temperature"],
)
def test_the_sum_becomes_what_the_link_says(options, total, expected):
    """Values by hand: odds of 2 times 1.5 are 3 to 1; squares of 2 and 3 are 4 and 9."""
    np.testing.assert_allclose(
        _parts([1.0], **options).finish(np.array(total)), expected, rtol=1e-12
    )


def test_an_unfitted_ensemble_has_no_parts():
    """It says so in scikit-learn's words."""
    with pytest.raises(NotFittedError):
        parts_of(BaggingClassifier())


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

    scaled = with_temperature(expit(logits), temperature, is_multilabel=True)

    np.testing.assert_allclose(scaled, expit(logits / temperature), rtol=1e-6)


@pytest.mark.parametrize("true", [0.5, 2.0])
def test_the_temperature_of_several_labels_is_found(true):
    """Labels drawn one by one from divided logits give back the divisor."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(20_000, 3))
    drawn = (rng.uniform(size=logits.shape) < expit(logits / true)).astype(float)

    assert fitted_temperature(expit(logits), drawn) == pytest.approx(true, rel=0.05)
    ends = with_temperature(np.array([[0.0, 1.0]]), 0.5, is_multilabel=True)
    assert np.isfinite(ends).all()
