"""Plain skorch nets, in fleets and alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from marks import one_in
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, load_iris
from skorch import NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import (
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
)
from skorch.dataset import Dataset
from skorch.helper import SliceDict
from torch import nn
from torch.utils.data import DataLoader

from sk_tune._engine import (
    Fit,
    count_words,
    draw_as_fit,
    fitted_estimator,
    skip_words,
    train,
)
from sk_tune._engine._skorch._net_adoption import _Slices, cutting_iterator
from sk_tune._training import forked_rng
from sk_tune.exceptions import TrainedAloneWarning

X, Y = load_digits(return_X_y=True)
X, Y = X[:260] / 16.0, Y[:260].astype(np.int64)
X_REG, Y_REG = load_diabetes(return_X_y=True)
Y_REG = ((Y_REG - Y_REG.mean()) / Y_REG.std())[:, np.newaxis]
TRAIN = (np.arange(200), np.arange(17, 200))
MONITOR = np.arange(200, 260)


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


class Named(nn.Module):
    """A network with two inputs, one with integers."""

    def __init__(self, p=0.1):
        super().__init__()
        self.vectors = nn.Embedding(20, 3)
        self.dropout = nn.Dropout(p)
        self.output = nn.Linear(60 + 4 * 3, 10)
        self.double()

    def forward(self, numbers, codes):
        parts = [numbers, self.vectors(codes).flatten(1)]
        return self.output(self.dropout(torch.cat(parts, dim=1)))


NAMED = SliceDict(numbers=X[:, :60], codes=(16 * X[:, 60:]).astype(np.int64))


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
    "several inputs": NeuralNetClassifier(
        Named,
        criterion=nn.CrossEntropyLoss,
        max_epochs=4,
        batch_size=32,
        verbose=0,
        callbacks=[EpochScoring("neg_log_loss", name="nll")],
    ),
}


def _fits(net, *, monitor=MONITOR):
    X_own, Y_own = (X_REG, Y_REG) if isinstance(net, NeuralNetRegressor) else (X, Y)
    X_own = NAMED if net.module is Named else X_own
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


def _pairs(fits):
    """Return the fleet's result of each fit, and skorch's own."""
    rows = train(fits)
    assert {row.engine for row in rows} == {"fleet"}
    return zip(rows, train(fits, engine="alone"), strict=True)


def _numbers(records):
    """Return all numbers of a history but the seconds, in one order."""
    return [
        float(value)
        for record in records
        for name, value in sorted(record.items())
        if name not in {"dur", "batches"} and np.isscalar(value)
    ]


@pytest.mark.parametrize("name", one_in(2, CASES))
def test_a_fleet_trains_the_networks_of_skorch(name):
    """Weights, moments, predictions and every number of the history are equal."""
    for row, reference in _pairs(_fits(CASES[name])):
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


@pytest.mark.parametrize(
    "name", ["default", "best weights", "regression", "several inputs"]
)
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
    few = fit.X[np.arange(50)]
    np.testing.assert_allclose(net.predict(few), expected.predict(few), atol=1e-9)
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


def test_nets_with_unknown_callbacks_train_in_skorch(tmp_path):
    """The net is trained alone, with one warning that names the callback."""
    net = _clf(callbacks=[Checkpoint(dirname=str(tmp_path))])

    with pytest.warns(
        TrainedAloneWarning, match=r"3 because it has callbacks \(Checkpoint\)"
    ):
        trained = train(_fits(net))

    assert {t.engine for t in trained} == {"alone"}
    assert {t.status for t in trained} == {"trained"}


def test_each_net_is_trained_with_its_own_criterion():
    """Class weights are not part of its structure, and do not affect its neighbours."""
    generator = torch.Generator().manual_seed(0)
    fits = [
        replace(fit, estimator=clone(fit.estimator).set_params(criterion__weight=weight))
        for fit, weight in zip(
            _fits(_clf()), torch.rand(3, 10, generator=generator).double() * 9, strict=True
        )
    ]

    for row, reference in _pairs(fits):
        np.testing.assert_allclose(row.predictions, reference.predictions, atol=1e-9)


class Smoothed(nn.Module):
    """A criterion with different training and evaluation losses."""

    def forward(self, y_pred, y_true):
        smoothing = 0.2 if self.training else 0.0
        return nn.functional.cross_entropy(y_pred, y_true, label_smoothing=smoothing)


def test_monitor_losses_use_evaluation_mode():
    """Losses on held-out rows are computed in evaluation mode."""
    for row, reference in _pairs(_fits(_clf(criterion=Smoothed))):
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


class Image(nn.Sequential):
    """Drops units behind a convolution."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(2, 3, 2), nn.Dropout(0.4), nn.Flatten(), nn.Linear(27, 2)
        )


def test_images_whose_channels_were_moved_are_as_their_copies():
    """Batches have skorch's memory order, whatever the order of all rows."""
    rng = np.random.default_rng(0)
    X = np.moveaxis(rng.normal(size=(60, 4, 4, 2)).astype(np.float32), -1, 1)
    y = np.arange(60) % 2
    net = NeuralNetClassifier(
        Image, criterion=nn.CrossEntropyLoss, max_epochs=3, train_split=None, verbose=0
    )
    fits = [Fit(estimator=net, X=X, y=y, seed=seed) for seed in (0, 1)]

    for row, twin in _pairs(fits):
        np.testing.assert_allclose(row.train_loss, twin.train_loss, rtol=1e-4)


class Lazy(nn.Sequential):
    """A module with shapes that are set in its first call."""

    def __init__(self):
        super().__init__(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(10))
        self.double()


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (_clf(criterion=Tempered), "trainable parameters"),
        (
            NeuralNetClassifier(Lazy, criterion=nn.CrossEntropyLoss, verbose=0),
            "lazy layers",
        ),
    ],
    ids=["criterion", "lazy"],
)
def test_nets_that_cannot_be_compared_train_in_skorch(net, reason):
    """Next to a net in a fleet; the warning gives the reason."""
    fits = [
        Fit(estimator=own, X=X, y=Y, rows=TRAIN[0], monitor=MONITOR, seed=0)
        for own in (_clf(), net.set_params(max_epochs=2))
    ]

    with pytest.warns(TrainedAloneWarning, match=f"fleets do not support it.*{reason}"):
        trained = train(fits)

    assert [t.engine for t in trained] == ["fleet", "alone"]
    assert {t.status for t in trained} == {"trained"}


class Cast(nn.Linear):
    """Takes numbers of any type."""

    def __init__(self):
        super().__init__(64, 10)

    def forward(self, X):
        return super().forward(X.float())


@pytest.mark.parametrize("dtype", ["uint8", "int8", "bool", "float16"])
def test_sizes_of_batches_do_not_depend_on_the_type_of_the_rows(dtype, digits):
    """They are weights of the loss, and may be more than the type can hold."""
    X = np.tile((digits.X * 16).astype(dtype), (4, 1))
    y = np.tile(digits.y, 4).astype(np.int64)
    own = {"criterion": nn.CrossEntropyLoss, "max_epochs": 2, "batch_size": 300}
    net = NeuralNetClassifier(Cast, **own, train_split=None, verbose=0)

    (trained,) = train([Fit(estimator=net, X=X, y=y, seed=0)])

    assert (trained.status, trained.engine) == ("trained", "fleet")
    (alone,) = train([Fit(estimator=net, X=X, y=y, seed=0)], engine="alone")
    np.testing.assert_allclose(trained.train_loss, alone.train_loss, rtol=1e-4)


FLOWERS, SPECIES = load_iris(return_X_y=True)
FLOWERS, SPECIES = FLOWERS.astype(np.float32), SPECIES.astype(np.int64)


class ModuleOfSkorchAlone(nn.Linear):
    """A linear network that seeds torch itself."""

    def __init__(self):
        torch.manual_seed(3)
        super().__init__(4, 3)


@pytest.mark.parametrize("callbacks", [None, "disable"])
def test_curves_of_the_monitor_are_those_of_a_fleet(callbacks, iris):
    """Losses and scores of monitor samples, by epoch."""
    X, y = map(np.copy, iris)
    own = {"criterion": nn.CrossEntropyLoss, "max_epochs": 3, "verbose": 0}
    net = NeuralNetClassifier(ModuleOfSkorchAlone, **own, callbacks=callbacks)
    monitor = np.arange(0, 150, 3)
    fit = Fit(estimator=net, X=X.astype(np.float32), y=y, monitor=monitor, seed=0)

    (alone,), (row,) = (train([fit], engine=engine) for engine in ("alone", "fleet"))

    assert (alone.engine, row.engine) == ("alone", "fleet")
    for name in ("monitor_loss", "monitor_score"):
        curves = [trained.state.curve(name) for trained in (alone, row)]
        np.testing.assert_allclose(*curves, rtol=1e-5)
    assert not alone.state.modules


GET_ITERATOR = NeuralNetClassifier.get_iterator
CUTTING = cutting_iterator(GET_ITERATOR)


@pytest.fixture
def net():
    """Return a plain net with batches of 4."""
    return NeuralNetClassifier(nn.Linear, batch_size=4)


@pytest.mark.parametrize(
    ("dtype", "shape", "batch_size"),
    [
        ("float32", (11, 3), 3),
        ("float64", (8, 2, 5), 4),
        ("int64", (1, 1), 100),
        ("float32", (8, 2, 5), -1),
    ],
)
def test_batches_match_a_data_loader(net, dtype, shape, batch_size):
    """Rows, placeholders, their types and the state of torch's generator are the same."""
    net.set_params(iterator_valid__batch_size=batch_size)
    X = np.asfortranarray(np.arange(np.prod(shape), dtype=dtype).reshape(shape))

    found = []
    for method in (GET_ITERATOR, CUTTING):
        torch.manual_seed(3)
        iterator = method(net, Dataset(X), training=False)
        found.append((len(iterator), list(iterator), torch.get_rng_state()))
    (n_loaded, loaded, state), (n_cut, cut, own_state) = found

    assert isinstance(CUTTING(net, Dataset(X)), _Slices)
    assert n_loaded == n_cut == len(loaded) == len(cut)
    for batch, own in zip(loaded, cut, strict=True):
        for part, own_part in zip(batch, own, strict=True):
            assert part.dtype == own_part.dtype
            torch.testing.assert_close(own_part, part, rtol=0, atol=0)
    assert torch.equal(state, own_state)


@pytest.mark.parametrize(
    ("changes", "dataset", "training"),
    [
        ({}, Dataset(np.ones((4, 2))), True),
        ({}, Dataset(np.ones((4, 2)), np.ones(4)), False),
        ({}, Dataset(torch.ones(4, 2)), False),
        ({}, Dataset(np.ones(4)), False),
        ({}, Dataset({"x": np.ones((4, 2))}), False),
        ({}, Dataset(np.ones((4, 2), dtype=bool)), False),
        ({"iterator_valid__drop_last": True}, Dataset(np.ones((4, 2))), False),
    ],
)
def test_other_batches_come_from_the_data_loader(net, changes, dataset, training):
    """Targets, training, other data and other options use skorch's iterator."""
    net.set_params(**changes)

    assert type(CUTTING(net, dataset, training=training)) is DataLoader


def test_datasets_and_iterators_of_a_users_own_are_asked(net):
    """A class derived from skorch's dataset or torch's data loader is not passed over."""

    class Own(Dataset):
        def transform(self, X, y):
            return super().transform(2 * X, y)

    class Loader(DataLoader):
        pass

    assert type(CUTTING(net, Own(np.ones((4, 2))))) is DataLoader
    net.set_params(iterator_valid=Loader)
    assert type(CUTTING(net, Dataset(np.ones((4, 2))))) is Loader


class Noisy(nn.Module):
    """Draws for each sample and once for each batch."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        if self.training:
            x = x + 0.1 * torch.rand(()) + 0.1 * torch.randn(len(x), 4)
        return self.linear(nn.functional.dropout(x, 0.3, self.training))


@pytest.mark.parametrize("module", [nn.Linear, Noisy, nn.Linear(4, 3)])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"batch_size": 32, "iterator_train__shuffle": True},
        {"batch_size": -1, "train_split": None},
        {"iterator_train__batch_size": 50},
    ],
    ids=lambda params: "-".join(params),
)
def test_a_fit_leaves_the_generator_where_it_was_foreseen(module, params):
    """The reference is skorch's own ``fit``."""
    if module is nn.Linear:
        params = {**params, "module__in_features": 4, "module__out_features": 3}
    net = NeuralNetClassifier(
        module, criterion=nn.CrossEntropyLoss, max_epochs=3, verbose=0, **params
    )
    torch.manual_seed(1)
    draw_as_fit(net, FLOWERS, SPECIES, {})
    foreseen = torch.get_rng_state()

    torch.manual_seed(1)
    net.fit(FLOWERS, SPECIES)

    assert torch.equal(foreseen, torch.get_rng_state())


@pytest.mark.parametrize("n_words", [0, 1, 7, 1000, 300_000])
def test_skipped_words_are_counted(n_words):
    """A word is one float of ``torch.rand``."""
    torch.manual_seed(2)
    before = torch.get_rng_state()
    torch.rand(n_words)
    after = torch.get_rng_state()
    torch.set_rng_state(before)

    skip_words(n_words)

    assert torch.equal(torch.get_rng_state(), after)
    assert count_words(before, after) == n_words
