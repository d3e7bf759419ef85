# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A halving search on two Dask workers, one of them slow, by schedule.

    python benchmarks/straggler.py [--slowness 5] [--repeats 3]

Both workers are processes on this machine; the slow worker sleeps after each shard so that
it is slower by the given factor.  Prints the seconds of the search without a refit, the
time of the first fully trained candidate, and the best score, synchronous and asynchronous
in turn.  Needs the extra ``distributed``.
"""

import argparse
import time
import warnings
from typing import Any

import joblib
import numpy as np
from distributed import Client, LocalCluster
from scipy.stats import loguniform, uniform
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold

from sk_tune import HalvingRandomSearchCV, MLPClassifier
from sk_tune._engine import _executors

MAX_EPOCHS = 27


def slow_down(slowness: float) -> None:
    """Let this worker sleep after each shard."""
    train_shard = _executors.train_shard

    def slowly(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        result = train_shard(*args, **kwargs)
        time.sleep((slowness - 1) * (time.perf_counter() - start))
        return result

    _executors.train_shard = slowly  # type: ignore[assignment]


class FirstAtTop:
    """Notes the time of the first fully trained candidate."""

    def __init__(self) -> None:
        self.seconds = float("nan")

    def on_fit_task_begin(self, *_: Any, **__: Any) -> None: ...

    def setup(self, *_: Any, **__: Any) -> None:
        self._start = time.perf_counter()

    def teardown(self, *_: Any, **__: Any) -> None: ...

    def on_fit_task_end(self, estimator: Any, *_: Any, **__: Any) -> bool:
        results, _ = estimator.results_so_far()
        granted = np.asarray(results.get("n_resources", [0]))
        if np.isnan(self.seconds) and granted.max(initial=0) == MAX_EPOCHS:
            self.seconds = time.perf_counter() - self._start
        return False


def run(*, asynchronous: bool, seed: int) -> tuple[float, float, float, int]:
    """Return seconds, seconds to the first full training, best score and epochs."""
    X, y = load_digits(return_X_y=True)
    space = {
        "learning_rate": loguniform(1e-4, 1e-1),
        "dropout": uniform(0, 0.5),
    }
    net = MLPClassifier(
        n_layers=2, width=128, members=1, lr_schedule="constant", random_state=seed
    )
    watch = FirstAtTop()
    search = HalvingRandomSearchCV(
        net,
        space,
        n_candidates=81,
        resource="max_epochs",
        min_resources=1,
        max_resources=MAX_EPOCHS,
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
        random_state=seed,
        return_train_score=False,
        refit=False,
        n_jobs=-1,
        asynchronous=asynchronous,
    ).set_callbacks(watch)
    start = time.perf_counter()
    search.fit(X / 16, y)
    scores = search.cv_results_["mean_test_score"]
    seconds = time.perf_counter() - start
    return seconds, watch.seconds, scores.max(), search.ledger_.epochs_trained


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slowness", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    # Dask warns of large states, such as the states of candidates.
    warnings.filterwarnings("ignore", "Sending large graph")
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster) as client, joblib.parallel_config("dask"):
        # What has to be imported is imported.
        run(asynchronous=False, seed=0)
        for slowness in (1.0, options.slowness):
            slow = next(iter(client.scheduler_info()["workers"]))
            client.run(slow_down, slowness, workers=[slow])
            for seed in range(options.repeats):
                for asynchronous in (False, True):
                    own = run(asynchronous=asynchronous, seed=seed)
                    print(
                        f"{slowness:.0f} times slower, asynchronous={asynchronous!s:5}: "
                        f"{own[0]:6.1f} s, first with all epochs {own[1]:6.1f} s, "
                        f"best score {own[2]:.4f}, {own[3]} epochs",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
