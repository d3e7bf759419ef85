"""Seeds, batches and sparse tables."""

import threading
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV as PlainSearchCV
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from skorch.callbacks import Callback

from sk_tune import (
    CNNClassifier,
    GridSearchCV,
    MLPClassifier,
    NetClassifier,
    RNNClassifier,
    fleet,
)
from sk_tune._estimators import _preparation
from sk_tune._training import (
    SparseRows,
    Stream,
    TensorBatches,
    TensorSet,
    _batches,
    batch_order,
    batch_sizes,
    derive_seed,
    forked_rng,
    rows_as_tensor,
)
from sk_tune.engine import Fit, train

SEEDS = st.integers(0, 2**32 - 1)
COUNTERS = st.integers(0, 10**6)
STREAMS = st.sampled_from(list(Stream))


@given(seed=SEEDS, stream=STREAMS, counter=COUNTERS)
def test_seed_fits_into_63_bits(seed, stream, counter):
    """Torch's and numpy's generators accept every derived seed."""
    assert 0 <= derive_seed(seed, stream, counter) < 2**63


@given(a=st.tuples(SEEDS, STREAMS, COUNTERS), b=st.tuples(SEEDS, STREAMS, COUNTERS))
def test_different_arguments_give_different_seeds(a, b):
    """Different arguments never share a seed."""
    assert (derive_seed(*a) == derive_seed(*b)) == (a == b)


def test_forked_rng_uses_its_seed_and_restores_the_generator():
    """Inside, torch draws as after manual_seed; outside, the generator is unchanged."""
    torch.manual_seed(7)
    expected_inside = torch.rand(3)
    torch.manual_seed(1)
    expected_after = torch.rand(3)
    torch.manual_seed(1)

    with forked_rng(7):
        inside = torch.rand(3)

    assert torch.equal(inside, expected_inside)
    assert torch.equal(torch.rand(3), expected_after)


def test_forked_rng_restores_after_an_exception():
    """An error inside the block leaves the global generator unchanged."""
    initial = torch.get_rng_state()
    try:
        with forked_rng(3):
            torch.rand(1)
            raise KeyError
    except KeyError:
        pass

    assert torch.equal(torch.get_rng_state(), initial)


def test_blocks_of_two_threads_do_not_mix():
    """Each thread draws the same numbers as alone."""

    def draw(seed, into):
        for _ in range(50):
            with forked_rng(seed):
                into.append(torch.cat([torch.rand(1) for _ in range(20)]))

    drawn = {1: [], 2: []}
    threads = [threading.Thread(target=draw, args=item) for item in drawn.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for seed, values in drawn.items():
        with forked_rng(seed):
            expected = torch.cat([torch.rand(1) for _ in range(20)])
        assert all(torch.equal(value, expected) for value in values)


X = sparse.random_array((120, 30), density=0.2, rng=0, format="csr")
DENSE = X.toarray()
Y = (DENSE[:, :5].sum(axis=1) > 0.5).astype(int)
KINDS = [sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix, sparse.csc_array]


@pytest.fixture(params=["dense at once", "dense by batches"])
def either_form(request, monkeypatch):
    """Small tables become dense tensors, large ones stay sparse."""
    if request.param == "dense by batches":
        monkeypatch.setattr(_batches, "_MOST_DENSE_BYTES", 0)


def _net(**params):
    return MLPClassifier(**{"max_epochs": 3, "width": 8, "random_state": 0, **params})


@pytest.mark.usefixtures("either_form")
@pytest.mark.parametrize("kind", KINDS)
def test_sparse_and_dense_tables_give_the_same_network(kind):
    """In `fit`, `partial_fit`, `predict_proba`, up to rounding of the kernel and torch."""
    net = _net(lr_schedule="constant")
    expected = clone(net).fit(DENSE, Y).partial_fit(DENSE[:50], Y[:50])
    result = clone(net).fit(kind(X), Y).partial_fit(kind(X[:50]), Y[:50])

    assert_allclose(result.predict_proba(kind(X)), expected.predict_proba(DENSE), rtol=1e-5)


@pytest.mark.usefixtures("either_form")
@pytest.mark.parametrize(
    "params",
    [
        {"early_stopping": True},
        {"batch_size": -1},
        {"normalization": "batch"},
        {"members": 3},
        {"numerical_embedding": "piecewise_linear"},
        {"class_weight": "balanced"},
        {"augmentation": ["mixup"]},
    ],
    ids=str,
)
def test_options_give_the_same_network_as_for_dense_rows(params):
    """Options that read rows or columns, and weights of samples."""
    weight = np.arange(len(Y)) % 3
    expected = _net(**params).fit(DENSE, Y, sample_weight=weight)
    result = _net(**params).fit(X, Y, sample_weight=weight)

    assert_allclose(result.predict_proba(X), expected.predict_proba(DENSE), rtol=1e-5)


@pytest.mark.usefixtures("either_form")
def test_codes_of_categories_may_be_sparse():
    """Category columns may be sparse, too."""
    codes = np.round(DENSE * 5)
    expected = _net(categorical_features=[0, 2]).fit(codes, Y)
    result = _net(categorical_features=[0, 2]).fit(sparse.csr_array(codes), Y)

    assert_array_equal(result.predict(X * 0), expected.predict(DENSE * 0))
    with pytest.raises(ValueError, match=r"must hold codes.* in column 0"):
        _net(categorical_features=[0]).fit(X, Y)


@pytest.mark.usefixtures("either_form")
@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csc_matrix])
def test_searches_give_the_scores_of_the_dense_table(kind, tmp_path):
    """In fleets, without warnings; a second search loads the scores from its store."""
    grid = {"learning_rate": [1e-3, 1e-2], "dropout": [0.0, 0.2]}
    store = tmp_path / "store"
    net = _net(dtype="float64")
    expected = GridSearchCV(net, grid, cv=2, scoring="neg_log_loss").fit(DENSE, Y)
    result = GridSearchCV(net, grid, cv=2, scoring="neg_log_loss", store=store)
    result.fit(kind(X), Y)
    again = GridSearchCV(net, grid, cv=2, scoring="neg_log_loss", store=store)
    again.fit(kind(X.copy()), Y)

    for search in (result, again):
        assert_allclose(
            search.cv_results_["mean_test_score"],
            expected.cv_results_["mean_test_score"],
            rtol=1e-9,
        )
    assert result.ledger_.alone_reasons == {}
    assert (result.ledger_.epochs_trained, again.ledger_.epochs_trained) == (24, 0)


@pytest.mark.usefixtures("either_form")
def test_a_fleet_block_does_not_change_predictions():
    """scikit-learn's own functions, in `fleet()`."""
    expected = cross_val_predict(_net(), X, Y, cv=2, method="predict_proba")
    with fleet() as report:
        result = cross_val_predict(_net(), X, Y, cv=2, method="predict_proba")

    assert_allclose(result, expected, atol=1e-6)
    assert report.n_adopted == 2


@pytest.mark.usefixtures("either_form")
def test_one_hot_columns_reach_a_network():
    """The default output of scikit-learn's encoder, in a pipeline and its search."""
    table, y = load_breast_cancer(return_X_y=True)
    table = np.digitize(table[:150, :3], np.quantile(table, [0.2, 0.4, 0.6]))
    y = y[:150]
    grid = {"mlpclassifier__l1": [0.0, 1e-3]}
    pipelines = [
        make_pipeline(
            OneHotEncoder(handle_unknown="ignore", sparse_output=is_sparse),
            _net(dtype="float64"),
        )
        for is_sparse in (False, True)
    ]
    expected, result = (
        GridSearchCV(pipeline, grid, cv=2, scoring="neg_log_loss").fit(table, y)
        for pipeline in pipelines
    )
    plain = PlainSearchCV(pipelines[1], grid, cv=2, scoring="neg_log_loss").fit(table, y)

    for search in (result, plain):
        assert_allclose(
            search.cv_results_["mean_test_score"],
            expected.cv_results_["mean_test_score"],
            rtol=1e-9,
        )


@pytest.mark.usefixtures("either_form")
@pytest.mark.parametrize("kind", [CNNClassifier, RNNClassifier, NetClassifier])
def test_other_networks_refuse_sparse_tables(kind):
    """With scikit-learn's message, which has the remedy."""
    net = kind(lambda: None) if kind is NetClassifier else kind()
    with pytest.raises(TypeError, match=r"dense data is required\. Use '\.toarray\(\)'"):
        net.fit(X, Y)


@pytest.mark.usefixtures("either_form")
def test_nan_is_refused():
    """Stored NaN is refused."""
    broken = X.copy()
    broken.data[3] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        _net().fit(broken, Y)


@pytest.mark.usefixtures("either_form")
def test_rows_equal_those_of_a_dense_tensor():
    """By position, slice and tensor of positions; in the requested type."""
    rows = rows_as_tensor(X, "float32", "cpu")

    assert len(rows) == len(DENSE)
    assert str(rows.dtype) == "torch.float32"
    for index in (3, slice(2, 5)):
        assert_array_equal(rows[index], DENSE[index].astype(np.float32))


@pytest.mark.usefixtures("either_form")
def test_memory_stays_far_below_the_dense_table():
    """Fits and predictions convert some batches of the 80 MB dense table at a time."""
    wide = sparse.random_array((2000, 10_000), density=1e-3, rng=0, format="csr")
    y = np.arange(2000) % 2
    rows = rows_as_tensor(wide, "float32", "cpu")
    net = MLPClassifier(width=2, max_epochs=1, batch_size=50, random_state=0)
    # The first fit imports parts of torch, which take 60 MB.
    net.fit(wide, y)
    tracemalloc.start()
    for start in range(0, len(rows), 100):
        rows[start : start + 100].sum()
    peak = tracemalloc.get_traced_memory()[1]
    net.fit(wide, y).predict(wide)
    fitted = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert isinstance(rows, SparseRows)
    assert peak < 5e6
    assert fitted < 4e7


N_ROWS = st.integers(1, 300)
BATCH_SIZES = st.integers(1, 64)


def _rows(n_rows):
    X = torch.arange(n_rows, dtype=torch.float32).unsqueeze(1)
    return TensorSet(X, torch.arange(n_rows), torch.arange(n_rows) + 0.5)


@given(n_rows=N_ROWS, batch_size=BATCH_SIZES, seed=st.none() | SEEDS)
def test_every_row_comes_once_with_its_target_and_weight(n_rows, batch_size, seed):
    """Shuffled or not, an epoch has each row once, with its target and weight."""
    batches = TensorBatches(_rows(n_rows), batch_size, seed=seed)

    seen = list(batches)

    X = torch.cat([x for x, _ in seen]).squeeze(1)
    y = torch.cat([t for _, (t, _) in seen])
    weight = torch.cat([w for _, (_, w) in seen])
    assert sorted(y.tolist()) == list(range(n_rows))
    assert torch.equal(X, y.float())
    assert torch.equal(weight, y + 0.5)
    assert len(seen) == len(batches)


@given(
    n_rows=N_ROWS,
    seed=SEEDS,
    epoch=st.integers(0, 100),
    sizes=st.tuples(*[BATCH_SIZES] * 2),
)
def test_order_depends_on_seed_epoch_and_number_of_rows_only(n_rows, seed, epoch, sizes):
    """The batch size divides the same order differently."""
    orders = []
    for size in sizes:
        batches = TensorBatches(_rows(n_rows), size, seed=seed)
        batches.epoch = epoch
        orders.append(torch.cat([y for _, (y, _) in batches]))

    assert torch.equal(*orders)


def test_rows_without_seed_keep_their_order_and_last_batch():
    """Predictions and scores need the original order."""
    batches = list(TensorBatches(TensorSet(torch.arange(5.0)), 2))

    assert [x.tolist() for x, _ in batches] == [[0, 1], [2, 3], [4]]
    assert all(y == 0 for _, y in batches)


INDICES = st.lists(st.integers(0, 19), min_size=1, max_size=40)


@given(index=INDICES, weighted=st.booleans(), targets=st.booleans())
def test_set_with_an_index_has_the_selected_rows(index, weighted, targets):
    """Rows may be selected in any order, and repeatedly."""
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
def test_taken_rows_are_independent_tensors(index):
    """The same rows without an index, in independent memory."""
    rows = _rows(20)
    own = TensorSet(*rows.columns, index=torch.tensor(index))

    taken = own.taken()
    X = taken.X.clone()
    taken.X.zero_()

    assert taken.index is None
    assert X.squeeze(1).tolist() == taken.y.tolist() == index
    assert torch.equal(taken.sample_weight, taken.y + 0.5)
    assert torch.equal(rows.X, _rows(20).X)


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
def test_single_last_row_joins_the_previous_batch(n_rows, batch_size, shuffled, expected):
    """Only in training, and only if there is a previous batch."""
    assert batch_sizes(n_rows, batch_size, shuffled=shuffled) == expected


@pytest.mark.parametrize("early_stopping", [False, True])
def test_blocks_are_equal_in_a_fleet_and_in_the_loop_of_skorch(monkeypatch, early_stopping):
    """A fold in a fleet has places in X, the loop a copy of its samples."""
    X = np.random.default_rng(0).normal(size=(240, 5)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    train_rows, monitor = np.arange(0, 240, 2), np.arange(1, 240, 2)
    net = MLPClassifier(
        (8,), batch_size=16, max_epochs=4, early_stopping=early_stopping, random_state=0
    )
    fit = Fit(estimator=net, X=X, y=y, rows=train_rows, monitor=monitor)
    (shuffled,) = train([fit])
    monkeypatch.setattr(_preparation, "LARGE", 0)
    monkeypatch.setattr(_batches, "_BYTES_READ_IN_BLOCKS", 1)
    monkeypatch.setattr(_batches, "_BYTES_OF_BLOCK", 4 * X[0].nbytes)
    monkeypatch.setattr(_batches, "_BLOCKS_AT_ONCE", 3)

    (in_fleet,) = train([fit])
    loop = clone(net).set_params(callbacks=[Callback()]).fit(X[train_rows], y[train_rows])

    assert_allclose(in_fleet.predictions, loop.predict_proba(X[monitor]), rtol=1e-5)
    assert np.abs(in_fleet.predictions - shuffled.predictions).max() > 1e-3


def test_large_samples_are_read_in_blocks(monkeypatch):
    """Blocks come in random order, and the samples of two blocks at a time are shuffled."""
    monkeypatch.setattr(_batches, "_BLOCKS_AT_ONCE", 2)
    order = batch_order(16, seed=0, epoch=0, n_in_block=4)

    first, second = ({*(part // 4).tolist()} for part in order.split(8))
    assert (len(first), first | second) == (2, {0, 1, 2, 3})
    assert not torch.equal(order, batch_order(16, seed=0, epoch=1, n_in_block=4))
    assert sorted(batch_order(17, seed=0, epoch=0, n_in_block=4)) == list(range(17))


@pytest.mark.parametrize(("n_rows", "n_in_block"), [(2**22 - 1, 1), (2**22, 1024)])
def test_samples_of_4_gib_have_blocks_of_1_mib(n_rows, n_in_block):
    """Smaller samples, and sparse tables, are shuffled as a whole."""
    rows = torch.zeros(1, 256).expand(n_rows, 256)

    assert TensorSet(rows).n_in_block == n_in_block
