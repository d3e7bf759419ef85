"""Plain skorch nets as rows of a fleet: as skorch trains them, draw by draw.

The reference is skorch's own ``fit`` under the same seed of torch's global generator.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from skorch import NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import (
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
)
from torch import nn
from torch.utils.data import TensorDataset

from sk_tune.engine import Fit, fitted_estimator, train
from sk_tune.exceptions import SkTuneWarning
from sk_tune.training import forked_rng

X, Y = load_digits(return_X_y=True)
X, Y = X[:500] / 16.0, Y[:500].astype(np.int64)
X_REG, Y_REG = load_diabetes(return_X_y=True)
Y_REG = ((Y_REG - Y_REG.mean()) / Y_REG.std())[:, np.newaxis]
TRAIN = (np.arange(350), np.arange(17, 350))
MONITOR = np.arange(350, 440)


class Module(nn.Module):
    """Two hidden layers with torch's own dropout, in double precision."""

    def __init__(self, n_in=64, n_out=10, p=0.1, softmax=False):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_in, 24),
            nn.ReLU(),
            nn.Dropout(p),
            nn.Linear(24, 16),
            nn.BatchNorm1d(16),
            nn.Tanh(),
            nn.Dropout(p),
            nn.Linear(16, n_out),
        )
        self.softmax = softmax
        self.double()

    def forward(self, x):
        out = self.layers(x)
        return out.softmax(-1) if self.softmax else out


def _clf(**params):
    own = {
        "criterion": nn.CrossEntropyLoss,
        "max_epochs": 4,
        "batch_size": 32,
        "lr": 0.01,
        "verbose": 0,
    }
    return NeuralNetClassifier(Module, **{**own, **params})


def _reg(**params):
    return NeuralNetRegressor(
        Module, module__n_in=10, module__n_out=1, max_epochs=4, verbose=0, **params
    )


def _undefined(net, X, y):
    """Return a score that is never better than another."""
    return float("nan")


SHUFFLE = {"iterator_train__shuffle": True}
CASES = {
    "default": NeuralNetClassifier(
        Module, module__softmax=True, max_epochs=4, batch_size=32, verbose=0
    ),
    "shuffled": _clf(**SHUFFLE),
    "no split": _clf(**SHUFFLE, train_split=None, optimizer=torch.optim.AdamW),
    "early stopping": _clf(lr=0.5, max_epochs=12, callbacks=[EarlyStopping(patience=2)]),
    "best weights": _clf(
        **SHUFFLE,
        lr=0.5,
        max_epochs=12,
        callbacks=[EarlyStopping(patience=3, load_best=True)],
    ),
    "step schedule and clipping": _clf(
        optimizer=torch.optim.Adam,
        callbacks=[
            ("lr", LRScheduler("StepLR", step_size=2, gamma=0.5)),
            ("clip", GradientNormClipping(0.5)),
        ],
    ),
    "schedule by batch": _clf(
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        optimizer__nesterov=True,
        callbacks=[LRScheduler("CosineAnnealingLR", T_max=40, step_every="batch")],
    ),
    "plateau": _clf(
        optimizer=torch.optim.RMSprop,
        callbacks=[LRScheduler("ReduceLROnPlateau", monitor="valid_loss", patience=0)],
    ),
    "scoring": _clf(callbacks=[EpochScoring("neg_log_loss", name="nll")]),
    "no best weights": _clf(
        callbacks=[
            EpochScoring(_undefined, name="undefined"),
            EarlyStopping("undefined", patience=9, load_best=True),
        ]
    ),
    "no callbacks": _clf(callbacks="disable"),
    "regression": _reg(lr=0.01),
}


def _fits(net, *, monitor=MONITOR):
    X_own, Y_own = (X_REG, Y_REG) if isinstance(net, NeuralNetRegressor) else (X, Y)
    return [
        Fit(
            estimator=clone(net).set_params(lr=net.lr * (1 - 0.2 * i), module__p=0.15 * i),
            X=X_own,
            y=Y_own,
            rows=TRAIN[i % 2],
            monitor=monitor,
            seed=i,
        )
        for i in range(3)
    ]


def _numbers(records):
    """Return all numbers of a history but the seconds, in one order."""
    return [
        float(value)
        for record in records
        for name, value in sorted(record.items())
        if name not in {"dur", "batches"} and np.isscalar(value)
    ]


@pytest.mark.parametrize("name", CASES)
def test_a_row_is_what_skorch_trains(name):
    """Weights, moments, predictions and every number of the history are skorch's."""
    fits = _fits(CASES[name])

    rows, alone = train(fits), train(fits, engine="reference")

    assert {r.engine for r in rows} == {"fleet"}
    for row, reference in zip(rows, alone, strict=True):
        assert reference.status == row.status == "trained"
        history, expected = row.state.history, reference.state.history
        assert [set(h) for h in history] == [set(h) for h in expected]
        np.testing.assert_allclose(_numbers(history), _numbers(expected), atol=1e-9)
        for own, wanted in zip(history, expected, strict=True):
            np.testing.assert_allclose(
                _numbers(own["batches"]), _numbers(wanted["batches"]), atol=1e-9
            )
        np.testing.assert_allclose(row.predictions, reference.predictions, atol=1e-9)
        for key, weights in reference.state.weights.items():
            # A bias in front of a batch norm has no gradient but rounding errors.
            if key != "layers.3.bias":
                np.testing.assert_allclose(row.state.weights[key], weights, atol=1e-9)


@pytest.mark.parametrize("engine", ["fleet", "reference"])
def test_monitor_rows_change_nothing(engine):
    """With and without them the weights are the same to the last bit."""
    net = _clf(**SHUFFLE)

    with_monitor = train(_fits(net), engine=engine)
    without = train(_fits(net, monitor=None), engine=engine)

    for a, b in zip(with_monitor, without, strict=True):
        assert b.predictions is None
        for name, weights in b.state.weights.items():
            np.testing.assert_array_equal(a.state.weights[name], weights)


@pytest.mark.parametrize("name", ["default", "best weights", "regression"])
def test_fitted_estimator_is_the_net_that_fit_makes(name):
    """It predicts as a net fitted under the same seed, and knows its classes."""
    fit = _fits(CASES[name])[1]
    (trained,) = train([fit])

    net = fitted_estimator(fit, trained)

    with forked_rng(fit.seed):
        expected = clone(fit.estimator).fit(fit.X[fit.rows], fit.y[fit.rows])
    np.testing.assert_allclose(
        net.predict_proba(fit.X), expected.predict_proba(fit.X), atol=1e-9
    )
    predicted = net.predict(fit.X[:50])
    np.testing.assert_allclose(predicted, expected.predict(fit.X[:50]), atol=1e-9)
    assert len(net.history) == len(expected.history)


def test_seed_comes_from_torchs_generator_when_none_is_given():
    """After ``torch.manual_seed`` a call can be repeated."""
    fit = Fit(estimator=_clf(), X=X, y=Y, rows=TRAIN[0])
    results = []
    for _ in range(2):
        with forked_rng(7):
            results.append(train([fit, fit]))

    (a, b), (c, d) = results
    assert a.state.seed == c.state.seed != b.state.seed == d.state.seed


def test_a_callback_that_no_fleet_knows_is_left_to_skorch(tmp_path):
    """The net is trained alone, with one warning that names the callback."""
    net = _clf(callbacks=[Checkpoint(dirname=str(tmp_path))])

    with pytest.warns(SkTuneWarning, match=r"3 because it has callbacks \(Checkpoint\)"):
        trained = train(_fits(net))

    assert {t.engine for t in trained} == {"reference"}
    assert {t.status for t in trained} == {"trained"}


def test_a_state_or_weights_are_refused():
    """Skorch nets have neither, and the message says what to use."""
    fit = Fit(estimator=_clf(), X=X, y=Y, sample_weight=np.ones(len(X)), name="candidate 2")

    (trained,) = train([fit])

    assert trained.status == "failed"
    assert "candidate 2" in trained.message
    assert "sk_tune's estimators" in trained.message


def test_data_of_another_precision_fail_as_in_skorch():
    """The module's own error is the message; neighbours are trained."""
    good, bad = _fits(_clf())[:2]
    bad = Fit(estimator=bad.estimator, X=X.astype(np.float32), y=Y, rows=bad.rows, seed=1)

    with pytest.warns(SkTuneWarning, match="trained alone"):
        trained = train([good, bad])

    assert [t.status for t in trained] == ["trained", "failed"]
    assert "dtype" in trained[1].message


def test_each_net_is_trained_with_its_own_criterion():
    """Weights of classes are no part of its structure, and not those of a neighbour."""
    generator = torch.Generator().manual_seed(0)
    fits = [
        replace(fit, estimator=clone(fit.estimator).set_params(criterion__weight=weight))
        for fit, weight in zip(
            _fits(_clf()), torch.rand(3, 10, generator=generator).double() * 9, strict=True
        )
    ]

    rows, alone = train(fits), train(fits, engine="reference")

    assert {r.engine for r in rows} == {"fleet"}
    for row, reference in zip(rows, alone, strict=True):
        np.testing.assert_allclose(row.predictions, reference.predictions, atol=1e-9)


OTHERS = TensorDataset(torch.as_tensor(X[440:]), torch.as_tensor(Y[440:]))


class Smoothed(nn.Module):
    """A criterion that judges otherwise than it trains."""

    def forward(self, y_pred, y_true):
        smoothing = 0.2 if self.training else 0.0
        return nn.functional.cross_entropy(y_pred, y_true, label_smoothing=smoothing)


def test_criteria_judge_as_in_validation():
    """Losses of rows that are not trained on are those of evaluation mode."""
    fits = _fits(_clf(criterion=Smoothed))

    rows, alone = train(fits), train(fits, engine="reference")

    assert {r.engine for r in rows} == {"fleet"}
    for row, reference in zip(rows, alone, strict=True):
        for name in ("train_loss", "valid_loss"):
            found, expected = ([h[name] for h in r.state.history] for r in (row, reference))
            np.testing.assert_allclose(found, expected, atol=1e-9)


class Tempered(nn.CrossEntropyLoss):
    """A criterion with a number of its own to train."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, y_pred, y_true):
        return super().forward(self.scale * y_pred, y_true)


class Image(nn.Module):
    """Drops units behind a convolution."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, 3, 2), nn.Dropout(0.4), nn.Flatten(), nn.Linear(27, 2)
        )

    def forward(self, X):
        return self.layers(X)


def test_images_whose_channels_were_moved_are_as_their_copies():
    """Batches lie in memory as skorch's do, whatever the order of all rows."""
    rng = np.random.default_rng(0)
    X = np.moveaxis(rng.normal(size=(60, 4, 4, 2)).astype(np.float32), -1, 1)
    y = np.arange(60) % 2
    net = NeuralNetClassifier(
        Image, criterion=nn.CrossEntropyLoss, max_epochs=3, train_split=None, verbose=0
    )
    fits = [Fit(estimator=net, X=X, y=y, seed=seed) for seed in (0, 1)]

    rows = train(fits)
    alone = train(fits, engine="reference")

    for row, twin in zip(rows, alone, strict=True):
        assert row.engine == "fleet"
        np.testing.assert_allclose(row.train_loss, twin.train_loss, rtol=1e-4)


class Lazy(nn.Module):
    """A module whose shapes are known after its first call only."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(10))
        self.double()

    def forward(self, x):
        return self.layers(x)


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (_clf(criterion=Tempered), "parameters to train"),
        (
            NeuralNetClassifier(Lazy, criterion=nn.CrossEntropyLoss, verbose=0),
            "uninitialized",
        ),
    ],
    ids=["criterion", "lazy"],
)
def test_nets_that_cannot_be_compared_are_left_to_skorch(net, reason):
    """Beside one that rides a fleet; the warning says why."""
    fits = [
        Fit(estimator=own, X=X, y=Y, rows=TRAIN[0], monitor=MONITOR, seed=0)
        for own in (_clf(), net.set_params(max_epochs=2))
    ]

    with pytest.warns(SkTuneWarning, match=f"it fits into no fleet.*{reason}"):
        trained = train(fits)

    assert [t.engine for t in trained] == ["fleet", "reference"]
    assert {t.status for t in trained} == {"trained"}


class Cast(nn.Module):
    """Takes numbers of any type."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, X):
        """Return unnormalised outputs."""
        return self.layer(X.float())


@pytest.mark.parametrize("dtype", ["uint8", "int8", "bool", "float16"])
def test_sizes_of_batches_do_not_depend_on_the_type_of_the_rows(dtype, digits):
    """They are weights of the loss, and may be more than the type can hold."""
    X = np.tile((digits.X * 16).astype(dtype), (4, 1))
    y = np.tile(digits.y, 4).astype(np.int64)
    net = NeuralNetClassifier(
        Cast,
        criterion=nn.CrossEntropyLoss,
        max_epochs=2,
        batch_size=300,
        train_split=None,
        verbose=0,
    )

    (trained,) = train([Fit(estimator=net, X=X, y=y, seed=0)])

    assert (trained.status, trained.engine) == ("trained", "fleet")
    (alone,) = train([Fit(estimator=net, X=X, y=y, seed=0)], engine="reference")
    np.testing.assert_allclose(trained.train_loss, alone.train_loss, rtol=1e-4)
