"""ONNX models predict the same as their estimators."""

import logging

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from marks import slow
from torch import nn

import sk_tune._onnx_graph
from sk_tune import NetRegressor
from sk_tune._nets import ACTIVATIONS
from sk_tune.exceptions import SkTuneWarning

STEPS = {"input_shape": (2, 4)}
IMAGE = {"input_shape": (1, 2, 4)}
CODES = {"categorical_features": [2, 5], "embedding_size": 3}
CASES = [
    *(("MLPClassifier", {"activation": name}) for name in ACTIVATIONS),
    ("MLPClassifier", {"normalization": "batch", "dropout": 0.2, "residual": True}),
    ("MLPRegressor", {"normalization": "layer", "members": 3}),
    ("MLPClassifier", {"normalization": "batch", "members": 3, "residual": True}),
    ("MLPClassifier", {"dtype": "float64", "activation": "gelu", "members": 2}),
    ("MLPClassifier", {**CODES, "numerical_embedding": "periodic"}),
    ("MLPRegressor", {**CODES, "numerical_embedding": "piecewise_linear", "members": 2}),
    ("CNNRegressor", {**IMAGE, "normalization": "batch", "pooling": "avg"}),
    ("CNNClassifier", {**IMAGE, "normalization": "layer", "residual": True, "n_layers": 2}),
    ("CNNClassifier", {**STEPS, "kernel_size": 2, "pooling": None, "dtype": "float64"}),
    ("RNNRegressor", {**STEPS, "cell": "lstm", "normalization": "layer", "n_layers": 2}),
    ("RNNClassifier", {**STEPS, "cell": "gru", "bidirectional": True, "residual": True}),
    ("RNNClassifier", {**STEPS, "cell": "rnn", "normalization": "batch"}),
    ("RNNClassifier", {"input_shape": (8, 1), "n_tokens": 9}),
    ("NetRegressor", {"module": nn.Linear(8, 1), "dtype": "float64"}),
    (
        "NetClassifier",
        {
            "module": nn.Sequential(
                nn.Linear(8, 6),
                nn.BatchNorm1d(6),
                nn.Dropout(),
                nn.LeakyReLU(0.2),
                nn.Linear(6, 3),
            )
        },
    ),
]


def _run(path, X):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"X": X})[0], session


@pytest.fixture
def without_torch_exporter(monkeypatch):
    """Make each call of torch's exporter fail."""
    monkeypatch.setattr(torch.onnx, "export", None)


@pytest.mark.parametrize(
    ("name", "params"), CASES, ids=lambda v: v if isinstance(v, str) else "-".join(v)
)
def test_a_known_layer_is_written_directly(
    name, params, make_estimator, task_data, outputs, tmp_path, without_torch_exporter
):
    """Predictions agree for any number of rows, without torch's exporter."""
    X, y = task_data(name)
    X = np.abs(2 * X).astype(int).astype(np.float32) if "n_tokens" in params else X
    X = X.copy().reshape(60, *params.get("input_shape", (8,)))
    if "categorical_features" in params:
        X[:, [2, 5]] = np.arange(120).reshape(60, 2) % 5
    net = make_estimator(name, **params).fit(X, y)
    path = tmp_path / "net.onnx"

    net.to_onnx(path)

    onnx.checker.check_model(path, full_check=True)
    X = np.vstack([X, X[:9]])
    if "categorical_features" in params:
        X[:9, 2] = 99
    if name[:3] == "RNN":
        X[::3, -1] = np.nan  # Padding.
    rows = X.reshape(-1, *net.input_shape_).astype(net.dtype)
    for n_rows in (1, 7, len(X)):
        got, session = _run(path, rows[:n_rows])
        expected = outputs(net, X[:n_rows]).reshape(got.shape)
        # Other kernels sum in another order.
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    kind = "probabilities" if name.endswith("Classifier") else "prediction"
    assert [o.name for o in session.get_outputs()] == [kind]
    assert [i.shape for i in session.get_inputs()] == [["n_samples", *net.input_shape_]]
    assert list(tmp_path.iterdir()) == [path]


class _Wrapped(nn.Sequential):
    pass


def test_the_divisor_of_mean_pooling_is_exported(tmp_path, monkeypatch):
    """A sum is a mean with divisor 1; torch's exporter would return the mean."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 1, 4, 4)).astype(np.float32), rng.normal(size=40)
    layers = [nn.AvgPool2d(2, divisor_override=1), nn.Flatten(), nn.Linear(4, 1)]
    options = {"max_epochs": 1, "random_state": 0, "device": "cpu"}
    net = NetRegressor(nn.Sequential(*layers), **options).fit(X, y)

    net.to_onnx(tmp_path / "net.onnx")

    got, _ = _run(tmp_path / "net.onnx", X)
    np.testing.assert_allclose(got[:, 0], net.predict(X), rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(sk_tune._estimators._onnx_layers, "check_packages", lambda name: 0)
    other = NetRegressor(_Wrapped(*layers), **options).fit(X, y)
    with (
        pytest.warns(SkTuneWarning, match="the whole _Wrapped"),
        pytest.raises(TypeError, match="must not use 'divisor_override'"),
    ):
        other.to_onnx(tmp_path / "other.onnx")


@pytest.mark.parametrize("members", [1, 3])
def test_several_labels_and_outputs_are_exported(
    members, make_estimator, task_data, tmp_path, without_torch_exporter
):
    """Multilabel y gives independent probabilities; several targets give columns."""
    X, y = task_data("MLPRegressor")
    many = np.column_stack([y, 100 * X[:, 1] + 7])
    for name, target in (("MLPRegressor", many), ("MLPClassifier", (many > 0).astype(int))):
        net = make_estimator(name, members=members).fit(X, target)

        # Parameters set after the fit do not affect the export.
        net.set_params(dtype="float64").to_onnx(tmp_path / name)

        expected = net.predict(X) if name[3] == "R" else net.predict_proba(X)
        got, _ = _run(tmp_path / name, X)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


class _Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 1)

    def forward(self, x):
        return 2 * self.linear(x)


# Torch's exporter warns about deprecated names in torch.
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("is_hooked", [slow(False), True])
def test_torch_writes_other_modules(is_hooked, make_estimator, task_data, tmp_path, caplog):
    """A warning says so; the module and torch's log level are unchanged."""
    pytest.importorskip("onnxscript")
    log = logging.getLogger("torch.onnx")
    level = log.level
    X, y = task_data("NetRegressor")
    module = nn.Linear(8, 1) if is_hooked else _Scaled()
    net = make_estimator("NetRegressor", module=module).fit(X, y)
    if is_hooked:
        net.net_.module_.register_forward_hook(lambda module, x, output: 2 * output)

    with pytest.warns(SkTuneWarning, match=r"torch\.onnx exports the whole"):
        net.to_onnx(tmp_path / "net.onnx")

    for n_rows in (1, 60):
        got, _ = _run(tmp_path / "net.onnx", X[:n_rows])
        np.testing.assert_allclose(got[:, 0], net.predict(X[:n_rows]), rtol=1e-4, atol=1e-5)
    assert net.partial_fit(X, y).n_epochs_ == 3
    assert not [record for record in caplog.records if record.name.startswith("torch.onnx")]
    assert log.level == level


class _Encoded(nn.Module):
    def __init__(self):
        super().__init__()
        self.vectors = nn.Embedding(5, 3)
        self.linear = nn.Linear(11, 1)

    def forward(self, numbers, code):
        return self.linear(torch.cat([numbers, self.vectors(code)], dim=1))


@pytest.mark.filterwarnings("ignore")
def test_named_inputs_are_exported_for_any_number_of_rows(task_data, tmp_path):
    """The columns of X are the inputs, in the order of named_inputs_."""
    pytest.importorskip("onnxscript")
    X, y = task_data("NetRegressor")
    code = np.arange(len(X)) % 5
    named = {"numbers": X, "code": code}
    net = NetRegressor(_Encoded, max_epochs=1, device="cpu").fit(named, y)

    net.to_onnx(tmp_path / "net.onnx")

    columns = np.column_stack([X, code]).astype(np.float32)
    for n_rows in (1, 2, 7):
        got, _ = _run(tmp_path / "net.onnx", columns[:n_rows])
        expected = net.predict({name: values[:n_rows] for name, values in named.items()})
        np.testing.assert_allclose(got[:, 0], expected, rtol=1e-4, atol=1e-5)


class _TwoRows(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 1)

    def forward(self, x):
        return self.linear(x) + torch.zeros(len(x), 1)


@pytest.mark.filterwarnings("ignore")
def test_a_module_with_a_constant_number_of_rows_is_not_exported(task_data, tmp_path):
    """The error names the module and the way to keep the number variable."""
    pytest.importorskip("onnxscript")
    X, y = task_data("NetRegressor")
    net = NetRegressor(_TwoRows, max_epochs=1, device="cpu").fit(X, y)

    with pytest.raises(TypeError, match=r"_TwoRows must take any number.*x\.shape\[0\]"):
        net.to_onnx(tmp_path / "net.onnx")

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_a_missing_package_is_named(missing, task_data, tmp_path, monkeypatch):
    """The message names the extra; known layers do not need torch's exporter."""
    X, y = task_data("NetRegressor")
    net = NetRegressor(_Scaled, max_epochs=1, device="cpu").fit(X, y)
    monkeypatch.setattr(
        sk_tune._onnx_graph, "find_spec", lambda name: None if name == missing else name
    )

    with pytest.raises(ImportError, match=rf"needs {missing}\..*sk-tune\[export\]"):
        net.to_onnx(tmp_path / "net.onnx")

    assert not list(tmp_path.iterdir())
