# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""One search by two processes with one store, which are killed and started again.

    python benchmarks/shared_store.py [--kills 10] [--databases postgresql] [--epochs 243]

A process runs Hyperband alone.  Then two processes share the same search through a store;
one of them, at random, is killed at random moments and started again.  All columns of
``cv_results_`` except times must be equal to the bit.  Prints the seconds, and the epochs
that the last start of each process trained and loaded.  The PostgreSQL server is a
temporary one of this machine, which needs the server's programs and the extra
``postgresql``.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import loguniform
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import HyperbandSearchCV, MLPClassifier

sys.path.append(str(Path(__file__).parents[1] / "tests"))


def search(store: str, epochs: int) -> None:
    """Search and print results and counts as JSON."""
    warnings.simplefilter("ignore")
    X, y = load_digits(return_X_y=True)
    net = MLPClassifier(width=64, members=1, batch_size=64, random_state=0)
    space = {
        "mlpclassifier__learning_rate": loguniform(1e-4, 1e-1),
        "mlpclassifier__dropout": [0.0, 0.2, 0.4],
    }
    search = HyperbandSearchCV(
        make_pipeline(StandardScaler(), net),
        space,
        max_resources=epochs,
        cv=3,
        random_state=0,
        refit=False,
        store=store,
    )
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter(), time.process_time()
    search.fit(X, y)
    ledger = search.ledger_
    counts = [ledger.epochs_trained, ledger.epochs_loaded]
    # JSON writes floats with all digits.
    columns = {
        name: [str(value) for value in column]
        if name.startswith("param")
        else np.asarray(column).tolist()
        for name, column in search.cv_results_.items()
        if "time" not in name
    }
    seconds = time.perf_counter() - start[0], time.process_time() - start[1]
    print(json.dumps({"seconds": seconds, "counts": counts, "columns": columns}))


def begun(store: str, epochs: int, n: int = 1) -> list[subprocess.Popen[str]]:
    """Start processes whose searches begin at the same time."""
    command = [sys.executable, __file__, "--search", store, "--epochs", str(epochs)]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(n)
    ]
    streams = [(p.stdin, p.stdout) for p in processes if p.stdin and p.stdout]
    for _, output in streams:
        output.readline()
    for start, _ in streams:
        start.write("\n")
        start.flush()
    return processes


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return the results of a process."""
    text, _ = process.communicate()
    result: dict[str, Any] = json.loads(text)
    return result


def killed_search(
    store: str, epochs: int, n_kills: int, rng: random.Random
) -> tuple[list[dict[str, Any]], int, float]:
    """Return the results of two processes, the kills, and seconds with later starts."""
    processes = begun(store, epochs, 2)
    start = time.perf_counter()
    n_killed = 0
    while n_killed < n_kills:
        time.sleep(rng.expovariate(1.0))
        victim = rng.randrange(2)
        if any(process.poll() is not None for process in processes):
            break
        processes[victim].kill()
        processes[victim].wait()
        n_killed += 1
        (processes[victim],) = begun(store, epochs)
    results = [ended(process) for process in processes]
    return results, n_killed, time.perf_counter() - start


@contextmanager
def store_of(database: str) -> Iterator[str]:
    """Yield the location of an empty store."""
    if database == "postgresql":
        from postgresql import server

        with server() as url:
            yield url
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield str(Path(folder) / "fits.db")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--epochs", type=int, default=243)
    parser.add_argument("--search", metavar="STORE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.search:
        search(options.search, options.epochs)
        return
    with store_of("sqlite") as store:
        (alone,) = map(ended, begun(store, options.epochs))
    n_epochs = alone["counts"][0]
    seconds, processor = alone["seconds"]
    print(f"alone: {seconds:.1f} s ({processor:.1f} of processor), {n_epochs} epochs")
    rng = random.Random(0)
    for database in options.databases:
        for n_kills in (0, options.kills):
            with store_of(database) as store:
                both, n_killed, seconds = killed_search(store, options.epochs, n_kills, rng)
            texts = {json.dumps(run["columns"]) for run in [alone, *both]}
            shares = ", ".join("{} + {}".format(*run["counts"]) for run in both)
            processor = " and ".join(f"{run['seconds'][1]:.1f}" for run in both)
            print(
                f"{database}, {n_killed} kills: {seconds:.1f} s "
                f"({processor} of processor), epochs trained + loaded by each: {shares}; "
                f"equal: {len(texts) == 1}",
                flush=True,
            )
            if len(texts) > 1 or n_killed < n_kills:
                raise SystemExit(1)


if __name__ == "__main__":
    main()
