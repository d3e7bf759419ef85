"""The loop for accelerators, on a processor: no waiting inside an epoch, and graphs.

A processor has no graphs; in their place stands what notes the operators of a step with the
memory that they read and write, and calls them again.
"""

import logging
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from marks import one_in
from parity.modules import Averaged
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from sk_tune import CNNClassifier, MLPClassifier, MLPRegressor, NetClassifier, RNNClassifier
from sk_tune.engine import Fit, train
from sk_tune.fleets import (
    _active_batch,
    _epoch_batches,
    _graphs,
    _loop,
    _stacked_optimizers,
)
from sk_tune.fleets._graphs import StepGraphs, Watch
from sk_tune.fleets._kernel import VARIABLE
from sk_tune.training import arrays_of_state

BASE = {"batch_size": 32, "max_epochs": 3, "device": "cpu"}
MLP = {"hidden_layer_sizes": (12, 8), "dropout": 0.2, **BASE}
CNN = {"n_channels": 3, "width": 6, "input_shape": (8, 8), "dropout": 0.2, **BASE}
ESTIMATORS = {
    "mlp": MLPClassifier(**MLP),
    "float64": MLPClassifier(**MLP, dtype="float64"),
    "batch norm": MLPClassifier(**MLP, normalization="batch", optimizer="sgd"),
    "penalties": MLPClassifier(
        **MLP, l1=1e-3, gradient_clip=0.5, label_smoothing=0.1, class_weight="balanced"
    ),
    "stopping": MLPClassifier(**MLP, early_stopping=True, lr_schedule="one_cycle"),
    "silu": MLPClassifier(**MLP, activation="silu", optimizer="rmsprop"),
    "members": MLPRegressor(**MLP, members=3, residual=True, optimizer="adam"),
    "table": MLPClassifier(
        **MLP, categorical_features=[64], numerical_embedding="periodic"
    ),
    "cnn": CNNClassifier(**CNN),
    "residual cnn": CNNClassifier(**CNN, residual=True),
    "rnn": RNNClassifier(
        hidden_size=5, input_shape=(8, 8), bidirectional=True, dropout=0.1, **BASE
    ),
}
# What draws other numbers at each step, and code of a user's, is not repeated by graphs.
WITHOUT_GRAPHS = {
    "augmented": CNNClassifier(**CNN, augmentation=["flip", "cutmix", "cutout"]),
    "user's": NetClassifier(Averaged, **BASE),
}
# What a processor does at once, and would have to wait for if a device did it; and what
# makes tensors of numbers that a device would have to be sent.
WAITING = {
    *("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__"),
    *("tensor", "as_tensor", "from_numpy", "new_tensor", "nonzero", "__array__"),
}


class Methods(TorchFunctionMode):
    """Counts calls from Python that wait for a device, or send it something."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        self.found[name] += name in WAITING
        return func(*args, **(kwargs or {}))


class Recorded(TorchDispatchMode):
    """Notes operators with their tensors, and calls them again."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, found))
        return found

    @torch.no_grad()
    def repeat(self):
        for func, args, kwargs, known in self.calls:
            found = func(*args, **kwargs)
            taken = {t.untyped_storage().data_ptr() for t in _tensors((args, kwargs))}
            for ours, theirs in zip(_tensors(known), _tensors(found), strict=True):
                if ours.untyped_storage().data_ptr() not in taken:
                    ours.copy_(theirs)


def _tensors(values):
    return [t for t in _graphs._flat(values) if isinstance(t, torch.Tensor)]


def _record(step):
    with Recorded() as recorded:
        found = step()
    return recorded.repeat, found


@pytest.fixture
def as_on_device(monkeypatch):
    """Let a fleet do on the processor what it does on a device, but for graphs."""
    monkeypatch.setenv(VARIABLE, "0")
    for module in (_active_batch, _epoch_batches, _stacked_optimizers):
        monkeypatch.setattr(module, "on_device", lambda tensor: True)


@pytest.fixture
def with_graphs(as_on_device, monkeypatch):
    """Return a function that lets fleets have graphs made by another, and the graphs."""
    made = []
    monkeypatch.setattr(_graphs, "_STEPS_BEFORE", 1)

    def with_graphs(capture):
        def step_graphs(changing):
            made.append(StepGraphs(changing, capture))
            return made[-1]

        monkeypatch.setattr(_active_batch, "step_graphs", step_graphs)
        return made

    return with_graphs


def _fits(estimator, data, **params):
    """Return fits on folds of two sizes, which differ in seeds and learning rates."""
    X = np.column_stack([data.X, np.arange(200) % 5])
    if getattr(estimator, "categorical_features", None) is None:
        X = X[:, :64]
    if isinstance(estimator, RNNClassifier):
        X = X.reshape(-1, 8, 8).copy()
        X[::3, 5:] = np.nan
    return [
        Fit(
            estimator=type(estimator)(**{
                **estimator.get_params(),
                "learning_rate": 0.002 * (1 + i),
                **params,
            }),
            X=X,
            y=data.y,
            rows=rows,
            monitor=np.arange(150, 200),
            seed=i // 2,
        )
        for i, rows in enumerate([np.arange(150), np.arange(20, 150)] * 2)
    ]


def _assert_same(trained, expected, **tolerance):
    for ours, theirs in zip(trained, expected, strict=True):
        assert ours.message == theirs.message == ""
        assert ours.engine == "fleet"
        arrays = arrays_of_state(ours.state)
        for name, array in arrays_of_state(theirs.state).items():
            np.testing.assert_allclose(arrays[name], array, **tolerance, err_msg=name)
        np.testing.assert_allclose(ours.predictions, theirs.predictions, **tolerance)
        np.testing.assert_allclose(ours.train_loss, theirs.train_loss, **tolerance)


@pytest.mark.parametrize("name", one_in(3, [*ESTIMATORS, *WITHOUT_GRAPHS]))
def test_nothing_waits_for_the_device_inside_an_epoch(
    name, digits, as_on_device, monkeypatch
):
    """From the first batch to the last, no number is asked for and none is sent."""
    epochs, batches = [], _loop.epoch_batches

    def watched(*args):
        with Watch() as watch, Methods() as methods:
            yield from batches(*args)
        epochs.append([*watch.waits, *(+methods.found)])

    monkeypatch.setattr(_loop, "epoch_batches", watched)
    trained = train(_fits({**ESTIMATORS, **WITHOUT_GRAPHS}[name], digits))

    assert [t.message for t in trained] == [""] * 4
    # Tables that are made once lie on the device from the first epoch on.
    assert len(epochs) > 1
    assert epochs[1:] == [[]] * (len(epochs) - 1)


@pytest.mark.parametrize("name", one_in(3, [*ESTIMATORS, *WITHOUT_GRAPHS]))
def test_the_loop_of_a_device_gives_what_that_of_a_processor_gives(
    name, digits, monkeypatch, request
):
    """To the rounding of another order of summation, in float64."""
    monkeypatch.setenv(VARIABLE, "0")
    fits = _fits({**ESTIMATORS, **WITHOUT_GRAPHS}[name], digits, dtype="float64")
    expected = train(fits)

    request.getfixturevalue("as_on_device")

    _assert_same(train(fits), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", one_in(3, ESTIMATORS))
def test_graphs_give_what_calls_give(name, digits, as_on_device, with_graphs):
    """To the last bit, with batches of two sizes, dropout, schedules and stopping."""
    fits = _fits(ESTIMATORS[name], digits)
    expected = train(fits)
    made = with_graphs(_record)

    _assert_same(train(fits), expected, rtol=0, atol=0)
    assert not any(graphs._refused for graphs in made)
    # Full batches, and last ones.
    assert sum(len(graphs._compared) for graphs in made) >= 2


@pytest.mark.parametrize("name", WITHOUT_GRAPHS)
def test_what_no_graph_can_repeat_is_not_recorded(name, digits, with_graphs):
    """Whoever takes other numbers at each step, or runs a user's code."""
    made = with_graphs(_record)

    train(_fits(WITHOUT_GRAPHS[name], digits))

    assert not made


ONES = torch.ones(2)


class Counter3:
    """Three numbers that grow by the numbers of a step, which lie in memory that stays."""

    def __init__(self):
        self.state, self.numbers = torch.zeros(3), torch.zeros(3)
        self.n_calls = 0

    def make(self, graphs, step, change=lambda total: total * 2):
        """Make some steps; return what each of them gave."""
        found = []
        for value in range(1, 7):
            self.numbers.fill_(value)
            found.append(float(graphs.step("key", partial(step, change))[0]))
        return found

    def step(self, change):
        self.n_calls += 1
        total = self.state.add_(self.numbers).sum()
        return (change(total),)


@pytest.fixture
def eager(monkeypatch):
    """What the steps of a ``Counter3`` give, which graphs take from the second on."""
    monkeypatch.setattr(_graphs, "_STEPS_BEFORE", 1)
    return [6.0 * total for total in (1, 3, 6, 10, 15, 21)]


def test_a_graph_makes_the_steps_after_it_was_compared(eager):
    """One by calls, one more while it is recorded, one to compare with."""
    counter = Counter3()

    assert counter.make(StepGraphs([counter.state], _record), counter.step) == eager
    assert counter.n_calls == 1 + 2 + 1


def _fails(step):
    raise RuntimeError("operation not permitted when stream is capturing")


def _forgets(step):
    _, found = _record(step)
    return (lambda: None), found


@pytest.mark.parametrize(
    ("capture", "change", "reason"),
    [
        (_fails, lambda total: total * 2, "operation not permitted"),
        (_forgets, lambda total: total * 2, "it gives other numbers"),
        (_record, lambda total: total * 2 + 0 * total.item(), "_local_scalar_dense waits"),
        (_record, lambda total: total * 2 + ONES[ONES < 1].sum(), "index waits"),
    ],
    ids=["cannot be recorded", "other numbers", "item", "mask"],
)
def test_without_a_graph_calls_make_the_steps(capture, change, reason, eager, caplog):
    """One line at level DEBUG says why, and every number is that of calls."""
    caplog.set_level(logging.DEBUG, "sk_tune.fleets")
    counter = Counter3()
    graphs = StepGraphs([counter.state], capture)

    assert counter.make(graphs, counter.step, change) == eager

    (line,) = [r.getMessage() for r in caplog.records if "CUDA graph" in r.getMessage()]
    assert reason in line


def test_numbers_that_are_no_memory_are_found_by_the_comparison(eager, caplog):
    """A graph would repeat the number of the step in which it was recorded."""
    caplog.set_level(logging.DEBUG, "sk_tune.fleets")
    counter = Counter3()
    graphs = StepGraphs([counter.state], _record)

    found = counter.make(graphs, counter.step, lambda total: total + counter.n_calls)

    # The third call was recorded, and not made.
    calls = (1, 2, 4, 5, 6, 7)
    assert found == [total / 2 + n for total, n in zip(eager, calls, strict=True)]
    assert "it gives other numbers" in caplog.text


def test_there_are_no_graphs_on_a_processor_nor_where_they_are_switched_off(monkeypatch):
    """The variable is read when a fleet is put together."""
    assert _graphs.step_graphs([torch.zeros(1)]) is None
    monkeypatch.setenv(_graphs.VARIABLE, "0")

    class OnDevice:
        device = torch.device("cuda")

    assert _graphs.step_graphs([OnDevice()]) is None
