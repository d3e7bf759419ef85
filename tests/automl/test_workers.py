"""Worker processes that nobody waits for."""

import threading

import joblib
import pytest
from joblib.externals.loky.process_executor import TerminatedWorkerError

from sk_tune.automl import _resources as _workers
from sk_tune.automl._resources import Workers


@pytest.fixture
def started(monkeypatch):
    """Return an event that lets the workers be ready, instead of starting any."""
    ready = threading.Event()
    monkeypatch.setattr(_workers, "start_workers", lambda *_: ready.wait(10))
    monkeypatch.setattr(_workers.joblib, "effective_n_jobs", lambda n: n or 1)
    return ready


def test_until_workers_are_ready_one_process_trains(started):
    """Then all that were asked for do."""
    workers = Workers(2, 60.0)
    assert workers.n_jobs == 1

    workers.start()

    assert workers.n_jobs == 1
    started.set()
    workers._thread.join(10)
    assert workers.n_jobs == 2


def test_with_little_time_no_worker_starts(started):
    """It would take longer to start than it saves."""
    workers = Workers(2, 10.0)

    workers.start()

    assert workers._thread is None
    assert workers.n_jobs == 1


def test_without_a_budget_workers_are_as_asked_for(started):
    """Nobody waits too long, so none is started ahead."""
    workers = Workers(2, None)

    workers.start()

    assert workers._thread is None
    assert workers.n_jobs == 2


def test_other_backends_of_joblib_are_left_to_whoever_chose_them(started):
    """They have workers already."""
    with joblib.parallel_config("threading"):
        workers = Workers(2, 60.0)

        workers.start()

        assert workers._thread is None
        assert workers.n_jobs == 2


def test_workers_that_end_while_they_start_print_nothing(monkeypatch, capsys):
    """As on Ctrl-C, which reaches them too: the thread ends without a traceback."""

    def ended(**options):
        raise TerminatedWorkerError

    monkeypatch.setattr(_workers.joblib, "Parallel", ended)
    monkeypatch.setattr(_workers.joblib, "effective_n_jobs", lambda n: n or 1)
    workers = Workers(2, 60.0)

    workers.start()
    workers._thread.join(10)

    assert capsys.readouterr().err == ""
