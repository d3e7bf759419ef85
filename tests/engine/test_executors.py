"""Shards in worker processes, and on a cluster of Dask."""

from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from sk_tune import MLPClassifier, fleet
from sk_tune.engine import Fit, _executors, outside_blocks, train
from sk_tune.engine._executors import (
    LOST,
    LastingDaskBackend,
    are_running,
    client_of,
    is_unsendable,
    parallel_call,
    train_shards,
)
from sk_tune.engine._shard import Shard


def _fits(data, n_fits=4):
    estimator = MLPClassifier(hidden_layer_sizes=(4,), max_epochs=1)
    return [Fit(estimator=estimator, X=data.X, y=data.y, seed=i) for i in range(n_fits)]


def _shards(data, n_shards):
    return [
        Shard(fits={i: fit}, as_fleet=True, memory_limit=2**20)
        for i, fit in enumerate(_fits(data, n_shards))
    ]


@pytest.mark.usefixtures("workers_for_little")
@pytest.mark.parametrize("backend", ["threading", "sequential"])
def test_each_backend_gives_the_same(backend, digits):
    """``joblib.parallel_config`` decides where fits are trained; contract 2 has loky."""
    fits = _fits(digits)
    monitored = [
        Fit(estimator=f.estimator, X=f.X, y=f.y, seed=f.seed, monitor=np.arange(9))
        for f in fits
    ]
    expected = train(monitored, n_jobs=1)

    with joblib.parallel_config(backend=backend, n_jobs=2):
        trained = train(monitored)

    for ours, reference in zip(trained, expected, strict=True):
        np.testing.assert_allclose(ours.predictions, reference.predictions, atol=1e-6)


def test_every_shard_has_one_result(digits):
    """Results name their shard, in whatever order they come."""
    with joblib.parallel_config(backend="threading"):
        results = list(train_shards(_shards(digits, 5), n_jobs=2))

    assert sorted(position for position, _, _ in results) == list(range(5))
    for position, (trained, solo), message in results:
        assert set(trained) == {position}
        assert trained[position].state.seed == position
        assert (solo, message) == ({}, "")


@pytest.mark.usefixtures("workers_for_little")
def test_workers_are_running_that_have_trained_and_are_there_yet(digits, monkeypatch):
    """Others, or as many as somebody else has asked for, would have to start."""
    monkeypatch.setattr(_executors, "_TRAINED", set())
    # Loky replaces a worker that needs much more memory than for its first task.
    get_reusable_executor().shutdown(kill_workers=True)
    with joblib.parallel_config(backend="loky"):
        assert not are_running(2)
        list(train_shards(_shards(digits, 2), n_jobs=2))
        assert are_running(2)
        assert not are_running(3)

        joblib.Parallel(n_jobs=3)(joblib.delayed(abs)(i) for i in range(6))
        assert not are_running(2)
        assert not are_running(3)

        list(train_shards(_shards(digits, 2), n_jobs=2))
        get_reusable_executor().shutdown(kill_workers=True)
        assert not are_running(2)


@pytest.mark.usefixtures("workers_for_little")
def test_workers_that_an_error_has_stopped_are_not_running(digits, monkeypatch):
    """Who stops in between stops the workers."""
    monkeypatch.setattr(_executors, "_TRAINED", set())
    with joblib.parallel_config(backend="loky"):
        list(train_shards(_shards(digits, 2), n_jobs=2))
        with _executors.closing_call(train_shards(_shards(digits, 4), n_jobs=2)) as call:
            next(call)

        assert not are_running(2)


def test_threads_and_clusters_need_no_start(digits, monkeypatch):
    """The limit of workers that run is one of processes of this machine."""
    monkeypatch.setattr(_executors, "_TRAINED", set())
    joblib.Parallel(n_jobs=2, backend="loky")(joblib.delayed(abs)(i) for i in range(4))
    with joblib.parallel_config(backend="threading"):
        list(train_shards(_shards(digits, 2), n_jobs=2))

        assert not are_running(2)
    with joblib.parallel_config(backend="loky"):
        # Processes are there, but they have trained nothing.
        assert not are_running(2)


def test_no_shards_have_no_results():
    """And need no workers."""
    assert list(train_shards([], n_jobs=2)) == []


def test_a_backend_without_a_generator_is_asked_for_a_list(digits, monkeypatch):
    """Not every backend can return results one by one."""
    kinds = []

    class ListsOnly(joblib.Parallel):
        def __init__(self, **kwargs):
            kinds.append(kwargs.get("return_as", "list"))
            if kinds[-1] != "list":
                raise ValueError("no generators here")
            super().__init__(**{**kwargs, "backend": "threading"})

    monkeypatch.setattr(_executors.joblib, "Parallel", ListsOnly)

    results = list(train_shards(_shards(digits, 3), n_jobs=2))

    assert kinds == ["generator_unordered", "list"]
    assert [position for position, _, _ in results] == [0, 1, 2]


LOST_WORKERS = [TerminatedWorkerError, ConnectionError, EOFError]


@pytest.mark.parametrize("error", LOST_WORKERS)
def test_shards_of_a_lost_worker_run_once_more_one_at_a_time(error, digits, monkeypatch):
    """What had come before is kept, and is not trained again."""
    runs = []

    def run(shards, n_jobs):
        runs.append([position for position, _ in shards])
        for n_done, (position, _) in enumerate(shards):
            if len(runs) == 1 and n_done == 2:
                raise error("gone")
            yield position, f"result {position}"

    monkeypatch.setattr(_executors, "run_shards", run)

    results = list(train_shards(_shards(digits, 4), n_jobs=2))

    assert runs == [[0, 1, 2, 3], [2], [3]]
    assert results == [(i, f"result {i}", "") for i in range(4)]


def test_shards_that_had_not_begun_go_to_workers_again(digits, monkeypatch):
    """Two workers had two of eight at a time; these run by themselves, after all others."""
    runs = []

    def run(shards, n_jobs):
        runs.append([position for position, _ in shards])
        for n_done, (position, _) in enumerate(shards):
            if len(runs) <= 2 and n_done == 1:
                raise TerminatedWorkerError("gone")
            yield position, f"result {position}"

    monkeypatch.setattr(_executors, "run_shards", run)

    results = list(train_shards(_shards(digits, 8), n_jobs=2))

    assert runs == [list(range(8)), list(range(3, 8)), [6, 7], [1], [2], [4], [5]]
    assert sorted(results) == [(i, f"result {i}", "") for i in range(8)]


def test_a_shard_that_is_lost_twice_is_given_up(digits, monkeypatch):
    """It has no result but a message, and the others are trained."""

    def run(shards, n_jobs):
        for position, _ in shards:
            if position == 1:
                raise TerminatedWorkerError("gone")
            yield position, f"result {position}"

    monkeypatch.setattr(_executors, "run_shards", run)

    results = list(train_shards(_shards(digits, 3), n_jobs=2))

    assert results == [
        (0, "result 0", ""),
        (1, None, "its worker process died: gone"),
        (2, "result 2", ""),
    ]


def test_other_errors_are_passed_on(digits, monkeypatch):
    """A mistake of sk_tune's own is not mistaken for a lost worker."""

    def run(shards, n_jobs):
        raise ZeroDivisionError
        yield

    monkeypatch.setattr(_executors, "run_shards", run)

    with pytest.raises(ZeroDivisionError):
        list(train_shards(_shards(digits, 2), n_jobs=2))


def test_a_shard_is_sent_with_each_of_its_data_once(iris):
    """Fits that share rows name them by number; put together they hold the same objects."""
    folds = [np.arange(100), np.arange(50, 150)]
    fits = {
        i: Fit(estimator=MLPClassifier(), X=iris.X, y=iris.y, rows=folds[i % 2], seed=i)
        for i in range(6)
    }
    shard = Shard(fits=fits, as_fleet=True, memory_limit=1)

    apart, *data = _executors._apart(shard)

    # X, y, two folds, and None for weights and monitor.
    assert len(data) == 5
    assert all(isinstance(fit.X, int) for fit in apart.fits.values())
    together = _executors._together(apart, data)
    for i, fit in together.fits.items():
        for name in ("X", "y", "rows", "sample_weight", "monitor", "seed"):
            assert getattr(fit, name) is getattr(fits[i], name)


def test_outside_all_blocks_joblib_has_the_workers_around_them():
    """A block of ``fleet`` says that it has very many; who trains needs the truth."""
    with joblib.parallel_config("threading", n_jobs=3), fleet(n_jobs=1), fleet(n_jobs=1):
        inside = joblib.effective_n_jobs(None)
        with outside_blocks():
            outside = joblib.effective_n_jobs(None)

    assert inside > 1000
    assert outside == 3


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


@pytest.mark.usefixtures("workers_for_little")
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
