"""Shards on a cluster of Dask in this process; tests/faults kills workers of a real one."""

from types import SimpleNamespace

import joblib
import numpy as np
import pytest

from sk_tune import MLPClassifier
from sk_tune.engine import Fit, train
from sk_tune.engine._executors import (
    LOST,
    LastingDaskBackend,
    client_of,
    is_unsendable,
    parallel_call,
)

distributed = pytest.importorskip("distributed")

# A worker of Dask that is a thread says so in the warnings of its loop.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def client():
    """A worker with two threads."""
    options = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with (
        distributed.LocalCluster(processes=False, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def _total(position, data):
    return position, float(data.sum())


def _run(task=_total, n=3, data=None):
    data = np.ones(1000) if data is None else data
    with joblib.parallel_config("dask"):
        return list(parallel_call(-1)(joblib.delayed(task)(i, data) for i in range(n)))


class _Counting:
    """A client that counts what it sends, and loses the first data."""

    def __init__(self, client, n_lost):
        self._client, self._n_lost, self.n_scattered = client, n_lost, 0

    def __getattr__(self, name):
        return getattr(self._client, name)

    def scatter(self, data, **options):
        future = self._client.scatter(data, **options)
        self.n_scattered += 1
        if self.n_scattered <= self._n_lost:
            # As with the death of the only worker that has them.
            self._client.cancel([future], force=True)
        return future


def _losing(monkeypatch, client, n_lost):
    counting = _Counting(client, n_lost)
    init = LastingDaskBackend.__init__

    def with_counting(self, users):
        init(self, users)
        self._client = counting

    monkeypatch.setattr(LastingDaskBackend, "__init__", with_counting)
    return counting


def test_networks_are_those_of_local_workers(client, iris):
    """To the bit."""
    net = MLPClassifier(hidden_layer_sizes=(4,), max_epochs=2)
    fits = [Fit(estimator=net, X=iris.X, y=iris.y, seed=i) for i in range(4)]
    expected = train(fits, n_jobs=1)

    with joblib.parallel_config("dask"):
        trained = train(fits)

    for ours, reference in zip(trained, expected, strict=True):
        for name, weights in reference.state.weights.items():
            np.testing.assert_array_equal(ours.state.weights[name], weights)


def test_what_tasks_share_is_sent_once(client, monkeypatch):
    """The data of a search go to the cluster once in a round."""
    counting = _losing(monkeypatch, client, n_lost=0)

    results = _run(n=8)

    assert sorted(results) == [(i, 1000.0) for i in range(8)]
    assert counting.n_scattered == 1


@pytest.mark.parametrize("n_lost", [1, 2])
def test_tasks_whose_data_are_lost_are_sent_again(client, monkeypatch, n_lost):
    """Dask cannot compute again what it was given, and cancels who needs it."""
    _losing(monkeypatch, client, n_lost)

    assert sorted(_run()) == [(i, 1000.0) for i in range(3)]


def test_data_that_are_always_lost_end_in_an_error(client, monkeypatch):
    """And not in waiting for ever; shards then run once more, one at a time."""
    _losing(monkeypatch, client, n_lost=100)

    with pytest.raises(LOST):
        _run()


def test_a_task_that_kills_its_workers_is_lost():
    """Dask gives it up after some deaths."""
    backend = LastingDaskBackend.__new__(LastingDaskBackend)
    error = distributed.KilledWorker("shard", SimpleNamespace(address="tcp://a:1"), 3)

    with pytest.raises(LOST, match="tcp://a:1"):
        backend.retrieve_result_callback(error)


def _divide(position, data):
    return position / 0


def test_errors_of_tasks_reach_the_caller(client):
    """As with any other backend."""
    with pytest.raises(ZeroDivisionError):
        _run(_divide)


class _Unsendable:
    def __reduce__(self):
        raise TypeError("cannot pickle this")


def test_what_cannot_be_sent_ends_in_an_error(client):
    """Whoever called trains it here."""
    with pytest.raises(TypeError) as raised:
        _run(data=_Unsendable())

    assert is_unsendable(raised.value)


def test_other_backends_are_left_alone(client):
    """Only Dask's has a client."""
    with joblib.parallel_config("threading"):
        backend, _ = joblib.parallel.get_active_backend()

    assert client_of(backend) is None
    assert parallel_call(2)._backend.__class__.__name__ == "LokyBackend"
