"""Accepted forms of data and parameters, and messages about invalid ones."""

from datetime import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse
from sklearn.base import clone

import sk_tune
from sk_tune._estimators import LastSeen

_RNG = np.random.default_rng(0)
# Eighths between -2 and 2, which float16 and bfloat16 represent exactly.
X = (_RNG.integers(-16, 17, size=(60, 8)) / 8).astype(np.float32)
X_INT = _RNG.integers(0, 100, size=(60, 8))
X_BOOL = _RNG.integers(0, 2, size=(60, 8)).astype(bool)
COLUMNS = [f"c{i}" for i in range(8)]


class ArrayLike:
    """An object that numpy can convert to an array."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype)


def _memory_mapped(values, folder):
    path = folder / "X.npy"
    np.save(path, values)
    return np.load(path, mmap_mode="r")


def _read_only(values):
    values = values.copy()
    values.setflags(write=False)
    return values


def _polars(values, **columns):
    frame = pl.DataFrame(np.ascontiguousarray(values), schema=COLUMNS)
    return frame.with_columns(**{k: pl.Series(v) for k, v in columns.items()})


FLOAT_FORMS = {
    "float64": lambda v, _: v.astype(np.float64),
    "float16": lambda v, _: v.astype(np.float16),
    "longdouble": lambda v, _: v.astype(np.longdouble),
    "big-endian": lambda v, _: v.astype(">f4"),
    "objects": lambda v, _: v.astype(object),
    "text of numbers": lambda v, _: v.astype(str).astype(object),
    "list": lambda v, _: v.tolist(),
    "list of arrays": lambda v, _: list(v),
    "Fortran order": lambda v, _: np.asfortranarray(v),
    "reversed": lambda v, _: v[::-1].copy()[::-1],
    "every other column": lambda v, _: v.repeat(2, axis=1)[:, ::2],
    "read-only": lambda v, _: _read_only(v),
    "read-only float64": lambda v, _: _read_only(v.astype(np.float64)),
    "memory-mapped": _memory_mapped,
    "array-like": lambda v, _: ArrayLike(v),
    "pandas": lambda v, _: pd.DataFrame(v, columns=COLUMNS),
    "pandas nullable": lambda v, _: pd.DataFrame(v, columns=COLUMNS).astype("Float64"),
    "pandas objects": lambda v, _: pd.DataFrame(v, columns=COLUMNS).astype(object),
    "pandas with row labels": lambda v, _: pd.DataFrame(v, index=np.arange(60) * 7),
    "polars": lambda v, _: _polars(v),
    "tensor": lambda v, _: torch.tensor(v),
    "float64 tensor": lambda v, _: torch.tensor(v, dtype=torch.float64),
    "float16 tensor": lambda v, _: torch.tensor(v, dtype=torch.float16),
    "bfloat16 tensor": lambda v, _: torch.tensor(v, dtype=torch.bfloat16),
    "tensor with gradient": lambda v, _: torch.tensor(v).requires_grad_(),
    "transposed tensor": lambda v, _: torch.tensor(v.T.copy()).T,
}
INT_FORMS = {
    **{name: lambda v, _, d=name: v.astype(d) for name in ("int8", "uint8", "int64", "u2")},
    "list of int": lambda v, _: v.tolist(),
    "int tensor": lambda v, _: torch.tensor(v),
    "pandas int": lambda v, _: pd.DataFrame(v),
    "pandas nullable int": lambda v, _: pd.DataFrame(v).astype("Int64"),
    "polars int": lambda v, _: _polars(v),
}
BOOL_FORMS = {
    "bool": lambda v, _: v,
    "list of bool": lambda v, _: v.tolist(),
    "bool tensor": lambda v, _: torch.tensor(v),
    "pandas bool": lambda v, _: pd.DataFrame(v),
    "polars bool": lambda v, _: _polars(v),
}
FORMS = [
    pytest.param(values, form, id=name)
    for values, forms in ((X, FLOAT_FORMS), (X_INT, INT_FORMS), (X_BOOL, BOOL_FORMS))
    for name, form in forms.items()
]


@pytest.mark.parametrize("name", ["MLPClassifier", "RNNRegressor"])
@pytest.mark.parametrize(("values", "form"), FORMS)
def test_every_form_of_x(values, form, name, make_estimator, task_data, outputs, tmp_path):
    """Any container and number type gives the results of a plain copy."""
    y = task_data(name).y
    value = form(values, tmp_path)
    plain = np.ascontiguousarray(values, dtype=np.float32)

    by_form = make_estimator(name, max_epochs=1).fit(value, y)
    by_copy = make_estimator(name, max_epochs=1).fit(plain, y)

    np.testing.assert_array_equal(outputs(by_form, value), outputs(by_copy, plain))


def test_float64_data_of_a_float64_network_keep_their_precision(make_estimator, task_data):
    """With dtype="float64" X is never rounded to float32."""
    y = task_data("MLPRegressor").y
    net = make_estimator("MLPRegressor", dtype="float64").fit(X, y)
    shift = np.full_like(X, 1e-12, dtype=np.float64)

    assert (net.predict(X.astype(np.float64) + shift) != net.predict(X)).any()


def _with(value, row=3, column=2, dtype=np.float64):
    values = X.astype(dtype)
    values[row, column] = value
    return values


def _frame(**columns):
    return pd.DataFrame(X, columns=COLUMNS).assign(**columns)


_ENCODER = "OneHotEncoder"
BAD_X = {
    "nan": (lambda: _with(np.nan), ["X contains NaN", "2 (1)"]),
    "nan in frame": (lambda: _frame(c4=np.nan), ["X contains NaN", "'c4' (60)"]),
    "nan in many columns": (
        lambda: np.full((60, 8), np.nan),
        ["X contains NaN", "0 (60)", "4 (60)", "and 3 more", "TablePreparer", "Imputer"],
    ),
    "nan in tensor": (lambda: torch.tensor(_with(np.nan)), ["X contains NaN"]),
    "None": (lambda: _with(None, dtype=object), ["X contains NaN", "2 (1)"]),
    "missing in nullable": (
        lambda: _frame(c1=pd.array([None] + [1] * 59, dtype="Int64")),
        ["NaN", "'c1' (1)"],
    ),
    "infinite": (lambda: _with(np.inf), ["X contains infinity"]),
    "too large": (lambda: _with(1e300), ["X contains infinity or a value too large"]),
    "text": (lambda: _with("red", dtype=object), ["red"]),
    "text in frame": (
        lambda: _frame(c6=["red", "blue"] * 30, c7=["x"] * 60),
        ["'c6'", "'red'", _ENCODER, "TablePreparer"],
    ),
    "categories": (
        lambda: _frame(c5=pd.Categorical(["a", "b"] * 30)),
        ["'c5'", "Categorical", _ENCODER],
    ),
    "times": (lambda: _frame(c3=pd.date_range("2020", periods=60)), ["'c3'", "Datetime"]),
    "durations": (
        lambda: _frame(c3=pd.to_timedelta(np.arange(60), unit="s")),
        ["'c3'", "Duration"],
    ),
    "polars categories": (
        lambda: _polars(X, c5=pl.Series(["a", "b"] * 30, dtype=pl.Categorical)),
        ["'c5'"],
    ),
    "polars text": (lambda: _polars(X, c5=["red"] * 60), ["'c5'"]),
    "polars times": (lambda: _polars(X, c5=[datetime(2020, 1, 1)] * 60), ["'c5'"]),
    "polars NaN": (
        lambda: _polars(X, c1=[None] * 2 + [1.0] * 58, c3=[np.nan] + [1.0] * 59),
        ["NaN", "'c1' (2)", "'c3' (1)"],
    ),
    "complex": (lambda: X + 1j, ["Complex data not supported"]),
    "complex list": (lambda: (X + 1j).tolist(), ["Complex data not supported"]),
    "sparse NaN": (lambda: sparse.csr_array(np.where(X > 1, np.nan, X)), []),
    "no rows": (lambda: X[:0], ["0 sample(s)"]),
    "no columns": (lambda: X[:, :0], ["0 feature(s)"]),
    "one dimension": (lambda: X[:, 0], ["Reshape your data"]),
    "a number": (lambda: 3.0, ["scalar array"]),
    "a dict": (lambda: {"a": X, "b": X}, ["not 'dict'", "one array or table"]),
    "all NA": (lambda: _frame(c4=pd.NA), ["'c4' (60)", "SimpleImputer"]),
    "ragged": (lambda: [[1.0], [2.0, 3.0]], []),
    "other length": (lambda: X[:50], ["inconsistent numbers of samples", "50", "60"]),
}


@pytest.mark.parametrize(("make_X", "words"), BAD_X.values(), ids=BAD_X)
@pytest.mark.parametrize("name", ["MLPClassifier", "CNNRegressor"])
def test_unusable_x_is_refused_in_fit(name, make_X, words, make_estimator, task_data):
    """The message names the column or the error, and the estimator is not fitted."""
    net = make_estimator(name)

    with pytest.raises((ValueError, TypeError)) as raised:
        net.fit(make_X(), task_data(name).y)

    assert [word for word in words if word not in str(raised.value)] == []
    assert not net.__sklearn_is_fitted__()


@pytest.mark.parametrize(
    ("make_X", "words"),
    [pytest.param(*BAD_X[k], id=k) for k in BAD_X if k not in {"other length", "no rows"}],
)
def test_unusable_x_is_refused_in_predict(make_X, words, make_estimator, task_data):
    """Predicting and fitting refuse the same data."""
    value = make_X()
    names = getattr(value, "columns", None)
    seen = X if names is None else pd.DataFrame(X, columns=names)
    net = make_estimator("MLPRegressor").fit(seen, task_data("MLPRegressor").y)

    with pytest.raises((ValueError, TypeError)) as raised:
        net.predict(value)

    expected = [] if "0 feature(s)" in words else words
    assert [word for word in expected if word not in str(raised.value)] == []


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, "NaN.*3 .1."), (np.inf, "infinity"), ("red", "Column 3 holds text.*'red'")],
)
def test_columns_may_have_numeric_names(value, message, make_estimator, task_data):
    """As in a frame made from an array; messages name them."""
    y = task_data("MLPRegressor").y
    frame = pd.DataFrame(X).astype(object if value == "red" else np.float64)
    frame.iloc[5, 3] = value

    with pytest.raises(ValueError, match=f"(?s){message}"):
        make_estimator("MLPRegressor").fit(frame, y)
    net = make_estimator("MLPRegressor").fit(pd.DataFrame(X), y)
    with pytest.raises(ValueError, match="X has 7 features, but MLPRegressor .* 8"):
        net.predict(pd.DataFrame(X[:, :7]))


@pytest.mark.parametrize("task", ["Classifier", "Regressor"])
def test_images_are_refused_by_a_perceptron(task, make_estimator, task_data):
    """The message names the networks that take three dimensions."""
    with pytest.raises(ValueError, match=f"dim 3, (.|\n)*CNN{task} takes images"):
        make_estimator(f"MLP{task}").fit(X.reshape(60, 2, 4), task_data(f"MLP{task}").y)


_NOT_WHOLE = [0, -3, 2.5, "32", True, np.nan, None]
BAD_PARAMETERS = {
    "batch_size": [0, -2, 2.5, "32", True, None],
    "max_epochs": _NOT_WHOLE,
    "n_iter_no_change": _NOT_WHOLE,
    "learning_rate": [0, -0.1, np.nan, np.inf, "0.1", True, None],
    "momentum": [-0.1, 1.0, np.nan, "0.9", None],
    "optimizer": ["lion", "ADAM", None, 3],
    "lr_schedule": ["linear", None],
    "gradient_clip": [0, -1, np.nan, "1"],
    "weight_decay": [-0.1, np.nan, "0", None],
    "l1": [-0.1, np.nan, None],
    "early_stopping": ["yes", 3, None],
    "validation_fraction": [0, 1, 1.5, -0.1, np.nan, None, "0.1"],
    "tol": [-1e-3, np.nan, None],
    "warm_start": ["yes", None],
    "random_state": [-1, 2**32, 0.5, "0", np.random.default_rng(0)],
    "device": ["gpu", "cuda:99", "mps:0", "meta", "", 3, None],
    "dtype": ["float16", "double", None, np.float32],
    "callbacks": ["early", 3],
    "verbose": ["loud", None],
    "label_smoothing": [-0.1, 1.0, np.nan, None],
    "class_weight": ["even", 3],
    "activation": ["swish2", None, 3],
    "normalization": ["instance", 3, True],
    "residual": ["yes", None],
    "dropout": [-0.1, 1.0, np.nan, "0.5", None],
    "n_layers": [-1, 1.5, "2", True, None],
    "width": _NOT_WHOLE,
    "hidden_layer_sizes": [(0,), (-1, 3), "64", (3.5,), (True,), -2, ("8",), [[3], [4]]],
    "n_channels": _NOT_WHOLE,
    "kernel_size": _NOT_WHOLE,
    "pooling": ["min", 2],
    "cell": ["cnn", None],
    "hidden_size": _NOT_WHOLE,
    "bidirectional": ["both", None],
    "input_shape": [(0, 8), "8", (2.5, 4), (-2, -4), (), (True, 8)],
}
_HOMES = {
    "n_channels": "CNNClassifier",
    "kernel_size": "CNNClassifier",
    "pooling": "CNNRegressor",
    "cell": "RNNClassifier",
    "hidden_size": "RNNRegressor",
    "bidirectional": "RNNClassifier",
    "input_shape": "CNNClassifier",
}


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        pytest.param(name, value, id=f"{name}={value!r:.20}")
        for name, values in BAD_PARAMETERS.items()
        for value in values
    ],
)
def test_parameters_out_of_range_are_refused(parameter, value, make_estimator, task_data):
    """In scikit-learn's wording: parameter, class and value."""
    name = _HOMES.get(parameter, "MLPClassifier")
    data = task_data(name)
    # Neither the constructor nor set_params nor clone checks values.
    net = make_estimator(name, **{parameter: value})

    with pytest.raises((ValueError, TypeError)) as raised:
        net.fit(data.X, data.y)

    message = str(raised.value)
    assert f"'{parameter}' parameter of {name}" in message
    assert repr(value) in message or str(value) in message
    assert not net.__sklearn_is_fitted__()


def test_parameters_are_checked_in_partial_fit_too(name, make_estimator, task_data):
    """A parameter that is invalidated between two calls is refused by the second."""
    data = task_data(name)
    net = make_estimator(name).partial_fit(data.X, data.y)

    with pytest.raises(ValueError, match="'tol' parameter"):
        net.set_params(tol=-1).partial_fit(data.X, data.y)


@pytest.mark.parametrize("n_epochs", [0, -1, 1.5, "2", True, None])
def test_epochs_of_partial_fit_are_checked(n_epochs, make_estimator, task_data):
    """n_epochs is an integer of at least 1."""
    data = task_data("MLPRegressor")
    net = make_estimator("MLPRegressor").partial_fit(data.X, data.y)

    with pytest.raises(ValueError, match="n_epochs"):
        net.partial_fit(data.X, data.y, n_epochs=n_epochs)

    assert net.n_epochs_ == 1


def test_an_activation_unsupported_by_a_plain_cell_is_refused(make_estimator, task_data):
    """A plain recurrent cell supports relu and tanh only, and the message says so."""
    data = task_data("RNNRegressor")
    net = make_estimator("RNNRegressor", cell="rnn", activation="gelu")

    with pytest.raises(
        ValueError, match="'activation' parameter of RNNRegressor"
    ) as raised:
        net.fit(data.X, data.y)

    assert all(word in str(raised.value) for word in ("relu", "tanh", "gelu"))


def test_an_unknown_parameter_is_refused_at_once(name, make_estimator):
    """A misspelt name fails in the constructor and in set_params."""
    with pytest.raises(TypeError, match="widht"):
        make_estimator(name, widht=3)
    with pytest.raises(TypeError, match=r"argument 'lr'\. Did you mean 'learning_rate'?"):
        make_estimator(name, lr=3)
    with pytest.raises(ValueError, match="Invalid parameter 'widht'"):
        make_estimator(name).set_params(widht=3)


NUMPY_SCALARS = {
    "MLPClassifier": {
        "width": np.int32(5),
        "hidden_layer_sizes": np.array([5, 3]),
        "learning_rate": np.float32(0.01),
        "weight_decay": np.float64(0.1),
        "gradient_clip": np.float32(1.0),
        "dropout": np.float32(0.25),
        "residual": np.True_,
        "early_stopping": np.True_,
        "validation_fraction": np.float32(0.25),
        "batch_size": np.int64(10),
        "max_epochs": np.int64(2),
        "random_state": np.int64(2**32 - 1),
        "label_smoothing": np.float32(0.125),
        "activation": np.str_("tanh"),
        "verbose": np.int64(0),
    },
    "CNNClassifier": {
        "n_layers": np.int64(1),
        "n_channels": np.int64(3),
        "kernel_size": np.int64(3),
        "width": np.int64(4),
        "input_shape": np.array([2, 4]),
        "pooling": np.str_("avg"),
        "dropout": np.float64(0.5),
    },
    "RNNRegressor": {
        "n_layers": np.int64(2),
        "hidden_size": np.int64(3),
        "bidirectional": np.True_,
        "input_shape": np.array([4, 2]),
        "cell": np.str_("lstm"),
        "residual": np.True_,
    },
}


@pytest.mark.parametrize(("name", "params"), NUMPY_SCALARS.items(), ids=NUMPY_SCALARS)
def test_numpy_scalars_are_numbers(name, params, make_estimator, task_data, outputs):
    """Values drawn by a search, which are numpy's, train like Python's."""
    X, y = task_data(name)
    plain = {k: v.tolist() for k, v in params.items()}

    by_numpy = make_estimator(name, **params).fit(X, y)
    by_python = make_estimator(name, **plain).fit(X, y)

    np.testing.assert_array_equal(outputs(by_numpy, X), outputs(by_python, X))


def test_an_unavailable_device_is_refused(make_estimator, task_data):
    """The message has the remedy."""
    net = make_estimator("MLPRegressor", device="cuda:99")

    with pytest.raises(ValueError, match=r"'cuda:99' instead\. Use 'auto' or 'cpu'\."):
        net.fit(*task_data("MLPRegressor"))


@pytest.mark.parametrize("has_cuda", [True, False])
def test_auto_is_cuda_if_available(has_cuda, make_estimator, task_data, monkeypatch):
    """The device is CUDA if available, else the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    net = make_estimator("MLPRegressor", device="auto", max_epochs=1)

    if has_cuda and not torch.cuda.device_count():
        # Torch then reports that it lacks CUDA, or that there is no GPU.
        with pytest.raises((RuntimeError, AssertionError), match=r"CUDA|NVIDIA"):
            net.fit(*task_data("MLPRegressor"))
        return
    net.fit(*task_data("MLPRegressor"))
    assert torch.device(net.net_.device).type == ("cuda" if has_cuda else "cpu")


@pytest.mark.parametrize(
    ("change", "is_like"),
    [
        (lambda e: e, True),
        (clone, True),
        (lambda e: clone(e).set_params(learning_rate=0.5), False),
        (lambda e: e.set_params(learning_rate=0.5), False),
        (lambda e: e.set_params(module__bias=False), False),
        (lambda e: sk_tune.NetRegressor(e.module, module__out_features=2), False),
    ],
    ids=["itself", "clone", "other", "changed", "added", "other kind"],
)
def test_the_last_estimator_is_recognised_until_it_changes(change, is_like):
    """Its clones are recognised; added parameters count, too."""
    first = sk_tune.NetClassifier(torch.nn.Linear, module__out_features=2)
    last = LastSeen()

    assert not last.is_like(first)
    last.see(first)

    assert last.is_like(change(first)) == is_like
