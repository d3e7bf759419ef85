"""Keys of fits: equal for equal results, in any process, and different otherwise."""

import os
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from modules import OneLayer
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping
from torch import nn
from torch.utils.data import TensorDataset

from sk_tune import MLPClassifier, NetClassifier
from sk_tune._augment import Noise
from sk_tune._engine import Fit, train
from sk_tune._engine._results import FitKeys
from sk_tune._fleets._kernel_library import compiled_library

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 3)), np.arange(12) % 2
BASE = Fit(
    estimator=MLPClassifier(width=4, random_state=0),
    X=X,
    y=Y,
    rows=np.arange(8),
    monitor=np.arange(8, 12),
    seed=1,
    n_epochs=2,
)


def _key(fit):
    return FitKeys().key(fit)


def _changed(array):
    other = array.copy()
    other[-1] = other[0]
    return other


OTHERS = {
    **{
        name: {"estimator": MLPClassifier(**{"width": 4, "random_state": 0, name: "x"})}
        for name in MLPClassifier().get_params()
        if name not in ("random_state", "verbose", "warm_start")
    },
    "type of a parameter": {"estimator": MLPClassifier(width=4, dropout=0, random_state=0)},
    "noise": {"estimator": MLPClassifier(augmentation=[Noise(0.1)], random_state=0)},
    "more noise": {"estimator": MLPClassifier(augmentation=[Noise(0.2)], random_state=0)},
    "X": {"X": _changed(X)},
    "dtype of X": {"X": X.astype(np.float32)},
    "shape of X": {"X": X.reshape(12, 3, 1)},
    "y": {"y": _changed(Y)},
    "rows": {"rows": np.arange(1, 8)},
    "order of rows": {"rows": np.arange(8)[::-1]},
    "monitor": {"monitor": np.arange(9, 12)},
    "weights": {"sample_weight": np.ones(12)},
    "seed": {"seed": 2},
    "epochs": {"n_epochs": 3},
    "class": {"estimator": NetClassifier(OneLayer, random_state=0)},
}


def test_every_part_of_a_fit_counts():
    """Changing any part changes the key."""
    keys = [_key(replace(BASE, **parts)) for parts in ({}, *OTHERS.values())]
    assert len(set(keys)) == len(keys)


def test_the_state_of_a_resumed_fit_counts():
    """Other weights or another step give another key."""
    states = [train([replace(BASE, seed=seed)])[0].state for seed in (0, 1)]
    states += [None, replace(states[0], n_steps=9)]

    assert len({_key(replace(BASE, state=state)) for state in states}) == 4


@pytest.mark.parametrize(
    "parts",
    [
        {"estimator": MLPClassifier(width=4, random_state=5, verbose=1)},
        {"name": "candidate 3"},
        {"X": np.asfortranarray(X)},
        {"X": np.concatenate([X, X])[:12]},
        {"X": np.repeat(X, 2, axis=0)[::2]},
    ],
    ids=["seed and lines of the estimator", "name", "order in memory", "copy", "view"],
)
def test_parameters_without_effect_do_not_count(parts):
    """Only the fit's seed counts, and memory layout does not."""
    assert _key(replace(BASE, **parts)) == _key(BASE)


def test_other_versions_are_other_fits(monkeypatch):
    """Results of another release are not reused."""
    before = _key(BASE)
    monkeypatch.setattr("sk_tune.__version__", "99.0")

    assert _key(BASE) != before


def _builder(n_outputs):
    def build(n_features=3):
        return nn.Linear(n_features, n_outputs)

    return build


def test_unreadable_values_have_no_key():
    """A lock is an example."""
    net = NetClassifier(_builder(threading.Lock()), random_state=0)

    with pytest.raises(
        TypeError, match="the variable 'n_outputs' around .* cannot be read"
    ):
        _key(replace(BASE, estimator=net))


def test_a_lazy_data_set_has_no_key():
    """Its files may have changed."""
    data = TensorDataset(torch.ones(4, 2))

    with pytest.raises(TypeError, match="samples of TensorDataset are unknown"):
        _key(replace(BASE, X=data))


class Derived(MLPClassifier):
    """Of a user, who may read any parameter."""


def test_seeds_count_where_a_user_may_read_them():
    """A class of sk_tune takes the seed of the fit."""
    keys = [_key(replace(BASE, estimator=Derived(random_state=seed))) for seed in (0, 1)]

    assert keys[0] != keys[1]


def test_the_order_of_class_weights_does_not_count():
    """They are found by label."""
    weights = [{0: 1.0, 1: 2.0}, {1: 2.0, 0: 1.0}, {0: 2.0, 1: 1.0}]
    keys = [_key(replace(BASE, estimator=MLPClassifier(class_weight=w))) for w in weights]

    assert keys[0] == keys[1] != keys[2]


def test_the_device_behind_auto_counts(monkeypatch):
    """Results of a CPU are not reused on a GPU."""
    cpu, auto = (
        _key(replace(BASE, estimator=MLPClassifier(device=name)))
        for name in ("cpu", "auto")
    )
    has_gpu = torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: not has_gpu)
    other = _key(replace(BASE, estimator=MLPClassifier(device="auto")))

    assert len({cpu, auto, other}) == 2


def test_the_history_of_a_resumed_fit_counts_without_times():
    """The resulting history includes it."""
    (state,) = (trained.state for trained in train([BASE]))
    rows = [
        {**state.history[0], **own} for own in ({}, {"dur": 9.0}, {"monitor_score": 0.25})
    ]
    keys = [
        _key(replace(BASE, state=replace(state, history=(row, *state.history[1:]))))
        for row in rows
    ]

    assert keys[0] == keys[1] != keys[2]


def test_each_engine_has_its_own_keys():
    """Fleet results never replace reference results."""
    assert FitKeys("alone").key(BASE) != _key(BASE)


def test_the_default_type_of_torch_counts():
    """Layers that a user's module makes have it."""
    before = _key(BASE)
    torch.set_default_dtype(torch.float64)
    try:
        assert _key(BASE) != before
    finally:
        torch.set_default_dtype(torch.float32)


def test_plain_skorch_nets_have_keys():
    """With their callbacks."""
    nets = [
        NeuralNetClassifier(OneLayer, callbacks=[EarlyStopping(patience=n)])
        for n in (2, 2, 3)
    ]
    first, same, other = (_key(replace(BASE, estimator=net)) for net in nets)

    assert first == same != other


SCRIPT = """
import collections
import numpy as np
from torch import nn
from skorch.callbacks import EarlyStopping
from sk_tune import MLPClassifier
from sk_tune._engine import Fit
from sk_tune._engine._digest import value_digest
from sk_tune._engine._results import FitKeys

SIZES = {"a", "b", "c"}

class Net(nn.Module):
    names = frozenset({"x", "y", "z"})
    def __init__(self, n_features=3):
        super().__init__()
        self.layer = nn.Linear(n_features, len(SIZES))
    def forward(self, x):
        return self.layer(x) if "a" in {"a", "b", "c"} else x

values = [Net, {"p", "q", "r"}, EarlyStopping(), collections.Counter("aab"), nn.ReLU()]
net = MLPClassifier(class_weight={0: 1.0, 1: 2.0}, hidden_layer_sizes=(3, 2))
fit = Fit(estimator=net, X=np.eye(4), y=np.array(["a", "b", "a", "b"]), seed=0, n_epochs=1)
print(value_digest(values), FitKeys().key(fit))
"""


@pytest.mark.slow
def test_keys_and_digests_are_the_same_in_every_process(capsys):
    """Python's own hashes, by which sets are ordered, change from run to run."""
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    there = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    exec(compile(SCRIPT, "<string>", "exec"), {"__name__": "__main__"})

    assert there == capsys.readouterr().out != ""


def test_fits_by_compiled_code_and_by_torch_have_different_keys(
    monkeypatch, iris, tmp_path
):
    """They differ in the last bits, so that a store keeps both."""
    estimator = MLPClassifier(width=4, max_epochs=2, random_state=0)
    fit = Fit(estimator=estimator, X=iris.X, y=iris.y, monitor=np.arange(9))
    monkeypatch.delenv("SK_TUNE_KERNEL", raising=False)
    if compiled_library() is None:
        pytest.skip("needs the kernel")

    found = []
    for value in ("", "0", "", "0"):
        monkeypatch.setenv("SK_TUNE_KERNEL", value)
        found += train([fit], store=tmp_path / "fits.db")

    assert [trained.is_loaded for trained in found] == [False, False, True, True]
    for first, again in zip(found[:2], found[2:], strict=True):
        np.testing.assert_array_equal(first.predictions, again.predictions)
