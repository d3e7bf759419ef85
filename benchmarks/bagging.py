# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Bagging as one fleet against scikit-learn's over skorch nets, and one call against many.

    env -u OMP_NUM_THREADS python benchmarks/bagging.py [--runs 3] [--members 50]
        [--part fit inference stacking] [--quick]

fit: digits, 64-64 network with dropout 0.1, batch 64, 20 epochs, AdamW, float32.  One side
is ``sklearn.ensemble.BaggingClassifier`` over skorch nets with ``n_jobs=2`` (running loky
workers), the other ``sk_tune.BaggingClassifier`` with two workers: over the same skorch
nets, over sk_tune's networks, and with their out-of-bag curves.  A skorch net takes no
weights, so it gets the drawn rows, 29 batches in each epoch; sk_tune's networks get
weights, as scikit-learn does for estimators with ``sample_weight``, and the distinct rows
(63 %) make 18 batches.  With --quick the first side trains a fifth of the members, and its
time is extrapolated.

inference: probabilities of 1 to 1797 rows by the bagging, against a loop that averages its
members' ``predict_proba``, and against scikit-learn's ``BaggingClassifier`` (one process).

stacking: six such networks that differ by learning rate, five folds, in one process;
``sklearn.ensemble.StackingClassifier`` over skorch nets, sk_tune's over the same nets and
over its own.  Processor seconds too, which other work on the machine changes little.

Sides in turn, medians.
"""

import argparse
import time
import warnings
from statistics import median
from typing import Any

import numpy as np
import torch
from measure import describe_machine, medians
from plain_net import Net
from sklearn import ensemble
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier
from torch import nn

from sk_tune import BaggingClassifier, MLPClassifier, StackingClassifier

X, Y = load_digits(return_X_y=True)
X, Y = (X / 16).astype(np.float32), Y.astype(np.int64)


def skorch_net(n_epochs: int) -> Any:
    """Return a plain skorch net."""
    return NeuralNetClassifier(
        Net,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=3e-3,
        batch_size=64,
        max_epochs=n_epochs,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )


def own_net(n_epochs: int) -> Any:
    """Return the same network of sk_tune."""
    return MLPClassifier((64, 64), members=1, dropout=0.1, max_epochs=n_epochs)


def measure_fit(options: Any) -> None:
    """Print the time of training on both sides."""
    n_parts = 5 if options.quick else 1

    def theirs(n_members: int, n_epochs: int = 20) -> Any:
        net = skorch_net(n_epochs)
        bag = ensemble.BaggingClassifier(net, n_members, n_jobs=2, random_state=0)
        return bag.fit(X, Y)

    def ours(n_members: int, make: Any = own_net, **more: Any) -> Any:
        bag = BaggingClassifier(make(20), n_members, n_jobs=2, random_state=0, **more)
        return bag.fit(X, Y)

    # Starts the workers of both sides.
    theirs(4, 1)
    ours(8)
    times = medians(
        {
            "scikit-learn": lambda: theirs(options.members // n_parts),
            "same nets": lambda: ours(options.members, skorch_net),
            "sk_tune": lambda: ours(options.members),
            "with curves": lambda: ours(options.members, oob_score=True),
        },
        options.runs,
        warm_up=False,
    )
    base = times.pop("scikit-learn") * n_parts
    print(f"fit of {options.members} members   scikit-learn over skorch {base:6.2f} s")
    for name, seconds in times.items():
        print(f"    {name:14}{seconds:6.2f} s   ratio {base / seconds:5.2f}", flush=True)


def measure_inference(options: Any) -> None:
    """Print the time of predictions in one call and in a loop."""
    bag = BaggingClassifier(own_net(5), options.members, random_state=0).fit(X, Y)
    plain = ensemble.BaggingClassifier(own_net(5), options.members, random_state=0)
    # The same members, without training them twice.
    vars(plain).update({
        name: value
        for name, value in vars(bag).items()
        if name.endswith("_") or name in {"_max_features", "_max_samples", "_n_samples"}
    })
    for n_rows in (1, 10, 100, len(X)):
        rows = X[:n_rows]

        def loop(rows: Any = rows) -> Any:
            return np.mean([m.predict_proba(rows) for m in bag.estimators_], axis=0)

        sides = {
            "one call": lambda rows=rows: bag.predict_proba(rows),
            "loop": loop,
            "scikit-learn": lambda rows=rows: plain.predict_proba(rows),
        }
        predictions = [run() for run in sides.values()]
        for other in predictions[1:]:
            np.testing.assert_allclose(predictions[0], other, atol=1e-5)
        times = medians(sides, 5 * options.runs)
        seconds = times["one call"]
        print(
            f"{n_rows:5} rows   one call {1e3 * seconds:7.2f} ms   loop over members "
            f"{1e3 * times['loop']:7.2f} ms, ratio {times['loop'] / seconds:5.1f}   "
            f"scikit-learn {1e3 * times['scikit-learn']:7.2f} ms, ratio "
            f"{times['scikit-learn'] / seconds:5.1f}",
            flush=True,
        )


def measure_stacking(options: Any) -> None:
    """Print wall and processor seconds of fitting a stack."""
    rates = np.geomspace(1e-3, 1e-2, 6)

    def of(make: Any, name: str) -> Any:
        return [
            (f"rate {i}", make(20).set_params(**{name: r})) for i, r in enumerate(rates)
        ]

    sides = {
        "scikit-learn": ensemble.StackingClassifier(of(skorch_net, "lr"), cv=5, n_jobs=1),
        "same nets": StackingClassifier(of(skorch_net, "lr"), cv=5, n_jobs=1),
        "sk_tune": StackingClassifier(of(own_net, "learning_rate"), cv=5, n_jobs=1),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(options.runs):
        for name, stack in sides.items():
            start, cpu = time.perf_counter(), time.process_time()
            stack.fit(X, Y)
            times[name].append((time.perf_counter() - start, time.process_time() - cpu))
    base = None
    for name, own in times.items():
        wall, cpu = (median(values) for values in zip(*own, strict=True))
        base = base or (wall, cpu)
        print(
            f"stacking  {name:14}{wall:6.2f} s, ratio {base[0] / wall:5.2f}; "
            f"{cpu:6.2f} CPU s, ratio {base[1] / cpu:5.2f}",
            flush=True,
        )


def main() -> None:
    """Print the parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--members", type=int, default=50)
    parser.add_argument("--part", nargs="+", default=["fit", "inference"])
    parser.add_argument("--quick", action="store_true", help="extrapolate one side")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    print(describe_machine())
    if "fit" in options.part:
        measure_fit(options)
    if "inference" in options.part:
        measure_inference(options)
    if "stacking" in options.part:
        measure_stacking(options)


if __name__ == "__main__":
    main()
