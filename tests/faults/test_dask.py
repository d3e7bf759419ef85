"""Workers of Dask that are killed at random moments, in the middle of rungs.

Slow; needs the extra ``distributed``.  SK_TUNE_FAULTS sets how many moments are tried.
"""

import os
import random
import signal
import threading
import time
from contextlib import contextmanager

import joblib
import numpy as np
import pytest

from sk_tune import HyperbandSearchCV, MLPClassifier

N_MOMENTS = int(os.environ.get("SK_TUNE_FAULTS", "50"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3000),
    # Of the scheduler's own.
    pytest.mark.filterwarnings("ignore"),
]


def _search(digits, **options):
    net = MLPClassifier(width=64, random_state=0)
    space = {"learning_rate": list(np.logspace(-4, -1, 40))}
    search = HyperbandSearchCV(
        net, space, max_resources=27, cv=3, random_state=0, refit=False, **options
    )
    began = time.monotonic()
    search.fit(*digits)
    return search.cv_results_["mean_test_score"], time.monotonic() - began


@contextmanager
def _cluster():
    """Two processes of Dask on this machine; one that dies is started anew."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        yield cluster


def _kill(pid, killed):
    """Note the moment before the signal, so that a search cannot end in between."""
    killed.append(time.monotonic())
    os.kill(pid, signal.SIGKILL)


def test_a_worker_of_dask_that_dies_at_any_moment_changes_nothing(digits):
    """Whenever it dies, its shards run elsewhere, and rungs go on from where they stood."""
    expected, _ = _search(digits, n_jobs=2)
    rng, n_within, n_left = random.Random(0), 0, N_MOMENTS
    while n_left:
        with _cluster() as cluster:
            # The first run takes longer than others: workers import what they need.
            seconds = min(_search(digits, n_jobs=-1)[1] for _ in range(2))
            while n_left and _has_workers(cluster, 2):
                n_left -= 1
                killed = []
                pid = rng.choice([worker.pid for worker in cluster.workers.values()])
                timer = threading.Timer(rng.uniform(0, 0.8 * seconds), _kill, (pid, killed))
                timer.start()

                scores, _ = _search(digits, n_jobs=-1)

                n_within += bool(killed)
                timer.cancel()
                np.testing.assert_array_equal(scores, expected)
    assert n_within >= N_MOMENTS // 2


def _has_workers(cluster, n):
    """Wait until the worker that died is there again; now and then Dask starts none."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        pids = [worker.pid for worker in cluster.workers.values()]
        if len(cluster.scheduler_info["workers"]) == n and None not in pids:
            return True
        time.sleep(0.2)
    return False
