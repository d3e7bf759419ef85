# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""One search by local processes, by Dask and by Ray: equal scores, and their costs.

    python -m pip install 'sk-tune[distributed]'
    python benchmarks/clusters.py [--repeats 5] [--width 64] [--epochs 27]

All have two running workers on this machine, and take turns.  Prints the median seconds of
Hyperband without a refit, and the ratio to local processes.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import joblib
import numpy as np
import ray
from distributed import Client, LocalCluster
from ray.util.joblib import register_ray
from sklearn.datasets import load_digits

from sk_tune import HyperbandSearchCV, MLPClassifier

BACKENDS = ("loky", "dask", "ray")


def run(backend: str, width: int, epochs: int) -> tuple[float, np.ndarray]:
    """Return seconds and scores of a search."""
    X, y = load_digits(return_X_y=True)
    net = MLPClassifier(width=width, members=1, random_state=0)
    space = {"learning_rate": list(np.logspace(-4, -1, 40)), "dropout": [0.0, 0.2, 0.4]}
    search = HyperbandSearchCV(
        net, space, max_resources=epochs, cv=3, random_state=0, n_jobs=2, refit=False
    )
    start = time.perf_counter()
    with joblib.parallel_config(backend, n_jobs=2):
        search.fit(X / 16, y)
    return time.perf_counter() - start, search.cv_results_["mean_test_score"]


@contextmanager
def clusters() -> Iterator[None]:
    """Start two workers of each."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    register_ray()
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    try:
        with LocalCluster(**options) as cluster, Client(cluster):
            yield
    finally:
        ray.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=27)
    options = parser.parse_args()
    # The schedulers warn of large states.
    warnings.simplefilter("ignore")
    with clusters():
        seconds: dict[str, list[float]] = {backend: [] for backend in BACKENDS}
        _, expected = run("loky", options.width, options.epochs)
        for repeat in range(options.repeats + 1):
            for backend in BACKENDS:
                took, scores = run(backend, options.width, options.epochs)
                if not np.array_equal(scores, expected, equal_nan=True):
                    raise AssertionError(f"{backend} gave other scores than loky")
                # The first time workers import what they need.
                if repeat:
                    seconds[backend].append(took)
    local = statistics.median(seconds["loky"])
    for backend, times in seconds.items():
        median = statistics.median(times)
        spread = f"{min(times):.2f} to {max(times):.2f}"
        print(f"{backend:5} {median:6.2f} s ({spread}), {median / local:.2f} of loky")


if __name__ == "__main__":
    main()
