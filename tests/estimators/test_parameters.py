"""Parameters have the effects that their descriptions promise.

Those of the training and of the networks are held against an independent loop, in
``tests/parity``; these are the others.
"""

import inspect

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch import nn

import sk_tune

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
ESTIMATORS = [
    getattr(sk_tune, network + task) for network in ARCHITECTURES for task in TARGETS
]


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


@effect_of("warm_start")
def _warm_start(cls):
    y = target_of(cls)
    anew, further = (make(cls, warm_start=w).fit(X, y).fit(X, y) for w in (False, True))

    np.testing.assert_array_equal(outputs(anew), outputs(trained(cls)))
    assert (anew.n_epochs_, further.n_epochs_) == (2, 4)
    assert further.history_[-1]["train_loss"] < anew.history_[-1]["train_loss"]


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
    unmoved = trained(cls, module=ready, learning_rate=1e-30).net_.module_
    assert all(torch.equal(p, q) for p, q in zip(before, unmoved.parameters(), strict=True))
    assert_differ(by_class, other, by_instance)


CASES = [
    pytest.param(cls, name, id=f"{cls.__name__}-{name}")
    for cls in ESTIMATORS
    for name in inspect.signature(cls).parameters
    if name in EFFECTS
]


@pytest.mark.parametrize(("cls", "name"), CASES)
def test_every_parameter_has_its_documented_effect(cls, name, request):
    """Changing any parameter changes the trained network in the documented direction."""
    check = EFFECTS[name]
    wanted = list(inspect.signature(check).parameters)[1:]
    check(cls, **{fixture: request.getfixturevalue(fixture) for fixture in wanted})


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
