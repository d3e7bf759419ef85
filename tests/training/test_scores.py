"""Scores on tensors, against scikit-learn's on arrays."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, r2_score

from sk_tune.training import accuracy, r2


@given(seed=st.integers(0, 10**6), weighted=st.booleans())
def test_accuracy_is_scikit_learns(seed, weighted):
    """For classes and for multilabel rows, with and without weights."""
    rng = np.random.default_rng(seed)
    outputs = rng.normal(size=(30, 3))
    classes, labels = rng.integers(3, size=30), rng.integers(2, size=(30, 3))
    weight = rng.uniform(0.1, 2, size=30) if weighted else None
    w = None if weight is None else torch.from_numpy(weight)

    got = accuracy(torch.from_numpy(outputs), torch.from_numpy(classes), w)
    got_multi = accuracy(torch.from_numpy(outputs), torch.from_numpy(labels), w)

    expected = accuracy_score(classes, outputs.argmax(axis=1), sample_weight=weight)
    expected_multi = accuracy_score(labels, outputs > 0, sample_weight=weight)
    assert got == pytest.approx(expected)
    assert got_multi == pytest.approx(expected_multi)


@given(seed=st.integers(0, 10**6), weighted=st.booleans())
def test_r2_is_scikit_learns(seed, weighted):
    """Averaged over outputs, with and without weights."""
    rng = np.random.default_rng(seed)
    y_true, y_pred = rng.normal(size=(2, 25, 2))
    weight = rng.uniform(0.1, 2, size=25) if weighted else None
    w = None if weight is None else torch.from_numpy(weight)

    got = r2(torch.from_numpy(y_pred), torch.from_numpy(y_true), w)

    assert got == pytest.approx(r2_score(y_true, y_pred, sample_weight=weight))


@pytest.mark.parametrize("y_pred", [3.0, 2.5])
def test_r2_of_a_constant_target_is_scikit_learns(y_pred):
    """A constant target counts 1 if met exactly and 0 otherwise."""
    y_true, y_pred = np.full((5, 1), 3.0), np.full((5, 1), y_pred)

    got = r2(torch.from_numpy(y_pred), torch.from_numpy(y_true))

    assert got == r2_score(y_true, y_pred)
