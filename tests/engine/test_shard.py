"""One shard: fleets of what fits together, and a second try where memory was short."""

import numpy as np
import pytest
import torch
from torch import nn

from sk_tune import MLPClassifier, NetClassifier
from sk_tune.engine import Fit, _shard
from sk_tune.engine._shard import Shard, train_shard
from sk_tune.engine.fleet import _active_batch, train_fleet

ROWS, MONITOR = np.arange(150), np.arange(150, 200)
BASE = {"max_epochs": 2, "batch_size": 32}
GIBIBYTE = 2**30


class Users(nn.Module):
    """A user's module of any width."""

    def __init__(self, n_features, n_outputs, width=4):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_features, width), nn.Tanh(), nn.Linear(width, n_outputs)
        )

    def forward(self, x):
        return self.layers(x)


def _mlp(**params):
    return MLPClassifier(**{**BASE, "hidden_layer_sizes": (8,), **params})


def _fit(data, estimator=None, **changes):
    own = {"X": data.X, "y": data.y, "rows": ROWS, "monitor": MONITOR, "seed": 0}
    return Fit(estimator=estimator or _mlp(), **{**own, **changes})


def _train(fits, *, as_fleet=True, epoch_done=None):
    shard = Shard(fits=dict(fits), as_fleet=as_fleet, memory_limit=GIBIBYTE)
    return train_shard(shard, epoch_done)


@pytest.fixture
def fleets(monkeypatch):
    """Record how many rows each fleet was to train at a time."""
    sizes = []

    def recording(rows, recipe, n_rows, progress, **more):
        sizes.append(n_rows)
        return train_fleet(rows, recipe, n_rows, progress, **more)

    monkeypatch.setattr(_shard, "train_fleet", recording)
    return sizes


def test_results_keep_the_positions_of_their_fits(digits, fleets):
    """Positions are those among all fits, not in the shard."""
    trained, solo = _train({7: _fit(digits, seed=7), 3: _fit(digits, seed=3)})

    assert {index: t.state.seed for index, t in trained.items()} == {7: 7, 3: 3}
    assert solo == {}
    assert len(fleets) == 1


def test_modules_of_unequal_structure_become_several_fleets(digits, fleets):
    """Fits that differ in an argument of their module are told apart here."""
    widths = [4, 6, 4, 6, 6]
    fits = {
        i: _fit(digits, NetClassifier(Users, module__width=width, **BASE), seed=i)
        for i, width in enumerate(widths)
    }

    trained, solo = _train(fits)

    assert len(fleets) == 2
    assert solo == {}
    for i, width in enumerate(widths):
        assert trained[i].engine == "fleet"
        assert trained[i].state.seed == i
        assert len(trained[i].state.weights["layers.0.bias"]) == width


def test_a_shard_for_the_reference_engine_makes_no_fleet(digits, fleets):
    """Each fit is trained alone, and none has a reason to tell."""
    trained, solo = _train({0: _fit(digits), 1: _fit(digits)}, as_fleet=False)

    assert fleets == []
    assert {t.engine for t in trained.values()} == {"reference"}
    assert solo == {}


def test_a_module_that_no_fleet_can_carry_has_a_reason(digits):
    """It is trained alone; the shard tells which fit and why."""

    class Branching(Users):
        def forward(self, x):
            return super().forward(x if x.sum() > 0 else -x)

    fits = {4: _fit(digits), 5: _fit(digits, NetClassifier(Branching, **BASE))}

    trained, solo = _train(fits)

    assert set(solo) == {5}
    assert "vmap" in solo[5]
    assert [trained[i].engine for i in (4, 5)] == ["fleet", "reference"]


def test_epochs_are_counted_by_networks(digits, monkeypatch):
    """Rows that ended no longer count."""
    monkeypatch.setattr(_active_batch, "_SECONDS_AT_ONCE", 0.0)
    seen = []
    fits = {0: _fit(digits), 1: _fit(digits, _mlp(max_epochs=4)), 2: _fit(digits)}

    _train(fits, epoch_done=seen.append)

    assert seen == [3, 3, 1, 1]


@pytest.mark.parametrize("as_fleet", [True, False], ids=["fleet", "alone"])
def test_torch_computes_in_one_thread_and_has_its_threads_back(
    as_fleet, digits, monkeypatch
):
    """Also if the training is interrupted."""
    seen = []

    class Watching(Users):
        def forward(self, x):
            seen.append(torch.get_num_threads())
            if len(seen) > 3:
                raise KeyboardInterrupt
            return super().forward(x)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyboardInterrupt):
            _train({0: _fit(digits, NetClassifier(Watching, **BASE))}, as_fleet=as_fleet)
        after = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)

    assert set(seen) == {1}
    assert after == 2


def test_a_fleet_that_takes_no_row_leaves_all_to_be_trained_alone(digits, monkeypatch):
    """One after the other, so that it comes to an end."""

    def fail(*_, **__):
        raise RuntimeError("No fleet today")

    monkeypatch.setattr(_shard, "train_fleet", fail)

    trained, solo = _train({0: _fit(digits), 1: _fit(digits, seed=1)})

    assert [trained[i].status for i in (0, 1)] == ["trained", "trained"]
    assert all("No fleet today" in solo[i] for i in (0, 1))


# --- Memory that does not suffice


def _failing_above(limit, sizes):
    """Return a fleet that is out of memory, after its first row, with more than some."""

    def train(rows, recipe, n_rows, progress, **_):
        sizes.append(n_rows)
        for n_done, result in enumerate(train_fleet(rows, recipe, n_rows, progress)):
            if n_rows > limit and n_done == 1:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            yield result

    return train


def test_a_fleet_that_is_out_of_memory_is_made_smaller(digits, monkeypatch):
    """What it has finished is kept, and the others give what they give with more memory."""
    sizes = []
    monkeypatch.setattr(_shard, "networks_at_a_time", lambda *_: 8)
    fits = {i: _fit(digits, _mlp(max_epochs=1 + i % 2), seed=i) for i in range(6)}
    expected, _ = _train(fits)
    monkeypatch.setattr(_shard, "train_fleet", _failing_above(2, sizes))

    trained, solo = _train(fits)

    assert sizes == [8, 4, 2]
    assert solo == {}
    for index, reference in expected.items():
        assert trained[index].status == "trained"
        np.testing.assert_allclose(
            trained[index].predictions, reference.predictions, atol=1e-6
        )


def test_what_is_finished_is_no_failure_of_the_one_after_it(digits, monkeypatch):
    """One at a time, the one in training is too large, wherever it waits."""
    monkeypatch.setattr(_shard, "networks_at_a_time", lambda *_: 1)
    told = []

    def train(rows, recipe, n_rows, progress, **_):
        for n_done, result in enumerate(train_fleet(rows, recipe, n_rows, progress)):
            if n_done == 1:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            yield result

    monkeypatch.setattr(_shard, "train_fleet", train)
    fits = {
        0: _fit(digits),
        1: _fit(digits, _mlp(hidden_layer_sizes=(9,))),
        2: _fit(digits, seed=2),
    }
    shard = Shard(fits=fits, as_fleet=True, memory_limit=2**30)

    trained, _ = train_shard(shard, fits_done=lambda own, _: told.extend(own))

    assert [trained[i].status for i in range(3)] == ["trained", "trained", "failed"]
    assert sorted(told) == [0, 1, 2]


def test_rows_that_do_not_fit_beside_others_are_trained_later(digits, monkeypatch):
    """What a smaller fleet leaves them may be enough; alone it is their failure."""
    monkeypatch.setattr(_shard, "networks_at_a_time", lambda *_: 4)
    prepare, beside = _shard.prepare, []

    def prepared(fit, preparer):
        beside.append(fit.seed)
        if fit.seed == 3 or (fit.seed == 2 and beside.count(2) < 2):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return prepare(fit, preparer)

    monkeypatch.setattr(_shard, "prepare", prepared)

    trained, _ = _train({i: _fit(digits, seed=i) for i in range(5)})

    assert [trained[i].status for i in range(5)] == [*["trained"] * 3, "failed", "trained"]


def test_a_network_that_is_too_large_alone_fails(digits, monkeypatch):
    """Others, of which one at a time fits, are trained."""
    sizes = []
    monkeypatch.setattr(_shard, "networks_at_a_time", lambda *_: 2)

    def train(rows, recipe, n_rows, progress, **_):
        sizes.append(n_rows)
        first = next(iter(rows))
        if first.state.seed == 0:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return train_fleet([first, *rows], recipe, n_rows, progress)

    monkeypatch.setattr(_shard, "train_fleet", train)

    trained, _ = _train({0: _fit(digits, name="fold 0"), 1: _fit(digits, seed=1)})

    assert sizes == [2, 1, 2]
    assert trained[0].status == "failed"
    assert trained[0].message == "fold 0: OutOfMemoryError: CUDA out of memory"
    assert trained[1].status == "trained"
