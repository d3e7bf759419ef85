"""Batches of an epoch: every row once, in an order that can be made again."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from sk_tune.training import TensorBatches, TensorSet

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
