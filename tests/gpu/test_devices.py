"""Memory that does not suffice, several devices in one call, files that cross devices."""

import os
import pickle
import subprocess
import sys
import textwrap
from dataclasses import replace
from functools import partial
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sk_tune import MLPClassifier, load, save
from sk_tune._engine import Fit, _shard, train
from sk_tune._fleets import _loop

NET = MLPClassifier(
    hidden_layer_sizes=(16, 8),
    dropout=0.2,
    batch_size=32,
    max_epochs=3,
    dtype="float64",
    lr_schedule="constant",
    random_state=0,
)


def _fits(digits, places, **params):
    return [
        Fit(
            estimator=clone(NET).set_params(
                device=place, learning_rate=0.001 * (1 + i), **params
            ),
            X=digits.X,
            y=digits.y,
            rows=np.arange(150)[i:],
            monitor=np.arange(150, 200),
            seed=i,
        )
        for i, place in enumerate(places)
    ]


def _assert_same(trained, expected):
    for ours, theirs in zip(trained, expected, strict=True):
        assert ours.message == theirs.message == ""
        assert_allclose(ours.predictions, theirs.predictions, atol=1e-9)
        for name, array in theirs.state.weights.items():
            assert_allclose(ours.state.weights[name], array, atol=1e-9)


# --- Memory


def _short_of(limit, step, fleet, batch):
    """Make a step that fails if the fleet has more networks than fit into memory."""
    sizes.append(len(fleet))
    if len(fleet) > limit:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
    return step(fleet, batch)


sizes: list[int] = []


@pytest.mark.gpu
@pytest.mark.parametrize("limit", [3, 1])
def test_a_fleet_is_halved_until_it_fits_into_memory(limit, digits, device, monkeypatch):
    """No fit fails, and none is another than with enough memory."""
    fits = _fits(digits, [device] * 9)
    expected = train(fits)
    sizes.clear()
    monkeypatch.setattr(_loop, "_step", partial(_short_of, limit, _loop._step))

    with mock.patch.object(_shard, "networks_at_a_time", return_value=8):
        trained = train(fits)

    _assert_same(trained, expected)
    assert list(dict.fromkeys(sizes))[:2] == [8, 4]
    assert max(sizes[-5:]) <= limit


@pytest.mark.gpu
def test_a_network_that_fits_into_no_memory_says_so(digits, device, monkeypatch):
    """It fails with CUDA's message; the other networks train."""
    fits = _fits(digits, [device] * 3)
    expected = train(fits)
    step = _loop._step

    def short(fleet, batch):
        if any(active.network.train.X.shape[0] == 100 for active in fleet.networks):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate.")
        return step(fleet, batch)

    monkeypatch.setattr(_loop, "_step", short)
    large = replace(fits[1], rows=np.arange(100))

    trained = train([fits[0], large, *fits[1:]])

    assert trained[1].status == "failed"
    assert "out of memory" in trained[1].message
    _assert_same([trained[0], *trained[2:]], expected)


@pytest.mark.gpu
def test_a_device_that_is_really_full_halves_the_fleet(digits, device):
    """Torch is allowed a hundred MiB, which 64 wide networks together exceed."""
    if device == "cpu":
        pytest.skip("the memory of a processor has no such limit")
    fits = _fits(digits, [device] * 64, hidden_layer_sizes=(1024,), max_epochs=1)
    expected = train(fits)
    torch.cuda.empty_cache()
    number = torch.device(device).index or 0
    total = torch.cuda.get_device_properties(number).total_memory
    used = torch.cuda.memory_reserved(number)
    torch.cuda.set_per_process_memory_fraction((used + 100 * 2**20) / total, number)
    try:
        with mock.patch.object(_shard, "networks_at_a_time", return_value=64):
            trained = train(fits)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, number)

    _assert_same(trained, expected)


# --- Several devices in one call


@pytest.mark.gpu
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_fits_of_several_devices_train_in_one_call(n_jobs, digits, device):
    """Each on its own device, with results in the requested order."""
    places = [device, "cpu"] * 3
    trained = train(_fits(digits, places), n_jobs=n_jobs)

    _assert_same(trained, train(_fits(digits, places[::-1])))
    assert {t.engine for t in trained} == {"fleet"}


# --- Estimators, and files that cross devices


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["MLP", "CNN", "RNN", "Net"])
@pytest.mark.parametrize("task", ["Classifier", "Regressor"])
def test_an_estimator_trains_and_predicts_on_its_device(
    kind, task, device, make_estimator, task_data, outputs
):
    """Predictions equal those on the processor."""
    X, y = task_data(kind + task)
    params = {"dtype": "float64", "batch_size": -1}
    # Torch draws the masks of nn.Dropout by the device's generator.
    params |= {"module__p": 0.0} if kind == "Net" else {}
    here, there = (
        make_estimator(kind + task, **params, device=place).fit(X, y)
        for place in ("cpu", device)
    )

    places = {p.device.type for p in there.net_.module_.parameters()}
    assert places == {torch.device(device).type}
    assert_allclose(outputs(there, X), outputs(here, X), atol=1e-9)


@pytest.fixture
def fitted(digits, device):
    """A network that was trained on the device."""
    return clone(NET).set_params(device=device).fit(*digits)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["pickle", "save"])
def test_a_file_from_a_device_is_read_without_the_device(
    kind, fitted, digits, device, tmp_path
):
    """The network predicts the same on a processor, after a warning, and trains on."""
    path = tmp_path / "net"
    path.write_bytes(pickle.dumps(fitted)) if kind == "pickle" else save(fitted, path)
    np.save(tmp_path / "X.npy", digits.X)
    np.save(tmp_path / "expected.npy", fitted.predict_proba(digits.X))
    script = f"""
        import pickle, sys, warnings
        import numpy as np
        from sk_tune import load
        with warnings.catch_warnings(record=True, action="always") as caught:
            if {kind!r} == "pickle":
                net = pickle.load(open(sys.argv[1] + "/net", "rb"))
            else:
                net = load(sys.argv[1] + "/net")
        X, expected = (np.load(f"{{sys.argv[1]}}/{{n}}.npy") for n in ("X", "expected"))
        np.testing.assert_allclose(net.predict_proba(X), expected, atol=1e-9)
        assert str(net.net_.device) == "cpu", net.net_.device
        print(sum("not available here" in str(w.message) for w in caught))
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert int(result.stdout) == (device != "cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["pickle", "save"])
def test_a_file_from_a_processor_is_read_next_to_a_device(kind, digits, device, tmp_path):
    """It stays on the processor; its parameters may send it to the device."""
    net = clone(NET).set_params(device="cpu").fit(*digits)
    if kind == "pickle":
        moved = pickle.loads(pickle.dumps(net))
    else:
        moved = load(save(net, tmp_path / "net") or tmp_path / "net")

    assert_array_equal(moved.predict_proba(digits.X), net.predict_proba(digits.X))
    again = clone(moved).set_params(device=device).fit(*digits)
    assert_allclose(again.predict_proba(digits.X), net.predict_proba(digits.X), atol=1e-9)


@pytest.mark.gpu
def test_a_pickle_comes_back_to_its_device(fitted, digits, device):
    """Training continues there as if uninterrupted."""
    moved = pickle.loads(pickle.dumps(fitted))

    assert {p.device.type for p in moved.net_.module_.parameters()} == {
        device.split(":")[0]
    }
    for net in (moved, fitted):
        net.partial_fit(*digits, n_epochs=2)
    assert_allclose(
        moved.predict_proba(digits.X), fitted.predict_proba(digits.X), atol=1e-12
    )


# --- Without a device


@pytest.fixture
def without_device(monkeypatch):
    """Let the machine have no CUDA device."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


@pytest.mark.usefixtures("without_device")
@pytest.mark.parametrize("place", ["cuda", "cuda:1"])
def test_cuda_without_a_device_is_refused_in_one_line(place, digits):
    """The message names the devices of the machine and the requested device."""
    net = clone(NET).set_params(device=place)
    line = (
        "The 'device' parameter of MLPClassifier must be a device of this machine, which "
        f"has 0 CUDA devices. Got '{place}' instead. Use 'auto' or 'cpu'."
    )

    with pytest.raises(ValueError, match="device") as raised:
        net.fit(*digits)
    asked_for, other = train(_fits(digits, [place, "cpu"]), n_jobs=2)

    assert str(raised.value) == line
    assert asked_for.status == "failed"
    assert asked_for.message.endswith(line)
    assert other.status == "trained"


@pytest.mark.usefixtures("without_device")
def test_auto_without_a_device_is_the_processor(digits):
    """No warning is issued."""
    net = clone(NET).set_params(device="auto", max_epochs=1).fit(*digits)

    assert str(net.net_.device) == "cpu"
