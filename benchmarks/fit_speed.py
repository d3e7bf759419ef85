# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A plain `fit`, as a user calls it, against scikit-learn's and skorch's.

    python benchmarks/fit_speed.py [CASE ...] [--runs 5] [--busy 0]

Cases: "digits" (1,797 x 64, ten classes, a 64-64 network), "regression" (2,000 x 20, the
same network), both with batches of 64 and 20 epochs; "silu" and "batch_norm", the digits
with that activation or normalisation, next to scikit-learn's ReLU network, which has
neither; "predict" of 20,000 digits; "cnn" and "gru", the networks and data of
benchmarks/engine.py, which scikit-learn does not have.  Data are scaled in advance.  Sides
take turns, medians.  `--busy 2` runs two busy processes at the same time.  skorch trains
the same module without its inner validation split, so that all sides train on the same
samples.
"""

import argparse
import functools
import multiprocessing
import warnings

import numpy as np
from engine import CASES as NETWORKS
from measure import describe_machine, medians, record
from sklearn.datasets import load_digits, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as SklearnClassifier
from sklearn.neural_network import MLPRegressor as SklearnRegressor
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import nn, optim

from sk_tune import MLPClassifier, MLPRegressor

N_EPOCHS, BATCH = 20, 64
CASES = ("digits", "regression", "silu", "batch_norm", "predict", "cnn", "gru")


class Net(nn.Module):
    def __init__(self, n_features, n_outputs, activation=nn.ReLU, normalize=False):
        super().__init__()
        layers = []
        for n_in in (n_features, 64):
            layers += [nn.Linear(n_in, 64), *[nn.BatchNorm1d(64)] * normalize, activation()]
        self.layers = nn.Sequential(*layers, nn.Linear(64, n_outputs))

    def forward(self, x):
        return self.layers(x)


def sides_of(case):
    """Return estimators and targets by side, and the samples."""
    if case in {"cnn", "gru"}:
        return sides_of_network(NETWORKS[case])
    ours = {"hidden_layer_sizes": (64, 64), "max_epochs": N_EPOCHS, "batch_size": BATCH}
    theirs = {"hidden_layer_sizes": (64, 64), "max_iter": N_EPOCHS, "batch_size": BATCH}
    theirs |= {"n_iter_no_change": 1000, "random_state": 0}
    ours |= {"members": 1, "random_state": 0}
    module = {}
    if case == "silu":
        ours["activation"], module["module__activation"] = "silu", nn.SiLU
    if case == "batch_norm":
        ours["normalization"], module["module__normalize"] = "batch", True
    common = {
        "max_epochs": N_EPOCHS,
        "batch_size": BATCH,
        "optimizer": optim.AdamW,
        "lr": 3e-3,
        "train_split": None,
        "verbose": 0,
        **module,
    }
    if case == "regression":
        X, y = make_regression(2000, 20, noise=1.0, random_state=0)
        X, y = X.astype(np.float32), (y / y.std()).astype(np.float32)
        skorch = NeuralNetRegressor(
            Net, module__n_features=20, module__n_outputs=1, **common
        )
        sides = {
            "sk_tune": (MLPRegressor(**ours), y),
            "scikit-learn": (SklearnRegressor(**theirs), y),
            "skorch": (skorch, y[:, None]),
        }
        return sides, X
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    skorch = NeuralNetClassifier(
        Net,
        module__n_features=64,
        module__n_outputs=10,
        criterion=nn.CrossEntropyLoss,
        **common,
    )
    sides = {
        "sk_tune": (MLPClassifier(**ours), y),
        "scikit-learn": (SklearnClassifier(**theirs), y),
        "skorch": (skorch, y),
    }
    return sides, X


def sides_of_network(case):
    """Return sk_tune's and skorch's estimator of a network that scikit-learn lacks."""
    X, y = case.load()
    common = {"max_epochs": N_EPOCHS, "batch_size": case.batch_size}
    skorch = NeuralNetClassifier(
        case.module,
        criterion=nn.CrossEntropyLoss,
        optimizer=optim.AdamW,
        lr=3e-3,
        train_split=None,
        verbose=0,
        **case.module_params,
        **common,
    )
    dropout = case.candidates[0][1]
    ours = case.estimator(learning_rate=3e-3, dropout=dropout, random_state=0, **common)
    return {"sk_tune": (ours, y), "skorch": (skorch, y)}, X


def work_of(case):
    """Return the timed function of each side."""
    sides, X = sides_of(case)
    if case != "predict":
        return {n: functools.partial(e.fit, X, y) for n, (e, y) in sides.items()}
    rows = np.random.default_rng(0).choice(len(X), 20_000)
    return {
        n: functools.partial(e.fit(X, y).predict_proba, X[rows])
        for n, (e, y) in sides.items()
    }


def compute():
    while True:
        sum(range(10**6))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--busy", type=int, default=0, help="busy processes at the time")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(describe_machine())
    busy_processes = [
        multiprocessing.get_context("spawn").Process(target=compute, daemon=True)
        for _ in range(options.busy)
    ]
    for other in busy_processes:
        other.start()
    for case in options.cases or CASES:
        seconds = medians(work_of(case), options.runs)
        cells = [
            f"{name} {1000 * value:.1f} ms ({value / seconds['sk_tune']:.1f})"
            for name, value in seconds.items()
        ]
        record("fit_speed", case, seconds=seconds, busy=options.busy)
        print(f"{case}: {', '.join(cells)}", flush=True)
    for other in busy_processes:
        other.kill()


if __name__ == "__main__":
    main()
