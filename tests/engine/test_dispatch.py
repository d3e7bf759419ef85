"""Shards in this process, in workers and on clusters; fits asked for while others train."""

import itertools
import pickle
import threading
import time
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from joblib.parallel import ParallelBackendBase, ThreadingBackend

from sk_tune import MLPClassifier, fleet
from sk_tune._engine import (
    Fit,
    FitStream,
    _executors,
    have_to_start,
    outside_blocks,
    start_meanwhile,
    train,
)
from sk_tune._training import TimeLimit
from sk_tune.exceptions import StoreWarning

pytestmark = [
    pytest.mark.usefixtures("workers_for_little"),
    # A worker of Dask that is a thread says so in the warnings of its loop.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def _folds(iris, n_fits=3, **params):
    options = {"width": 4, "max_epochs": 2, "random_state": 1, **params}
    folds = [np.flatnonzero(np.arange(150) % n_fits != k) for k in range(n_fits)]
    return [
        Fit(
            estimator=MLPClassifier(**options),
            X=iris.X,
            y=iris.y,
            rows=rows,
            monitor=np.setdiff1d(np.arange(150), rows),
            name=f"fold {k}",
        )
        for k, rows in enumerate(folds)
    ]


def _kinds(iris, n_fits=4):
    """Return fits with different signatures, each of which is a shard."""
    sizes = [{"width": 3 + k, "learning_rate": 1e-4 * (1 + k)} for k in range(n_fits)]
    return [_folds(iris, **size, max_epochs=1)[0] for size in sizes]


def _assert_same(ours, theirs, rtol=0.0):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.train_loss, b.train_loss, rtol=rtol)
        np.testing.assert_allclose(a.predictions, b.predictions, rtol=rtol)


def _all(stream):
    found = {}
    while stream._requests:
        number, trained = stream.next()
        found[number] = trained
    return found


@pytest.mark.parametrize(("n_jobs", "n_pieces"), [(1, 1), (2, 1), (2, 3)])
def test_a_stream_gives_the_results_of_a_call(iris, n_jobs, n_pieces):
    """For any number of workers, up to the order of summation."""
    rates = [0.001, 0.01, 0.1]
    with FitStream(n_jobs=n_jobs) as stream:
        for rate in rates:
            stream.ask([_folds(iris, learning_rate=rate)], n_pieces)
        found = _all(stream)

    for number, rate in enumerate(rates):
        expected = train(_folds(iris, learning_rate=rate))
        _assert_same(found[number], expected, rtol=0.0 if n_pieces == 1 else 1e-5)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_requests_of_one_call_share_a_shard(iris, n_jobs):
    """Each has its own result, all at once."""
    rates = [0.001, 0.01, 0.1]
    with FitStream(n_jobs=n_jobs) as stream:
        numbers = stream.ask([_folds(iris, learning_rate=rate) for rate in rates])
        assert stream.n_idle == n_jobs - 1
        # One more than there are workers, unless the worker is this process.
        assert stream.n_wanted == {1: 0, 2: 2}[n_jobs]
        stream.next()
        assert (len(stream._requests), stream.n_ended) == (2, 2)
        found = _all(stream)

    assert (numbers, sorted(found)) == ([0, 1, 2], [1, 2])
    for number, trained in found.items():
        _assert_same(trained, train(_folds(iris, learning_rate=rates[number])), rtol=1e-5)


def test_fits_of_several_signatures_and_failed_ones_are_one_request(iris):
    """Every fit has a result, in the order of the request, even if all fail."""
    kinds = {"dropout": -1.0}, {"width": 5}, {}
    fits = [_folds(iris, **params)[0] for params in kinds]
    with FitStream() as stream:
        stream.ask([fits, fits[:1]])
        found = _all(stream)

    assert [trained.status for trained in found[0]] == ["failed", "trained", "trained"]
    assert found[0][0].message.startswith("fold 0: ")
    assert [trained.status for trained in found[1]] == ["failed"]


def test_stored_results_are_not_trained(iris, tmp_path):
    """They are available at once, to the bit."""
    runs = []
    for _ in range(2):
        with FitStream(store=tmp_path / "fits.db") as stream:
            stream.ask([_folds(iris)])
            assert stream.n_idle == len(runs)
            runs.append(stream.next()[1])

    assert [trained.is_loaded for trained in runs[1]] == [True] * 3
    _assert_same(*runs)


def test_one_warning_counts_the_fits_that_cannot_be_stored(iris, tmp_path):
    """It comes when the stream ends, and covers all requests."""
    stream = FitStream(store=tmp_path / "fits.db").__enter__()
    for _ in range(2):
        stream.ask([_folds(iris, random_state=None)])
    _all(stream)

    with pytest.warns(StoreWarning, match="6 fits are not stored"):
        stream.__exit__(None, None, None)


def test_progress_counts_expected_fits(iris):
    """Requests beyond the expected fits are added."""
    seen = []
    with FitStream(progress=seen.append, expected=[2] * 6) as stream:
        stream.ask([_folds(iris)])
        stream.next()
        assert (seen[-1].n_fits, seen[-1].n_fits_done) == (6, 3)
        assert (seen[-1].n_epochs, seen[-1].n_epochs_done) == (12, 6)
        for _ in range(2):
            stream.ask([_folds(iris)])
        _all(stream)

    assert (seen[-1].n_fits, seen[-1].n_fits_done) == (9, 9)


def test_one_worker_is_this_process_and_keeps_the_order(iris):
    """Training starts when a result is requested."""
    seen = []
    with FitStream(n_jobs=1, progress=seen.append) as stream:
        for fit in _kinds(iris, 3):
            stream.ask([[fit]])
        assert not seen

        assert [stream.next()[0] for _ in range(3)] == [0, 1, 2]
    assert seen[-1].n_epochs_done == 3


class _Lists(ParallelBackendBase):
    """A backend of joblib that knows lists of tasks only, and counts its starts."""

    n_workers, n_starts = 2, 0

    def effective_n_jobs(self, n_jobs):
        return self.n_workers

    def configure(self, n_jobs=1, parallel=None, **options):
        self.n_starts += 1
        return super().configure(n_jobs, parallel)

    def submit(self, func, callback=None):
        out = func()
        callback(out)
        return SimpleNamespace(get=lambda timeout=None: out)


@pytest.mark.parametrize("backend", ["threading", "sequential", "multiprocessing", _Lists])
def test_each_backend_gives_the_same(backend, iris):
    """``joblib.parallel_config`` decides where fits are trained; contract 2 has loky."""
    fits = _kinds(iris)
    expected = train(fits, n_jobs=1)
    used = backend() if backend is _Lists else backend

    with joblib.parallel_config(backend=used, n_jobs=2):
        _assert_same(train(fits), expected)
        with FitStream() as stream:
            n_before = getattr(used, "n_starts", 0)
            for fit in fits:
                stream.ask([[fit]])
            found = _all(stream)
            stream.ask([fits[:1]])
            stream.next()

    _assert_same([found[k][0] for k in range(4)], expected)
    if backend is _Lists:
        # The same workers for all lists.
        assert used.n_starts == n_before + 1


def test_a_straggler_holds_up_no_other_shard(iris, straggling):
    """The free worker gets all remaining shards meanwhile."""
    with FitStream(n_jobs=2) as stream:
        fits = _kinds(iris, 5)
        stream.ask([[fits[0]]])
        ended = []
        for fit in fits[1:]:
            stream.ask([[fit]])
            ended.append(stream.next()[0])
        straggling.set()
        ended.append(stream.next()[0])

    assert ended == [1, 2, 3, 4, 0]


def test_waiting_ends_when_the_time_is_up(iris, straggling):
    """Running shards are given up then."""
    with FitStream(n_jobs=2) as stream:
        stream.ask([_kinds(iris, 1)])

        assert stream.next(timeout=0.05) is None
        assert stream.n_idle == 2


@pytest.mark.usefixtures("workers_for_little")
def test_fits_of_slow_workers_are_late(iris, straggling):
    """A worker that ignores the limit loses its results; other results remain."""
    limit = TimeLimit(until=time.monotonic() + 1.0)
    results = train(_kinds(iris, 2), n_jobs=2, limit=limit)

    assert [(t.status, t.is_cut) for t in results] == [("failed", True), ("trained", False)]


class _Losing(ThreadingBackend):
    """Threads of joblib that replace some results, by number, by errors."""

    def __init__(self, error, lost, **options):
        super().__init__(**options)
        self.error, self.lost, self.count = error, lost, itertools.count()
        # How many shards workers have, at the start and after each one that they are given.
        self.n_running = []

    def configure(self, *args, **options):
        self.n_running.append(0)
        return super().configure(*args, **options)

    def submit(self, func, callback=None):
        self.n_running.append(self.n_running[-1] + 1)
        return super().submit(func, callback)

    def retrieve_result_callback(self, result):
        self.n_running.append(self.n_running[-1] - 1)
        found = super().retrieve_result_callback(result)
        if next(self.count) in self.lost:
            raise self.error
        return found


LOST = [TerminatedWorkerError("gone"), ConnectionError("gone"), EOFError("gone")]


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
def test_shards_of_a_lost_worker_run_again(error, iris):
    """Earlier results stay, and shards that had not started go to workers again."""
    seen, fits = [], _kinds(iris, 6)
    with joblib.parallel_config(backend=_Losing(error, {2, 5})):
        trained = train(fits, n_jobs=2, trained=lambda found: seen.extend(found))

    _assert_same(trained, train(fits))
    assert sorted(seen) == list(range(6))


def test_a_shard_that_is_lost_twice_is_given_up(iris):
    """It gets a message instead of a result; its neighbour is trained alone."""
    backend = _Losing(TerminatedWorkerError("gone"), {0, 1})
    with joblib.parallel_config(backend=backend), FitStream(n_jobs=2) as stream:
        for fit in _kinds(iris, 4):
            stream.ask([[fit]])
        trained = [found for (found,) in _all(stream).values()]

    assert sorted(result.status for result in trained) == ["failed", *3 * ["trained"]]
    (failed,) = (result for result in trained if result.status == "failed")
    assert failed.message.endswith("its worker process died: gone")
    assert failed.is_lost
    # Four shards are handed over at once, but one at a time after the loss of two.
    assert backend.n_running == [0, 1, 2, 3, 4, 3, *2 * [0, 1, 0], 1, 2, 1, 0]


def test_new_shards_wait_for_lost_shards(iris):
    """Lost shards run in sequence."""
    with (
        joblib.parallel_config(backend=_Losing(TerminatedWorkerError("gone"), {1})),
        FitStream(n_jobs=2) as stream,
    ):
        fits = _kinds(iris, 5)
        for fit in fits[:3]:
            stream.ask([[fit]])
        found = dict([stream.next(), stream.next()])
        for fit in fits[3:]:
            stream.ask([[fit]])
        found |= _all(stream)

    _assert_same([found[k][0] for k in range(5)], train(fits))


def test_shards_that_cannot_be_pickled_train_in_this_process(iris):
    """All later shards do, too."""
    error = pickle.PicklingError("Could not pickle the task")
    with joblib.parallel_config(backend=_Losing(error, {0})), FitStream(n_jobs=2) as stream:
        for fit in _kinds(iris, 3):
            stream.ask([[fit]])
        found = _all(stream)

        assert stream.n_workers == 1
    _assert_same([found[k][0] for k in range(3)], train(_kinds(iris, 3)))


def test_other_errors_are_passed_on(iris):
    """A bug of sk_tune is not mistaken for a lost worker."""
    with (
        joblib.parallel_config(backend=_Losing(ZeroDivisionError(), {0})),
        pytest.raises(ZeroDivisionError),
    ):
        train(_kinds(iris), n_jobs=2)


@pytest.mark.slow
def test_workers_that_have_trained_need_no_start(iris):
    """Other workers, or another number of them, would have to start."""
    get_reusable_executor().shutdown(kill_workers=True)
    with joblib.parallel_config(backend="loky"):
        assert have_to_start(2)
        # Processes are there, but they have trained nothing.
        joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(i) for i in range(4))
        assert have_to_start(2)

        # Loky replaces a worker that needs much more memory than for its first task.
        get_reusable_executor().shutdown(kill_workers=True)
        train(_kinds(iris), n_jobs=2)
        assert not have_to_start(2)
        assert have_to_start(3)

        with FitStream(n_jobs=2) as stream:
            stream.ask([_kinds(iris)])
        # Whoever stops in between stops the workers.
        assert have_to_start(2)
    with joblib.parallel_config(backend="threading"):
        assert not have_to_start(2)


def test_workers_that_end_while_they_start_print_nothing(monkeypatch, capsys):
    """As on Ctrl-C, which reaches them too: the thread ends without a traceback."""
    get_reusable_executor().shutdown(kill_workers=True)

    def ended(**options):
        raise TerminatedWorkerError

    monkeypatch.setattr(_executors.joblib, "Parallel", ended)
    before = set(threading.enumerate())
    with joblib.parallel_config(backend="loky"):
        start_meanwhile(2, 60.0)
    for thread in set(threading.enumerate()) - before:
        thread.join(10)

    assert capsys.readouterr().err == ""


def test_outside_all_blocks_joblib_has_the_workers_around_them():
    """A ``fleet`` block reports many workers; the engine needs the real number."""
    with joblib.parallel_config("threading", n_jobs=3), fleet(n_jobs=1), fleet(n_jobs=1):
        inside = joblib.effective_n_jobs(None)
        with outside_blocks():
            outside = joblib.effective_n_jobs(None)

    assert inside > 3
    assert outside == 3


@pytest.fixture(scope="module")
def client():
    """A worker of Dask with two threads."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with (
        distributed.LocalCluster(processes=False, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def scattered(client, monkeypatch):
    """Return the data sent to the cluster, and the number of them to lose."""
    sent = SimpleNamespace(data=[], n_lost=0)
    scatter = client.scatter

    def losing(data, **options):
        future = scatter(data, **options)
        sent.data.append(data)
        if len(sent.data) <= sent.n_lost:
            # As with the death of the only worker that has them.
            client.cancel([future], force=True)
        return future

    monkeypatch.setattr(client, "scatter", losing)
    return sent


@pytest.mark.parametrize("n_lost", [0, 1, 2])
def test_dask_gives_the_networks_of_local_workers(iris, scattered, n_lost):
    """Bitwise; data are sent once, and again if lost with a worker."""
    fits = _kinds(iris)
    scattered.n_lost = n_lost
    with joblib.parallel_config("dask"):
        trained = train(fits)

    _assert_same(trained, train(fits, n_jobs=1))
    assert sum(data is iris.X for data in scattered.data) <= 1 + n_lost


def test_data_that_are_always_lost_end_in_a_message(iris, scattered):
    """The stream does not wait for ever."""
    scattered.n_lost = 1000
    with joblib.parallel_config("dask"):
        trained = train(_kinds(iris, 2))

    assert all("worker process died" in result.message for result in trained)


def test_a_shard_that_kills_its_workers_is_given_up(iris, client, monkeypatch):
    """Dask gives up after some deaths."""
    distributed = pytest.importorskip("distributed")
    error = distributed.KilledWorker("shard", SimpleNamespace(address="tcp://a:1"), 3)
    submit = client.submit

    def killed(function, *args, **options):
        def die(*_):
            raise error

        return submit(die, **options)

    monkeypatch.setattr(client, "submit", killed)
    with joblib.parallel_config("dask"):
        trained = train(_kinds(iris, 2))

    assert all("tcp://a:1" in result.message for result in trained)


class _Unsendable:
    def __reduce__(self):
        raise TypeError("cannot pickle this")


def test_shards_that_cannot_be_pickled_for_dask_train_in_this_process(iris, client):
    """As with any other backend."""
    fits = _kinds(iris, 2)
    for fit in fits:
        fit.estimator.extra_ = _Unsendable()
    with joblib.parallel_config("dask"):
        trained = train(fits)

    assert [result.status for result in trained] == ["trained"] * 2
