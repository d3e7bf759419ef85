"""Contract 1: a network of a fleet gives what the same fit gives through skorch, alone.

In float64 only the order of summation differs, so that curves, predictions, weights and the
optimizer's state agree to 1e-9 after five epochs at learning rates up to 0.01.
"""

import re
from dataclasses import astuple, fields, replace
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_regressor
from torch import nn

import sk_tune
from sk_tune.augment import (
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
from sk_tune.engine import Fit, fitted_estimator, train
from sk_tune.fleets._kernel import VARIABLE
from sk_tune.nets import ACTIVATIONS

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
SHIFTED = re.compile(r".*(\.linear\.bias|\.conv\.bias|first\.bias|running_mean)$")


class Layers(nn.Module):
    """A user's module with batch normalisation and torch's own dropout."""

    def __init__(self, n_features, n_outputs, p=0.2):
        super().__init__()
        self.first = nn.Linear(n_features, 12)
        self.rest = nn.Sequential(
            nn.BatchNorm1d(12),
            nn.ReLU(),
            nn.Dropout(p),
            nn.Linear(12, 8),
            nn.GELU(),
            nn.Dropout(p),
            nn.Linear(8, n_outputs),
        )

    def forward(self, x):
        return self.rest(self.first(x))


class Averaged(Layers):
    """Its statistics are means over all batches, and what it does between is no layer."""

    def __init__(self, n_features, n_outputs):
        super().__init__(n_features, n_outputs, p=0.0)
        self.norm = nn.BatchNorm1d(12, momentum=None)

    def forward(self, x):
        return self.rest(self.norm(self.first(x)).relu())


class Attentive(nn.Module):
    """A user's module that weighs the steps of a sequence, with dropout on them."""

    def __init__(self, n_outputs, p=0.2):
        super().__init__()
        self.embed = nn.Linear(8, 6)
        self.norm = nn.LayerNorm(6)
        self.score = nn.Linear(6, 1, bias=False)
        self.dropout = nn.Dropout(p)
        self.output = nn.Linear(6, n_outputs)

    def forward(self, x):
        h = self.dropout(torch.nn.functional.silu(self.norm(self.embed(x))))
        return self.output((self.score(h).softmax(dim=1) * h).sum(dim=1))


class Convolutional(nn.Module):
    """A user's module with a buffer, a parameter of its own and a frozen last layer."""

    def __init__(self, n_outputs, p=0.2):
        super().__init__()
        self.register_buffer("scale", torch.full((1,), 0.5))
        self.shift = nn.Parameter(torch.zeros(3, 1, 1))
        self.convolution = nn.Conv2d(1, 3, 3, stride=2)
        self.dropout = nn.Dropout(p)
        self.output = nn.Linear(27, n_outputs)
        self.output.bias.requires_grad_(False)

    def forward(self, x):
        h = torch.relu(self.convolution(x * self.scale) + self.shift)
        return self.output(self.dropout(h).flatten(1))


class FrozenStart(nn.Module):
    """A user's module whose first layer is not trained."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.hidden = nn.Linear(n_features, 12).requires_grad_(requires_grad=False)
        self.output = nn.Linear(12, n_outputs)

    def forward(self, x):
        return self.output(torch.tanh(self.hidden(x)))


class Tied(nn.Module):
    """A user's module that uses one weight matrix in two layers."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.first = nn.Linear(n_features, n_features)
        self.second = nn.Linear(n_features, n_features)
        self.second.weight = self.first.weight
        self.output = nn.Linear(n_features, n_outputs)

    def forward(self, x):
        return self.output(torch.tanh(self.second(torch.tanh(self.first(x)))))


class Hooked(nn.Module):
    """A user's module that leaves the gradient of one layer out, by a hook."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.hidden = nn.Linear(n_features, 12)
        self.output = nn.Linear(12, n_outputs)
        self.hidden.weight.register_hook(torch.zeros_like)

    def forward(self, x):
        return self.output(torch.tanh(self.hidden(x)))


class Counting(nn.Module):
    """A user's module that counts its training steps and grows with them."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.output = nn.Linear(n_features, n_outputs)
        self.n_steps = 0

    def forward(self, x):
        self.n_steps += self.training
        return self.output(x) * (1 + self.n_steps / 10)


class Recurrent(nn.Module):
    """A user's module with one of torch's recurrent layers, whose output is a tuple."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.recurrence = nn.GRU(1, 5, bidirectional=True, batch_first=True)
        self.output = nn.Linear(10, n_outputs)

    def forward(self, x):
        states, last = self.recurrence(x[:, ::8, None])
        return self.output(states.mean(dim=1) + last.movedim(0, 1).flatten(1))


class Image(nn.Module):
    """A convolutional network with torch's dropout where `place` says."""

    def __init__(self, n_outputs, place):
        super().__init__()
        drop = {place: nn.Dropout(0.3)}
        self.layers = nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 4, 3),
            drop.get("conv", nn.Identity()),
            nn.ReLU(inplace=True) if place == "pool" else nn.Tanh(),
            nn.MaxPool2d(2),
            drop.get("pool", nn.Identity()),
            nn.Flatten(),
            drop.get("flat", nn.Identity()),
            nn.Linear(36, n_outputs),
        )

    def forward(self, x):
        return self.layers(x)


class Steps(nn.Module):
    """A recurrent network with torch's dropout on all of its outputs, or the last ones."""

    def __init__(self, n_outputs, cell, is_last):
        super().__init__()
        self.recurrence = cell(8, 6, batch_first=True, bidirectional=not is_last)
        self.dropout = nn.Dropout(0.3)
        self.output = nn.Linear(6 if is_last else 12, n_outputs)
        self.is_last = is_last

    def forward(self, x):
        h = self.recurrence(x.view(-1, 8, 8))[0]
        if self.is_last:
            return self.output(self.dropout(h[:, -1]))
        return self.output(self.dropout(h).mean(1))


class MaxNorm(nn.Module):
    """Keeps its weights small, which they are at the start."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.first = nn.Linear(n_features, 12)
        self.act = nn.ReLU()
        self.output = nn.Linear(12, n_outputs)

    def forward(self, x):
        with torch.no_grad():
            self.first.weight.renorm_(2, 0, 0.6)
        return self.output(self.act(self.first(x)))


class Positive(nn.Module):
    """Keeps one number above 0, where it is at the start."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.first = nn.Linear(n_features, 1)
        self.output = nn.Linear(1, n_outputs)
        nn.init.constant_(self.first.bias, 0.002)

    def forward(self, x):
        with torch.no_grad():
            self.first.bias.clamp_(min=0.0)
        return self.output(self.first(x))


class Loose(nn.Module):
    """Has random layers in a plain list, which are neither trained nor saved."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.fixed = [nn.Linear(n_features, 12)]
        self.output = nn.Linear(12, n_outputs)

    def forward(self, x):
        return self.output(torch.relu(x @ self.fixed[0].weight.T.to(x.dtype)))


class Listed(nn.Module):
    """Calls its convolutions out of a plain list."""

    def __init__(self, n_outputs):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.output = nn.Linear(144, n_outputs)
        self.all = [self.conv]

    def forward(self, x):
        return self.output(torch.relu(self.all[0](x.view(-1, 1, 8, 8))).flatten(1))


class Tokens(nn.Embedding):
    """An embedding by another name."""

    def __init__(self, n_units):
        super().__init__(17, n_units, padding_idx=0)


class Worded(nn.Module):
    """A bag of words with padding."""

    def __init__(self, n_outputs, is_functional=False):
        super().__init__()
        self.tokens = Tokens(6)
        self.output = nn.Linear(6, n_outputs)
        self.is_functional = is_functional

    def forward(self, x):
        x = x.mul(16).long()
        if self.is_functional:
            h = nn.functional.embedding(x, self.tokens.weight, padding_idx=0)
        else:
            h = self.tokens(x)
        return self.output(h.mean(1))


class Tempered(nn.Module):
    """Divides by a parameter that is a single number."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.linear = nn.Linear(n_features, n_outputs)
        self.temperature = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return self.linear(x) / self.temperature


def _square(n_features, n_outputs):
    """Ends in an activation behind a square layer, after layers that do nothing.

    The name of that layer is the place of the last activation without these.
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(n_features, n_outputs),
        nn.Tanh(),
        nn.Linear(n_outputs, n_outputs),
        nn.Tanh(),
    )


def _clamp(weight):
    weight.grad.clamp_(-0.01, 0.01)


class Clamped(nn.Module):
    """Lets hooks of its weights clamp their gradients."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.linear = nn.Linear(n_features, n_outputs)
        for weight in self.parameters():
            weight.register_post_accumulate_grad_hook(_clamp)

    def forward(self, x):
        return self.linear(x)


@pytest.fixture(scope="module")
def data(digits, diabetes):
    """X and y by name; 200 samples each."""
    X, y = digits
    padded = X.reshape(-1, 8, 8).copy()
    for length, sequence in zip(np.arange(200) % 6 + 3, padded, strict=True):
        sequence[length:] = np.nan
    labels = np.stack([y % 2, y > 4, y % 3 == 0], axis=1).astype(int)
    rng = np.random.default_rng(0)
    table = np.column_stack([X[:, 20:24], rng.integers(0, 9, 200), (y + X[:, 2] > 5) * 2])
    return {
        "digits": (X, y),
        "multilabel": (X, labels),
        "signals": (X.reshape(-1, 1, 64), y),
        "volumes": (X.reshape(-1, 1, 4, 4, 4), y),
        "sequences": (X.reshape(-1, 8, 8), y),
        "padded": (padded, y),
        "image targets": (X, X[:, 20:22] + y[:, None]),
        "sequence targets": (padded, y + 0.5),
        "table": (table, y),
        "table targets": (table, y + table[:, 4]),
        "diabetes": (diabetes.X, diabetes.y),
        "two targets": (diabetes.X, np.stack([diabetes.y, -(diabetes.y**2)], axis=1)),
    }


BASE = {"max_epochs": 5, "batch_size": 32, "dtype": "float64", "learning_rate": 0.01}
MLP = {"hidden_layer_sizes": (16, 16)}
CNN = {"n_layers": 2, "n_channels": 2, "width": 8, "input_shape": (8, 8)}
RNN = {"hidden_size": 6}
WEIGHTS = np.arange(200) % 5 / 2
# Columns of the table that hold codes.
CODED = [4, 5]
SGD = {"optimizer": "sgd"}
STOPPING = {"early_stopping": True, "validation_fraction": 0.2, "patience": 1, "tol": 0.05}
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
    task = (
        "Regressor"
        if data in {"diabetes", "two targets", "table targets"}
        else "Classifier"
    )
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
    "mlp, sgd without nesterov": _mlp(optimizer="sgd", nesterovs_momentum=False),
    "mlp, sgd without momentum": _mlp(
        optimizer="sgd", momentum=0.0, nesterovs_momentum=False
    ),
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
    "mlp, categories, regressor": _mlp(
        "table targets", categorical_features=CODED, embedding_size=3, weight=WEIGHTS
    ),
    "mlp, periodic": _mlp(numerical_embedding="periodic", dropout=0.2),
    "mlp, periodic, few": _mlp(
        "table",
        categorical_features=CODED,
        numerical_embedding="periodic",
        numerical_embedding_size=3,
        n_frequencies=2,
        frequency_scale=1.0,
        l1=1e-3,
    ),
    # SGD, because AdamW blows up the rounding of biases before a batch norm.
    "mlp, periodic, all": _mlp(
        "table", numerical_embedding="periodic", optimizer="sgd", **ALL
    ),
    "mlp, piecewise linear": _mlp(
        "diabetes", numerical_embedding="piecewise_linear", n_bins=5
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
    "mlp, members, all": _mlp(members=3, optimizer="sgd", **ALL),
    "cnn": _cnn(optimizer="sgd"),
    "cnn, adamw": _cnn(learning_rate=1e-3),
    "cnn, without norm": _cnn(normalization=None),
    "cnn, layer norm": _cnn(normalization="layer", pooling="avg", kernel_size=4),
    "cnn, without pooling": _cnn(pooling=None, dropout=0.0, kernel_size=2, optimizer="sgd"),
    "cnn, 1-D": _cnn("signals", input_shape=None, residual=True, optimizer="sgd"),
    "cnn, 3-D": _cnn("volumes", input_shape=None, optimizer="sgd"),
    "cnn, regressor": _cnn("image targets", "Regressor", optimizer="sgd"),
    "cnn, all": _cnn(**ALL, optimizer="sgd"),
    "rnn, gru": _rnn(),
    "rnn, lstm": _rnn(cell="lstm", n_layers=2, dropout=0.2),
    "rnn, rnn": _rnn(cell="rnn", activation="relu"),
    "rnn, bidirectional": _rnn(bidirectional=True, dropout=0.2, residual=True, n_layers=2),
    "rnn, padded": _rnn("padded", bidirectional=True, dropout=0.2),
    "rnn, padded, batch norm": _rnn("padded", normalization="batch", bidirectional=True),
    "rnn, padded, layer norm": _rnn(
        "padded", cell="lstm", normalization="layer", n_layers=2
    ),
    "rnn, padded regressor": _rnn("sequence targets", "Regressor", cell="rnn"),
    "rnn, all": _rnn("padded", **ALL),
    "net": _net(Layers),
    "net, early stopping": _net(Layers, **STOPPING, optimizer="sgd"),
    "net, regressor": _net(Layers, "diabetes", "Regressor", batch_size=-1),
    "net, averages": _net(Averaged),
    "net, attentive": _net(Attentive, "sequences"),
    "net, convolutional": _net(Convolutional, input_shape=(1, 8, 8)),
    "flip": _cnn(augmentation="flip", optimizer="sgd"),
    "shift": _cnn(augmentation=Shift(4), optimizer="sgd"),
    "rotate": _cnn(augmentation=Rotate(40), optimizer="sgd"),
    "cutout": _cnn(augmentation=Cutout(4), optimizer="sgd"),
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
        Convolutional, input_shape=(1, 8, 8), augmentation=["flip", "shift", "cutmix"]
    ),
    "module, sequences": _net(Attentive, "sequences", augmentation=["time_mask", "noise"]),
}


def _with_share(augmentation, share):
    """Return augmentations whose strengths are the share of what they were."""
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


def _fits(name, params, X, y, sample_weight):
    """Return three fits whose numbers, data and seeds differ."""
    fits = []
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
        if own.get("module") in {Layers, Attentive, Convolutional}:
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


def _assert_close(ours, reference, scale=1.0):
    np.testing.assert_allclose(
        np.asarray(ours) / scale, np.asarray(reference) / scale, rtol=0, atol=TOLERANCE
    )


def _assert_same_arrays(ours, reference, left_out=None):
    assert (ours is None) == (reference is None)
    if ours is None:
        return
    assert list(ours) == list(reference)
    for name, array in reference.items():
        assert ours[name].dtype == array.dtype
        assert ours[name].shape == array.shape
        if left_out is None or not left_out.match(name):
            _assert_close(ours[name], array)


def _assert_same(row, twin, fit):
    """Compare all that a network gives with its solo twin."""
    assert (row.status, twin.status) == ("trained", "trained"), row.message + twin.message
    for curve in ("train_loss", "monitor_loss", "monitor_score"):
        assert len(getattr(row, curve)) > 0
        _assert_close(getattr(row, curve), getattr(twin, curve))
    scale = np.std(fit.y, axis=0) if is_regressor(fit.estimator) else 1.0
    assert row.predictions.dtype == twin.predictions.dtype
    _assert_close(row.predictions, twin.predictions, scale)
    left_out = SHIFTED if _has_shifted_biases(fit.estimator) else None
    _assert_same_states(row.state, twin.state, left_out)


def _has_shifted_biases(estimator):
    module = getattr(estimator, "module", None)
    batch_norm = module is Layers or getattr(estimator, "normalization", None) == "batch"
    # A recurrent layer's bias acts inside of the recurrence and is not taken away.
    return batch_norm and estimator.optimizer != "sgd" and not hasattr(estimator, "cell")


def _assert_same_states(ours, reference, left_out):
    for name in ("weights", "last_weights", "best_weights"):
        _assert_same_arrays(getattr(ours, name), getattr(reference, name), left_out)
    kept = [index for index, moments in ours.moments.items() if moments]
    assert kept == list(reference.moments)
    for index, moments in reference.moments.items():
        assert set(ours.moments[index]) == set(moments)
        for name, array in moments.items():
            _assert_close(ours.moments[index][name], array)
    for name in ("seed", "n_steps", "first_epoch"):
        assert getattr(ours, name) == getattr(reference, name)
    assert ours.stopping.best_epoch == reference.stopping.best_epoch
    assert ours.stopping.n_waited == reference.stopping.n_waited


def _assert_twins(fits, *, in_a_fleet=True):
    """Train fits together and alone, and compare all that they give."""
    networks, twins = train(fits), train(fits, engine="reference")
    if in_a_fleet:
        assert {network.engine for network in networks} == {"fleet"}
    assert {twin.engine for twin in twins} == {"reference"}
    for network, twin, fit in zip(networks, twins, fits, strict=True):
        _assert_same(network, twin, fit)


# What compiled code may train, torch has to train as well where there is no compiler.
BY_TORCH = [case for case in CASES if case.startswith("mlp")]


@pytest.mark.parametrize(
    ("case", "compiled"), [(c, "") for c in CASES] + [(c, "0") for c in BY_TORCH]
)
def test_a_network_equals_its_solo_twin(case, compiled, data, monkeypatch):
    """Curves, predictions, weights and moments agree to 1e-9, whatever differs."""
    monkeypatch.setenv(VARIABLE, compiled)
    name, params, source, weight = CASES[case]

    _assert_twins(_fits(name, params, *data[source], weight))


@pytest.mark.parametrize("case", ["mlp, all", "mlp, early stopping", "net"])
def test_the_history_of_a_network_is_that_of_its_twin(case, data):
    """Each epoch has the same keys, learning rate, number and notes of the best loss."""
    name, params, source, weight = CASES[case]
    fits = _fits(name, params, *data[source], weight)

    rows = train(fits)
    twins = train(fits, engine="reference")

    for row, twin in zip(rows, twins, strict=True):
        assert len(row.state.history) == len(twin.state.history)
        for ours, reference in zip(row.state.history, twin.state.history, strict=True):
            assert set(ours) == set(reference)
            exact = {key for key in reference if "loss" not in key or "best" in key}
            for key in exact - {"dur", "train_score", "valid_score", "monitor_score"}:
                assert ours[key] == reference[key], key


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_network_of_any_activation_equals_its_twin(activation, data):
    """The derivative of every activation is that of autograd."""
    name, params, source, weight = _mlp(activation=activation, dropout=0.2)

    _assert_twins(_fits(name, {**params, "max_epochs": 2}, *data[source], weight))


MANY = [
    "mlp, members, all",
    "mlp, members, embedded",
    "mlp, all",
    "mlp, regressor",
    "mlp, multilabel",
    "cnn, all",
    "rnn, all",
    "net",
]
MANY += ["images, all", "sequences, all"]


@pytest.mark.parametrize("engine", ["fleet", "reference"])
@pytest.mark.parametrize("case", MANY)
def test_the_estimator_of_a_network_is_what_fit_makes(case, engine, data):
    """It predicts as after fit, knows the same of its data, and goes on equally."""
    name, params, source, weight = CASES[case]
    X, y = data[source]
    fit = _fits(name, params, X, y, weight)[0]
    rows, own = fit.rows, None if weight is None else weight[fit.rows]
    predict = "predict" if is_regressor(fit.estimator) else "predict_proba"
    scale = np.std(y, axis=0) if is_regressor(fit.estimator) else 1.0

    (trained,) = train([fit], engine=engine)
    ours = fitted_estimator(fit, trained)
    reference = clone(fit.estimator).set_params(random_state=fit.seed)
    reference.fit(X[rows], y[rows], sample_weight=own)

    _assert_close(getattr(ours, predict)(X), getattr(reference, predict)(X), scale)
    _assert_close(getattr(ours, predict)(X[MONITOR]), trained.predictions, scale)
    assert ours.n_features_in_ == reference.n_features_in_
    assert ours.best_epoch_ == reference.best_epoch_
    assert ours.n_epochs_ == reference.n_epochs_
    if reference.n_epochs_ < 5 or fit.estimator.lr_schedule != "constant":
        return
    for estimator in (ours, reference):
        estimator.partial_fit(X[rows], y[rows], sample_weight=own, n_epochs=2)
    _assert_close(getattr(ours, predict)(X), getattr(reference, predict)(X), scale)


@pytest.mark.parametrize(
    "case",
    [
        _mlp(dropout=0.2, lr_schedule="constant"),
        _mlp("diabetes", normalization="batch", lr_schedule="constant", weight=WEIGHTS),
        _cnn(lr_schedule="constant"),
        _rnn("padded", lr_schedule="constant", optimizer="sgd"),
        _net(Layers, lr_schedule="constant", optimizer="rmsprop", learning_rate=1e-3),
        _cnn(lr_schedule="constant", augmentation=["flip", "shift", "mixup"]),
    ],
    ids=["mlp", "mlp regressor", "cnn", "rnn", "net", "augmented cnn"],
)
def test_partial_fit_goes_on_from_a_network_as_from_fit(case, data):
    """Two epochs more agree to 1e-9, and do not reach back into the trained state."""
    name, params, source, weight = case
    X, y = data[source]
    fit = _fits(name, params, X, y, weight)[0]
    rows, own = fit.rows, None if weight is None else weight[fit.rows]
    (trained,) = train([fit])
    before = {name: array.copy() for name, array in trained.state.weights.items()}
    ours = fitted_estimator(fit, trained)
    reference = clone(fit.estimator).set_params(random_state=fit.seed)
    reference.fit(X[rows], y[rows], sample_weight=own)

    for estimator in (ours, reference):
        estimator.partial_fit(X[rows], y[rows], sample_weight=own, n_epochs=2)

    scale = np.std(y) if is_regressor(reference) else 1.0
    predict = "predict" if is_regressor(reference) else "predict_proba"
    _assert_close(getattr(ours, predict)(X), getattr(reference, predict)(X), scale)
    assert ours.n_epochs_ == reference.n_epochs_ == 7
    for key, array in before.items():
        np.testing.assert_array_equal(trained.state.weights[key], array)


@pytest.mark.filterwarnings("ignore:.*trained alone:sk_tune.exceptions.SkTuneWarning")
@pytest.mark.parametrize(
    "module",
    [
        FrozenStart,
        Tied,
        Recurrent,
        Counting,
        Hooked,
        MaxNorm,
        Positive,
        Loose,
        Listed,
        partial(Worded, is_functional=True),
        Clamped,
    ],
)
def test_a_peculiar_module_gives_what_it_gives_alone(module, data):
    """Frozen layers, shared weights, counters and hooks count, in a fleet or outside."""
    name, params, source, weight = _net(module)

    _assert_twins(_fits(name, params, *data[source], weight), in_a_fleet=False)


@pytest.mark.parametrize(
    "module",
    [
        partial(Image, place="conv"),
        partial(Image, place="pool"),
        partial(Image, place="flat"),
        partial(Steps, cell=nn.GRU, is_last=True),
        partial(Steps, cell=nn.GRU, is_last=False),
        partial(Steps, cell=nn.LSTM, is_last=False),
        partial(Steps, cell=nn.RNN, is_last=True),
        Worded,
        Tempered,
        _square,
    ],
)
def test_a_module_of_fast_layers_is_a_network_and_equals_its_twin(module, data):
    """Order in memory, padding, single numbers and shared memory change nothing."""
    name, params, source, weight = _net(module, gradient_clip=1.0)

    _assert_twins(_fits(name, params, *data[source], weight))


def test_float32_networks_agree_within_rounding(data):
    """In float32, the default, predictions agree to 1e-4 after five epochs."""
    name, params, source, weight = _mlp(dropout=0.2, dtype="float32", learning_rate=1e-3)
    fits = _fits(name, params, *data[source], weight)

    rows = train(fits)
    twins = train(fits, engine="reference")

    for row, twin in zip(rows, twins, strict=True):
        assert row.predictions.dtype == twin.predictions.dtype == np.float32
        np.testing.assert_allclose(row.predictions, twin.predictions, rtol=0, atol=1e-4)
        for key, array in twin.state.weights.items():
            assert row.state.weights[key].dtype == array.dtype
