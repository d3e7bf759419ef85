"""A backend that sees all tasks of a call of joblib before the first one runs."""

import joblib
import pytest

from sk_tune.backend import CollectingBackend, Job


def test_a_job_keeps_its_result_or_error_and_says_that_it_ended():
    """Whatever a task raises stays with its job; the callback is called once either way."""
    told = []
    good, bad = Job(lambda: 3, told.append), Job(lambda: 1 // 0, told.append)

    good.run()
    bad.run()

    backend = CollectingBackend()
    assert backend.retrieve_result_callback(good) == 3
    with pytest.raises(ZeroDivisionError):
        backend.retrieve_result_callback(bad)
    assert told == [good, bad]


def test_tasks_are_handed_out_until_nothing_more_comes():
    """What is submitted while jobs run comes in the next list."""
    backend = CollectingBackend()
    first = backend.submit(int)
    lists = []

    for jobs in backend.collected():
        lists.append(jobs)
        if len(lists) == 1:
            second = backend.submit(float)

    assert lists == [[first], [second]]


def test_nothing_is_handed_out_after_an_abort():
    """Jobs of a call that was aborted are forgotten, those of the next call are not."""
    backend = CollectingBackend()
    backend.submit(int)
    for _ in backend.collected():
        backend.submit(float)
        backend.abort_everything()
    job = backend.submit(str)

    assert list(backend.collected()) == [[job]]


def test_all_tasks_are_to_come_at_once():
    """joblib is told of so many workers that it holds no task back; none is refused."""
    assert CollectingBackend().effective_n_jobs(1) > 10_000
    with pytest.raises(ValueError, match="n_jobs == 0"):
        CollectingBackend().effective_n_jobs(0)


def test_it_knows_the_workers_that_are_around_it():
    """Who trains by itself in a block finds the backend that was active before it."""
    with joblib.parallel_config("threading", n_jobs=3):
        backend = CollectingBackend()

    assert type(backend.around[0]).__name__ == "ThreadingBackend"
    assert backend.around[1] == 3
