"""Data sets that mean the same to a step over all rows give the same network."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from sk_tune.estimators._encoded_data import (
    Rows,
    merge_equal_rows,
    mixes_rows,
    placed,
    to_set,
)

NAMES = [
    network + task
    for network in ("MLP", "CNN", "RNN", "Net")
    for task in ("Classifier", "Regressor")
]

# Few different values, so that equal rows occur.
_ROWS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.just(2)),
    elements=st.sampled_from([-1, 0, 2]),
)


@st.composite
def weighted_rows(draw):
    """Draw rows, targets and whole-numbered weights."""
    X = draw(_ROWS)
    target = draw(hnp.arrays(np.int64, len(X), elements=st.integers(0, 1)))
    weight = draw(hnp.arrays(np.float64, len(X), elements=st.integers(1, 3)))
    return Rows(X, target, weight)


def _sums(X, target, weight):
    """Return the total weight of every different pair of a row and a target."""
    sums = {}
    for row, label, w in zip(X.tolist(), target.tolist(), weight.tolist(), strict=True):
        key = (*row, label)
        sums[key] = sums.get(key, 0) + w
    return sums


@given(weighted_rows())
def test_no_weight_is_lost(data):
    """Every different row comes once, with the sum of its weights."""
    merged = merge_equal_rows(data)

    assert _sums(*merged) == _sums(*data)
    assert len(merged.X) == len(_sums(*data))


@given(weighted_rows(), st.randoms(use_true_random=False))
def test_the_order_of_rows_has_no_influence(data, random):
    """A permutation of the rows is merged to the same arrays."""
    order = np.array(random.sample(range(len(data.X)), len(data.X)))
    shuffled = data.take(order)

    for one, other in zip(merge_equal_rows(data), merge_equal_rows(shuffled), strict=True):
        np.testing.assert_array_equal(one, other)


@given(weighted_rows())
def test_a_weight_is_as_good_as_repetition(data):
    """Rows repeated as often as they weigh are merged to the same arrays."""
    X, target, weight = data
    times = weight.astype(int)
    repeated = Rows(X.repeat(times, axis=0), target.repeat(times), None)

    for one, other in zip(merge_equal_rows(data), merge_equal_rows(repeated), strict=True):
        np.testing.assert_array_equal(one, other)


@given(weighted_rows())
def test_merging_twice_changes_nothing_more(data):
    """What is merged has its final form."""
    once = merge_equal_rows(data)

    for one, other in zip(once, merge_equal_rows(once), strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_are_equal_only_with_their_targets_and_padding():
    """Several dimensions, several targets and NaN of padding all tell rows apart."""
    X = np.array([[[1.0], [np.nan]], [[1.0], [2.0]], [[1.0], [np.nan]], [[1.0], [np.nan]]])
    target = np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 2.0]])

    merged_X, merged_target, weight = merge_equal_rows(Rows(X, target, None))

    assert merged_X.shape == (3, 2, 1)
    assert merged_target.shape == (3, 2)
    assert sorted(weight) == [1, 1, 2]


def test_taking_rows_takes_all_columns():
    """A choice of rows has their inputs, targets and weights."""
    rows = Rows(
        np.arange(6.0).reshape(3, 2), np.array([7, 8, 9]), np.array([1.0, 2.0, 3.0])
    )

    taken = rows.take(np.array([2, 0]))

    assert taken.X.tolist() == [[4, 5], [0, 1]]
    assert taken.target.tolist() == [9, 7]
    assert taken.weight.tolist() == [3, 1]
    assert rows._replace(weight=None).take(slice(1)).weight is None


@pytest.mark.parametrize(
    "params", [{}, {"normalization": "batch"}, {"dropout": 0.3}], ids=str
)
@pytest.mark.parametrize("batch_size", [-1, 1000])
@pytest.mark.parametrize("name", NAMES)
def test_weight_two_equals_a_row_twice(
    name, batch_size, params, make_estimator, task_data, outputs
):
    """In full-batch training, weights and repeated rows agree bitwise, in any order."""
    X, y = task_data(name)
    rng = np.random.default_rng(0)
    weight = rng.integers(0, 3, size=len(X))
    rows = rng.permutation(np.arange(len(X)).repeat(weight))
    architecture = {} if name.startswith("Net") else params
    params = {**architecture, "batch_size": batch_size, "max_epochs": 3}

    weighted = make_estimator(name, **params).fit(X, y, sample_weight=weight)
    repeated = make_estimator(name, **params).fit(X[rows], y[rows])

    np.testing.assert_array_equal(outputs(weighted, X), outputs(repeated, X))
    plain = make_estimator(name, **params).fit(X, y)
    assert (outputs(plain, X) != outputs(weighted, X)).any()


def test_weights_need_not_be_whole_numbers(make_estimator, task_data):
    """Half a weight on each of two equal rows is one row, up to nothing at all."""
    X, y = task_data("MLPRegressor")
    twice = np.concatenate([X, X]), np.concatenate([y, y])

    halves = make_estimator("MLPRegressor", batch_size=-1)
    halves.fit(*twice, sample_weight=np.full(len(twice[0]), 0.5))
    whole = make_estimator("MLPRegressor", batch_size=-1).fit(X, y)

    np.testing.assert_array_equal(halves.predict(X), whole.predict(X))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [(nn.BatchNorm1d(3), True), (nn.BatchNorm2d(3), True), (nn.LayerNorm(3), False)],
)
def test_only_batch_normalisation_looks_across_rows(layer, expected):
    """However deep in the network it is."""
    assert mixes_rows(nn.Sequential(nn.Sequential(layer))) is expected


def test_equal_weights_are_no_weights():
    """What weighs all rows of a set alike changes nothing; others keep their ratios."""
    X, target = torch.arange(4.0).reshape(4, 1), torch.arange(4)
    weight = np.array([2.0, 2.0, 6.0, 3.0])

    equal = to_set(X, target, weight, np.array([0, 1]))
    other = to_set(X, target, weight, np.array([0, 2]))

    assert equal.sample_weight is None
    assert other.taken().sample_weight.tolist() == pytest.approx([1 / 3, 1])
    assert other.taken().X.flatten().tolist() == [0, 2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, None])
@pytest.mark.parametrize("device", ["meta", "cpu", None])
def test_modules_are_placed_where_torch_would_place_them(dtype, device):
    """Numbers that are not real keep their type."""
    module, expected = (nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)) for _ in range(2))
    expected.to(dtype=dtype, device=device)

    assert placed(module, dtype=dtype, device=device) is module

    for own, theirs in zip(
        module.state_dict().values(), expected.state_dict().values(), strict=True
    ):
        assert (own.dtype, own.device) == (theirs.dtype, theirs.device)
