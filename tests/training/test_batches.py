"""Batches of an epoch: every row once, in an order that can be made again."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sk_tune.training import TensorBatches, TensorSet, batch_order, batch_sizes

N_ROWS = st.integers(1, 300)
BATCH_SIZES = st.integers(1, 64)
SEEDS = st.integers(0, 2**32 - 1)


def _rows(n_rows):
    X = torch.arange(n_rows, dtype=torch.float32).unsqueeze(1)
    return TensorSet(X, torch.arange(n_rows), torch.arange(n_rows) + 0.5)


@given(n_rows=N_ROWS, batch_size=BATCH_SIZES, seed=st.none() | SEEDS)
def test_every_row_comes_once_with_its_target_and_weight(n_rows, batch_size, seed):
    """Shuffled or not, an epoch holds each row once, and rows stay together."""
    batches = TensorBatches(_rows(n_rows), batch_size, seed=seed)

    seen = list(batches)

    X = torch.cat([x for x, _ in seen]).squeeze(1)
    y = torch.cat([t for _, (t, _) in seen])
    weight = torch.cat([w for _, (_, w) in seen])
    assert sorted(y.tolist()) == list(range(n_rows))
    assert torch.equal(X, y.float())
    assert torch.equal(weight, y + 0.5)
    assert len(seen) == len(batches)


@given(n_rows=N_ROWS, batch_size=BATCH_SIZES, seed=SEEDS)
def test_no_training_batch_but_a_lone_first_has_one_row(n_rows, batch_size, seed):
    """A last batch of one row joins the one before; the others have their size."""
    sizes = [len(x) for x, _ in TensorBatches(_rows(n_rows), batch_size, seed=seed)]

    assert all(size == batch_size for size in sizes[:-1])
    if batch_size > 1 and n_rows > 1:
        assert sizes[-1] > 1
    assert sizes[-1] <= batch_size + 1


@given(
    n_rows=N_ROWS,
    seed=SEEDS,
    epoch=st.integers(0, 100),
    sizes=st.tuples(*[BATCH_SIZES] * 2),
)
def test_order_depends_on_seed_epoch_and_number_of_rows_only(n_rows, seed, epoch, sizes):
    """The size of the batches cuts the same order elsewhere."""
    orders = []
    for size in sizes:
        batches = TensorBatches(_rows(n_rows), size, seed=seed)
        batches.epoch = epoch
        orders.append(torch.cat([y for _, (y, _) in batches]))

    assert torch.equal(*orders)


def test_epochs_and_seeds_have_orders_of_their_own():
    """Another epoch or another seed shuffles anew."""

    def order(seed, epoch):
        batches = TensorBatches(_rows(100), 10, seed=seed)
        batches.epoch = epoch
        return tuple(torch.cat([y for _, (y, _) in batches]).tolist())

    assert len({order(0, 0), order(0, 1), order(1, 0), order(1, 1)}) == 4


def test_rows_without_seed_keep_their_order_and_their_last_batch():
    """Predicting and scoring go through the rows as they are."""
    batches = list(TensorBatches(TensorSet(torch.arange(5.0)), 2))

    assert [x.tolist() for x, _ in batches] == [[0, 1], [2, 3], [4]]
    assert all(y == 0 for _, y in batches)


def test_set_returns_rows_as_skorch_unpacks_them():
    """Two items: X, and what the loss takes."""
    rows = _rows(4)
    X, (y, weight) = rows[2]

    assert (X.item(), y.item(), weight.item()) == (2, 2, 2.5)
    assert TensorSet(rows.X)[1] == (rows.X[1], 0)
    assert TensorSet(rows.X, rows.y)[1] == (rows.X[1], rows.y[1])
    assert len(rows) == 4


INDICES = st.lists(st.integers(0, 19), min_size=1, max_size=40)


@given(index=INDICES, weighted=st.booleans(), targets=st.booleans())
def test_set_with_an_index_consists_of_the_rows_named(index, weighted, targets):
    """Rows may be named in any order, and more than once."""
    rows = _rows(20)
    y, weight = rows.y if targets else None, rows.sample_weight if weighted else None
    own = TensorSet(rows.X, y, weight, torch.tensor(index))

    assert len(own) == len(index)
    for position, number in enumerate(index):
        X, target = own[position]
        assert X.item() == number
        if targets and weighted:
            assert (target[0].item(), target[1].item()) == (number, number + 0.5)
        else:
            assert target == (number if targets else 0)


@given(index=INDICES)
def test_taken_rows_are_tensors_of_their_own(index):
    """The same rows come without an index, and what is written to them stays theirs."""
    rows = _rows(20)
    own = TensorSet(*rows.columns, index=torch.tensor(index))

    taken = own.taken()
    X = taken.X.clone()
    taken.X.zero_()

    assert taken.index is None
    assert X.squeeze(1).tolist() == taken.y.tolist() == index
    assert torch.equal(taken.sample_weight, taken.y + 0.5)
    assert torch.equal(rows.X, _rows(20).X)


def test_taken_rows_of_a_set_without_index_are_the_set():
    """Nothing is copied where nothing is to be chosen; what is missing stays missing."""
    rows = _rows(3)

    assert rows.taken() is rows
    assert TensorSet(rows.X, index=torch.tensor([1])).taken().columns[1:] == (None, None)


@given(index=INDICES, batch_size=BATCH_SIZES, seed=st.none() | SEEDS)
def test_batches_of_an_index_are_those_of_the_taken_rows(index, batch_size, seed):
    """Whether rows are chosen before or while batches are made is the same."""
    own = TensorSet(*_rows(20).columns, index=torch.tensor(index))

    batches = TensorBatches(own, batch_size, seed=seed)
    expected = TensorBatches(own.taken(), batch_size, seed=seed)

    assert len(batches) == len(expected)
    for (X, (y, w)), (X_2, (y_2, w_2)) in zip(batches, expected, strict=True):
        assert torch.equal(X, X_2)
        assert torch.equal(y, y_2)
        assert torch.equal(w, w_2)


@given(n_rows=N_ROWS, batch_size=BATCH_SIZES, shuffled=st.booleans())
def test_sizes_are_those_of_the_batches(n_rows, batch_size, shuffled):
    """They add up to the rows, none is empty, and batches have them."""
    sizes = batch_sizes(n_rows, batch_size, shuffled=shuffled)

    batches = TensorBatches(_rows(n_rows), batch_size, seed=0 if shuffled else None)
    assert sizes == [len(X) for X, _ in batches]
    assert sum(sizes) == n_rows
    assert min(sizes) > 0


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "shuffled", "expected"),
    [
        (8, 4, True, [4, 4]),
        (9, 4, True, [4, 5]),
        (9, 4, False, [4, 4, 1]),
        (10, 4, True, [4, 4, 2]),
        (1, 4, True, [1]),
        (3, 1, True, [1, 1, 1]),
        (5, 4, True, [5]),
    ],
)
def test_lone_last_row_joins_the_batch_before_it(n_rows, batch_size, shuffled, expected):
    """In training only, and not where there is no batch before it."""
    assert batch_sizes(n_rows, batch_size, shuffled=shuffled) == expected


@given(n_rows=N_ROWS, seed=SEEDS, epoch=st.integers(0, 100))
def test_order_is_a_permutation_that_can_be_made_again(n_rows, seed, epoch):
    """It is the order of the batches, and the global generator is not touched."""
    before = torch.get_rng_state()

    order = batch_order(n_rows, seed, epoch)

    assert torch.equal(torch.get_rng_state(), before)
    assert sorted(order.tolist()) == list(range(n_rows))
    batches = TensorBatches(_rows(n_rows), n_rows, seed=seed)
    batches.epoch = epoch
    assert torch.equal(order, torch.cat([y for _, (y, _) in batches]))
