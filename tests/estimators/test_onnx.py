"""ONNX models answer as the estimators that they were made from."""

import logging

import numpy as np
import pytest
from marks import slow
from torch import nn

import sk_tune.estimators._persistence as onnx_module

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

# Torch's exporter warns of its own doings: names that it has deprecated but calls itself,
# and how it takes recurrent layers apart.
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
    pytest.mark.filterwarnings("ignore:The tensor attributes self:UserWarning"),
]

CASES = {
    "MLPClassifier": {"normalization": "batch", "dropout": 0.2, "residual": True},
    "CNNRegressor": {"normalization": "batch", "pooling": "avg", "early_stopping": True},
    "RNNRegressor": {"cell": "lstm", "normalization": "layer", "bidirectional": True},
    "NetRegressor": {"module": nn.Linear(8, 1), "dtype": "float64"},
}


def _run(path, X):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"X": X})[0], session


@pytest.mark.parametrize("name", [slow(n) if n.endswith("Regressor") else n for n in CASES])
def test_a_model_agrees(name, make_estimator, task_data, outputs, tmp_path, caplog):
    """For any number of rows, and torch does not log what it misses."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    X, y = task_data(name)
    net = make_estimator(name, **CASES[name]).fit(X, y)
    path = tmp_path / "net.onnx"

    net.to_onnx(path)

    rows = X.reshape(60, *net.input_shape_).astype(net.dtype)
    for n_rows in (1, 7, 60):
        got, session = _run(path, rows[:n_rows].astype(net.dtype))
        expected = outputs(net, X[:n_rows]).reshape(got.shape)
        # Other kernels sum in another order.
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    kind = "probabilities" if name.endswith("Classifier") else "prediction"
    assert [o.name for o in session.get_outputs()] == [kind]
    assert [i.shape for i in session.get_inputs()] == [["n_samples", *net.input_shape_]]
    # The estimator itself is as it was.
    assert net.partial_fit(X, y).n_epochs_ == 3
    assert list(tmp_path.iterdir()) == [path]
    assert not [record for record in caplog.records if record.name.startswith("torch.onnx")]
    assert log.level == level


@pytest.mark.slow
def test_several_labels_and_outputs_are_exported(make_estimator, task_data, tmp_path):
    """A multilabel problem gives independent probabilities, several targets columns."""
    X, y = task_data("MLPRegressor")
    many = np.column_stack([y, 100 * X[:, 1] + 7])
    for name, target in (("MLPRegressor", many), ("MLPClassifier", (many > 0).astype(int))):
        net = make_estimator(name).fit(X, target)

        # A parameter that was set after the fit changes no export.
        net.set_params(dtype="float64").to_onnx(tmp_path / name)

        expected = net.predict(X) if name[3] == "R" else net.predict_proba(X)
        got, _ = _run(tmp_path / name, X)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_an_absent_exporter_is_asked_for(make_estimator, task_data, tmp_path, monkeypatch):
    """Missing packages are named with the extra that brings them."""
    net = make_estimator("MLPRegressor").fit(*task_data("MLPRegressor"))
    monkeypatch.setattr(onnx_module, "find_spec", lambda name: None)

    with pytest.raises(ImportError, match=r"onnx and onnxscript.*sk-tune\[export\]"):
        net.to_onnx(tmp_path / "net.onnx")
