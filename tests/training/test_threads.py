"""The number of threads of small and large networks."""

import itertools
import threading
import time

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.model_selection import cross_val_score
from skorch.callbacks import Callback
from torch import nn
from torch.overrides import TorchFunctionMode

from sk_tune import CNNClassifier, MLPClassifier, NetClassifier, RNNClassifier
from sk_tune._ensemble import BaggingClassifier
from sk_tune._training import TrainingState, _one_thread, is_small, one_thread, slowdown


def _state(*shapes):
    weights = {str(i): np.zeros(shape, np.float32) for i, shape in enumerate(shapes)}
    return TrainingState(seed=0, weights=weights, moments={})


@pytest.mark.parametrize(
    ("shapes", "X", "expected"),
    [
        ([(64, 64), (64,)], np.zeros((1000, 3)), True),
        ([(64, 64), (64,)], np.zeros((100_000, 3)), False),
        ([(4096, 4096)], np.zeros((100, 3)), False),
        ([(8, 1, 3, 3)], np.zeros((10, 3)), False),
        ([(64, 64)], sparse.csr_array((1000, 64)), True),
        ([(4, 4)], np.zeros((2, 5, 4)), False),
    ],
    ids=["few rows", "many rows", "wide", "convolution", "sparse", "sequences"],
)
def test_few_multiplications_are_small(shapes, X, expected):
    """Rows times weights decide; networks with weights shared over positions are large."""
    assert is_small(_state(*shapes), X) is expected


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("wanted", "inside"), [(True, 1), (False, 2)])
def test_threads_are_restored_after_an_error(wanted, inside):
    """Within the block torch has one thread if `wanted`; afterwards the previous number."""
    with pytest.raises(KeyError), one_thread(wanted=wanted):
        raise KeyError(torch.get_num_threads())
    assert torch.get_num_threads() == 2
    with one_thread(wanted=wanted):
        assert torch.get_num_threads() == inside


def _finish(threads):
    """Run threads at the same time."""
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


@pytest.mark.usefixtures("two_threads")
def test_overlapping_blocks_restore_torchs_number_of_threads():
    """Torch reports 1 in overlapping blocks, which must not become permanent."""
    inside, left = threading.Event(), threading.Event()
    result = []

    def first():
        with one_thread():
            inside.set()
            left.wait(10)

    def second():
        inside.wait(10)
        with one_thread(), one_thread():
            result.append(torch.get_num_threads())
            left.set()
            threads[0].join(10)
        result.append(torch.get_num_threads())

    threads = [threading.Thread(target=run) for run in (first, second)]
    _finish(threads)
    _finish([threading.Thread(target=lambda: result.append(torch.get_num_threads()))])

    assert result == [1, 2, 2]


@pytest.fixture
def seen(two_threads):
    """Torch's number of threads in each call of a layer."""
    result = []
    hook = nn.modules.module.register_module_forward_pre_hook(
        lambda *_: result.append(torch.get_num_threads())
    )
    yield result
    hook.remove()


class _Wide(nn.Module):
    """Uses its weights at each position of a row."""

    def __init__(self, n_outputs, width):
        super().__init__()
        self.first = nn.Conv1d(1, width, 1)
        self.output = nn.Linear(width, n_outputs)

    def forward(self, x):
        return self.output(self.first(x.unsqueeze(1)).mean(2))


Y = np.arange(120) % 2
ONCE = {"batch_size": -1, "max_epochs": 1}
# A callback prevents the kernel, so that torch trains these.
WATCHED = ONCE | {"callbacks": [Callback()]}
NETWORKS = {
    "mlp": lambda n: MLPClassifier(width=n, **WATCHED),
    "members": lambda n: MLPClassifier(width=64, members=n, **WATCHED),
    "cnn": lambda n: CNNClassifier(n_channels=n, width=4, **WATCHED),
    "rnn": lambda n: RNNClassifier(hidden_size=n, **WATCHED),
    "module": lambda n: NetClassifier(_Wide, module__width=12 * n, **ONCE),
}


@pytest.mark.parametrize(("size", "expected"), [(4, {1}), (1024, {2})])
@pytest.mark.parametrize("name", NETWORKS)
def test_small_networks_take_one_thread_and_large_ones_all(name, size, expected, seen):
    """In `fit` and `predict`; afterwards the user's number of threads is restored."""
    size = {("cnn", 1024): 96, ("rnn", 1024): 256, ("members", 1024): 256}.get(
        (name, size), size
    )
    # Uses few weights at many positions of a row.
    n_features = {"rnn": 16, "module": 32}.get(name, 64)
    X = np.random.default_rng(0).normal(size=(120, n_features))
    net = NETWORKS[name](size).set_params(random_state=0)

    net.fit(X, Y)
    # The first calls of a user's module only check it.
    trained = set(seen[-3:])
    assert torch.get_num_threads() == 2
    seen.clear()
    net.predict_proba(np.tile(X, (3, 1)))

    assert (trained, set(seen), torch.get_num_threads()) == (expected, expected, 2)


@pytest.mark.usefixtures("two_threads")
def test_scores_of_folds_are_computed_in_one_thread(seen):
    """Including whole cross-validations of a small network."""
    X = np.random.default_rng(0).normal(size=(120, 4))
    cross_val_score(MLPClassifier(max_epochs=1, random_state=0), X, Y, cv=2)

    assert set(seen) == {1}
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_probabilities_are_computed_in_one_thread():
    """Even for few of them torch would use several threads and wait for busy cores."""
    result = []

    class Note(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if "softmax" in func.__name__:
                result.append(torch.get_num_threads())
            return func(*args, **(kwargs or {}))

    X = np.random.default_rng(0).normal(size=(120, 4))
    net = MLPClassifier(members=1, max_epochs=1).fit(X, Y)
    bag = BaggingClassifier(net, n_estimators=2).fit(X, Y)
    with Note():
        net.predict_proba(X), net.predict_log_proba(X), bag.predict_proba(X)

    assert result == [1] * 3


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("wanted", [3, None], ids=["set", "error"])
def test_a_callbacks_number_of_threads_remains(wanted):
    """A number of threads set by a callback remains; an error does not change it."""

    class Ask(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if wanted is None:
                raise KeyError(torch.get_num_threads())
            torch.set_num_threads(wanted)

    net = MLPClassifier(max_epochs=1, callbacks=[Ask()])
    if wanted is None:
        with pytest.raises(KeyError, match="1"):
            net.fit(np.eye(4), [0, 1, 0, 1])
    else:
        net.fit(np.eye(4), [0, 1, 0, 1])

    assert torch.get_num_threads() == (wanted or 2)


@pytest.mark.usefixtures("two_threads")
def test_networks_in_python_threads_restore_torchs_number_of_threads():
    """In any order of endings, and in threads that begin afterwards."""
    X = np.random.default_rng(0).normal(size=(120, 4))
    result = []

    def train(n_epochs):
        MLPClassifier(max_epochs=n_epochs, random_state=0).fit(X, Y).predict(X)
        result.append(torch.get_num_threads())

    threads = [threading.Thread(target=train, args=(n,)) for n in (1, 20, 5)]
    _finish(threads)
    _finish([threading.Thread(target=lambda: result.append(torch.get_num_threads()))])

    assert result == [2] * 4
    assert torch.get_num_threads() == 2


def test_the_slowdown_is_the_time_for_a_second_of_computation(monkeypatch):
    """If another program has the processor two thirds of the time, the slowdown is 3."""
    ticks = itertools.count()
    monkeypatch.setattr(time, "thread_time", lambda: 0.01 * next(ticks))
    monkeypatch.setattr(time, "perf_counter", lambda: 0.03 * next(ticks))
    _one_thread._slowdown_in.cache_clear()
    monkeypatch.setattr(_one_thread, "_SECONDS_TO_MEASURE", 20.0)
    assert slowdown() == pytest.approx(3, rel=0.01)
    _one_thread._slowdown_in.cache_clear()
