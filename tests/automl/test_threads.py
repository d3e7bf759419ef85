"""Threads by the size of the data."""

from threadpoolctl import threadpool_info

from sk_tune.automl._resources import few_threads


def _most_threads():
    return max(pool["num_threads"] for pool in threadpool_info())


def test_small_data_get_one_thread_and_large_ones_all():
    """Only what is small is limited."""
    before = _most_threads()

    with few_threads(1000):
        assert _most_threads() == 1
    with few_threads(10_000_000):
        assert _most_threads() == before
