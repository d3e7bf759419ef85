"""The parameter ``augmentation`` of an estimator changes training rows only."""

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from modules import OneLayer
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback

from sk_tune import CNNClassifier, MLPClassifier, NetClassifier, RNNClassifier
from sk_tune._augment import (
    Augmentation,
    CutMix,
    Flip,
    Mixup,
    Noise,
    Shift,
    TimeMask,
    as_augmentations,
)
from sk_tune._engine import Fit, train

OF_NETWORKS = {
    "MLP": [Noise(0.3), "mixup"],
    "CNN": ["flip", Shift(1), Mixup(1.0)],
    "RNN": ["noise", "time_mask", "mixup"],
    "Net": ["noise", "mixup"],
}
NAMES = [network + task for network in OF_NETWORKS for task in ("Classifier", "Regressor")]


@pytest.fixture
def make(make_estimator):
    """Return a function that makes an estimator with the named augmentations."""

    def make(name, **params):
        return make_estimator(
            name, **{"augmentation": OF_NETWORKS[name[:3]], "max_epochs": 3, **params}
        )

    return make


class Watching(OneLayer):
    """Records its inputs in training and in evaluation mode."""

    seen: dict[bool, list[torch.Tensor]]

    def forward(self, x):
        self.seen[self.training].append(x.detach().clone())
        return super().forward(x)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_fit_gives_the_same_network(name, make, task_data, outputs):
    """It differs from the network without augmentation; global generators are unchanged."""
    X, y = task_data(name)
    state = torch.get_rng_state()
    fitted = [make(name).fit(X, y), make(name).fit(X, y)]
    plain = make(name, augmentation=None).fit(X, y)

    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(outputs(fitted[0], X), outputs(fitted[1], X))
    assert not np.array_equal(outputs(fitted[0], X), outputs(plain, X))


@pytest.mark.filterwarnings("ignore:.*trained alone:sk_tune.exceptions.SkTuneWarning")
@pytest.mark.parametrize("augmentation", ["noise", Mixup(1.0)])
def test_only_training_rows_are_changed(augmentation, task_data):
    """Validation rows, monitored rows and rows to predict are unchanged."""
    X, y = task_data("NetClassifier")
    params = {"early_stopping": True, "max_epochs": 2, "random_state": 0, "device": "cpu"}
    # Callbacks prevent fleets, in which the module would see several networks' samples.
    params["callbacks"] = [Callback()]
    net = NetClassifier(Watching, augmentation=augmentation, **params)
    Watching.seen = {True: [], False: []}

    net.fit(X, y)
    net.predict(X)
    train([Fit(estimator=net, X=X, y=y, monitor=np.arange(9), seed=0)])

    known = {row.tobytes() for row in X}
    in_training = torch.cat(Watching.seen[True]).numpy()
    in_evaluation = torch.cat(Watching.seen[False]).numpy()
    value = [row.tobytes() in known for row in in_evaluation]
    # Two rows of zeros whenever a module is built.
    assert all(ok or not row.any() for ok, row in zip(value, in_evaluation, strict=True))
    assert sum(value) > 60
    assert not any(row.tobytes() in known for row in in_training)


@pytest.mark.filterwarnings("ignore:.*trained alone:sk_tune.exceptions.SkTuneWarning")
@pytest.mark.parametrize("batch_size", [-1, 60])
def test_equal_rows_are_changed_differently(batch_size):
    """In a full batch they are not one row with a weight."""
    X, y = np.ones((60, 8), dtype=np.float32), np.arange(60) % 2
    params = {"batch_size": batch_size, "max_epochs": 1, "callbacks": [Callback()]}
    Watching.seen = {True: [], False: []}

    NetClassifier(Watching, augmentation="noise", device="cpu", **params).fit(X, y)

    assert len(torch.unique(Watching.seen[True][-1], dim=0)) == 60


def test_every_epoch_changes_rows_differently(task_data):
    """The noise of two epochs differs."""
    X, y = task_data("NetClassifier")
    net = NetClassifier(
        Watching, augmentation=Noise(1.0), max_epochs=2, batch_size=-1, random_state=0
    )
    Watching.seen = {True: [], False: []}

    net.fit(X, y)

    first, second = (batch.numpy() for batch in Watching.seen[True])
    assert np.abs(first[:, None] - second[None]).sum(axis=2).min() > 0.1


def test_weights_are_mixed_like_rows(make, task_data, outputs):
    """Equal weights have no effect, others do, and rows of weight 0 are ignored."""
    X, y = task_data("MLPClassifier")
    weight = np.arange(len(y)) % 3.0
    net = make("MLPClassifier", augmentation=Mixup(1.0))
    plain, equal, weighted, absent = (
        outputs(clone(net).fit(*args), X)
        for args in [
            (X, y),
            (X, y, np.full(len(y), 2.0)),
            (X, y, weight),
            (X[weight > 0], y[weight > 0], weight[weight > 0]),
        ]
    )

    np.testing.assert_array_equal(equal, plain)
    assert not np.array_equal(weighted, plain)
    np.testing.assert_array_equal(absent, weighted)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_keeps_the_augmentation(name, make, task_data, outputs, tmp_path):
    """A loaded or unpickled estimator continues to the result of one training."""
    X, y = task_data(name)
    at_once = make(name, max_epochs=4).fit(X, y)
    net = make(name, max_epochs=4).partial_fit(X, y, n_epochs=2)
    net.save(tmp_path / "net.safetensors")
    module = {"module": net.module} if name.startswith("Net") else {}

    loaded = type(net).load(tmp_path / "net.safetensors", **module)

    assert clone(loaded).augmentation == net.augmentation
    assert f"augmentation={net.augmentation[:1]!r}"[:-1] in repr(net)
    for own in (loaded, pickle.loads(pickle.dumps(net))):
        own.partial_fit(X, y, n_epochs=2)
        np.testing.assert_array_equal(outputs(own, X), outputs(at_once, X))


def test_codes_of_categories_reach_the_network_as_codes():
    """A code with noise would be another category or invalid."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, 4, 60), rng.normal(size=60)])
    net = MLPClassifier(categorical_features=[0], augmentation=["noise", "mixup"])
    seen = []

    class Watch(Callback):
        def on_train_begin(self, net, **kwargs):
            inputs = net.module_.inputs
            inputs.register_forward_pre_hook(lambda _, args: seen.append(args[0]))

    net.set_params(callbacks=[Watch()], max_epochs=2).fit(X, X[:, 0] > 1)

    codes, numbers = torch.cat(seen).unbind(1)
    assert set(codes.tolist()) == {0, 1, 2, 3}
    assert not set(numbers.tolist()) & set(X[:, 1].astype(np.float32).tolist())


@pytest.mark.parametrize(
    "value", ["flipp", ["flip", "flipp"], 3, {"flip": 0.5}, Flip, [Mixup(), CutMix()]]
)
def test_invalid_augmentations_are_refused(value, task_data):
    """The message is scikit-learn's, with all names."""
    X, y = task_data("CNNClassifier")
    message = (
        r"The 'augmentation' parameter of CNNClassifier must be a str among \{.*'flip'.*"
        r"\}, an instance of a class of sk_tune.augment, .* or None. Got .* instead."
    )
    net = CNNClassifier(augmentation=value)

    with pytest.raises(ValueError, match=message):
        net.fit(X, y)
    with pytest.raises(NotFittedError):
        net.predict(X)
    (failed,) = train([Fit(estimator=net, X=X, y=y)])
    assert failed.status == "failed"
    assert "augmentation" in failed.message


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (
            MLPClassifier(augmentation="flip"),
            "augmentation='flip' of MLPClassifier needs",
        ),
        (MLPClassifier(augmentation=["noise", TimeMask()]), "'time_mask' of MLPClassifier"),
        (
            CNNClassifier(augmentation="flip"),
            r"'flip' of CNNClassifier needs images.*with input_shape=\(height, width\)",
        ),
        (
            CNNClassifier(augmentation=Shift(4), input_shape=(2, 4)),
            r"Shift\(pixels=4\) in the 'augmentation' parameter of CNNClassifier must be",
        ),
        (RNNClassifier(augmentation="cutout"), "'cutout' of RNNClassifier needs"),
        (NetClassifier(Watching, augmentation="flip"), "'flip' of NetClassifier needs"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_unsuitable_rows_are_refused(net, message, task_data):
    """A table cannot be flipped; in a fleet the fit fails with the same message."""
    X, y = task_data("MLPClassifier")
    Watching.seen = {True: [], False: []}

    with pytest.raises(ValueError, match=message):
        net.fit(X, y)
    (failed,) = train([Fit(estimator=net, X=X, y=y)])
    assert failed.status == "failed"
    assert "augmentation" in failed.message


def test_callbacks_get_rows_without_augmentation(task_data):
    """Batch hooks get rows of X without augmentation."""
    batches = []

    class Watch(Callback):
        def on_batch_end(self, net, batch, training, **kwargs):
            batches.append(batch[0].numpy())

    X, y = task_data("MLPClassifier")
    net = MLPClassifier(augmentation=["noise", "mixup"], max_epochs=1, callbacks=[Watch()])

    net.fit(X, y)

    known = {row.tobytes() for row in X}
    assert {row.tobytes() for batch in batches for row in batch} == known


INVERTED = {
    "input_shape": (2, 4),
    "max_epochs": 2,
    "dtype": "float64",
    "random_state": 0,
}
# The order of the samples depends on their values.
WITHOUT_ORDER = {"batch_size": -1, "dropout": 0.0}


@dataclass(frozen=True)
class Invert(Augmentation, layouts={"image"}):
    """A user's augmentation."""

    p: float = 0.5

    def augment(self, X, numbers):
        is_inverted = numbers.uniform() < self.p
        return torch.where(is_inverted.view(-1, 1, 1, 1), 1 - X, X)


@dataclass(frozen=True)
class Empty(Augmentation):
    """An augmentation without its method."""


def test_a_users_augmentation_trains_in_fleets_as_alone(task_data):
    """Each network has its own strength; the results equal those of networks alone."""
    X, y = task_data("CNNClassifier")
    chains = [[Invert(p), Noise(0.1)] for p in (0.0, 0.5, 1.0)]
    net = CNNClassifier(**INVERTED)
    fits = [
        Fit(estimator=clone(net).set_params(augmentation=chain), X=X, y=y, monitor=[0, 1])
        for chain in chains
    ]

    fleet, alone = train(fits), train(fits, engine="alone")

    assert [(t.message, t.engine, t.alone_reason) for t in fleet] == [("", "fleet", "")] * 3
    for together, single in zip(fleet, alone, strict=True):
        np.testing.assert_allclose(together.predictions, single.predictions, atol=1e-9)
    assert len({trained.train_loss[-1] for trained in fleet}) == 3


def test_a_users_augmentation_changes_the_samples_it_selects(task_data):
    """Inverting every image equals training on inverted images."""
    X, y = task_data("CNNClassifier")
    net = CNNClassifier(**INVERTED, **WITHOUT_ORDER)

    inverted = clone(net).set_params(augmentation=Invert(1.0)).fit(X, y)

    expected = net.fit(1 - X, y).net_.history[:, "train_loss"]
    np.testing.assert_allclose(inverted.net_.history[:, "train_loss"], expected, rtol=1e-6)


def test_an_augmentation_must_define_its_method(task_data):
    """The error names the method."""
    with pytest.raises(ValueError, match=r"Empty must define augment\(X, numbers\)"):
        as_augmentations(Empty())
    with pytest.raises(ValueError, match=r"'Invert' of MLPClassifier needs images"):
        MLPClassifier(augmentation=Invert()).fit(*task_data("MLPClassifier"))
