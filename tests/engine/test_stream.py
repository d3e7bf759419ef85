"""Fits that are asked for while others train."""

import pickle
import threading
from dataclasses import replace

import joblib
import numpy as np
import pytest
from joblib.externals.loky.process_executor import TerminatedWorkerError

from sk_tune import MLPClassifier
from sk_tune.engine import Fit, FitStream, _executors, _stream, train
from sk_tune.engine._shard import Shard, train_shard
from sk_tune.engine._stream import ShardStream
from sk_tune.exceptions import SkTuneWarning


def _fits(iris, n_fits=3, **params):
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


def _assert_same(ours, theirs, rtol=0.0):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.predictions, b.predictions, rtol=rtol)
        np.testing.assert_allclose(a.train_loss, b.train_loss, rtol=rtol)


def _all(stream):
    found = {}
    while stream.n_requests:
        number, trained = stream.next()
        found[number] = trained
    return found


@pytest.mark.parametrize(("n_jobs", "n_pieces"), [(1, 1), (2, 1), (2, 3)])
def test_a_stream_gives_what_a_call_gives(iris, n_jobs, n_pieces):
    """However many workers share the fits of a request, up to the order of summation."""
    rates = [0.001, 0.01, 0.1]
    with FitStream(n_jobs=n_jobs) as stream:
        for rate in rates:
            stream.ask([_fits(iris, learning_rate=rate)], n_pieces)
        found = _all(stream)

    for number, rate in enumerate(rates):
        expected = train(_fits(iris, learning_rate=rate))
        _assert_same(found[number], expected, rtol=0.0 if n_pieces == 1 else 1e-5)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_requests_of_one_call_share_a_shard(iris, n_jobs):
    """Each has its own result, all at once."""
    rates = [0.001, 0.01, 0.1]
    with FitStream(n_jobs=n_jobs) as stream:
        numbers = stream.ask([_fits(iris, learning_rate=rate) for rate in rates])
        assert stream.n_idle == n_jobs - 1
        # One more than there are workers, unless the worker is this process.
        assert stream.n_wanted == {1: 0, 2: 2}[n_jobs]
        stream.next()
        assert (stream.n_requests, stream.n_ended) == (2, 2)
        found = _all(stream)

    assert (numbers, sorted(found)) == ([0, 1, 2], [1, 2])
    for number, trained in found.items():
        _assert_same(trained, train(_fits(iris, learning_rate=rates[number])), rtol=1e-5)


def test_a_fit_goes_on_from_a_state(iris):
    """One epoch and then two more are three epochs."""
    fits = _fits(iris, max_epochs=3)
    with FitStream() as stream:
        stream.ask([[replace(fit, n_epochs=1) for fit in fits]])
        _, first = stream.next()
        states = [trained.state for trained in first]
        rest = [
            replace(fit, state=state, n_epochs=2)
            for fit, state in zip(fits, states, strict=True)
        ]
        stream.ask([rest])
        _, second = stream.next()

    _assert_same(second, train(fits))


def test_fits_of_several_signatures_and_failed_ones_are_one_request(iris):
    """Every fit has a result, in the order of the request."""
    kinds = {"dropout": -1.0}, {"width": 5}, {}
    fits = [_fits(iris, **params)[0] for params in kinds]
    with FitStream() as stream:
        stream.ask([fits])
        _, trained = stream.next()

    assert [own.status for own in trained] == ["failed", "trained", "trained"]
    assert trained[0].message.startswith("fold 0: ")


def test_a_request_of_failures_only_has_an_end(iris):
    """Though nothing of it trains."""
    with FitStream() as stream:
        (number,) = stream.ask([_fits(iris, dropout=-1.0)])
        ended, trained = stream.next()

    assert ended == number
    assert {own.status for own in trained} == {"failed"}


def test_what_the_store_has_is_not_trained(iris, tmp_path):
    """It is there at once, to the bit."""
    runs = []
    for _ in range(2):
        with FitStream(store=tmp_path / "fits.db") as stream:
            stream.ask([_fits(iris)])
            assert stream.n_idle == len(runs)
            runs.append(stream.next()[1])

    assert [own.is_loaded for own in runs[1]] == [True] * 3
    _assert_same(*runs)


def test_what_cannot_be_stored_is_said_once(iris, tmp_path):
    """When the stream ends, with the count of all requests."""

    def run():
        with FitStream(store=tmp_path / "fits.db") as stream:
            for _ in range(2):
                stream.ask([_fits(iris, random_state=None)])
            _all(stream)

    with pytest.warns(SkTuneWarning, match="6 fits are not stored") as caught:
        run()

    assert len(caught) == 1


def test_progress_counts_what_is_still_to_come(iris):
    """Fits that were expected, and more of them if there are more."""
    seen = []
    with FitStream(progress=seen.append, expected=[2] * 6) as stream:
        stream.ask([_fits(iris)])
        stream.next()
        assert (seen[-1].n_fits, seen[-1].n_fits_done) == (6, 3)
        assert (seen[-1].n_epochs, seen[-1].n_epochs_done) == (12, 6)
        for _ in range(2):
            stream.ask([_fits(iris)])
        _all(stream)

    assert (seen[-1].n_fits, seen[-1].n_fits_done) == (9, 9)


def test_errors_of_who_is_told_come_up_as_they_are(iris):
    """They are no failures of a fit."""

    def tell(progress):
        raise ZeroDivisionError

    with FitStream(progress=tell) as stream:
        stream.ask([_fits(iris)])
        with pytest.raises(ZeroDivisionError):
            stream.next()


def test_a_result_needs_a_request():
    """Or there is nothing to wait for."""
    with FitStream() as stream, pytest.raises(ValueError, match="needs a request"):
        stream.next()


@pytest.fixture
def shards(iris):
    """Return six shards of one small fit each."""
    net = MLPClassifier(hidden_layer_sizes=(4,), max_epochs=1)
    rows = np.arange(0, 150, 2)
    fits = [
        Fit(estimator=net, X=iris.X, y=iris.y, rows=rows, seed=i, n_epochs=1)
        for i in range(6)
    ]
    return [
        Shard(fits={i: fit}, as_fleet=True, memory_limit=2**20)
        for i, fit in enumerate(fits)
    ]


def _weights(result, i):
    return next(iter(result[0][i].state.weights.values()))


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_what_is_put_while_others_run_gives_what_it_gives_alone(backend, shards):
    """Each shard has one result, under its number."""
    with joblib.parallel_config(backend=backend):
        stream = ShardStream(2)
        assert stream.n_workers == 2
        for i in range(2):
            stream.put(i, shards[i])
        results = {}
        for i in range(6):
            position, result, message = stream.next()
            results[position] = result
            assert message == ""
            if i + 2 < 6:
                stream.put(i + 2, shards[i + 2])
        stream.close()

    assert stream.n_shards == 0
    assert sorted(results) == list(range(6))
    for i, result in results.items():
        np.testing.assert_array_equal(
            _weights(result, i), _weights(train_shard(shards[i]), i)
        )


def test_one_worker_is_this_process_and_keeps_the_order(shards):
    """Nothing trains before a result is asked for."""
    n_done = []
    stream = ShardStream(1, n_done.append)
    for i in (2, 0, 1):
        stream.put(i, shards[i])
    assert n_done == []

    assert [stream.next()[0] for _ in range(3)] == [2, 0, 1]
    assert len(n_done) == 3


def test_workers_that_join_late_are_counted(monkeypatch):
    """Those of a cluster may come and go."""
    n_workers = 2
    monkeypatch.setattr(_stream.joblib, "effective_n_jobs", lambda n_jobs: n_workers)
    stream = ShardStream(-1)
    before, n_workers = stream.n_workers, 5

    assert (before, stream.n_workers) == (2, 5)


@pytest.fixture
def straggling(monkeypatch):
    """Let shards that hold fit 0 wait for an event, in threads; return the event."""
    event = threading.Event()

    def slow(shard, *options):
        if 0 in shard.fits:
            event.wait(30)
        return train_shard(shard, *options)

    monkeypatch.setattr(_executors, "train_shard", slow)
    with joblib.parallel_config(backend="threading"):
        yield event
    event.set()


def test_a_straggler_holds_up_no_other_shard(shards, straggling):
    """The other worker gets one shard after the other, in the same call of joblib."""
    stream = ShardStream(2)
    stream.put(0, shards[0])
    ended = []
    for i in range(1, 6):
        stream.put(i, shards[i])
        ended.append(stream.next()[0])
    straggling.set()
    ended.append(stream.next()[0])

    assert ended == [1, 2, 3, 4, 5, 0]


def test_waiting_ends_when_the_time_is_up(shards, straggling):
    """What runs is given up then."""
    stream = ShardStream(2)
    stream.put(0, shards[0])
    threading.Timer(1.0, straggling.set).start()

    assert stream.next(timeout=0.05) is None
    assert stream.n_shards == 0


def test_a_stream_goes_on_after_all_its_workers_were_idle(shards):
    """A call of joblib that has ended is followed by another."""
    with joblib.parallel_config(backend="threading"):
        stream = ShardStream(2)
        ended = []
        for i in range(3):
            stream.put(i, shards[i])
            ended.append(stream.next()[0])

    assert ended == [0, 1, 2]


def test_results_that_came_together_do_not_stop_the_stream(shards, straggling):
    """What is put when all that runs has ended, and not all was fetched, is run, too."""
    straggling.set()
    stream = ShardStream(2)
    for i in range(3):
        stream.put(i, shards[i])
    ended = [stream.next()[0]]
    while stream._call._parallel.n_completed_tasks < 3:
        pass
    stream.put(3, shards[3])
    ended += [stream.next()[0] for _ in range(3)]

    assert sorted(ended) == [0, 1, 2, 3]


def _failing_once(monkeypatch, error, after=1):
    """Let joblib's call fail after some results; return the numbers run once more."""
    count, own = iter(range(100)), _stream._Call.next

    def fail(call, timeout):
        if next(count) == after:
            raise error
        return own(call, timeout)

    monkeypatch.setattr(_stream._Call, "next", fail)
    again = []
    run = _executors.run_shards

    def run_again(shards, n_jobs):
        again.extend(position for position, _ in shards)
        return run(shards, n_jobs)

    monkeypatch.setattr(_executors, "run_shards", run_again)
    return again


def test_shards_of_a_lost_worker_run_once_more_one_at_a_time(shards, monkeypatch):
    """What had come before is kept; what is put meanwhile waits for its turn."""
    again = _failing_once(monkeypatch, TerminatedWorkerError("gone"))
    with joblib.parallel_config(backend="threading"):
        stream = ShardStream(2)
        for i in range(3):
            stream.put(i, shards[i])
        first = stream.next()[0]
        second = stream.next()[0]
        stream.put(3, shards[3])
        rest = [stream.next()[0] for _ in range(2)]

    assert sorted([first, second, *rest]) == [0, 1, 2, 3]
    assert sorted(again) == sorted({0, 1, 2} - {first})


def test_a_shard_that_is_lost_twice_is_given_up(shards, monkeypatch):
    """It has no result but a message."""
    _failing_once(monkeypatch, TerminatedWorkerError("gone"), after=0)

    def die(shards, n_jobs):
        raise TerminatedWorkerError("gone again")
        yield

    monkeypatch.setattr(_executors, "run_shards", die)
    with joblib.parallel_config(backend="threading"):
        stream = ShardStream(2)
        stream.put(5, shards[5])

        assert stream.next() == (5, None, "its worker process died: gone again")


def test_what_cannot_be_sent_is_trained_here(shards, monkeypatch):
    """From then on all of it."""
    error = pickle.PicklingError("Could not pickle the task")
    _failing_once(monkeypatch, error, after=0)
    with joblib.parallel_config(backend="threading"):
        stream = ShardStream(2)
        for i in range(2):
            stream.put(i, shards[i])
        ended = [stream.next()[0] for _ in range(2)]

        assert (ended, stream.n_workers) == ([0, 1], 1)


def test_a_call_that_ends_without_a_result_is_not_waited_for(shards, monkeypatch):
    """What it was given is run once more."""
    own = _stream._Call.next
    ends = iter([True])
    monkeypatch.setattr(
        _stream._Call,
        "next",
        lambda call, timeout: None if next(ends, False) else own(call, timeout),
    )
    with joblib.parallel_config(backend="threading"):
        stream = ShardStream(2)
        for i in range(2):
            stream.put(i, shards[i])
        ended = [stream.next()[0] for _ in range(2)]

    assert ended == [0, 1]


def test_other_errors_are_passed_on(shards, monkeypatch):
    """A mistake of sk_tune's own is not mistaken for a lost worker."""
    _failing_once(monkeypatch, ZeroDivisionError(), after=0)
    with joblib.parallel_config(backend="threading"):
        stream = ShardStream(2)
        stream.put(0, shards[0])
        with pytest.raises(ZeroDivisionError):
            stream.next()
        stream.close()


def test_a_backend_without_a_generator_gets_batches(shards, monkeypatch):
    """Of all that waits, with the same workers for all batches."""
    calls, n_entered = [], []

    class ListsOnly(joblib.Parallel):
        def __init__(self, **kwargs):
            if "return_as" in kwargs:
                raise ValueError("no generators here")
            super().__init__(**{**kwargs, "backend": "threading"})

        def __enter__(self):
            n_entered.append(1)
            return super().__enter__()

        def __call__(self, tasks):
            calls.append(len(tasks))
            return super().__call__(tasks)

    monkeypatch.setattr(_stream.joblib, "Parallel", ListsOnly)
    with joblib.parallel_config(backend="threading"):
        stream = ShardStream(2)
        for i in range(2):
            stream.put(i, shards[i])
        ended = [stream.next()[0]]
        stream.put(2, shards[2])
        ended += [stream.next()[0] for _ in range(2)]

        stream.close()

    assert (ended, calls, n_entered) == ([0, 1, 2], [2, 1], [1])
