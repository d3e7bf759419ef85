"""Scores on tensors, against scikit-learn's on arrays."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, r2_score

from sk_tune.training import accuracy, accuracy_by_network, r2, r2_by_network


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


@given(seed=st.integers(0, 10**6), weighted=st.booleans())
def test_accuracy_of_each_network_is_scikit_learns(seed, weighted):
    """Networks have outputs, targets and weights of their own."""
    rng = np.random.default_rng(seed)
    outputs = rng.normal(size=(4, 20, 3))
    classes, labels = rng.integers(3, size=(4, 20)), rng.integers(2, size=(4, 20, 3))
    weight = rng.uniform(0.1, 2, size=(4, 20)) if weighted else None
    w = None if weight is None else torch.from_numpy(weight)

    got = accuracy_by_network(torch.from_numpy(outputs), torch.from_numpy(classes), w)
    got_multi = accuracy_by_network(torch.from_numpy(outputs), torch.from_numpy(labels), w)

    for k in range(4):
        own = None if weight is None else weight[k]
        predicted = outputs[k].argmax(axis=1)
        expected = accuracy_score(classes[k], predicted, sample_weight=own)
        expected_multi = accuracy_score(labels[k], outputs[k] > 0, sample_weight=own)
        assert got[k].item() == pytest.approx(expected)
        assert got_multi[k].item() == pytest.approx(expected_multi)


@given(
    seed=st.integers(0, 10**6), weighted=st.booleans(), constant=st.sampled_from([0, 1, 2])
)
def test_r2_of_each_network_is_scikit_learns(seed, weighted, constant):
    """Networks have targets of their own, some of which may be constant."""
    rng = np.random.default_rng(seed)
    y_true, y_pred = rng.normal(size=(2, 4, 15, 2))
    y_true[:2, :, :constant] = 3.0
    y_pred[0, :, :constant] = 3.0
    weight = rng.integers(1, 4, size=(4, 15)).astype(float) if weighted else None
    w = None if weight is None else torch.from_numpy(weight)

    got = r2_by_network(torch.from_numpy(y_pred), torch.from_numpy(y_true), w)

    for k in range(4):
        own = None if weight is None else weight[k]
        assert got[k].item() == pytest.approx(
            r2_score(y_true[k], y_pred[k], sample_weight=own)
        )


@pytest.mark.parametrize(
    "score", [accuracy_by_network, r2_by_network], ids=["accuracy", "r2"]
)
def test_network_of_infinite_numbers_touches_no_other(score):
    """NaN in the outputs of one network leaves the scores of the others as they are."""
    rng = np.random.default_rng(0)
    y_pred = torch.from_numpy(rng.normal(size=(3, 10, 2)))
    y_true = torch.from_numpy(rng.normal(size=(3, 10, 2)))
    y_true = (y_true > 0).double() if score is accuracy_by_network else y_true
    broken = y_pred.clone()
    broken[1] = torch.nan

    got, expected = score(broken, y_true), score(y_pred, y_true)

    assert torch.equal(got[[0, 2]], expected[[0, 2]])
