"""Categories in tables: columns, codes, bins and training."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from sk_tune import MLPClassifier, MLPRegressor, Periodic, PiecewiseLinear

CODED = [1, 3]
SMALL = {"hidden_layer_sizes": (16,), "learning_rate": 0.01, "random_state": 0}


def _table(n_rows=240):
    """Return numbers and codes, and a target that depends on the parity of codes."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 4))
    X[:, 1] = rng.integers(0, 12, n_rows)
    X[:, 3] = rng.integers(0, 4, n_rows)
    return X, ((X[:, 1] % 2 == 0) ^ (X[:, 0] > 0.5)).astype(int)


def _frame(X):
    return pd.DataFrame(X, columns=list("abcd")).astype({"b": "category", "d": "category"})


@pytest.fixture(scope="module")
def fitted():
    """A classifier of the table's rows, with categories by position."""
    X, y = _table()
    return MLPClassifier(categorical_features=CODED, max_epochs=5, **SMALL).fit(X, y)


def test_each_code_is_learnt_separately():
    """A small network cannot tell even from odd codes by the numbers themselves."""
    X, y = _table()
    params = {**SMALL, "max_epochs": 60}

    with_codes = MLPClassifier(categorical_features=CODED, **params).fit(X, y)
    without = MLPClassifier(**params).fit(X, y)

    assert with_codes.score(X, y) > 0.97 > 0.9 > without.score(X, y)


@pytest.mark.parametrize(
    "given",
    [
        ["b", "d"],
        np.array(["d", "b"]),
        pd.Index(["b", "d"]),
        pd.Series(["b", "d"]),
        [False, True, False, True],
        np.array([False, True, False, True]),
        np.array([3, 1]),
        "from_dtype",
    ],
    ids=str,
)
def test_names_masks_and_types_are_equivalent_to_positions(given, fitted, tmp_path):
    """Every form of naming the columns gives the same network, also from a file."""
    X, y = _table()
    data = pd.DataFrame(X, columns=list("abcd"))
    data = _frame(X) if isinstance(given, str) else data

    net = clone(fitted).set_params(categorical_features=given).fit(data, y)
    net.save(tmp_path / "net")

    for own in (net, MLPClassifier.load(tmp_path / "net")):
        np.testing.assert_array_equal(own.predict_proba(data), fitted.predict_proba(X))
    assert np.flatnonzero(net.is_categorical_).tolist() == CODED
    if isinstance(given, list) and given[0] == "b":
        frame = pl.DataFrame(X, schema=list("abcd"))
        np.testing.assert_array_equal(net.fit(frame, y).predict(frame), net.predict(data))
        with pytest.raises(ValueError, match="positions or a mask where X has no names"):
            net.fit(X, y)


NUMBERS = hnp.arrays(
    st.sampled_from([np.float32, np.float64]),
    st.tuples(st.integers(2, 30), st.just(2)),
    elements=st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, 1.0]),
)


@settings(max_examples=25)
@given(X=NUMBERS, n_bins=st.integers(1, 9), data=st.data())
def test_bins_are_quantiles_of_the_rows_of_fit(X, n_bins, data):
    """Edges increase; weight k equals k rows, in any order; later rows have no effect."""
    counts = data.draw(hnp.arrays(np.int64, len(X), elements=st.integers(1, 4)))
    order = data.draw(st.permutations(range(len(X))))
    net = MLPRegressor(numerical_embedding=PiecewiseLinear(n_bins))
    net.set_params(dtype=str(X.dtype), max_epochs=1, width=2)
    target = np.arange(len(X))

    bins = net.fit(X.repeat(counts, axis=0), target.repeat(counts)).bin_edges_
    net.predict(9 * X)
    weighted = clone(net).fit(X[order], target[order], counts[order].astype(float))

    columns = [column for column in X.T if len(np.unique(column)) > 2]
    for column, edges, others in zip(columns, bins, weighted.bin_edges_, strict=True):
        np.testing.assert_array_equal(edges, others)
        assert 1 <= len(edges) <= n_bins + 1
        assert edges[0] == column.min()
        assert edges[-1] == pytest.approx(column.max(), abs=1e-30)
        assert np.isin(edges, column).all()
        assert (np.diff(edges) > 0).all()
        assert np.isfinite(1 / np.diff(edges)).all()


def test_bins_have_equal_counts(fitted):
    """As in numpy's quantiles of this method; equal values share an edge."""
    X = np.column_stack([np.arange(100.0) ** 2, np.repeat([0.0, 5.0, 6.0], [70, 20, 10])])
    net = MLPRegressor(numerical_embedding=PiecewiseLinear(4), max_epochs=1)

    for weight in (np.ones(100, dtype=int), np.repeat([1, 3], 50)):
        first, second = net.fit(X, X[:, 0], weight).bin_edges_

        column, shares = X[:, 0].repeat(weight), np.linspace(0, 1, 5)
        expected = np.quantile(column, shares, method="inverted_cdf")
        np.testing.assert_array_equal(first, expected)
        assert second.tolist() == [0.0, 5.0, 6.0]
    assert fitted.bin_edges_ == []


@pytest.mark.parametrize("embedding", ["piecewise_linear", "periodic"])
def test_columns_with_two_values_stay_numbers(embedding):
    """Samples without a weight do not count."""
    X = np.array([[0.0, 1.0, 0.0], [1.0, 2.0, 1.0], [1.0, 3.0, 1.0], [0.0, 4.0, 2.0]])
    net = MLPRegressor(numerical_embedding=embedding, max_epochs=1, width=2)

    net.fit(X, X[:, 1], [1.0, 1.0, 1.0, 0.0])

    assert net.is_embedded_.tolist() == [False, True, False]
    assert net.net_.module_.inputs.plain == (0, 2)
    dense, stored = (net.predict(rows) for rows in (X, csr_array(X)))
    np.testing.assert_array_equal(dense, stored)
    assert clone(net).fit(csr_array(X), X[:, 1]).is_embedded_.tolist() == [
        False,
        True,
        True,
    ]


def test_codes_that_were_not_in_fit_are_equivalent(fitted):
    """New codes, and code 0 of a column without it in fit, give the same prediction."""
    X, _ = _table()
    X = X[(X[:, 1] != 0) & (X[:, 1] != 5)]
    net = clone(fitted).fit(X, np.arange(len(X)) % 2)
    rows = np.repeat(X[:1], 4, axis=0)
    rows[:, 1] = [0, 5, 12, 9999]

    probabilities = net.predict_proba(rows)

    np.testing.assert_array_equal(probabilities, np.repeat(probabilities[:1], 4, axis=0))


def test_a_column_of_dtype_category_must_be_listed():
    """A column of dtype category outside `categorical_features` is refused."""
    X, y = _table()

    with pytest.raises(ValueError, match="Got column 'd' of type category instead"):
        MLPClassifier(categorical_features=["b"], **SMALL).fit(_frame(X), y)


@pytest.mark.parametrize("wrong", [0.5, -1.0, 65536])
def test_codes_are_checked_in_fit_and_predict(wrong, fitted):
    """The message names the column; ids would require billions of vectors."""
    X, y = _table()
    X[0, 3] = wrong
    message = f"codes: integers of at least 0. Got \\[{wrong}\\] in column "
    if wrong > 1:
        message = "codes below 65536. Got 65536 in column "

    with pytest.raises(ValueError, match=f"{message}3"):
        clone(fitted).fit(X, y)
    if wrong < 1:
        with pytest.raises(ValueError, match=f"{message}3"):
            fitted.predict(X)
    with pytest.raises(ValueError, match=f"{message}'d'"):
        clone(fitted).fit(pd.DataFrame(X, columns=list("abcd")), y)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"embedding_size": 0}, "'embedding_size'"),
        ({"numerical_embedding": "fourier"}, "'numerical_embedding'"),
        ({"numerical_embedding": 16}, "'numerical_embedding'"),
        ({"numerical_embedding": Periodic(size=0)}, "'size' parameter of Periodic must"),
        ({"numerical_embedding": Periodic(n_frequencies=0)}, "'n_frequencies'"),
        ({"numerical_embedding": Periodic(frequency_scale=0.0)}, "'frequency_scale'"),
        ({"numerical_embedding": PiecewiseLinear(0)}, "'n_bins' .* of PiecewiseLinear"),
        ({"embedding_size": "large"}, "'embedding_size'"),
        ({"categorical_features": "auto"}, "'categorical_features'"),
        ({"categorical_features": [4]}, r"must hold positions below 4. Got \[4\]"),
        ({"categorical_features": [-1]}, r"of at least 0, names or a mask. Got \[-1\]"),
        ({"categorical_features": [0.5]}, r"of at least 0, names or a mask. Got \[0.5\]"),
        ({"categorical_features": [0, "a"]}, "must hold positions of at least 0, names"),
        ({"categorical_features": [True, False]}, "a mask of 4 values, one for each"),
        ({"categorical_features": ["a", "e"]}, r"names of columns of X. Got \['e'\]"),
    ],
)
def test_parameters_are_checked_in_fit(params, message):
    """In scikit-learn's wording, or with the requirement and the value."""
    X, y = _table()

    with pytest.raises(ValueError, match=message):
        MLPClassifier(**SMALL).set_params(**params).fit(
            pd.DataFrame(X, columns=[*"abcd"]), y
        )


def test_categories_pass_through_a_pipeline_in_each_fold():
    """OrdinalEncoder's codes, by position, in scikit-learn's own cross-validation."""
    X, y = _table()
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame["b"] = "name " + frame["b"].astype(str)
    encode = make_column_transformer(
        (OrdinalEncoder(), ["b"]), (StandardScaler(), ["a", "c", "d"])
    )
    net = MLPClassifier(categorical_features=[0], max_epochs=60, **SMALL)

    assert cross_val_score(make_pipeline(encode, net), frame, y, cv=3).min() > 0.9


def test_categories_can_be_searched():
    """The parameters can be searched by scikit-learn."""
    X, y = _table()
    grid = {"categorical_features": [None, CODED], "embedding_size": ["auto", 2]}
    search = GridSearchCV(MLPClassifier(max_epochs=30, **SMALL), grid, cv=2)

    assert search.fit(X, y).best_params_["categorical_features"] == CODED


def test_later_batches_do_not_add_codes():
    """partial_fit treats codes that were not in the first call as unknown."""
    X, y = _table()
    few, many = X[X[:, 1] < 6], X
    net = MLPRegressor(categorical_features=CODED, **SMALL)

    net.partial_fit(few, np.ones(len(few)))
    net.partial_fit(many, y)

    assert net.net_.module_.inputs.categories.weight.shape[0] == 6 + 4
    rows = np.repeat(X[:1], 2, axis=0)
    rows[:, 1] = [7, 11]
    assert len(set(net.predict(rows).tolist())) == 1


def test_parameters_of_an_embedding_can_be_searched():
    """Short forms, instances and parameters of an embedding, also in one search."""
    X, y = _table()
    grid = [
        {"net__numerical_embedding": [None, "periodic", Periodic(frequency_scale=0.5)]},
        {
            "net__numerical_embedding": ["piecewise_linear"],
            "net__numerical_embedding__n_bins": [2, 4],
        },
    ]
    pipe = Pipeline([("net", MLPClassifier(max_epochs=2, **SMALL))])

    search = GridSearchCV(pipe, grid, cv=2).fit(X, y)

    used = [params["net__numerical_embedding"] for params in search.cv_results_["params"]]
    assert used == [None, "periodic", Periodic(16, 0.5)] + ["piecewise_linear"] * 2
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    pipe.set_params(**search.cv_results_["params"][3])
    assert pipe["net"].numerical_embedding == PiecewiseLinear(n_bins=2)


def test_an_embedding_is_a_value():
    """It is compared, cloned and pickled by its contents, and its parameters are deep."""
    net = MLPClassifier(numerical_embedding=PiecewiseLinear(n_bins=4))

    assert clone(net).numerical_embedding == PiecewiseLinear(4)
    assert pickle.loads(pickle.dumps(net)).numerical_embedding == PiecewiseLinear(4)
    assert net.get_params()["numerical_embedding__n_bins"] == 4
    other = clone(net).set_params(numerical_embedding__size=3)
    assert other.numerical_embedding == PiecewiseLinear(4, size=3)
    assert net.numerical_embedding == PiecewiseLinear(4)


@pytest.mark.parametrize(
    ("value", "name", "message"),
    [
        (None, "n_bins", "Invalid parameter 'n_bins' for numerical_embedding=None"),
        ("periodic", "frequency_scal", "Did you mean 'frequency_scale'"),
        ("fourier", "size", "must be one of .* Got 'fourier'"),
    ],
)
def test_an_embedding_has_the_parameters_of_its_kind(value, name, message):
    """The message suggests a name."""
    net = MLPClassifier(numerical_embedding=value)

    with pytest.raises(ValueError, match=message):
        net.set_params(**{f"numerical_embedding__{name}": 3})


@pytest.mark.parametrize("kind", [PiecewiseLinear, Periodic])
@pytest.mark.parametrize(("n_columns", "size"), [(3, 8), (300, 6), (1100, 2)])
def test_vectors_of_many_numbers_are_short(kind, n_columns, size):
    """Together they have about 2,048 values."""
    X = np.random.default_rng(0).normal(size=(20, n_columns))
    net = MLPClassifier(numerical_embedding=kind(4), width=2, max_epochs=1)

    module = net.fit(X, np.arange(20) % 2).net_.module_

    assert list(module.inputs.chunks) == [size] * n_columns


@pytest.mark.parametrize(
    ("network", "n_samples", "n_bins"),
    [
        (MLPClassifier, 300, 16),
        (MLPClassifier, 6400, 32),
        (MLPRegressor, 300, 32),
        (MLPRegressor, 60_000, 256),
    ],
)
def test_numbers_of_large_tables_have_more_bins(network, n_samples, n_bins):
    """Beyond the least number, a power of two of bins, each with at least 200 samples."""
    X = np.random.default_rng(0).normal(size=(n_samples, 1))
    net = network(numerical_embedding="piecewise_linear", width=2, max_epochs=1)

    edges = net.set_params(batch_size=-1).fit(X, X[:, 0] > 0).bin_edges_

    assert len(edges[0]) == n_bins + 1
    assert net.net_.module_.inputs.numbers.weight.shape[-2] == n_bins


EMBEDDINGS = [None, "periodic", PiecewiseLinear(n_bins=3, size=2)]


@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_saved_and_pickled_networks_keep_their_columns(embedding, fitted, tmp_path):
    """Attributes learnt from columns are saved with the weights."""
    pytest.importorskip("safetensors")
    X, y = _table()
    fitted = clone(fitted).set_params(numerical_embedding=embedding).fit(X, y)
    rows = np.vstack([X, X])
    rows[len(X) :, 1] = 99

    fitted.save(tmp_path / "net.safetensors")

    for copy in (
        MLPClassifier.load(tmp_path / "net.safetensors"),
        pickle.loads(pickle.dumps(fitted)),
    ):
        np.testing.assert_array_equal(copy.predict_proba(rows), fitted.predict_proba(rows))
        np.testing.assert_array_equal(copy.is_categorical_, fitted.is_categorical_)
        with pytest.raises(ValueError, match="codes"):
            copy.predict(rows + 0.5)


def test_a_table_of_codes_only_has_no_numbers_to_embed():
    """Embeddings of numbers then have no effect."""
    X, y = _table()
    net = MLPClassifier(categorical_features=[0, 1], numerical_embedding="periodic")

    net.set_params(max_epochs=1, **SMALL).fit(X[:, CODED], y)

    assert net.net_.module_.inputs.numbers is None
