# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Record learning curves of random candidates, for replay.py to search without training.

    python -m pip install --group benchmark
    python benchmarks/replay_bank.py [SET ...] [--bank benchmarks/replay_bank.npz]

For each data set, 200 random candidates are trained on three folds for 27 epochs.  The
bank has, per candidate, fold and epoch, the loss (log loss, or mean squared error in units
of the target's variance) and the score (accuracy or R2) on the held-out fold and on new
samples, and per candidate and fold the seconds of an epoch.  Arrays are (200, 3, 27) in
float16.  Recorded sets are not repeated.
"""

import argparse
import io
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from quality import japanese_vowels, mnist_5k
from replay import BANK, N_EPOCHS, N_FOLDS, read_bank
from scipy.stats import loguniform, uniform
from sklearn.datasets import load_digits
from sklearn.model_selection import (
    KFold,
    ParameterSampler,
    StratifiedKFold,
    train_test_split,
)
from table_nets import PARTS, draw

import sk_tune
from sk_tune import TablePreparer
from sk_tune.engine import Fit, train

N_CANDIDATES = 200
# Samples to train on, and new samples.
MOST_ROWS = 1800
MOST_NEW = 1000
SPACE = {
    "batch_size": [32, 64, 128, 256],
    "dropout": uniform(0, 0.5),
    "learning_rate": loguniform(1e-4, 3e-2),
    "n_layers": [1, 2, 3],
    "weight_decay": loguniform(1e-5, 1e-1),
}


@dataclass(frozen=True)
class Case:
    """A data set, the kind of its networks and their learning-rate schedule."""

    load: Callable[[], Any]
    kind: str = "MLP"
    widths: tuple[str, tuple[int, ...]] = ("width", (32, 64, 128))
    schedule: str = "constant"
    n_rows: int = MOST_ROWS
    n_new: int = MOST_NEW
    net: tuple[tuple[str, Any], ...] = ()


def split(X, y):
    return train_test_split(X, y, test_size=0.4, random_state=0, stratify=y)


def digits():
    X, y = load_digits(return_X_y=True)
    return split(X / 16, y)


def mnist():
    X, y = mnist_5k()
    return split(X / 255, y)


def vowels():
    X, y = japanese_vowels()
    return split(X, np.unique(y, return_inverse=True)[1])


def italy_power():
    from aeon.datasets import load_italy_power_demand

    X, y = load_italy_power_demand()
    return split(np.swapaxes(X, 1, 2), np.unique(y, return_inverse=True)[1])


def small_images(shape, n_rows):
    options = (("input_shape", shape), ("normalization", None))
    return {"kind": "CNN", "widths": ("n_channels", (4, 8, 16)), "n_rows": n_rows,
            "n_new": 500, "net": options}  # fmt: skip


RECURRENT = {"kind": "RNN", "widths": ("hidden_size", (8, 16, 32)), "n_new": 500}
CASES = {
    **{
        name: Case(lambda name=name: draw(name, 0), schedule=("constant", "cosine")[n % 2])
        for n, name in enumerate(PARTS["dev"])
    },
    "digits": Case(digits),
    "mnist": Case(mnist, schedule="cosine"),
    "digits, CNN": Case(digits, schedule="cosine", **small_images((8, 8), 900)),
    "mnist, CNN": Case(mnist, **small_images((28, 28), 450)),
    "vowels, GRU": Case(vowels, schedule="cosine", n_rows=384, **RECURRENT),
    "power, GRU": Case(italy_power, n_rows=450, **RECURRENT),
}


def data_of(case):
    """Return encoded features and targets, the training rows and the new rows."""
    X, X_new, y, y_new = case.load()
    if case.kind == "MLP" and hasattr(X, "columns"):
        preparer = TablePreparer().fit(X, y)
        X, X_new = preparer.transform(X), preparer.transform(X_new)
    X, X_new = (np.asarray(part, dtype=np.float32) for part in (X, X_new))
    n, n_new = min(len(X), case.n_rows), min(len(X_new), case.n_new)
    X, y = np.concatenate([X[:n], X_new[:n_new]]), np.concatenate([y[:n], y_new[:n_new]])
    if is_regression(y):
        y = (y - y[:n].mean()) / y[:n].std()
    return X, y, np.arange(n), np.arange(n, n + n_new)


def is_regression(y):
    return y.dtype.kind == "f"


def record(name, n_candidates=N_CANDIDATES):
    """Train the candidates of a data set, and return the arrays of the bank."""
    case = CASES[name]
    X, y, rows, new = data_of(case)
    split_kind = KFold if is_regression(y) else StratifiedKFold
    folds = list(split_kind(N_FOLDS, shuffle=True, random_state=0).split(rows, y[rows]))
    width, widths = case.widths
    n_layers = SPACE["n_layers"] if case.kind == "MLP" else [1, 2]
    space = {**SPACE, width: list(widths), "n_layers": n_layers}
    seed = list(CASES).index(name)
    candidates = list(ParameterSampler(space, n_candidates, random_state=seed))
    kind = "Regressor" if is_regression(y) else "Classifier"
    make = getattr(sk_tune, f"{case.kind}{kind}")
    options = {"max_epochs": N_EPOCHS, "lr_schedule": case.schedule, "device": "cpu"}
    options |= {"members": 1} if case.kind == "MLP" else {}
    nets = [make(**options, **dict(case.net), **params) for params in candidates]
    curves: dict[str, list[Any]] = {}
    for monitored in ("held", "new"):
        fits = [
            Fit(estimator=net, X=X, y=y, rows=rows[fold], seed=N_FOLDS * n + k,
                monitor=rows[test] if monitored == "held" else new)
            for n, net in enumerate(nets)
            for k, (fold, test) in enumerate(folds)
        ]  # fmt: skip
        trained = train(fits)
        for column in ("loss", "score"):
            curve = [getattr(each, f"monitor_{column}") for each in trained]
            curves[f"{monitored} {column}"] = [
                np.pad(c, (0, N_EPOCHS - len(c)), constant_values=np.nan) for c in curve
            ]
        curves.setdefault("seconds", [each.seconds / N_EPOCHS for each in trained])
    arrays = {
        column: np.array(values, dtype=np.float32).reshape(n_candidates, N_FOLDS, -1)
        for column, values in curves.items()
    }
    with np.errstate(over="ignore"):
        arrays = {c: v.astype(np.float16) for c, v in arrays.items() if c != "seconds"} | {
            "seconds": arrays["seconds"][..., 0]
        }
    for param in space:
        values = [params[param] for params in candidates]
        column = "width" if param == width else param
        arrays[column] = np.array(values, dtype=np.float32)
    arrays["facts"] = np.array([len(rows), X[0].size, is_regression(y)], dtype=np.float32)
    return arrays


def write_bank(sets, path=BANK):
    arrays = {f"{n}/{column}": a for n, s in sets.items() for column, a in s.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    Path(path).write_bytes(buffer.getvalue())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", default=list(CASES))
    parser.add_argument("--bank", type=Path, default=BANK)
    parser.add_argument("--candidates", type=int, default=N_CANDIDATES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in arguments.sets:
        sets = read_bank(arguments.bank)
        if name in sets:
            continue
        start = time.process_time()
        sets[name] = record(name, arguments.candidates)
        write_bank(sets, arguments.bank)
        seconds = time.process_time() - start
        best = np.nanmin(np.nanmean(sets[name]["held loss"].astype(float)[..., -1], axis=1))
        print(f"{name}: {seconds:.0f} s, best loss {best:.3f}", flush=True)


if __name__ == "__main__":
    main()
