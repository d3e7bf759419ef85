"""The time, the workers and the threads of a fit."""

import math
import threading
import time

import joblib
import pytest
from joblib.externals.loky.process_executor import TerminatedWorkerError
from threadpoolctl import threadpool_info

from sk_tune.automl import _resources
from sk_tune.automl._resources import Clock, Workers, few_threads


def test_what_is_left_is_the_budget_less_what_was_spent():
    """Seconds since the start count, and nothing is left when they exceed the budget."""
    now = time.monotonic()

    assert 9 < Clock(20.0, start=now - 10).left <= 10
    assert Clock(5.0, start=now - 10).left == 0
    assert 10 <= Clock(5.0, start=now - 10).seconds < 11


def test_without_a_budget_there_is_no_end():
    """What is left and each share of it are infinite."""
    clock = Clock(None)

    assert math.isinf(clock.left)
    assert math.isinf(clock.share(0.1))
    assert Clock(20.0).share(0.1) == pytest.approx(2.0)


@pytest.fixture
def started(monkeypatch):
    """Return an event that lets the workers be ready, instead of starting any."""
    ready = threading.Event()
    monkeypatch.setattr(_resources, "start_workers", lambda *_: ready.wait(10))
    monkeypatch.setattr(_resources.joblib, "effective_n_jobs", lambda n: n or 1)
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


@pytest.mark.parametrize(
    ("backend", "time_budget", "n_jobs"),
    [
        # It would take longer to start workers than they save.
        ("loky", 10.0, 1),
        # Nobody waits too long without a budget, and other backends have workers already.
        ("loky", None, 2),
        ("threading", 60.0, 2),
    ],
)
def test_workers_are_started_ahead_only_if_it_pays(started, backend, time_budget, n_jobs):
    """Else there is one process, or as many as were asked for."""
    with joblib.parallel_config(backend):
        workers = Workers(2, time_budget)

        workers.start()

        assert workers._thread is None
        assert workers.n_jobs == n_jobs


def test_workers_that_end_while_they_start_print_nothing(monkeypatch, capsys):
    """As on Ctrl-C, which reaches them too: the thread ends without a traceback."""

    def ended(**options):
        raise TerminatedWorkerError

    monkeypatch.setattr(_resources.joblib, "Parallel", ended)
    monkeypatch.setattr(_resources.joblib, "effective_n_jobs", lambda n: n or 1)
    workers = Workers(2, 60.0)

    workers.start()
    workers._thread.join(10)

    assert capsys.readouterr().err == ""


def _most_threads():
    return max(pool["num_threads"] for pool in threadpool_info())


def test_small_data_get_one_thread_and_large_ones_all():
    """Only what is small is limited."""
    before = _most_threads()

    with few_threads(1000):
        assert _most_threads() == 1
    with few_threads(10_000_000):
        assert _most_threads() == before
