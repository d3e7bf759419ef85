# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Cost of a store for a search, and its growth over 10,000 candidates.

    env -u OMP_NUM_THREADS python benchmarks/store_cost.py [--runs 5] [--soak]

The search is the small case of engine.py: digits, a 64-64 network, batches of 64, 20
epochs, 24 candidates x 5 folds on two workers, with and without a store, in turn; then
with the store full, which is a resume.  --soak is one search over 10,000 candidates of a
tiny network on iris, 2 folds, 1 epoch, in rounds of 500: seconds, memory and bytes of
the file for each tenth of it.
"""

import argparse
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from measure import describe_machine
from scipy.stats import loguniform
from sklearn.datasets import load_digits, load_iris

from sk_tune import BayesSearchCV, GridSearchCV, MLPClassifier
from sk_tune.engine import FitStore

N_CANDIDATES = 10_000
ROUND = 500


def small_case(store: Path | None) -> float:
    X, y = load_digits(return_X_y=True)
    net = MLPClassifier(
        hidden_layer_sizes=(64, 64), members=1, batch_size=64, max_epochs=20, random_state=0
    )
    grid = {
        "learning_rate": list(np.logspace(-4, -1.5, 8)),
        "dropout": [0.0, 0.2, 0.4],
    }
    start = time.perf_counter()
    GridSearchCV(net, grid, cv=5, n_jobs=2, refit=False, store=store).fit(X / 16, y)
    return time.perf_counter() - start


def cost(runs: int) -> None:
    times: dict[str, list[float]] = {"without": [], "with": [], "again": []}
    with tempfile.TemporaryDirectory() as folder:
        small_case(None)
        for run in range(runs):
            path = Path(folder) / f"{run}.db"
            sides: list[tuple[str, Path | None]] = [("without", None), ("with", path)]
            for name, store in sides if run % 2 else reversed(sides):
                times[name].append(small_case(store))
            times["again"].append(small_case(path))
        with FitStore(path) as opened:
            info = opened.info()
    ratios = [a / b - 1 for a, b in zip(times["with"], times["without"], strict=True)]
    for name, seconds in times.items():
        print(f"{name:8} {statistics.median(seconds):.2f} s  {np.round(seconds, 2)}")
    print(f"overhead {statistics.median(ratios):+.1%} (median of pairs)")
    print(f"{info.n_fits} fits, {info.n_bytes / info.n_fits / 1024:.0f} KiB each")


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def soak() -> None:
    X, y = load_iris(return_X_y=True)
    points: list[tuple[int, float, float]] = []
    start = time.perf_counter()

    def watch(progress: Any) -> None:
        if progress.n_fits_done == progress.n_fits:
            points.append((progress.n_fits, time.perf_counter() - start, resident()))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "soak.db"
        net = MLPClassifier(
            hidden_layer_sizes=(2,), members=1, batch_size=75, max_epochs=1, random_state=0
        )
        # The sampler is random: only the rounds of this search matter.
        search = BayesSearchCV(
            net,
            {"learning_rate": loguniform(1e-4, 1)},
            n_iter=N_CANDIDATES,
            n_points=ROUND,
            optimizer_kwargs={"n_initial_points": N_CANDIDATES},
            cv=2,
            refit=False,
            random_state=0,
            store=path,
            verbose=watch,
        )
        search.fit(X, y)
        with FitStore(path) as opened:
            info = opened.info()
    per_part = len(points) // 10
    print("candidates  seconds each  resident MiB")
    # A round is observed between training and scoring, so intervals between observations
    # contain whole rounds; the time before the first one is dropped.
    n_before, before = ROUND, points[0][1]
    for part in range(10):
        _, seconds, memory = points[per_part * (part + 1) - 1]
        n = N_CANDIDATES // 10 * (part + 1)
        each = (seconds - before) / (n - n_before)
        print(f"{n:10,}  {each:12.5f}  {memory:12.0f}")
        n_before, before = n, seconds
    print(f"{info.n_fits:,} fits, {info.n_bytes / info.n_fits:.0f} bytes each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--soak", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(describe_machine())
    if options.soak:
        soak()
    else:
        cost(options.runs)


if __name__ == "__main__":
    main()
