# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Seconds and peak memory of a fit and a search on many rows.

    python benchmarks/large.py [--rows 50000 500000 5000000] [--sides ...]

X has 50 columns in float32, and the label depends on three of them.  Each side runs in a
process of its own, with one thread:

- "fit": ``MLPClassifier(members=1, max_epochs=1)``;
- "search": ``RandomizedSearchCV`` over 30 candidates of it, three folds, without a refit;
- "rows": ``HyperbandSearchCV`` over 98 candidates, which meet a 64th of the rows first;
- "pipeline": the random search with a StandardScaler in front of the network;
- "sklearn MLP": scikit-learn's MLPClassifier with the same units, batches and epochs;
- "boosting": scikit-learn's HistGradientBoostingClassifier with defaults.

Printed are processor seconds, and the peak of the resident memory above the memory before,
as a multiple of X.  Imports and a fit of 1,000 rows come first.  The last column is the
peak that a search's ``plan(X, y)`` forecasts.
"""

import argparse
import json
import math
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from scipy.stats import loguniform
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.neural_network import MLPClassifier as SklearnClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import HyperbandSearchCV, MLPClassifier, RandomizedSearchCV

N_COLUMNS = 50
SHARED = {"batch_size": 200, "random_state": 0}
SPACE = {"learning_rate": loguniform(1e-4, 1e-1)}


def network():
    return MLPClassifier((64, 64), members=1, max_epochs=1, **SHARED)


SIDES = {
    "fit": lambda n_rows: network(),
    "search": lambda n_rows: RandomizedSearchCV(
        network(), SPACE, n_iter=30, cv=3, refit=False, random_state=0
    ),
    "rows": lambda n_rows: HyperbandSearchCV(
        network(),
        SPACE,
        resource="n_samples",
        min_resources=n_rows // 64,
        factor=4,
        cv=3,
        refit=False,
        random_state=0,
    ),
    "pipeline": lambda n_rows: RandomizedSearchCV(
        make_pipeline(StandardScaler(), network()),
        {"mlpclassifier__learning_rate": SPACE["learning_rate"]},
        n_iter=30,
        cv=3,
        refit=False,
        random_state=0,
    ),
    "sklearn MLP": lambda n_rows: SklearnClassifier(
        max_iter=1, hidden_layer_sizes=(64, 64), **SHARED
    ),
    "boosting": lambda n_rows: HistGradientBoostingClassifier(random_state=0),
}


def resident():
    """Return the bytes of this process in memory."""
    fields = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in fields if line.startswith("VmRSS"))
    return 1024 * int(line.split()[1])


def measure(side, n_rows):
    """Return processor seconds of a fit, and its peak memory as a multiple of X."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, N_COLUMNS), dtype=np.float32)
    y = (X[:, 0] + X[:, 1] * X[:, 2] > rng.standard_normal(n_rows)).astype(int)
    SIDES[side](1000).fit(X[:1000], y[:1000])
    forecast = math.nan
    if hasattr(model := SIDES[side](n_rows), "plan"):
        forecast = model.plan(X, y).memory / X.nbytes
    before, peak, is_done = resident(), [0], threading.Event()

    def watch():
        while not is_done.wait(0.02):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.process_time()
    SIDES[side](n_rows).fit(X, y)
    seconds = time.process_time() - start
    is_done.set()
    watcher.join()
    memory = (peak[0] - before) / X.nbytes
    return {"seconds": seconds, "memory": memory, "forecast": forecast}


def main():
    """Run each side in its own process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 500_000, 5_000_000])
    parser.add_argument("--sides", nargs="+", default=list(SIDES))
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one[0], int(args.one[1]))))
        return
    print("| rows | side | processor seconds | memory / X | forecast / X |")
    print("| ---: | --- | ---: | ---: | ---: |")
    for n_rows in args.rows:
        for side in args.sides:
            command = [sys.executable, __file__, "--one", side, str(n_rows)]
            result = json.loads(subprocess.check_output(command))
            figures = " | ".join(f"{value:.2f}" for value in result.values())
            print(f"| {n_rows:,} | {side} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
