"""The steps of a fit, the same for every network and task, and its samples."""

import threading

import numpy as np
import pytest
import sklearn
import torch
from numpy.lib.stride_tricks import as_strided
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNet
from torch import nn

import sk_tune


@pytest.fixture(scope="module")
def row_weights():
    """Weights of 60 rows, some of them 0."""
    rng = np.random.default_rng(1)
    return rng.uniform(0.1, 3, size=60) * (rng.uniform(size=60) > 0.2)


@pytest.mark.parametrize(
    ("name", "batch_size", "early_stopping"),
    [
        ("MLPClassifier", 16, True),
        ("CNNRegressor", 16, False),
        ("RNNClassifier", -1, True),
        ("NetRegressor", -1, False),
    ],
)
def test_weight_zero_equals_an_absent_row(
    name, batch_size, early_stopping, make_estimator, task_data, row_weights, outputs
):
    """Samples of weight 0 have no effect in any training."""
    X, y = task_data(name)
    params = {"batch_size": batch_size, "early_stopping": early_stopping}
    kept = row_weights > 0

    with_zeros = make_estimator(name, **params).fit(X, y, row_weights)
    without = make_estimator(name, **params).fit(X[kept], y[kept], row_weights[kept])

    assert_array_equal(outputs(with_zeros, X), outputs(without, X))


def test_equal_rows_with_different_targets_are_not_merged(make_estimator, task_data):
    """Rows are merged only if their targets are equal, too."""
    X, y = task_data("MLPRegressor")
    both = np.concatenate([y, -y])

    net = make_estimator("MLPRegressor", batch_size=-1, max_epochs=60, learning_rate=0.1)

    assert net.fit(np.tile(X, (2, 1)), both).history_[-1]["train_loss"] > 0.95
    assert net.fit(X, y).history_[-1]["train_loss"] < 0.5


def test_a_class_of_weight_zero_is_absent(make_estimator, task_data):
    """A class without positive weights does not exist."""
    X, y = task_data("MLPClassifier")

    net = make_estimator("MLPClassifier").fit(X, y, sample_weight=y != "mid")

    assert net.classes_.tolist() == ["low", "top"]


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_equal_weights_have_no_effect(name, make_estimator, task_data, outputs, sets):
    """Equal weights have no effect."""
    X, y = task_data(name)
    plain = make_estimator(name).fit(X, y)

    for weight in (np.full(len(X), 3.0), np.ones(len(X), dtype=int), [1.0] * len(X)):
        weighted = make_estimator(name, callbacks=[sets]).fit(X, y, sample_weight=weight)
        # With a callback torch trains, which rounds differently from the kernel.
        assert_allclose(outputs(weighted, X), outputs(plain, X), rtol=1e-5)
        assert sets.train.sample_weight is None


@pytest.mark.parametrize("scale", [1e-42, 1e-300, 1e39, 1e250])
@pytest.mark.parametrize("batch_size", [2, -1])
def test_only_proportions_matter(scale, batch_size, make_estimator, task_data, row_weights):
    """Weights of any magnitude with the same ratios give the same network."""
    X, y = task_data("MLPRegressor")
    plain = make_estimator("MLPRegressor", batch_size=batch_size).fit(X, y, row_weights)
    scaled = make_estimator("MLPRegressor", batch_size=batch_size)

    scaled.fit(X, y, sample_weight=scale * row_weights)

    # Sums of rounded weights differ in the last bits of float32.
    assert_allclose(scaled.predict(X), plain.predict(X), atol=1e-3)


def test_weights_are_routed_through_searches_and_pipelines(task_data, row_weights, sets):
    """With metadata routing, sample_weight reaches the network in every composition."""
    X, y = task_data("MLPClassifier")
    with sklearn.config_context(enable_metadata_routing=True):
        net = sk_tune.MLPClassifier(
            width=5, max_epochs=2, batch_size=10, random_state=0
        ).set_fit_request(sample_weight=True)
        net.set_score_request(sample_weight=True)
        search = GridSearchCV(
            make_pipeline(StandardScaler().set_fit_request(sample_weight=False), net),
            {"mlpclassifier__max_epochs": [2]},
            cv=2,
        )
        search.fit(X, y, sample_weight=row_weights)
        weights = {"params": {"sample_weight": row_weights}, "return_estimator": True}
        result = cross_validate(net.set_params(callbacks=[sets]), X, y, cv=2, **weights)

    kept = row_weights > 0
    direct = sk_tune.MLPClassifier(width=5, max_epochs=2, batch_size=10, random_state=0)
    scaled = StandardScaler().fit(X).transform(X)
    expected = direct.fit(scaled, y, sample_weight=row_weights).predict_proba(scaled)
    assert_array_equal(search.predict_proba(X), expected)
    assert sum(len(e.callbacks[0].train) for e in result["estimator"]) == kept.sum()


def test_weights_are_not_routed_without_a_request(task_data, row_weights):
    """scikit-learn refuses weights without a request."""
    X, y = task_data("MLPClassifier")
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(sk_tune.MLPClassifier(), {"max_epochs": [1]}, cv=2)

        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError):
            search.fit(X, y, sample_weight=row_weights)


BAD_WEIGHTS = {
    "another length": (np.ones(59), r"59|\(59,\)"),
    "negative": (np.r_[-1.0, np.ones(59)], "[Nn]egative"),
    "all zero": (np.zeros(60), "non-zero"),
    "nan": (np.r_[np.nan, np.ones(59)], "NaN"),
    "infinite": (np.r_[np.inf, np.ones(59)], "infinity"),
    "two dimensions": (np.ones((60, 2)), r"1D|2D|dimension"),
    "text": (["a"] * 60, "could not convert|dtype"),
}


@pytest.mark.parametrize(("weight", "words"), BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_bad_weights_are_refused(weight, words, make_estimator, task_data):
    """The message names weights of wrong length, negative, infinite, NaN or all zero."""
    X, y = task_data("MLPRegressor")

    with pytest.raises(ValueError, match=words) as raised:
        make_estimator("MLPRegressor").fit(X, y, sample_weight=weight)

    named = ("sample_weight", "sample weights", "could not convert")
    assert any(words in str(raised.value).lower() for words in named)


def test_fit_sets_learnt_attributes(name, make_estimator, task_data):
    """A fit sets the documented attributes and returns the estimator."""
    X, y = task_data(name)
    net = make_estimator(name)
    initial = set(vars(net))

    assert net.fit(X, y) is net
    assert net.n_features_in_ == 8
    assert net.n_outputs_ == (3 if name.endswith("Classifier") else 1)
    assert net.n_epochs_ == net.best_epoch_ == 2
    assert isinstance(net.net_, NeuralNet)
    assert isinstance(net.net_.module_, nn.Module)
    shapes = {"MLP": (8,), "CNN": (1, 2, 4), "RNN": (4, 2), "Net": (8,)}
    assert net.input_shape_ == shapes[name[:3]]
    # Public attributes that fit adds end with an underscore.
    added = {n for n in set(vars(net)) - initial if not n.startswith("_")}
    assert all(n.endswith("_") for n in added)


def test_methods_that_require_a_fit_say_so(name, make_estimator, task_data, tmp_path):
    """Before fit, methods that need a network raise NotFittedError."""
    X, _ = task_data(name)
    net = make_estimator(name)
    calls = [
        lambda: net.predict(X),
        lambda: net.save(tmp_path / "net"),
        lambda: net.to_onnx(tmp_path / "net"),
    ]
    if name.endswith("Classifier"):
        calls += [lambda: net.predict_proba(X), lambda: net.predict_log_proba(X)]

    for call in calls:
        with pytest.raises(NotFittedError, match=f"This {name} instance is not fitted"):
            call()
    assert not list(tmp_path.iterdir())


def test_fit_and_predict_leave_no_trace(
    name, make_estimator, task_data, tmp_path, monkeypatch, capfd
):
    """They write no files, start no threads and print no text."""
    X, y = task_data(name)
    monkeypatch.chdir(tmp_path)
    n_threads = threading.active_count()

    make_estimator(name, early_stopping=True, verbose=0).fit(X, y).predict(X)

    assert not list(tmp_path.iterdir())
    assert threading.active_count() == n_threads
    assert capfd.readouterr() == ("", "")


def test_many_rows_are_predicted_in_parts(make_estimator, task_data):
    """More rows than fit in one pass through the network keep their order."""
    X, y = task_data("MLPRegressor")
    net = make_estimator("MLPRegressor").fit(X, y)
    many = np.tile(X, (50, 1))

    assert_allclose(net.predict(many), np.tile(net.predict(X), 50), rtol=1e-5, atol=1e-6)


def test_overlapping_samples_are_trained_correctly(make_estimator, task_data):
    """Samples that overlap in memory are trained correctly."""
    _, y = task_data("MLPRegressor")
    signal = np.random.default_rng(0).normal(size=67).astype(np.float32)
    windows = as_strided(signal, (60, 8), (4, 4), writeable=False)

    by_view = make_estimator("MLPRegressor").fit(windows, y).predict(windows)
    by_copy = make_estimator("MLPRegressor").fit(windows.copy(), y).predict(windows.copy())

    assert_array_equal(by_view, by_copy)


def test_batch_normalisation_and_one_row(name, make_estimator, task_data):
    """One row trains a regressor, but batch normalisation requires two."""
    X, y = task_data(name)
    is_regressor = name.endswith("Regressor")

    if is_regressor:
        assert len(make_estimator(name).fit(X[:1], y[:1]).predict(X)) == len(X)
    if not name.startswith("Net"):
        for rows, batch_size in ((slice(1), 16), (slice(None), 1)):
            params = {"normalization": "batch", "batch_size": batch_size}
            why = "n_samples=1" if is_regressor else "one class"
            with pytest.raises(ValueError, match=f"{why}|at least 2 rows.*batch_size"):
                make_estimator(name, **params).fit(X[rows], y[rows])


@pytest.mark.parametrize("name", ["MLPClassifier", "CNNRegressor", "RNNClassifier"])
@pytest.mark.parametrize("n_rows", [2, 17, 33])
def test_a_single_last_row_works_with_batch_norm(name, n_rows, make_estimator, task_data):
    """17 rows in batches of 16 train with batch normalisation."""
    X, y = task_data(name)
    params = {"normalization": "batch", "batch_size": 16}

    net = make_estimator(name, **params).fit(X[:n_rows], y[:n_rows])

    assert len(net.predict(X)) == 60


@pytest.mark.parametrize("fraction", [1e-9, 0.999999])
def test_a_share_that_leaves_rows_on_both_sides_trains(fraction, make_estimator, task_data):
    """A tiny share holds out one row; too large a share is refused with numbers."""
    X, y = task_data("MLPRegressor")
    net = make_estimator(
        "MLPRegressor", early_stopping=True, validation_fraction=fraction, max_epochs=1
    )
    if fraction < 0.5:
        net.fit(X, y)
        assert net.n_epochs_ == 1

    n_rows = 1 if fraction < 0.5 else 60
    with pytest.raises(ValueError, match="validation_fraction") as raised:
        net.fit(X[:n_rows], y[:n_rows])
    assert str(n_rows) in str(raised.value)
    assert fraction < 0.5 or "0.999999" in str(raised.value)


def test_parameters_set_after_fit_have_no_effect(make_estimator, task_data, tmp_path):
    """Predictions and saved files use the parameters of the fit."""
    X, y = task_data("MLPRegressor")
    net = make_estimator("MLPRegressor").fit(X, y)
    expected = net.predict(X)

    net.set_params(dtype="float64", hidden_layer_sizes=(9, 9))
    net.save(tmp_path / "net")

    assert_array_equal(net.predict(X), expected)
    assert net.predict(X).dtype == expected.dtype
    assert_array_equal(sk_tune.MLPRegressor.load(tmp_path / "net").predict(X), expected)


@pytest.mark.parametrize(
    ("name", "fitted", "later"),
    [
        ("CNNRegressor", {"input_shape": (2, 4)}, {"input_shape": (4, 2)}),
        ("RNNRegressor", {"input_shape": (4, 2)}, {"input_shape": None}),
        ("RNNRegressor", {"input_shape": (8,), "n_tokens": 4}, {"n_tokens": None}),
    ],
)
def test_a_shape_set_after_fit_has_no_effect(name, fitted, later, make_estimator):
    """predict and partial_fit read X as the network does."""
    X = np.random.default_rng(0).integers(0, 4, (60, 8)).astype(np.float32)
    net, twin = (make_estimator(name, **fitted).fit(X, X[:, 0]) for _ in range(2))

    net.set_params(**later)

    assert_array_equal(net.predict(X), twin.predict(X))
    for estimator in (net, twin):
        estimator.partial_fit(X, X[:, 0])
    assert_array_equal(net.predict(X), twin.predict(X))


def test_batch_normalisation_counts_repeated_rows():
    """With repeated rows a full batch of 60 equals batches of 59 and more."""
    rng = np.random.default_rng(0)
    X = (rng.random((60, 3)) < 0.1).astype(np.float32)
    y = X @ np.array([1.0, 2.0, -1.0])
    params = {"normalization": "batch", "members": 1, "max_epochs": 60, "random_state": 0}

    full = sk_tune.MLPRegressor(batch_size=60, **params).fit(X, y)

    running_mean = full.net_.module_.hidden[0].norm.running_mean
    linear = full.net_.module_.hidden[0].linear
    with torch.no_grad():
        of_all_rows = linear(torch.from_numpy(X)).mean(dim=0)
    # The running mean lags behind the weights, which hardly change at the end.
    torch.testing.assert_close(running_mean, of_all_rows, rtol=0, atol=0.01)


@pytest.mark.parametrize(
    ("name", "batch_size", "params"),
    [
        ("MLPClassifier", -1, {"normalization": "batch"}),
        ("MLPRegressor", 1000, {"dropout": 0.3}),
        ("MLPRegressor", -1, {"numerical_embedding": "piecewise_linear"}),
        ("CNNClassifier", 1000, {"normalization": "batch"}),
        ("CNNRegressor", -1, {}),
        ("RNNClassifier", -1, {"dropout": 0.3}),
        ("RNNRegressor", 1000, {"normalization": "batch"}),
        ("NetClassifier", -1, {}),
    ],
)
def test_weight_two_equals_the_row_twice(
    name, batch_size, params, make_estimator, task_data, outputs
):
    """In full-batch training, weights and repeated rows agree bitwise, in any order."""
    X, y = task_data(name)
    rng = np.random.default_rng(0)
    weight = rng.integers(0, 3, size=len(X))
    rows = rng.permutation(np.arange(len(X)).repeat(weight))
    params = {**params, "batch_size": batch_size, "max_epochs": 3}

    weighted = make_estimator(name, **params).fit(X, y, sample_weight=weight)
    repeated = make_estimator(name, **params).fit(X[rows], y[rows])

    assert_array_equal(outputs(weighted, X), outputs(repeated, X))
    plain = make_estimator(name, **params).fit(X, y)
    # Two equal rows of weight 1/2 equal one row, down to tiny weights.
    halves = make_estimator(name, **params)
    halves.fit(np.tile(X, (2, 1)), np.tile(y, 2), sample_weight=np.full(2 * len(X), 0.5))
    assert_array_equal(outputs(halves, X), outputs(plain, X))
    assert (outputs(plain, X) != outputs(weighted, X)).any()
