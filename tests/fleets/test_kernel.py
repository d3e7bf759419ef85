"""Epochs by the kernel."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import sk_tune
from sk_tune import (
    CNNClassifier,
    MLPClassifier,
    MLPRegressor,
    NetClassifier,
    NetRegressor,
    Periodic,
    PiecewiseLinear,
    RNNClassifier,
)
from sk_tune._augment import Noise
from sk_tune._engine import Fit, train
from sk_tune._engine._shard import prepare
from sk_tune._estimators import FitPreparer
from sk_tune._fleets import (
    _active_batch,
    _compiled_epoch,
    _kernel,
    _kernel_library,
    train_fleet,
)
from sk_tune._fleets._kernel import kernel_layers, reason_against_kernel
from sk_tune._fleets._kernel_library import VARIABLE, compiled_library, kernel_status
from sk_tune._fleets._plan import plan
from sk_tune._fleets._program import Program
from sk_tune._nets import ACTIVATIONS, SeededDropout
from sk_tune._optimizers import OPTIMIZERS
from sk_tune._training import TensorSet, arrays_of_state
from sk_tune.exceptions import SkTuneWarning

# Without a library for this processor, there is nothing to test.
pytestmark = pytest.mark.skipif(compiled_library() is None, reason=kernel_status())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of libraries, with empty caches."""
    monkeypatch.setattr(_kernel_library, "_FOLDER", tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    caches = (_kernel_library._loaded, _kernel_library._log_reason)
    for function in caches:
        function.cache_clear()
    yield tmp_path
    for function in caches:
        function.cache_clear()


@pytest.mark.parametrize(
    ("wanted", "content", "why"),
    [
        ("0", None, "SK_TUNE_KERNEL=0"),
        ("x86-64-v9", None, "must be 0 or one of"),
        (None, None, "built without a C compiler"),
        (None, b"no library", "epoch_"),
    ],
)
def test_the_reason_for_a_missing_kernel_is_logged_once(
    wanted, content, why, folder, monkeypatch, caplog
):
    """It is logged once at level INFO, and shown by `show_versions`; torch trains."""
    if wanted is not None:
        monkeypatch.setenv(VARIABLE, wanted)
    if content is not None:
        for level in _kernel_library._levels():
            (folder / f"epoch_{level}.so".replace("-", "_")).write_bytes(content)

    with caplog.at_level("INFO", logger="sk_tune"):
        libraries = [compiled_library() for _ in range(3)]

    assert libraries == [None] * 3
    assert why in kernel_status()
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert why in record.getMessage()


def test_a_kernel_of_another_version_is_rejected(monkeypatch):
    """Such a kernel would read wrong fields, and beyond the memory."""
    monkeypatch.setattr(_kernel_library, "_FORM", 0)

    library, status = _kernel_library._loaded.__wrapped__(None)

    assert library is None
    assert "another version of sk_tune" in status


@pytest.mark.parametrize("struct", _kernel_library.STRUCTS)
def test_a_kernel_with_permuted_fields_is_rejected(struct, monkeypatch):
    """Loading compares the offsets of all fields, and the reason names one of them."""
    dtype = _kernel_library.STRUCTS[struct]
    first, second, *fields = dtype.descr
    permuted = {struct: np.dtype([second, first, *fields])}
    monkeypatch.setattr(_kernel_library, "STRUCTS", _kernel_library.STRUCTS | permuted)

    library, status = _kernel_library._loaded.__wrapped__(None)

    assert library is None
    assert f"(offset, bytes) of {struct}.{dtype.names[0]} are (0, 8), not (8, 8)" in status


def test_a_kernel_without_a_field_is_rejected(monkeypatch):
    """A field that only one side has changes the size of the struct."""
    dtype = np.dtype([*_kernel_library.STRUCTS["Fleet"].descr, ("has_l2", "i8")])
    structs = _kernel_library.STRUCTS | {"Fleet": dtype}
    monkeypatch.setattr(_kernel_library, "STRUCTS", structs)

    _, status = _kernel_library._loaded.__wrapped__(None)

    sizes = f"are (0, {dtype.itemsize - 8}), not (0, {dtype.itemsize})"
    assert f"(offset, bytes) of Fleet {sizes}" in status


@pytest.mark.parametrize("names", ["OPTIMIZERS", "KINDS", "LINKS"])
def test_a_name_without_a_branch_in_the_kernel_is_rejected(names, table, monkeypatch):
    """A number without a branch must not select another branch."""
    if names == "OPTIMIZERS":
        rule = replace(OPTIMIZERS["adamw"], kernel_number=99)
        monkeypatch.setitem(OPTIMIZERS, "adamw", rule)
    else:
        others = (*["other"] * 99, *getattr(_compiled_epoch, names))
        monkeypatch.setattr(_compiled_epoch, names, others)
    network = MLPClassifier(**BASE, random_state=0)

    with pytest.warns(SkTuneWarning, match="The kernel lacks the loss, the optimizer or"):
        (trained,) = train([Fit(estimator=network, X=table[0], y=table[1])])

    assert (trained.status, trained.engine) == ("trained", "alone")


def test_numbers_of_optimizers_match_the_kernel():
    """The number of an optimizer is its place in the enum of epoch.c."""
    source = (Path(_kernel_library.__file__).parent / "kernel" / "epoch.c").read_text()
    names = re.search(r"enum optimizer {(.*)}", source)[1].lower().replace(" ", "")

    assert names.split(",") == sorted(OPTIMIZERS, key=lambda n: OPTIMIZERS[n].kernel_number)


def test_show_versions_names_the_kernel_in_use(capsys):
    """Its form is scikit-learn's, for bug reports."""
    sk_tune.show_versions()
    shown = capsys.readouterr().out

    assert f"torch: {torch.__version__}" in shown
    assert f"in use: {kernel_status()}" in shown
    assert kernel_status() in _kernel_library._levels()


BASE = {"hidden_layer_sizes": (9, 33), "members": 1, "max_epochs": 3, "batch_size": 20}


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((90, 7))
    y = (X @ rng.standard_normal((7, 3))).argmax(axis=1)
    # Codes, for networks with categories.
    X[:, 5:] = rng.integers(0, 5, (90, 2))
    return X, y


def _fits(estimator, X, y, weight=None):
    """Return fits with different folds and settings."""
    folds = np.arange(60), np.arange(10, 67), np.arange(0, 60, 2)
    fits = []
    for number, rows in enumerate(folds):
        share = (1.0, 0.0, 0.5)[number]
        settings = {
            name: getattr(estimator, name) * share
            for name in ("dropout", "l1", "label_smoothing", "weight_decay")
            if getattr(estimator, name, None)
        }
        settings["learning_rate"] = 0.01 * (1 + number)
        clone = type(estimator)(**{
            **estimator.get_params(deep=False),
            **settings,
            "random_state": number,
        })
        fits.append(
            Fit(
                estimator=clone,
                X=X,
                y=y,
                sample_weight=weight if number else None,
                rows=rows,
                monitor=np.arange(60, 90),
            )
        )
    return fits


def _prepared_network(table, **params):
    X, y = table
    fit = _fits(MLPClassifier(**{**BASE, **params}), X, y)[0]
    prepared = prepare(fit, FitPreparer())
    return prepared.network, prepared.recipe()[0]


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"hidden_layer_sizes": (400, 400)}, "faster for a weight matrix"),
        ({"augmentation": Noise(0.1)}, "augment the data"),
    ],
)
def test_unsupported_networks_are_trained_by_torch(params, why, table):
    """The reason names augmentation, or products that torch computes faster."""
    network, recipe = _prepared_network(table, **params)

    assert why in plan(network.module, network.train.X, network, recipe).reason


@pytest.mark.parametrize(
    ("net", "shape", "expected"),
    [
        (MLPClassifier(hidden_layer_sizes=(5,), members=1), (6,), 7 * 5 + 6 * 2),
        (
            CNNClassifier(n_layers=1, n_channels=5, width=7, normalization=None),
            (2, 4, 4),
            (2 * 9 + 1) * 5 * 16 + 21 * 7 + 8 * 2,
        ),
        (
            RNNClassifier(hidden_size=5, normalization=None),
            (4, 3),
            (3 + 2 + 5) * 15 * 4 + 6 * 2,
        ),
    ],
)
def test_a_plan_counts_the_products_of_a_sample(net, shape, expected):
    """Each weight counts at each place or step; estimates of fit times depend on it."""
    X = np.random.default_rng(0).normal(size=(20, *shape)).astype("float32")
    prepared = prepare(Fit(estimator=net, X=X, y=np.arange(20) % 2, seed=0), FitPreparer())
    network = prepared.network

    result = plan(network.module, network.train.X, network, prepared.recipe()[0])

    assert (result.way, result.n_products) == ("kernel", expected)


def test_targets_are_checked_for_each_network(table):
    """Networks with the same inputs may have targets of another layout."""
    (network, recipe), (other, _) = _prepared_network(table), _prepared_network(table)
    spread = network.train.y.repeat_interleave(2)[::2]
    strided = replace(network, train=TensorSet(other.train.X, spread))

    layers = kernel_layers(Program([other.module], other.train.X), other.train.X)

    assert reason_against_kernel(layers, recipe, [other]) == ""
    reason = reason_against_kernel(layers, recipe, [strided, other])
    assert reason == "the kernel cannot read or augment the data"


@pytest.mark.parametrize(
    ("changes", "is_taken"),
    [
        ({}, True),
        ({"index": torch.tensor([2, 0])}, True),
        ({"sample_weight": torch.ones(3)}, True),
        ({"index": torch.tensor([], dtype=torch.int64)}, False),
        ({"y": torch.tensor([0, -100, 1])}, False),
        ({"y": torch.tensor([0, 2, 1], dtype=torch.int32)}, False),
        ({"y": torch.tensor([0, 9, 2, 9, 1, 9])[::2]}, False),
        ({"y": torch.zeros(3, 2)}, False),
        ({"y": None}, False),
    ],
)
def test_monitors_with_unknown_classes_are_scored_by_torch(changes, is_taken, table):
    """The kernel scores only monitors whose classes occur in training."""
    network, recipe = _prepared_network(table)
    columns = {"y": torch.tensor([0, 2, 1]), **changes}
    batch = _active_batch.ActiveBatch(recipe)

    batch.add([(0, replace(network, monitor=TensorSet(network.train.X[:3], **columns)))])

    assert bool(batch.compiled.n_monitored[0]) == is_taken


# SGD diverges with this rate only after some epochs.
WILD_RATE = 10.0
OPTIONS = {
    "dropout": {"dropout": 0.3},
    "sgd": {"optimizer": "sgd", "weight_decay": 0.1, "momentum": 0.9},
    "rmsprop": {"optimizer": "rmsprop", "weight_decay": 0.1, "momentum": 0.5},
    "schedule": {"lr_schedule": "one_cycle"},
    "smoothed": {"label_smoothing": 0.2},
    "stopping": {"early_stopping": True, "validation_fraction": 0.2, "n_iter_no_change": 1},
    "full batches": {"batch_size": 1000},
}


def _both(fits, monkeypatch):
    """Return the results of fits by the kernel and by torch."""
    compiled = []

    def noted(*args):
        compiled.append(None)
        compiled[-1] = make(*args)
        return compiled[-1]

    make = _active_batch.CompiledEpoch
    with monkeypatch.context() as patch:
        patch.setattr(_active_batch, "CompiledEpoch", noted)
        ours = train(fits)
    assert compiled
    assert None not in compiled
    with monkeypatch.context() as patch:
        patch.setenv(VARIABLE, "0")
        theirs = train(fits)
    return ours, theirs


def _assert_close(ours, theirs, tolerance=1e-10):
    for network, twin in zip(ours, theirs, strict=True):
        assert network.message == twin.message == ""
        assert (network.state.n_steps, len(network.state.history)) == (
            twin.state.n_steps,
            len(twin.state.history),
        )
        arrays, expected = arrays_of_state(network.state), arrays_of_state(twin.state)
        assert arrays.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_allclose(
                arrays[name], array, rtol=tolerance, atol=tolerance, err_msg=name
            )
        np.testing.assert_allclose(
            network.predictions, twin.predictions, rtol=tolerance, atol=tolerance
        )
        for ours_then, theirs_then in zip(
            network.state.history, twin.state.history, strict=True
        ):
            for name in ("train_loss", "monitor_loss", "train_score", "monitor_score"):
                assert ours_then[name] == pytest.approx(
                    theirs_then[name], rel=tolerance, abs=tolerance
                )


KINDS = {
    "piecewise linear": {
        "categorical_features": [6],
        "numerical_embedding": PiecewiseLinear(n_bins=5, size=18),
        "members": 2,
    },
    "periodic": {
        "categorical_features": [6],
        "numerical_embedding": Periodic(n_frequencies=19, frequency_scale=0.5, size=18),
        "members": 2,
        "l1": 1e-3,
    },
    "all": {
        "residual": True,
        "hidden_layer_sizes": (33, 33),
        "normalization": "batch",
        "activation": "mish",
        "dropout": 0.2,
    },
}


def all_layers(n_features, n_outputs):
    """Return layers in an order that occurs in no estimator."""
    return nn.Sequential(
        nn.BatchNorm1d(n_features, momentum=0.3),
        nn.Linear(n_features, 19),
        nn.ReLU(),
        nn.LayerNorm(19, eps=1e-3),
        nn.Sigmoid(),
        nn.LayerNorm(19),
        nn.ELU(0.5),
        nn.Linear(19, 5, bias=False),
        nn.LeakyReLU(0.2),
        nn.ReLU(),
        SeededDropout(0.3),
        nn.Tanh(),
        nn.Linear(5, n_outputs, bias=False),
        nn.BatchNorm1d(n_outputs, eps=0.1),
    )


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_layers_work_in_any_order(optimizer, table, monkeypatch):
    """Values for the backward pass are not overwritten; padding does not enter sums."""
    params = {**BASE, "dtype": "float64", "optimizer": optimizer}
    del params["hidden_layer_sizes"], params["members"]

    _assert_close(*_both(_fits(NetClassifier(all_layers, **params), *table), monkeypatch))


RECURRENCES = {
    "gru": {"n_layers": 2, "normalization": "layer", "residual": True, "dropout": 0.3},
    "lstm": {"cell": "lstm", "n_layers": 2, "normalization": "batch", "l1": 1e-3},
    "tanh": {"cell": "rnn", "dropout": 0.2, "optimizer": "sgd"},
    "relu": {"cell": "rnn", "n_layers": 2, "activation": "relu", "optimizer": "rmsprop"},
}


@pytest.fixture(scope="module")
def sequences():
    """Sequences of 11 steps with three features, in three classes."""
    X = np.random.default_rng(0).standard_normal((90, 11, 3))
    return X, np.digitize(X[:, :, 0].sum(axis=1) + X[:, 0, 1], [-1, 1])


@pytest.mark.parametrize("params", RECURRENCES.values(), ids=RECURRENCES)
def test_recurrent_layers_match_torch(params, sequences, monkeypatch):
    """They may be stacked, with norms, shortcuts and dropout; some sequences are short."""
    base = {"hidden_size": 19, "max_epochs": 3, "batch_size": 20, "dtype": "float64"}
    X, y = sequences
    if params.get("normalization") != "batch":
        X = X.copy()
        X[::3, 7:] = X[4, 1:] = np.nan

    fits = _fits(RNNClassifier(**base, **params), X, y)

    _assert_close(*_both(fits, monkeypatch), tolerance=1e-9)


def test_a_recurrent_network_alone_equals_the_same_network_in_a_fleet(sequences):
    """Results are bitwise equal, whatever other networks the fleet has."""
    X, y = sequences
    nets = [RNNClassifier(hidden_size=h, max_epochs=2, random_state=1) for h in (8, 20)]
    fits = [Fit(estimator=net, X=X, y=y, seed=1) for net in nets for _ in range(2)]

    trained = train(fits)

    for number, net in enumerate(nets):
        arrays = arrays_of_state(trained[2 * number].state)
        for name, array in net.fit(X, y).net_.module_.state_dict().items():
            np.testing.assert_array_equal(arrays[f"module.{name}"], array, err_msg=name)


@pytest.mark.parametrize(
    ("params", "is_padded", "why"),
    [
        ({"bidirectional": True}, False, "backwards"),
        ({"normalization": "batch"}, True, "the data"),
    ],
)
def test_unsupported_recurrent_networks_are_trained_by_torch(
    params, is_padded, why, sequences
):
    """Bidirectional networks, and statistics over steps that include padding."""
    X, y = sequences
    X = X.copy()
    X[3, 7:] = np.nan if is_padded else 0
    prepared = prepare(Fit(estimator=RNNClassifier(**params), X=X, y=y), FitPreparer())
    network, recipe = prepared.network, prepared.recipe()[0]

    assert why in str(plan(network.module, network.train.X, network, recipe))


def _mixed():
    return (
        nn.Conv2d(3, 17, (3, 2), stride=(2, 1), padding=(2, 0), dilation=(2, 1)),
        nn.Sigmoid(),
        SeededDropout(0.3),
        nn.AvgPool2d(2, 1, padding=1, count_include_pad=False),
        nn.Conv2d(17, 4, 1, bias=False),
        nn.BatchNorm2d(4, momentum=0.3),
        nn.SiLU(),
        nn.Conv2d(4, 5, 3, padding=1),
    )


def _pooled():
    return (
        nn.MaxPool2d(3, 2, padding=1, ceil_mode=True),
        nn.ReLU(),
        nn.Conv2d(3, 4, (2, 1), dilation=(1, 2)),
        nn.MaxPool2d((1, 2), 1, dilation=(1, 2)),
        nn.Tanh(),
        nn.AvgPool2d((2, 1), ceil_mode=True, padding=(1, 0)),
        SeededDropout(0.2),
        nn.AvgPool2d(2, 1, divisor_override=3),
        nn.AdaptiveAvgPool2d((2, 1)),
    )


def _lop_sided():
    zeros = nn.ZeroPad2d((2, 1, 0, 1))
    first = zeros, nn.Conv2d(3, 4, 4, padding=(1, 0)), nn.ReLU(), SeededDropout(0.2)
    return (*first, nn.Conv2d(4, 16, 2, padding="same"), nn.MaxPool2d(2), nn.ELU())


def _normalised():
    first = nn.BatchNorm3d(2), nn.Conv3d(2, 3, (1, 3, 2), padding=(0, 1, 0)), nn.Mish()
    return (*first, nn.MaxPool3d((1, 2, 2)), nn.Conv3d(3, 2, (2, 1, 1)), nn.BatchNorm3d(2))


def _of_signals():
    first = SeededDropout(0.3), nn.Conv1d(2, 3, 3), nn.ReLU(), SeededDropout(0.2)
    last = nn.Conv1d(3, 20, 2, stride=2), nn.GELU(), nn.AdaptiveAvgPool1d(3)
    return (*first, nn.MaxPool1d(2, 1), *last)


def _without_convolutions():
    return nn.LeakyReLU(0.1), nn.MaxPool1d(2), nn.Tanh()


class ImageChain(nn.Module):
    """Image layers, followed by a linear layer."""

    def __init__(self, shape, n_outputs, make):
        super().__init__()
        self.layers = nn.Sequential(*make(), nn.Flatten())
        with torch.no_grad():
            n_units = self.layers(torch.zeros(2, *shape)).shape[1]
        self.output = nn.Linear(n_units, n_outputs)

    def forward(self, x):
        return self.output(self.layers(x))


@pytest.fixture(scope="module")
def images():
    """Images with few distinct values, so that windows have several maxima."""
    rng = np.random.default_rng(0)
    shapes = {1: (2, 13), 2: (3, 8, 7), 3: (2, 3, 4, 5)}
    X = {n: rng.standard_normal((90, *shape)).round(1) for n, shape in shapes.items()}
    return X, rng.integers(0, 3, 90)


@pytest.mark.parametrize(
    ("make", "n_dims", "params"),
    [
        (_mixed, 2, {"optimizer": "adamw", "l1": 0.01, "gradient_clip": 0.5}),
        (_pooled, 2, {"optimizer": "rmsprop"}),
        (_lop_sided, 2, {"optimizer": "adam", "label_smoothing": 0.1}),
        (_normalised, 3, {"optimizer": "sgd"}),
        (_of_signals, 1, {"optimizer": "sgd", "momentum": 0.0}),
        (_without_convolutions, 1, {"optimizer": "adamw", "batch_size": 57}),
    ],
)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_image_layers_equal_those_of_torch(make, n_dims, params, images, monkeypatch):
    """Windows of any sizes, strides and paddings; the first of several maxima counts."""
    X, y = images
    X = X[n_dims]
    params = {"max_epochs": 2, "batch_size": 20, "dtype": "float64", **params}
    net = NetClassifier(ImageChain, module__shape=X.shape[1:], module__make=make, **params)

    _assert_close(*_both(_fits(net, X, y, np.linspace(1, 3, 90)), monkeypatch))


@pytest.mark.parametrize("n_dims", [1, 2, 3])
@pytest.mark.parametrize(
    "params",
    [
        {"normalization": None, "pooling": "avg", "activation": "silu", "kernel_size": 5},
        {"n_channels": 16, "kernel_size": 2, "optimizer": "sgd", "pooling": None},
    ],
)
def test_each_library_trains_convolutions_like_torch(n_dims, params, images, monkeypatch):
    """With and without padded channels, in each library that the processor can run."""
    X, y = images
    params = {"n_channels": 5, "width": 9, "dtype": "float64", **BASE, **params}
    del params["hidden_layer_sizes"], params["members"]
    fits = _fits(CNNClassifier(**params), X[n_dims], y)
    for level in reversed(_kernel_library._levels()):
        monkeypatch.setenv(VARIABLE, level)

        _assert_close(*_both(fits, monkeypatch))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_image_network_alone_equals_the_same_network_in_a_fleet(
    dtype, images, assert_same_training
):
    """Results are bitwise equal in any fleet, and after a checkpoint."""
    X, y = images
    net = CNNClassifier(n_channels=5, width=9, max_epochs=3, batch_size=20, dtype=dtype)
    fits = _fits(net, X[2], y)
    pauses = train([replace(fit, n_epochs=1) for fit in fits])
    neighbours = [
        replace(fit, n_epochs=2, state=part.state)
        for fit, part in zip(fits, pauses, strict=True)
    ]

    together, resumed = train(fits, n_jobs=2), train(neighbours)

    for network, later, fit in zip(together, resumed, fits, strict=True):
        assert_same_training(network, *train([fit]))
        arrays, expected = arrays_of_state(later.state), arrays_of_state(network.state)
        for name, array in expected.items():
            np.testing.assert_array_equal(arrays[name], array, err_msg=name)


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (nn.Conv2d(3, 6, 3, groups=3), "in groups"),
        (nn.MaxPool2d(2, dilation=(9, 1), padding=1), "beyond the images"),
        (nn.Conv2d(3, 900, 8, padding=4), "faster for convolutions"),
        (nn.Sequential(nn.Conv2d(3, 1200, 1), nn.AdaptiveAvgPool2d(1)), "too much memory"),
    ],
)
def test_unsupported_image_layers_are_trained_by_torch(layer, why, images):
    """The reason names the limit."""
    X, y = images
    params = {"module__shape": X[2].shape[1:], "module__make": lambda: [layer]}
    fit = _fits(NetClassifier(ImageChain, **params), X[2], y)[0]
    prepared = prepare(fit, FitPreparer())
    network, recipe = prepared.network, prepared.recipe()[0]

    assert why in plan(network.module, network.train.X, network, recipe).reason


class Function(nn.Sequential):
    """An activation between two identity layers."""

    def __init__(self, n_features, n_outputs, name="relu"):
        super().__init__(nn.Linear(1, 1), ACTIVATIONS[name](), nn.Linear(1, 1))
        for layer in (self[0], self[2]):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_exact_in_single_precision(name):
    """Results are within three units in the last place of double precision."""
    x = np.concatenate([np.linspace(-9, 9, 4001), [-60, -1e-6, 0, 1e-30, 60, 1e4]])
    fit = Fit(
        estimator=NetRegressor(Function, module__name=name, max_epochs=1),
        X=x.astype(np.float32)[:, None],
        y=np.zeros(len(x)),
        seed=0,
    )
    prepared = prepare(fit, FitPreparer())
    network, recipe = prepared.network, prepared.recipe()[0]
    batch = _active_batch.ActiveBatch(recipe)
    batch.add([(0, network)])

    outputs = batch.compiled.predict([network.train], slice(0, 1))[0, :, 0].double()

    exact = ACTIVATIONS[name]()(network.train.X[:, 0].double())
    error = (outputs - exact).abs() / exact.abs().clamp(min=1e-30)
    # Where torch's formulas cancel, errors are relative to the largest term.
    beside = (outputs - exact).abs() / network.train.X[:, 0].double().abs().clamp(min=1e-30)
    assert float(torch.minimum(error, beside).max()) < 3 * 2**-23


def test_batch_normalisation_rejects_a_single_sample(table):
    """The error is torch's."""
    network, recipe = _prepared_network(table, normalization="batch")

    with pytest.raises(ValueError, match="more than one sample"):
        list(train_fleet([network], replace(recipe, batch_size=1), 1))


class Chain(nn.Sequential):
    """A user's chain, in which some layers have no bias."""

    def __init__(self, n_features, n_outputs):
        layers = nn.Linear(n_features, 11, bias=False), nn.ReLU(), nn.Linear(11, 6)
        super().__init__(*layers, nn.Linear(6, n_outputs, bias=False))


def test_each_library_trains_like_torch(table, monkeypatch):
    """All libraries that the processor can run; the default library is last."""
    X, y = table
    net = MLPClassifier(**BASE, dropout=0.2, dtype="float64", random_state=0)
    fit = Fit(estimator=net, X=X, y=y, monitor=np.arange(9), seed=1)
    for level in reversed(_kernel_library._levels()):
        monkeypatch.setenv(VARIABLE, level)
        assert kernel_status() == level

        _assert_close(*_both([fit], monkeypatch))


@settings(max_examples=20)
@given(
    sizes=st.lists(st.integers(1, 70), min_size=1, max_size=4),
    n_features=st.integers(1, 40),
    batch_size=st.integers(1, 50),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_any_sizes_equal_torch(sizes, n_features, batch_size, dtype):
    """Sizes are multiples of vectors and blocks, or have remainders."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, n_features)), np.arange(40) % 3
    fit = Fit(
        estimator=MLPClassifier(
            hidden_layer_sizes=sizes,
            batch_size=batch_size,
            max_epochs=1,
            dropout=0.2,
            optimizer="sgd",
            dtype=dtype,
            random_state=0,
        ),
        X=X,
        y=y,
        rows=np.arange(33),
        monitor=np.arange(33, 40),
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        ours, theirs = _both([fit], monkeypatch)

    _assert_close(ours, theirs, 1e-12 if dtype == "float64" else 1e-4)


@pytest.mark.parametrize("n_classes", [None, 2, 3])
@pytest.mark.parametrize(
    "params",
    [
        {"hidden_layer_sizes": (), "numerical_embedding": PiecewiseLinear(n_bins=9)},
        {"hidden_layer_sizes": (7, 7), "residual": True, "dropout": 0.2},
        {"hidden_layer_sizes": (33, 33), "residual": True, "normalization": "batch"},
        {"normalization": "layer", "activation": "mish", "dropout": 0.2, "l1": 1e-3},
        KINDS["piecewise linear"],
        KINDS["periodic"],
    ],
    ids=["linear", "residual", "batch", "layer", "table", "periodic"],
)
def test_members_match_torch(params, n_classes, table, monkeypatch):
    """Networks with members, of few and several outputs, with all kinds of layers."""
    X, y = table
    estimator, target = MLPClassifier, y == 0 if n_classes == 2 else y
    if n_classes is None:
        estimator, target = MLPRegressor, X[:, :2] @ [[1.0, 2.0], [-1.0, 1.0]]
    params = {**BASE, "members": 3, "dtype": "float64", **params}

    _assert_close(*_both(_fits(estimator(**params), X, target), monkeypatch))


@pytest.mark.parametrize("kind", ["all", "piecewise linear", "periodic"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_alone_equals_the_same_network_in_a_fleet(
    dtype, kind, table, assert_same_training
):
    """Other networks and threads do not change a bit, in single precision either."""
    fits = _fits(MLPClassifier(**BASE | KINDS[kind], dtype=dtype), *table)

    together = train(fits, n_jobs=2)

    for network, fit in zip(together, fits, strict=True):
        assert_same_training(network, *train([fit]))


@pytest.mark.parametrize("place", [0, 1])
def test_a_diverging_network_does_not_affect_others(place, table, assert_same_training):
    """It leaves no NaN in the memory, padding included, of the next networks."""
    params = {"optimizer": "sgd", "momentum": 0.0, "l1": 0.01, "gradient_clip": 1.0}
    estimator = MLPClassifier(**BASE, **params)
    fits = [
        replace(fit, estimator=fit.estimator.set_params(l1=0.01))
        for fit in _fits(estimator, *table)
    ]
    wild = replace(
        fits[place], estimator=MLPClassifier(**{**BASE, **params, "learning_rate": 1e38})
    )

    trained = train([*fits[:place], wild, *fits[place:]])

    assert "epoch 1" in trained.pop(place).message
    for network, fit in zip(trained, fits, strict=True):
        assert_same_training(network, *train([fit]))


def test_dropout_does_not_hide_infinite_units(monkeypatch):
    """A network with overflowing units fails at once, because masks multiply by 0."""
    params = {
        "hidden_layer_sizes": (33,),
        "dropout": 0.99,
        "batch_size": 1,
        "max_epochs": 1,
    }
    nets = [MLPClassifier(**params, random_state=seed) for seed in (3, 5)]
    X, y = np.full((4, 7), 3e38), np.arange(4) % 2

    ours, theirs = _both([Fit(estimator=net, X=X, y=y) for net in nets], monkeypatch)

    assert all("became nan at epoch 1" in t.message for t in (*ours, *theirs))


@pytest.mark.parametrize("clip", [None, 1.0])
def test_absent_biases_stay_zero_after_a_diverging_network(
    clip, table, assert_same_training
):
    """Clipping turns all gradients into NaN, including those of absent biases."""
    params = {"max_epochs": 3, "batch_size": 20, "optimizer": "sgd", "momentum": 0.0}
    fits = [
        _fits(NetClassifier(Chain, **params, gradient_clip=limit), *table)[1]
        for limit in (clip, 1.0)
    ]
    net = NetClassifier(Chain, **params, learning_rate=1e38, gradient_clip=1.0)

    trained = train([replace(fits[0], estimator=net), *fits])

    assert "epoch 1" in trained[0].message
    for network, fit in zip(trained[1:], fits, strict=True):
        assert_same_training(network, *train([fit]))


def _misplaced(own, place):
    index = torch.arange(30).index_fill(0, torch.tensor([3]), place)
    return TensorSet(own.X, own.y, index=index)


@pytest.mark.parametrize(
    ("part", "change", "error", "message"),
    [
        (
            "train",
            lambda own: TensorSet(own.X, torch.full_like(own.y, 3)),
            IndexError,
            "not one of the 3 classes",
        ),
        *(
            (part, partial(_misplaced, place=place), IndexError, "outside the data")
            for part in ("train", "monitor")
            for place in (-1, 60)
        ),
        # Torch reports samples of another width.
        (
            "monitor",
            lambda own: TensorSet(own.X[:, :2].contiguous(), own.y),
            RuntimeError,
            None,
        ),
    ],
)
def test_samples_and_targets_out_of_range_are_rejected(part, change, error, message, table):
    """As with torch, invalid indices raise an error; no other memory is read."""
    network, recipe = _prepared_network(table)
    broken = replace(network, **{part: change(getattr(network, part))})

    with pytest.raises(error, match=message):
        list(train_fleet([broken], recipe, 1))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_an_index_may_have_any_integer_type_and_stride(dtype, table):
    """Indices may have another integer type, and be a strided view."""
    network, recipe = _prepared_network(table)
    parts = {"train": network.train, "monitor": network.monitor}
    outputs = []
    for stride in (1, 2):
        index = torch.arange(20).repeat_interleave(stride).to(dtype)[::stride]
        sets = {name: TensorSet(s.X, s.y, index=index) for name, s in parts.items()}
        ((_, outcome),) = train_fleet(
            [replace(_prepared_network(table)[0], **sets)], recipe, 1
        )
        outputs.append(outcome.predictions)

    plain = {name: TensorSet(s.X[:20], s.y[:20]) for name, s in parts.items()}
    ((_, expected),) = train_fleet(
        [replace(_prepared_network(table)[0], **plain)], recipe, 1
    )
    for actual in outputs:
        np.testing.assert_array_equal(actual, expected.predictions)


@pytest.mark.parametrize("score", ["accuracy", "r2"])
def test_calls_of_one_batch_give_equal_results(score, table, monkeypatch):
    """Short calls let Ctrl-C interrupt long epochs."""
    X, y = table
    kind = MLPClassifier if score == "accuracy" else MLPRegressor
    params = {**BASE, "dropout": 0.2, "lr_schedule": "cosine"}
    fits = _fits(kind(**params), X, y if score == "accuracy" else X[:, 0] * 2)
    expected = train(fits)
    monkeypatch.setattr(_compiled_epoch, "_SECONDS_PER_CALL", 0.0)

    pieces = train(fits)

    for network, twin in zip(pieces, expected, strict=True):
        assert (
            network.state.history[-1]["train_score"]
            == twin.state.history[-1]["train_score"]
        )
        np.testing.assert_array_equal(network.train_loss, twin.train_loss)
        np.testing.assert_array_equal(network.predictions, twin.predictions)


def _calls(fits, monkeypatch, *, seconds=None, **options):
    """Return the results of fits, and the number of epochs of each call."""
    n_epochs = []
    run = _compiled_epoch.CompiledEpoch.train_epochs

    def noted(self, places, sizes, rates, n):
        n_epochs.append(n)
        return run(self, places, sizes, rates, n)

    with monkeypatch.context() as patch:
        patch.setattr(_compiled_epoch.CompiledEpoch, "train_epochs", noted)
        if seconds is not None:
            patch.setattr(_active_batch, "_SECONDS_AT_ONCE", seconds)
        return train(fits, **options), n_epochs


@pytest.mark.parametrize(
    "option", ["dropout", "sgd", "rmsprop", "schedule", "smoothed", "full batches"]
)
def test_epochs_in_one_call_equal_epochs_in_single_calls(
    option, table, monkeypatch, assert_same_training
):
    """Networks differ in folds and weights, and one has fewer epochs."""
    dtype = "float64" if option in {"sgd", "schedule"} else "float32"
    params = {**BASE, "dtype": dtype, "max_epochs": 7, **OPTIONS[option]}
    X, y = table
    estimator, y = (MLPRegressor, X[:, :2]) if option == "sgd" else (MLPClassifier, y)
    fits = _fits(estimator(**KINDS["all"] | params), X, y, np.linspace(1, 3, 90))
    fits[1] = replace(fits[1], n_epochs=4)

    trained, n_at_once = _calls(fits, monkeypatch)
    expected, n_one_by_one = _calls(fits, monkeypatch, seconds=0.0)

    assert n_at_once == [4, 3]
    assert n_one_by_one == [1] * 7
    for network, twin in zip(trained, expected, strict=True):
        assert_same_training(network, twin)


def test_calls_end_at_checkpoints(table, monkeypatch, assert_same_training):
    """Checkpoints equal those of calls with single epochs."""
    fits = [
        replace(fit, keeps_checkpoints=True)
        for fit in _fits(MLPClassifier(**{**BASE, "max_epochs": 9}), *table)
    ]

    trained, n_at_once = _calls(fits, monkeypatch)
    expected, _ = _calls(fits, monkeypatch, seconds=0.0)

    assert sum(n_at_once) == 9
    assert 1 < len(n_at_once) < 9
    for network, twin in zip(trained, expected, strict=True):
        assert_same_training(network, twin)
        lengths = [len(s.history) for s in network.checkpoints]
        assert lengths == [len(s.history) for s in twin.checkpoints] != []


def test_early_stopping_needs_single_epochs(table, monkeypatch, assert_same_training):
    """Networks next to a network with early stopping train as without it."""
    fits = _fits(MLPClassifier(**{**BASE, "max_epochs": 5}), *table)
    stopping = {**BASE, "max_epochs": 5, **OPTIONS["stopping"], "learning_rate": 0.03}
    fits[1] = replace(fits[1], estimator=MLPClassifier(**stopping, random_state=1))

    trained, n_epochs = _calls(fits, monkeypatch)

    assert set(n_epochs[:2]) == {1}
    for network, fit in zip(trained, fits, strict=True):
        assert_same_training(network, *train([fit]))


def test_a_diverging_network_fails_at_the_epoch_of_single_calls(
    table, monkeypatch, assert_same_training
):
    """Its message names the epoch, although the call continues."""
    params = {**BASE, "optimizer": "sgd", "max_epochs": 20, "hidden_layer_sizes": (9,) * 3}
    fits = _fits(MLPClassifier(**params), *table)
    wild = {**params, "learning_rate": WILD_RATE, "momentum": 0.99}
    fits[1] = replace(fits[1], estimator=MLPClassifier(**wild, random_state=1))

    trained, n_at_once = _calls(fits, monkeypatch)
    expected, _ = _calls(fits, monkeypatch, seconds=0.0)

    assert n_at_once == [20]
    assert "became nan at epoch" in trained[1].message
    assert "epoch 1 " not in trained[1].message == expected[1].message
    for network, twin in zip(trained[::2], expected[::2], strict=True):
        assert_same_training(network, twin)


def test_a_network_uses_one_thread(table):
    """More threads than networks do not lengthen a call."""

    def epochs(n_networks, n_threads):
        batch = _active_batch.ActiveBatch(recipe, n_threads)
        batch.add([(i, _prepared_network(table)[0]) for i in range(n_networks)])
        return batch.compiled.epochs_in(1.0, batch.batch_sizes)

    _, recipe = _prepared_network(table)

    assert epochs(1, 1) == epochs(1, 16)
    assert epochs(4, 1) < epochs(4, 2) < epochs(4, 4) == epochs(4, 16)


def test_monitor_samples_count_in_the_time_of_a_call(table):
    """With many monitor samples a call has fewer epochs, however few are trained on."""
    network, recipe = _prepared_network(table)
    n_epochs = []
    for n_monitored in (30, 300_000):
        monitor = network.monitor.taken()
        places = torch.arange(n_monitored) % len(monitor)
        batch = _active_batch.ActiveBatch(recipe, 1)
        many = TensorSet(monitor.X[places], monitor.y[places])
        batch.add([(0, replace(network, monitor=many))])
        n_epochs.append(batch.compiled.epochs_in(1.0, batch.batch_sizes))

    assert 1 <= n_epochs[1] < n_epochs[0] / 10


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (_kernel, "_SECONDS_PER_EPOCH", 0.1),
        (_kernel, "_SECONDS_PER_STEP", 0.1),
        (_compiled_epoch, "_MOST_BYTES", 3000),
    ],
)
def test_calls_are_limited_in_time_and_memory(module, name, value, table, monkeypatch):
    """The limits hold however few products an epoch has."""
    fits = _fits(MLPClassifier(**{**BASE, "max_epochs": 5}), *table)
    monkeypatch.setattr(module, name, value)

    _, n_epochs = _calls(fits, monkeypatch)

    assert n_epochs == [1] * 5


def test_a_class_absent_in_training_is_scored_as_by_torch(table, monkeypatch):
    """The class has no loss, and is never predicted."""
    X, y = table
    y = y.copy()
    y[70:75] = 3
    estimator = MLPClassifier(**{**BASE, "dtype": "float64"})

    _assert_close(*_both(_fits(estimator, X, y), monkeypatch))
