"""Searches whose shards other machines' schedulers run: Dask and Ray, through joblib.

Slow; needs the extra ``distributed``.
"""

import os
import signal
import threading

import joblib
import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import GridSearchCV, HyperbandSearchCV, MLPClassifier

pytestmark = [
    pytest.mark.slow,
    # Of the schedulers' own.
    pytest.mark.filterwarnings("ignore"),
]
NET = make_pipeline(StandardScaler(), MLPClassifier(width=16, random_state=0))
RATES = {"mlpclassifier__learning_rate": list(np.logspace(-4, -1, 8))}


def _scores(digits, **options):
    search = HyperbandSearchCV(
        NET, RATES, max_resources=9, cv=3, random_state=0, refit=False, **options
    ).fit(*digits)
    return search.cv_results_["mean_test_score"]


@pytest.fixture(scope="module")
def cluster():
    """Two processes of Dask on this machine."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster):
        yield cluster


def test_dask_gives_what_local_workers_give(cluster, digits):
    """To the bit: a shard is the same wherever it trains."""
    with joblib.parallel_config("dask"):
        scores = _scores(digits, n_jobs=-1)

    np.testing.assert_array_equal(scores, _scores(digits, n_jobs=2))


def test_a_worker_of_dask_that_dies_changes_nothing(cluster, digits):
    """Dask runs its shards elsewhere."""
    net = MLPClassifier(width=16, max_epochs=200, random_state=0)
    grid = {"learning_rate": list(np.logspace(-4, -1, 16))}
    pid = next(iter(cluster.workers.values())).pid
    threading.Timer(1.0, os.kill, (pid, signal.SIGKILL)).start()

    with joblib.parallel_config("dask"):
        search = GridSearchCV(net, grid, cv=3, n_jobs=-1, refit=False).fit(*digits)

    alone = GridSearchCV(net, grid, cv=3, n_jobs=2, refit=False).fit(*digits)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"]
    )


def test_ray_gives_what_local_workers_give(digits):
    """Through the backend that Ray registers with joblib."""
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        register_ray()
        with joblib.parallel_config("ray"):
            scores = _scores(digits, n_jobs=2)
    finally:
        ray.shutdown()

    np.testing.assert_array_equal(scores, _scores(digits, n_jobs=2))
