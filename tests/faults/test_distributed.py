"""Searches whose shards other machines' schedulers run: Dask and Ray, through joblib.

Workers of Dask are killed at random moments, too.  Slow; needs the extra ``distributed``.
SK_TUNE_FAULTS sets how many moments are tried.
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
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import GridSearchCV, HalvingGridSearchCV, HyperbandSearchCV, MLPClassifier

N_MOMENTS = int(os.environ.get("SK_TUNE_FAULTS", "50"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3000),
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


def _sleeping_before_the_first_shard(seconds):
    """Return what slows down the worker that it runs in.

    A function in a function is sent by value: workers need not be able to import this file.
    """

    def slow_down():
        from sk_tune._engine import _executors

        train_shard = _executors.train_shard

        def slowly(shard, *options):
            _executors.train_shard = train_shard
            time.sleep(seconds)
            return train_shard(shard, *options)

        _executors.train_shard = slowly

    return slow_down


class _Watch:
    """Notes when a candidate was on the last of three rungs."""

    def setup(self, estimator, context):
        """Begin."""
        self._start, self.seconds_to_the_last_rung = time.monotonic(), np.inf

    def teardown(self, estimator, context):
        """Do nothing."""

    def on_fit_task_begin(self, estimator, context, **_):
        """Do nothing."""

    def on_fit_task_end(self, estimator, context, **_):
        """Read the results so far."""
        results, _ = estimator.results_so_far()
        if 2 in list(results.get("iter", ())):
            seconds = time.monotonic() - self._start
            self.seconds_to_the_last_rung = min(self.seconds_to_the_last_rung, seconds)


@contextmanager
def _processes():
    """Two processes of Dask on this machine; a process that dies is restarted."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster):
        yield cluster


@pytest.fixture(scope="module")
def cluster():
    """Two processes for several tests."""
    with _processes() as cluster:
        yield cluster


@pytest.mark.usefixtures("workers_for_little")
def test_dask_gives_what_local_workers_give(cluster, digits):
    """Bitwise: a shard is the same wherever it trains."""
    with joblib.parallel_config("dask"):
        scores = _scores(digits, n_jobs=-1)

    np.testing.assert_array_equal(scores, _scores(digits, n_jobs=2))


@pytest.mark.usefixtures("workers_for_little")
def test_a_worker_of_dask_holds_the_samples_once_for_all_folds(cluster):
    """Folds refer to rows of the same array, which is also released at the end."""
    X = np.random.default_rng(0).standard_normal((20_000, 200), dtype=np.float32)
    y = (X[:, 0] > 0).astype(int)
    client, ended, held = cluster.get_client(), threading.Event(), [0]

    def bytes_of_samples(dask_worker):
        arrays = {id(v): v for v in dask_worker.data.values() if isinstance(v, np.ndarray)}
        return sum(array.nbytes for array in arrays.values() if array.ndim == 2)

    def watch():
        while not ended.wait(0.05):
            held.extend(client.run(bytes_of_samples).values())

    thread = threading.Thread(target=watch)
    thread.start()
    net = MLPClassifier(width=32, max_epochs=3, random_state=0)
    with joblib.parallel_config("dask"):
        rates = {"learning_rate": list(np.logspace(-4, -2, 6))}
        GridSearchCV(net, rates, cv=3, n_jobs=-1, refit=False).fit(X, y)
    ended.set()
    thread.join()

    assert max(held) == X.nbytes


def test_a_slow_worker_of_dask_stalls_no_asynchronous_search(cluster, digits):
    """The fast worker trains a candidate to the end before the slow worker returns."""
    rates = list(np.geomspace(1e-4, 1e-1, 9))
    net = MLPClassifier(width=16, dtype="float64", random_state=0)
    slow = next(iter(cluster.scheduler_info["workers"]))
    client = cluster.get_client()
    client.run(_sleeping_before_the_first_shard(8.0), workers=[slow])
    options = {"resource": "max_epochs", "min_resources": 1, "max_resources": 9, "cv": 3}
    seen = _Watch()

    with joblib.parallel_config("dask"):
        search = HalvingGridSearchCV(
            net, {"learning_rate": rates}, n_jobs=-1, asynchronous=True, **options
        ).set_callbacks(seen)
        search.fit(*digits)

    results = search.cv_results_
    assert seen.seconds_to_the_last_rung < 8.0
    for params, score in zip(results["params"], results["mean_test_score"], strict=True):
        if params["max_epochs"] == 9:
            own = {name: [value] for name, value in params.items()}
            alone = GridSearchCV(net, own, cv=3, refit=False).fit(*digits)
            assert alone.cv_results_["mean_test_score"] == pytest.approx(score)


def test_a_worker_of_dask_that_dies_ends_no_asynchronous_search(cluster, digits):
    """Its candidate trains elsewhere, and every rung has its candidates."""
    net = MLPClassifier(width=16, random_state=0)
    pid = next(iter(cluster.workers.values())).pid
    threading.Timer(1.0, os.kill, (pid, signal.SIGKILL)).start()

    with joblib.parallel_config("dask"):
        search = HalvingGridSearchCV(
            net,
            {"learning_rate": list(np.logspace(-4, -1, 9))},
            resource="max_epochs",
            min_resources=10,
            max_resources=90,
            cv=3,
            n_jobs=-1,
            refit=False,
            asynchronous=True,
        ).fit(*digits)

    assert np.greater_equal(search.n_candidates_, [9, 3, 1]).all()
    assert not np.isnan(search.cv_results_["mean_test_score"]).any()


@contextmanager
def _ray():
    """Two processes of Ray on this machine, through the backend that it registers."""
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        register_ray()
        with joblib.parallel_config("ray"):
            yield
    finally:
        ray.shutdown()


@pytest.mark.usefixtures("workers_for_little")
def test_ray_and_local_workers_give_the_same(digits):
    """To the bit, too."""
    with _ray():
        scores = _scores(digits, n_jobs=2)

    np.testing.assert_array_equal(scores, _scores(digits, n_jobs=2))


def _long_search(digits, **options):
    net = MLPClassifier(width=64, random_state=0)
    space = {"learning_rate": list(np.logspace(-4, -1, 40))}
    search = HyperbandSearchCV(
        net, space, max_resources=27, cv=3, random_state=0, refit=False, **options
    )
    began = time.monotonic()
    search.fit(*digits)
    return search.cv_results_["mean_test_score"], time.monotonic() - began


class _Kills:
    """Searches with a worker killed at some moment, and the expected results."""

    def __init__(self, digits):
        self._digits, self._rng = digits, random.Random(0)
        self._expected, _ = _long_search(digits, n_jobs=2)
        self.n_left, self.n_within = N_MOMENTS, 0

    def search_while_one_dies(self, seconds, pids):
        """Kill one of the processes of `pids` within `seconds` of searching."""
        killed = []

        def kill():
            if found := pids():
                # Noted before the signal, so that a search cannot end in between.
                killed.append(self._rng.choice(found))
                os.kill(killed[0], signal.SIGKILL)

        self.n_left -= 1
        timer = threading.Timer(self._rng.uniform(0, 0.8 * seconds), kill)
        timer.start()
        scores, _ = _long_search(self._digits, n_jobs=-1)
        self.n_within += bool(killed)
        timer.cancel()
        np.testing.assert_array_equal(scores, self._expected)


@pytest.mark.usefixtures("workers_for_little")
def test_a_worker_of_dask_that_dies_at_any_moment_changes_nothing(digits):
    """Its shards run elsewhere, and rungs continue where they stopped."""
    kills = _Kills(digits)
    while kills.n_left:
        with _processes() as cluster, joblib.parallel_config("dask"):
            # The first run takes longer than others: workers import what they need.
            seconds = min(_long_search(digits, n_jobs=-1)[1] for _ in range(2))
            while kills.n_left and _has_workers(cluster, 2):
                kills.search_while_one_dies(
                    seconds, lambda: [worker.pid for worker in cluster.workers.values()]
                )
    assert kills.n_within >= N_MOMENTS // 2


@pytest.mark.usefixtures("workers_for_little")
def test_a_worker_of_ray_that_dies_at_any_moment_changes_nothing(digits):
    """Ray repeats its work in a new process."""
    psutil = pytest.importorskip("psutil")

    def busy():
        children = psutil.Process().children(recursive=True)
        return [child.pid for child in children if child.name().startswith("ray::_run")]

    kills = _Kills(digits)
    with _ray():
        seconds = min(_long_search(digits, n_jobs=-1)[1] for _ in range(2))
        while kills.n_left:
            kills.search_while_one_dies(seconds, busy)
    assert kills.n_within >= N_MOMENTS // 2


def _has_workers(cluster, n):
    """Wait until a dead worker is replaced; Dask occasionally starts none."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        pids = [worker.pid for worker in cluster.workers.values()]
        if len(cluster.scheduler_info["workers"]) == n and None not in pids:
            return True
        time.sleep(0.2)
    return False
