"""Numbers of networks and checkpoints that fit into memory."""

import dataclasses
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping, LRScheduler
from torch import nn

from sk_tune import CNNClassifier, MLPClassifier, RNNClassifier
from sk_tune._engine import Fit, _memory_limits, checkpoint_before, train
from sk_tune._engine._memory_limits import (
    checkpoint_epochs,
    networks_at_a_time,
    seconds_per_epoch,
)
from sk_tune._engine._results import FitKeys
from sk_tune._fleets import FleetNetwork, Plan, Recipe, SeededCourse, Settings
from sk_tune._nets import MLP
from sk_tune._training import StoppingState, TensorSet, TrainingState, available_memory

KERNEL, LAYERS = Plan(way="kernel"), Plan(way="layers")


def _row(n_samples=100, n_features=10, width=16):
    module = nn.Sequential(
        nn.Linear(n_features, width), nn.BatchNorm1d(width), nn.Linear(width, 2)
    )
    return FleetNetwork(
        module=module,
        course=SeededCourse(
            0,
            learning_rate=0.1,
            lr_schedule="constant",
            schedule_epochs=1,
            patience=None,
            tol=0.0,
            stopping=StoppingState(),
            first_epoch=0,
        ),
        settings=Settings(momentum=0.9, beta_2=0.999, weight_decay=0.0),
        state=TrainingState(seed=0, weights={}, moments={}),
        n_epochs=1,
        train=TensorSet(torch.zeros(n_samples, n_features), torch.zeros(n_samples)),
        valid=None,
        monitor=None,
        learning_rate=0.1,
    )


def _recipe(batch_size=32):
    return Recipe(
        optimizer="sgd",
        nesterov=False,
        batch_size=batch_size,
        loss=None,
        score=None,
        draws_globally=False,
    )


@given(limit=st.integers(0, 2**40), width=st.sampled_from([1, 16, 400]))
def test_at_least_one_row_trains_and_on_a_cpu_few(limit, width):
    """Without any memory and with all of it; vmap trains fewest."""
    row = _row(width=width)

    assert 1 <= networks_at_a_time(row, _recipe(), limit, LAYERS) <= 64
    assert 1 <= networks_at_a_time(row, _recipe(), limit, Plan(way="vmap")) <= 32


@given(limits=st.lists(st.integers(0, 2**26), min_size=2, max_size=2).map(sorted))
def test_more_memory_never_means_fewer_rows(limits):
    """The count grows with the limit."""
    row, recipe = _row(), _recipe()

    counts = [networks_at_a_time(row, recipe, limit, LAYERS) for limit in limits]

    assert counts == sorted(counts)


@pytest.mark.parametrize(
    "larger",
    [
        {"network": _row(width=512)},
        {"network": _row(n_features=4000)},
        {"recipe": _recipe(batch_size=-1), "network": _row(n_samples=20_000)},
    ],
    ids=["wide", "many features", "full batch"],
)
def test_larger_networks_and_batches_mean_fewer_rows(larger):
    """The memory of a network depends on its weights, activations and batch."""
    small = {
        "network": _row(),
        "recipe": _recipe(),
        "memory_limit": 2**20,
        "network_plan": LAYERS,
    }

    assert networks_at_a_time(**{**small, **larger}) < networks_at_a_time(**small)


def _files(monkeypatch, texts):
    """Replace the contents of files; all other files are missing."""

    def read_text(path, encoding=None):
        if str(path) not in texts:
            raise FileNotFoundError(path)
        return texts[str(path)]

    monkeypatch.setattr(_memory_limits.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(Path, "read_text", read_text)


MEMINFO = "MemTotal: 32000 kB\nMemFree: 300 kB\nMemAvailable: 25000 kB\n"
STAT = "anon 10\nfile 900\ninactive_file 1000\nactive_file 200\n"
NEW, OLD = "/sys/fs/cgroup/memory.", "/sys/fs/cgroup/memory/memory."


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({}, 4 * 2**30),
        ({"/proc/meminfo": "MemTotal: 32000 kB\n"}, 4 * 2**30),
        ({"/proc/meminfo": MEMINFO}, 25000 * 1024),
        (
            {f"{NEW}max": "9000\n", f"{NEW}current": "5000\n", f"{NEW}stat": STAT},
            9000 - 5000 + 1200,
        ),
        (
            {f"{NEW}max": "max\n", f"{NEW}current": "5000\n", f"{NEW}stat": STAT},
            25000 * 1024,
        ),
        (
            {
                f"{OLD}limit_in_bytes": "9000",
                f"{OLD}usage_in_bytes": "9500",
                f"{OLD}stat": "cache 1\n",
            },
            0,
        ),
    ],
    ids=["no files", "old kernel", "machine", "container", "no limit", "old container"],
)
def test_memory_is_what_programs_can_have(texts, expected, monkeypatch):
    """Caches are given back; a container has less than its host, others count as small."""
    if len(texts) > 1:
        texts = {"/proc/meminfo": MEMINFO, **texts}
    _files(monkeypatch, texts)

    assert available_memory() == expected


def _mlp_row(width, n_samples):
    module = MLP(
        10,
        2,
        hidden_layer_sizes=(width,),
        activation="relu",
        normalization=None,
        residual=False,
        dropout=0.0,
    )
    return dataclasses.replace(_row(n_samples=n_samples), module=module)


def test_an_epoch_is_guessed_from_its_products_and_steps(monkeypatch):
    """Three products for each weight and sample, and the calls of each step."""
    monkeypatch.setattr(_memory_limits, "_PRODUCTS_PER_SECOND", 1000)
    monkeypatch.setattr(_memory_limits, "_SECONDS_PER_STEP", 7)

    seconds = seconds_per_epoch(_mlp_row(4, 100), _recipe(batch_size=32), LAYERS)

    assert seconds == pytest.approx(3 * (10 * 4 + 4 + 4 * 2 + 2) * 100 / 1000 + 4 * 7)


def test_rows_that_compiled_code_trains_need_no_room_in_the_cache():
    """They train in sequence; the memory limit still applies."""
    row, recipe = _mlp_row(300, 5000), _recipe(batch_size=2048)

    assert (
        networks_at_a_time(row, recipe, 10**12, KERNEL) == _memory_limits._MOST_NETWORKS_CPU
    )
    assert networks_at_a_time(row, recipe, 1, KERNEL) == 1


@pytest.mark.parametrize(("n_features", "n_networks"), [(4, 1), (50, 1), (128, 4)])
def test_orders_of_large_data_take_a_quarter_of_their_memory(
    monkeypatch, n_features, n_networks
):
    """An order takes four int64 per sample; X four bytes per feature and sample."""
    monkeypatch.setattr(_memory_limits, "LARGE_SAMPLES", 0)
    row = _row(n_features=n_features)

    assert networks_at_a_time(row, _recipe(), 10**12, KERNEL) == n_networks


def test_steps_of_other_networks_are_measured(monkeypatch):
    """Under vmap they share their calls; alone each has skorch's loop around it."""
    row, recipe = _row(n_samples=100), _recipe(batch_size=32)
    assert 0 < seconds_per_epoch(row, recipe, Plan(way="vmap")) < 10
    monkeypatch.setattr(_memory_limits, "_measured_step", lambda *_: 6.0)

    assert seconds_per_epoch(row, recipe, Plan(way="vmap")) == 4 * 6 / 2
    assert seconds_per_epoch(row, recipe, Plan(way="alone")) == pytest.approx(4 * 6.001)


def test_a_step_of_a_module_that_fails_takes_for_ever():
    """Its training will report the error."""
    row = dataclasses.replace(_row(), module=nn.Linear(3, 3))

    assert seconds_per_epoch(row, _recipe(), Plan(way="vmap")) == math.inf


N_EPOCHS = 6


class Net(nn.Sequential):
    """A small network with dropout."""

    def __init__(self):
        super().__init__(nn.Linear(64, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 10))


def _skorch(*callbacks):
    return NeuralNetClassifier(
        Net,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        max_epochs=N_EPOCHS,
        callbacks=list(callbacks),
        train_split=None,
        verbose=0,
    )


def _mlp(**params):
    own = {"width": 8, "members": 1, "batch_size": 32, "max_epochs": N_EPOCHS}
    return MLPClassifier(random_state=0, **(own | params))


NETS = {
    "dropout": _mlp(dropout=0.3, l1=1e-4),
    "batch norm": _mlp(normalization="batch", lr_schedule="cosine"),
    "momentum": _mlp(optimizer="sgd", momentum=0.9, learning_rate=0.1),
    "early stopping": _mlp(
        width=32, early_stopping=True, n_iter_no_change=2, learning_rate=0.3
    ),
    "members": _mlp(members=2),
    "convolution": CNNClassifier(
        n_channels=4, input_shape=(1, 8, 8), max_epochs=N_EPOCHS, random_state=0
    ),
    "recurrence": RNNClassifier(
        hidden_size=4, input_shape=(8, 8), max_epochs=N_EPOCHS, random_state=0
    ),
    "skorch": _skorch(),
    "skorch, callbacks": _skorch(
        LRScheduler("StepLR", step_size=2, gamma=0.5),
        EarlyStopping(monitor="train_loss", patience=4),
    ),
}


def _fit(data, net, **params):
    X = data.X.astype(np.float32)
    rows = np.arange(150)
    monitor = np.arange(150, 200)
    return Fit(estimator=net, X=X, y=data.y, rows=rows, monitor=monitor, seed=1, **params)


@pytest.mark.parametrize("name", NETS)
def test_a_fit_continued_from_a_checkpoint_is_the_same_fit(
    name, digits, monkeypatch, assert_same_training
):
    """To the bit: history, weights, moments and predictions, for every epoch."""
    fit = _fit(digits, NETS[name])
    monkeypatch.setattr("sk_tune._engine._memory_limits._COST", 0.0)
    (whole,) = train([replace(fit, keeps_checkpoints=True)])

    n_trained = len(whole.state.history)
    if name == "early stopping":
        # Else last and best weights would be the same.
        assert 1 < whole.state.stopping.best_epoch < n_trained < N_EPOCHS
    lengths = [len(state.history) for state in whole.checkpoints]
    assert lengths == list(range(1, n_trained))
    for n_epochs in range(2, n_trained + 1):
        own = replace(fit, n_epochs=n_epochs)
        checkpoint = checkpoint_before(whole.checkpoints, n_epochs)
        (anew,), (short,) = train([own]), train([replace(own, checkpoint=checkpoint)])
        assert len(checkpoint.history) == n_epochs - 1
        assert_same_training(short, anew)


@pytest.mark.usefixtures("workers_for_little")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_checkpoints_change_nothing_and_come_from_workers_too(
    n_jobs, digits, assert_same_training
):
    """Only those fits have some that are to keep them."""
    fits = [_fit(digits, NETS["dropout"]), _fit(digits, NETS["batch norm"])]
    plain = train(fits, n_jobs=n_jobs)

    kept = train([fits[0], replace(fits[1], keeps_checkpoints=True)], n_jobs=n_jobs)

    for own, other in zip(kept, plain, strict=True):
        assert_same_training(own, other)
    assert [[len(s.history) for s in own.checkpoints] for own in kept] == [[], [2, 4]]
    # What goes on from a state has checkpoints of its new epochs.
    fit = replace(fits[0], keeps_checkpoints=True)
    (rung,) = train([replace(fit, n_epochs=2)])
    (rest,) = train([replace(fit, state=rung.state, n_epochs=4)])
    assert [len(state.history) for state in rest.checkpoints] == [4]


def test_without_room_there_are_none(digits):
    """Memory is for networks in training first."""
    fit = _fit(digits, NETS["dropout"], keeps_checkpoints=True)

    (trained,) = train([fit], memory_limit=16 * 100)

    assert trained.state is not None
    assert trained.checkpoints == ()


def test_a_store_finds_a_fit_with_any_checkpoints(digits):
    """Checkpoints do not belong to the key of a result."""
    fit = _fit(digits, NETS["dropout"], n_epochs=2)
    (trained,) = train([fit])
    key = FitKeys().key(fit)

    assert FitKeys().key(replace(fit, keeps_checkpoints=True)) == key
    assert FitKeys().key(replace(fit, checkpoint=trained.state)) == key


def test_a_store_does_not_keep_checkpoints(digits, tmp_path, assert_same_training):
    """A loaded result has none, and is otherwise the same."""
    fit = _fit(digits, NETS["dropout"], keeps_checkpoints=True)
    first, second = (train([fit], store=tmp_path / "fits.db")[0] for _ in range(2))

    assert (len(first.checkpoints), len(second.checkpoints)) == (2, 0)
    assert second.is_loaded
    assert_same_training(second, first)


@given(
    n_before=st.integers(0, 50),
    n_epochs=st.integers(1, 100),
    n_bytes=st.integers(0, 1000),
    limit=st.integers(0, 20_000),
)
def test_checkpoints_are_even_and_within_their_limit(n_before, n_epochs, n_bytes, limit):
    """No gap between checkpoints is longer than memory and cost require."""
    epochs = checkpoint_epochs(n_before, n_epochs, n_bytes, limit)

    assert len(epochs) * n_bytes <= limit
    assert all(n_before < epoch < n_before + n_epochs for epoch in epochs)
    if n_bytes <= limit:
        most = limit // max(1, n_bytes)
        longest = max(1, -(-n_epochs // (most + 1)), round(np.sqrt(0.6 * n_epochs)))
        stretches = np.diff([n_before, *epochs, n_before + n_epochs])
        assert max(stretches) == min(longest, n_epochs)


@pytest.mark.parametrize("n_epochs", [6, 18, 27, 100, 500])
def test_no_other_spacing_costs_less(n_epochs):
    """Against all others, with each epoch as likely the best."""
    cost = 0.3

    def expected(spacing):
        kept = [0, *range(spacing, n_epochs, spacing)]
        back = [epoch - max(k for k in kept if k < epoch) for epoch in range(1, n_epochs)]
        return cost * (len(kept) - 1) + np.mean([*back, 0])

    epochs = checkpoint_epochs(0, n_epochs, 1, 1000)
    spacing = epochs[0] if len(epochs) else n_epochs

    assert expected(spacing) <= 1.1 * min(map(expected, range(1, n_epochs + 1)))
