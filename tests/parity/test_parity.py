"""Contract 1: fleets and plain fits give what a plain torch loop gives.

In float64 only the order of summation differs, so that curves, predictions, weights and the
optimizer's state agree to 1e-9 at learning rates up to 0.01.
"""

import inspect
import re
from dataclasses import astuple, fields, replace
from functools import partial

import numpy as np
import pytest
from marks import one_in, slow
from parity import modules, reference
from sklearn.base import clone, is_regressor
from torch import nn

import sk_tune
from sk_tune import Periodic, PiecewiseLinear
from sk_tune._augment import (
    Contrast,
    CutMix,
    Cutout,
    Flip,
    Mixup,
    Noise,
    Rotate,
    Scale,
    Shift,
    TimeMask,
    TimeShift,
    as_augmentations,
)
from sk_tune._engine import Fit, fitted_estimator, train
from sk_tune._fleets._kernel_library import VARIABLE
from sk_tune._nets import ACTIVATIONS

TOLERANCE = 1e-9


MONITOR = np.arange(160, 200)
# Folds of unequal size, with a shorter last batch in each.
FOLDS = (np.arange(150), np.arange(20, 160), np.arange(0, 160, 2))
# What each network multiplies its learning rate and other strengths with.
SHARES = (1.0, 0.0, 0.5)

# A batch norm takes its input's mean away, so that the bias of the layer before it has a
# gradient of 0 but for rounding.  Adam and RMSprop divide it by its own size, and so turn
# rounding into steps of the bias; the running mean follows it.  Both are left out of the
# comparison for these optimizers; with SGD they are compared too.
SHIFTED = re.compile(r"(first\.bias|.*running_mean)$")


@pytest.fixture(scope="module")
def data(digits, diabetes):
    """X and y by name; 200 samples each."""
    X, y = digits
    padded = X.reshape(-1, 8, 8).copy()
    for length, sequence in zip(np.arange(200) % 6 + 3, padded, strict=True):
        sequence[length:] = np.nan
    labels = np.stack([y % 2, y > 4, y % 3 == 0], axis=1).astype(int)
    rng = np.random.default_rng(0)
    table = np.column_stack([X[:, 20:24], rng.integers(0, 20, 200), (y + X[:, 2] > 5) * 2])
    return {
        "digits": (X, y),
        "multilabel": (X, labels),
        "signals": (X.reshape(-1, 1, 64), y),
        "colours": (np.stack([X, X[:, ::-1], X / 2], axis=1).reshape(-1, 3, 8, 8), y),
        "volumes": (X.reshape(-1, 1, 4, 4, 4), y),
        "sequences": (X.reshape(-1, 8, 8), y),
        "padded": (padded, y),
        "image targets": (X, X[:, 20:22] + y[:, None]),
        "tokens": (np.rint(padded[:, :, 3:4]), y),
        "sequence targets": (padded, y + 0.5),
        "table": (table, y),
        "table targets": (table, y + table[:, 4]),
        "diabetes": (diabetes.X, diabetes.y),
        "counts": (diabetes.X, diabetes.y // 20),
        "two targets": (diabetes.X, np.stack([diabetes.y, -(diabetes.y**2)], axis=1)),
    }


BASE = {"max_epochs": 3, "batch_size": 32, "dtype": "float64", "learning_rate": 0.01}
MLP = {"hidden_layer_sizes": (16, 16)}
CNN = {"n_layers": 2, "n_channels": 2, "width": 8, "input_shape": (8, 8)}
RNN = {"hidden_size": 6}
WEIGHTS = np.arange(200) % 5 / 2
# Columns of the table that hold codes.
CODED = [4, 5]
SGD = {"optimizer": "sgd"}
STOPPING = {
    "early_stopping": True,
    "validation_fraction": 0.2,
    "n_iter_no_change": 1,
    "tol": 0.05,
}
ALL = {
    "normalization": "batch",
    "dropout": 0.2,
    "residual": True,
    "l1": 1e-3,
    "gradient_clip": 0.5,
    "lr_schedule": "one_cycle",
    **STOPPING,
}


def _mlp(data="digits", weight=None, **params):
    is_regression = data in {"diabetes", "counts", "two targets", "table targets"}
    task = "Regressor" if is_regression else "Classifier"
    return (f"MLP{task}", {**MLP, **params}, data, weight)


def _cnn(data="digits", task="Classifier", **params):
    return (f"CNN{task}", {**CNN, **params}, data, None)


def _rnn(data="sequences", task="Classifier", **params):
    return (f"RNN{task}", {**RNN, **params}, data, None)


def _net(module, data="digits", task="Classifier", **params):
    return (f"Net{task}", {"module": module, **params}, data, None)


CASES = {
    "mlp": _mlp(),
    "mlp, dropout": _mlp(dropout=0.2),
    "mlp, batch norm": _mlp(normalization="batch"),
    "mlp, layer norm": _mlp(normalization="layer"),
    "mlp, residual": _mlp(residual=True, dropout=0.2, activation="tanh"),
    "mlp, l1": _mlp(l1=1e-3),
    "mlp, clipped": _mlp(gradient_clip=0.3),
    "mlp, label smoothing": _mlp(label_smoothing=0.2),
    "mlp, adam": _mlp(optimizer="adam"),
    "mlp, adam, momentum": _mlp(optimizer="adam", momentum=0.5, weight_decay=0.0),
    "mlp, sgd": _mlp(optimizer="sgd"),
    "mlp, sgd without momentum": _mlp(optimizer="sgd", momentum=0.0),
    "mlp, rmsprop": _mlp(optimizer="rmsprop", learning_rate=1e-3),
    "mlp, rmsprop without momentum": _mlp(
        optimizer="rmsprop", momentum=0.0, learning_rate=1e-3
    ),
    "mlp, constant": _mlp(lr_schedule="constant"),
    "mlp, one_cycle": _mlp(lr_schedule="one_cycle"),
    "mlp, step": _mlp(lr_schedule="step"),
    "mlp, sample weights": _mlp(weight=WEIGHTS),
    "mlp, class weights": _mlp(class_weight="balanced"),
    "mlp, named class weights": _mlp(class_weight={0: 3.0, 9: 0.5}),
    "mlp, early stopping": _mlp(**STOPPING, max_epochs=9),
    "mlp, full batch": _mlp(batch_size=-1, normalization="batch", weight=WEIGHTS),
    "mlp, batch larger than data": _mlp(batch_size=1000),
    "mlp, linear": _mlp(hidden_layer_sizes=None, n_layers=0),
    "mlp, width": _mlp(hidden_layer_sizes=None, n_layers=3, width=5),
    "mlp, one layer": _mlp(hidden_layer_sizes=5, batch_size=149),
    "mlp, multilabel": _mlp("multilabel", label_smoothing=0.1, dropout=0.2),
    "mlp, regressor": _mlp("diabetes", dropout=0.2, weight=WEIGHTS),
    "mlp, two targets": _mlp("two targets", normalization="layer"),
    "mlp, all": _mlp(**ALL, label_smoothing=0.1, class_weight="balanced", weight=WEIGHTS),
    "mlp, categories": _mlp("table", categorical_features=CODED),
    "mlp, categories, linear": _mlp(
        "table", categorical_features=CODED, hidden_layer_sizes=None, n_layers=0
    ),
    "mlp, absolute error": _mlp("diabetes", loss="absolute_error", weight=WEIGHTS),
    "mlp, huber, members": _mlp("two targets", loss="huber", members=3),
    "mlp, poisson": _mlp("counts", loss="poisson", weight=WEIGHTS),
    "mlp, poisson, members": _mlp("counts", loss="poisson", members=3, **STOPPING),
    "mlp, gamma": _mlp("diabetes", loss="gamma", learning_rate=1e-3),
    "mlp, tweedie, members": _mlp(
        "counts", loss="tweedie", members=3, tweedie_power=1.3, augmentation="mixup"
    ),
    "mlp, quantile": _mlp(
        "diabetes", loss="quantile", quantiles=(0.05, 0.4, 0.5, 0.9), weight=WEIGHTS
    ),
    "mlp, quantile, members": _mlp("diabetes", loss="quantile", members=3, **STOPPING),
    "mlp, categories, regressor": _mlp(
        "table targets", categorical_features=CODED, embedding_size=3, weight=WEIGHTS
    ),
    "mlp, periodic": _mlp(numerical_embedding="periodic", dropout=0.2),
    "mlp, periodic, few": _mlp(
        "table",
        categorical_features=CODED,
        numerical_embedding=Periodic(n_frequencies=2, frequency_scale=1.0, size=3),
        l1=1e-3,
    ),
    # SGD, because AdamW blows up the rounding of biases before a batch norm.
    "mlp, periodic, all": _mlp(
        "table", numerical_embedding="periodic", optimizer="sgd", **ALL
    ),
    "mlp, piecewise linear": _mlp(
        "diabetes", numerical_embedding=PiecewiseLinear(n_bins=5)
    ),
    "mlp, piecewise linear, all": _mlp(
        "table", categorical_features=CODED, numerical_embedding="piecewise_linear", **ALL
    ),
    "mlp, categories, all": _mlp("table", categorical_features=CODED, **ALL),
    "mlp, members": _mlp(members=4, weight=WEIGHTS, label_smoothing=0.2),
    "mlp, members, linear": _mlp(members=3, hidden_layer_sizes=None, n_layers=0),
    "mlp, members, multilabel": _mlp("multilabel", members=3, activation="tanh"),
    "mlp, members, regressor": _mlp("two targets", members=3, normalization="layer"),
    "mlp, members, embedded": _mlp(
        "table",
        members=3,
        categorical_features=CODED,
        numerical_embedding="periodic",
        dropout=0.2,
    ),
    "mlp, members, categories": _mlp(
        "table targets",
        members=3,
        categorical_features=CODED,
        numerical_embedding="piecewise_linear",
    ),
    "mlp, members, all": _mlp(members=3, optimizer="sgd", **ALL),
    "cnn": _cnn(optimizer="sgd"),
    "cnn, adamw": _cnn(learning_rate=1e-3),
    "cnn, without norm": _cnn(normalization=None),
    "cnn, layer norm": _cnn(
        normalization="layer", pooling="avg", kernel_size=4, activation="silu"
    ),
    "cnn, without pooling": _cnn(pooling=None, dropout=0.0, kernel_size=2, optimizer="sgd"),
    "cnn, 1-D": _cnn("signals", input_shape=None, residual=True, optimizer="sgd"),
    "cnn, 3-D": _cnn("volumes", input_shape=None, optimizer="sgd"),
    "cnn, regressor": _cnn("image targets", "Regressor", optimizer="sgd"),
    "cnn, all": _cnn(**ALL, optimizer="sgd"),
    "rnn, gru": _rnn("digits", input_shape=(16, 4)),
    "rnn, lstm": _rnn(cell="lstm", n_layers=2, dropout=0.2),
    "rnn, rnn": _rnn(cell="rnn", activation="relu"),
    "rnn, bidirectional": _rnn(bidirectional=True, dropout=0.2, residual=True, n_layers=2),
    "rnn, padded": _rnn("padded", bidirectional=True, dropout=0.2),
    "rnn, padded, batch norm": _rnn("padded", normalization="batch", bidirectional=True),
    "rnn, padded, layer norm": _rnn(
        "padded", cell="lstm", normalization="layer", n_layers=2, bidirectional=True
    ),
    "rnn, padded regressor": _rnn(
        "sequence targets", "Regressor", cell="rnn", bidirectional=True
    ),
    "rnn, all": _rnn("padded", **ALL),
    "net": _net(modules.Layers),
    "net, early stopping": _net(modules.Layers, **STOPPING, optimizer="sgd"),
    "net, regressor": _net(modules.Layers, "diabetes", "Regressor", batch_size=-1),
    "net, averages": _net(modules.Averaged),
    "net, attentive": _net(modules.Attentive, "sequences"),
    "net, convolutional": _net(modules.Convolutional, input_shape=(1, 8, 8)),
    "flip": _cnn(augmentation="flip", optimizer="sgd"),
    "shift": _cnn(augmentation=Shift(4), optimizer="sgd"),
    "rotate": _cnn(augmentation=Rotate(40), optimizer="sgd"),
    "cutout": _cnn(augmentation=Cutout(4), optimizer="sgd"),
    "colours": _cnn(
        "colours",
        input_shape=None,
        augmentation=["brightness", Contrast(0.9), "saturation"],
    ),
    "cutmix": _cnn(augmentation="cutmix", optimizer="sgd", label_smoothing=0.1),
    "noise": _mlp(augmentation=Noise(0.4), dropout=0.2),
    "mixup": _mlp(augmentation=Mixup(1.0), label_smoothing=0.1, weight=WEIGHTS),
    "mixup, regressor": _mlp("diabetes", augmentation="mixup", weight=WEIGHTS),
    "mixup, two targets": _mlp("two targets", augmentation=["noise", "mixup"]),
    "mixup, multilabel": _mlp("multilabel", augmentation=Mixup(1.0), weight=WEIGHTS),
    "mixup, members": _mlp(members=3, augmentation="mixup", weight=WEIGHTS),
    "mixup, full batch": _mlp(batch_size=-1, weight=WEIGHTS, augmentation="mixup"),
    "mixup, categories": _mlp(
        "table", categorical_features=CODED, augmentation=["noise", Mixup(1.0)]
    ),
    "tokens": _rnn("tokens", n_tokens=9, embedding_size=3, dropout=0.2, n_layers=2),
    "scale": _rnn(augmentation=Scale(0.4)),
    "time mask": _rnn("padded", augmentation=TimeMask(0.4)),
    "time shift": _rnn("padded", augmentation=TimeShift(4)),
    "signals": _cnn(
        "signals", input_shape=None, augmentation=["time_mask", TimeShift(9)], **SGD
    ),
    "images, all": _cnn(
        **{**ALL, **SGD}, augmentation=[Flip(), Shift(1), Rotate(), Cutout(2), "mixup"]
    ),
    "sequences, all": _rnn(
        "padded", **ALL, augmentation=["noise", "scale", "time_mask", "mixup"]
    ),
    "table, all": _mlp(**ALL, class_weight="balanced", augmentation=["noise", "mixup"]),
    "module, images": _net(
        modules.Convolutional,
        input_shape=(1, 8, 8),
        augmentation=["flip", "shift", "cutmix"],
    ),
    "module, sequences": _net(
        modules.Attentive, "sequences", augmentation=["time_mask", "noise"]
    ),
}


def _with_share(augmentation, share):
    """Return augmentations with their strengths multiplied by a share."""
    parts = as_augmentations(augmentation)
    name = {own: fields(own)[0].name for own in parts}
    least = {Mixup: 0.1, CutMix: 0.1}
    return [
        replace(
            own, **{name[own]: type(value)(max(value * share, least.get(type(own), 0)))}
        )
        for own in parts
        for value in astuple(own)
    ]


def _fits(case, data):
    """Return three fits of a case with different numbers, data and seeds."""
    (name, params, source, sample_weight), fits = case, []
    X, y = data[source]
    for seed, (rows, share) in enumerate(zip(FOLDS, SHARES, strict=True)):
        own = {**BASE, **params}
        for strength in ("l1", "label_smoothing", "weight_decay", "dropout"):
            if strength in own:
                own[strength] *= share
        if "augmentation" in own:
            own["augmentation"] = _with_share(own["augmentation"], share)
        own["learning_rate"] *= 1 - share / 2
        if own.get("gradient_clip") and not share:
            own["gradient_clip"] = None
        if own.get("module") in {modules.Layers, modules.Attentive, modules.Convolutional}:
            own["module__p"] = 0.4 * share
        fits.append(
            Fit(
                estimator=getattr(sk_tune, name)(**own),
                X=X,
                y=y,
                rows=rows,
                sample_weight=sample_weight,
                monitor=MONITOR,
                seed=seed,
            )
        )
    return fits


def _assert_close(ours, expected, scale=1.0):
    ours, expected = np.asarray(ours), np.asarray(expected)
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours / scale, expected / scale, rtol=0, atol=TOLERANCE)


def _assert_same_arrays(ours, expected, left_out=None):
    assert list(ours) == list(expected)
    for name, array in expected.items():
        if left_out is None or not left_out.match(name):
            _assert_close(ours[name], array)


def _expected(fit, bin_edges=(), n_epochs=None):
    """Return the plain loop's result for a fit."""
    rows, weight = fit.rows, fit.sample_weight
    return reference.train(
        fit.estimator,
        fit.X[rows],
        fit.y[rows],
        seed=fit.seed,
        sample_weight=None if weight is None else weight[rows],
        monitor=(fit.X[MONITOR], fit.y[MONITOR]),
        bin_edges=bin_edges,
        n_epochs=n_epochs,
    )


def _fitted(fit):
    """Return a copy of the fit's estimator, fitted by itself."""
    rows, weight = fit.rows, fit.sample_weight
    weight = None if weight is None else weight[rows]
    estimator = clone(fit.estimator).set_params(random_state=fit.seed)
    return estimator.fit(fit.X[rows], fit.y[rows], sample_weight=weight)


def _assert_trained(network, expected, fit):
    """Compare all results of the engine."""
    assert network.status == "trained", network.message
    for name in ("train_loss", "monitor_loss", "monitor_score"):
        _assert_close(getattr(network, name), expected.curves[name])
    _assert_close(network.predictions, expected.predictions, _scale(fit))
    left_out = SHIFTED if _has_shifted_biases(fit.estimator) else None
    state = network.state
    _assert_same_arrays(state.weights, expected.weights, left_out)
    if fit.estimator.early_stopping is True:
        _assert_same_arrays(state.last_weights, expected.last_weights, left_out)
        assert state.stopping.best_epoch == expected.best_epoch
    for index, moments in enumerate(expected.moments):
        assert set(state.moments.get(index, ())) == set(moments)
        for name, array in moments.items():
            _assert_close(state.moments[index][name], array)


def _assert_fitted(estimator, expected, fit):
    """Compare all results of a fitted estimator."""
    for name, curve in expected.curves.items():
        if curve and "monitor" not in name:
            _assert_close(estimator.history_[:, name], curve)
    left_out = SHIFTED if _has_shifted_biases(fit.estimator) else None
    # Predictions may change weights, where the forward pass writes to them.
    _assert_same_arrays(estimator.net_.module_.state_dict(), expected.weights, left_out)
    predict = getattr(estimator, "predict_proba", estimator.predict)
    _assert_close(predict(fit.X[MONITOR]), expected.predictions, _scale(fit))
    assert estimator.best_epoch_ == expected.best_epoch


def _scale(fit):
    return np.std(fit.y, axis=0) if is_regressor(fit.estimator) else 1.0


def _has_shifted_biases(estimator):
    # Networks of sk_tune have no such biases.
    module = getattr(estimator, "module", None)
    return module in {modules.Layers, modules.Averaged} and estimator.optimizer != "sgd"


def _assert_parity(fits, *, in_a_fleet=True):
    """Hold fits, trained together and each by its estimator, against the plain loop."""
    networks = train(fits)
    if in_a_fleet:
        assert {network.engine for network in networks} == {"fleet"}
    for index, (network, fit) in enumerate(zip(networks, fits, strict=True)):
        estimator = fitted_estimator(fit, network)
        expected = _expected(fit, getattr(estimator, "bin_edges_", ()))
        _assert_trained(network, expected, fit)
        if not index:
            _assert_fitted(estimator, expected, fit)
            _assert_fitted(_fitted(fit), expected, fit)


# Parameters that change nothing that the loop knows of.
OTHERS = {"warm_start", "random_state", "device", "callbacks", "verbose"}


def test_every_parameter_is_in_the_table():
    """Each parameter of each kind of network is given in a case, or is of no concern."""
    given = {}
    for name, params, _, _ in CASES.values():
        given.setdefault(name[:3], set(OTHERS) | set(BASE)).update(params)
    training = set.intersection(*map(_parameters, ("MLP", "CNN", "RNN", "Net")))
    trained = set.union(*given.values())
    for kind, names in given.items():
        assert _parameters(kind) - training <= names
    assert training <= trained


def _parameters(kind):
    classes = [getattr(sk_tune, kind + task) for task in ("Classifier", "Regressor")]
    names = {name for cls in classes for name in inspect.signature(cls).parameters}
    return names - {"module__parameters"}


# What compiled code may train, torch has to train as well where there is no compiler, of
# which the fuzzer sees to it too.
BY_TORCH = [case for case in CASES if case.startswith(("mlp", "cnn"))]
BY_TORCH = [(c, "0") if c.endswith(" all") else slow(c, "0") for c in BY_TORCH]


@pytest.mark.parametrize(
    ("case", "compiled"), one_in(2, [(c, "") for c in CASES]) + BY_TORCH
)
def test_a_network_matches_a_plain_loop(case, compiled, data, monkeypatch):
    """Curves, predictions, weights and moments agree to 1e-9, whatever differs."""
    monkeypatch.setenv(VARIABLE, compiled)

    _assert_parity(_fits(CASES[case], data))


@pytest.mark.parametrize("case", ["mlp, all", "mlp, early stopping", "net"])
def test_the_history_of_a_network_is_that_of_fit(case, data):
    """Each epoch has the same keys, learning rate, number and notes of the best loss."""
    fits = _fits(CASES[case], data)

    for network, fit in zip(train(fits), fits, strict=True):
        expected = _fitted(fit).history_
        assert len(network.state.history) == len(expected)
        for ours, record in zip(network.state.history, expected, strict=True):
            watched = {"monitor_loss", "monitor_loss_best", "monitor_score"}
            assert set(ours) == set(record) | watched
            for key in {"epoch", "lr", "train_loss_best", "valid_loss_best"} & set(record):
                assert ours[key] == record[key], key


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_network_of_any_activation_matches_a_plain_loop(activation, data):
    """The derivative of every activation equals autograd."""
    _assert_parity(_fits(_mlp(activation=activation, dropout=0.2, max_epochs=2), data))


@pytest.mark.parametrize(
    "case",
    [
        _mlp(dropout=0.2, lr_schedule="constant"),
        _mlp("diabetes", normalization="batch", lr_schedule="constant", weight=WEIGHTS),
        _cnn(lr_schedule="constant"),
        _rnn("padded", lr_schedule="constant", optimizer="sgd"),
        _net(
            modules.Layers, lr_schedule="constant", optimizer="rmsprop", learning_rate=1e-3
        ),
        _cnn(lr_schedule="constant", augmentation=["flip", "shift", "mixup"]),
    ],
    ids=["mlp", "mlp regressor", "cnn", "rnn", "net", "augmented cnn"],
)
def test_partial_fit_continues_a_network_as_after_fit(case, data):
    """Two epochs more agree to 1e-9, and do not reach back into the trained state."""
    fit = _fits(case, data)[0]
    X, y, rows, weight = fit.X, fit.y, fit.rows, fit.sample_weight
    own = None if weight is None else weight[rows]
    (trained,) = train([fit])
    before = {name: array.copy() for name, array in trained.state.weights.items()}

    for estimator in (fitted_estimator(fit, trained), _fitted(fit)):
        estimator.partial_fit(X[rows], y[rows], sample_weight=own, n_epochs=2)

        assert estimator.n_epochs_ == 5
        _assert_fitted(estimator, _expected(fit, n_epochs=5), fit)
    for key, array in before.items():
        np.testing.assert_array_equal(trained.state.weights[key], array)


PECULIAR = [
    *(modules.FrozenStart, modules.Tied, modules.Recurrent, modules.Counting),
    *(modules.Hooked, modules.MaxNorm, modules.Positive, modules.Loose, modules.Listed),
    *(partial(modules.Worded, is_functional=True), modules.Clamped),
]
FAST = [
    *(partial(modules.Image, place=place) for place in ("conv", "pool", "flat")),
    partial(modules.Steps, cell=nn.GRU, is_last=True),
    partial(modules.Steps, cell=nn.GRU, is_last=False),
    partial(modules.Steps, cell=nn.LSTM, is_last=False),
    partial(modules.Steps, cell=nn.RNN, is_last=True),
    modules.Worded,
    modules.Tempered,
    modules.square,
]


@pytest.mark.filterwarnings("ignore:.*trained alone:sk_tune.exceptions.SkTuneWarning")
@pytest.mark.parametrize("module", one_in(2, PECULIAR))
def test_an_unusual_module_matches_a_plain_loop(module, data):
    """Frozen layers, shared weights, counters and hooks count, in a fleet or outside."""
    _assert_parity(_fits(_net(module), data), in_a_fleet=False)


@pytest.mark.parametrize("module", one_in(2, FAST))
def test_a_module_of_fast_layers_matches_a_plain_loop(module, data):
    """Memory order, padding, single numbers and shared memory have no effect."""
    _assert_parity(_fits(_net(module, gradient_clip=1.0), data))


def test_float32_networks_agree_within_rounding(data):
    """In float32, the default, predictions agree to 1e-4."""
    fits = _fits(_mlp(dropout=0.2, dtype="float32", learning_rate=1e-3), data)

    for network, fit in zip(train(fits), fits, strict=True):
        assert network.predictions.dtype == np.float32
        assert all(a.dtype == np.float32 for a in network.state.weights.values())
        expected = _expected(fit).predictions
        np.testing.assert_allclose(network.predictions, expected, rtol=0, atol=1e-4)
