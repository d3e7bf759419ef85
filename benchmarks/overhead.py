# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The share of a search that is not training, for twelve kinds of search.

    python benchmarks/overhead.py [--runs 3] [--rows 1797] [--width 64] [--kinds ...]

Networks of two layers of up to 64 units search the digits with 5 folds and 27 epochs; more
rows than 1,797 repeat the digits with noise.  The
share is 1 less the time of trainings and refit, by the time of ``fit``, both from
``ledger_``; the median over runs is printed, with the parts of that run.  All times are
processor time.
"""

import argparse
import statistics
import time
import warnings

import numpy as np
from measure import describe_machine
from scipy.stats import loguniform, uniform
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import (
    BayesSearchCV,
    GridSearchCV,
    HalvingRandomSearchCV,
    HyperbandSearchCV,
    MLPClassifier,
    RandomizedSearchCV,
)

N_CANDIDATES, MAX_EPOCHS = 24, 27
GRID = {"learning_rate": [1e-4, 1e-3, 1e-2], "dropout": [0, 0.2]}
SPACE = {"learning_rate": loguniform(1e-4, 1e-1), "dropout": uniform(0, 0.5)}
METRICS = ["accuracy", "neg_log_loss", "f1_macro"]


def searches(seed, width):
    """Return the searches by kind, of networks of up to `width` units."""
    widths = {"width": [width // 4, width // 2, 3 * width // 4, width]}
    space, grid = SPACE | widths, GRID | widths
    net = MLPClassifier(
        width=128, members=1, max_epochs=MAX_EPOCHS, batch_size=64, random_state=seed
    )
    pipe = make_pipeline(StandardScaler(), net)
    piped = {f"mlpclassifier__{name}": values for name, values in space.items()}
    options = {"random_state": seed}
    drawn = {"n_iter": N_CANDIDATES, **options}
    halving = {"resource": "max_epochs", "max_resources": MAX_EPOCHS, **options}
    several = {"scoring": METRICS, "refit": "neg_log_loss"}
    return {
        "grid": GridSearchCV(net, grid),
        "random": RandomizedSearchCV(net, space, **drawn),
        "random, scaler": RandomizedSearchCV(pipe, piped, **drawn),
        "random, ROC AUC": RandomizedSearchCV(net, space, scoring="roc_auc_ovr", **drawn),
        "random, metrics": RandomizedSearchCV(net, space, **several, **drawn),
        "random, best epoch": RandomizedSearchCV(net, space, select_epoch="best", **drawn),
        "random, models": RandomizedSearchCV(net, space, keep_models="all", **drawn),
        "halving": HalvingRandomSearchCV(net, space, **halving),
        "Hyperband": HyperbandSearchCV(net, space, **options),
        "BOHB": HyperbandSearchCV(net, space, sampler="bayes", **options),
        "asynchronous": HyperbandSearchCV(net, space, asynchronous=True, **options),
        "Bayes": BayesSearchCV(net, space, **drawn),
    }


def parts(search, X, y):
    """Return the share outside of training, and the seconds by part."""
    seconds = search.fit(X, y).ledger_.seconds
    share = 1 - (seconds["training"] + seconds["refit"]) / seconds["total"]
    return share, seconds


def main():
    """Measure and print a line for each kind."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1797)
    parser.add_argument("--width", type=int, default=64, help="units of the widest layers")
    parser.add_argument("--kinds", nargs="+", default=list(searches(0, 64)))
    arguments = parser.parse_args()
    X, y = load_digits(return_X_y=True)
    rows = np.arange(arguments.rows) % len(X)
    noise = np.random.default_rng(0).normal(size=(len(rows), X.shape[1]))
    noise[: len(X)] = 0
    X, y = ((X[rows] + noise) / 16).astype("float32"), y[rows]
    warnings.simplefilter("ignore")
    # The ledger and scikit-learn then count processor time, also on a busy machine.
    time.perf_counter = time.monotonic = time.time = time.process_time
    searches(0, 64)["grid"].fit(X[:500], y[:500])  # Imports do not count.
    print(describe_machine())
    for kind in arguments.kinds:
        runs = [
            parts(searches(seed, arguments.width)[kind], X, y)
            for seed in range(arguments.runs)
        ]
        share = statistics.median_low(share for share, _ in runs)
        seconds = next(seconds for each, seconds in runs if each == share)
        text = ", ".join(f"{name} {value:.2f}" for name, value in seconds.items())
        print(f"{kind:>18} {share:4.0%}   {text} s", flush=True)


if __name__ == "__main__":
    main()
