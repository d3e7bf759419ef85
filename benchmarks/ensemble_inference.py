# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Predictions of an ensemble in one call against a loop over its members.

    env -u OMP_NUM_THREADS python benchmarks/ensemble_inference.py [CASE ...]
        [--rows 1 10 100 1000 10000] [--runs 9]

digits, pipelines of a StandardScaler and an MLP, two epochs.  ``seeds``: 50 seeds of a
64-64 network.  ``folds``: 10 candidates of 5 folds each, every fold with a scaler of its
own.  ``mixed``: 10 candidates of 5 folds with one or two layers of 32, 64 or 128.
``regressors``: as ``folds``, for the number that an image shows.

The loop is a user's loop: the weighted mean of ``member.predict_proba(X)``, or of
``member.predict(X)``.  One call is a call of ``collapse(ensemble)``; the ensemble itself
does the same.  Sides take turns; the table has the median of each in milliseconds and the
ratio, then the ratio of processor seconds, which other work on the machine changes little.
``first`` is the first prediction, of one row, which stacks the weights.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from measure import describe_machine
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import sk_tune
from sk_tune import collapse

X, Y = load_digits(return_X_y=True)
RATES = list(np.geomspace(1e-3, 1e-2, 10))
SIZES = [(32,), (64,), (128,), (32, 32), (64, 64), (128, 128)]


def pipeline(kind: Any = sk_tune.MLPClassifier, **params: Any) -> Any:
    net = kind((64, 64), members=1, max_epochs=2, random_state=0, device="cpu")
    return Pipeline([("scale", StandardScaler()), ("net", net)]).set_params(**params)


def seeds() -> Any:
    options = {"bootstrap": False, "random_state": 0, "n_jobs": 1}
    return sk_tune.BaggingClassifier(pipeline(), 50, **options).fit(X, Y)


def of_search(pipe: Any, grid: Any, kind: Any) -> Any:
    cv = StratifiedKFold(5, shuffle=True, random_state=0)
    search = sk_tune.GridSearchCV(pipe, grid, cv=cv, keep_models="all", n_jobs=1)
    search.set_params(refit=False).fit(X, Y)
    ensemble = kind.from_search(search, method="average", random_state=0)
    # All candidates, so that all cases have the same number of members.
    ensemble.estimators_ = [model for own in search.models_.values() for model in own]
    ensemble.weights_ = np.full(len(ensemble.estimators_), 1 / len(ensemble.estimators_))
    return ensemble


def folds() -> Any:
    grid = {"net__learning_rate": RATES}
    return of_search(pipeline(), grid, sk_tune.TrialEnsembleClassifier)


def mixed() -> Any:
    grid = [
        {"net__learning_rate": [rate], "net__hidden_layer_sizes": [SIZES[i % len(SIZES)]]}
        for i, rate in enumerate(RATES)
    ]
    return of_search(pipeline(), grid, sk_tune.TrialEnsembleClassifier)


def regressors() -> Any:
    grid = {"net__learning_rate": RATES}
    pipe = pipeline(sk_tune.MLPRegressor)
    return of_search(pipe, grid, sk_tune.TrialEnsembleRegressor)


CASES: dict[str, Callable[[], Any]] = {
    "seeds": seeds,
    "folds": folds,
    "mixed": mixed,
    "regressors": regressors,
}


def timed(run: Callable[[], Any]) -> tuple[float, float]:
    start, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start, time.process_time() - cpu


def compare(name: str, ensemble: Any, small: Any, n_rows: int, n_runs: int) -> None:
    rows = X[np.arange(n_rows) % len(X)]
    method = method_of(ensemble)

    def loop() -> Any:
        members = zip(ensemble.weights_, ensemble.estimators_, strict=True)
        return sum(weight * getattr(member, method)(rows) for weight, member in members)

    def one_call() -> Any:
        return getattr(small, method)(rows)

    gap = float(np.abs(one_call() - loop()).max())
    found: dict[Any, list[tuple[float, float]]] = {loop: [], one_call: []}
    for _ in range(n_runs):
        for side, own in found.items():
            own.append(timed(side))
    (slow, slow_cpu), (fast, fast_cpu) = (
        (median(wall for wall, _ in own), median(cpu for _, cpu in own))
        for own in found.values()
    )
    print(
        f"| {name} | {n_rows} | {1e3 * slow:.2f} | {1e3 * fast:.2f} | {slow / fast:.1f} "
        f"| {slow_cpu / fast_cpu:.1f} | {gap:.0e} |",
        flush=True,
    )


def method_of(ensemble: Any) -> str:
    return "predict_proba" if hasattr(ensemble, "predict_proba") else "predict"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 10, 100, 1000, 10000])
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(describe_machine())
    print("| | rows | loop, ms | one call, ms | ratio | of CPU seconds | largest gap |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in options.cases or CASES:
        ensemble = CASES[name]()
        small = collapse(ensemble)
        method = method_of(ensemble)
        first, _ = timed(lambda e=small, m=method: getattr(e, m)(X[:1]))
        print(f"| {name}, first | 1 | | {1e3 * first:.1f} | | | |", flush=True)
        for n_rows in options.rows:
            compare(name, ensemble, small, n_rows, options.runs)


if __name__ == "__main__":
    main()
