"""Every parameter of every estimator has the effect that its description promises."""

import inspect
import itertools
import math

import numpy as np
import pytest
import scipy.special
import torch
from skorch.callbacks import Callback
from torch import nn

import sk_tune
from sk_tune.augment import Noise
from sk_tune.nets import MLP, CategoryEmbedding, PeriodicEmbedding, PiecewiseLinearEmbedding

N_ROWS = 40
N_FEATURES = 8

_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(N_ROWS, N_FEATURES)).astype(np.float32)
_SIGNAL = X[:, 0] - X[:, 3] + 0.5 * X[:, 5]
TARGETS = {
    "Classifier": np.where(_SIGNAL > 0.5, "high", np.where(_SIGNAL > -0.5, "mid", "low")),
    "Regressor": _SIGNAL.astype(np.float64),
}


class Net(nn.Module):
    """A module whose only layer of its own has `width` units."""

    def __init__(self, n_features, n_outputs, width=6):
        super().__init__()
        self.hidden = nn.Linear(n_features, width)
        self.output = nn.Linear(width, n_outputs)

    def forward(self, x):
        """Return unnormalised outputs."""
        return self.output(torch.relu(self.hidden(x.flatten(1))))


class OtherNet(Net):
    """The same with another activation."""

    def forward(self, x):
        """Return unnormalised outputs."""
        return self.output(torch.tanh(self.hidden(x.flatten(1))))


class FoldedNet(nn.Module):
    """A module that takes rows of two dimensions."""

    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.output = nn.Linear(input_shape[-1], n_outputs)

    def forward(self, x):
        """Return unnormalised outputs of the last step."""
        return self.output(x[:, -1])


TRAINING = {
    "optimizer": "adam",
    "learning_rate": 1e-2,
    "momentum": 0.9,
    "batch_size": 16,
    "max_epochs": 2,
    "lr_schedule": "constant",
    "gradient_clip": None,
    "weight_decay": 0.0,
    "random_state": 0,
}
PLAIN = {"activation": "relu", "normalization": None, "residual": False, "dropout": 0.0}
ARCHITECTURES = {
    "MLP": {**PLAIN, "n_layers": 2, "width": 8},
    "CNN": {**PLAIN, "n_layers": 1, "n_channels": 4, "width": 6, "input_shape": (2, 4)},
    "RNN": {**PLAIN, "cell": "gru", "n_layers": 1, "hidden_size": 5, "input_shape": (4, 2)},
    "Net": {"module": Net},
}
# One plain step of gradient descent over all rows, whose size is known in closed form.
ONE_STEP = {
    "optimizer": "sgd",
    "momentum": 0.0,
    "nesterovs_momentum": False,
    "batch_size": -1,
    "max_epochs": 1,
}

ESTIMATORS = [
    getattr(sk_tune, network + task) for network in ARCHITECTURES for task in TARGETS
]
CLASSIFIERS = [cls for cls in ESTIMATORS if cls.__name__.endswith("Classifier")]


def make(cls, **params):
    """Return a small unfitted estimator."""
    return cls(**{**TRAINING, **ARCHITECTURES[cls.__name__[:3]], **params})


def trained(cls, **params):
    """Return a small fitted estimator."""
    return make(cls, **params).fit(X, target_of(cls))


def target_of(cls):
    """Return the targets of an estimator's task."""
    return TARGETS[cls.__name__[3:]]


def outputs(estimator):
    """Return probabilities or predictions."""
    if hasattr(estimator, "predict_proba"):
        return estimator.predict_proba(X)
    return estimator.predict(X)


def weights(estimator):
    """Return all trained numbers of a network in one vector."""
    module = estimator.net_.module_
    return torch.cat([p.detach().flatten() for p in module.parameters()]).double()


def start_of(cls, **params):
    """Return the weights before training: a step this small moves no float32."""
    return weights(trained(cls, **{**params, **ONE_STEP, "learning_rate": 1e-30}))


def step_of(cls, **params):
    """Return what one step of gradient descent adds to the weights."""
    architecture = {k: v for k, v in params.items() if k not in _TRAINING_ONLY}
    return weights(trained(cls, **{**ONE_STEP, **params})) - start_of(cls, **architecture)


_TRAINING_ONLY = {"learning_rate", "gradient_clip", "weight_decay", "l1", "optimizer"}


def layers(estimator, kind):
    """Return the layers of one kind in a network."""
    return [m for m in estimator.net_.module_.modules() if isinstance(m, kind)]


def assert_differ(*estimators):
    """Fail if two of the estimators predict the same."""
    results = [outputs(estimator) for estimator in estimators]
    for index, first in enumerate(results):
        for second in results[index + 1 :]:
            assert not np.allclose(first, second, rtol=0, atol=1e-6)


class Rows(Callback):
    """Note the number of rows of every training batch, epoch by epoch."""

    def __init__(self):
        self.epochs = []

    def on_epoch_begin(self, net, **kwargs):
        """Start a list."""
        self.epochs.append([])

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        """Count a batch."""
        if training:
            self.epochs[-1].append(len(batch[0]))


EFFECTS = {}


def effect_of(name):
    """Register the test of a parameter's effect."""

    def register(function):
        EFFECTS[name] = function
        return function

    return register


@effect_of("optimizer")
def _optimizer(cls):
    kinds = {
        "adamw": torch.optim.AdamW,
        "adam": torch.optim.Adam,
        "sgd": torch.optim.SGD,
        "rmsprop": torch.optim.RMSprop,
    }
    # AdamW and Adam are the same without weight decay.
    fitted = [trained(cls, optimizer=kind, weight_decay=0.1) for kind in kinds]

    for estimator, kind in zip(fitted, kinds.values(), strict=True):
        assert type(estimator.net_.optimizer_) is kind
    assert_differ(*fitted)


@effect_of("augmentation")
def _augmentation(cls):
    plain, none, weak, strong = (
        weights(trained(cls, **ONE_STEP, augmentation=value))
        for value in (None, Noise(0.0), Noise(0.01), [Noise(0.5)])
    )

    # The kernel rounds otherwise than torch, which trains what is augmented.
    torch.testing.assert_close(none, plain, rtol=1e-5, atol=1e-6)
    assert 0 < (weak - plain).norm() < (strong - plain).norm()
    assert_differ(trained(cls), trained(cls, augmentation="mixup"))


@effect_of("learning_rate")
def _learning_rate(cls):
    short, long = (step_of(cls, learning_rate=rate) for rate in (0.1, 0.2))

    assert short.norm() > 1e-4
    # Of the weights' own rounding, which their difference keeps.
    torch.testing.assert_close(long, 2 * short, rtol=1e-4, atol=1e-6)


@effect_of("momentum")
def _momentum(cls):
    params = {**ONE_STEP, "max_epochs": 3, "learning_rate": 0.01}
    start = start_of(cls)
    without, with_ = (
        weights(trained(cls, **{**params, "momentum": m})) - start for m in (0.0, 0.9)
    )

    # Along an almost constant gradient g: 3 g without, (1 + 1.9 + 2.71) g with momentum.
    assert with_.norm() / without.norm() == pytest.approx(5.61 / 3, rel=0.1)
    for kind in ("adamw", "adam", "rmsprop"):
        assert_differ(*(trained(cls, optimizer=kind, momentum=m) for m in (0.0, 0.9)))


@effect_of("nesterovs_momentum")
def _nesterovs_momentum(cls):
    sgd, adam = (
        [trained(cls, optimizer=kind, nesterovs_momentum=on) for on in (False, True)]
        for kind in ("sgd", "adam")
    )

    assert_differ(*sgd)
    np.testing.assert_array_equal(*map(outputs, adam))


@effect_of("batch_size")
def _batch_size(cls):
    expected = {10: [10] * 4, 15: [15, 15, 10], 13: [13, 13, 14], -1: [40], 1000: [40]}
    rows = {size: Rows() for size in expected}
    fitted = [trained(cls, batch_size=k, callbacks=[v]) for k, v in rows.items()]

    assert {size: counted.epochs for size, counted in rows.items()} == {
        size: [sizes] * 2 for size, sizes in expected.items()
    }
    assert_differ(*fitted[:4])


@effect_of("max_epochs")
def _max_epochs(cls):
    fitted = [trained(cls, max_epochs=n) for n in (1, 3)]

    assert [estimator.n_epochs_ for estimator in fitted] == [1, 3]
    assert_differ(*fitted)


@effect_of("lr_schedule")
def _lr_schedule(cls):
    def rates(schedule):
        fitted = trained(cls, lr_schedule=schedule, batch_size=-1, max_epochs=10)
        return np.array(fitted.history_[:, "lr"]) / 1e-2

    progress = np.arange(10) / 10
    flank = (progress[3:] - 0.3) / 0.7

    np.testing.assert_allclose(rates("constant"), 1)
    np.testing.assert_allclose(rates("cosine"), (1 + np.cos(np.pi * progress)) / 2)
    np.testing.assert_allclose(rates("step"), [1] * 5 + [0.1] * 3 + [0.01] * 2)
    one_cycle = rates("one_cycle")
    rise = (1 - np.cos(np.pi * progress[:3] / 0.3)) / 2
    np.testing.assert_allclose(one_cycle[:3], 1 / 25 + 24 / 25 * rise)
    fall = (1 + np.cos(np.pi * flank)) / 2
    np.testing.assert_allclose(one_cycle[3:], 4e-6 + (1 - 4e-6) * fall, atol=1e-12)
    schedules = ("constant", "cosine", "one_cycle", "step")
    assert_differ(*(trained(cls, lr_schedule=s, max_epochs=5) for s in schedules))


@effect_of("gradient_clip")
def _gradient_clip(cls):
    free, clipped = (step_of(cls, learning_rate=1.0, gradient_clip=c) for c in (None, 1e-2))

    assert free.norm() > 0.1
    assert clipped.norm() == pytest.approx(1e-2, rel=1e-3)
    direction = torch.nn.functional.cosine_similarity(free, clipped, dim=0)
    assert direction == pytest.approx(1, abs=1e-4)


@effect_of("weight_decay")
def _weight_decay(cls):
    params = {"learning_rate": 0.1}
    for kind in ("sgd", "adamw"):
        without, with_ = (
            step_of(cls, **params, optimizer=kind, weight_decay=d) for d in (0.0, 0.5)
        )

        # Both kinds shrink the weights by rate * decay beside the step they make anyway.
        torch.testing.assert_close(
            with_ - without, -0.1 * 0.5 * start_of(cls), rtol=1e-4, atol=1e-6
        )
    for kind in ("adam", "rmsprop"):
        plain, decayed = (
            trained(cls, optimizer=kind, weight_decay=d, max_epochs=5) for d in (0, 10)
        )
        assert weights(decayed).norm() < weights(plain).norm()


@effect_of("l1")
def _l1(cls):
    without, with_ = (step_of(cls, learning_rate=0.1, l1=l1) for l1 in (0.0, 1e-3))
    module = trained(cls).net_.module_
    is_matrix = torch.cat([
        torch.full((p.numel(),), float(p.ndim > 1)) for p in module.parameters()
    ])

    expected = -0.1 * 1e-3 * start_of(cls).sign() * is_matrix
    torch.testing.assert_close(with_ - without, expected, rtol=0, atol=1e-6)
    plain, sparse = (trained(cls, l1=l1, max_epochs=20) for l1 in (0.0, 1.0))
    assert (weights(sparse).abs() < 0.05).sum() > (weights(plain).abs() < 0.05).sum()


@effect_of("label_smoothing")
def _label_smoothing(cls):
    sharp, smooth = (trained(cls, label_smoothing=s, max_epochs=8) for s in (0.0, 0.6))

    assert outputs(smooth).max(axis=1).mean() < outputs(sharp).max(axis=1).mean()


@effect_of("loss")
def _loss(cls):
    y = target_of(cls)
    losses = {
        "squared_error": np.square,
        "absolute_error": np.abs,
        "huber": lambda error: scipy.special.huber(1, error),
    }
    for loss, of_error in losses.items():
        start = trained(cls, loss=loss, **{**ONE_STEP, "learning_rate": 1e-30})
        errors = (outputs(start) - y) / y.std()
        assert start.history_[0]["train_loss"] == pytest.approx(of_error(errors).mean())
    assert_differ(*(trained(cls, loss=loss) for loss in losses))


@effect_of("early_stopping")
def _early_stopping(cls):
    params = {"max_epochs": 6, "patience": 6, "validation_fraction": 0.25}
    off, on = (trained(cls, **params, early_stopping=e) for e in (False, True))

    assert "valid_loss" not in off.history_[0]
    assert off.best_epoch_ == 6
    losses = on.history_[:, "valid_loss"]
    assert on.best_epoch_ == 1 + int(np.argmin(losses))
    assert_differ(off, on)


@effect_of("validation_fraction")
def _validation_fraction(cls):
    def n_trained(fraction):
        rows = Rows()
        params = {"early_stopping": True, "batch_size": 10, "callbacks": [rows]}
        trained(cls, validation_fraction=fraction, **params)
        return sum(rows.epochs[0])

    assert [n_trained(f) for f in (0.1, 0.25, 0.5)] == [36, 30, 20]


@effect_of("patience")
def _patience(cls):
    # No fall of the loss exceeds this tolerance, so that each epoch is one of waiting.
    params = {"early_stopping": True, "tol": 1e9, "max_epochs": 8}
    params["validation_fraction"] = 0.25

    epochs = [trained(cls, **params, patience=p).n_epochs_ for p in (1, 3)]
    assert epochs[1] - epochs[0] == 2
    assert epochs[0] <= 2


@effect_of("tol")
def _tol(cls):
    params = {"early_stopping": True, "patience": 2, "max_epochs": 8}
    params |= {"validation_fraction": 0.25, "learning_rate": 1e-3}
    falling, impatient = (trained(cls, **params, tol=tol) for tol in (0.0, 1e9))

    losses = falling.history_[:, "valid_loss"]
    assert all(later < earlier for earlier, later in itertools.pairwise(losses))
    assert falling.n_epochs_ == 8
    assert impatient.n_epochs_ <= 3


@effect_of("class_weight")
def _class_weight(cls):
    heavy = {"high": 1.0, "low": 50.0, "mid": 1.0}
    params = {"max_epochs": 15}
    plain, favoured, balanced = (
        trained(cls, **params, class_weight=w) for w in (None, heavy, "balanced")
    )

    low = list(plain.classes_).index("low")
    assert outputs(favoured)[:, low].mean() > outputs(plain)[:, low].mean() + 0.1
    assert_differ(plain, balanced)


@effect_of("warm_start")
def _warm_start(cls):
    y = target_of(cls)
    anew, further = (make(cls, warm_start=w).fit(X, y).fit(X, y) for w in (False, True))

    np.testing.assert_array_equal(outputs(anew), outputs(trained(cls)))
    assert (anew.n_epochs_, further.n_epochs_) == (2, 4)
    assert further.history_[-1]["train_loss"] < anew.history_[-1]["train_loss"]


@effect_of("random_state")
def _random_state(cls):
    first, again, other = (trained(cls, random_state=s) for s in (0, 0, 1))

    np.testing.assert_array_equal(outputs(first), outputs(again))
    assert_differ(first, other)


@effect_of("device")
def _device(cls):
    fitted = trained(cls, device="cpu")

    assert {p.device.type for p in fitted.net_.module_.parameters()} == {"cpu"}
    assert fitted.net_.device == "cpu"
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ValueError, match=f"'device' parameter .*{missing}"):
        trained(cls, device=missing)


@effect_of("dtype")
def _dtype(cls):
    single, double = (trained(cls, dtype=d) for d in ("float32", "float64"))

    assert {p.dtype for p in single.net_.module_.parameters()} == {torch.float32}
    assert {p.dtype for p in double.net_.module_.parameters()} == {torch.float64}
    assert outputs(single).dtype == np.float32
    assert outputs(double).dtype == np.float64
    np.testing.assert_allclose(outputs(single), outputs(double), atol=1e-3)
    assert (outputs(single) != outputs(double)).any()


@effect_of("callbacks")
def _callbacks(cls):
    rows = Rows()
    fitted = trained(cls, callbacks=[rows], max_epochs=3)

    assert rows.epochs == [[16, 16, 8]] * 3
    # Where callbacks look on, torch trains, which rounds otherwise than the kernel.
    plain = outputs(trained(cls, max_epochs=3))
    np.testing.assert_allclose(outputs(fitted), plain, rtol=1e-4, atol=1e-6)


@effect_of("verbose")
def _verbose(cls, capsys):
    trained(cls, verbose=0)
    silent = capsys.readouterr()
    trained(cls, verbose=1)
    loud = capsys.readouterr()

    assert (silent.out, silent.err, loud.err) == ("", "", "")
    # skorch's table: two lines of heading, then one for each epoch.
    lines = loud.out.strip().splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["1", "2"]


@effect_of("n_layers")
def _n_layers(cls):
    kind = {"MLP": nn.Linear, "CNN": nn.Conv1d | nn.Conv2d, "RNN": nn.RNNBase}
    kind = kind[cls.__name__[:3]]
    one, three = (trained(cls, n_layers=n) for n in (1, 3))

    assert len(layers(three, kind)) - len(layers(one, kind)) == 2
    assert_differ(one, three)


@effect_of("width")
def _width(cls):
    narrow, wide = (trained(cls, width=w) for w in (3, 7))

    assert 3 in {layer.out_features for layer in layers(narrow, nn.Linear)[:-1]}
    assert 7 in {layer.out_features for layer in layers(wide, nn.Linear)[:-1]}
    assert_differ(narrow, wide)


@effect_of("hidden_layer_sizes")
def _hidden_layer_sizes(cls):
    listed = trained(cls, hidden_layer_sizes=[5, 3])
    single = trained(cls, hidden_layer_sizes=5)
    ignoring = trained(cls, hidden_layer_sizes=[5, 3], n_layers=4, width=9)

    assert [layer.out_features for layer in layers(listed, nn.Linear)[:-1]] == [5, 3]
    assert [layer.out_features for layer in layers(single, nn.Linear)[:-1]] == [5]
    np.testing.assert_array_equal(outputs(listed), outputs(ignoring))
    assert_differ(trained(cls), listed, single)


@effect_of("activation")
def _activation(cls):
    if cls.__name__.startswith("RNN"):
        assert_differ(*(trained(cls, cell="rnn", activation=a) for a in ("relu", "tanh")))
        gated = [trained(cls, activation=a) for a in ("relu", "tanh")]
        np.testing.assert_array_equal(*map(outputs, gated))
        return
    names = {"relu": nn.ReLU, "logistic": nn.Sigmoid, "gelu": nn.GELU, "mish": nn.Mish}
    fitted = [trained(cls, activation=name) for name in names]

    for estimator, kind in zip(fitted, names.values(), strict=True):
        assert layers(estimator, kind)
    assert_differ(*fitted)


@effect_of("normalization")
def _normalization(cls):
    without, batch, layer = (
        trained(cls, normalization=n) for n in (None, "batch", "layer")
    )
    batch_norm = nn.BatchNorm1d | nn.BatchNorm2d
    layer_norm = nn.LayerNorm | nn.GroupNorm

    assert not layers(without, batch_norm | layer_norm)
    assert all(norm.running_mean.any() for norm in layers(batch, batch_norm))
    assert len(layers(batch, batch_norm)) == len(layers(layer, layer_norm)) > 0
    assert_differ(without, batch, layer)


@effect_of("residual")
def _residual(cls):
    # Two layers of eight units, so that every network has two sizes that agree.
    params = {"n_layers": 2}
    if not cls.__name__.startswith("CNN"):
        params["width" if cls.__name__.startswith("MLP") else "hidden_size"] = 8

    assert_differ(*(trained(cls, **params, residual=r) for r in (False, True)))


@effect_of("dropout")
def _dropout(cls):
    whole, dropped = (trained(cls, dropout=d, max_epochs=4) for d in (0.0, 0.8))

    assert_differ(whole, dropped)
    assert dropped.history_[-1]["train_loss"] > whole.history_[-1]["train_loss"]
    np.testing.assert_array_equal(outputs(dropped), outputs(dropped))


@effect_of("n_channels")
def _n_channels(cls):
    few, many = (trained(cls, n_channels=n, n_layers=2) for n in (2, 5))

    assert [conv.out_channels for conv in layers(few, nn.Conv2d)] == [2, 4]
    assert [conv.out_channels for conv in layers(many, nn.Conv2d)] == [5, 10]
    assert_differ(few, many)


@effect_of("kernel_size")
def _kernel_size(cls):
    fitted = {size: trained(cls, kernel_size=size) for size in (1, 2, 3)}

    for size, estimator in fitted.items():
        assert layers(estimator, nn.Conv2d)[0].kernel_size == (size, size)
    assert_differ(*fitted.values())


@effect_of("pooling")
def _pooling(cls):
    highest, mean, none = (trained(cls, pooling=p) for p in ("max", "avg", None))

    # Four channels of 2 x 4 pixels, halved in both directions by pooling.
    sizes = [layers(e, nn.Linear)[0].in_features for e in (highest, mean, none)]
    assert sizes == [4 * 2, 4 * 2, 4 * 8]
    assert_differ(highest, mean, none)


@effect_of("input_shape")
def _input_shape(cls):
    if cls.__name__.startswith("Net"):
        fitted = [trained(cls, module=FoldedNet, input_shape=s) for s in ((2, 4), (4, 2))]
        shapes = [(2, 4), (4, 2)]
    elif cls.__name__.startswith("CNN"):
        fitted = [trained(cls, input_shape=s) for s in ((2, 4), (4, 2), 8, (2, 2, 2))]
        shapes = [(1, 2, 4), (1, 4, 2), (1, 8), (2, 2, 2)]
    else:
        fitted = [trained(cls, input_shape=s) for s in ((2, 4), (4, 2), 8)]
        shapes = [(2, 4), (4, 2), (8, 1)]

    assert [estimator.input_shape_ for estimator in fitted] == shapes
    assert_differ(*fitted)


@effect_of("members")
def _members(cls):
    one, three = (trained(cls, members=m) for m in (1, 3))

    assert layers(three, MLP)[0].members == 3
    assert three.net_.module_.output.weight.shape == (3, three.n_outputs_, 8)
    assert outputs(three).shape == outputs(one).shape
    assert_differ(one, three)


def trained_on_codes(cls, **params):
    """Return a small estimator fitted to rows whose first column holds codes."""
    coded = X.copy()
    coded[:, 0] = np.arange(len(X)) % 6
    return make(cls, **params).fit(coded, target_of(cls))


@effect_of("categorical_features")
def _categorical_features(cls):
    numbers, codes = (trained_on_codes(cls, categorical_features=c) for c in (None, [0]))

    assert not layers(numbers, CategoryEmbedding)
    assert layers(codes, CategoryEmbedding)[0].weight.shape == (6, 3)
    assert layers(codes, nn.Linear)[0].in_features == N_FEATURES - 1 + 3


@effect_of("embedding_size")
def _embedding_size(cls):
    few, many = (
        trained_on_codes(cls, categorical_features=[0], embedding_size=n) for n in (2, 5)
    )

    assert [layers(e, CategoryEmbedding)[0].size for e in (few, many)] == [2, 5]


@effect_of("numerical_embedding")
def _numerical_embedding(cls):
    kinds = {
        None: nn.Linear,
        "periodic": PeriodicEmbedding,
        "piecewise_linear": PiecewiseLinearEmbedding,
    }
    fitted = [trained(cls, numerical_embedding=kind) for kind in kinds]

    assert all(layers(e, k) for e, k in zip(fitted, kinds.values(), strict=True))
    assert_differ(*fitted)


@effect_of("numerical_embedding_size")
def _numerical_embedding_size(cls):
    few, many = (
        trained(cls, numerical_embedding="periodic", numerical_embedding_size=n)
        for n in (2, 5)
    )

    assert layers(few, nn.Linear)[0].in_features == 2 * N_FEATURES
    assert layers(many, nn.Linear)[0].in_features == 5 * N_FEATURES


@effect_of("n_frequencies")
def _n_frequencies(cls):
    few, many = (
        trained(cls, numerical_embedding="periodic", n_frequencies=n) for n in (2, 5)
    )

    shapes = [layers(e, PeriodicEmbedding)[0].frequencies.shape for e in (few, many)]
    assert shapes == [(N_FEATURES, 2), (N_FEATURES, 5)]


@effect_of("frequency_scale")
def _frequency_scale(cls):
    options = {**ONE_STEP, "learning_rate": 1e-30, "numerical_embedding": "periodic"}
    low, high = (
        layers(trained(cls, **options, frequency_scale=s), PeriodicEmbedding)[0]
        for s in (0.1, 1.0)
    )

    torch.testing.assert_close(10 * low.frequencies, high.frequencies)
    torch.testing.assert_close(low.weight, high.weight)


@effect_of("n_bins")
def _n_bins(cls):
    few, many = (
        trained(cls, numerical_embedding="piecewise_linear", n_bins=n) for n in (2, 5)
    )

    assert [len(e.bin_edges_[0]) for e in (few, many)] == [3, 6]
    assert_differ(few, many)


@effect_of("cell")
def _cell(cls):
    kinds = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}
    fitted = [trained(cls, cell=cell) for cell in kinds]

    for estimator, kind in zip(fitted, kinds.values(), strict=True):
        assert type(layers(estimator, nn.RNNBase)[0]) is kind
    assert_differ(*fitted)


@effect_of("hidden_size")
def _hidden_size(cls):
    small, large = (trained(cls, hidden_size=n) for n in (3, 6))

    assert [layers(e, nn.RNNBase)[0].hidden_size for e in (small, large)] == [3, 6]
    assert_differ(small, large)


@effect_of("bidirectional")
def _bidirectional(cls):
    one, both = (trained(cls, bidirectional=b) for b in (False, True))

    assert layers(both, nn.Linear)[-1].in_features == 10
    assert layers(one, nn.Linear)[-1].in_features == 5
    assert_differ(one, both)


@effect_of("module")
def _module(cls):
    by_class, other = (trained(cls, module=module) for module in (Net, OtherNet))
    ready = OtherNet(N_FEATURES, by_class.n_outputs_)
    before = [p.clone() for p in ready.parameters()]
    by_instance = trained(cls, module=ready)

    assert type(by_class.net_.module_) is Net
    assert type(other.net_.module_) is OtherNet
    # An instance is copied with its weights: the estimator starts from them, and they stay.
    assert by_instance.net_.module_ is not ready
    assert all(torch.equal(p, q) for p, q in zip(before, ready.parameters(), strict=True))
    start = torch.cat([p.detach().flatten() for p in before]).double()
    assert torch.equal(start_of(cls, module=ready), start)
    assert_differ(by_class, other, by_instance)


CASES = [
    pytest.param(cls, name, id=f"{cls.__name__}-{name}")
    for cls in ESTIMATORS
    for name in inspect.signature(cls).parameters
]


@pytest.mark.parametrize(("cls", "name"), CASES)
def test_every_parameter_has_its_documented_effect(cls, name, request):
    """Changing any parameter changes the trained network in the documented direction."""
    check = EFFECTS[name]
    wanted = list(inspect.signature(check).parameters)[1:]
    check(cls, **{fixture: request.getfixturevalue(fixture) for fixture in wanted})


def test_no_parameter_and_no_effect_is_left_over():
    """The effects that are tested are those of the constructors' parameters."""
    names = {name for cls in ESTIMATORS for name in inspect.signature(cls).parameters}

    assert set(EFFECTS) == names
    for cls in ESTIMATORS:
        assert set(make(cls).get_params()) == set(inspect.signature(cls).parameters)


@pytest.mark.parametrize("cls", [sk_tune.NetClassifier, sk_tune.NetRegressor])
def test_parameters_of_a_module_reach_it(cls):
    """module__width is an argument of the module, settable, gettable and searchable."""
    by_init, by_default = trained(cls, module__width=9), trained(cls)
    by_set_params = make(cls).set_params(module__width=9).fit(X, target_of(cls))

    assert by_init.net_.module_.hidden.out_features == 9
    assert by_default.net_.module_.hidden.out_features == 6
    assert by_init.get_params()["module__width"] == 9
    np.testing.assert_array_equal(outputs(by_init), outputs(by_set_params))
    assert_differ(by_init, by_default)


@pytest.mark.gpu
@pytest.mark.parametrize("cls", ESTIMATORS)
def test_a_cuda_device_is_used_where_there_is_one(cls):
    """Networks train on the GPU and predict there what they predict on the CPU."""
    on_cpu, on_gpu = (
        trained(cls, device=device, batch_size=-1, dtype="float64")
        for device in ("cpu", "cuda")
    )

    assert {p.device.type for p in on_gpu.net_.module_.parameters()} == {"cuda"}
    # Other kernels sum in another order.
    np.testing.assert_allclose(outputs(on_gpu), outputs(on_cpu), atol=1e-6)


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_the_constructor_takes_keywords_only_and_stores_them(cls):
    """Arguments are stored as they are; only a module may come without its name."""
    given = {name: object() for name in inspect.signature(cls).parameters}
    estimator = cls(**given)
    positional = [
        name
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY
    ]

    assert all(getattr(estimator, name) is value for name, value in given.items())
    assert positional == (["module"] if cls.__name__.startswith("Net") else [])


@pytest.mark.parametrize("cls", CLASSIFIERS)
def test_smoothing_does_not_change_the_scale_of_probabilities_of_no_signal(cls):
    """Smoothing towards the uniform distribution leaves a uniform optimum uniform."""
    noise = np.repeat(X[:10], 3, axis=0)
    y = np.tile(["a", "b", "c"], 10)
    estimator = make(cls, label_smoothing=0.5, max_epochs=60, batch_size=-1).fit(noise, y)

    # Each row comes once with every class, so that 1/3 is the optimum.
    loss = estimator.history_[-1]["train_loss"]
    assert loss == pytest.approx(math.log(3), abs=0.02)
