"""The loop for accelerators, run on a processor: no synchronisation inside an epoch."""

from collections import Counter

import numpy as np
import pytest
import torch
from marks import one_in
from parity.modules import Averaged
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from sk_tune import CNNClassifier, MLPClassifier, MLPRegressor, NetClassifier, RNNClassifier
from sk_tune._engine import Fit, train
from sk_tune._fleets import (
    _active_batch,
    _epoch_batches,
    _loop,
    _stacked_optimizers,
)
from sk_tune._fleets._kernel_library import VARIABLE
from sk_tune._training import arrays_of_state

BASE = {"batch_size": 32, "max_epochs": 3, "device": "cpu"}
MLP = {"hidden_layer_sizes": (12, 8), "members": 1, "dropout": 0.2, **BASE}
CNN = {"n_channels": 3, "width": 6, "input_shape": (8, 8), "dropout": 0.2, **BASE}
ESTIMATORS = {
    "mlp": MLPClassifier(**MLP),
    "float64": MLPClassifier(**MLP, dtype="float64"),
    "batch norm": MLPClassifier(**MLP, normalization="batch", optimizer="sgd"),
    "penalties": MLPClassifier(
        **MLP, l1=1e-3, gradient_clip=0.5, label_smoothing=0.1, class_weight="balanced"
    ),
    "stopping": MLPClassifier(**MLP, early_stopping=True, lr_schedule="one_cycle"),
    "silu": MLPClassifier(**MLP, activation="silu", optimizer="rmsprop"),
    "members": MLPRegressor(**{**MLP, "members": 3}, residual=True, optimizer="adam"),
    "table": MLPClassifier(
        **MLP, categorical_features=[64], numerical_embedding="periodic"
    ),
    "cnn": CNNClassifier(**CNN),
    "residual cnn": CNNClassifier(**CNN, residual=True),
    "rnn": RNNClassifier(
        hidden_size=5, input_shape=(8, 8), bidirectional=True, dropout=0.1, **BASE
    ),
    "augmented": CNNClassifier(**CNN, augmentation=["flip", "cutmix", "cutout"]),
    "user's": NetClassifier(Averaged, **BASE),
}
# Operators with a result, or a shape, that the processor needs before it continues.
_WAITING = frozenset({
    *("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero"),
    *("aten::masked_select", "aten::_unique2", "aten::unique_dim"),
})
# Operators that would synchronise on a device, and operators that create tensors of numbers
# and would copy them to the device.
WAITING = {
    *("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__"),
    *("tensor", "as_tensor", "from_numpy", "new_tensor", "nonzero", "__array__"),
}


class Methods(TorchFunctionMode):
    """Counts calls from Python that synchronise with a device, or copy data to it."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        self.found[name] += name in WAITING
        return func(*args, **(kwargs or {}))


class Watch(TorchDispatchMode):
    """Records operators that synchronise with a device."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in _flat((args, kwargs)) if isinstance(t, torch.Tensor)]
        output_tensors = [t for t in _flat(result) if isinstance(t, torch.Tensor)]
        name = func.name().partition(".")[0]
        # Scalar tensors are passed with the call.
        devices = {t.device.type for t in tensors + output_tensors if t.ndim}
        is_by_mask = name.startswith("aten::index") and any(
            t.dtype == torch.bool for t in tensors[1:]
        )
        if name in _WAITING or is_by_mask or len(devices) > 1:
            self.waits.append(name)
        return result


def _flat(values):
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list | tuple):
        return [part for value in values for part in _flat(value)]
    return [values]


@pytest.fixture
def as_on_device(monkeypatch):
    """Run the loop for devices on the processor."""
    monkeypatch.setenv(VARIABLE, "0")
    for module in (_active_batch, _epoch_batches, _stacked_optimizers):
        monkeypatch.setattr(module, "on_device", lambda tensor: True)


def _fits(estimator, data, **params):
    """Return fits on folds of two sizes, with different seeds and learning rates."""
    X = np.column_stack([data.X, np.arange(200) % 5])
    if getattr(estimator, "categorical_features", None) is None:
        X = X[:, :64]
    if isinstance(estimator, RNNClassifier):
        X = X.reshape(-1, 8, 8).copy()
        X[::3, 5:] = np.nan
    return [
        Fit(
            estimator=type(estimator)(**{
                **estimator.get_params(deep=False),
                "learning_rate": 0.002 * (1 + i),
                **params,
            }),
            X=X,
            y=data.y,
            rows=rows,
            monitor=np.arange(150, 200),
            seed=i // 2,
        )
        for i, rows in enumerate([np.arange(150), np.arange(20, 150)] * 2)
    ]


def _assert_same(trained, expected, **tolerance):
    for ours, theirs in zip(trained, expected, strict=True):
        assert ours.message == theirs.message == ""
        assert ours.engine == "fleet"
        arrays = arrays_of_state(ours.state)
        for name, array in arrays_of_state(theirs.state).items():
            np.testing.assert_allclose(arrays[name], array, **tolerance, err_msg=name)
        np.testing.assert_allclose(ours.predictions, theirs.predictions, **tolerance)
        np.testing.assert_allclose(ours.train_loss, theirs.train_loss, **tolerance)


@pytest.mark.parametrize("name", one_in(3, ESTIMATORS))
def test_no_synchronisation_with_the_device_inside_an_epoch(
    name, digits, as_on_device, monkeypatch
):
    """From the first batch to the last, no number is copied from or to the device."""
    epochs, batches = [], _loop.epoch_batches

    def watched(*args):
        with Watch() as watch, Methods() as methods:
            yield from batches(*args)
        epochs.append([*watch.waits, *(+methods.found)])

    monkeypatch.setattr(_loop, "epoch_batches", watched)
    trained = train(_fits(ESTIMATORS[name], digits))

    assert [t.message for t in trained] == [""] * 4
    # Cached tables are on the device from the first epoch on.
    assert len(epochs) > 1
    assert epochs[1:] == [[]] * (len(epochs) - 1)


@pytest.mark.parametrize("name", one_in(3, ESTIMATORS))
def test_the_device_loop_equals_the_processor_loop(name, digits, monkeypatch, request):
    """In float64, up to the rounding of another order of summation."""
    monkeypatch.setenv(VARIABLE, "0")
    fits = _fits(ESTIMATORS[name], digits, dtype="float64")
    expected = train(fits)

    request.getfixturevalue("as_on_device")

    _assert_same(train(fits), expected, rtol=1e-9, atol=1e-9)
