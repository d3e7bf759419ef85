"""Sparse tables: MLPs train on them and predict from them as from dense ones."""

import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV as PlainSearchCV
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sk_tune import (
    CNNClassifier,
    GridSearchCV,
    HyperbandSearchCV,
    MLPClassifier,
    MLPRegressor,
    NetClassifier,
    RNNClassifier,
    fleet,
)
from sk_tune.training import SparseRows, _batches, rows_as_tensor

X = sparse.random_array((120, 30), density=0.2, rng=0, format="csr")
DENSE = X.toarray()
Y = (DENSE[:, :5].sum(axis=1) > 0.5).astype(int)
KINDS = [sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix, sparse.csc_array]


@pytest.fixture(params=["dense at once", "dense by batches"], autouse=True)
def _limit(request, monkeypatch):
    """Small tables become dense tensors, large ones stay sparse."""
    if request.param == "dense by batches":
        monkeypatch.setattr(_batches, "_MOST_DENSE_BYTES", 0)


def _net(**params):
    return MLPClassifier(**{"max_epochs": 3, "width": 8, "random_state": 0, **params})


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_gives_the_network_of_the_dense_table(kind):
    """To the bit, in `fit`, `partial_fit` and `predict_proba`."""
    net = _net(lr_schedule="constant")
    expected = clone(net).fit(DENSE, Y).partial_fit(DENSE[:50], Y[:50])
    found = clone(net).fit(kind(X), Y).partial_fit(kind(X[:50]), Y[:50])

    np.testing.assert_array_equal(
        found.predict_proba(kind(X)), expected.predict_proba(DENSE)
    )


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
def test_options_see_the_dense_rows(params):
    """Whatever looks at rows or at columns: weights of samples, too."""
    weight = np.arange(len(Y)) % 3
    expected = _net(**params).fit(DENSE, Y, sample_weight=weight)
    found = _net(**params).fit(X, Y, sample_weight=weight)

    np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(DENSE))


def test_codes_of_categories_may_be_sparse():
    """Columns of categories hold codes there, too."""
    codes = np.round(DENSE * 5)
    expected = _net(categorical_features=[0, 2]).fit(codes, Y)
    found = _net(categorical_features=[0, 2]).fit(sparse.csr_array(codes), Y)

    np.testing.assert_array_equal(found.predict(X * 0), expected.predict(DENSE * 0))
    with pytest.raises(ValueError, match=r"must hold codes.* in column 0"):
        _net(categorical_features=[0]).fit(X, Y)


def test_regressors_take_them():
    """Alike."""
    expected = MLPRegressor(max_epochs=2, random_state=0).fit(DENSE, DENSE[:, :2])
    found = MLPRegressor(max_epochs=2, random_state=0).fit(X, DENSE[:, :2])

    np.testing.assert_array_equal(found.predict(X), expected.predict(DENSE))


@pytest.mark.parametrize("kind", KINDS)
def test_searches_give_the_scores_of_the_dense_table(kind, tmp_path):
    """In fleets, without a word; and a second search loads them from its store."""
    grid = {"learning_rate": [1e-3, 1e-2], "dropout": [0.0, 0.2]}
    store = tmp_path / "store"
    net = _net(dtype="float64")
    expected = GridSearchCV(net, grid, cv=2, scoring="neg_log_loss").fit(DENSE, Y)
    found = GridSearchCV(net, grid, cv=2, scoring="neg_log_loss", store=store)
    found.fit(kind(X), Y)
    again = GridSearchCV(net, grid, cv=2, scoring="neg_log_loss", store=store)
    again.fit(kind(X.copy()), Y)

    for search in (found, again):
        np.testing.assert_allclose(
            search.cv_results_["mean_test_score"],
            expected.cv_results_["mean_test_score"],
            rtol=1e-9,
        )
    assert found.ledger_.solo_reasons == {}
    assert (found.ledger_.epochs_trained, again.ledger_.epochs_trained) == (24, 0)


def test_hyperband_goes_on_with_them():
    """Rungs and the refit, too."""
    search = HyperbandSearchCV(
        _net(), {"l1": [0.0, 1e-3, 1e-2]}, max_resources=3, cv=2, random_state=0
    )

    assert search.fit(X, Y).predict(X).shape == Y.shape


def test_a_block_gives_the_predictions_without_it():
    """scikit-learn's own functions, in `fleet()`."""
    expected = cross_val_predict(_net(), X, Y, cv=2, method="predict_proba")
    with fleet() as report:
        found = cross_val_predict(_net(), X, Y, cv=2, method="predict_proba")

    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert report.n_adopted == 2


def test_one_hot_columns_reach_a_network():
    """As scikit-learn's encoder makes them by default, in a pipeline and its search."""
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
    expected, found = (
        GridSearchCV(pipeline, grid, cv=2, scoring="neg_log_loss").fit(table, y)
        for pipeline in pipelines
    )
    plain = PlainSearchCV(pipelines[1], grid, cv=2, scoring="neg_log_loss").fit(table, y)

    for search in (found, plain):
        np.testing.assert_allclose(
            search.cv_results_["mean_test_score"],
            expected.cv_results_["mean_test_score"],
            rtol=1e-9,
        )


@pytest.mark.parametrize("kind", [CNNClassifier, RNNClassifier, NetClassifier])
def test_other_networks_refuse_them(kind):
    """In scikit-learn's line, which says what to do."""
    net = kind(lambda: None) if kind is NetClassifier else kind()
    with pytest.raises(TypeError, match=r"dense data is required\. Use '\.toarray\(\)'"):
        net.fit(X, Y)


def test_nan_is_refused():
    """Stored or not, a number must be one."""
    broken = X.copy()
    broken.data[3] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        _net().fit(broken, Y)


def test_rows_are_those_of_a_dense_tensor():
    """By position, slice and tensor of positions; of the type that was asked for."""
    rows = rows_as_tensor(X, "float32", "cpu")

    assert len(rows) == len(DENSE)
    assert str(rows.dtype) == "torch.float32"
    for index in (3, slice(2, 5)):
        np.testing.assert_array_equal(rows[index], DENSE[index].astype(np.float32))


def test_memory_stays_far_below_that_of_the_dense_table():
    """A fit and a prediction make some batches of the 80 MB dense at a time."""
    wide = sparse.random_array((2000, 10_000), density=1e-3, rng=0, format="csr")
    y = np.arange(2000) % 2
    rows = rows_as_tensor(wide, "float32", "cpu")
    tracemalloc.start()
    for start in range(0, len(rows), 100):
        rows[start : start + 100].sum()
    peak = tracemalloc.get_traced_memory()[1]
    net = MLPClassifier(width=2, max_epochs=1, batch_size=50, random_state=0)
    net.fit(wide, y).predict(wide)
    fitted = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert isinstance(rows, SparseRows)
    assert peak < 5e6
    assert fitted < 4e7
