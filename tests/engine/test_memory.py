"""How many rows train at a time: as many as pay, and as fit."""

import dataclasses
import math
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sk_tune.engine import _memory_limits
from sk_tune.engine._memory_limits import (
    available_memory,
    bytes_per_network,
    networks_at_a_time,
    seconds_per_epoch,
)
from sk_tune.engine.fleet import FleetNetwork, Recipe, SeededCourse, Settings
from sk_tune.nets import MLP, RNN
from sk_tune.training import StoppingState, TensorSet, TrainingState


class _Squared(nn.Module):
    """No chain: a result goes two ways."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        h = self.module(x)
        return h * h


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
    """Even without any memory, and even with all of it; fewest where vmap does it."""
    row = _row(width=width)
    by_vmap = dataclasses.replace(row, module=_Squared(row.module))

    assert 1 <= networks_at_a_time(row, _recipe(), limit) <= 64
    assert 1 <= networks_at_a_time(by_vmap, _recipe(), limit) <= 32


@given(limits=st.lists(st.integers(0, 2**26), min_size=2, max_size=2).map(sorted))
def test_more_memory_never_means_fewer_rows(limits):
    """The count grows with the limit."""
    row, recipe = _row(), _recipe()

    counts = [networks_at_a_time(row, recipe, limit) for limit in limits]

    assert counts == sorted(counts)


@pytest.mark.parametrize(
    "larger",
    [
        {"row": _row(width=512)},
        {"row": _row(n_features=4000)},
        {"recipe": _recipe(batch_size=-1), "row": _row(n_samples=20_000)},
    ],
    ids=["wide", "many features", "full batch"],
)
def test_larger_networks_and_batches_mean_fewer_rows(larger):
    """What a row needs depends on its weights, its activations and its batch."""
    small = {"row": _row(), "recipe": _recipe(), "memory_limit": 2**20}

    assert networks_at_a_time(**{**small, **larger}) < networks_at_a_time(**small)


def test_all_rows_of_a_limit_fit_into_it():
    """At least the weights, their gradients and two moments of each row do."""
    row = _row(width=1000)
    n_bytes = 4 * sum(p.numel() for p in row.module.parameters())

    n_rows = networks_at_a_time(row, _recipe(), 100 * n_bytes)

    assert 1 < n_rows <= 100 // 4


def test_a_batch_is_never_larger_than_the_data():
    """A batch size beyond the samples costs no more than all samples."""
    counts = {networks_at_a_time(_row(), _recipe(size), 2**19) for size in (100, 10**9, -1)}

    assert len(counts) == 1


def test_measuring_a_module_leaves_it_as_it_was():
    """Its mode, running means and hooks are those from before."""
    row = _row()
    before = {name: t.clone() for name, t in row.module.state_dict().items()}

    networks_at_a_time(row, _recipe(), 2**20)

    assert row.module.training
    assert all(not layer._forward_hooks for layer in row.module.modules())
    for name, tensor in row.module.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_free_memory_is_known():
    """Some of the machine's memory is free, and not more than there is."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    assert 0 <= available_memory() <= total or torch.cuda.is_available()


def _files(monkeypatch, texts):
    """Let files have these texts, and no others be there."""

    def read_text(path, encoding=None):
        if str(path) not in texts:
            raise FileNotFoundError(path)
        return texts[str(path)]

    monkeypatch.setattr(_memory_limits.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(_memory_limits.Path, "read_text", read_text)


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


def test_recurrent_layers_hold_their_steps():
    """Gates, states and derivatives: about six times the outputs of a GRU."""
    module = RNN(
        1, 2, cell="gru", n_layers=1, hidden_size=8, bidirectional=False,
        activation="tanh", normalization=None, residual=False, dropout=0.0,
    )  # fmt: skip
    X = torch.zeros(40, 100, 1)
    row = dataclasses.replace(
        _row(), module=module, train=TensorSet(X, torch.zeros(40).long())
    )
    held = bytes_per_network(row, _recipe(batch_size=32))

    outputs = 32 * 100 * 8 * 4
    assert 5 * outputs < held < 9 * outputs


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

    seconds = seconds_per_epoch(_mlp_row(4, 100), _recipe(batch_size=32))

    assert seconds == pytest.approx(3 * (10 * 4 + 4 + 4 * 2 + 2) * 100 / 1000 + 4 * 7)


def test_compiled_code_has_a_guess_of_its_own(monkeypatch):
    """The same products and steps at other speeds, and what is beside them."""
    monkeypatch.setattr(_memory_limits, "_PRODUCTS_PER_SECOND_COMPILED", 1000)
    monkeypatch.setattr(_memory_limits, "_SECONDS_PER_STEP_COMPILED", 7)
    monkeypatch.setattr(_memory_limits, "_SECONDS_PER_EPOCH_COMPILED", 5)

    row = _mlp_row(4, 100)
    seconds = seconds_per_epoch(row, _recipe(batch_size=32), compiled=True)

    assert seconds == pytest.approx(3 * (10 * 4 + 4 + 4 * 2 + 2) * 100 / 1000 + 4 * 7 + 5)


def test_rows_that_compiled_code_trains_need_no_room_in_the_cache():
    """One is trained after the other; the memory limit holds."""
    row, recipe = _mlp_row(300, 5000), _recipe(batch_size=2048)

    assert (
        networks_at_a_time(row, recipe, 10**12, compiled=True)
        == _memory_limits._MOST_NETWORKS_CPU
    )
    assert networks_at_a_time(row, recipe, 1, compiled=True) == 1


def test_a_full_batch_is_one_step(monkeypatch):
    """Its epoch costs the calls of one step."""
    monkeypatch.setattr(_memory_limits, "_PRODUCTS_PER_SECOND", math.inf)
    monkeypatch.setattr(_memory_limits, "_SECONDS_PER_STEP", 7)

    assert seconds_per_epoch(_mlp_row(4, 100), _recipe(batch_size=-1)) == 7


def test_of_other_networks_nothing_is_guessed():
    """A convolution uses each weight many times, a user's module who knows how often."""
    assert seconds_per_epoch(_row(), _recipe()) == math.inf
